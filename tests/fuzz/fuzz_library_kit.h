/* SPDX-License-Identifier: MIT */
/* A library with a kernel of every operation, which takes its arguments, reads the first and does
   nothing. */
#ifndef QP_TESTS_FUZZ_LIBRARY_KIT_H
#define QP_TESTS_FUZZ_LIBRARY_KIT_H

#include "runtime/arguments.h"
#include "runtime/include/qpal.h"
#include "runtime/library_format.h"
#include "tests/fuzz/fuzz_kit.h"

enum { KIT_COLUMNS = 128, KIT_ROWS = 32, KIT_EXPERTS = 4, KIT_TOP_K = 2, KIT_TILE = 8 };
enum { KIT_FUSED, KIT_PAIR, KIT_STACKS, KIT_GROUPS };

/* Problems of its groups, and of the linears alone. */
typedef struct kit_problems {
  uint32_t group[KIT_GROUPS], alone;
} kit_problems;

static inline void kit_kernel(qp_library_writer *w, qp_lib_kernel k, unsigned streams,
                              unsigned segments) {
  static const char form[] = ".version 8.7\n.target sm_90\n.address_size 64\n"
                             ".visible .entry k(\n\t.param .align 8 .b8 k_param_0[%u]\n)\n{\n"
                             "\t.reg .b64 \t%%rd<2>;\n\tld.param.u64 \t%%rd1, [k_param_0];\n"
                             "\tret;\n}\n";
  static const char cubin[128] = "\177ELF";
  char ptx[sizeof form + 16];
  qp_error err = {.text = ""};
  k.name = qp_library_writer_string(w, "k");
  k.columns = KIT_COLUMNS;
  k.grid = 4;
  k.block = 32;
  k.latency_ps = -1;
  k.params_bytes = (uint32_t)qp_arguments_bytes(k.op, streams, segments);
  must(!qp_library_writer_image(w, 0, 90, cubin, sizeof cubin, &k.cubin, &err));
  const int length = snprintf(ptx, sizeof ptx, form, k.params_bytes);
  must(!qp_library_writer_image(w, 1, 90, ptx, (size_t)length, &k.ptx, &err));
  must(!qp_library_writer_kernel(w, &k, &err));
}

/* KIT_FUSED has a split of two parts as its second linear. */
static inline void kit_kernels(qp_library_writer *w, const kit_problems *p) {
  const uint32_t fused = p->group[KIT_FUSED], none = QP_LIB_NONE;
  for (unsigned batch = 1; batch <= 4; batch *= 4) {
    kit_kernel(w, (qp_lib_kernel){.op = QPAL_GEMM, .problem = fused, .batch = batch}, 3, 2);
    kit_kernel(w,
               (qp_lib_kernel){.op = QPAL_ROUTE,
                               .problem = none,
                               .batch = batch,
                               .experts = KIT_EXPERTS,
                               .top_k = KIT_TOP_K,
                               .tile = KIT_TILE},
               0, 0);
    kit_kernel(w,
               (qp_lib_kernel){.op = QPAL_EXPERTS,
                               .problem = p->group[KIT_STACKS],
                               .batch = batch,
                               .experts = KIT_EXPERTS,
                               .top_k = KIT_TOP_K,
                               .tile = KIT_TILE,
                               .workspace_bytes = 256,
                               .counters = 4},
               1, 1);
  }
  kit_kernel(w,
             (qp_lib_kernel){.op = QPAL_GEMM,
                             .problem = fused,
                             .batch = 2,
                             .out_type = QPAL_F32,
                             .flags = QP_LIB_ADDS | QP_LIB_ROTATES | QP_LIB_PDL},
             3, 2);
  kit_kernel(
      w, (qp_lib_kernel){.op = QPAL_GEMM_GLU, .problem = p->group[KIT_PAIR], .batch = 1}, 2, 2);
  for (unsigned i = 0; i < 2; i++) /* of experts, too: with the unit and without */
    kit_kernel(w,
               (qp_lib_kernel){.op = i ? QPAL_EXPERTS_GLU : QPAL_EXPERTS,
                               .problem = p->group[KIT_PAIR],
                               .batch = 1,
                               .experts = KIT_EXPERTS,
                               .top_k = KIT_TOP_K,
                               .tile = KIT_TILE,
                               .flags = i ? QP_LIB_LIMITS : 0},
               2, 2);
  kit_kernel(w, (qp_lib_kernel){.op = QPAL_DEQUANT, .problem = p->alone}, 1, 1);
  kit_kernel(w, (qp_lib_kernel){.op = QPAL_GATHER, .problem = p->alone}, 1, 1);
  kit_kernel(w, (qp_lib_kernel){.op = QPAL_ROTATE, .problem = none, .flags = QP_LIB_INVERSE}, 0, 0);
  static const unsigned rows[] = {QPAL_ROTATE, QPAL_ROTATE_NORM, QPAL_ROTATE_GLU, QPAL_ATTEND,
                                  QPAL_PICK,   QPAL_COMBINE, QPAL_PLAIN};
  for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++)
    kit_kernel(w, (qp_lib_kernel){.op = rows[i], .problem = none}, 0, 0);
}

