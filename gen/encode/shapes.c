/* SPDX-License-Identifier: MIT */
/*
** Vectors that group fields scale.  Of a group's targets x and the codes that are nearest at a
** number a, the sum of squares as a function of the number alone is
**   |x|^2 - 2 a x.u + a^2 u.u   =   lost + u.u (a - best)^2,   best = x.u / u.u.
** So for fields that all groups share, the sum of the second terms is made small; what the codes
** themselves gain by the change of a number is found by looking at its neighbours.
*/
#include "gen/encode/shapes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/random.h"
#include "gen/encode/field_axis.h"
#include "gen/encode/nearest.h"
#include "runtime/half.h"

enum {
  MAX_BITS = 16,
  MAX_OWN = 4096, /* combinations of whole numbers */
  PROBES = 256,   /* random codes at random fields that decode is compared with */
  REFITS = 2
};
#define MOST_MISFIT 0x1p-7 /* as a share of the largest weight */
/* The numbers tried first are the root mean square of the targets over that of all vectors. */
static const double tried[] = {0.65, 0.8, 0.95, 1.15};

/* What a group has at one number. */
typedef struct fitted {
  double best, square, error; /* x.u / u.u, u.u, and the sum of squares at 'best' */
} fitted;

struct qp_shapes {
  const qp_quantizer *quantizer;
  unsigned group, unit, states;
  qp_codewords words; /* of u */
  float *u;           /* [states][dim], root mean square 1 */
  int scale;          /* The field of a floating point type, or -1. */
  unsigned owns;      /* combinations of the others: */
  struct own {
    uint32_t field[QP_MAX_FIELDS];
    double number; /* a(fields) of them, with the scale at 1. */
  } * own;         /* ascending by number */
  float *moved;    /* [group] */
  uint32_t *code;  /* [group] */
  fitted *fit;     /* [groups of a unit] */
  unsigned *chosen;
};

/* ---- What a decode is ---- */

static void decode(const qp_shapes *s, uint32_t code, const uint32_t *fields, float *out) {
  uint16_t half[QP_NEAREST_DIM];
  qp_quantizer_decode(s->quantizer, code, fields, NULL, half);
  for (unsigned e = 0; e < s->quantizer->dim; e++) out[e] = qp_half_to_float(half[e]);
}

static const float *vector_of(const qp_shapes *s, uint32_t code) {
  return s->u + (size_t)code * s->quantizer->dim;
}

static double dot(unsigned n, const float *a, const float *b) {
  double sum = 0;
  for (unsigned e = 0; e < n; e++) sum += (double)a[e] * (double)b[e];
  return sum;
}

/* a(fields) by the code whose vector is the longest. */
static double number_at(const qp_shapes *s, uint32_t longest, const uint32_t *fields) {
  const unsigned dim = s->quantizer->dim;
  float v[QP_NEAREST_DIM];
  decode(s, longest, fields, v);
  return dot(dim, v, vector_of(s, longest)) /
         dot(dim, vector_of(s, longest), vector_of(s, longest));
}

static uint32_t longest_of(const qp_shapes *s) {
  uint32_t longest = 0;
  const unsigned dim = s->quantizer->dim;
  double most = 0;
  for (uint32_t c = 0; c < s->states; c++) {
    const double square = dot(dim, vector_of(s, c), vector_of(s, c));
    if (square > most) most = square, longest = c;
  }
  return longest;
}

static qp_status other_form(const qp_shapes *s, const char *what, qp_error *err) {
  return qp_fail(err, QP_E_LIMIT,
                 "%s: with group fields and codes of %u weights, %s can be encoded",
                 s->quantizer->name, s->quantizer->dim, what);
}

/* Find u: what decode gives at the fields' highest values, brought to 1. */
static qp_status take_vectors(qp_shapes *s, const uint32_t *fields, qp_error *err) {
  const qp_quantizer *q = s->quantizer;
  const size_t count = (size_t)s->states * q->dim;
  uint16_t *half = malloc(sizeof *half * count);
  qp_status status = half ? qp_quantizer_table(q, fields, NULL, half, err) : QP_E_NOMEM;
  double square = 0;
  for (size_t i = 0; i < count && !status; i++) {
    s->u[i] = qp_half_to_float(half[i]);
    square += (double)s->u[i] * (double)s->u[i];
  }
  free(half);
  if (status) return status;
  const double unit = sqrt(square / (double)count);
  if (!(unit > 0)) return other_form(s, "a decode that gives more than zeros", err);
  for (size_t i = 0; i < count; i++) s->u[i] = (float)((double)s->u[i] / unit);
  return qp_codewords_make(&s->words, s->states, q->dim, s->u, err);
}

