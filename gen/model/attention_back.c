/* SPDX-License-Identifier: MIT */
/*
** Takes gradients back through attention.  A task is a key head of a sequence: its query heads add,
** block of queries by block, to the gradients of its keys and values, which no other task touches.
*/
#include "gen/model/attention_back.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/model/vector_math.h"

enum { QUERIES = 64 }; /* of a block */

typedef struct job {
  const qp_attention *a;
  const qp_attention_input *in;
  const qp_blas *blas;
  const float *d_out;
  float *dq, *dk, *dv;
  float *scratch; /* [threads][floats] */
  size_t floats, longest;
} job;

/* One head's queries [first, first + rows) of a sequence meet its keys [key, key + keys). */
typedef struct block {
  size_t begin, first, rows, key, keys; /* begin: the sequence's first token */
  unsigned head, kv_head;
  float *weight, *d_weight; /* [QUERIES][longest] */
  float *slope;             /* [longest] of the soft cap */
} block;

/* Keys [from, end) of the block's are seen by a query. */
static void seen_by(const qp_attention *a, const block *b, size_t row, size_t *from, size_t *end) {
  const size_t t = b->first + row;
  const size_t least = a->window && t + 1 > a->window ? t + 1 - a->window : 0;
  *from = least > b->key ? least - b->key : 0;
  *end = t + 1 - b->key;
}

/* Scores of a row become weights; d = dL/d(weights) becomes dL/d(scores). */
static void soften(const qp_attention *a, const block *b, size_t row, float *p, float *d) {
  size_t from, end;
  double mean = 0;
  seen_by(a, b, row, &from, &end);
  const size_t n = end - from;
  float *const slope = b->slope + from;
  memset(p, 0, from * sizeof *p);
  memset(p + end, 0, (b->keys - end) * sizeof *p);
  memset(d, 0, from * sizeof *d);
  memset(d + end, 0, (b->keys - end) * sizeof *d);
  p += from, d += from;
  if (a->softcap > 0) qp_vector_softcap(p, n, a->softcap);
  for (size_t u = 0; u < n && a->softcap > 0; u++)
    slope[u] = 1 - p[u] / a->softcap * (p[u] / a->softcap);
  qp_vector_scale(p, n, 1 / qp_vector_exp_sum(p, n, qp_vector_max(p, n)));
  for (size_t u = 0; u < n; u++) mean += (double)(p[u] * d[u]);
  for (size_t u = 0; u < n; u++) d[u] = p[u] * (d[u] - (float)mean);
  for (size_t u = 0; u < n && a->softcap > 0; u++) d[u] *= slope[u];
}

static void walk_back(const job *j, const block *b) {
  const qp_attention *a = j->a;
  const int dim = (int)a->head_dim, stride = (int)j->in->stride, n = (int)b->rows;
  const int keys = (int)b->keys, wide = (int)j->longest, out_stride = (int)(a->heads * a->head_dim);
  const size_t at = (b->begin + b->first) * j->in->stride + (size_t)b->head * a->head_dim;
  const size_t key = (b->begin + b->key) * j->in->stride + (size_t)b->kv_head * a->head_dim;
  const float *d_out = j->d_out + ((b->begin + b->first) * a->heads + b->head) * a->head_dim;
  const float one = 1, zero = 0, scale = a->scale;
  /* column-major: S^T [keys][n] = K Q^T;  dP^T = V dO^T */
  j->blas->sgemm("T", "N", &keys, &n, &dim, &scale, j->in->k + key, &stride, j->in->q + at, &stride,
                 &zero, b->weight, &wide);
  j->blas->sgemm("T", "N", &keys, &n, &dim, &one, j->in->v + key, &stride, d_out, &out_stride,
                 &zero, b->d_weight, &wide);
  for (size_t r = 0; r < b->rows; r++)
    soften(a, b, r, b->weight + r * j->longest, b->d_weight + r * j->longest);
  /* dV^T [dim][keys] += dO^T P; dQ^T [dim][n] = scale K^T dS^T; dK^T += scale Q^T dS */
  j->blas->sgemm("N", "T", &dim, &keys, &n, &one, d_out, &out_stride, b->weight, &wide, &one,
                 j->dv + key, &stride);
  j->blas->sgemm("N", "N", &dim, &n, &keys, &scale, j->in->k + key, &stride, b->d_weight, &wide,
                 &zero, j->dq + at, &stride);
  j->blas->sgemm("N", "T", &dim, &keys, &n, &scale, j->in->q + at, &stride, b->d_weight, &wide,
                 &one, j->dk + key, &stride);
}

static void run_task(void *argument, size_t i, unsigned thread) {
  const job *j = argument;
  const qp_attention *a = j->a;
  const size_t s = i / a->kv_heads, begin = s ? j->in->end[s - 1] : 0;
  const size_t length = j->in->end[s] - begin, group = a->heads / a->kv_heads;
  float *scratch = j->scratch + thread * j->floats;
  block b = {.begin = begin, .kv_head = (unsigned)(i % a->kv_heads)};
  b.weight = scratch, b.d_weight = scratch + QUERIES * j->longest;
  b.slope = scratch + 2 * QUERIES * j->longest;
  for (size_t t = begin; t < begin + length; t++) {
    const size_t at = t * j->in->stride + (size_t)b.kv_head * a->head_dim;
    memset(j->dk + at, 0, a->head_dim * sizeof *j->dk);
    memset(j->dv + at, 0, a->head_dim * sizeof *j->dv);
  }
  for (size_t h = 0; h < group; h++)
    for (b.first = 0; b.first < length; b.first += QUERIES) {
      b.head = (unsigned)(b.kv_head * group + h);
      b.rows = length - b.first < QUERIES ? length - b.first : QUERIES;
      b.key = a->window && b.first + 1 > a->window ? b.first + 1 - a->window : 0;
      b.keys = b.first + b.rows - b.key;
      walk_back(j, &b);
    }
}

qp_status qp_attention_back(const qp_attention *a, const qp_attention_input *in,
                            const qp_blas *blas, qp_parallel *p, const float *d_out, float *dq,
                            float *dk, float *dv, qp_error *err) {
  job j = {.a = a, .in = in, .blas = blas, .d_out = d_out, .dq = dq, .dk = dk, .dv = dv};
  for (size_t s = 0, begin = 0; s < in->sequences; begin = in->end[s++])
    if (in->end[s] - begin > j.longest) j.longest = in->end[s] - begin;
  j.floats = (2 * QUERIES + 1) * j.longest;
  j.scratch = malloc(qp_parallel_threads(p) * j.floats * sizeof *j.scratch + 1);
  if (!j.scratch) return qp_fail(err, QP_E_NOMEM, "no memory for gradients of attention");
  qp_parallel_for(p, in->sequences * a->kv_heads, run_task, &j);
  free(j.scratch);
  return QP_OK;
}
