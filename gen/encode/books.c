/* SPDX-License-Identifier: MIT */
/* Codebook entries by least squares through decode. */
#include "gen/encode/books.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/half.h"
#include "runtime/list.h"

enum {
  MAX_DIM = 16,
  MAX_READ = 1024, /* numbers of codebooks that one state reads */
  MAX_ITERATIONS = 64,
  MAX_KNOWN_BITS = 20, /* of states that are points once */
  COMPARED_EVERY = 61  /* of so many points one is compared with decode, all of the first ones */
};
#define ONE_HALF      0x3c00 /* 1 as fp16 */
#define SMALL_STEP    1e-5   /* of the first gradient: one below that counts as solved */
#define RIDGE         1e-6   /* of an unknown's own square: entries that hardly matter stay */
#define MOST_ROUNDING 0x1p-7 /* of a decode that adds a few fp16 numbers, of their sizes' sum */

/* Adds number[unknown] * factor to weight 'at' of the point. */
typedef struct term {
  uint32_t unknown;
  uint32_t at;
  float factor;
} term;

/* Codes that decode alike, and the sums over their targets. */
typedef struct point {
  size_t first; /* of its terms */
  unsigned terms;
  float fixed[MAX_DIM];                 /* what does not depend on the unknowns */
  double weight[MAX_DIM], sum[MAX_DIM]; /* The sums of the weights, and of weight times target. */
} point;

/* Codes in runs, each the sum of the points of its runs, less those of code 0 that are too many. */
typedef struct joint {
  qp_books_runs runs;                /* count 0: codes are points */
  uint32_t *point_of[QP_MAX_STAGES]; /* [2^bits]: 1 + the point */
  size_t count, points_capacity, numbers_capacity;
  uint32_t *point;  /* [codes][runs] */
  float *number;    /* [codes][2][dim]: targets, their weights */
  double *sum;      /* [points][dim]: what a vector of unknowns gives, */
  double *gradient; /* and the same of weighted sums */
  float *of_zero;   /* [points][terms of code 0]: their factors */
} joint;

struct qp_books {
  const qp_quantizer *quantizer;
  joint joint;
  bool unknown[QP_MAX_CODEBOOKS];
  uint32_t begin[QP_MAX_CODEBOOKS + 1]; /* unknowns of the codebooks before */
  uint16_t *probe[QP_MAX_CODEBOOKS];    /* All zeros but for the number in hand. */
  qp_ir *index;                         /* Decode, with the index of a look-up as its output. */
  point *points;
  size_t count, capacity;
  term *terms;
  size_t terms_count, terms_capacity;
  uint32_t
      *point_of; /* [states]: 1 + the point, without fields and where these are few; else NULL */
};

static unsigned states_of(const qp_quantizer *q) {
  return 1u << (q->planes ? q->planes_read : q->window);
}

static bool open_joint(joint *j, const qp_books_runs *runs) {
  j->runs = *runs;
  for (unsigned k = 0; k < runs->count; k++) {
    j->point_of[k] = calloc((size_t)1 << runs->run[k].bits, sizeof *j->point_of[k]);
    if (!j->point_of[k]) return false;
  }
  return true;
}

static void close_joint(joint *j) {
  for (unsigned k = 0; k < QP_MAX_STAGES; k++) free(j->point_of[k]);
  free(j->point);
  free(j->number);
  free(j->sum);
  free(j->gradient);
  free(j->of_zero);
}

