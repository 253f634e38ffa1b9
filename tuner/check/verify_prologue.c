/* SPDX-License-Identifier: MIT */
/*
** Rotations with a prologue:  seed -> inputs, Y and h in double precision; their comparison.
** What a launch comes with (a residual, places that coincide, one buffer or two) turns with the
** seed.  Rows of X, up and Y do not lie close: between them are NaNs, and must be afterwards.
*/
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/check/verify_internal.h"

enum { X_GAP = 8, Y_GAP = 16, UP_GAP = 24 }; /* values; rows begin at 16 bytes */
static const float eps = 0.125f;             /* large, so that one too few or too many shows */

static size_t values(const qp_check *c) {
  return (size_t)c->k->problem.batch * c->k->problem.columns;
}

/* Put rows of K values on the device, 'stride' values apart. */
static qp_status put_own(qp_check *c, const uint16_t *data, size_t stride, qp_devptr *out) {
  const qp_problem *p = &c->k->problem;
  return qp_check_put_rows(c, data, p->batch, p->columns, stride, 2, out);
}

/* ---- RMSNorm ---- */

enum sum_place { SUM_NONE, SUM_OWN, SUM_RESIDUAL, SUM_X };

static const struct norm_with {
  bool residual, weight, post, y_is_x;
  enum sum_place sum;
  float offset;
} norms[] = {
    {.residual = true, .weight = true, .sum = SUM_RESIDUAL},
    {.residual = true, .weight = true, .post = true, .sum = SUM_OWN, .offset = 1},
    {.weight = true, .y_is_x = true},
    {.residual = true, .weight = true, .sum = SUM_X, .offset = 1},
    {.residual = true, .post = true, .sum = SUM_RESIDUAL, .offset = 0.5f},
};
enum { NORMS = sizeof norms / sizeof *norms };

static const struct norm_with *norm_of(const qp_check *c) { return &norms[c->seed % NORMS]; }

/* Compute 1 / rms of one row. */
static double norm_factor(const double *v, unsigned n) {
  double squares = 0;
  for (unsigned k = 0; k < n; k++) squares += v[k] * v[k];
  return 1 / sqrt(squares / n + (double)eps);
}

static void weigh(const qp_check *c, double *v, const uint16_t *weight, double factor) {
  const double offset = (double)norm_of(c)->offset;
  for (unsigned k = 0; k < c->k->problem.columns; k++)
    v[k] *= weight ? factor * (offset + qp_check_widen(c, weight[k])) : factor;
}

static void norm_row(qp_check *c, unsigned n) {
  const unsigned columns = c->k->problem.columns;
  const size_t at = (size_t)n * columns;
  double *y = c->rotated + at, *sum = c->prologue.sum + at;
  for (unsigned k = 0; k < columns; k++) y[k] = qp_check_widen(c, c->x[at + k]);
  if (c->prologue.post) weigh(c, y, c->prologue.post, norm_factor(y, columns));
  for (unsigned k = 0; k < columns; k++) {
    if (c->prologue.residual) y[k] += qp_check_widen(c, c->prologue.residual[at + k]);
    if (norm_of(c)->sum) y[k] = qp_check_widen(c, qp_check_narrow(c, y[k]));
    sum[k] = y[k];
  }
  weigh(c, y, c->prologue.weight, norm_factor(y, columns));
  qp_check_turn(c, false, y);
}

static qp_status put_norm(qp_check *c) {
  const struct norm_with *with = norm_of(c);
  const unsigned columns = c->k->problem.columns;
  qp_status status = QP_OK;
  if (with->residual) status = put_own(c, c->prologue.residual, columns, &c->args.residual);
  if (!status && with->weight)
    status = qp_check_buffer(c, c->prologue.weight, 2ul * columns, &c->args.weight);
  if (!status && with->post)
    status = qp_check_buffer(c, c->prologue.post, 2ul * columns, &c->args.post_weight);
  if (!status && with->sum == SUM_OWN)
    status = qp_check_buffer(c, NULL, 2 * values(c), &c->args.sum);
  if (!status && !with->y_is_x)
    status = qp_check_buffer(c, NULL, 2ul * c->k->problem.batch * (columns + Y_GAP), &c->args.y);
  if (with->sum == SUM_RESIDUAL) c->args.sum = c->args.residual;
  if (with->sum == SUM_X) c->args.sum = c->args.x;
  if (with->y_is_x) c->args.y = c->args.x;
  return status;
}

