/* SPDX-License-Identifier: MIT */
/* Block-LDLQ. */
#include "gen/encode/feedback.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 32 };

static qp_status check_hessian(unsigned n, const float *h, qp_error *err) {
  double mean = 0;
  for (size_t i = 0; i < n; i++) mean += (double)h[i * n + i] / n;
  if (!(mean > 0) || isinf(mean)) {
    return qp_fail(err, QP_E_ARG, "Hessian: the mean of its diagonal is %g; should be positive",
                   mean);
  }
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j <= i; j++) {
      const double a = (double)h[i * n + j], b = (double)h[j * n + i];
      if (fabs(a - b) <= 1e-3 * mean) continue;
      return qp_fail(err, QP_E_ARG,
                     "Hessian: element [%zu][%zu] is %g and [%zu][%zu] is %g; it should be "
                     "symmetric and finite",
                     i, j, a, j, i, b);
    }
  }
  return QP_OK;
}

/* H, damped, in double precision and in reverse order of rows and columns. */
static double *reversed_copy(unsigned n, const float *h, double damping) {
  assert(n);
  const size_t all = (size_t)n * n;
  double *a = malloc(sizeof *a * all), mean = 0;
  if (!a) return NULL;
  for (size_t i = 0; i < all; i++) a[all - 1 - i] = (double)h[i];
  for (size_t i = 0; i < n; i++) mean += a[i * n + i] / n;
  for (size_t i = 0; i < n; i++) a[i * n + i] += damping * mean;
  return a;
}

static void reverse(double *a, size_t n) {
  for (size_t i = 0; i < n / 2; i++) {
    const double t = a[i];
    a[i] = a[n - 1 - i];
    a[n - 1 - i] = t;
  }
}

/* H = C C^T with C upper triangular: Cholesky of H reversed, reversed; then each block of columns
** times the inverse of its diagonal block. */
static qp_status factor(qp_feedback *f, double *a, qp_error *err) {
  const int n = (int)f->columns;
  const double one = 1;
  int info = 0;
  f->blas->dpotrf("L", &n, a, &n, &info);
  if (info) {
    return qp_fail(err, QP_E_ARG,
                   "Hessian: not positive definite at column %d; more damping, or more samples, "
                   "are needed",
                   n - info);
  }
  reverse(a, (size_t)n * (size_t)n);
  for (unsigned k = 0; k < f->blocks; k++) {
    const qp_feed_block *b = &f->block[k];
    const int rows = (int)b->column, width = (int)(b->end - b->column);
    double *at = a + (size_t)b->column * f->columns;
    if (rows) f->blas->dtrsm("R", "U", "N", "N", &rows, &width, &one, at + b->column, &n, at, &n);
  }
  /* There are columns. NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
  for (size_t i = 0; i < (size_t)f->columns * f->columns; i++) f->unit[i] = (float)a[i];
  return QP_OK;
}

qp_status qp_feedback_make(qp_feedback *out, unsigned columns, const float *hessian, double damping,
                           qp_feed_block *block, unsigned blocks, qp_error *err) {
  qp_feedback f = {.columns = columns, .hessian = hessian, .block = block, .blocks = blocks};
  qp_status st = check_hessian(columns, hessian, err);
  if (!st) st = qp_blas_open(&f.blas, err);
  assert(columns);
  double *a = st ? NULL : reversed_copy(columns, hessian, damping);
  f.unit = st ? NULL : malloc(sizeof *f.unit * columns * columns);
  if (!st && (!a || !f.unit))
    st = qp_fail(err, QP_E_NOMEM, "no memory to factor a Hessian of %u columns", columns);
  if (!st) st = factor(&f, a, err);
  free(a);
  if (st)
    qp_feedback_free(&f);
  else
    *out = f;
  return st;
}

void qp_feedback_free(qp_feedback *f) {
  free(f->unit);
  free(f->block);
  *f = (qp_feedback){0};
}

void qp_feedback_targets(const qp_feedback *f, unsigned column, unsigned end, const float *x,
                         const float *errors, float *targets) {
  const int n = (int)f->columns, width = (int)(end - column), before = (int)column, rows = ROWS;
  const float minus = -1, one = 1;
  for (size_t r = 0; r < ROWS; r++)
    memcpy(targets + r * f->columns + column, x + r * f->columns + column,
           sizeof *targets * (end - column));
  if (!column) return; /* row-major rows are columns to Fortran: T^T -= U^T E^T */
  f->blas->sgemm("T", "N", &width, &rows, &before, &minus, f->unit + (size_t)column * f->columns,
                 &n, errors, &n, &one, targets + column, &n);
}

void qp_feedback_product(const qp_feedback *f, const float *a, const float *b, float *scratch,
                         double out[32]) {
  const int n = (int)f->columns, rows = ROWS;
  const float one = 1, zero = 0;
  f->blas->sgemm("N", "N", &n, &rows, &n, &one, f->hessian, &n, b, &n, &zero, scratch, &n);
  for (size_t r = 0; r < ROWS; r++) {
    out[r] = 0;
    for (size_t k = 0; k < f->columns; k++)
      out[r] += (double)a[r * f->columns + k] * (double)scratch[r * f->columns + k];
  }
}