/* A group of these linears, each of which has a problem of its own. */
static inline uint32_t kit_group(qp_library_writer *w, const char *name,
                                 const qp_quantizer *const *q, unsigned members,
                                 uint32_t alone[2]) {
  static const char *const tensor[KIT_GROUPS][2] = {{"t0", "t1"}, {"up", "gate"}, {"e.*.w", ""}};
  qp_error err = {.text = ""};
  uint32_t linear[2] = {0}, both;
  const unsigned which = (unsigned)(name[1] - '0');
  for (unsigned i = 0; i < members; i++) {
    must(!qp_library_writer_linear(w, q[i], KIT_ROWS, KIT_COLUMNS, 0, 0, &linear[i], &err));
    must(!qp_library_writer_problem(w, &linear[i], 1, KIT_COLUMNS, "", &alone[i], &err));
  }
  must(!qp_library_writer_problem(w, linear, members, KIT_COLUMNS, name, &both, &err));
  qp_lib_group g = {.name = qp_library_writer_string(w, name),
                    .path = qp_library_writer_string(w, "tensor"),
                    .problem = both};
  for (unsigned i = 0; i < members; i++) {
    g.tensor[i] = qp_library_writer_string(w, tensor[which][i]);
    g.single[i] = alone[i];
  }
  must(!qp_library_writer_group(w, &g, &err));
  return both;
}

/* Its bytes, malloc'ed. */
static inline void *make_library(size_t *bytes) {
  static uint16_t book[16];
  static qp_quantizer plain, split;
  qp_error err = {.text = ""};
  uint32_t alone[2], target;
  kit_problems p;
  void *file = NULL;
  plain = four_bits();
  *plain.hash = 0;
  plain.codebook[0].scope = QP_SCOPE_SPEC;
  plain.codebook[0].data = book;
  split = (qp_quantizer){.name = "b",
                         .kind = QP_SPLIT,
                         .rate = 4,
                         .stored_rate = 4,
                         .parts = 2,
                         .part = {{&plain, 0.5}, {&plain, 0.5}},
                         .layout = QP_LAYOUT_VERSION};
  const qp_quantizer *const q[2] = {&plain, &split}, *const pair[2] = {&plain, &plain};
  qp_library_writer *w = qp_library_writer_new(13000, "m", "g");
  must(w != NULL);
  p.group[KIT_FUSED] = kit_group(w, "g0", q, 2, alone);
  p.group[KIT_PAIR] = kit_group(w, "g1", pair, 2, alone);
  p.group[KIT_STACKS] = kit_group(w, "g2", pair, 1, alone);
  p.alone = alone[0];
  must(!qp_library_writer_target(w, "sm_90", "c", 90, 4, &target, &err));
  kit_kernels(w, &p);
  must(!qp_library_writer_finish(w, &file, bytes, &err));
  qp_library_writer_free(w);
  return file;
}

#endif