qp_status qp_check_norm_inputs(qp_check *c) {
  const qp_problem *p = &c->k->problem;
  const struct norm_with *with = norm_of(c);
  c->args.rows = p->batch;
  c->args.x_stride = p->columns + (with->sum == SUM_X ? 0 : X_GAP);
  c->args.y_stride = with->y_is_x ? c->args.x_stride : p->columns + Y_GAP;
  memcpy(&c->args.norm, (const float[]){eps, with->offset}, sizeof c->args.norm);
  c->x = qp_check_random(c, values(c), -1, 1);
  c->prologue.residual = with->residual ? qp_check_random(c, values(c), -2, 2) : NULL;
  c->prologue.weight = with->weight ? qp_check_random(c, p->columns, 0.5, 2) : NULL;
  c->prologue.post = with->post ? qp_check_random(c, p->columns, 0.5, 2) : NULL;
  c->rotated = qp_check_host(c, values(c) * sizeof *c->rotated);
  c->prologue.sum = qp_check_host(c, values(c) * sizeof *c->prologue.sum);
  if (!c->x || !c->rotated || !c->prologue.sum || with->residual != !!c->prologue.residual ||
      with->weight != !!c->prologue.weight || with->post != !!c->prologue.post)
    return QP_E_NOMEM;
  qp_status status = qp_check_make_side(c);
  if (!status) status = put_own(c, c->x, c->args.x_stride, &c->args.x);
  if (!status) status = put_norm(c);
  if (status) return status;
  for (unsigned n = 0; n < p->batch; n++) norm_row(c, n);
  return QP_OK;
}

/* ---- GLU ---- */

enum { ACTIVATIONS = QP_CHECK_ACTIVATIONS, GLU_TURNS = 2 * ACTIVATIONS };

static double activate(unsigned activation, double x) {
  switch (activation) {
  case 0: return x / (1 + exp(-x));
  case 1: return x / 2 * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  case 2: return x / 2 * erfc(-x / sqrt(2));
  case 3: return x > 0 ? x : 0;
  default: return x / (1 + exp(-1.702 * x));
  }
}

double qp_check_glu(const qp_check *c, double gate, double up) {
  const unsigned activation = c->args.activation & 0xff;
  const double limit = (double)c->glu_limit;
  if (limit > 0) {
    gate = fmin(gate, limit);
    up = fmax(fmin(up, limit), -limit);
  }
  return activate(activation, gate) * (activation == 4 ? up + 1 : up);
}

/* Put gate and up into one buffer, as rows of [gate | up] or [up | gate]. */
static qp_status put_together(qp_check *c, bool up_first) {
  const qp_problem *p = &c->k->problem;
  const size_t row = 2ul * p->columns, first = up_first ? p->columns : 0;
  uint16_t *both = qp_check_host(c, p->batch * row * 2);
  if (!both) return QP_E_NOMEM;
  for (unsigned n = 0; n < p->batch; n++) {
    memcpy(both + n * row + first, c->x + n * row / 2, row);
    memcpy(both + n * row + p->columns - first, c->prologue.up + n * row / 2, row);
  }
  qp_devptr buffer = 0;
  const qp_status status = qp_check_buffer(c, both, p->batch * row * 2, &buffer);
  c->args.x = buffer + 2 * first;
  c->args.up = buffer + 2 * (p->columns - first);
  c->args.x_stride = c->args.up_stride = row;
  free(both);
  return status;
}

static qp_status put_glu(qp_check *c, bool together) {
  const qp_problem *p = &c->k->problem;
  qp_status status = QP_OK;
  c->args.y_stride = p->columns + Y_GAP;
  if (together) {
    status = put_together(c, c->args.activation % 2);
  } else {
    c->args.x_stride = p->columns + X_GAP;
    c->args.up_stride = p->columns + UP_GAP;
    status = put_own(c, c->x, c->args.x_stride, &c->args.x);
    if (!status) status = put_own(c, c->prologue.up, c->args.up_stride, &c->args.up);
  }
  if (status) return status;
  if (together || c->args.activation % 2)
    return qp_check_buffer(c, NULL, 2 * p->batch * c->args.y_stride, &c->args.y);
  c->args.y = c->args.x;
  c->args.y_stride = c->args.x_stride;
  return QP_OK;
}

