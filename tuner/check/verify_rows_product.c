/* SPDX-License-Identifier: MIT */
/* The check of rows-product:  seed -> M, 32 rows; the products to the bit, for the order of their
   sums is promised.  Which part of M's rows is taken turns with the seed; the others are NaNs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/rows_product.h"
#include "runtime/half.h"
#include "tuner/check/verify_internal.h"

enum { ROWS = QP_PRODUCT_ROWS, GAP = 16, PARTS = QP_ROWS_ALL + 1 };

static qp_rows_part part_of(const qp_check *c) { return (qp_rows_part)(c->seed % PARTS); }

static bool is_taken(qp_rows_part part, size_t j, size_t i) {
  return part == QP_ROWS_ALL || (part == QP_ROWS_BEFORE ? i <= j : i >= j);
}

static void fill(qp_check *c, float *m, size_t stride, float *a) {
  const size_t n = c->k->problem.columns;
  for (size_t i = 0; i < n * stride; i++)
    m[i] = is_taken(part_of(c), i / stride, i % stride) && i % stride < n
               ? (float)qp_random_uniform(&c->random, -1, 1)
               : NAN;
  for (size_t i = 0; i < n * ROWS; i++) a[i] = (float)qp_random_uniform(&c->random, -1, 1);
}

qp_status qp_check_rows_product_inputs(qp_check *c) {
  const unsigned n = c->k->problem.columns;
  const size_t stride = n + GAP, cells = (size_t)n * ROWS;
  float *m = qp_check_host(c, sizeof *m * n * stride), *a = qp_check_host(c, sizeof *a * cells);
  float *out = qp_check_host(c, sizeof *out * cells);
  c->rotated = qp_check_host(c, sizeof *c->rotated * cells);
  const uint32_t part[] = {(uint32_t)stride, part_of(c)};
  memcpy(&c->args.part, part, sizeof part);
  qp_status status = m && a && out && c->rotated ? QP_OK : QP_E_NOMEM;
  if (!status) fill(c, m, stride, a);
  if (!status) qp_rows_product(n, m, stride, part_of(c), a, out);
  for (size_t i = 0; i < cells && !status; i++) c->rotated[i] = (double)out[i];
  if (!status) status = qp_check_buffer(c, m, sizeof *m * n * stride, &c->args.factor);
  if (!status) status = qp_check_buffer(c, a, sizeof *a * cells, &c->args.x);
  if (!status) status = qp_check_buffer(c, NULL, sizeof *out * cells, &c->args.y);
  free(m);
  free(a);
  free(out);
  return status;
}

qp_status qp_check_rows_product_outputs(qp_check *c, qp_check_sums *s, qp_verdict *v) {
  const size_t cells = (size_t)c->k->problem.columns * ROWS, bytes = sizeof(float) * cells;
  float *got = qp_check_host(c, bytes);
  if (!got) return QP_E_NOMEM;
  qp_status status = qp_device_download(c->dev, got, c->args.y, bytes, c->err);
  if (!status) status = qp_check_guard(c, c->args.y, bytes, "output", v);
  for (size_t i = 0; i < cells && !status; i++) {
    const float want = (float)c->rotated[i];
    qp_check_compare(s, (double)got[i], c->rotated[i]);
    if (qp_float_bits(got[i]) == qp_float_bits(want)) continue;
    snprintf(v->why, sizeof v->why, "output: [%zu][%zu] is %a and must be %a, the sum in order",
             i / ROWS, i % ROWS, (double)got[i], (double)want);
    status = QP_E_WRONG;
  }
  free(got);
  return status;
}
