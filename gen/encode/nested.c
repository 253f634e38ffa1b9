/* SPDX-License-Identifier: MIT */
/*
** Group fields of several sizes.  A field of a larger group is one number for several smallest
** groups, whose own fields follow it.  So a point is a place in each field's list of values, for
** each smallest group; those of larger fields are equal within the larger group.
**   1. The larger fields for the smallest group with the largest target, its own fields at their
**      largest: what the others need is then within their range.
**   2. Each smallest group's own fields, coarsely, then step by step.
**   3. Each larger field a step up or down, the smallest groups' own following, while that helps.
** What a decode does is not known, but one thing is asked: is it  a(fields) u(code) + b(fields)?
** Then codes are searched among u, and a point costs what two codes decode to; where a and the
** least weight depend on fields of their own, each is kept for these alone.
*/
#include "gen/encode/nested.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/gaussian.h"
#include "gen/base/random.h"
#include "gen/encode/field_axis.h"
#include "gen/encode/field_sums.h"
#include "gen/encode/levels.h"
#include "gen/encode/nearest.h"
#include "gen/encode/shapes.h"
#include "runtime/half.h"

enum {
  MAX_BITS = 16,
  LINE_BITS = 14,
  PROBES = 24,       /* random fields that a decode is looked at with */
  FREE_COLUMNS = 64, /* a group where no field has columns of its own */
  SAMPLE_COLUMNS = 1024,
  HEADROOM = 16 /* of numbers that the linear's field scales: outliers are larger */
};
#define LEAST_NORMAL 0x1p-14 /* below, fp16 has fewer digits */
#define MOST_MISFIT  0x1p-8  /* of a decode that counts as a u + b, of its largest weight */

/* What a point's code with the least u decodes to, and a; of some fields others are at 0. */
typedef struct kept_line {
  uint32_t at[QP_MAX_FIELDS];
  float a, low;
  bool known;
} kept_line;

struct qp_nested {
  const qp_quantizer *quantizer;
  qp_field_sums *sums; /* codes of more than two weights: one of these does it all */
  qp_shapes *shapes;
  unsigned states, group, unit;
  qp_field_axis axis[QP_MAX_FIELDS];
  unsigned size[QP_MAX_FIELDS]; /* The columns of each field; those of rows and linears have the
                                   unit's. */
  bool frozen[QP_MAX_FIELDS];   /* always at 'at' */
  uint32_t at[QP_MAX_FIELDS];
  bool affine;
  uint32_t low, high;            /* affine: codes with the least and largest u */
  float u_low, u_high;           /* their u, element 0 */
  float *table;                  /* [states][dim] at the fields in hand */
  qp_codewords words;            /* affine: of u; else of the table */
  float *u;                      /* affine: [states][dim] */
  qp_levels levels;              /* affine: u's numbers */
  kept_line *lines[2];           /* [2^LINE_BITS]: points whose a, and whose 'low', is known */
  unsigned parts[2];             /* The fields that each of them depends on, a bit for each. */
  uint32_t *code;                /* [group] */
  uint16_t *halves;              /* [2^window][dim] */
  float *moved;                  /* [group]: targets in terms of u */
  struct grid_point *now, *next; /* [groups of a unit] */
};

bool qp_is_nested(const qp_quantizer *q) {
  if (qp_has_shapes(q)) return true;
  for (unsigned f = 0; f < q->fields; f++)
    if (q->field[f].size != q->group) return true;
  return q->fields && !q->group;
}

unsigned qp_nested_group(const qp_quantizer *q) { return q->group ? q->group : FREE_COLUMNS; }

unsigned qp_nested_unit(const qp_quantizer *q, unsigned columns) {
  const unsigned group = qp_nested_group(q);
  unsigned unit = group;
  for (unsigned f = 0; f < q->fields; f++) {
    const bool of_row = !q->field[f].size && !q->field[f].tensor;
    const unsigned size = of_row ? (columns + group - 1) / group * group : q->field[f].size;
    if (size > unit) unit = size;
  }
  return unit;
}