static double scale_number(const qp_shapes *s, const uint32_t *fields) {
  return s->scale < 0 ? 1 : qp_field_number(s->quantizer->field[s->scale].type, fields[s->scale]);
}

static int compare_owns(const void *a, const void *b) {
  const double x = ((const struct own *)a)->number, y = ((const struct own *)b)->number;
  return (x > y) - (x < y);
}

/* All combinations of the whole numbers, and what they are of the scale's 1. */
static void list_owns(qp_shapes *s, const uint32_t *highest, uint32_t longest) {
  const qp_quantizer *q = s->quantizer;
  for (unsigned i = 0; i < s->owns; i++) {
    unsigned rest = i;
    memcpy(s->own[i].field, highest, sizeof s->own[i].field);
    for (unsigned f = 0; f < q->fields; f++) {
      if ((int)f == s->scale) continue;
      const unsigned values = (unsigned)(q->field[f].hi - q->field[f].lo) + 1;
      s->own[i].field[f] = qp_field_raw(q->field[f].type, q->field[f].lo + rest % values);
      rest /= values;
    }
    s->own[i].number = number_at(s, longest, s->own[i].field) / scale_number(s, highest);
  }
  qsort(s->own, s->owns, sizeof *s->own, compare_owns);
}

/* Random codes at random fields: are they a(fields) u? */
static qp_status compare(const qp_shapes *s, qp_error *err) {
  const qp_quantizer *q = s->quantizer;
  qp_random r = {.state = 1};
  for (unsigned i = 0; i < PROBES; i++) {
    const uint32_t code = (uint32_t)(qp_random_next(&r) % s->states);
    struct own at = s->own[qp_random_next(&r) % s->owns];
    if (s->scale >= 0) {
      const qp_field *f = &q->field[s->scale];
      at.field[s->scale] = qp_field_raw(f->type, qp_random_uniform(&r, f->hi / 4, f->hi));
    }
    const double a = at.number * scale_number(s, at.field);
    float v[QP_NEAREST_DIM];
    decode(s, code, at.field, v);
    for (unsigned e = 0; e < q->dim; e++)
      if (fabs((double)v[e] - a * (double)vector_of(s, code)[e]) > MOST_MISFIT * fabs(a) * 4)
        return other_form(s, "a decode that is a vector times a number", err);
  }
  return QP_OK;
}

static qp_status read_fields(qp_shapes *s, uint32_t *highest, qp_error *err) {
  const qp_quantizer *q = s->quantizer;
  double owns = 1;
  for (unsigned f = 0; f < q->fields; f++) {
    const qp_field *field = &q->field[f];
    highest[f] = qp_field_raw(field->type, field->hi);
    if (qp_field_row_of(field->type)->integer) {
      if (field->size != s->group)
        return other_form(s, "whole numbers of the smallest groups alone", err);
      owns *= field->hi - field->lo + 1;
    } else if (s->scale >= 0 || field->tensor) {
      return other_form(s, "one field of a floating point type, of groups or rows,", err);
    } else {
      s->scale = (int)f;
    }
  }
  if (owns > MAX_OWN) return other_form(s, "up to 4096 combinations of whole numbers", err);
  s->owns = (unsigned)owns;
  return QP_OK;
}

static qp_status prepare(qp_shapes *s, qp_error *err) {
  const qp_quantizer *q = s->quantizer;
  uint32_t highest[QP_MAX_FIELDS] = {0};
  if (q->window > MAX_BITS) return other_form(s, "codes of up to 16 bits", err);
  s->states = 1u << q->window;
  qp_status status = read_fields(s, highest, err);
  if (status) return status;
  s->u = malloc(sizeof *s->u * s->states * q->dim);
  s->own = malloc(sizeof *s->own * s->owns);
  s->moved = malloc(sizeof *s->moved * s->group);
  s->code = malloc(sizeof *s->code * s->group);
  s->fit = malloc(sizeof *s->fit * (s->unit / s->group));
  s->chosen = malloc(sizeof *s->chosen * (s->unit / s->group));
  if (!s->u || !s->own || !s->moved || !s->code || !s->fit || !s->chosen)
    return qp_fail(err, QP_E_NOMEM, "out of memory");
  status = take_vectors(s, highest, err);
  if (status) return status;
  list_owns(s, highest, longest_of(s));
  return compare(s, err);
}

