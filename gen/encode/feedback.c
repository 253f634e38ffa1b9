/* SPDX-License-Identifier: MIT */
/* Block-LDLQ. */
#include "gen/encode/feedback.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/exact_sums.h"
#include "gen/encode/rows_product.h"

enum {
  ROWS = 32,
  MANTISSA = 53,
  ERROR_BITS = QP_FEEDBACK_ERROR_BITS,
  ERROR_FRACTION = QP_FEEDBACK_ERROR_FRACTION,
  FLOAT_BITS = 24, /* U is kept in floats */
  MOST_COLUMNS = 1 << 18,
  LINE = 16 /* floats of a cache line */
};

static _Atomic unsigned long made; /* factors so far */

static double mean_diagonal(unsigned n, const float *h) {
  double mean = 0;
  for (size_t i = 0; i < n; i++) mean += (double)h[i * n + i] / n;
  return mean;
}

qp_status qp_feedback_check(unsigned columns, const float *hessian, qp_error *err) {
  const float *h = hessian;
  const size_t n = columns;
  const double mean = mean_diagonal(columns, hessian);
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
static void reversed_copy(size_t n, const float *h, double more, double *a) {
  const float *last = h + n * n - 1;
  for (size_t i = 0; i < n; i++)
    for (size_t k = 0; k < n; k++)
      a[i * n + k] = (double)*(last - (i * n + k)) + (i == k ? more : 0);
}

static void reverse(double *a, size_t n) {
  for (size_t i = 0; i < n / 2; i++) {
    const double t = a[i];
    a[i] = a[n - 1 - i];
    a[n - 1 - i] = t;
  }
}

/* From columns to rows, in place. */
static void transpose(double *a, size_t n) {
  enum { TILE = 8 };
  for (size_t first = 0; first < n; first += TILE) {
    const size_t end = first + TILE < n ? first + TILE : n;
    for (size_t k = 0; k < n; k++)
      for (size_t i = first; i < end && i < k; i++) {
        const double t = a[k * n + i];
        a[k * n + i] = a[i * n + k];
        a[i * n + k] = t;
      }
  }
}

/* Find C of H = C C^T, C upper triangular: it is Cholesky of H reversed, reversed.  H is damped as
   much as it takes: with the sum of a row's absolute values added it is positive definite. */
static qp_status cholesky(qp_feedback *f, double damping, double *a, qp_error *err) {
  enum { LEAST = 1000000 }; /* one part of so many, where less was not enough */
  const int n = (int)f->columns;
  for (;; damping = fmax(10 * damping, 1. / LEAST)) {
    int info = 0;
    f->damping = damping;
    f->added = damping * mean_diagonal(f->columns, f->hessian);
    reversed_copy(f->columns, f->hessian, f->added, a);
    f->blas->dpotrf("L", &n, a, &n, &info);
    if (!info) return reverse(a, (size_t)n * (size_t)n), QP_OK;
    if (!isfinite(f->added))
      return qp_fail(err, QP_E_ARG,
                     "Hessian: not positive definite at column %d, whatever is added", n - info);
  }
}

/* Keep C, whose columns are those of 'a', and its transpose, tile by tile.  What is so small that
   no sum in floats feels it is 0: denormal numbers are slow. */
static void keep_root(qp_feedback *f, const double *a) {
  enum { TILE = 16 };
  const size_t n = f->columns;
  const double least = 0x1p-64 * sqrt(mean_diagonal(f->columns, f->hessian));
  for (size_t first = 0; first < n; first += TILE)
    for (size_t k = first; k < n; k++)
      for (size_t i = first; i <= k && i < first + TILE; i++)
        f->root[i * f->stride + k] = f->root[k * f->stride + i] =
            fabs(a[k * n + i]) < least ? 0 : (float)a[k * n + i];
}

static double mean_left(const qp_feedback *f, const double *a) {
  const size_t n = f->columns;
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += a[i * n + i] * a[i * n + i];
  return sum / (double)n / mean_diagonal(f->columns, f->hessian);
}

/* Bits of a sum of 'columns' products; an exact sum has 53. */
static int sum_bits(unsigned columns) {
  int bits = 0;
  while (1u << bits < columns) bits++;
  return bits;
}

/* The unit of each column: what is above the diagonal blocks fills the bits of whole numbers. */
static void choose_scales(qp_feedback *f, const double *a, float *largest) {
  const size_t n = f->columns;
  const int most = MANTISSA - 1 - ERROR_BITS - sum_bits(f->columns);
  const int bits = most < FLOAT_BITS ? most : FLOAT_BITS;
  memset(largest, 0, sizeof *largest * n);
  for (unsigned k = 0; k < f->blocks; k++)
    for (size_t i = f->edge[k]; i < f->edge[k + 1]; i++)
      for (size_t c = f->edge[k + 1]; c < n; c++)
        largest[c] = fmaxf(largest[c], (float)fabs(a[i * n + c]));
  for (size_t c = 0; c < n; c++) {
    int exponent = 0;
    frexpf(largest[c], &exponent);
    f->scale[c] = ldexp(1, exponent - bits);
  }
}

/* Round U, above its diagonal blocks, to whole numbers; what it adds to the variance of targets. */
static double round_unit(qp_feedback *f, const double *a, float *largest) {
  const size_t n = f->columns;
  double reach = 0;
  choose_scales(f, a, largest);
  for (unsigned k = 0; k < f->blocks; k++)
    for (size_t i = f->edge[k]; i < f->edge[k + 1]; i++) {
      const double *from = a + i * n;
      float *u = f->unit + i * n;
      for (size_t c = 0; c < f->edge[k + 1]; c++) u[c] = 0;
      for (size_t c = f->edge[k + 1]; c < n; c++) {
        reach += from[c] * from[c];
        u[c] = (float)rint(from[c] / f->scale[c]);
      }
    }
  for (size_t c = 0; c < n; c++) f->scale[c] /= 1 << ERROR_FRACTION;
  return reach / (double)n;
}

/* Multiply each block of columns by the inverse of its diagonal block. */
static void make_unit(qp_feedback *f, double *a, float *scratch) {
  const int n = (int)f->columns;
  const double one = 1;
  for (unsigned k = 0; k < f->blocks; k++) {
    const int rows = (int)f->edge[k], width = (int)(f->edge[k + 1] - f->edge[k]);
    double *at = a + (size_t)rows * f->columns;
    if (rows) f->blas->dtrsm("R", "U", "N", "N", &rows, &width, &one, at + rows, &n, at, &n);
  }
  transpose(a, f->columns);
  f->reach = round_unit(f, a, scratch);
}

/* QP_E_NOMEM, QP_E_LIMIT: more columns than sums have bits for. */
static qp_status make_room(qp_feedback *f, qp_error *err) {
  const size_t n = f->columns;
  if (n > MOST_COLUMNS)
    return qp_fail(err, QP_E_LIMIT, "a Hessian of %zu columns; up to %d can be fed forward", n,
                   MOST_COLUMNS);
  f->stride = n / LINE * LINE + LINE; /* an odd number of cache lines, where n is a power of two */
  f->unit = malloc(sizeof *f->unit * n * n);
  f->scale = malloc(sizeof *f->scale * n);
  f->root = malloc(sizeof *f->root * n * f->stride);
  if (f->unit && f->scale && f->root) return QP_OK;
  return qp_fail(err, QP_E_NOMEM, "no memory for the factor of a Hessian of %zu columns", n);
}

static qp_status make_factor(qp_feedback *f, double damping, qp_error *err) {
  const size_t n = f->columns;
  float *scratch = malloc(sizeof *scratch * n);
  double *a = malloc(sizeof *a * n * n);
  qp_status status =
      scratch && a ? make_room(f, err)
                   : qp_fail(err, QP_E_NOMEM, "no memory to factor a Hessian of %zu columns", n);
  if (!status) status = cholesky(f, damping, a, err);
  if (!status) {
    f->left = mean_left(f, a);
    keep_root(f, a);
    make_unit(f, a, scratch);
    f->serial = atomic_fetch_add(&made, 1) + 1;
  }
  free(a);
  free(scratch);
  return status;
}

qp_status qp_feedback_make(qp_feedback *out, unsigned columns, const float *hessian, double damping,
                           unsigned *edge, unsigned blocks, qp_error *err) {
  qp_feedback f = {.columns = columns, .hessian = hessian, .edge = edge, .blocks = blocks};
  assert(columns);
  qp_status status = qp_blas_open(&f.blas, err);
  const bool feeds = !status && mean_diagonal(columns, hessian) > 0;
  if (feeds) status = make_factor(&f, damping, err);
  if (status)
    qp_feedback_free(&f);
  else
    *out = f;
  return status;
}

void qp_feedback_free(qp_feedback *f) {
  free(f->unit);
  free(f->scale);
  free(f->root);
  free(f->edge);
  *f = (qp_feedback){0};
}

void qp_feedback_sum(const qp_feedback *f, unsigned column, unsigned from, unsigned end,
                     const double *errors, double *sums) {
  qp_exact_sums(f->columns, column, from, end, errors, f->unit, sums);
}

void qp_feedback_pass(const qp_feedback *f, unsigned column, unsigned at, unsigned from,
                      unsigned end, const double *errors, double *sums) {
  qp_exact_add(f->columns, column, at, from, end, errors, f->unit, sums);
}

void qp_feedback_targets(const qp_feedback *f, unsigned from, unsigned end, const float *x,
                         const double *sums, float *targets) {
  for (size_t r = 0; r < ROWS; r++) {
    const size_t row = r * f->columns;
    for (size_t k = from; k < end; k++)
      targets[row + k] = x[row + k] - (float)(sums[row + k] * f->scale[k]);
  }
}

double qp_feedback_error(float value, float x) {
  const double far = 1 << ERROR_BITS, whole = 0x1.8p52; /* to which it is rounded when added */
  double e = (double)(value - x) * (1 << ERROR_FRACTION);
  e = e < -far ? -far : e > far ? far : e;
  return e + whole - whole;
}

void qp_feedback_root(const qp_feedback *f, const float *a, float *out) {
  qp_rows_product(f->columns, f->root, f->stride, QP_ROWS_BEFORE, a, out);
}

void qp_feedback_times(const qp_feedback *f, const float *a, float *out) {
  qp_rows_product(f->columns, f->hessian, f->columns, QP_ROWS_ALL, a, out);
}

void qp_feedback_slopes(const qp_feedback *f, const float *c, float *slopes) {
  qp_rows_product(f->columns, f->root, f->stride, QP_ROWS_BEHIND, c, slopes);
}
