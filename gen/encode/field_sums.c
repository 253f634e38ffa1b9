/* SPDX-License-Identifier: MIT */
/* Fields by least squares, codes by the nearest sums, in turns. */
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
  STARTS = 6,             /* ends for N(0,1) that are kept, the best first, */
  TRIED_STARTS = 400,     /* of so many */
  SAMPLE = 1024,          /* quantiles of N(0,1) that they are found for */
  SAMPLE_TURNS = 60,
  DRAWN = 96, /* starts that a group's own targets give, */
  BEST = 12,  /* of which the best are kept */
  TURNS = 12  /* of codes and fields, at most, from each */
};
#define MOST_ROUNDING 0x1p-7 /* of a decode that adds a few fp16 numbers, of their sizes' sum */
#define WORTH_A_TURN  0.9998 /* It must bring the error below this share of the error before. */
#define SAME_START    0.02   /* Starts whose fields differ by less are one. */
#define RIDGE         1e-9   /* of an equation's own square */

/* Sizes of a group's numbers at which starts are tried, against those of N(0,1). */
static const double sizes[] = {1, 0.85, 1.15, 0.7, 0.55, 1.4, 1.8, 2.3};
enum { MOST_STARTS = BEST + STARTS * (sizeof sizes / sizeof *sizes) };

/* A weight's sum: what each field is multiplied by, and what is added. */
typedef struct sum {
  double factor[QP_MAX_FIELDS], fixed;
} sum;

/* What is known of a place of the fields: the sums there, ascending. */
typedef struct place {
  double field[QP_MAX_FIELDS];
  double error;
} place;

struct qp_field_sums {
  const qp_quantizer *quantizer;
  unsigned states, classes, starts;
  sum *sum;        /* [classes] */
  uint32_t *state; /* [classes]: one whose first weight it is */
  uint32_t
      *combined; /* [classes^dim]: a code of each combination, the first weight's class first */
  place start[STARTS]; /* for N(0,1) */
  unsigned room;       /* for targets: */
  float *sorted;       /* [room] */
  double *before;      /* [room + 1]: sums of the targets before */
  double *level;       /* [classes]: the sums at the fields in hand, */
  unsigned *order;     /* [classes]: from the least to the largest */
};

/* ---- What a decode is ---- */

static void decode(const qp_quantizer *q, uint32_t code, const uint32_t *fields, double *out) {
  uint16_t half[QP_NEAREST_DIM];
  qp_quantizer_decode(q, code, fields, NULL, half);
  for (unsigned e = 0; e < q->dim; e++) out[e] = (double)qp_half_to_float(half[e]);
}

/* Add what a code's weights are at fields of 0 and, one at a time, of 1. */
static void sums_of(const qp_quantizer *q, uint32_t code, sum *out) {
  uint32_t raw[QP_MAX_FIELDS];
  double fixed[QP_NEAREST_DIM], one[QP_NEAREST_DIM];
  for (unsigned f = 0; f < q->fields; f++) raw[f] = qp_field_raw(q->field[f].type, 0);
  decode(q, code, raw, fixed);
  memset(out, 0, sizeof *out * q->dim);
  for (unsigned e = 0; e < q->dim; e++) out[e].fixed = fixed[e] + 0.0; /* not -0 */
  for (unsigned f = 0; f < q->fields; f++) {
    raw[f] = qp_field_raw(q->field[f].type, 1);
    decode(q, code, raw, one);
    raw[f] = qp_field_raw(q->field[f].type, 0);
    for (unsigned e = 0; e < q->dim; e++) out[e].factor[f] = one[e] - fixed[e];
  }
}

static bool is_same(const sum *a, const sum *b) {
  bool same = a->fixed == b->fixed;
  for (unsigned f = 0; f < QP_MAX_FIELDS; f++) same &= a->factor[f] == b->factor[f];
  return same;
}

