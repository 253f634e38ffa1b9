/* SPDX-License-Identifier: MIT */
/* Attention in blocks against the definition in double precision. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "gen/base/random.h"
#include "gen/model/attention.h"

typedef struct setup {
  qp_attention a;
  size_t end[3], sequences;
} setup;

static float *draw(size_t n) {
  qp_random r = {7};
  float *x = malloc(n * sizeof *x);
  for (size_t i = 0; i < n; i++) x[i] = (float)qp_random_uniform(&r, -2, 2);
  return x;
}

static double score(const setup *s, const float *q, const float *k) {
  double sum = 0;
  for (unsigned i = 0; i < s->a.head_dim; i++) sum += (double)q[i] * (double)k[i];
  sum *= (double)s->a.scale;
  const double cap = (double)s->a.softcap;
  return cap > 0 ? cap * tanh(sum / cap) : sum;
}

/* Query t of a sequence that begins at 'begin', head h. */
static void attend(const setup *s, const qp_attention_input *in, size_t begin, size_t t, unsigned h,
                   double *out) {
  const unsigned dim = s->a.head_dim, kv = h / (s->a.heads / s->a.kv_heads);
  const size_t first = s->a.window && t + 1 > s->a.window ? t + 1 - s->a.window : 0;
  const float *q = in->q + (begin + t) * in->stride + h * dim;
  double total = 0;
  for (unsigned i = 0; i < dim; i++) out[i] = 0;
  for (size_t u = first; u <= t; u++) {
    const size_t at = (begin + u) * in->stride + kv * dim;
    const double w = exp(score(s, q, in->k + at));
    total += w;
    for (unsigned i = 0; i < dim; i++) out[i] += w * (double)in->v[at + i];
  }
  for (unsigned i = 0; i < dim; i++) out[i] /= total;
}

static void compare(const setup *s) {
  const unsigned dim = s->a.head_dim;
  const size_t stride = (s->a.heads + 2 * s->a.kv_heads) * dim, tokens = s->end[s->sequences - 1];
  float *qkv = draw(tokens * stride), *out = calloc(tokens * s->a.heads * dim, sizeof *out);
  const qp_attention_input in = {
      qkv,         qkv + s->a.heads * dim, qkv + (s->a.heads + s->a.kv_heads) * dim, stride, s->end,
      s->sequences};
  const qp_blas *blas;
  qp_parallel *p;
  qp_attention_scratch scratch;
  size_t tasks[4];
  double want[64];
  for (size_t i = 0; i < tokens * s->a.heads * dim; i++) out[i] = NAN;
  cr_assert_eq(qp_blas_open(&blas, NULL), QP_OK);
  cr_assert_eq(qp_parallel_open(3, &p, NULL), QP_OK);
  cr_assert_eq(qp_attention_open(&s->a, qp_parallel_threads(p), &scratch, NULL), QP_OK);
  qp_attention_run(&s->a, &in, blas, p, &scratch, tasks, out);
  for (size_t i = 0, begin = 0; i < s->sequences; begin = s->end[i++])
    for (size_t t = 0; t < s->end[i] - begin; t++)
      for (unsigned h = 0; h < s->a.heads; h++) {
        attend(s, &in, begin, t, h, want);
        for (unsigned d = 0; d < dim; d++)
          cr_assert_float_eq(out[((begin + t) * s->a.heads + h) * dim + d], (float)want[d], 2e-5f,
                             "window %u, sequence %zu, query %zu, head %u", s->a.window, i, t, h);
      }
  qp_attention_close(&scratch);
  qp_parallel_close(p);
  free(qkv);
  free(out);
}

Test(attention, blocks_of_queries_and_keys_add_up_to_the_definition) {
  static const unsigned windows[] = {0, 1, 7, 64, 100, 300, 5000};
  for (unsigned i = 0; i < sizeof windows / sizeof *windows; i++)
    compare(&(setup){{4, 2, 8, windows[i], 0.4f, i % 2 ? 1.5f : 0}, {1, 66, 66 + 333}, 3});
}

Test(attention, heads_share_keys_as_they_are_grouped) {
  compare(&(setup){{6, 1, 20, 0, 0.3f, 0}, {64}, 1});
  compare(&(setup){{5, 5, 3, 0, 0.3f, 2}, {65}, 1});
  compare(&(setup){{6, 3, 16, 257, 0.3f, 0}, {257, 257 + 320}, 2});
}

Test(attention, scores_of_any_size_make_finite_weights) {
  compare(&(setup){{2, 2, 8, 0, 40.0f, 0}, {90}, 1});
}