/* ---- One point ---- */

static void raw_fields(const qp_nested *n, const uint32_t *at, uint32_t raw[QP_MAX_FIELDS]) {
  memset(raw, 0, sizeof(uint32_t) * QP_MAX_FIELDS);
  for (unsigned f = 0; f < n->quantizer->fields; f++) raw[f] = n->axis[f].value[at[f]];
}

static qp_status fill_table(qp_nested *n, const uint32_t *raw, qp_error *err) {
  const qp_quantizer *q = n->quantizer;
  const qp_status status = qp_quantizer_table(q, raw, NULL, n->halves, err);
  for (size_t i = 0; i < (size_t)n->states * q->dim && !status; i++)
    n->table[i] = qp_half_to_float(n->halves[i]);
  return status;
}

static float decode_first(const qp_nested *n, uint32_t code, const uint32_t *raw) {
  uint16_t w[QP_NEAREST_DIM];
  qp_quantizer_decode(n->quantizer, code, raw, NULL, w);
  return qp_half_to_float(w[0]);
}

/* Find a of a decode at these fields, and what the code with the least u is there. */
static void line_at(const qp_nested *n, const uint32_t *raw, float *a, float *low) {
  *low = decode_first(n, n->low, raw);
  *a = (decode_first(n, n->high, raw) - *low) / (n->u_high - n->u_low);
}

/* Find the least sum of squares of codes of several weights. */
static float line_error(qp_nested *n, unsigned columns, const float *target, float a, float b) {
  const unsigned dim = n->quantizer->dim;
  float sum = 0;
  qp_codewords_nearest(&n->words, columns / dim, n->moved, n->code);
  for (unsigned i = 0; i < columns; i++) {
    const float u = n->u[(size_t)n->code[i / dim] * dim + i % dim];
    sum += (target[i] - a * u - b) * (target[i] - a * u - b);
  }
  return sum;
}

/* The line at a point's places of some fields, 0 of the others.  It is kept, since points near each
   other come again and again. */
static const kept_line *part_of_line(qp_nested *n, kept_line *lines, unsigned fields,
                                     const uint32_t *at) {
  uint32_t here[QP_MAX_FIELDS] = {0}, raw[QP_MAX_FIELDS];
  uint64_t key = 0;
  for (unsigned f = 0; f < n->quantizer->fields; f++) {
    here[f] = fields >> f & 1 ? at[f] : 0;
    key = (key + here[f] + 1) * 0x9e3779b97f4a7c15u;
  }
  kept_line *k = &lines[key >> (64 - LINE_BITS)];
  if (k->known && !memcmp(k->at, here, sizeof here)) return k;
  raw_fields(n, here, raw);
  line_at(n, raw, &k->a, &k->low);
  memcpy(k->at, here, sizeof here);
  k->known = true;
  return k;
}

static void line_of(qp_nested *n, const uint32_t *at, float *a, float *b) {
  const kept_line *k = part_of_line(n, n->lines[0], n->parts[0], at);
  *a = k->a;
  if (n->parts[0] != n->parts[1]) k = part_of_line(n, n->lines[1], n->parts[1], at);
  *b = k->low - *a * n->u_low;
}

/* Find the same line in terms of the levels' u. */
static void line_of_levels(const qp_nested *n, float a, float b, double *level_a, double *level_b) {
  *level_a = (double)a * n->levels.apart;
  *level_b = (double)b + (double)a * n->levels.first;
}

