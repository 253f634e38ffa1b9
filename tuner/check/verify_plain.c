/* SPDX-License-Identifier: MIT */
/*
** The check of plain:  seed -> X, a matrix of 16-bit values, what stands before and behind; Y in
** double precision.  What a launch comes with turns with the seed: a norm or a gated unit, a bias,
** a residual, Y in its place, outputs that fill no warp's rows.  Rows of X, up and Y do not lie
** close: between them are NaNs, and must be afterwards.
*/
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/check/verify_internal.h"

enum { X_GAP = 8, UP_GAP = 24, Y_GAP = 5, TURNS = 4 };
enum { NONE, NORM, GLU }; /* as args.prologue has them */
static const float eps = 0.125f;

static const struct with {
  unsigned prologue, outputs, activation;
  bool weight, bias, residual, in_place;
  float offset, limit;
} withs[TURNS] = {
    {.prologue = NONE, .outputs = 37, .bias = true},
    {.prologue = NORM, .outputs = 70, .weight = true, .residual = true, .in_place = true},
    {.prologue = GLU, .outputs = 9, .activation = 4, .bias = true, .residual = true, .limit = 1.5f},
    {.prologue = NORM, .outputs = 131, .offset = 0.5f},
};

static const struct with *with_of(const qp_check *c) { return &withs[c->seed % TURNS]; }

/* X' of row n. */
static void prepare(qp_check *c, size_t n, double *x) {
  const struct with *with = with_of(c);
  const size_t columns = c->k->problem.columns;
  double squares = 0;
  for (size_t k = 0; k < columns; k++) {
    x[k] = qp_check_widen(c, c->x[n * columns + k]);
    squares += x[k] * x[k];
    if (with->prologue == GLU)
      x[k] = qp_check_glu(c, x[k], qp_check_widen(c, c->prologue.up[n * columns + k]));
  }
  const double factor = 1 / sqrt(squares / (double)columns + (double)eps);
  for (size_t k = 0; k < columns && with->prologue == NORM; k++)
    x[k] *= with->weight
                ? factor * ((double)with->offset + qp_check_widen(c, c->prologue.weight[k]))
                : factor;
}

/* c->rotated becomes Y [batch][outputs]. */
static void expect(qp_check *c, const uint16_t *matrix, const uint16_t *bias, double *x) {
  const struct with *with = with_of(c);
  const size_t columns = c->k->problem.columns, outputs = with->outputs;
  for (size_t n = 0; n < c->k->problem.batch; n++) {
    prepare(c, n, x);
    for (size_t m = 0; m < outputs; m++) {
      double sum = bias ? qp_check_widen(c, bias[m]) : 0;
      if (with->residual) sum += qp_check_widen(c, c->prologue.residual[n * outputs + m]);
      for (size_t k = 0; k < columns; k++) sum += x[k] * qp_check_widen(c, matrix[m * columns + k]);
      c->rotated[n * outputs + m] = sum;
    }
  }
}

/* Put all inputs but the matrix and the bias on the device. */
static qp_status put(qp_check *c) {
  const struct with *with = with_of(c);
  const size_t columns = c->k->problem.columns, rows = c->k->problem.batch;
  qp_arguments *a = &c->args;
  a->rows = rows, a->outputs = with->outputs, a->prologue = with->prologue;
  a->x_stride = columns + X_GAP, a->up_stride = columns + UP_GAP;
  a->y_stride = with->outputs + Y_GAP;
  c->glu_limit = with->limit;
  a->activation = qp_glu_word(with->activation, with->limit);
  memcpy(&a->norm, (const float[]){eps, with->offset}, sizeof a->norm);
  qp_status status = qp_check_put_rows(c, c->x, rows, columns, a->x_stride, 2, &a->x);
  if (!status && with->prologue == GLU)
    status = qp_check_put_rows(c, c->prologue.up, rows, columns, a->up_stride, 2, &a->up);
  if (!status && with->weight)
    status = qp_check_buffer(c, c->prologue.weight, 2 * columns, &a->weight);
  if (!status && with->residual)
    status = qp_check_put_rows(c, c->prologue.residual, rows, with->outputs, a->y_stride, 2,
                               &a->residual);
  if (with->in_place)
    a->y = a->residual;
  else if (!status)
    status = qp_check_buffer(c, NULL, 2 * rows * a->y_stride, &a->y);
  return status;
}

qp_status qp_check_plain_inputs(qp_check *c) {
  const struct with *with = with_of(c);
  const size_t columns = c->k->problem.columns, rows = c->k->problem.batch;
  const size_t outputs = with->outputs;
  uint16_t *matrix = qp_check_random(c, outputs * columns, -1, 1);
  uint16_t *bias = qp_check_random(c, outputs, -9, 9);
  double *x = qp_check_host(c, columns * sizeof *x);
  c->x = qp_check_random(c, rows * columns, -3, 3);
  c->prologue.up = qp_check_random(c, rows * columns, -2, 2);
  c->prologue.weight = qp_check_random(c, columns, 0.5, 2);
  c->prologue.residual = qp_check_random(c, rows * outputs, -9, 9);
  c->rotated = qp_check_host(c, rows * outputs * sizeof *c->rotated);
  const bool made = matrix && bias && x && c->x && c->prologue.up && c->prologue.weight &&
                    c->prologue.residual && c->rotated;
  qp_status status = made ? put(c) : QP_E_NOMEM;
  if (!status) status = qp_check_buffer(c, matrix, 2 * outputs * columns, &c->args.matrix);
  if (!status && with->bias) status = qp_check_buffer(c, bias, 2 * outputs, &c->args.bias);
  if (!status) expect(c, matrix, with->bias ? bias : NULL, x);
  free(matrix);
  free(bias);
  free(x);
  return status;
}

qp_status qp_check_plain_outputs(qp_check *c, qp_check_sums *s, qp_verdict *v) {
  const size_t outputs = with_of(c)->outputs, stride = c->args.y_stride;
  const size_t n = c->k->problem.batch * stride;
  uint16_t *got = qp_check_host(c, 2 * n);
  if (!got) return QP_E_NOMEM;
  qp_status status = qp_device_download(c->dev, got, c->args.y, 2 * n, c->err);
  if (!status) status = qp_check_guard(c, c->args.y, 2 * n, "output", v);
  for (size_t i = 0; i < n && !status; i++) {
    const size_t row = i / stride, m = i % stride;
    const double value = qp_check_widen(c, got[i]);
    if (m < outputs) qp_check_compare(s, value, c->rotated[row * outputs + m]);
    const char *why = m < outputs && isnan(value) ? "is NaN or was never written"
                      : m >= outputs && got[i] != (QP_CHECK_POISON << 8 | QP_CHECK_POISON)
                          ? "lies behind a row and was written"
                          : NULL;
    if (!why) continue;
    snprintf(v->why, sizeof v->why, "output: [%zu][%zu] %s", row, m, why);
    status = QP_E_WRONG;
  }
  free(got);
  return status;
}