qp_status qp_shapes_new(const qp_quantizer *q, unsigned group, unsigned unit, qp_shapes **out,
                        qp_error *err) {
  qp_shapes *s = calloc(1, sizeof *s);
  if (!s) return qp_fail(err, QP_E_NOMEM, "out of memory");
  *s = (qp_shapes){.quantizer = q, .group = group, .unit = unit, .scale = -1};
  const qp_status status = prepare(s, err);
  if (status)
    qp_shapes_free(s);
  else
    *out = s;
  return status;
}

void qp_shapes_free(qp_shapes *s) {
  if (!s) return;
  qp_codewords_free(&s->words);
  free(s->u);
  free(s->own);
  free(s->moved);
  free(s->code);
  free(s->fit);
  free(s->chosen);
  free(s);
}

/* ---- A group ---- */

/* The codes nearest at a number that is not 0, into s->code. */
static void find_codes(qp_shapes *s, unsigned n, const float *x, double a) {
  for (unsigned i = 0; i < n; i++) s->moved[i] = (float)((double)x[i] / a);
  qp_codewords_nearest(&s->words, n / s->quantizer->dim, s->moved, s->code);
}

static void sum_codes(const qp_shapes *s, unsigned n, const float *x, double *cross,
                      double *square) {
  const unsigned dim = s->quantizer->dim;
  *cross = *square = 0;
  for (unsigned i = 0; i < n; i += dim) {
    const float *u = vector_of(s, s->code[i / dim]);
    *cross += dot(dim, x + i, u);
    *square += dot(dim, u, u);
  }
}

/* Find the best number of those near 'a'. */
static fitted fit_near(qp_shapes *s, unsigned n, const float *x, double power, double a) {
  double cross, square;
  find_codes(s, n, x, a);
  sum_codes(s, n, x, &cross, &square);
  if (!(square > 0)) return (fitted){.error = power};
  return (fitted){
      .best = cross / square, .square = square, .error = power - cross * cross / square};
}

static fitted fit_group(qp_shapes *s, unsigned n, const float *x) {
  const double power = dot(n, x, x), rms = sqrt(power / n);
  fitted best = {.error = INFINITY};
  if (!(rms > 0)) return (fitted){.error = 0};
  for (unsigned i = 0; i < sizeof tried / sizeof *tried; i++) {
    const fitted now = fit_near(s, n, x, power, tried[i] * rms);
    if (now.error < best.error) best = now;
  }
  for (unsigned i = 0; i < REFITS && best.best != 0; i++) {
    const fitted now = fit_near(s, n, x, power, best.best);
    if (!(now.error < best.error)) break;
    best = now;
  }
  return best;
}

/* Compute the sum of squares at a number. */
static double error_at(qp_shapes *s, unsigned n, const float *x, double a) {
  double cross = 0, square = 0;
  if (a != 0) find_codes(s, n, x, a);
  if (a != 0) sum_codes(s, n, x, &cross, &square);
  return dot(n, x, x) - 2 * a * cross + a * a * square;
}

/* ---- A unit ---- */

