/* SPDX-License-Identifier: MIT */
/* Fields by least squares, codes by the nearest sums, in turns: the steps of
   templates/field_sums.h. */
#include "gen/encode/field_sums.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/gaussian.h"
#include "gen/base/random.h"
#include "gen/encode/nearest.h"
#include "gen/spec/field.h"
#include "runtime/half.h"

enum {
  MAX_BITS = 16,
  MAX_CLASSES = 256,      /* different sums of a weight */
  MAX_COMBINED = 1 << 16, /* and of all weights of a code */
  PROBES = 200,           /* random codes at random fields that decode is compared with */
  TRIED_STARTS = 400,     /* for N(0,1), */
  SAMPLE = 1024,          /* quantiles of which they are tried with */
  SAMPLE_TURNS = 60
};
#define MOST_ROUNDING 0x1p-7 /* of a decode that adds a few fp16 numbers, of their sizes' sum */
#define SAME_START    0.02   /* Starts whose fields differ by less are one. */

struct qp_field_sums {
  const qp_quantizer *quantizer;
  unsigned states, fields, classes, starts;
  double *factor;     /* [classes][fields + 1]: a weight's sum */
  uint32_t *state;    /* [classes]: one whose first weight it is */
  uint32_t *combined; /* [classes^dim]: a code of each combination, the first weight's class first
                       */
  double *start;      /* [starts][fields]: for N(0,1); none before they are asked for */
  double *part;       /* [SUMS_DRAWN][fields]: which target, */
  uint32_t *drawn;    /* and which class, where a start is drawn */
  unsigned room;      /* for targets: */
  unsigned n;         /* those in hand, */
  double *sorted;     /* [room], */
  double *before;     /* [room + 1]: sums of those before, */
  double square;      /* and of all squares */
  struct sums_levels *levels;
};

/* ---- What the shared steps ask ---- */

typedef qp_field_sums qp_sums;
typedef double qp_real;
#define QP_STEP         static inline
#define QP_SUMS_FIELDS  QP_MAX_FIELDS
#define QP_SUMS_CLASSES MAX_CLASSES

static inline unsigned sums_fields(const qp_sums *s) { return s->fields; }
static inline unsigned sums_classes(const qp_sums *s) { return s->classes; }
static inline double sums_factor(const qp_sums *s, unsigned k, unsigned f) {
  return s->factor[k * (s->fields + 1) + f];
}
static inline double sums_fixed(const qp_sums *s, unsigned k) {
  return sums_factor(s, k, s->fields);
}
static inline double sums_lowest(const qp_sums *s, unsigned f) { return s->quantizer->field[f].lo; }
static inline double sums_highest(const qp_sums *s, unsigned f) {
  return s->quantizer->field[f].hi;
}
static inline unsigned sums_count(const qp_sums *s) { return s->n; }
static inline double sums_target(const qp_sums *s, unsigned i) { return s->sorted[i]; }
static inline double sums_before(const qp_sums *s, unsigned i) { return s->before[i]; }
static inline double sums_square(const qp_sums *s) { return s->square; }
static inline unsigned sums_drawn_class(const qp_sums *s, unsigned i, unsigned j) {
  return s->drawn[i * s->fields + j];
}
static inline unsigned sums_drawn_target(const qp_sums *s, unsigned i, unsigned j) {
  return (unsigned)(s->part[i * s->fields + j] * s->n);
}
static inline double sums_known(const qp_sums *s, unsigned i, unsigned f) {
  return s->start[i * s->fields + f];
}
static inline double sums_root(double x) { return sqrt(x); }

#include "templates/field_sums.h"

/* ---- What a decode is ---- */

/* What all codes decode to with fields of 0, and one at a time of 1. */
typedef struct tables {
  uint16_t *half; /* [fields + 1][each] */
  size_t each;    /* 2^window dim */
} tables;

static qp_status make_tables(const qp_quantizer *q, tables *t, qp_error *err) {
  uint32_t raw[QP_MAX_FIELDS] = {0};
  qp_status status = QP_OK;
  t->each = (size_t)q->dim << q->window;
  t->half = malloc(sizeof *t->half * t->each * (q->fields + 1));
  if (!t->half) return qp_fail(err, QP_E_NOMEM, "out of memory");
  for (unsigned i = 0; i <= q->fields && !status; i++) {
    for (unsigned f = 0; f < q->fields; f++) raw[f] = qp_field_raw(q->field[f].type, f + 1 == i);
    status = qp_quantizer_table(q, raw, NULL, t->half + i * t->each, err);
  }
  return status;
}

