/* SPDX-License-Identifier: MIT */
/* Vectors that group fields scale, by the steps of templates/shape_fit.h. */
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
  PROBES = 256    /* random codes at random fields that decode is compared with */
};
#define MOST_MISFIT 0x1p-7 /* as a share of the largest weight */
struct qp_shapes {
  const qp_quantizer *quantizer;
  unsigned group, unit, states;
  qp_codewords words; /* of u */
  float *u;           /* [states][dim], root mean square 1 */
  int scale;          /* The field of a floating point type, or -1. */
  unsigned owns;      /* combinations of the others: */
  struct own {
    uint32_t field[QP_MAX_FIELDS];
    double number;        /* a(fields) of them, with the scale at 1. */
  } * own;                /* ascending by number */
  float *moved;           /* [group] */
  uint32_t *code;         /* [group] */
  struct shape_best *fit; /* [groups of a unit] */
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

/* ---- A unit ---- */

/* A unit's targets. */
typedef struct qp_shape {
  qp_shapes *of;
  unsigned columns;
  const float *target;
} qp_shape;

#define QP_STEP     static
#define QP_INFINITE ((double)INFINITY)
typedef double qp_real;

static unsigned shape_groups(const qp_shape *s) {
  return (s->columns + s->of->group - 1) / s->of->group;
}
static unsigned shape_owns(const qp_shape *s) { return s->of->owns; }
static double shape_own(const qp_shape *s, unsigned i) { return s->of->own[i].number; }

static unsigned shape_columns(const qp_shape *s, unsigned g) {
  const unsigned left = s->columns - g * s->of->group;
  return left < s->of->group ? left : s->of->group;
}
static const float *shape_targets(const qp_shape *s, unsigned g) {
  return s->target + (size_t)g * s->of->group;
}

static double shape_power(const qp_shape *s, unsigned g) {
  const float *x = shape_targets(s, g);
  return dot(shape_columns(s, g), x, x);
}
static double shape_rms(const qp_shape *s, unsigned g) {
  return sqrt(shape_power(s, g) / shape_columns(s, g));
}

static void shape_sums(qp_shape *s, unsigned g, double a, double *cross, double *square) {
  find_codes(s->of, shape_columns(s, g), shape_targets(s, g), a);
  sum_codes(s->of, shape_columns(s, g), shape_targets(s, g), cross, square);
}

/* The nearest number that the field has. */
static unsigned shape_raw(const qp_shape *s, double scale) {
  const qp_field *f = &s->of->quantizer->field[s->of->scale];
  return qp_field_raw(f->type, scale < f->lo ? f->lo : scale > f->hi ? f->hi : scale);
}
static double shape_scale(const qp_shape *s, unsigned raw) {
  return qp_field_number(s->of->quantizer->field[s->of->scale].type, raw);
}

static const struct shape_best *shape_fitted(const qp_shape *s, unsigned g);

#include "templates/shape_fit.h"

static const shape_best *shape_fitted(const qp_shape *s, unsigned g) { return &s->of->fit[g]; }

/* ---- What is known of all units ---- */

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
  if (!s->u || !s->own || !s->moved || !s->code || !s->fit)
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
  free(s);
}

/* ---- A unit's fields and codes ---- */

void qp_shapes_choose(qp_shapes *s, unsigned columns, const float *targets,
                      uint32_t (*fields)[QP_MAX_FIELDS]) {
  qp_shape u = {.of = s, .columns = columns, .target = targets};
  for (unsigned g = 0; g < shape_groups(&u); g++) shape_fit_group(&u, g, &s->fit[g]);
  const unsigned raw = s->scale < 0 ? 0 : shape_choose_scale(&u);
  const double scale = s->scale < 0 ? 1 : shape_scale(&u, raw);
  for (unsigned g = 0; g < shape_groups(&u); g++) {
    const unsigned own = shape_choose_own(&u, g, scale);
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

/* ---- For searches elsewhere ---- */

void qp_shapes_view_of(const qp_shapes *s, qp_shapes_view *out) {
  *out = (qp_shapes_view){.u = s->u,
                          .states = s->states,
                          .owns = s->owns,
                          .scale = s->scale,
                          .group = s->group,
                          .unit = s->unit};
}

double qp_shapes_own(const qp_shapes *s, unsigned i, uint32_t fields[QP_MAX_FIELDS]) {
  memcpy(fields, s->own[i].field, sizeof s->own[i].field);
  return s->own[i].number;
}