/* The class of a sum; a new one where the first weight has it. */
static bool class_of(qp_field_sums *s, const sum *of, uint32_t state, bool may_be_new,
                     unsigned *out) {
  for (*out = 0; *out < s->classes; ++*out)
    if (is_same(&s->sum[*out], of)) return true;
  if (!may_be_new || s->classes == MAX_CLASSES) return false;
  s->state[s->classes] = state;
  s->sum[s->classes++] = *of;
  return true;
}

/* Has each weight of a code all sums, whatever those of the others are? */
static bool list_sums(qp_field_sums *s) {
  const qp_quantizer *q = s->quantizer;
  sum of[QP_NEAREST_DIM] = {0};
  unsigned k;
  for (uint32_t c = 0; c < s->states; c++) {
    sums_of(q, c, of);
    if (!class_of(s, &of[0], c, true, &k)) return false;
  }
  size_t combinations = 1, found = 0;
  for (unsigned e = 0; e < q->dim; e++)
    if ((combinations *= s->classes) > MAX_COMBINED) return false;
  s->combined = malloc(sizeof *s->combined * combinations);
  if (!s->combined) return false;
  memset(s->combined, 0xff, sizeof *s->combined * combinations);
  for (uint32_t c = 0; c < s->states; c++) {
    size_t at = 0;
    sums_of(q, c, of);
    for (unsigned e = 0; e < q->dim; e++) {
      if (!class_of(s, &of[e], c, false, &k)) return false;
      at = at * s->classes + k;
    }
    found += s->combined[at] == UINT32_MAX;
    if (s->combined[at] == UINT32_MAX) s->combined[at] = c;
  }
  return found == combinations;
}

static double draw_field(const qp_field *f, qp_random *r) {
  const double most = fmin(f->hi, 64), least = fmax(f->lo, most * 0x1p-8);
  return least * pow(most / least, qp_random_uniform(r, 0, 1));
}

/* Is decode these sums at random fields, and of one class the same in every weight? */
static bool are_sums(const qp_field_sums *s) {
  const qp_quantizer *q = s->quantizer;
  qp_random r = {.state = 1};
  for (unsigned i = 0; i < PROBES; i++) {
    const uint32_t code = (uint32_t)(qp_random_next(&r) % s->states);
    uint32_t raw[QP_MAX_FIELDS];
    double v[QP_NEAREST_DIM], own[QP_NEAREST_DIM];
    sum of[QP_NEAREST_DIM] = {0};
    for (unsigned f = 0; f < q->fields; f++)
      raw[f] = qp_field_raw(q->field[f].type, draw_field(&q->field[f], &r));
    decode(q, code, raw, v);
    sums_of(q, code, of);
    for (unsigned e = 0; e < q->dim; e++) {
      double wanted = of[e].fixed, size = fabs(of[e].fixed);
      for (unsigned f = 0; f < q->fields; f++) {
        const double term = of[e].factor[f] * qp_field_number(q->field[f].type, raw[f]);
        wanted += term;
        size += fabs(term);
      }
      if (!(fabs(wanted - v[e]) <= MOST_ROUNDING * size + 0x1p-20)) return false;
      unsigned k = 0;
      while (!is_same(&s->sum[k], &of[e])) k++;
      decode(q, s->state[k], raw, own);
      if (own[0] != v[e]) return false;
    }
  }
  return true;
}

/* ---- Codes and fields in turns ---- */

