/* SPDX-License-Identifier: MIT */
/* Computes rotary position embeddings. */
#include "gen/model/rotary.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool same_turns(const qp_turns *a, const qp_turns *b) {
  if (a->pairs != b->pairs || a->scale != b->scale) return false;
  for (unsigned i = 0; i < a->pairs; i++)
    if (a->frequency[i] != b->frequency[i]) return false;
  return true;
}

/* Angles are rounded to fp32 as transformers rounds them: that is how models were trained. */
static void fill_table(const qp_turns *t, size_t positions, float *table) {
  for (size_t p = 0; p < positions; p++, table += 2 * (size_t)t->pairs)
    for (unsigned i = 0; i < t->pairs; i++) {
      const double angle = (double)((float)t->frequency[i] * (float)p);
      table[i] = (float)(cos(angle) * t->scale);
      table[t->pairs + i] = (float)(sin(angle) * t->scale);
    }
}

/* Takes the turns over. */
static qp_status prepare_set(qp_rotary *r, unsigned i, qp_turns *turns, size_t length,
                             qp_error *err) {
  if (r->set[i].table && r->set[i].positions >= length && same_turns(&r->set[i].turns, turns))
    return qp_turns_free(turns, 1), QP_OK;
  qp_turns_free(&r->set[i].turns, 1);
  free(r->set[i].table);
  r->set[i].turns = *turns;
  r->set[i].positions = length;
  r->set[i].table = malloc(length * 2 * turns->pairs * sizeof(float) + 1);
  if (!r->set[i].table) return qp_fail(err, QP_E_NOMEM, "no memory for %zu positions", length);
  fill_table(turns, length, r->set[i].table);
  return QP_OK;
}

qp_status qp_rotary_prepare(qp_rotary *r, const qp_computation *c, size_t length, qp_error *err) {
  if (r->length == length) return QP_OK;
  qp_turns turns[QP_MAX_TURNS] = {0};
  unsigned count = 0;
  r->length = 0;
  qp_status status = qp_computation_turns(c, length, turns, &count, err);
  for (unsigned i = 0; i < count; i++) {
    if (status)
      qp_turns_free(&turns[i], 1);
    else
      status = prepare_set(r, i, &turns[i], length, err);
  }
  if (status) return status;
  r->sets = count;
  r->length = length;
  return QP_OK;
}

void qp_rotary_free(qp_rotary *r) {
  for (unsigned i = 0; i < QP_MAX_TURNS; i++) {
    qp_turns_free(&r->set[i].turns, 1);
    free(r->set[i].table);
  }
  *r = (qp_rotary){0};
}

/* Turn each head's pairs forwards (direction 1) or back (-1). */
static void turn(const qp_rotary *r, unsigned set, size_t position, unsigned heads,
                 unsigned head_dim, float direction, float *x) {
  if (!set) return;
  const unsigned n = r->set[set - 1].turns.pairs;
  const float *cosine = r->set[set - 1].table + position * 2 * n, *sine = cosine + n;
  for (unsigned h = 0; h < heads; h++, x += head_dim)
    for (unsigned i = 0; i < n; i++) {
      const float a = x[i], b = x[i + n], s = direction * sine[i];
      x[i] = a * cosine[i] - b * s;
      x[i + n] = b * cosine[i] + a * s;
    }
}

void qp_rotary_apply(const qp_rotary *r, unsigned set, size_t position, unsigned heads,
                     unsigned head_dim, float *x) {
  turn(r, set, position, heads, head_dim, 1, x);
}

void qp_rotary_back(const qp_rotary *r, unsigned set, size_t position, unsigned heads,
                    unsigned head_dim, float *x) {
  turn(r, set, position, heads, head_dim, -1, x);
}