/* Find the least sum of squared errors of a group's targets at a point, into '*error'. */
static qp_status judge(qp_nested *n, unsigned columns, const float *target, float most,
                       const uint32_t *at, float *error, qp_error *err) {
  const unsigned codes = columns / n->quantizer->dim;
  if (!n->affine) {
    uint32_t raw[QP_MAX_FIELDS];
    raw_fields(n, at, raw);
    qp_status status = fill_table(n, raw, err);
    qp_codewords_free(&n->words);
    if (!status) status = qp_codewords_make(&n->words, n->states, n->quantizer->dim, n->table, err);
    if (!status) *error = qp_codewords_error(&n->words, codes, target, most);
    return status;
  }
  float a, b;
  line_of(n, at, &a, &b);
  if (a == 0) {
    *error = 0;
    for (unsigned i = 0; i < columns; i++) *error += (target[i] - b) * (target[i] - b);
    return QP_OK;
  }
  if (n->quantizer->dim == 1) {
    qp_level_sums sums;
    double level_a, level_b;
    line_of_levels(n, a, b, &level_a, &level_b);
    qp_levels_fit(&n->levels, columns, target, level_a, level_b, &sums);
    *error = (float)sums.ee;
    return QP_OK;
  }
  for (unsigned i = 0; i < columns; i++) n->moved[i] = (target[i] - b) / a;
  *error = line_error(n, columns, target, a, b);
  return QP_OK;
}

/* ---- Is it a u + b? ---- */

static void random_point(const qp_nested *n, qp_random *r, uint32_t *at) {
  for (unsigned f = 0; f < n->quantizer->fields; f++)
    at[f] = (uint32_t)(qp_random_next(r) % n->axis[f].count);
}

/* Find the largest difference of a table from the best a u + b, against its largest weight. */
static double misfit(const float *v, const float *u, size_t count) {
  double su = 0, sv = 0, suu = 0, suv = 0, worst = 0, largest = 0;
  for (size_t i = 0; i < count; i++) {
    const double x = (double)u[i], y = (double)v[i];
    su += x, sv += y, suu += x * x, suv += x * y;
    largest = fmax(largest, fabs(y));
  }
  const double n = (double)count, spread = n * suu - su * su;
  const double a = spread > 0 ? (n * suv - su * sv) / spread : 0, b = (sv - a * su) / n;
  for (size_t i = 0; i < count; i++) worst = fmax(worst, fabs((double)v[i] - a * (double)u[i] - b));
  return worst / (largest + LEAST_NORMAL);
}

/* How far the weights of a table lie apart. */
static double spread_of(const float *v, size_t count) {
  double sum = 0, square = 0;
  for (size_t i = 0; i < count; i++) sum += (double)v[i], square += (double)v[i] * (double)v[i];
  return square - sum * sum / (double)count;
}

