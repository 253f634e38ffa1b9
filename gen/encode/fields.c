/* SPDX-License-Identifier: MIT */
/* Group fields (scales, zeros, exponents) together with the codes of their group. */
#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/coder.h"
#include "gen/encode/field_fit.h"
#include "gen/encode/field_sums.h"
#include "runtime/half.h"

/*
** A quantizer's decode says what fields do; nothing else is known of them.  So the fields are
** searched: each has a list of values, ascending, and a point is a place in each list.  First a
** coarse grid of points, then steps along one field or two at a time, halved until none helps; of
** large codes, where a zero and a scale bind each other, steps that the other fields follow.  fp16
** fields are looked for among numbers with 6 bits of fraction (64 an octave: within 0.8% of any
** scale); the tables of codes are kept, so that each point costs its decode once.
*/
enum {
  COARSE_POINTS = 1024, /* most points of all fields together */
  MAX_CODES = 4096,
  KEPT_SLOTS = 1 << 12,  /* tables of other points that are kept; a newer one takes the slot of an
                            older */
  SMALL_SLOTS = 1 << 14, /* the same of tables of few codes */
  SMALL_CODES = 64,
  FOLLOWED_STEPS = 4 /* 1, 2, 4, 8: lengths of a field's steps that the others follow */
};

typedef struct kept {
  uint32_t at[QP_MAX_FIELDS];
  float *value; /* [states][dim]; NULL: empty */
  qp_codewords words;
} kept;

struct qp_field_search {
  const qp_quantizer *quantizer;
  unsigned states;
  qp_affine affine; /* then what follows the fit is not used */
  qp_field_fit fit;
  qp_field_sums *sums; /* not NULL: then what follows is not used */
  qp_field_axis axis[QP_MAX_FIELDS];
  unsigned step[QP_MAX_FIELDS]; /* The distance of the coarse grid's points. */
  kept *slot;                   /* [slots] */
  kept *coarse;                 /* [coarse_points], in the order of the scan */
  unsigned slots, coarse_points;
  unsigned last; /* The coarse grid's best point of the group before, which is a good guess at this
                    one's. */
  uint16_t *halves; /* [2^window][dim] */
};

/* Spread the coarse grid over the fields: the finest that has no more than COARSE_POINTS. */
static void choose_coarse(qp_field_search *s) {
  const unsigned n = s->quantizer->fields;
  for (unsigned f = 0; f < n; f++) s->step[f] = 1;
  for (;;) {
    double points = 1;
    unsigned most = 0;
    for (unsigned f = 0; f < n; f++) {
      points *= ceil(s->axis[f].count / (double)s->step[f]);
      if (s->axis[f].count / s->step[f] > s->axis[most].count / s->step[most]) most = f;
    }
    s->coarse_points = (unsigned)points;
    if (points <= COARSE_POINTS) return;
    s->step[most] *= 2;
  }
}

static qp_status make_tables(qp_field_search *s, qp_error *err) {
  choose_coarse(s);
  s->slots = s->states <= SMALL_CODES ? SMALL_SLOTS : KEPT_SLOTS;
  s->slot = calloc(s->slots, sizeof *s->slot);
  s->coarse = calloc(COARSE_POINTS, sizeof *s->coarse);
  return s->slot && s->coarse ? QP_OK : qp_fail(err, QP_E_NOMEM, "out of memory");
}

qp_status qp_field_search_new(const qp_quantizer *q, qp_field_search **out, qp_error *err) {
  qp_field_search *s = calloc(1, sizeof *s);
  if (!s) return qp_fail(err, QP_E_NOMEM, "out of memory");
  s->quantizer = q;
  s->states = 1u << (q->planes ? q->planes_read : q->window);
  s->halves = malloc(sizeof *s->halves * q->dim << q->window);
  qp_status status = s->halves ? QP_OK : qp_fail(err, QP_E_NOMEM, "out of memory");
  if (!status && s->states > MAX_CODES) {
    status =
        qp_fail(err, QP_E_LIMIT, "%s: group fields with codes of %u bits; up to 12 can be encoded",
                q->name, q->window);
  }
  if (!status) status = qp_affine_make(&s->affine, q, err);
  if (!status && !s->affine.quantizer) status = qp_field_sums_new(q, &s->sums, err);
  const unsigned fraction = s->affine.quantizer ? QP_FRACTION_FINE : QP_FRACTION_COARSE;
  for (unsigned f = 0; !status && f < q->fields; f++)
    status = qp_field_axis_make(&s->axis[f], &q->field[f], fraction, err);
  if (!status && s->affine.quantizer)
    status = qp_field_fit_make(&s->fit, &s->affine, s->axis, err);
  else if (!status && !s->sums)
    status = make_tables(s, err);
  if (status) {
    qp_field_search_free(s);
    return status;
  }
  *out = s;
  return QP_OK;
}