qp_status qp_books_new(const qp_quantizer *q, const bool *unknown, const qp_books_runs *runs,
                       qp_books **out, qp_error *err) {
  qp_books *b = calloc(1, sizeof *b);
  if (!b) return qp_fail(err, QP_E_NOMEM, "out of memory");
  b->quantizer = q;
  bool ok = (b->index = qp_ir_clone(q->decode)) != NULL;
  for (unsigned c = 0; c < q->codebooks; c++) {
    const uint32_t numbers = q->codebook[c].entries * q->codebook[c].dim;
    b->unknown[c] = unknown[c];
    b->begin[c + 1] = b->begin[c] + (unknown[c] ? numbers : 0);
    if (unknown[c]) ok = (b->probe[c] = calloc(numbers, sizeof *b->probe[c])) != NULL && ok;
  }
  for (unsigned c = q->codebooks; c < QP_MAX_CODEBOOKS; c++) b->begin[c + 1] = b->begin[c];
  if (ok && runs && runs->count)
    ok = open_joint(&b->joint, runs);
  else if (ok && !q->fields && q->window <= MAX_KNOWN_BITS)
    ok = (b->point_of = calloc(states_of(q), sizeof *b->point_of)) != NULL;
  if (!ok) {
    qp_books_free(b);
    return qp_fail(err, QP_E_NOMEM, "out of memory");
  }
  *out = b;
  return QP_OK;
}

void qp_books_free(qp_books *b) {
  if (!b) return;
  for (unsigned c = 0; c < QP_MAX_CODEBOOKS; c++) free(b->probe[c]);
  qp_ir_free(b->index);
  close_joint(&b->joint);
  free(b->points);
  free(b->terms);
  free(b->point_of);
  free(b);
}

void qp_books_clear(qp_books *b) {
  joint *j = &b->joint;
  b->count = b->terms_count = j->count = 0;
  for (unsigned k = 0; k < j->runs.count; k++)
    memset(j->point_of[k], 0, sizeof *j->point_of[k] << j->runs.run[k].bits);
  if (b->point_of) memset(b->point_of, 0, sizeof *b->point_of * states_of(b->quantizer));
}

/* ---- What a state reads, and what becomes of it ---- */

/* The unknowns that a state reads: at most MAX_READ.  More: false. */
static bool list_read(qp_books *b, uint32_t state, const uint32_t *fields, uint32_t *read,
                      unsigned *count) {
  const qp_quantizer *q = b->quantizer;
  qp_ir_env env = {.input[QP_IN_STATE] = state};
  for (unsigned f = 0; f < q->fields; f++) env.input[QP_IN_GROUP + f] = fields[f];
  for (unsigned c = 0; c < q->codebooks; c++) {
    env.codebook[c].data = b->unknown[c] ? b->probe[c] : q->codebook[c].data;
    env.codebook[c].entries = q->codebook[c].entries;
    env.codebook[c].dim = q->codebook[c].dim;
  }
  *count = 0;
  for (unsigned n = 0; n < q->decode->count; n++) {
    const qp_ir_node *at = &q->decode->node[n];
    if (!qp_ir_has(q->decode, n, QP_IR_LOOKS_UP) || !b->unknown[at->imm]) continue;
    const qp_codebook *book = &q->codebook[at->imm];
    uint32_t index;
    b->index->count = n;
    b->index->outputs = 1;
    b->index->output[0] = at->arg[0];
    qp_ir_eval(b->index, &env, &index);
    if (index >= book->entries) index = book->entries - 1;
    const uint32_t first =
        b->begin[at->imm] + index * book->dim + (book->dim > 1 ? 2 * at->imm2 : 0);
    for (unsigned i = 0; i < (book->dim > 1 ? 2 : 1); i++) {
      unsigned k = 0;
      while (k < *count && read[k] != first + i) k++;
      if (k < *count) continue;
      if (*count == MAX_READ) return false;
      read[(*count)++] = first + i;
    }
  }
  return true;
}

/* Find an unknown's place in its codebook's probe. */
static uint16_t *probe_of(const qp_books *b, uint32_t unknown) {
  unsigned c = 0;
  while (unknown >= b->begin[c + 1]) c++;
  return b->probe[c] + (unknown - b->begin[c]);
}

static void decode(const qp_books *b, uint32_t state, const uint32_t *fields, float *out) {
  uint16_t half[MAX_DIM];
  const uint16_t *books[QP_MAX_CODEBOOKS];
  for (unsigned c = 0; c < QP_MAX_CODEBOOKS; c++) books[c] = b->probe[c];
  qp_quantizer_decode(b->quantizer, state, fields, books, half);
  for (unsigned e = 0; e < b->quantizer->dim; e++) out[e] = qp_half_to_float(half[e]);
}