static unsigned nearest_own(const qp_shapes *s, double number) {
  unsigned low = 0, high = s->owns - 1;
  while (low < high) {
    const unsigned middle = (low + high) / 2;
    if (s->own[middle].number + s->own[middle + 1].number < 2 * number)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* Compute what a scale costs beyond each group's own best number, and the groups' own fields with
   it. */
static double misses(const qp_shapes *s, unsigned groups, double scale, unsigned *chosen) {
  double sum = 0;
  for (unsigned g = 0; g < groups; g++) {
    const unsigned i = scale != 0 ? nearest_own(s, s->fit[g].best / scale) : 0;
    const double miss = scale * s->own[i].number - s->fit[g].best;
    sum += s->fit[g].square * miss * miss;
    chosen[g] = i;
  }
  return sum;
}

/* The nearest number that the field has. */
static uint32_t raw_scale(const qp_shapes *s, double scale) {
  const qp_field *f = &s->quantizer->field[s->scale];
  return qp_field_raw(f->type, scale < f->lo ? f->lo : scale > f->hi ? f->hi : scale);
}

/* Of the scales that make one of the groups exact, the best; then the best for what was chosen. */
static uint32_t choose_scale(qp_shapes *s, unsigned groups) {
  const qp_field_type type = s->quantizer->field[s->scale].type;
  uint32_t best = raw_scale(s, 0);
  double least = INFINITY, cross = 0, square = 0;
  for (unsigned g = 0; g < groups; g++)
    for (unsigned i = 0; i < s->owns; i++) {
      if (s->own[i].number == 0) continue;
      const uint32_t raw = raw_scale(s, s->fit[g].best / s->own[i].number);
      const double now = misses(s, groups, qp_field_number(type, raw), s->chosen);
      if (now < least) least = now, best = raw;
    }
  misses(s, groups, qp_field_number(type, best), s->chosen);
  for (unsigned g = 0; g < groups; g++) {
    const double number = s->own[s->chosen[g]].number;
    cross += s->fit[g].square * number * s->fit[g].best;
    square += s->fit[g].square * number * number;
  }
  const uint32_t fitted_scale = square > 0 ? raw_scale(s, cross / square) : best;
  return misses(s, groups, qp_field_number(type, fitted_scale), s->chosen) < least ? fitted_scale
                                                                                   : best;
}

/* Choose a group's own fields at a scale: the nearest to its best number, or a neighbour of
   that. */
static unsigned choose_own(qp_shapes *s, unsigned g, double scale, unsigned n, const float *x) {
  const unsigned at = scale != 0 ? nearest_own(s, s->fit[g].best / scale) : 0;
  unsigned best = at;
  double least = INFINITY;
  for (unsigned i = at ? at - 1 : 0; i <= at + 1 && i < s->owns; i++) {
    const double now = s->owns > 1 ? error_at(s, n, x, scale * s->own[i].number) : 0;
    if (now < least) least = now, best = i;
  }
  return best;
}

void qp_shapes_choose(qp_shapes *s, unsigned columns, const float *targets,
                      uint32_t (*fields)[QP_MAX_FIELDS]) {
  const unsigned groups = (columns + s->group - 1) / s->group;
  for (unsigned g = 0; g < groups; g++) {
    const unsigned left = columns - g * s->group, n = left < s->group ? left : s->group;
    s->fit[g] = fit_group(s, n, targets + (size_t)g * s->group);
  }
  const uint32_t raw = s->scale < 0 ? 0 : choose_scale(s, groups);
  const double scale = s->scale < 0 ? 1 : qp_field_number(s->quantizer->field[s->scale].type, raw);
  for (unsigned g = 0; g < groups; g++) {
    const unsigned left = columns - g * s->group, n = left < s->group ? left : s->group;
    const unsigned own = choose_own(s, g, scale, n, targets + (size_t)g * s->group);
    memcpy(fields[g], s->own[own].field, sizeof fields[g]);
    if (s->scale >= 0) fields[g][s->scale] = raw;
  }
}

void qp_shapes_codes(qp_shapes *s, const uint32_t fields[QP_MAX_FIELDS], unsigned columns,
                     const float *targets, uint32_t *codes, float *values) {
  const unsigned dim = s->quantizer->dim;
  uint32_t own[QP_MAX_FIELDS];
  memcpy(own, fields, sizeof own);
  double number = 0;
  for (unsigned i = 0; i < s->owns; i++) { /* few are compared: fields of a group that was chosen */
    if (s->scale >= 0) own[s->scale] = s->own[i].field[s->scale];
    if (!memcmp(own, s->own[i].field, sizeof own)) number = s->own[i].number;
  }
  number *= scale_number(s, fields);
  memset(codes, 0, sizeof *codes * (columns / dim));
  if (number != 0) find_codes(s, columns, targets, number);
  if (number != 0) memcpy(codes, s->code, sizeof *codes * (columns / dim));
  for (unsigned i = 0; i < columns; i += dim) decode(s, codes[i / dim], fields, values + i);
}
