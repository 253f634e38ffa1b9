/* SPDX-License-Identifier: MIT */
/* Fits group fields by least squares. */
#include "gen/encode/field_fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/random.h"

enum {
  FEW_POINTS = 256,
  MOST_SLICES = 16, /* as the steps have room for */
  SAMPLES = 32      /* fields at which a form is looked for */
};

/* ---- The form of a and b ---- */

void qp_field_fit_ab(const qp_field_fit *f, const uint32_t *at, double *a, double *b) {
  uint32_t raw[QP_MAX_FIELDS] = {0};
  for (unsigned i = 0; i < f->fields; i++) raw[i] = f->axis[i].value[at[i]];
  qp_affine_at(f->affine, raw, a, b);
}

/* Is the middle one of three places of a field where a line through the others says? */
static bool is_on_line(const qp_field_fit *f, const uint32_t *from, unsigned field) {
  const qp_field_axis *x = &f->axis[field];
  const uint32_t where[3] = {0, x->count / 2, x->count - 1};
  uint32_t at[QP_MAX_FIELDS];
  double a[3], b[3];
  memcpy(at, from, sizeof at);
  for (unsigned i = 0; i < 3; i++) {
    at[field] = where[i];
    qp_field_fit_ab(f, at, &a[i], &b[i]);
  }
  const double part = (x->number[where[1]] - x->number[0]) / (x->number[where[2]] - x->number[0]);
  const double size = fabs(a[0]) + fabs(a[2]) + fabs(b[0]) + fabs(b[2]);
  return fabs(a[0] + part * (a[2] - a[0]) - a[1]) <= 0x1p-9 * size &&
         fabs(b[0] + part * (b[2] - b[0]) - b[1]) <= 0x1p-9 * size;
}

static void draw_place(const qp_field_fit *f, qp_random *r, uint32_t *at) {
  for (unsigned i = 0; i < f->fields; i++)
    at[i] = (uint32_t)(qp_random_uniform(r, 0, 1) * f->axis[i].count);
}

static bool is_ratio(double a, double b, double ratio) {
  return fabs(b - ratio * a) <= 0x1p-9 * (fabs(b) + fabs(a));
}

/* The ratio of b to a where the first field of the order is at its end. */
static double ratio_at(const qp_field_fit *f, const uint32_t *from) {
  uint32_t at[QP_MAX_FIELDS];
  double a, b;
  memcpy(at, from, sizeof at);
  at[f->order[0]] = f->axis[f->order[0]].count - 1;
  qp_field_fit_ab(f, at, &a, &b);
  return a != 0 ? b / a : 0;
}

static void look_at_form(qp_field_fit *f) {
  qp_random r = {.state = 1};
  double ratio = 0, others = 1;
  for (unsigned i = 0; i < f->fields; i++) f->line[i] = f->axis[i].count > 2;
  for (unsigned i = 1; i < f->fields; i++) others *= f->axis[f->order[i]].count;
  f->slices = others <= MOST_SLICES;
  for (unsigned s = 0; s < SAMPLES; s++) {
    uint32_t at[QP_MAX_FIELDS] = {0};
    double a, b;
    draw_place(f, &r, at);
    qp_field_fit_ab(f, at, &a, &b);
    f->flips |= a < 0;
    f->slices &= is_ratio(a, b, ratio_at(f, at));
    if (!s) ratio = ratio_at(f, at);
    f->shifts |= !is_ratio(a, b, ratio);
    for (unsigned i = 0; i < f->fields; i++) f->line[i] &= is_on_line(f, at, i);
  }
}

void qp_field_fit_free(qp_field_fit *f) {
  free(f->rounded);
  qp_levels_free(&f->exact);
  *f = (qp_field_fit){0};
}

/* Levels that others take the place of. */
static qp_status make_exact(qp_field_fit *f, qp_error *err) {
  const unsigned n = f->affine->levels.count;
  double *some = malloc(sizeof *some * n);
  f->rounded = malloc(sizeof *f->rounded * n);
  qp_status status = some && f->rounded ? QP_OK : qp_fail(err, QP_E_NOMEM, "out of memory");
  for (unsigned i = 0; !status && i < n; i++) some[i] = i;
  if (!status) status = qp_levels_make(&f->exact, n, some, err);
  free(some);
  return status;
}