static bool add_term(qp_books *b, term t) {
  term *to = qp_list_room(b->terms, b->terms_count, &b->terms_capacity, sizeof *to);
  if (!to) return false;
  b->terms = to;
  b->terms[b->terms_count++] = t;
  return true;
}

static qp_status not_linear(const qp_books *b, const char *what, qp_error *err) {
  return qp_fail(err, QP_E_ARG, "%s: its decode %s", b->quantizer->name, what);
}

/* Is the sum what decode gives, with numbers in the place of the unknowns that are read? */
static qp_status compare(qp_books *b, const point *p, uint32_t state, const uint32_t *fields,
                         const uint32_t *read, unsigned count, qp_error *err) {
  float out[MAX_DIM];
  double sum[MAX_DIM] = {0}, size[MAX_DIM] = {0};
  for (unsigned i = 0; i < count; i++) /* numbers of both signs and some sizes, exact in few bits */
    *probe_of(b, read[i]) = qp_double_to_half((i * 37 % 13 - 6.5) / 4);
  decode(b, state, fields, out);
  for (size_t i = p->first; i < p->first + p->terms; i++) {
    const term *t = &b->terms[i];
    const double v = (double)qp_half_to_float(*probe_of(b, t->unknown)) * (double)t->factor;
    sum[t->at] += v;
    size[t->at] += fabs(v);
  }
  for (unsigned i = 0; i < count; i++) *probe_of(b, read[i]) = 0;
  for (unsigned e = 0; e < b->quantizer->dim; e++) {
    const double fixed = (double)p->fixed[e];
    if (fabs(sum[e] + fixed - (double)out[e]) > MOST_ROUNDING * (size[e] + fabs(fixed)) + 1e-6)
      return not_linear(b, "is no sum of codebook entries times numbers", err);
  }
  return QP_OK;
}

/* The terms of a point that is the last one so far. */
static qp_status find_terms(qp_books *b, point *p, uint32_t state, const uint32_t *fields,
                            qp_error *err) {
  uint32_t read[MAX_READ];
  unsigned count;
  if (!list_read(b, state, fields, read, &count))
    return not_linear(b, "reads more than 1024 numbers of codebooks for a code", err);
  decode(b, state, fields, p->fixed);
  for (unsigned i = 0; i < count; i++) {
    float out[MAX_DIM];
    *probe_of(b, read[i]) = ONE_HALF;
    decode(b, state, fields, out);
    *probe_of(b, read[i]) = 0;
    for (unsigned e = 0; e < b->quantizer->dim; e++) {
      const float factor = out[e] - p->fixed[e];
      if (factor == 0) continue;
      if (!add_term(b, (term){read[i], e, factor}))
        return qp_fail(err, QP_E_NOMEM, "out of memory");
      p->terms++;
    }
  }
  if (b->count > COMPARED_EVERY && b->count % COMPARED_EVERY) return QP_OK;
  return compare(b, p, state, fields, read, count, err);
}

static qp_status new_point(qp_books *b, uint32_t state, const uint32_t *fields, qp_error *err) {
  point *to = qp_list_room(b->points, b->count, &b->capacity, sizeof *to);
  if (!to) return qp_fail(err, QP_E_NOMEM, "out of memory");
  b->points = to;
  point *p = &b->points[b->count];
  *p = (point){.first = b->terms_count};
  const qp_status status = find_terms(b, p, state, fields, err);
  if (!status) b->count++;
  return status;
}

/* The point of a run's bits; that of code 0, of all runs, is the first. */
static qp_status point_of_run(qp_books *b, unsigned k, uint32_t bits, uint32_t *out,
                              qp_error *err) {
  uint32_t *known = &b->joint.point_of[k][bits];
  if (!bits && b->count) *known = 1;
  if (!*known) {
    const qp_status status = new_point(b, bits << b->joint.runs.run[k].shift, NULL, err);
    if (status) return status;
    *known = (uint32_t)b->count;
  }
  *out = *known - 1;
  return QP_OK;
}