static void free_kept(kept *k, unsigned count) {
  for (unsigned i = 0; k && i < count; i++) {
    free(k[i].value);
    qp_codewords_free(&k[i].words);
  }
  free(k);
}

void qp_field_search_free(qp_field_search *s) {
  if (!s) return;
  for (unsigned f = 0; f < QP_MAX_FIELDS; f++) qp_field_axis_free(&s->axis[f]);
  qp_field_fit_free(&s->fit);
  qp_field_sums_free(s->sums);
  qp_affine_free(&s->affine);
  free_kept(s->slot, s->slots);
  free_kept(s->coarse, COARSE_POINTS);
  free(s->halves);
  free(s);
}

/* ---- One point ---- */

/* Make the codes' table at a point. */
static qp_status fill(qp_field_search *s, kept *k, const uint32_t at[QP_MAX_FIELDS],
                      qp_error *err) {
  const qp_quantizer *q = s->quantizer;
  uint32_t fields[QP_MAX_FIELDS] = {0};
  for (unsigned f = 0; f < q->fields; f++) fields[f] = s->axis[f].value[at[f]];
  qp_status status = qp_quantizer_table(q, fields, NULL, s->halves, err);
  if (!status && !k->value && !(k->value = malloc(sizeof *k->value * s->states * q->dim)))
    status = qp_fail(err, QP_E_NOMEM, "out of memory");
  if (status) return status;
  for (size_t i = 0; i < (size_t)s->states * q->dim; i++)
    k->value[i] = qp_half_to_float(s->halves[i]);
  qp_codewords_free(&k->words);
  status = qp_codewords_make(&k->words, s->states, q->dim, k->value, err);
  if (status) {
    free(k->value);
    k->value = NULL;
    return status;
  }
  memcpy(k->at, at, sizeof k->at);
  return QP_OK;
}

/* The codes' table at a point, in the place of one that is kept. */
static qp_status table_in(qp_field_search *s, kept *k, const uint32_t at[QP_MAX_FIELDS],
                          const kept **out, qp_error *err) {
  *out = k;
  return k->value && !memcmp(k->at, at, sizeof k->at) ? QP_OK : fill(s, k, at, err);
}

/* Points that are neighbours, and all where they are few, have slots of their own. */
static qp_status table_at(qp_field_search *s, const uint32_t at[QP_MAX_FIELDS], const kept **out,
                          qp_error *err) {
  uint32_t place = 0;
  for (unsigned f = s->quantizer->fields; f-- > 0;) place = place * s->axis[f].count + at[f];
  return table_in(s, &s->slot[place & (s->slots - 1)], at, out, err);
}

/* ---- Search ---- */

typedef struct best_point {
  uint32_t at[QP_MAX_FIELDS];
  float sum;
} best_point;

/* Is a point, by its table, better than the best one? */
static bool is_better(const kept *k, const uint32_t at[QP_MAX_FIELDS], unsigned n,
                      const float *target, float most, best_point *best) {
  const float sum = qp_codewords_error(&k->words, n / k->words.dim, target, fminf(most, best->sum));
  if (!(sum < best->sum) || sum > most) return false;
  memcpy(best->at, at, sizeof best->at);
  best->sum = sum;
  return true;
}

/* Try all coarse points in order.  What the last group's best one gives here is a bound: most
   others are worse after a few targets. */
