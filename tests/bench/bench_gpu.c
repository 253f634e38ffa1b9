/* SPDX-License-Identifier: MIT */
/*
** The tensor-core gemm on a GPU:  us a launch in a CUDA graph, plain and with programmatic
** dependent launch, over weights that are rotated through more than 600 MB, each kernel verified
** first.  Beside it what the prototype kernel reached on an H100 80GB HBM3 (132 multiprocessors,
** CUDA 13.0) by the same method.
**   bench_gpu [cuda:N]
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/random.h"
#include "gen/compile/compile.h"
#include "gen/kernel/kernel.h"
#include "gen/spec/quantizer.h"
#include "runtime/cuda_time.h"
#include "tuner/check/verify.h"

enum { SHAPES = 6, COPIES_MAX = 512, LAUNCHES = 48 };
static const size_t cold_bytes = (size_t)640 << 20;
static const unsigned shape[SHAPES][2] = {{1024, 4096},  {4096, 4096},  {6144, 4096},
                                          {14336, 4096}, {28672, 4096}, {4096, 14336}};

/* Prototype, us: plain and PDL. */
static const struct {
  const char *quantizer;
  unsigned batch;
  double plain[SHAPES], pdl[SHAPES];
} rows[] = {
    {"tcq-2", 1, {2.7, 4.6, 5.6, 9.8, 16.2, 9.8}, {2.1, 4.0, 5.0, 8.8, 15.2, 9.0}},
    {"tcq-3", 1, {3.0, 5.0, 6.2, 10.8, 18.2, 10.8}, {2.2, 4.4, 5.7, 9.7, 17.0, 9.9}},
    {"tcq-4", 1, {3.1, 5.4, 6.6, 12.3, 22.4, 12.2}, {2.3, 4.8, 5.9, 10.7, 20.4, 10.8}},
    {"tcq-3", 8, {3.8, 6.0, 6.8, 11.3, 19.5, 12.9}, {3.0, 5.4, 6.5, 10.8, 18.3, 12.2}},
};

typedef struct bench {
  qp_device *dev;
  qp_compiler *compiler;
  qp_families *families;
  qp_palette *palette;
  qp_reference *reference;
  qp_devptr weights, x, y[2], workspace, counters;
} bench;

/* One kernel's chain: weights change from launch to launch, outputs alternate. */
static qp_status time_kernel(bench *b, const qp_kernel *k, const qp_compiled *c, double *us,
                             qp_error *err) {
  static unsigned char params[LAUNCHES > COPIES_MAX ? LAUNCHES : COPIES_MAX][QP_PARAMS_MAX];
  static qp_chain_link link[COPIES_MAX];
  qp_module *module = NULL;
  qp_function *f;
  size_t bytes = k->stream[0].stream.code_words * 4, copies = cold_bytes / bytes;
  if (copies > COPIES_MAX) copies = COPIES_MAX;
  size_t n = copies < LAUNCHES ? LAUNCHES : copies;
  qp_status status = qp_device_load(b->dev, c->cubin, c->cubin_bytes, &module, err);
  if (!status) status = qp_device_function(b->dev, module, k->name, &f, err);
  for (size_t i = 0; i < n && !status; i++) {
    qp_arguments a = {.x = b->x, .workspace = b->workspace, .counters = b->counters};
    a.stream[0].codes = b->weights + i % copies * bytes;
    a.stream[0].codebook[0] = b->weights; /* any fp16 numbers do for timing */
    a.segment[0].y = b->y[i % 2];
    if (k->adds_to_zero) {
      a.zero = b->y[(i + 1) % 2];
      a.zero_words = (uint64_t)k->problem.segment[0].rows * k->problem.batch;
    }
    link[i].function = f;
    link[i].launch = (qp_launch){.grid = k->grid,
                                 .block = k->block,
                                 .smem_bytes = k->smem_bytes,
                                 .params = params[i],
                                 .params_bytes = qp_kernel_params(k, &a, params[i]),
                                 .pdl = k->pdl};
  }
  double seconds = 0;
  if (!status) status = qp_cuda_time_chain(b->dev, link, n, 0, 15, &seconds, err);
  *us = seconds * 1e6 / (double)n;
  if (module) qp_device_unload(b->dev, module);
  return status;
}

