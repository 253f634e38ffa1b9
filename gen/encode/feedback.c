/* SPDX-License-Identifier: MIT */
/* Block-LDLQ. */
#include "gen/encode/feedback.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/simd.h"

enum { ROWS = 32 };

static double mean_diagonal(unsigned n, const float *h) {
  double mean = 0;
  for (size_t i = 0; i < n; i++) mean += (double)h[i * n + i] / n;
  return mean;
}

qp_status qp_feedback_check(unsigned n, const float *h, qp_error *err) {
  const double mean = mean_diagonal(n, h);
  if (!(mean >= 0) || isinf(mean)) {
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

/* Copy H, damped, in double precision and in reverse order of rows and columns. */
static void reversed_copy(unsigned n, const float *h, double damping, double *a) {
  const size_t all = (size_t)n * n;
  const double more = damping * mean_diagonal(n, h);
  for (size_t i = 0; i < all; i++) a[all - 1 - i] = (double)h[i];
  for (size_t i = 0; i < n; i++) a[i * n + i] += more;
}

static void reverse(double *a, size_t n) {
  for (size_t i = 0; i < n / 2; i++) {
    const double t = a[i];
    a[i] = a[n - 1 - i];
    a[n - 1 - i] = t;
  }
}

/* From columns to rows, some rows at a time: each column's are neighbours. */
static void transpose(const double *a, size_t n, float *out) {
  enum { ROWS_AT_ONCE = 8 };
  for (size_t first = 0; first < n; first += ROWS_AT_ONCE) {
    const size_t end = first + ROWS_AT_ONCE < n ? first + ROWS_AT_ONCE : n;
    for (size_t k = 0; k < n; k++)
      for (size_t i = first; i < end; i++) out[i * n + k] = (float)a[k * n + i];
  }
}

/* Find C of H = C C^T, C upper triangular: it is Cholesky of H reversed, reversed.  H is damped as
   much as it takes: with the sum of a row's absolute values added it is positive definite. */
static qp_status cholesky(qp_feedback *f, double damping, double *a, qp_error *err) {
  enum { LEAST = 1000000 }; /* one part of so many, where less was not enough */
  const int n = (int)f->columns;
  for (;; damping = fmax(10 * damping, 1. / LEAST)) {
    int info = 0;
    reversed_copy(f->columns, f->hessian, damping, a);
    f->blas->dpotrf("L", &n, a, &n, &info);
    f->damping = damping;
    f->added = damping * mean_diagonal(f->columns, f->hessian);
    if (!info) return reverse(a, (size_t)n * (size_t)n), QP_OK;
    if (!isfinite(f->added))
      return qp_fail(err, QP_E_ARG,
                     "Hessian: not positive definite at column %d, whatever is added", n - info);
  }
}

static double mean_left(const qp_feedback *f, const double *a) {
  const size_t n = f->columns;
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += a[i * n + i] * a[i * n + i];
  return sum / (double)n / mean_diagonal(f->columns, f->hessian);
}

static double mean_reach(const qp_feedback *f) {
  double sum = 0;
  for (unsigned k = 0; k < f->blocks; k++)
    for (size_t i = f->edge[k]; i < f->edge[k + 1]; i++) {
      const float *u = f->unit + i * f->columns;
      for (unsigned c = f->edge[k + 1]; c < f->columns; c++) sum += (double)(u[c] * u[c]);
    }
  return sum / f->columns;
}

/* Multiply each block of columns by the inverse of its diagonal block. */
static void make_unit(qp_feedback *f, double *a) {
  const int n = (int)f->columns;
  const double one = 1;
  for (unsigned k = 0; k < f->blocks; k++) {
    const int rows = (int)f->edge[k], width = (int)(f->edge[k + 1] - f->edge[k]);
    double *at = a + (size_t)rows * f->columns;
    if (rows) f->blas->dtrsm("R", "U", "N", "N", &rows, &width, &one, at + rows, &n, at, &n);
  }
  transpose(a, f->columns, f->unit);
}

qp_status qp_feedback_make(qp_feedback *out, unsigned columns, const float *hessian, double damping,
                           unsigned *edge, unsigned blocks, qp_error *err) {
  qp_feedback f = {.columns = columns, .hessian = hessian, .edge = edge, .blocks = blocks};
  qp_status status = qp_blas_open(&f.blas, err);
  const bool feeds = !status && mean_diagonal(columns, hessian) > 0;
  const size_t cells = (size_t)columns * columns;
  double *a = feeds ? malloc(sizeof *a * cells) : NULL;
  f.unit = feeds ? malloc(sizeof *f.unit * cells) : NULL;
  if (feeds && (!a || !f.unit))
    status = qp_fail(err, QP_E_NOMEM, "no memory to factor a Hessian of %u columns", columns);
  if (feeds && !status) status = cholesky(&f, damping, a, err);
  if (feeds && !status) {
    f.left = mean_left(&f, a);
    make_unit(&f, a);
    f.reach = mean_reach(&f);
  }
  free(a);
  if (status)
    qp_feedback_free(&f);
  else
    *out = f;
  return status;
}

void qp_feedback_free(qp_feedback *f) {
  free(f->unit);
  free(f->edge);
  *f = (qp_feedback){0};
}

void qp_feedback_targets(const qp_feedback *f, unsigned column, unsigned from, unsigned end,
                         const float *x, const float *errors, float *targets) {
  const int n = (int)f->columns, width = (int)(end - from), before = (int)column, rows = ROWS;
  const float minus = -1, one = 1;
  for (size_t r = 0; r < ROWS; r++)
    memcpy(targets + r * f->columns + from, x + r * f->columns + from,
           sizeof *targets * (end - from));
  if (!column) return; /* rows are columns to Fortran: T^T -= U^T E^T */
  f->blas->sgemm("N", "N", &width, &rows, &before, &minus, f->unit + from, &n, errors, &n, &one,
                 targets + from, &n);
}

/* Correct one row's targets [from, end) by the errors of columns [column, at). */
static void pass_row(const qp_feedback *f, unsigned column, unsigned at, unsigned from,
                     unsigned end, const float *error, float *target) {
  for (unsigned i = column; i < at; i++) {
    const float *u = f->unit + (size_t)i * f->columns;
    for (unsigned k = from; k < end; k++) target[k] -= error[i] * u[k];
  }
}

#ifdef QP_X86
#include <immintrin.h>

/* Do the same for sixteen columns at a time, by the same operations in the same order.  Returns how
   far it came. */
QP_AVX2 static unsigned pass_avx2(const qp_feedback *f, unsigned column, unsigned at, unsigned end,
                                  const float *error, float *target) {
  unsigned k = at;
  for (; k + 16 <= end; k += 16) {
    __m256 a = _mm256_loadu_ps(target + k), b = _mm256_loadu_ps(target + k + 8);
    for (unsigned i = column; i < at; i++) {
      const float *u = f->unit + (size_t)i * f->columns + k;
      const __m256 e = _mm256_set1_ps(error[i]);
      a = _mm256_sub_ps(a, _mm256_mul_ps(e, _mm256_loadu_ps(u)));
      b = _mm256_sub_ps(b, _mm256_mul_ps(e, _mm256_loadu_ps(u + 8)));
    }
    _mm256_storeu_ps(target + k, a);
    _mm256_storeu_ps(target + k + 8, b);
  }
  return k;
}
#endif

void qp_feedback_pass(const qp_feedback *f, unsigned column, unsigned at, unsigned end,
                      const float *errors, float *targets) {
  for (size_t r = 0; r < ROWS; r++) {
    const float *error = errors + r * f->columns;
    float *target = targets + r * f->columns;
    unsigned from = at;
#ifdef QP_X86
    if (qp_simd() >= QP_SIMD_AVX2) from = pass_avx2(f, column, at, end, error, target);
#endif
    pass_row(f, column, at, from, end, error, target);
  }
}

void qp_feedback_slopes(const qp_feedback *f, unsigned from, unsigned end, const float *changes,
                        float *slopes) {
  const int n = (int)f->columns, width = (int)(end - from), rows = ROWS;
  const float one = 1;
  f->blas->sgemm("N", "N", &n, &rows, &width, &one, f->hessian + (size_t)from * f->columns, &n,
                 changes + from, &n, &one, slopes, &n);
}

void qp_feedback_times(const qp_feedback *f, const float *x, float *out) {
  const int n = (int)f->columns, rows = ROWS;
  const float one = 1, zero = 0;
  f->blas->sgemm("N", "N", &n, &rows, &n, &one, f->hessian, &n, x, &n, &zero, out, &n);
}