static qp_status add_joint(qp_books *b, uint32_t state, const float *target, const float *weight,
                           qp_error *err) {
  joint *j = &b->joint;
  const unsigned runs = j->runs.count, dim = b->quantizer->dim;
  uint32_t *ids = qp_list_room(j->point, j->count, &j->points_capacity, sizeof *ids * runs);
  if (ids) j->point = ids;
  float *number = qp_list_room(j->number, j->count, &j->numbers_capacity, sizeof *number * 2 * dim);
  if (number) j->number = number;
  if (!ids || !number) return qp_fail(err, QP_E_NOMEM, "no memory for %zu codes", j->count);
  qp_status status = QP_OK;
  uint32_t first;
  if (!b->count) status = point_of_run(b, 0, 0, &first, err);
  for (unsigned k = 0; k < runs && !status; k++) {
    const uint32_t bits = state >> j->runs.run[k].shift & ((1u << j->runs.run[k].bits) - 1);
    status = point_of_run(b, k, bits, &ids[j->count * runs + k], err);
  }
  if (status) return status;
  number += j->count++ * 2 * dim;
  memcpy(number, target, sizeof *number * dim);
  memcpy(number + dim, weight, sizeof *number * dim);
  return QP_OK;
}

qp_status qp_books_add(qp_books *b, uint32_t state, const uint32_t *fields, const float *target,
                       const float *weight, qp_error *err) {
  if (b->joint.runs.count) return add_joint(b, state, target, weight, err);
  assert(!b->point_of || state < states_of(b->quantizer));
  point *p = NULL;
  if (b->point_of && b->point_of[state]) {
    p = &b->points[b->point_of[state] - 1];
  } else {
    const qp_status status = new_point(b, state, fields, err);
    if (status) return status;
    p = &b->points[b->count - 1];
    if (b->point_of) b->point_of[state] = (uint32_t)b->count;
  }
  for (unsigned e = 0; e < b->quantizer->dim; e++) {
    p->weight[e] += (double)weight[e];
    p->sum[e] += (double)weight[e] * (double)target[e];
  }
  return QP_OK;
}

/* ---- Least squares, by conjugate gradients with each unknown's own square as its unit ---- */

/* joint.sum: what unknowns v give at each point; NULL: what does not depend on them. */
static void sums_of_points(qp_books *b, const double *v) {
  const unsigned dim = b->quantizer->dim;
  for (size_t i = 0; i < b->count; i++) {
    const point *p = &b->points[i];
    double sum[MAX_DIM] = {0};
    for (unsigned e = 0; e < dim && !v; e++) sum[e] = (double)p->fixed[e];
    for (const term *t = b->terms + p->first, *end = t + p->terms; v && t < end; t++)
      sum[t->at] += (double)t->factor * v[t->unknown];
    memcpy(b->joint.sum + i * dim, sum, sizeof *sum * dim);
  }
}

/* out = J^T W (J v),  or where v is NULL  J^T W (target - fixed). */
static void multiply_joint(qp_books *b, const double *v, double *out) {
  joint *j = &b->joint;
  const unsigned dim = b->quantizer->dim, runs = j->runs.count;
  const double extra = runs - 1;
  sums_of_points(b, v);
  memset(j->gradient, 0, sizeof *j->gradient * b->count * dim);
  for (size_t i = 0; i < j->count; i++) {
    const float *target = j->number + i * 2 * dim, *weight = target + dim;
    const uint32_t *ids = j->point + i * runs;
    for (unsigned e = 0; e < dim; e++) {
      double sum = -extra * j->sum[e];
      for (unsigned k = 0; k < runs; k++) sum += j->sum[(size_t)ids[k] * dim + e];
      const double weighted = (double)weight[e] * (v ? sum : (double)target[e] - sum);
      for (unsigned k = 0; k < runs; k++) j->gradient[(size_t)ids[k] * dim + e] += weighted;
      j->gradient[e] -= extra * weighted;
    }
  }
  memset(out, 0, sizeof *out * b->begin[QP_MAX_CODEBOOKS]);
  for (size_t i = 0; i < b->count; i++) {
    const point *p = &b->points[i];
    for (const term *t = b->terms + p->first, *end = t + p->terms; t < end; t++)
      out[t->unknown] += (double)t->factor * j->gradient[i * dim + t->at];
  }
}

