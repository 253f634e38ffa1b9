/* SPDX-License-Identifier: MIT */
/*
** How fast the simulator runs:  bench_sim [FACTOR].  Three kinds of work, in PTX instructions a
** second on one core: integer arithmetic, table look-ups in shared memory, and a decode loop that
** feeds mma.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/sim/sim.h"

#define HEAD                                                                                       \
  ".version 9.0\n.target sm_90\n.address_size 64\n"                                                \
  ".visible .entry k(.param .u64 out, .param .u32 rounds)\n{\n"                                    \
  ".reg .pred %p<4>; .reg .b32 %r<40>; .reg .f32 %f<10>; .reg .b64 %d<8>;\n"                       \
  ".shared .align 16 .b8 table[65536];\n"                                                          \
  "ld.param.u64 %d0, [out]; ld.param.u32 %r1, [rounds]; mov.u32 %r0, %tid.x; mov.u32 %r2, %r0;\n"  \
  "mov.u32 %r9, table; shl.b32 %r10, %r0, 2; add.s32 %r10, %r10, %r9; mov.u32 %r11, 0;\n"          \
  "mov.u32 %r30, 0; mov.f32 %f1, 0f00000000; mov.f32 %f2, %f1; mov.f32 %f3, %f1; mov.f32 %f4, "    \
  "%f1;\n"                                                                                         \
  "FILL: st.shared.u32 [%r10], %r11; add.s32 %r10, %r10, 1024; add.s32 %r11, %r11, 1024;\n"        \
  "setp.lt.u32 %p1, %r11, 65536; @%p1 bra FILL; bar.sync 0;\nLOOP:\n"
#define TAIL                                                                                       \
  "sub.s32 %r1, %r1, 1; setp.ne.u32 %p1, %r1, 0; @%p1 bra LOOP;\n"                                 \
  "mul.wide.u32 %d1, %r0, 4; add.s64 %d1, %d1, %d0; st.global.u32 [%d1], %r2; ret;\n}\n"
#define HASH(a) "mad.lo.s32 " a ", %r2, 1664525, 1013904223; shf.r.wrap.b32 %r2, " a ", %r2, 7;\n"
#define LOOK(a)                                                                                    \
  HASH(a)                                                                                          \
  "and.b32 " a ", " a ", 0xfffc; add.s32 " a ", " a ", %r9; ld.shared.b32 " a ", [" a "];"         \
  "\n"

static const struct {
  const char *name, *ptx;
} work[] = {
    {"integer arithmetic",
     HEAD HASH("%r3") HASH("%r4") HASH("%r5") HASH("%r6") "lop3.b32 %r2, %r3, %r4, %r5, 0x96;\n"
                                                          "xor.b32 %r2, %r2, %r6;\n" TAIL},
    {"shared look-ups", HEAD LOOK("%r3") LOOK("%r4") LOOK("%r5")
                            LOOK("%r6") "lop3.b32 %r2, %r2, %r4, %r5, 0x96;\n" TAIL},
    {"decode and mma",
     HEAD LOOK("%r3") LOOK("%r4") LOOK("%r5")
         LOOK("%r6") "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1,%f2,%f3,%f4}, "
                     "{%r30,%r30,%r30,%r30}, {%r30,%r30}, {%f1,%f2,%f3,%f4};\n" TAIL},
};

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static qp_status bench(qp_device *d, unsigned which, unsigned rounds, qp_error *err) {
  qp_module *m;
  qp_function *f;
  qp_devptr out;
  qp_sim_counters c;
  qp_status status = qp_device_load(d, work[which].ptx, strlen(work[which].ptx), &m, err);
  if (status != QP_OK) return status;
  status = qp_device_function(d, m, "k", &f, err);
  if (status == QP_OK) status = qp_device_alloc(d, 1024, &out, err);
  if (status != QP_OK) return status;
  const struct {
    qp_devptr out;
    unsigned rounds;
  } params = {out, rounds};
  const qp_launch how = {.grid = 2, .block = 256, .params = &params, .params_bytes = sizeof params};
  status = qp_sim_counters_reset(d, err);
  const double start = seconds();
  if (status == QP_OK) status = qp_device_launch(d, f, &how, err);
  const double took = seconds() - start;
  if (status == QP_OK) status = qp_sim_counters_get(d, &c, err);
  if (status != QP_OK) return status;
  uint64_t total = 0;
  for (int i = 0; i < QP_SIM_KIND_COUNT; i++) total += c.thread_instructions[i];
  printf("%-20s %8.1f M instructions %8.3f s %8.1f M/s\n", work[which].name, 1e-6 * (double)total,
         took, 1e-6 * (double)total / took);
  qp_device_free(d, out);
  qp_device_unload(d, m);
  return QP_OK;
}

int main(int argc, char **argv) {
  const unsigned factor = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1;
  qp_error err = {0};
  qp_device *d;
  qp_status status = qp_device_open("sim", &d, &err);
  if (status == QP_OK) {
    for (unsigned i = 0; i < sizeof work / sizeof *work && status == QP_OK; i++)
      status = bench(d, i, 5000 * (factor ? factor : 1), &err);
    qp_device_close(d);
  }
  if (status != QP_OK) fprintf(stderr, "bench_sim: %s\n", err.text);
  return status == QP_OK ? 0 : 1;
}
