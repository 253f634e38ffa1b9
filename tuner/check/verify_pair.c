/* SPDX-License-Identifier: MIT */
/*
** The check of gemm-glu and experts-glu:  up, gate -> activation(gate) * up.
**
** What a kernel rounds, it rounds before the unit: weights and X to the problem's type, sums to
** fp32. That moves gate by a part of G, the root of the sum of its terms' squares, and up by a part
** of U, also where the terms of a sum cancel, where the activation is steep or where one of the two
** is cut off by the limit. An error is therefore seen beside the output or beside what the unit
** makes of gate and up that are off by such a part, whichever is larger. Of two independent sums
** without a limit both are as large on average, so that the measure is no looser for them.
*/
#include <math.h>
#include <stdlib.h>

#include "runtime/half.h"
#include "tuner/check/verify_internal.h"

enum { GATES = 1 /* The standard deviation of gates, beside their bias. */ };

/* Compute the mean square of gate's first rows, their factors included. */
static qp_status mean_square(qp_check *c, double *out) {
  const unsigned columns = c->k->problem.columns;
  const size_t cells = (size_t)QP_GROUP_ROWS * columns;
  uint16_t *w = qp_check_host(c, 2 * cells * sizeof *w);
  if (!w) return QP_E_NOMEM;
  const qp_status status = qp_check_decode_rows(c, 1, 0, w, w + cells);
  double sum = 0;
  for (size_t i = 0; i < cells && !status; i++) {
    const double v = qp_check_scale(c, 1, (unsigned)(i / columns)) * (double)qp_half_to_float(w[i]);
    sum += v * v;
  }
  free(w);
  *out = sum / (double)cells;
  return status;
}

qp_status qp_check_choose_pair(qp_check *c) {
  const qp_problem *p = &c->k->problem;
  double square = 0;
  c->glu_limit = c->seed % 2 ? 0.75f : 0;
  c->args.activation = qp_glu_word((uint32_t)(c->seed % QP_CHECK_ACTIVATIONS), c->glu_limit);
  const qp_status status = mean_square(c, &square);
  if (status) return status;
  /* X is even between -most and most, of mean square most^2 / 3. */
  c->x_most = square > 0 ? GATES * sqrt(3 / (square * p->columns)) : 1;
  return QP_OK;
}

qp_status qp_check_pair_inputs(qp_check *c) {
  const qp_status status = qp_check_choose_pair(c);
  return status ? status : qp_check_x(c, c->k->problem.batch);
}

/* Gate or up as its sum, and the root of the sum of its terms' squares. */
typedef struct sum {
  double value, terms;
} sum;

static sum sum_of(const qp_check *c, unsigned segment, unsigned row, const uint16_t *w,
                  unsigned n) {
  const double *x = c->rotated + (size_t)n * c->k->problem.columns;
  double squares = 0;
  for (unsigned k = 0; k < c->k->problem.columns; k++) {
    const double term = (double)qp_half_to_float(w[k]) * x[k];
    squares += term * term;
  }
  return (sum){.value = qp_check_product(c, segment, row, w, n),
               .terms = fabs(qp_check_scale(c, segment, row)) * sqrt(squares)};
}

/* What parts of gate's and up's terms come to behind the unit, over the part. */
static double moved(const qp_check *c, sum gate, sum up) {
  const double part = c->k->problem.type == QP_BF16 ? 0x1p-8 : 0x1p-11;
  const double g = part * gate.terms, u = part * up.terms;
  const double by_gate =
      qp_check_glu(c, gate.value + g, up.value) - qp_check_glu(c, gate.value - g, up.value);
  const double by_up =
      qp_check_glu(c, gate.value, up.value + u) - qp_check_glu(c, gate.value, up.value - u);
  return sqrt((by_gate * by_gate + by_up * by_up) / 2) / (2 * part);
}

void qp_check_pair_at(qp_check *c, unsigned segment, unsigned row, const uint16_t *w, unsigned n,
                      const unsigned char *y, size_t at, qp_check_sums *s) {
  const qp_problem *p = &c->k->problem;
  const uint16_t *w_gate = w + (size_t)QP_GROUP_ROWS * p->columns;
  const sum gate = sum_of(c, segment + 1, row, w_gate, n), up = sum_of(c, segment, row, w, n);
  const double want = qp_check_glu(c, gate.value, up.value);
  qp_check_compare_by(s, qp_check_read(c, y, at, p->out_type), want,
                      fmax(fabs(want), moved(c, gate, up)));
}

void qp_check_pair(qp_check *c, unsigned segment, unsigned row, const uint16_t *w,
                   const unsigned char *y, qp_check_sums *s) {
  for (unsigned n = 0; n < c->k->problem.batch; n++)
    qp_check_pair_at(c, segment, row, w, n, y, (size_t)n * qp_check_y_stride(c, segment) + row, s);
}