static qp_status search_coarse(qp_field_search *s, unsigned n, const float *target,
                               best_point *best, qp_error *err) {
  const unsigned fields = s->quantizer->fields;
  const kept *k = &s->coarse[s->last];
  uint32_t at[QP_MAX_FIELDS] = {0};
  const float bound =
      k->value ? qp_codewords_error(&k->words, n / k->words.dim, target, INFINITY) : INFINITY;
  for (unsigned i = 0;; i++) {
    qp_status status = table_in(s, &s->coarse[i], at, &k, err);
    if (status) return status;
    if (is_better(k, at, n, target, bound, best)) s->last = i;
    unsigned f = 0;
    for (; f < fields; f++) {
      at[f] += s->step[f];
      if (at[f] < s->axis[f].count) break;
      at[f] = 0;
    }
    if (f == fields) return QP_OK;
  }
}

/* Move a point's place in field f by a step; false: there is no such place. */
static bool move(const qp_field_search *s, best_point *p, unsigned f, int direction,
                 unsigned step) {
  if (direction < 0 ? p->at[f] < step : p->at[f] + step >= s->axis[f].count) return false;
  p->at[f] = direction < 0 ? p->at[f] - step : p->at[f] + step;
  return true;
}

/*
** The place one step away along field f and, where direction g is not 0, along field g too: a scale
** and a zero depend on each other, and the way down leads along neither alone.
*/
static qp_status try_step(qp_field_search *s, const unsigned step[QP_MAX_FIELDS],
                          const unsigned field[2], const int direction[2], unsigned n,
                          const float *target, best_point *best, bool *better, qp_error *err) {
  best_point now = *best;
  if (!move(s, &now, field[0], direction[0], step[field[0]])) return QP_OK;
  if (direction[1] && !move(s, &now, field[1], direction[1], step[field[1]])) return QP_OK;
  const kept *k;
  const qp_status status = table_at(s, now.at, &k, err);
  if (!status) *better |= is_better(k, now.at, n, target, INFINITY, best);
  return status;
}

/* Steps of one length in every field, and in every two, while one helps. */
static qp_status descend(qp_field_search *s, const unsigned step[QP_MAX_FIELDS], unsigned n,
                         const float *target, best_point *best, qp_error *err) {
  static const int directions[][2] = {{-1, 0}, {1, 0}, {-1, -1}, {-1, 1}, {1, -1}, {1, 1}};
  const unsigned fields = s->quantizer->fields;
  for (bool better = true; better;) {
    better = false;
    for (unsigned i = 0; i < fields * fields; i++) {
      const unsigned field[2] = {i / fields, i % fields};
      if (field[0] > field[1]) continue;
      const bool one = field[0] == field[1];
      for (unsigned d = one ? 0 : 2; d < (one ? 2 : 6); d++) {
        const qp_status status =
            try_step(s, step, field, directions[d], n, target, best, &better, err);
        if (status) return status;
      }
    }
  }
  return QP_OK;
}

/* Find the best place by steps along all fields but f; '*at' begins with no sum. */
static qp_status follow(qp_field_search *s, unsigned f, unsigned n, const float *target,
                        best_point *at, qp_error *err) {
  const kept *k;
  qp_status status = table_at(s, at->at, &k, err);
  if (!status) is_better(k, at->at, n, target, INFINITY, at);
  for (bool better = true; better && !status;) {
    better = false;
    for (unsigned g = 0; g < s->quantizer->fields && !status; g++) {
      static const unsigned one[QP_MAX_FIELDS] = {1, 1, 1, 1, 1, 1, 1, 1};
      if (g == f) continue;
      for (int up = 0; up < 2 && !status; up++) {
        status = try_step(s, one, (unsigned[]){g, g}, (int[]){up ? 1 : -1, 0}, n, target, at,
                          &better, err);
      }
    }
  }
  return status;
}

/*
** The same with the other fields following: field f goes one step, the others find their best
** places by steps of one there, and then the points are compared.  It leads out of places where
** every short step is uphill, as where a zero is one off and the scale makes up for it.
*/
static qp_status descend_together(qp_field_search *s, unsigned n, const float *target,
                                  best_point *best, bool *better, qp_error *err) {
  const unsigned fields = s->quantizer->fields;
  for (unsigned f = 0; f < fields; f++) {
    for (unsigned i = 0; i < 2 * FOLLOWED_STEPS; i++) {
      best_point now = *best;
      if (!move(s, &now, f, i % 2 ? 1 : -1, 1u << i / 2)) continue;
      now.sum = INFINITY;
      const qp_status status = follow(s, f, n, target, &now, err);
      if (status) return status;
      if (!(now.sum < best->sum)) continue;
      *best = now;
      *better = true;
    }
  }
  return QP_OK;
}