/* The factors at every point of what code 0 reads. */
static void look_up_zero(qp_books *b) {
  const point *zero = &b->points[0];
  for (size_t i = 0; i < b->count; i++) {
    const point *p = &b->points[i];
    for (unsigned z = 0; z < zero->terms; z++) {
      const term *of = &b->terms[zero->first + z];
      float *to = &b->joint.of_zero[i * zero->terms + z];
      *to = 0;
      for (const term *t = b->terms + p->first, *end = t + p->terms; t < end; t++)
        if (t->unknown == of->unknown && t->at == of->at) *to = t->factor;
    }
  }
}

/* The squares of each unknown alone: what code 0 reads is in all points but where its run is
   another one, and there it is taken off. */
static void square_joint(qp_books *b, double *own) {
  joint *j = &b->joint;
  const unsigned dim = b->quantizer->dim, runs = j->runs.count;
  const point *zero = &b->points[0];
  look_up_zero(b);
  memset(j->gradient, 0, sizeof *j->gradient * b->count * dim);
  memset(own, 0, sizeof *own * b->begin[QP_MAX_CODEBOOKS]);
  double *of_zero = j->sum; /* scratch, of the terms of code 0 */
  memset(of_zero, 0, sizeof *of_zero * zero->terms);
  for (size_t i = 0; i < j->count; i++) {
    const uint32_t *ids = j->point + i * runs;
    const float *weight = j->number + (i * 2 + 1) * dim;
    for (unsigned k = 0; k < runs; k++)
      for (unsigned e = 0; e < dim; e++) j->gradient[(size_t)ids[k] * dim + e] += (double)weight[e];
    for (unsigned z = 0; z < zero->terms; z++) {
      const term *t = &b->terms[zero->first + z];
      double factor = -(double)t->factor * (runs - 1);
      for (unsigned k = 0; k < runs; k++)
        factor += (double)j->of_zero[(size_t)ids[k] * zero->terms + z];
      of_zero[z] += factor * factor * (double)weight[t->at];
    }
  }
  for (size_t i = 0; i < b->count; i++) {
    const point *p = &b->points[i];
    for (const term *t = b->terms + p->first, *end = t + p->terms; t < end; t++)
      own[t->unknown] += (double)t->factor * (double)t->factor * j->gradient[i * dim + t->at];
  }
  for (unsigned z = 0; z < zero->terms; z++) own[b->terms[zero->first + z].unknown] = 0;
  for (unsigned z = 0; z < zero->terms; z++) own[b->terms[zero->first + z].unknown] += of_zero[z];
}

static bool room_for_points(qp_books *b) {
  joint *j = &b->joint;
  const unsigned dim = b->quantizer->dim;
  if (!j->runs.count || !b->count) return true;
  const size_t numbers = b->count * dim, zero = b->points[0].terms;
  free(j->sum);
  free(j->gradient);
  free(j->of_zero);
  j->sum = malloc(sizeof *j->sum * (numbers > zero ? numbers : zero));
  j->gradient = malloc(sizeof *j->gradient * numbers);
  j->of_zero = malloc(sizeof *j->of_zero * (b->count * zero + 1));
  return j->sum && j->gradient && j->of_zero;
}

