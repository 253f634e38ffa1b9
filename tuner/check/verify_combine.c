/* SPDX-License-Identifier: MIT */
/*
** The check of combine:  seed -> outputs of experts, weights, a residual or none; Y to the bit, for
** the order of its sum is promised.  What a launch comes with turns with the seed: a residual, Y in
** its place, X in fp32.  Between rows are NaNs, and must be afterwards.
*/
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/check/verify_internal.h"

enum { X_GAP = 8, Y_GAP = 16, TURNS = 4 };
static const unsigned top_ks[] = {8, 1, 3, 16, 2};

/* What the launch of this seed has: its top_k is stored with the other arguments. */
static unsigned top_k_of(const qp_check *c) {
  return top_ks[c->seed % (sizeof top_ks / sizeof *top_ks)];
}
static bool has_residual(const qp_check *c) { return c->seed % TURNS > 0; }
static bool in_place(const qp_check *c) { return c->seed % TURNS == 2; }
static bool x_is_f32(const qp_check *c) { return c->seed % TURNS == 3; }

static float *random_floats(qp_check *c, size_t n) {
  float *v = qp_check_host(c, n * sizeof *v);
  for (size_t i = 0; i < n && v; i++) v[i] = (float)qp_random_uniform(&c->random, -1, 1);
  return v;
}

/* Put rows of K values on the device, 'stride' values of 'bytes' apart. */
static qp_status put_rows(qp_check *c, const void *data, size_t rows, size_t bytes, size_t stride,
                          qp_devptr *out) {
  return qp_check_put_rows(c, data, rows, c->k->problem.columns, stride, bytes, out);
}

/* y[t] as the kernel adds it up, rounded: one fused multiply-add after the other. */
static void expect(qp_check *c, const float *x, const float *weight, const float *residual) {
  const size_t columns = c->k->problem.columns, top_k = top_k_of(c);
  for (size_t t = 0; t < c->k->problem.batch; t++)
    for (size_t j = 0; j < columns; j++) {
      float sum = residual ? residual[t * columns + j] : 0;
      for (size_t k = 0; k < top_k; k++)
        sum = fmaf(weight[t * top_k + k], x[(t * top_k + k) * columns + j], sum);
      c->rotated[t * columns + j] = qp_check_widen(c, qp_check_narrow(c, (double)sum));
    }
}

/* Round values to the problem's type, as 16 bits; 'v' becomes what they are. */
static uint16_t *narrowed(qp_check *c, float *v, size_t n) {
  uint16_t *bits = qp_check_host(c, n * sizeof *bits);
  for (size_t i = 0; i < n && bits; i++) {
    bits[i] = qp_check_narrow(c, (double)v[i]);
    v[i] = (float)qp_check_widen(c, bits[i]);
  }
  return bits;
}

static qp_status put_x(qp_check *c, float *x, size_t rows) {
  const size_t columns = c->k->problem.columns;
  c->args.x_stride = columns + X_GAP;
  if (x_is_f32(c)) return put_rows(c, x, rows, 4, c->args.x_stride, &c->args.x);
  c->x = narrowed(c, x, rows * columns);
  return c->x ? put_rows(c, c->x, rows, 2, c->args.x_stride, &c->args.x) : QP_E_NOMEM;
}

static qp_status put_y(qp_check *c, float *residual) {
  const qp_problem *p = &c->k->problem;
  c->args.y_stride = p->columns + Y_GAP;
  c->args.up_stride = in_place(c) ? c->args.y_stride : p->columns;
  qp_status status = QP_OK;
  if (residual) {
    c->prologue.residual = narrowed(c, residual, (size_t)p->batch * p->columns);
    status = c->prologue.residual ? put_rows(c, c->prologue.residual, p->batch, 2,
                                             c->args.up_stride, &c->args.residual)
                                  : QP_E_NOMEM;
  }
  if (in_place(c))
    c->args.y = c->args.residual;
  else if (!status)
    status = qp_check_buffer(c, NULL, 2ul * p->batch * c->args.y_stride, &c->args.y);
  return status;
}

qp_status qp_check_combine_inputs(qp_check *c) {
  const qp_problem *p = &c->k->problem;
  const size_t cells = (size_t)p->batch * p->columns, top_k = top_k_of(c);
  float *x = random_floats(c, cells * top_k), *weight = random_floats(c, p->batch * top_k);
  float *residual = has_residual(c) ? random_floats(c, cells) : NULL;
  c->rotated = qp_check_host(c, cells * sizeof *c->rotated);
  const bool made = x && weight && c->rotated && has_residual(c) == !!residual;
  const uint32_t combined[] = {(uint32_t)top_k, x_is_f32(c)};
  memcpy(&c->args.combined, combined, sizeof combined);
  c->args.rows = p->batch;
  qp_status status = made ? put_x(c, x, p->batch * top_k) : QP_E_NOMEM;
  if (!status) status = qp_check_buffer(c, weight, 4 * p->batch * top_k, &c->args.weight);
  if (!status) status = put_y(c, residual);
  if (!status) expect(c, x, weight, residual);
  free(x);
  free(weight);
  free(residual);
  return status;
}

qp_status qp_check_combine_outputs(qp_check *c, qp_check_sums *s, qp_verdict *v) {
  const qp_problem *p = &c->k->problem;
  const size_t n = p->batch * c->args.y_stride;
  uint16_t *got = qp_check_host(c, 2 * n);
  if (!got) return QP_E_NOMEM;
  qp_status status = qp_device_download(c->dev, got, c->args.y, 2 * n, c->err);
  if (!status) status = qp_check_guard(c, c->args.y, 2 * n, "output", v);
  for (size_t i = 0; i < n && !status; i++) {
    const size_t t = i / c->args.y_stride, j = i % c->args.y_stride;
    const bool inside = j < p->columns;
    const uint16_t want =
        inside ? qp_check_narrow(c, c->rotated[t * p->columns + j]) : QP_CHECK_POISON * 0x101;
    if (inside) qp_check_compare(s, qp_check_widen(c, got[i]), c->rotated[t * p->columns + j]);
    if (got[i] == want) continue;
    snprintf(v->why, sizeof v->why, "output: [%zu][%zu] is %#x and must be %#x%s", t, j, got[i],
             want, inside ? ", the sum in the order of k" : ", as it was");
    status = QP_E_WRONG;
  }
  free(got);
  return status;
}