static qp_status refine(qp_field_search *s, unsigned n, const float *target, best_point *best,
                        qp_error *err) {
  unsigned step[QP_MAX_FIELDS], largest = 1;
  for (unsigned f = 0; f < s->quantizer->fields; f++)
    largest = s->step[f] > largest ? s->step[f] : largest;
  for (unsigned shrink = 1; shrink <= largest; shrink *= 2) {
    for (unsigned f = 0; f < s->quantizer->fields; f++)
      step[f] = s->step[f] / 2 / shrink ? s->step[f] / 2 / shrink : 1;
    const qp_status status = descend(s, step, n, target, best, err);
    if (status) return status;
  }
  for (bool better = s->quantizer->fields > 1 && s->states > SMALL_CODES; better;) {
    better = false;
    const qp_status status = descend_together(s, n, target, best, &better, err);
    if (status) return status;
  }
  return QP_OK;
}

static qp_status search(qp_field_search *s, unsigned n, const float *targets,
                        uint32_t at[QP_MAX_FIELDS], qp_error *err) {
  best_point best = {.sum = INFINITY};
  qp_status status = search_coarse(s, n, targets, &best, err);
  if (!status) status = refine(s, n, targets, &best, err);
  if (!status) memcpy(at, best.at, sizeof best.at);
  return status;
}

/* ---- A group ---- */

/* The codes' table at the fields that were chosen. */
static qp_status fill_choice(qp_field_search *s, qp_field_choice *c, qp_error *err) {
  const size_t all = (size_t)s->states * s->quantizer->dim;
  if (!c->value && !(c->value = malloc(sizeof *c->value * all)))
    return qp_fail(err, QP_E_NOMEM, "out of memory");
  if (s->affine.quantizer) {
    qp_affine_table(&s->affine, c->field, c->value);
  } else {
    const qp_status status = qp_quantizer_table(s->quantizer, c->field, NULL, s->halves, err);
    if (status) return status;
    for (size_t i = 0; i < all; i++) c->value[i] = qp_half_to_float(s->halves[i]);
  }
  qp_codewords_free(&c->words);
  return qp_codewords_make(&c->words, s->states, s->quantizer->dim, c->value, err);
}

const qp_field_fit *qp_field_search_fit(const qp_field_search *s) {
  return s->affine.quantizer ? &s->fit : NULL;
}

qp_status qp_field_search_run(qp_field_search *s, unsigned n, const float *targets,
                              qp_field_choice *out, qp_error *err) {
  uint32_t at[QP_MAX_FIELDS] = {0};
  qp_status status = QP_OK;
  if (s->sums) {
    qp_field_sums_choose(s->sums, n, targets, out->field);
    return fill_choice(s, out, err);
  }
  if (s->affine.quantizer)
    qp_field_fit_run(&s->fit, n, targets, at);
  else
    status = search(s, n, targets, at, err);
  for (unsigned f = 0; f < s->quantizer->fields; f++) out->field[f] = s->axis[f].value[at[f]];
  return status ? status : fill_choice(s, out, err);
}

void qp_field_choice_codes(const qp_field_choice *c, unsigned n, const float *targets,
                           uint32_t *codes, float *values) {
  const unsigned dim = c->words.dim;
  assert(dim);
  /* dim is at least 1. NOLINTNEXTLINE(clang-analyzer-core.DivideZero) */
  qp_codewords_nearest(&c->words, n / dim, targets, codes);
  for (unsigned i = 0; i < n / dim; i++)
    for (unsigned e = 0; e < dim; e++) values[i * dim + e] = c->value[(size_t)codes[i] * dim + e];
}

void qp_field_choice_free(qp_field_choice *c) {
  free(c->value);
  qp_codewords_free(&c->words);
  *c = (qp_field_choice){0};
}