/* The sum of a code's weight: what fields are multiplied by, and what is added. */
static void sum_of(const qp_field_sums *s, const tables *t, uint32_t code, unsigned weight,
                   double *out) {
  const size_t at = (size_t)code * s->quantizer->dim + weight;
  const double fixed = (double)qp_half_to_float(t->half[at]);
  for (unsigned f = 0; f < s->fields; f++)
    out[f] = (double)qp_half_to_float(t->half[(f + 1) * t->each + at]) - fixed;
  out[s->fields] = fixed + 0.0; /* not -0 */
}

/* The class of a sum, or 'classes'. */
static unsigned class_of(const qp_field_sums *s, const double *sum) {
  unsigned k = 0;
  for (; k < s->classes; k++) {
    bool same = true;
    for (unsigned f = 0; f <= s->fields; f++) same &= sums_factor(s, k, f) == sum[f];
    if (same) break;
  }
  return k;
}

/* The sums of the first weights; false: there are too many. */
static bool list_classes(qp_field_sums *s, const tables *t) {
  double sum[QP_MAX_FIELDS + 1];
  for (uint32_t c = 0; c < s->states; c++) {
    sum_of(s, t, c, 0, sum);
    if (class_of(s, sum) < s->classes) continue;
    if (s->classes == MAX_CLASSES) return false;
    s->state[s->classes] = c;
    memcpy(s->factor + (size_t)s->classes++ * (s->fields + 1), sum, sizeof *sum * (s->fields + 1));
  }
  return true;
}

/* Has each weight of a code all sums, whatever those of the others are? */
static bool list_combined(qp_field_sums *s, const tables *t) {
  double sum[QP_MAX_FIELDS + 1];
  size_t combinations = 1, found = 0;
  for (unsigned e = 0; e < s->quantizer->dim; e++)
    if ((combinations *= s->classes) > MAX_COMBINED) return false;
  memset(s->combined, 0xff, sizeof *s->combined * combinations);
  for (uint32_t c = 0; c < s->states; c++) {
    size_t at = 0;
    for (unsigned e = 0; e < s->quantizer->dim; e++) {
      sum_of(s, t, c, e, sum);
      const unsigned k = class_of(s, sum);
      if (k == s->classes) return false;
      at = at * s->classes + k;
    }
    found += s->combined[at] == UINT32_MAX;
    if (s->combined[at] == UINT32_MAX) s->combined[at] = c;
  }
  return found == combinations;
}

static void decode(const qp_quantizer *q, uint32_t code, const uint32_t *fields, double *out) {
  uint16_t half[QP_NEAREST_DIM] = {0};
  qp_quantizer_decode(q, code, fields, NULL, half);
  for (unsigned e = 0; e < q->dim; e++) out[e] = (double)qp_half_to_float(half[e]);
}

static double draw_field(const qp_field *f, qp_random *r) {
  const double most = fmin(f->hi, 64), least = fmax(f->lo, most * 0x1p-8);
  return least * pow(most / least, qp_random_uniform(r, 0, 1));
}

/* Is a weight at these fields its sum, and the same as the first one of the class's own code? */
static bool is_sum(const qp_field_sums *s, const double *sum, const uint32_t *raw, double v) {
  const qp_quantizer *q = s->quantizer;
  double wanted = sum[s->fields], size = fabs(wanted), own[QP_NEAREST_DIM] = {0};
  for (unsigned f = 0; f < s->fields; f++) {
    const double term = sum[f] * qp_field_number(q->field[f].type, raw[f]);
    wanted += term;
    size += fabs(term);
  }
  if (!(fabs(wanted - v) <= MOST_ROUNDING * size + 0x1p-20)) return false;
  decode(q, s->state[class_of(s, sum)], raw, own);
  return own[0] == v;
}

/* Is decode these sums at random fields, and of one class the same in every weight? */
static bool are_sums(const qp_field_sums *s, const tables *t) {
  const qp_quantizer *q = s->quantizer;
  qp_random r = {.state = 1};
  for (unsigned i = 0; i < PROBES; i++) {
    const uint32_t code = (uint32_t)(qp_random_next(&r) % s->states);
    uint32_t raw[QP_MAX_FIELDS] = {0};
    double v[QP_NEAREST_DIM] = {0}, sum[QP_MAX_FIELDS + 1];
    for (unsigned f = 0; f < q->fields; f++)
      raw[f] = qp_field_raw(q->field[f].type, draw_field(&q->field[f], &r));
    decode(q, code, raw, v);
    for (unsigned e = 0; e < q->dim; e++) {
      sum_of(s, t, code, e, sum);
      if (!is_sum(s, sum, raw, v[e])) return false;
    }
  }
  return true;
}