qp_status qp_field_fit_make(qp_field_fit *out, const qp_affine *affine, const qp_field_axis *axis,
                            qp_error *err) {
  qp_field_fit f = {
      .affine = affine, .axis = axis, .fields = affine->quantizer->fields, .points = 1};
  for (unsigned i = 0; i < f.fields; i++) {
    unsigned at = i;
    for (; at && axis[f.order[at - 1]].count < axis[i].count; at--) f.order[at] = f.order[at - 1];
    f.order[at] = i;
    f.points *= axis[i].count;
  }
  f.few = f.points <= FEW_POINTS;
  look_at_form(&f);
  const qp_status status = make_exact(&f, err);
  if (status)
    qp_field_fit_free(&f);
  else
    *out = f;
  return status;
}

/* ---- What the steps ask ---- */

#define QP_STEP       static
#define QP_INFINITE   ((double)INFINITY)
#define QP_FIT_FIELDS QP_MAX_FIELDS
typedef double qp_real;

/* A group's targets. */
typedef struct qp_fit {
  qp_field_fit *of;
  size_t n;
  const float *x;
  double least, most;
} qp_fit;

static unsigned fit_fields(const qp_fit *f) { return f->of->fields; }
static unsigned fit_count(const qp_fit *f, unsigned field) { return f->of->axis[field].count; }
static unsigned fit_order(const qp_fit *f, unsigned i) { return f->of->order[i]; }
static bool fit_line(const qp_fit *f, unsigned field) { return f->of->line[field]; }
static bool fit_few(const qp_fit *f) { return f->of->few; }
static bool fit_flips(const qp_fit *f) { return f->of->flips; }
static bool fit_shifts(const qp_fit *f) { return f->of->shifts; }
static bool fit_slices(const qp_fit *f) { return f->of->slices; }
static bool fit_even(const qp_fit *f) { return f->of->affine->levels.even; }
static double fit_least(const qp_fit *f) { return f->least; }
static double fit_most(const qp_fit *f) { return f->most; }

static double fit_number(const qp_fit *f, unsigned field, unsigned place) {
  return f->of->axis[field].number[place];
}

static double fit_level(const qp_fit *f, unsigned last) {
  const qp_levels *l = &f->of->affine->levels;
  return (double)l->value[last ? l->count - 1 : 0];
}

static void fit_ab(const qp_fit *f, const uint32_t *at, double *a, double *b) {
  qp_field_fit_ab(f->of, at, a, b);
}

static void fit_sums(const qp_fit *f, double a, double b, qp_level_sums *out) {
  qp_levels_fit(&f->of->affine->levels, f->n, f->x, a, b, out);
}

static double fit_mean(const qp_fit *f) {
  double mean = 0;
  for (size_t i = 0; i < f->n; i++) mean += (double)f->x[i] / (double)f->n;
  return mean;
}

/* Compute the error of what codes decode to. */
static double fit_exact(const qp_fit *f, const uint32_t *at) {
  qp_field_fit *of = f->of;
  uint32_t raw[QP_MAX_FIELDS] = {0};
  qp_level_sums sums;
  for (unsigned i = 0; i < of->fields; i++) raw[i] = of->axis[i].value[at[i]];
  qp_affine_rounded(of->affine, raw, of->rounded);
  qp_levels_set(&of->exact, of->rounded);
  qp_levels_fit(&of->exact, f->n, f->x, 1, 0, &sums);
  return sums.ee;
}

#include "templates/field_fit.h"

void qp_field_fit_run(qp_field_fit *f, size_t n, const float *targets, uint32_t at[QP_MAX_FIELDS]) {
  qp_fit g = {.of = f, .n = n, .x = targets, .least = INFINITY, .most = -INFINITY};
  for (size_t i = 0; i < n; i++) {
    g.least = fmin(g.least, (double)targets[i]);
    g.most = fmax(g.most, (double)targets[i]);
  }
  fit_run(&g, at);
}