static int compare_floats(const void *a, const void *b) {
  const float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

static double take_targets(qp_field_sums *s, unsigned n, const float *targets) {
  double square = 0;
  memcpy(s->sorted, targets, sizeof *targets * n);
  qsort(s->sorted, n, sizeof *s->sorted, compare_floats);
  s->before[0] = 0;
  for (unsigned i = 0; i < n; i++) {
    s->before[i + 1] = s->before[i] + (double)s->sorted[i];
    square += (double)s->sorted[i] * (double)s->sorted[i];
  }
  return square;
}

/* Of equal sums the lower class comes first, whatever the order before. */
static bool is_above(const qp_field_sums *s, unsigned a, unsigned b) {
  return s->level[a] > s->level[b] || (!(s->level[b] > s->level[a]) && a > b);
}

/* Put the order right, which is nearly the one before. */
static void sort_levels(qp_field_sums *s) {
  for (unsigned i = 1; i < s->classes; i++) {
    const unsigned k = s->order[i];
    unsigned at = i;
    for (; at && is_above(s, s->order[at - 1], k); at--) s->order[at] = s->order[at - 1];
    s->order[at] = k;
  }
}

/* The sums at a place. */
static void find_levels(qp_field_sums *s, const double *field) {
  for (unsigned k = 0; k < s->classes; k++) {
    s->level[k] = s->sum[k].fixed;
    for (unsigned f = 0; f < s->quantizer->fields; f++)
      s->level[k] += s->sum[k].factor[f] * field[f];
  }
  sort_levels(s);
}

/* The targets from 'from' on that are not above a number. */
static unsigned end_of(const qp_field_sums *s, unsigned from, unsigned n, double most) {
  unsigned low = from, high = n;
  while (low < high) {
    const unsigned middle = (low + high) / 2;
    if ((double)s->sorted[middle] <= most)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* The equations of the fields for codes that are the nearest at a place. */
typedef struct equations {
  double a[QP_MAX_FIELDS][QP_MAX_FIELDS], b[QP_MAX_FIELDS];
} equations;

/* Give the codes at a place their equations; returns the sum of squared errors there. */
static double set_up(qp_field_sums *s, unsigned n, double square, const double *field,
                     equations *q) {
  const unsigned fields = s->quantizer->fields;
  double error = square;
  unsigned from = 0;
  find_levels(s, field);
  memset(q, 0, sizeof *q);
  for (unsigned i = 0; i < s->classes && from < n; i++) {
    const unsigned k = s->order[i];
    const double v = s->level[k];
    const unsigned end =
        i + 1 < s->classes ? end_of(s, from, n, (v + s->level[s->order[i + 1]]) / 2) : n;
    const double count = end - from, total = s->before[end] - s->before[from];
    const sum *of = &s->sum[k];
    error += v * (count * v - 2 * total);
    for (unsigned f = 0; f < fields && end > from; f++) {
      q->b[f] += of->factor[f] * (total - count * of->fixed);
      for (unsigned g = 0; g <= f; g++) q->a[f][g] += count * of->factor[f] * of->factor[g];
    }
    from = end;
  }
  return error;
}

/* Solve by Cholesky's factors; what no code tells of stays. */
static void solve(unsigned n, equations *q, double *field) {
  for (unsigned f = 0; f < n; f++) {
    const double own = q->a[f][f];
    for (unsigned g = 0; g <= f; g++) {
      double left = q->a[f][g];
      for (unsigned k = 0; k < g; k++) left -= q->a[f][k] * q->a[g][k];
      if (g < f)
        q->a[f][g] = q->a[g][g] > 0 ? left / q->a[g][g] : 0;
      else
        q->a[f][f] = left > RIDGE * own ? sqrt(left) : 0;
    }
  }
  for (unsigned f = 0; f < n; f++) {
    for (unsigned k = 0; k < f; k++) q->b[f] -= q->a[f][k] * q->b[k];
    q->b[f] = q->a[f][f] > 0 ? q->b[f] / q->a[f][f] : 0;
  }
  for (unsigned f = n; f-- > 0;) {
    if (!(q->a[f][f] > 0)) continue;
    for (unsigned k = f + 1; k < n; k++) q->b[f] -= q->a[k][f] * field[k];
    field[f] = q->b[f] / q->a[f][f];
  }
}

static void keep_within(const qp_quantizer *q, double *field) {
  for (unsigned f = 0; f < q->fields; f++)
    field[f] = fmin(fmax(field[f], q->field[f].lo), q->field[f].hi);
}

/* Turns from a place while they help. */
static void descend(qp_field_sums *s, unsigned n, double square, unsigned turns, place *p) {
  equations q;
  place now = *p;
  keep_within(s->quantizer, now.field);
  for (unsigned turn = 0;; turn++) {
    now.error = set_up(s, n, square, now.field, &q);
    const bool worth = !turn || now.error < WORTH_A_TURN * p->error;
    if (!turn || now.error < p->error) *p = now;
    if (!worth || turn == turns) return;
    solve(s->quantizer->fields, &q, now.field);
    keep_within(s->quantizer, now.field);
  }
}

/* ---- Where to start ---- */

static bool is_known(const qp_field_sums *s, const place *list, unsigned count, const place *p) {
  for (unsigned i = 0; i < count; i++) {
    double apart = 0;
    for (unsigned f = 0; f < s->quantizer->fields; f++)
      apart = fmax(apart, fabs(p->field[f] - list[i].field[f]));
    if (apart < SAME_START) return true;
  }
  return false;
}

/* Keep the places with the least errors, ascending. */
static void keep_place(place *list, unsigned *count, unsigned most, const place *p) {
  if (*count == most && !(p->error < list[most - 1].error)) return;
  unsigned at = *count < most ? (*count)++ : most - 1;
  for (; at && p->error < list[at - 1].error; at--) list[at] = list[at - 1];
  list[at] = *p;
}

/* Ends of turns that begin at random, for N(0,1). */
static void find_starts(qp_field_sums *s) {
  const unsigned fields = s->quantizer->fields;
  float sample[SAMPLE];
  qp_random r = {.state = 1};
  for (unsigned i = 0; i < SAMPLE; i++) sample[i] = (float)qp_gaussian_quantile((i + 0.5) / SAMPLE);
  const double square = take_targets(s, SAMPLE, sample);
  for (unsigned i = 0; i < TRIED_STARTS; i++) {
    place p = {.error = INFINITY};
    for (unsigned f = 0; f < fields; f++) p.field[f] = pow(2, qp_random_uniform(&r, -4, 1.5));
    descend(s, SAMPLE, square, SAMPLE_TURNS, &p);
    if (!is_known(s, s->start, s->starts, &p)) keep_place(s->start, &s->starts, STARTS, &p);
  }
}

/* ---- A group ---- */

static unsigned draw_below(qp_random *r, unsigned n) {
  return (unsigned)(qp_random_uniform(r, 0, 1) * n);
}

/* A start where a few targets, drawn or the outermost, are sums that are drawn, too; of these the
   best are kept. */
static void draw_start(qp_field_sums *s, unsigned n, double square, qp_random *r, place *best,
                       unsigned *count) {
  const unsigned fields = s->quantizer->fields;
  equations q = {.b = {0}};
  place p;
  for (unsigned f = 0; f < fields; f++) p.field[f] = sqrt(square / n);
  for (unsigned i = 0; i < fields; i++) {
    const sum *of = &s->sum[draw_below(r, s->classes)];
    const unsigned drawn = draw_below(r, n);
    const unsigned at = i ? drawn : fabsf(s->sorted[0]) > fabsf(s->sorted[n - 1]) ? 0 : n - 1;
    for (unsigned f = 0; f < fields; f++) {
      q.b[f] += of->factor[f] * ((double)s->sorted[at] - of->fixed);
      for (unsigned g = 0; g <= f; g++) q.a[f][g] += of->factor[f] * of->factor[g];
    }
  }
  solve(fields, &q, p.field);
  keep_within(s->quantizer, p.field);
  p.error = set_up(s, n, square, p.field, &q);
  keep_place(best, count, BEST, &p);
}

void qp_field_sums_choose(qp_field_sums *s, unsigned n, const float *targets,
                          uint32_t fields[QP_MAX_FIELDS]) {
  const qp_quantizer *q = s->quantizer;
  const double square = take_targets(s, n, targets), rms = sqrt(square / n);
  place list[MOST_STARTS], best = {.error = INFINITY};
  unsigned count = 0;
  qp_random r = {.state = 1};
  for (unsigned i = 0; i < DRAWN; i++) draw_start(s, n, square, &r, list, &count);
  for (unsigned i = 0; i < s->starts; i++)
    for (unsigned k = 0; k < sizeof sizes / sizeof *sizes; k++) {
      list[count] = s->start[i];
      for (unsigned f = 0; f < q->fields; f++) list[count].field[f] *= rms * sizes[k];
      count++;
    }
  for (unsigned i = 0; i < count; i++) {
    descend(s, n, square, TURNS, &list[i]);
    if (list[i].error < best.error) best = list[i];
  }
  for (unsigned f = 0; f < q->fields; f++)
    fields[f] = qp_field_raw(q->field[f].type, best.field[f]);
}

/* The class whose sum is nearest, of equals the lower sum. */
static unsigned nearest_class(const qp_field_sums *s, double x) {
  unsigned low = 0, high = s->classes - 1; /* places in the order */
  while (low < high) {
    const unsigned middle = (low + high) / 2;
    if (x <= (s->level[s->order[middle]] + s->level[s->order[middle + 1]]) / 2)
      high = middle;
    else
      low = middle + 1;
  }
  return s->order[low];
}

void qp_field_sums_codes(qp_field_sums *s, const uint32_t fields[QP_MAX_FIELDS], unsigned n,
                         const float *targets, uint32_t *codes, float *values) {
  const qp_quantizer *q = s->quantizer;
  double own[QP_NEAREST_DIM];
  for (unsigned k = 0; k < s->classes; k++) { /* with their rounding */
    decode(q, s->state[k], fields, own);
    s->level[k] = own[0];
  }
  sort_levels(s);
  for (unsigned i = 0; i < n / q->dim; i++) {
    size_t at = 0;
    for (unsigned e = 0; e < q->dim; e++) {
      const unsigned k = nearest_class(s, (double)targets[i * q->dim + e]);
      values[i * q->dim + e] = (float)s->level[k];
      at = at * s->classes + k;
    }
    codes[i] = s->combined[at];
  }
}

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

static bool has_room(const qp_field_sums *s) {
  return s->sum && s->state && s->sorted && s->before && s->level && s->order;
}

qp_status qp_field_sums_new(const qp_quantizer *q, qp_field_sums **out, qp_error *err) {
  *out = NULL;
  if (!has_form(q)) return QP_OK;
  qp_field_sums *s = calloc(1, sizeof *s);
  if (!s) return qp_fail(err, QP_E_NOMEM, "out of memory");
  *s = (qp_field_sums){.quantizer = q,
                       .states = 1u << (q->planes ? q->planes_read : q->window),
                       .room = q->group > SAMPLE ? q->group : SAMPLE,
                       .sum = malloc(sizeof *s->sum * MAX_CLASSES),
                       .state = malloc(sizeof *s->state * MAX_CLASSES),
                       .level = malloc(sizeof *s->level * MAX_CLASSES),
                       .order = malloc(sizeof *s->order * MAX_CLASSES)};
  s->sorted = malloc(sizeof *s->sorted * s->room);
  s->before = malloc(sizeof *s->before * (s->room + 1));
  const bool room = has_room(s), form = room && list_sums(s) && are_sums(s);
  if (!form) {
    qp_field_sums_free(s);
    return room ? QP_OK : qp_fail(err, QP_E_NOMEM, "out of memory");
  }
  for (unsigned k = 0; k < s->classes; k++) s->order[k] = k;
  find_starts(s);
  *out = s;
  return QP_OK;
}

void qp_field_sums_free(qp_field_sums *s) {
  if (!s) return;
  free(s->sum);
  free(s->state);
  free(s->combined);
  free(s->sorted);
  free(s->before);
  free(s->level);
  free(s->order);
  free(s);
}