/* ---- Where to start ---- */

static int compare_numbers(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void take_targets(qp_field_sums *s, unsigned n, const float *targets) {
  s->n = n;
  s->square = 0;
  for (unsigned i = 0; i < n; i++) s->sorted[i] = (double)targets[i] + 0.0; /* not -0 */
  qsort(s->sorted, n, sizeof *s->sorted, compare_numbers);
  s->before[0] = 0;
  for (unsigned i = 0; i < n; i++) {
    s->before[i + 1] = s->before[i] + s->sorted[i];
    s->square += s->sorted[i] * s->sorted[i];
  }
}

static bool is_known(const qp_field_sums *s, const sums_place *list, unsigned count,
                     const sums_place *p) {
  for (unsigned i = 0; i < count; i++) {
    double apart = 0;
    for (unsigned f = 0; f < s->fields; f++)
      apart = fmax(apart, fabs(p->field[f] - list[i].field[f]));
    if (apart < SAME_START) return true;
  }
  return false;
}

/* Keep the places with the least errors, ascending. */
static void keep_place(sums_place *list, unsigned *count, unsigned most, const sums_place *p) {
  if (*count == most && !(p->error < list[most - 1].error)) return;
  unsigned at = *count < most ? (*count)++ : most - 1;
  for (; at && p->error < list[at - 1].error; at--) list[at] = list[at - 1];
  list[at] = *p;
}

/* Ends of turns that begin at random, for N(0,1), found when they are first asked for. */
static void find_starts(qp_field_sums *s) {
  float sample[SAMPLE];
  sums_place list[SUMS_KNOWN] = {{.error = 0}};
  qp_random r = {.state = 1};
  if (s->starts) return;
  for (unsigned i = 0; i < SAMPLE; i++) sample[i] = (float)qp_gaussian_quantile((i + 0.5) / SAMPLE);
  take_targets(s, SAMPLE, sample);
  for (unsigned i = 0; i < TRIED_STARTS; i++) {
    sums_place p = {.error = INFINITY};
    for (unsigned f = 0; f < s->fields; f++) p.field[f] = pow(2, qp_random_uniform(&r, -4, 1.5));
    sums_descend(s, s->levels, SAMPLE_TURNS, &p);
    if (!is_known(s, list, s->starts, &p)) keep_place(list, &s->starts, SUMS_KNOWN, &p);
  }
  for (unsigned i = 0; i < s->starts; i++)
    memcpy(s->start + i * s->fields, list[i].field, sizeof *s->start * s->fields);
}

static void draw_parts(qp_field_sums *s) {
  qp_random r = {.state = 1};
  for (unsigned i = 0; i < SUMS_DRAWN * s->fields; i++) {
    s->drawn[i] = (uint32_t)(qp_random_uniform(&r, 0, 1) * s->classes);
    s->part[i] = qp_random_uniform(&r, 0, 1);
  }
}

/* ---- A group ---- */

void qp_field_sums_choose(qp_field_sums *s, unsigned n, const float *targets,
                          uint32_t fields[QP_MAX_FIELDS]) {
  sums_place list[SUMS_STARTS] = {{.error = 0}}, best = {.error = INFINITY};
  unsigned count = 0;
  find_starts(s);
  take_targets(s, n, targets);
  for (unsigned i = 0; i < SUMS_DRAWN; i++) {
    sums_place p;
    sums_draw(s, i, p.field);
    p.error = sums_set_up(s, s->levels, p.field, NULL);
    keep_place(list, &count, SUMS_BEST, &p);
  }
  for (unsigned i = 0; i < s->starts * SUMS_SIZES; i++) sums_start(s, i, list[count++].field);
  for (unsigned i = 0; i < count; i++) {
    sums_descend(s, s->levels, SUMS_TURNS, &list[i]);
    if (list[i].error < best.error) best = list[i];
  }
  for (unsigned f = 0; f < s->fields; f++)
    fields[f] = qp_field_raw(s->quantizer->field[f].type, best.field[f]);
}

void qp_field_sums_codes(qp_field_sums *s, const uint32_t fields[QP_MAX_FIELDS], unsigned n,
                         const float *targets, uint32_t *codes, float *values) {
  const qp_quantizer *q = s->quantizer;
  sums_levels *l = s->levels;
  double own[QP_NEAREST_DIM] = {0};
  for (unsigned k = 0; k < s->classes; k++) { /* with their rounding */
    decode(q, s->state[k], fields, own);
    l->level[k] = own[0];
  }
  sums_sort(s, l);
  for (unsigned i = 0; i < n / q->dim; i++) {
    size_t at = 0;
    for (unsigned e = 0; e < q->dim; e++) {
      const unsigned k = sums_nearest(s, l, (double)targets[i * q->dim + e]);
      values[i * q->dim + e] = (float)l->level[k];
      at = at * s->classes + k;
    }
    codes[i] = s->combined[at];
  }
}

void qp_field_sums_view_of(qp_field_sums *s, qp_field_sums_view *out) {
  find_starts(s);
  *out = (qp_field_sums_view){.classes = s->classes,
                              .known = s->starts,
                              .drawn = SUMS_DRAWN,
                              .factor = s->factor,
                              .start = s->start,
                              .part = s->part,
                              .sum = s->drawn,
                              .state = s->state,
                              .combined = s->combined};
}

unsigned qp_field_sums_classes(const qp_field_sums *s) { return s->classes; }

/* ---- Making ---- */

/* Types with so many numbers that the nearest one is as good as any. */
static bool has_many(qp_field_type type) {
  return type == QP_FIELD_F16 || type == QP_FIELD_BF16 || type == QP_FIELD_F32;
}

static bool has_form(const qp_quantizer *q) {
  const unsigned bits = q->planes ? q->planes_read : q->window;
  if (q->kind == QP_TRELLIS || q->kind == QP_SPLIT || !q->fields || bits > MAX_BITS) return false;
  for (unsigned c = 0; c < q->codebooks; c++)
    if (q->codebook[c].scope != QP_SCOPE_SPEC) return false;
  for (unsigned f = 0; f < q->fields; f++)
    if (!has_many(q->field[f].type) || !q->group || q->field[f].size != q->group) return false;
  return true;
}

static qp_status make_room(qp_field_sums *s, qp_error *err) {
  const unsigned fields = s->fields;
  s->factor = malloc(sizeof *s->factor * MAX_CLASSES * (fields + 1));
  s->state = calloc(MAX_CLASSES, sizeof *s->state);
  s->combined = malloc(sizeof *s->combined * MAX_COMBINED);
  s->levels = malloc(sizeof *s->levels);
  s->start = malloc(sizeof *s->start * SUMS_KNOWN * fields);
  s->part = malloc(sizeof *s->part * SUMS_DRAWN * fields);
  s->drawn = malloc(sizeof *s->drawn * SUMS_DRAWN * fields);
  s->sorted = malloc(sizeof *s->sorted * s->room);
  s->before = malloc(sizeof *s->before * (s->room + 1));
  const bool room = s->factor && s->state && s->combined && s->levels && s->start && s->part &&
                    s->drawn && s->sorted && s->before;
  return room ? QP_OK : qp_fail(err, QP_E_NOMEM, "out of memory");
}

qp_status qp_field_sums_new(const qp_quantizer *q, qp_field_sums **out, qp_error *err) {
  tables t = {.half = NULL};
  *out = NULL;
  if (!has_form(q)) return QP_OK;
  qp_field_sums *s = calloc(1, sizeof *s);
  if (!s) return qp_fail(err, QP_E_NOMEM, "out of memory");
  *s = (qp_field_sums){.quantizer = q,
                       .states = 1u << (q->planes ? q->planes_read : q->window),
                       .fields = q->fields,
                       .room = q->group > SAMPLE ? q->group : SAMPLE};
  qp_status status = make_room(s, err);
  if (!status) status = make_tables(q, &t, err);
  const bool form = !status && list_classes(s, &t) && list_combined(s, &t) && are_sums(s, &t);
  free(t.half);
  if (!form) return qp_field_sums_free(s), status;
  for (unsigned k = 0; k < s->classes; k++) s->levels->order[k] = (unsigned char)k;
  draw_parts(s);
  *out = s;
  return QP_OK;
}

void qp_field_sums_free(qp_field_sums *s) {
  if (!s) return;
  free(s->factor);
  free(s->state);
  free(s->combined);
  free(s->start);
  free(s->part);
  free(s->drawn);
  free(s->sorted);
  free(s->before);
  free(s->levels);
  free(s);
}