qp_status qp_check_glu_inputs(qp_check *c) {
  const qp_problem *p = &c->k->problem;
  const unsigned turn = (unsigned)(c->seed % GLU_TURNS);
  c->args.rows = p->batch;
  c->glu_limit = turn % 2 ? 1.5f : 0; /* each activation's turns are an odd one and an even one */
  c->args.activation = qp_glu_word(turn % ACTIVATIONS, c->glu_limit);
  c->x = qp_check_random(c, values(c), -6, 6);
  c->prologue.up = qp_check_random(c, values(c), -2, 2);
  c->rotated = qp_check_host(c, values(c) * sizeof *c->rotated);
  if (!c->x || !c->prologue.up || !c->rotated) return QP_E_NOMEM;
  qp_status status = qp_check_make_side(c);
  if (!status) status = put_glu(c, turn >= ACTIVATIONS);
  if (status) return status;
  for (size_t i = 0; i < values(c); i++)
    c->rotated[i] =
        qp_check_glu(c, qp_check_widen(c, c->x[i]), qp_check_widen(c, c->prologue.up[i]));
  for (unsigned n = 0; n < p->batch; n++)
    qp_check_turn(c, false, c->rotated + (size_t)n * p->columns);
  return QP_OK;
}

/* ---- Outputs ---- */

/* Rows on the device against 'want'; what lies between them is as it was. */
static qp_status compare_rows(qp_check *c, qp_devptr at, size_t stride, const double *want,
                              const char *what, qp_check_sums *s, qp_verdict *v) {
  const qp_problem *p = &c->k->problem;
  const size_t n = p->batch * stride;
  uint16_t *got = qp_check_host(c, n * sizeof *got);
  if (!got) return QP_E_NOMEM;
  qp_status status = qp_device_download(c->dev, got, at, n * sizeof *got, c->err);
  if (!status) status = qp_check_guard(c, at, n * sizeof *got, what, v);
  for (size_t i = 0; i < n && !status; i++) {
    const size_t row = i / stride, k = i % stride;
    if (k < p->columns) {
      const double value = qp_check_widen(c, got[i]);
      qp_check_compare(s, value, want[row * p->columns + k]);
      if (!isnan(value)) continue;
      snprintf(v->why, sizeof v->why, "%s: [%zu][%zu] is NaN or was never written", what, row, k);
    } else {
      if (got[i] == (QP_CHECK_POISON << 8 | QP_CHECK_POISON)) continue;
      snprintf(v->why, sizeof v->why, "%s: value %zu behind row %zu was overwritten", what,
               k - p->columns, row);
    }
    v->error = NAN;
    status = QP_E_WRONG;
  }
  free(got);
  return status;
}

/* h has an error of its own: beside Y's, which is as large, one of its rows would not count. */
static qp_status compare_sum(qp_check *c, qp_verdict *v) {
  qp_check_sums s = {0};
  const qp_status status =
      compare_rows(c, c->args.sum, c->k->problem.columns, c->prologue.sum, "sum", &s, v);
  if (status || sqrt(s.difference / s.reference) <= v->tolerance) return status;
  v->error = sqrt(s.difference / s.reference);
  snprintf(v->why, sizeof v->why, "sum: relative L2 error %.3g is above %.0e", v->error,
           v->tolerance);
  return QP_E_WRONG;
}

qp_status qp_check_prologue_outputs(qp_check *c, qp_check_sums *s, qp_verdict *v) {
  qp_status status = compare_rows(c, c->args.y, c->args.y_stride, c->rotated, "output", s, v);
  if (!status && c->args.sum) status = compare_sum(c, v);
  return status;
}

void qp_check_prologue_release(qp_check *c) {
  free(c->prologue.residual);
  free(c->prologue.up);
  free(c->prologue.weight);
  free(c->prologue.post);
  free(c->prologue.sum);
}