static qp_status measure(bench *b, const char *quantizer, unsigned batch, unsigned s, bool atomic,
                         bool pdl, double *us, qp_error *err) {
  const qp_quantizer *q;
  qp_problem p = {.op = QP_OP_GEMM,
                  .segments = 1,
                  .columns = shape[s][1],
                  .batch = batch,
                  .type = QP_F16,
                  .out_type = atomic ? QP_F32 : QP_F16,
                  .arch = b->dev->info.arch,
                  .sm_count = b->dev->info.sm_count};
  qp_choice choice;
  qp_kernel k = {0};
  qp_compiled c = {0};
  qp_verdict v = {0};
  qp_status status = qp_palette_find(b->palette, quantizer, &q, err);
  if (status) return status;
  p.segment[0].quantizer = q;
  p.segment[0].rows = shape[s][0];
  qp_choice_default(qp_families_for(b->families, QP_OP_GEMM, "tensor"), &choice);
  if (atomic) status = qp_choice_set(&choice, "atomic=1", err);
  if (!status && pdl) status = qp_choice_set(&choice, "pdl=1", err);
  if (!status) status = qp_kernel_make(b->families, &p, &choice, &k, err);
  qp_compile_job job = {.name = k.name, .source = k.source, .arch = p.arch, .want_cubin = true};
  if (!status) status = qp_compiler_run(b->compiler, &job, &c, err);
  if (!status) status = qp_verify(b->dev, &k, &c, b->reference, s + 1, 8, &v, err);
  if (!status && !v.pass) status = qp_fail(err, QP_E_WRONG, "%s: %s", k.name, v.why);
  if (!status) status = time_kernel(b, &k, &c, us, err);
  qp_compiled_free(&c);
  qp_kernel_free(&k);
  return status;
}

static qp_status fill_weights(bench *b, qp_error *err) {
  enum { CHUNK = 1 << 20 };
  static uint32_t chunk[CHUNK / 4];
  qp_random r = {1};
  qp_status status = QP_OK;
  for (size_t i = 0; i < CHUNK / 4; i++) chunk[i] = (uint32_t)qp_random_next(&r) & 0x3bff3bffu;
  for (size_t at = 0; at + CHUNK <= cold_bytes + CHUNK && !status; at += CHUNK)
    status = qp_device_upload(b->dev, b->weights + at, chunk, CHUNK, err);
  if (!status) status = qp_device_fill(b->dev, b->counters, 0, 1 << 20, err);
  return status ? status : qp_device_fill(b->dev, b->x, 0, 1 << 20, err);
}

static qp_status open_bench(bench *b, const char *device, qp_error *err) {
  qp_compiler_options co = {.workers = 1};
  qp_status status = qp_compiler_open(&co, &b->compiler, err);
  if (!status) status = qp_device_open(device, &b->dev, err);
  if (!status && b->dev->info.simulated)
    status = qp_fail(err, QP_E_ARG, "a simulator has no clock");
  if (!status) status = qp_families_open(&b->families, err);
  if (!status) status = qp_palette_open(&b->palette, err);
  b->reference = qp_reference_new();
  struct {
    qp_devptr *to;
    size_t bytes;
  } buffers[] = {{&b->weights, cold_bytes + (1 << 20)},
                 {&b->x, 1 << 20},
                 {&b->y[0], 1 << 20},
                 {&b->y[1], 1 << 20},
                 {&b->workspace, 64 << 20},
                 {&b->counters, 1 << 20}};
  for (size_t i = 0; i < sizeof buffers / sizeof *buffers && !status; i++)
    status = qp_device_alloc(b->dev, buffers[i].bytes, buffers[i].to, err);
  return status ? status : fill_weights(b, err);
}

int main(int argc, char **argv) {
  static const char *const sums[] = {"ordered", "atomic"};
  bench b = {0};
  qp_error err = {0};
  qp_status status = open_bench(&b, argc > 1 ? argv[1] : "cuda:0", &err);
  if (!status)
    printf("%s, %u multiprocessors; us a launch, plain / PDL (ratio to the prototype on an H100)\n",
           b.dev->info.name, b.dev->info.sm_count);
  for (size_t r = 0; r < sizeof rows / sizeof *rows && !status; r++)
    for (unsigned a = 0; a < 2 && !status; a++) {
      printf("%-6s batch %u %-8s", rows[r].quantizer, rows[r].batch, sums[a]);
      for (unsigned s = 0; s < SHAPES && !status; s++) {
        double plain = 0, pdl = 0;
        status = measure(&b, rows[r].quantizer, rows[r].batch, s, a, false, &plain, &err);
        if (!status) status = measure(&b, rows[r].quantizer, rows[r].batch, s, a, true, &pdl, &err);
        printf("  %ux%u %.1f / %.1f (%.2f / %.2f)", shape[s][0], shape[s][1], plain, pdl,
               plain / rows[r].plain[s], pdl / rows[r].pdl[s]);
        fflush(stdout);
      }
      printf("\n");
    }
  if (status) fprintf(stderr, "bench_gpu: %s\n", err.text);
  return status ? 3 : 0;
}
