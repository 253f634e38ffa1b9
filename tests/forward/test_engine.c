/* SPDX-License-Identifier: MIT */
/* Forward passes on a device beside those of the CPU, by the simulator. */
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen/model/forward.h"
#include "tests/fake/fake_cublas.h"
#include "tests/fake/fake_cuda.h"
#include "tests/model/forward_kit.h"
#include "tuner/forward/engine.h"

enum { TOKENS = 13 };

/* Products read fp16 (2^-11 of each number); the rest is fp32.  Relative to the largest logit. */
static const double rounding = 6e-3;

typedef struct bench {
  char folder[64];
  qp_models *models;
  qp_engine *engine;
  qp_forward *cpu, *device;
  uint32_t id[KIT_TOKENS];
  size_t end[2];
  qp_sequences all;
} bench;

static qp_error err;

static const kit_family *family_of(const char *name) {
  for (unsigned i = 0; i < KIT_FAMILIES; i++)
    if (!strcmp(kit_families[i].name, name)) return &kit_families[i];
  return NULL;
}

/* Two sequences, of 8 and 5 tokens. */
static void open_bench_on(const char *device, const char *family, uint64_t weight_bytes, bench *b) {
  *b = (bench){.folder = "/tmp/qpal_engine_XXXXXX", .end = {8, TOKENS}};
  const qp_status status = qp_engine_open(device, weight_bytes, &b->engine, &err);
  if (status == QP_E_MISSING) cr_skip_test("no NVRTC: %s", err.text);
  cr_assert_eq(status, QP_OK, "%s", err.text);
  cr_assert(mkdtemp(b->folder) != NULL);
  cr_assert_eq(kit_write(b->folder, family_of(family)->config, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_models_open(&b->models, &err), QP_OK, "%s", err.text);
  qp_forward **const both[] = {&b->cpu, &b->device};
  for (unsigned i = 0; i < 2; i++)
    cr_assert_eq(qp_forward_open(b->folder, b->models,
                                 &(qp_forward_options){.threads = 1, .engine = i == 1}, both[i],
                                 &err),
                 QP_OK, "%s", err.text);
  cr_assert_eq(qp_engine_attach(b->engine, b->device, &err), QP_OK, "%s", err.text);
  kit_tokens(TOKENS, b->id);
  b->all = (qp_sequences){b->id, b->end, 2};
}

static void open_bench(const char *family, uint64_t weight_bytes, bench *b) {
  open_bench_on("sim:sm_90", family, weight_bytes, b);
}

static void close_bench(bench *b) {
  char path[128];
  qp_forward_close(b->cpu);
  qp_forward_close(b->device);
  qp_engine_close(b->engine);
  qp_models_close(b->models);
  const char *const names[] = {"config.json", "model.safetensors"};
  for (unsigned i = 0; i < 2; i++) {
    snprintf(path, sizeof path, "%s/%s", b->folder, names[i]);
    unlink(path);
  }
  rmdir(b->folder);
}

static void run(qp_forward *f, const bench *b, const qp_forward_hook *hook, float *logits) {
  cr_assert_eq(qp_forward_logits(f, &b->all, hook, logits, &err), QP_OK, "%s", err.text);
}

/* The largest difference relative to the largest of 'b'. */
static double difference(const float *a, const float *b, size_t n) {
  double most = 0, off = 0;
  for (size_t i = 0; i < n; i++) {
    most = fmax(most, fabs((double)b[i]));
    off = isfinite(a[i]) ? fmax(off, fabs((double)a[i] - (double)b[i])) : INFINITY;
  }
  return off / most;
}

static void expect_same(const char *family, uint64_t weight_bytes) {
  static float ours[TOKENS * KIT_VOCAB], theirs[TOKENS * KIT_VOCAB];
  bench b;
  open_bench(family, weight_bytes, &b);
  run(b.cpu, &b, NULL, theirs);
  run(b.device, &b, NULL, ours);
  const double off = difference(ours, theirs, TOKENS * KIT_VOCAB);
  cr_expect(off < rounding, "%s: differs by %g of the largest logit", family, off);
  close_bench(&b);
}

Test(engine, biases_and_a_head_of_its_own_are_computed_as_by_the_cpu) { expect_same("llama", 0); }
Test(engine, windows_are_as_by_the_cpu) { expect_same("mistral", 0); }
Test(engine, norms_of_heads_and_scaled_turns_are_as_by_the_cpu) { expect_same("qwen3", 0); }
Test(engine, soft_caps_and_norms_behind_are_as_by_the_cpu) { expect_same("gemma2", 0); }
Test(engine, matrices_stored_as_one_and_part_turns_are_as_by_the_cpu) { expect_same("phi3", 0); }
/* 32 keys are met at a time. */
Test(engine, sequences_of_more_keys_than_are_met_at_a_time_are_as_by_the_cpu) {
  static float ours[KIT_TOKENS * KIT_VOCAB], theirs[KIT_TOKENS * KIT_VOCAB];
  bench b;
  open_bench("llama-dynamic", 0, &b);
  kit_tokens(KIT_TOKENS, b.id);
  b.end[0] = KIT_TOKENS;
  b.all.count = 1;
  run(b.cpu, &b, NULL, theirs);
  run(b.device, &b, NULL, ours);
  const double off = difference(ours, theirs, KIT_TOKENS * KIT_VOCAB);
  cr_expect(off < rounding, "differs by %g of the largest logit", off);
  close_bench(&b);
}

Test(engine, weights_that_find_no_room_are_sent_again) { expect_same("smollm3", 20000); }

/* ---- A GPU, as far as one that runs nothing goes ---- */

static const char fake[] = QP_BINARY_DIR "/libfake_cuda.so";

static void *find(const char *name) { return dlsym(dlopen(fake, RTLD_NOW | RTLD_LOCAL), name); }

/* Launches and products that the fakes have seen so far. */
static void count(unsigned *launches, unsigned *products, const fake_cublas_gemm **last) {
  const fake_cuda_launch *(*cuda)(void);
  const fake_cublas_gemm *(*cublas)(void);
  void *p = find("fake_cuda_last"), *q = find("fake_cublas_last");
  memcpy(&cuda, &p, sizeof p);
  memcpy(&cublas, &q, sizeof q);
  *launches = cuda()->launches;
  *products = cublas()->launches;
  *last = cublas();
}

/* Launches and products of a pass of llama-3: 4 blocks of 7 linears, a head, and two sequences. */
static void expect_on_gpu(unsigned launches, unsigned products, const char *by) {
  static float logits[TOKENS * KIT_VOCAB];
  const fake_cublas_gemm *last;
  unsigned l[2], p[2];
  bench b;
  setenv("QPAL_LIBCUDA", fake, 1);
  open_bench_on("cuda:0", "llama-3", 0, &b);
  cr_expect(strstr(qp_engine_products(b.engine), by), "%s", qp_engine_products(b.engine));
  count(&l[0], &p[0], &last);
  run(b.device, &b, NULL, logits);
  count(&l[1], &p[1], &last);
  cr_expect_eq(p[1] - p[0], products, "%u products", p[1] - p[0]);
  cr_expect_eq(l[1] - l[0], launches, "%u launches", l[1] - l[0]);
  if (products) { /* of the head: fp16 by fp16 to fp32, vocab x rows by hidden */
    const int shape[] = {1, 0, KIT_VOCAB, TOKENS, 64, 64, 64, KIT_VOCAB};
    const int types[] = {2, 2, 0, 68, -1};
    cr_expect_arr_eq(last->shape, shape, sizeof shape);
    cr_expect_arr_eq(last->types, types, sizeof types);
  }
  close_bench(&b);
  int (*live)(void);
  void *q = find("fake_cuda_live");
  memcpy(&live, &q, sizeof q);
  cr_expect_eq(live(), 0);
}

/* A block: 4 norms, 2 x (turns, attention), 1 gate; the last norm. */
Test(engine, on_a_gpu_cublas_has_the_products) {
  setenv("QPAL_CUBLAS", fake, 1);
  expect_on_gpu(4 * 9 + 1, 4 * 7 + 1, "cuBLAS 13.1.0");
}
Test(engine, on_a_gpu_without_cublas_a_kernel_has_the_products_and_it_is_said_why) {
  setenv("QPAL_CUBLAS", "/nowhere/libcublas.so.13", 1);
  expect_on_gpu(4 * 9 + 1 + 4 * 7 + 1, 0, "a plain kernel: ");
}

/* ---- Hooks, other weights ---- */

typedef struct seen {
  double sum[8][8]; /* [block][group] of squares */
  size_t rows[8][8];
} seen;

static qp_status see(void *arg, unsigned block, unsigned group, const float *x, size_t rows,
                     unsigned columns, qp_error *e) {
  seen *s = arg;
  (void)e;
  s->rows[block][group] += rows;
  for (size_t i = 0; i < rows * columns; i++) s->sum[block][group] += (double)x[i] * (double)x[i];
  return QP_OK;
}

Test(engine, hooks_are_told_what_the_cpu_tells_them) {
  static float logits[TOKENS * KIT_VOCAB];
  static seen s[2];
  bench b;
  open_bench("qwen2", 0, &b);
  run(b.cpu, &b, &(qp_forward_hook){see, &s[0]}, logits);
  run(b.device, &b, &(qp_forward_hook){see, &s[1]}, logits);
  const qp_model *m = qp_forward_model(b.cpu);
  for (unsigned block = 0; block <= m->layers; block++)
    for (unsigned g = 0; g <= m->groups; g++) {
      cr_expect_eq(s[0].rows[block][g], s[1].rows[block][g]);
      const double a = s[0].sum[block][g], c = s[1].sum[block][g];
      cr_expect(fabs(a - c) <= 5e-3 * a, "block %u group %u: %g, %g", block, g, a, c);
    }
  cr_expect_eq(s[1].rows[0][0], TOKENS);
  close_bench(&b);
}

Test(engine, weights_in_place_of_a_linears_own_count_until_they_are_taken_back) {
  static float before[TOKENS * KIT_VOCAB], other[2][TOKENS * KIT_VOCAB], after[TOKENS * KIT_VOCAB];
  bench b;
  open_bench("llama-3", 0, &b);
  const qp_model_linear *l = &qp_forward_model(b.cpu)->linear[3];
  const size_t up = (size_t)l[1].rows * l[1].columns; /* more than o */
  float *w = malloc(up * sizeof *w);
  cr_assert_eq(qp_forward_weights(b.cpu, 1, 3, w, &err), QP_OK, "%s", err.text);
  for (size_t i = 0; i < (size_t)l->rows * l->columns; i++) w[i] = -2 * w[i];
  run(b.device, &b, NULL, before);
  qp_forward *const both[] = {b.cpu, b.device};
  for (unsigned i = 0; i < 2; i++) {
    qp_forward_override(both[i], 1, 3, w);
    run(both[i], &b, NULL, other[i]);
  }
  qp_forward_override(b.device, 1, 3, NULL);
  run(b.device, &b, NULL, after);
  cr_expect_arr_eq(before, after, sizeof before);
  cr_expect(difference(other[1], other[0], TOKENS * KIT_VOCAB) < rounding);
  cr_expect(difference(other[1], before, TOKENS * KIT_VOCAB) > 0.02);
  for (size_t i = 0; i < up; i++) w[i] = 6e4f;
  cr_expect_eq(qp_forward_logits(b.device, &b.all, NULL, after, &err), QP_OK, "%s", err.text);
  qp_forward_override(b.device, 1, 3, NULL);
  qp_forward_override(b.device, 1, 4, w); /* up: its outputs are products' inputs */
  cr_expect_eq(qp_forward_logits(b.device, &b.all, NULL, after, &err), QP_E_LIMIT);
  cr_expect(strstr(err.text, "activations of block 1 are beyond"), "%s", err.text);
  qp_forward_override(b.device, 1, 4, NULL);
  w[7] = 1e6f;
  qp_forward_override(b.device, 1, 3, w);
  cr_expect_eq(qp_forward_logits(b.device, &b.all, NULL, after, &err), QP_E_ARG);
  cr_expect(strstr(err.text, "weight [0][7] of a o is 1e+06"), "%s", err.text);
  free(w);
  close_bench(&b);
}
