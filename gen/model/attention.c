/* SPDX-License-Identifier: MIT */
/* Computes causal attention over whole sequences, in blocks. */
#include "gen/model/attention.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/model/vector_math.h"

enum { QUERIES = 64, KEYS = 256 }; /* of a block */

/* One thread's block: 'rows' = queries x the heads that share keys, query-major. */
typedef struct block {
  float *q;          /* [rows][head_dim], scaled */
  float *scores;     /* [rows][KEYS] */
  float *out;        /* [rows][head_dim] */
  float *most, *sum; /* [rows] of the softmax so far */
} block;

typedef struct job {
  const qp_attention *a;
  const qp_attention_input *in;
  const qp_blas *blas;
  const qp_attention_scratch *scratch;
  float *out;
  size_t *first_task; /* [sequences + 1]: a task is a block of queries of one key head */
} job;

static unsigned group(const qp_attention *a) { return a->heads / a->kv_heads; }

qp_status qp_attention_open(const qp_attention *a, unsigned threads, qp_attention_scratch *out,
                            qp_error *err) {
  const size_t rows = (size_t)QUERIES * group(a);
  const size_t floats = rows * (2 * (size_t)a->head_dim + KEYS + 2);
  float *data = malloc(threads * floats * sizeof *data);
  if (!data) return qp_fail(err, QP_E_NOMEM, "no memory for attention");
  *out = (qp_attention_scratch){threads, floats, data};
  /* cppcheck-suppress memleak ; '*out' owns it */
  return QP_OK;
}

void qp_attention_close(qp_attention_scratch *s) {
  free(s->data);
  *s = (qp_attention_scratch){0};
}

static block block_of(const job *j, unsigned thread) {
  const size_t rows = (size_t)QUERIES * group(j->a), dim = j->a->head_dim;
  float *at = j->scratch->data + thread * j->scratch->floats;
  return (block){at, at + 2 * rows * dim, at + rows * dim, at + rows * (2 * dim + KEYS),
                 at + rows * (2 * dim + KEYS + 1)};
}

/* The scores of 'row' in keys [first, first + n) become weights; what came before is scaled. */
static void weigh(const qp_attention *a, const block *b, size_t row, float *scores, size_t visible,
                  size_t hidden, size_t n) {
  /* keys [hidden, visible) of the n are seen */
  if (a->softcap > 0) qp_vector_softcap(scores + hidden, visible - hidden, a->softcap);
  const float most = fmaxf(b->most[row], qp_vector_max(scores + hidden, visible - hidden));
  const float shrink = b->most[row] > -INFINITY ? expf(b->most[row] - most) : 0;
  b->most[row] = most;
  b->sum[row] = b->sum[row] * shrink + qp_vector_exp_sum(scores + hidden, visible - hidden, most);
  memset(scores, 0, hidden * sizeof *scores);
  memset(scores + visible, 0, (n - visible) * sizeof *scores);
  qp_vector_scale(b->out + row * a->head_dim, a->head_dim, shrink);
}

/* Queries [query, query_end) of a sequence meet its keys [first, end). */
static void meet(const job *j, const block *b, const float *k, const float *v, size_t query,
                 size_t query_end, size_t first, size_t end) {
  const qp_attention *a = j->a;
  const unsigned heads = group(a);
  const size_t rows = (query_end - query) * heads;
  const int m = (int)(end - first), n = (int)rows, dim = (int)a->head_dim;
  const int stride = (int)j->in->stride, keys = KEYS;
  const float one = 1, zero = 0;
  /* In column-major order this is scores^T [keys][rows] = K Q^T. */
  j->blas->sgemm("T", "N", &m, &n, &dim, &one, k + first * j->in->stride, &stride, b->q, &dim,
                 &zero, b->scores, &keys);
  for (size_t r = 0; r < rows; r++) {
    const size_t t = query + r / heads;
    const size_t least = a->window && t + 1 > a->window ? t + 1 - a->window : 0;
    const size_t from = least > first ? least - first : 0;
    const size_t to = t + 1 < end ? (t + 1 > first ? t + 1 - first : 0) : end - first;
    float *scores = b->scores + r * KEYS;
    if (from < to)
      weigh(a, b, r, scores, to, from, end - first);
    else
      memset(scores, 0, (end - first) * sizeof *scores);
  }
  j->blas->sgemm("N", "N", &dim, &n, &m, &one, v + first * j->in->stride, &stride, b->scores, &keys,
                 &one, b->out, &dim);
}

/* A block of queries of sequence [begin, end) against all keys that they see. */
static void attend(const job *j, const block *b, size_t begin, size_t end, size_t query,
                   unsigned kv_head) {
  const qp_attention *a = j->a;
  const unsigned heads = group(a);
  const size_t dim = a->head_dim, length = end - begin, stride = j->in->stride;
  const size_t query_end = query + QUERIES < length ? query + QUERIES : length;
  const size_t rows = (query_end - query) * heads;
  const float *k = j->in->k + begin * stride + kv_head * dim;
  const float *v = j->in->v + begin * stride + kv_head * dim;
  for (size_t r = 0; r < rows; r++) {
    const size_t token = begin + query + r / heads;
    const size_t head = kv_head * heads + r % heads;
    memcpy(b->q + r * dim, j->in->q + token * stride + head * dim, dim * sizeof *b->q);
    qp_vector_scale(b->q + r * dim, dim, a->scale);
    b->most[r] = -INFINITY;
    b->sum[r] = 0;
  }
  memset(b->out, 0, rows * dim * sizeof *b->out);
  size_t first = a->window && query + 1 > a->window ? query + 1 - a->window : 0;
  for (; first < query_end; first += KEYS)
    meet(j, b, k, v, query, query_end, first, first + KEYS < query_end ? first + KEYS : query_end);
  for (size_t r = 0; r < rows; r++) {
    const size_t token = begin + query + r / heads;
    float *to = j->out + (token * a->heads + kv_head * heads + r % heads) * dim;
    memcpy(to, b->out + r * dim, dim * sizeof *to);
    qp_vector_scale(to, dim, 1 / b->sum[r]);
  }
}

/* Long blocks first: the last queries of a sequence see the most keys. */
static void run_task(void *argument, size_t i, unsigned thread) {
  const job *j = argument;
  size_t s = 0;
  while (i >= j->first_task[s + 1]) s++;
  const size_t begin = s ? j->in->end[s - 1] : 0, end = j->in->end[s];
  const size_t task = j->first_task[s + 1] - 1 - i;
  const block b = block_of(j, thread);
  attend(j, &b, begin, end, task / j->a->kv_heads * QUERIES, (unsigned)(task % j->a->kv_heads));
}

void qp_attention_run(const qp_attention *a, const qp_attention_input *in, const qp_blas *blas,
                      qp_parallel *p, const qp_attention_scratch *scratch, size_t *tasks,
                      float *out) {
  job j = {a, in, blas, scratch, out, tasks};
  tasks[0] = 0;
  for (size_t s = 0, begin = 0; s < in->sequences; begin = in->end[s++])
    tasks[s + 1] = tasks[s] + (in->end[s] - begin + QUERIES - 1) / QUERIES * a->kv_heads;
  qp_parallel_for(p, tasks[in->sequences], run_task, &j);
}