static int compare(const void *a, const void *b) {
  const float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

/* Levels that are equally far apart but for the rounding of a decode are so. */
static void make_even(unsigned levels, double *value) {
  assert(levels > 1); /* take_line: u_high > u_low */
  const double apart = (value[levels - 1] - value[0]) / (levels - 1);
  for (unsigned k = 1; k < levels; k++)
    if (fabs(value[k] - value[0] - k * apart) > apart / 64) return;
  for (unsigned k = 1; k < levels; k++) value[k] = value[0] + k * apart;
}

/* u's numbers, each once. */
static qp_status sort_levels(qp_nested *n, qp_error *err) {
  const size_t count = (size_t)n->states * n->quantizer->dim;
  float *level = malloc(sizeof *level * count);
  double *value = malloc(sizeof *value * count);
  unsigned levels = 0;
  qp_status status = level && value ? QP_OK : qp_fail(err, QP_E_NOMEM, "out of memory");
  if (!status) {
    memcpy(level, n->u, sizeof *level * count);
    qsort(level, count, sizeof *level, compare);
    for (size_t i = 0; i < count; i++)
      if (!i || level[i] > level[i - 1]) value[levels++] = (double)level[i];
    make_even(levels, value);
    status = qp_levels_make(&n->levels, levels, value, err);
  }
  free(level);
  free(value);
  return status;
}

/* Take u from the table whose weights reach furthest: codes of its ends, levels. */
static qp_status take_line(qp_nested *n, qp_error *err) {
  const unsigned dim = n->quantizer->dim;
  for (uint32_t s = 0; s < n->states; s++) {
    if (n->u[(size_t)s * dim] < n->u[(size_t)n->low * dim]) n->low = s;
    if (n->u[(size_t)s * dim] > n->u[(size_t)n->high * dim]) n->high = s;
  }
  n->u_low = n->u[(size_t)n->low * dim];
  n->u_high = n->u[(size_t)n->high * dim];
  n->affine = n->u_high > n->u_low;
  if (!n->affine) return QP_OK;
  const qp_status status = sort_levels(n, err);
  return status ? status : qp_codewords_make(&n->words, n->states, dim, n->u, err);
}

/* A decode at random fields: is every table a u + b? */
static qp_status find_line(qp_nested *n, qp_error *err) {
  const size_t count = (size_t)n->states * n->quantizer->dim;
  qp_random r = {.state = 1};
  double furthest = 0;
  bool line = true;
  qp_status status = QP_OK;
  for (unsigned i = 0; i < 2 * PROBES && line; i++) {
    uint32_t at[QP_MAX_FIELDS], raw[QP_MAX_FIELDS];
    random_point(n, &r, at);
    raw_fields(n, at, raw);
    status = fill_table(n, raw, err);
    if (status) break;
    const double spread = spread_of(n->table, count);
    if (i < PROBES && spread > furthest)
      furthest = spread, memcpy(n->u, n->table, sizeof *n->u * count);
    if (i >= PROBES) line = furthest > 0 && misfit(n->table, n->u, count) <= MOST_MISFIT;
  }
  return status || !line ? status : take_line(n, err);
}

/* Do the two move by more than a decode's rounding where field f goes elsewhere? */
static void see_parts(const qp_nested *n, unsigned f, const uint32_t *from, uint32_t to,
                      unsigned parts[2]) {
  uint32_t at[QP_MAX_FIELDS], raw[QP_MAX_FIELDS];
  const float span = n->u_high - n->u_low;
  float a[2], low[2], largest = (float)LEAST_NORMAL;
  memcpy(at, from, sizeof at);
  for (unsigned i = 0; i < 2; i++) {
    if (i) at[f] = to;
    raw_fields(n, at, raw);
    line_at(n, raw, &a[i], &low[i]);
    largest = fmaxf(largest, fmaxf(fabsf(low[i]), fabsf(low[i] + a[i] * span)));
  }
  const float far = largest * (float)MOST_MISFIT;
  if (fabsf(a[1] - a[0]) * span > far) parts[0] |= 1u << f;
  if (fabsf(low[1] - low[0]) > far) parts[1] |= 1u << f;
}

/* Which fields they depend on, by random points; where a kernel may search them, all: it computes
   both from whole points. */
static void find_parts(qp_nested *n) {
  const unsigned fields = n->quantizer->fields;
  qp_random r = {.state = 2};
  n->parts[0] = n->parts[1] = (1u << fields) - 1;
  if (!n->affine || n->unit == n->group) return;
  unsigned parts[2] = {0, 0};
  for (unsigned i = 0; i < PROBES; i++) {
    uint32_t at[QP_MAX_FIELDS] = {0}, to[QP_MAX_FIELDS] = {0};
    random_point(n, &r, at);
    random_point(n, &r, to);
    for (unsigned f = 0; f < fields; f++) see_parts(n, f, at, to[f], parts);
  }
  memcpy(n->parts, parts, sizeof parts);
}

/* ---- Search ---- */

/* Which fields a search moves, as a bit for each: the smallest groups', or those of larger ones. */
static unsigned moved_fields(const qp_nested *n, bool larger) {
  unsigned fields = 0;
  for (unsigned f = 0; f < n->quantizer->fields; f++)
    if (!n->frozen[f] && (n->size[f] > n->group) == larger) fields |= 1u << f;
  return fields;
}
static unsigned own_fields(const qp_nested *n) { return moved_fields(n, false); }
static unsigned larger_fields(const qp_nested *n) { return moved_fields(n, true); }

/* A group's targets, and what went wrong while they were judged. */
typedef struct qp_grid {
  qp_nested *of;
  unsigned columns;
  const float *target;
  qp_status status;
  qp_error *err;
} qp_grid;

#define QP_STEP       static
#define QP_INFINITE   INFINITY
#define QP_FIT_FIELDS QP_MAX_FIELDS

static unsigned grid_fields(const qp_grid *g) { return g->of->quantizer->fields; }
static unsigned grid_count(const qp_grid *g, unsigned f) { return g->of->axis[f].count; }

static float grid_judge(qp_grid *g, const uint32_t *at, float most) {
  float error = INFINITY;
  if (!g->status) g->status = judge(g->of, g->columns, g->target, most, at, &error, g->err);
  return error;
}

#include "templates/field_grid.h"

/* ---- A unit ---- */

/* A unit's targets, and what went wrong while they were judged. */
typedef struct qp_unit {
  qp_nested *of;
  unsigned columns;
  const float *target;
  qp_status status;
  qp_error *err;
} qp_unit;

static qp_grid grid_of(const qp_unit *u, unsigned group) {
  const unsigned size = u->of->group, left = u->columns - group * size;
  return (qp_grid){.of = u->of,
                   .columns = left < size ? left : size,
                   .target = u->target + (size_t)group * size,
                   .status = u->status,
                   .err = u->err};
}

/* Find the group with the largest target. */
static unsigned peak_group(const qp_nested *n, unsigned columns, const float *target) {
  unsigned peak = 0;
  for (unsigned i = 1; i < columns; i++)
    if (fabsf(target[i]) > fabsf(target[peak])) peak = i;
  return peak / n->group;
}

static unsigned unit_fields(const qp_unit *u) { return u->of->quantizer->fields; }
static unsigned unit_groups(const qp_unit *u) {
  return (u->columns + u->of->group - 1) / u->of->group;
}

static unsigned unit_each(const qp_unit *u, unsigned f) {
  return larger_fields(u->of) >> f & 1 ? u->of->size[f] / u->of->group : 0;
}

static void unit_begin(qp_unit *u) {
  qp_nested *n = u->of;
  const unsigned own = own_fields(n);
  grid_point start = {.error = INFINITY};
  for (unsigned f = 0; f < n->quantizer->fields; f++)
    start.at[f] = n->frozen[f] ? n->at[f] : own >> f & 1 ? n->axis[f].count - 1 : 0;
  qp_grid g = grid_of(u, peak_group(n, u->columns, u->target));
  grid_search(&g, larger_fields(n), GRID_LARGER_POINTS, &start);
  u->status = g.status;
  for (unsigned i = 0; i < unit_groups(u); i++) {
    n->now[i] = start;
    g = grid_of(u, i);
    grid_search(&g, own, GRID_OWN_POINTS, &n->now[i]);
    u->status = g.status;
  }
}

static float unit_sum(const qp_unit *u, unsigned first, unsigned end) {
  float sum = 0;
  for (unsigned i = first; i < end; i++) sum += u->of->now[i].error;
  return sum;
}

static float unit_follow(qp_unit *u, unsigned f, bool up, unsigned by, unsigned first, unsigned end,
                         float was) {
  static const unsigned one[QP_MAX_FIELDS] = {1, 1, 1, 1, 1, 1, 1, 1};
  qp_nested *n = u->of;
  float sum = 0;
  for (unsigned i = first; i < end && sum < was; i++) {
    qp_grid g = grid_of(u, i);
    n->next[i] = n->now[i];
    if (!grid_move(&g, &n->next[i], f, up, by)) return was;
    n->next[i].error = grid_judge(&g, n->next[i].at, INFINITY);
    grid_descend(&g, own_fields(n), one, &n->next[i]);
    u->status = g.status;
    sum += n->next[i].error;
  }
  return sum;
}

static void unit_keep(qp_unit *u, unsigned first, unsigned end) {
  memcpy(u->of->now + first, u->of->next + first, sizeof *u->of->now * (end - first));
}

#include "templates/field_unit.h"

qp_status qp_nested_choose(qp_nested *n, unsigned columns, const float *targets,
                           uint32_t (*fields)[QP_MAX_FIELDS], qp_error *err) {
  if (n->shapes) return qp_shapes_choose(n->shapes, columns, targets, fields), QP_OK;
  if (n->sums) return qp_field_sums_choose(n->sums, columns, targets, fields[0]), QP_OK;
  qp_unit u = {.of = n, .columns = columns, .target = targets, .err = err};
  unit_choose(&u);
  for (unsigned g = 0; g * n->group < columns && !u.status; g++)
    raw_fields(n, n->now[g].at, fields[g]);
  return u.status;
}

qp_status qp_nested_codes(qp_nested *n, const uint32_t fields[QP_MAX_FIELDS], unsigned columns,
                          const float *targets, uint32_t *codes, float *values, qp_error *err) {
  const unsigned dim = n->quantizer->dim;
  if (n->shapes) return qp_shapes_codes(n->shapes, fields, columns, targets, codes, values), QP_OK;
  if (n->sums) return qp_field_sums_codes(n->sums, fields, columns, targets, codes, values), QP_OK;
  qp_codewords words = {0};
  qp_status status = fill_table(n, fields, err);
  if (!status) status = qp_codewords_make(&words, n->states, dim, n->table, err);
  if (status) return status;
  qp_codewords_nearest(&words, columns / dim, targets, codes);
  qp_codewords_free(&words);
  for (unsigned i = 0; i < columns; i++)
    values[i] = n->table[(size_t)codes[i / dim] * dim + i % dim];
  return QP_OK;
}

/* ---- For searches elsewhere ---- */

bool qp_nested_view_of(const qp_nested *n, qp_nested_view *out) {
  if (n->shapes || n->sums || !n->affine || n->quantizer->dim != 1) return false;
  *out = (qp_nested_view){.axis = n->axis,
                          .levels = &n->levels,
                          .own = own_fields(n),
                          .larger = larger_fields(n),
                          .group = n->group,
                          .unit = n->unit,
                          .low = n->low,
                          .high = n->high,
                          .u_low = n->u_low,
                          .u_high = n->u_high};
  memcpy(out->frozen, n->at, sizeof out->frozen);
  memcpy(out->size, n->size, sizeof out->size);
  memcpy(out->parts, n->parts, sizeof out->parts);
  return true;
}

void qp_nested_line(const qp_nested *n, const uint32_t *at, double *a, double *b) {
  uint32_t raw[QP_MAX_FIELDS];
  float at_a, low;
  raw_fields(n, at, raw);
  line_at(n, raw, &at_a, &low);
  line_of_levels(n, at_a, low - at_a * n->u_low, a, b);
}

/* ---- What is known of all units ---- */

/* Find the place of the number that is nearest to the largest, divided. */
static uint32_t with_headroom(const qp_nested *n, unsigned f) {
  const qp_field *field = &n->quantizer->field[f];
  uint32_t at = n->axis[f].count - 1;
  if (qp_field_row_of(field->type)->integer) return at;
  while (at && qp_field_number(field->type, n->axis[f].value[at]) > field->hi / HEADROOM) at--;
  return at;
}

/* Fields of the linear: those that are best for a sample, others within their range. */
static qp_status freeze(qp_nested *n, qp_error *err) {
  const qp_quantizer *q = n->quantizer;
  float sample[SAMPLE_COLUMNS];
  unsigned free_fields = 0;
  grid_point best = {.error = INFINITY};
  qp_random r = {.state = 1};
  for (unsigned i = 0; i < SAMPLE_COLUMNS; i++)
    sample[i] = (float)qp_gaussian_quantile(qp_random_uniform(&r, 0x1p-60, 1));
  for (unsigned f = 0; f < q->fields; f++) {
    const bool freed = q->field[f].tensor;
    free_fields |= (unsigned)freed << f;
    best.at[f] = freed ? 0 : with_headroom(n, f);
  }
  if (!free_fields) return QP_OK;
  const unsigned group = n->group < SAMPLE_COLUMNS ? n->group : SAMPLE_COLUMNS;
  const unsigned peak = peak_group(n, SAMPLE_COLUMNS / group * group, sample);
  qp_grid g = {.of = n, .columns = group, .target = sample + (size_t)peak * group, .err = err};
  grid_search(&g, free_fields, GRID_LARGER_POINTS, &best);
  for (unsigned f = 0; f < q->fields; f++) {
    n->frozen[f] = free_fields >> f & 1;
    n->at[f] = best.at[f];
  }
  return g.status;
}

static qp_status prepare(qp_nested *n, qp_error *err) {
  const qp_quantizer *q = n->quantizer;
  const unsigned bits = q->planes ? q->planes_read : q->window, groups = n->unit / n->group;
  if (bits > MAX_BITS) {
    return qp_fail(err, QP_E_LIMIT,
                   "%s: group fields of several sizes with codes of %u bits; up to %d can be "
                   "encoded",
                   q->name, bits, MAX_BITS);
  }
  qp_status status = QP_OK;
  for (unsigned f = 0; f < q->fields && !status; f++) {
    n->size[f] = q->field[f].size ? q->field[f].size : n->unit;
    status = qp_field_axis_make(&n->axis[f], &q->field[f], QP_FRACTION_COARSE, err);
  }
  if (status) return status;
  n->states = 1u << bits;
  n->table = malloc(sizeof *n->table * n->states * q->dim);
  n->halves = malloc(sizeof *n->halves * q->dim << q->window);
  n->u = malloc(sizeof *n->u * n->states * q->dim);
  for (unsigned i = 0; i < 2; i++)
    n->lines[i] = calloc((size_t)1 << LINE_BITS, sizeof *n->lines[i]);
  n->code = malloc(sizeof *n->code * n->group);
  n->moved = malloc(sizeof *n->moved * n->group);
  n->now = malloc(sizeof *n->now * groups);
  n->next = malloc(sizeof *n->next * groups);
  const bool ok = n->table && n->halves && n->u && n->lines[0] && n->lines[1] && n->code &&
                  n->moved && n->now && n->next;
  if (!ok) return qp_fail(err, QP_E_NOMEM, "out of memory");
  status = find_line(n, err);
  if (!status) find_parts(n);
  return status ? status : freeze(n, err);
}

/* Fields of codes of more than two weights. */
static qp_status use_vectors(qp_nested *n, qp_error *err) {
  const qp_status status = qp_field_sums_new(n->quantizer, &n->sums, err);
  if (status || n->sums) return status;
  return qp_shapes_new(n->quantizer, n->group, n->unit, &n->shapes, err);
}

qp_status qp_nested_new(const qp_quantizer *q, unsigned columns, qp_nested **out, qp_error *err) {
  qp_nested *n = calloc(1, sizeof *n);
  if (!n) return qp_fail(err, QP_E_NOMEM, "out of memory");
  n->quantizer = q;
  n->group = qp_nested_group(q);
  n->unit = qp_nested_unit(q, columns);
  const qp_status status = qp_has_shapes(q) ? use_vectors(n, err) : prepare(n, err);
  if (status)
    qp_nested_free(n);
  else
    *out = n;
  return status;
}

void qp_nested_free(qp_nested *n) {
  if (!n) return;
  qp_field_sums_free(n->sums);
  qp_shapes_free(n->shapes);
  for (unsigned f = 0; f < QP_MAX_FIELDS; f++) qp_field_axis_free(&n->axis[f]);
  qp_codewords_free(&n->words);
  free(n->table);
  free(n->halves);
  free(n->u);
  qp_levels_free(&n->levels);
  for (unsigned i = 0; i < 2; i++) free(n->lines[i]);
  free(n->code);
  free(n->moved);
  free(n->now);
  free(n->next);
  free(n);
}