/* Compute out = J^T W J v, and (if not NULL) in 'own' the squares of each unknown alone. */
static void multiply(qp_books *b, const double *v, double *out, double *own) {
  const uint32_t n = b->begin[QP_MAX_CODEBOOKS];
  if (b->joint.runs.count) {
    if (own && b->count) square_joint(b, own);
    multiply_joint(b, v, out);
    return;
  }
  memset(out, 0, sizeof *out * n);
  for (size_t i = 0; i < b->count; i++) {
    const point *p = &b->points[i];
    double sum[MAX_DIM] = {0};
    for (const term *t = b->terms + p->first, *end = t + p->terms; t < end; t++)
      sum[t->at] += (double)t->factor * v[t->unknown];
    for (const term *t = b->terms + p->first, *end = t + p->terms; t < end; t++) {
      const double weighted = (double)t->factor * p->weight[t->at];
      out[t->unknown] += weighted * sum[t->at];
      if (own) own[t->unknown] += weighted * (double)t->factor;
    }
  }
}

/* J^T W (target - fixed) */
static void project(qp_books *b, double *out) {
  if (b->joint.runs.count) {
    multiply_joint(b, NULL, out);
    return;
  }
  memset(out, 0, sizeof *out * b->begin[QP_MAX_CODEBOOKS]);
  for (size_t i = 0; i < b->count; i++) {
    const point *p = &b->points[i];
    for (const term *t = b->terms + p->first, *end = t + p->terms; t < end; t++)
      out[t->unknown] +=
          (double)t->factor * (p->sum[t->at] - p->weight[t->at] * (double)p->fixed[t->at]);
  }
}

static double product(uint32_t n, const double *a, const double *b) {
  double sum = 0;
  for (uint32_t i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}

/* Solve for x, which says where to start; w [4][n] is scratch, own [n] holds the squares. */
static void descend(qp_books *b, double *x, double *own, double *w) {
  const uint32_t n = b->begin[QP_MAX_CODEBOOKS];
  double *r = w, *z = w + n, *d = w + 2 * (size_t)n, *a = w + 3 * (size_t)n;
  project(b, r);
  multiply(b, x, a, own);
  for (uint32_t i = 0; i < n; i++) {
    r[i] -= a[i];
    d[i] = z[i] = own[i] > 0 ? r[i] / own[i] : 0;
  }
  double before = product(n, r, z);
  const double enough = before * SMALL_STEP * SMALL_STEP;
  for (unsigned k = 0; k < MAX_ITERATIONS && before > enough; k++) {
    multiply(b, d, a, NULL);
    for (uint32_t i = 0; i < n; i++) a[i] += RIDGE * own[i] * d[i];
    const double along = product(n, d, a);
    if (!(along > 0)) return;
    for (uint32_t i = 0; i < n; i++) {
      x[i] += before / along * d[i];
      r[i] -= before / along * a[i];
      z[i] = own[i] > 0 ? r[i] / own[i] : 0;
    }
    const double now = product(n, r, z);
    for (uint32_t i = 0; i < n; i++) d[i] = z[i] + now / before * d[i];
    before = now;
  }
}

static uint16_t rounded(double v) {
  return qp_double_to_half(v > 65504 ? 65504 : v < -65504 ? -65504 : v);
}

qp_status qp_books_solve(qp_books *b, uint16_t *const *entry, qp_error *err) {
  const uint32_t n = b->begin[QP_MAX_CODEBOOKS];
  double *x = calloc((size_t)6 * n + 1, sizeof *x);
  if (!x || !room_for_points(b)) {
    free(x);
    return qp_fail(err, QP_E_NOMEM, "no memory for %u numbers of codebooks", n);
  }
  double *own = x + n, *w = x + 2 * (size_t)n;
  for (unsigned c = 0; c < b->quantizer->codebooks; c++)
    for (uint32_t i = b->begin[c]; i < b->begin[c + 1]; i++)
      x[i] = (double)qp_half_to_float(entry[c][i - b->begin[c]]);
  descend(b, x, own, w);
  for (unsigned c = 0; c < b->quantizer->codebooks; c++)
    for (uint32_t i = b->begin[c]; i < b->begin[c + 1]; i++)
      if (own[i] > 0) entry[c][i - b->begin[c]] = rounded(x[i]);
  free(x);
  return QP_OK;
}
