/* SPDX-License-Identifier: MIT */
/*
** attend and pick:  seed -> inputs, results in double precision; their comparison.  What a launch
** comes with (rotary positions or none, a window, an embedding) turns with the seed.  Between rows
** are NaNs, and must be afterwards; of the caches only the new token's place changes.
*/
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/check/verify_internal.h"

enum { GAP = 8 /* values behind a row */, KV_HEADS = 2, CONTEXT = 75, WINDOW = 20, TURNS = 4 };

struct qp_check_decoder {
  unsigned group, pairs, window, vocabulary;
  float scale;
  float *rotary; /* [CONTEXT][2][pairs], or NULL */
  int32_t *position /* [batch] before the launch */, *known, *tokens /* [batch][CONTEXT] */;
  uint16_t *q, *k, *v;     /* [batch][heads][K]; [batch][KV_HEADS][K] */
  uint16_t *keys, *values; /* [batch][CONTEXT][KV_HEADS][K] */
  uint16_t *logits;        /* [batch][vocabulary] */
  uint16_t *embedding;     /* [vocabulary][K], or NULL */
};

void qp_check_decoder_release(qp_check *c) {
  qp_check_decoder *d = c->decoder;
  if (!d) return;
  void *const all[] = {d->rotary, d->position, d->known,  d->tokens, d->q,         d->k,
                       d->v,      d->keys,     d->values, d->logits, d->embedding, d};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

/* A buffer of the device back, its guard looked at; NULL with *status. */
static uint16_t *fetch(qp_check *c, qp_devptr from, size_t values, const char *what, qp_verdict *v,
                       qp_status *status) {
  uint16_t *to = qp_check_host(c, 2 * values);
  *status = to ? qp_device_download(c->dev, to, from, 2 * values, c->err) : QP_E_NOMEM;
  if (!*status) *status = qp_check_guard(c, from, 2 * values, what, v);
  if (!*status) return to;
  free(to);
  return NULL;
}

static qp_status wrong(qp_verdict *v, const char *what, size_t row, size_t column,
                       const char *why) {
  snprintf(v->why, sizeof v->why, "%s: [%zu][%zu] %s", what, row, column, why);
  return QP_E_WRONG;
}

/* Rows 'stride' apart against 'want' [batch][width]; between them nothing was written. */
static qp_status compare_rows(qp_check *c, const uint16_t *got, size_t width, size_t stride,
                              const double *want, qp_check_sums *s, qp_verdict *v) {
  for (size_t n = 0; n < c->k->problem.batch; n++)
    for (size_t i = 0; i < stride; i++) {
      const uint16_t bits = got[n * stride + i];
      if (i >= width && bits != 0xffff)
        return wrong(v, "output", n, i, "lies behind a row and was written");
      if (i >= width) continue;
      if (isnan(qp_check_widen(c, bits)))
        return wrong(v, "output", n, i, "is NaN or was never written");
      qp_check_compare(s, qp_check_widen(c, bits), want[n * width + i]);
    }
  return QP_OK;
}

/* ---- attend ---- */

static bool inside(int32_t position) { return position >= 0 && position < CONTEXT; }

static qp_status make_rotary(qp_check *c, qp_check_decoder *d) {
  if (c->seed % TURNS == 2) return QP_OK; /* without */
  d->rotary = qp_check_host(c, sizeof *d->rotary * CONTEXT * 2 * d->pairs);
  if (!d->rotary) return QP_E_NOMEM;
  for (size_t t = 0; t < CONTEXT; t++)
    for (size_t i = 0; i < d->pairs; i++) {
      const double angle = (double)t * pow(1000, -(double)i / d->pairs);
      d->rotary[t * 2 * d->pairs + i] = (float)cos(angle);
      d->rotary[(t * 2 + 1) * d->pairs + i] = (float)sin(angle);
    }
  return qp_check_buffer(c, d->rotary, sizeof *d->rotary * CONTEXT * 2 * d->pairs, &c->args.rotary);
}

static qp_status put_attend(qp_check *c, qp_check_decoder *d) {
  const size_t columns = c->k->problem.columns, rows = c->k->problem.batch;
  const size_t q = d->group * KV_HEADS * columns, kv = KV_HEADS * columns;
  const size_t cache = rows * CONTEXT * kv;
  qp_arguments *a = &c->args;
  a->x_stride = q + GAP, a->y_stride = q + 3 * GAP, a->up_stride = kv + 2 * GAP;
  a->rows = rows, a->context = CONTEXT, a->pairs = d->pairs;
  memcpy(&a->heads, (const uint32_t[]){d->group * KV_HEADS, KV_HEADS}, sizeof a->heads);
  memcpy(&a->attention, &d->scale, 4);
  memcpy((char *)&a->attention + 4, &d->window, 4);
  qp_status status = qp_check_put_rows(c, d->q, c->k->problem.batch, q, a->x_stride, 2, &a->x);
  if (!status) status = qp_check_put_rows(c, d->k, c->k->problem.batch, kv, a->up_stride, 2, &a->k);
  if (!status) status = qp_check_put_rows(c, d->v, c->k->problem.batch, kv, a->up_stride, 2, &a->v);
  if (!status) status = qp_check_buffer(c, d->keys, 2 * cache, &a->keys);
  if (!status) status = qp_check_buffer(c, d->values, 2 * cache, &a->values);
  if (!status) status = qp_check_buffer(c, d->position, 4 * rows, &a->positions);
  if (!status) status = make_rotary(c, d);
  return status ? status : qp_check_buffer(c, NULL, 2 * rows * a->y_stride, &a->y);
}

qp_status qp_check_attend_inputs(qp_check *c) {
  static const int32_t position[] = {CONTEXT - 1, 33, CONTEXT, 6, -1, 0};
  const size_t columns = c->k->problem.columns, rows = c->k->problem.batch;
  const unsigned turn = c->seed % TURNS, heads = qp_choice_get(&c->k->choice, "heads");
  qp_check_decoder *d = c->decoder = qp_check_host(c, sizeof *d);
  if (!d) return QP_E_NOMEM;
  *d = (qp_check_decoder){.group = turn % 2 ? heads + 1 : 3,
                          .pairs = (unsigned)columns / (turn == 1 ? 4 : 2),
                          .window = turn == 1   ? WINDOW
                                    : turn == 3 ? 1
                                                : 0,
                          .scale = (float)(1 / sqrt((double)columns))};
  const size_t kv = rows * KV_HEADS * columns;
  d->q = qp_check_random(c, kv * d->group, -4, 4);
  d->k = qp_check_random(c, kv, -4, 4);
  d->v = qp_check_random(c, kv, -1, 1);
  d->keys = qp_check_random(c, kv * CONTEXT, -4, 4);
  d->values = qp_check_random(c, kv * CONTEXT, -1, 1);
  d->position = qp_check_host(c, rows * sizeof *d->position);
  if (!d->q || !d->k || !d->v || !d->keys || !d->values || !d->position) return QP_E_NOMEM;
  for (size_t n = 0; n < rows; n++)
    d->position[n] = position[(n + c->seed) % (sizeof position / sizeof *position)];
  return put_attend(c, d);
}

/* Turn a head to its rotary position. */
static void turn_head(const qp_check *c, const uint16_t *head, int32_t position, double *to) {
  const qp_check_decoder *d = c->decoder;
  for (unsigned i = 0; i < c->k->problem.columns; i++) to[i] = qp_check_widen(c, head[i]);
  for (unsigned i = 0; d->rotary && i < d->pairs; i++) {
    const float *table = d->rotary + (size_t)position * 2 * d->pairs;
    const double cosine = (double)table[i], sine = (double)table[d->pairs + i];
    const double u = to[i], w = to[i + d->pairs];
    to[i] = u * cosine - w * sine;
    to[i + d->pairs] = w * cosine + u * sine;
  }
}

/* Find the place of a key head in a cache. */
static size_t cache_at(const qp_check *c, size_t n, size_t t, size_t kv) {
  return ((n * CONTEXT + t) * KV_HEADS + kv) * c->k->problem.columns;
}

/* The new tokens into the caches, as the kernel stores them. */
static void fill_caches(qp_check *c, double *head) {
  qp_check_decoder *d = c->decoder;
  const unsigned columns = c->k->problem.columns;
  for (size_t n = 0; n < c->k->problem.batch; n++)
    for (size_t kv = 0; kv < KV_HEADS && inside(d->position[n]); kv++) {
      const size_t at = cache_at(c, n, (size_t)d->position[n], kv);
      const size_t from = (n * KV_HEADS + kv) * columns;
      turn_head(c, d->k + from, d->position[n], head);
      for (unsigned i = 0; i < columns; i++) d->keys[at + i] = qp_check_narrow(c, head[i]);
      memcpy(d->values + at, d->v + from, 2ul * columns);
    }
}

static void attend_head(qp_check *c, size_t n, size_t head, double *q, double *y) {
  const qp_check_decoder *d = c->decoder;
  const unsigned columns = c->k->problem.columns;
  const int32_t p = d->position[n], w = (int32_t)d->window;
  double score[CONTEXT] = {0}, most = -INFINITY, total = 0;
  turn_head(c, d->q + (n * KV_HEADS * d->group + head) * columns, p, q);
  const int32_t from = w && p + 1 > w ? p + 1 - w : 0;
  for (int32_t t = from; t <= p; t++) {
    const uint16_t *key = d->keys + cache_at(c, n, (size_t)t, head / d->group);
    score[t] = 0;
    for (unsigned i = 0; i < columns; i++) score[t] += q[i] * qp_check_widen(c, key[i]);
    score[t] *= (double)d->scale;
    if (score[t] > most) most = score[t];
  }
  for (int32_t t = from; t <= p; t++) {
    const uint16_t *value = d->values + cache_at(c, n, (size_t)t, head / d->group);
    const double share = exp(score[t] - most);
    total += share;
    for (unsigned i = 0; i < columns; i++) y[i] += share * qp_check_widen(c, value[i]);
  }
  for (unsigned i = 0; i < columns; i++) y[i] /= total;
}

/* A cache: v as it came, k to a rounding of the type, all else to the bit. */
static qp_status compare_cache(qp_check *c, qp_devptr from, const uint16_t *want, const char *what,
                               bool turned, qp_check_sums *s, qp_verdict *v) {
  const size_t width = (size_t)KV_HEADS * c->k->problem.columns;
  const size_t all = c->k->problem.batch * CONTEXT * width;
  qp_status status;
  uint16_t *got = fetch(c, from, all, what, v, &status);
  for (size_t i = 0; i < all && !status; i++) {
    const size_t n = i / width / CONTEXT, t = i / width % CONTEXT;
    if (turned && (int32_t)t == c->decoder->position[n])
      qp_check_compare(s, qp_check_widen(c, got[i]), qp_check_widen(c, want[i]));
    else if (got[i] != want[i])
      status = wrong(v, what, n, t, "of the cache is not what it must be");
  }
  free(got);
  return status;
}

qp_status qp_check_attend_outputs(qp_check *c, qp_check_sums *s, qp_verdict *v) {
  const qp_check_decoder *d = c->decoder;
  const size_t columns = c->k->problem.columns, rows = c->k->problem.batch;
  const size_t heads = KV_HEADS * d->group, width = heads * columns;
  qp_status status;
  uint16_t *y = fetch(c, c->args.y, rows * c->args.y_stride, "output", v, &status);
  double *want = qp_check_host(c, rows * width * sizeof *want);
  double *q = qp_check_host(c, columns * sizeof *q);
  if (!status && (!want || !q)) status = QP_E_NOMEM;
  if (!status) {
    fill_caches(c, q);
    for (size_t n = 0; n < rows; n++)
      for (size_t h = 0; h < heads && inside(d->position[n]); h++)
        attend_head(c, n, h, q, want + n * width + h * columns);
    status = compare_rows(c, y, width, c->args.y_stride, want, s, v);
  }
  if (!status) status = compare_cache(c, c->args.keys, d->keys, "keys", d->rotary != NULL, s, v);
  if (!status) status = compare_cache(c, c->args.values, d->values, "values", false, s, v);
  free(y);
  free(want);
  free(q);
  return status;
}

/* ---- pick ---- */

/* Plant the largest logit twice in a row, the first of them behind the first chunk of threads; a
   NaN, which is none; and in another row the last logit. */
static void plant(qp_check *c, qp_check_decoder *d, size_t n) {
  uint16_t *row = d->logits + n * d->vocabulary;
  const uint16_t most = qp_check_narrow(c, 9);
  if (n % 3 == 0) row[d->vocabulary / 2] = row[d->vocabulary / 2 + 17] = most;
  if (n % 3 == 1) row[d->vocabulary - 1] = most;
  if (n % 3 == 2) row[0] = most;
  row[3] = 0x7fff;
}

static qp_status put_pick(qp_check *c, qp_check_decoder *d) {
  const size_t rows = c->k->problem.batch, columns = c->k->problem.columns;
  qp_arguments *a = &c->args;
  a->rows = rows, a->context = CONTEXT, a->vocabulary = d->vocabulary;
  a->x_stride = (d->vocabulary + GAP - 1) / GAP * GAP + GAP, a->y_stride = columns + GAP;
  qp_status status =
      qp_check_put_rows(c, d->logits, c->k->problem.batch, d->vocabulary, a->x_stride, 2, &a->x);
  if (!status) status = qp_check_buffer(c, d->tokens, 4 * rows * CONTEXT, &a->tokens);
  if (!status && d->known) status = qp_check_buffer(c, d->known, 4 * rows, &a->known);
  if (!status) status = qp_check_buffer(c, d->position, 4 * rows, &a->positions);
  if (!status) status = qp_check_buffer(c, NULL, 4 * rows, &a->ids);
  if (!status && d->embedding)
    status = qp_check_buffer(c, d->embedding, 2 * d->vocabulary * columns, &a->weight);
  return status ? status : qp_check_buffer(c, NULL, 2 * rows * a->y_stride, &a->y);
}

qp_status qp_check_pick_inputs(qp_check *c) {
  static const int32_t position[] = {CONTEXT - 2, 5, CONTEXT - 1, 0, -1};
  const size_t rows = c->k->problem.batch, columns = c->k->problem.columns;
  qp_check_decoder *d = c->decoder = qp_check_host(c, sizeof *d);
  if (!d) return QP_E_NOMEM;
  d->vocabulary = c->seed % 2 ? 301 : 8 * c->k->block + 43; /* threads without, and with two */
  d->logits = qp_check_random(c, rows * d->vocabulary, -8, 8);
  d->tokens = qp_check_host(c, rows * CONTEXT * sizeof *d->tokens);
  d->position = qp_check_host(c, rows * sizeof *d->position);
  const bool with = c->seed % TURNS != 1;
  if (with) d->known = qp_check_host(c, rows * sizeof *d->known);
  if (with) d->embedding = qp_check_random(c, d->vocabulary * columns, -1, 1);
  if (!d->logits || !d->tokens || !d->position || (with && (!d->known || !d->embedding)))
    return QP_E_NOMEM;
  for (size_t n = 0; n < rows; n++) {
    plant(c, d, n);
    d->position[n] = position[(n + c->seed) % (sizeof position / sizeof *position)];
    if (d->known) d->known[n] = d->position[n] + 1 + (n % 2 != 0);
    for (size_t t = 0; t < CONTEXT; t++)
      d->tokens[n * CONTEXT + t] = (int32_t)(qp_random_next(&c->random) % d->vocabulary);
  }
  return put_pick(c, d);
}

static int32_t pick_row(qp_check *c, size_t n) {
  const qp_check_decoder *d = c->decoder;
  const int32_t next = d->position[n] + 1;
  int32_t best = -1;
  if (d->known && next < CONTEXT && next < d->known[n])
    return d->tokens[n * CONTEXT + (size_t)next];
  for (size_t t = 0; t < d->vocabulary; t++) {
    const double v = qp_check_widen(c, d->logits[n * d->vocabulary + t]);
    if (!isnan(v) &&
        (best < 0 || v > qp_check_widen(c, d->logits[n * d->vocabulary + (size_t)best])))
      best = (int32_t)t;
  }
  return best;
}

/* Compare numbers of the device with 'want'. */
static qp_status compare_numbers(qp_check *c, qp_devptr from, size_t n, const int32_t *want,
                                 const char *what, qp_verdict *v) {
  char why[64];
  qp_status status;
  uint16_t *got = fetch(c, from, 2 * n, what, v, &status);
  for (size_t i = 0; i < n && !status; i++) {
    int32_t number;
    memcpy(&number, got + 2 * i, 4);
    if (number == want[i]) continue;
    snprintf(why, sizeof why, "is %d, not %d", number, want[i]);
    status = wrong(v, what, i / CONTEXT, i % CONTEXT, why);
  }
  free(got);
  return status;
}

/* Y is exact: rows of the embedding, or what was there before. */
static qp_status compare_embedded(qp_check *c, const int32_t *picked, qp_check_sums *s,
                                  qp_verdict *v) {
  const qp_check_decoder *d = c->decoder;
  const size_t columns = c->k->problem.columns, stride = c->args.y_stride;
  qp_status status;
  uint16_t *y = fetch(c, c->args.y, c->k->problem.batch * stride, "output", v, &status);
  for (size_t i = 0; i < c->k->problem.batch * stride && !status; i++) {
    const size_t n = i / stride, k = i % stride;
    const bool written = d->embedding && k < columns;
    const uint16_t want = written ? d->embedding[(size_t)picked[n] * columns + k] : 0xffff;
    if (y[i] != want) status = wrong(v, "output", n, k, "is not the embedding's");
    s->n++;
  }
  free(y);
  return status;
}

qp_status qp_check_pick_outputs(qp_check *c, qp_check_sums *s, qp_verdict *v) {
  qp_check_decoder *d = c->decoder;
  const size_t rows = c->k->problem.batch;
  int32_t *picked = qp_check_host(c, rows * sizeof *picked);
  if (!picked) return QP_E_NOMEM;
  for (size_t n = 0; n < rows; n++) {
    picked[n] = pick_row(c, n);
    d->position[n]++;
    if (inside(d->position[n])) d->tokens[n * CONTEXT + (size_t)d->position[n]] = picked[n];
  }
  qp_status status = compare_numbers(c, c->args.ids, rows, picked, "ids", v);
  if (!status) status = compare_numbers(c, c->args.positions, rows, d->position, "positions", v);
  if (!status) status = compare_numbers(c, c->args.tokens, rows * CONTEXT, d->tokens, "tokens", v);
  if (!status) status = compare_embedded(c, picked, s, v);
  free(picked);
  return status;
}
