/* SPDX-License-Identifier: MIT */
/* Exact sums by strips of columns, whose part of U is brought to doubles once for 32 rows. */
#include "gen/encode/exact_sums.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "gen/base/simd.h"

enum {
  ROWS = QP_EXACT_ROWS,
  STRIP = 16, /* columns: two vectors of AVX-512 */
  DEPTH = 64  /* rows of U at a time: 8 KB of them */
};

/* A strip of U, and of sums, in work. */
typedef struct strip {
  double u[DEPTH][STRIP], sum[ROWS][STRIP];
} strip;

/* Add errors[r][i] u[i] of i below n, for all rows; 'stride' is that of errors. */
static void add_plain(strip *s, unsigned n, const double *errors, size_t stride) {
  for (size_t r = 0; r < ROWS; r++)
    for (size_t i = 0; i < n; i++)
      for (unsigned c = 0; c < STRIP; c++) s->sum[r][c] += errors[r * stride + i] * s->u[i][c];
}

/* Bring 'width' columns of n rows of U to doubles, with zeros behind them. */
static void take_plain(strip *s, unsigned n, const float *u, size_t stride, unsigned width) {
  for (size_t i = 0; i < n; i++)
    for (unsigned c = 0; c < STRIP; c++) s->u[i][c] = c < width ? (double)u[i * stride + c] : 0;
}

/* Add to one row's sums [from, end) what comes of the errors of columns [first, last). */
static void add_row(size_t columns, size_t first, size_t last, size_t from, size_t end,
                    const double *error, const float *u, double *sum) {
  for (size_t i = first; i < last; i++)
    for (size_t k = from; k < end; k++) sum[k] += error[i] * (double)u[i * columns + k];
}

#ifdef QP_X86
#include <immintrin.h>

/* A whole strip of U. */
QP_AVX2 static void take_avx2(strip *s, unsigned n, const float *u, size_t stride) {
  for (size_t i = 0; i < n; i++)
    QP_UNROLL for (unsigned c = 0; c < STRIP; c += 4)
        _mm256_storeu_pd(s->u[i] + c, _mm256_cvtps_pd(_mm_loadu_ps(u + i * stride + c)));
}

/* Four rows by eight columns: eight sums in registers. */
QP_AVX2 static void add_avx2(strip *s, unsigned n, const double *errors, size_t stride) {
  for (size_t r = 0; r < ROWS; r += 4)
    for (unsigned half = 0; half < STRIP; half += 8) {
      __m256d v[4][2];
      QP_UNROLL for (unsigned k = 0; k < 4; k++) QP_UNROLL for (unsigned c = 0; c < 2; c++)
          v[k][c] = _mm256_loadu_pd(s->sum[r + k] + half + 4 * c);
      for (size_t i = 0; i < n; i++) {
        const __m256d low = _mm256_loadu_pd(s->u[i] + half);
        const __m256d high = _mm256_loadu_pd(s->u[i] + half + 4);
        QP_UNROLL for (unsigned k = 0; k < 4; k++) {
          const __m256d e = _mm256_broadcast_sd(errors + (r + k) * stride + i);
          v[k][0] = _mm256_fmadd_pd(e, low, v[k][0]);
          v[k][1] = _mm256_fmadd_pd(e, high, v[k][1]);
        }
      }
      QP_UNROLL for (unsigned k = 0; k < 4; k++) QP_UNROLL for (unsigned c = 0; c < 2; c++)
          _mm256_storeu_pd(s->sum[r + k] + half + 4 * c, v[k][c]);
    }
}

/* Eight rows by sixteen columns: sixteen sums in registers. */
QP_AVX512 static void add_avx512(strip *s, unsigned n, const double *errors, size_t stride) {
  for (size_t r = 0; r < ROWS; r += 8) {
    __m512d v[8][2];
    QP_UNROLL for (unsigned k = 0; k < 8; k++) QP_UNROLL for (unsigned c = 0; c < 2; c++) v[k][c] =
        _mm512_loadu_pd(s->sum[r + k] + 8 * c);
    for (size_t i = 0; i < n; i++) {
      const __m512d low = _mm512_loadu_pd(s->u[i]), high = _mm512_loadu_pd(s->u[i] + 8);
      QP_UNROLL for (unsigned k = 0; k < 8; k++) {
        const __m512d e = _mm512_set1_pd(errors[(r + k) * stride + i]);
        v[k][0] = _mm512_fmadd_pd(e, low, v[k][0]);
        v[k][1] = _mm512_fmadd_pd(e, high, v[k][1]);
      }
    }
    QP_UNROLL for (unsigned k = 0; k < 8; k++) QP_UNROLL for (unsigned c = 0; c < 2; c++)
        _mm512_storeu_pd(s->sum[r + k] + 8 * c, v[k][c]);
  }
}

/* As add_row does, for sixteen columns at a time.  Returns how far it came. */
QP_AVX2 static size_t add_row_avx2(size_t columns, size_t first, size_t last, size_t from,
                                   size_t end, const double *error, const float *u, double *sum) {
  size_t k = from;
  for (; k + 16 <= end; k += 16) {
    __m256d v[4];
    QP_UNROLL for (unsigned m = 0; m < 4; m++) v[m] = _mm256_loadu_pd(sum + k + 4 * m);
    for (size_t i = first; i < last; i++) {
      const float *at = u + i * columns + k;
      const __m256d e = _mm256_set1_pd(error[i]);
      QP_UNROLL for (unsigned m = 0; m < 4; m++) v[m] =
          _mm256_fmadd_pd(e, _mm256_cvtps_pd(_mm_loadu_ps(at + 4 * m)), v[m]);
    }
    QP_UNROLL for (unsigned m = 0; m < 4; m++) _mm256_storeu_pd(sum + k + 4 * m, v[m]);
  }
  return k;
}
#endif

/* Add to a strip what comes of n rows of U. */
static void add_rows(strip *s, qp_simd_level simd, unsigned n, const float *u, unsigned width,
                     const double *errors, size_t stride) {
#ifdef QP_X86
  if (simd >= QP_SIMD_AVX2) {
    if (width == STRIP)
      take_avx2(s, n, u, stride);
    else
      take_plain(s, n, u, stride, width);
    (simd >= QP_SIMD_AVX512 ? add_avx512 : add_avx2)(s, n, errors, stride);
    return;
  }
#endif
  (void)simd;
  take_plain(s, n, u, stride, width);
  add_plain(s, n, errors, stride);
}

void qp_exact_sums(unsigned columns, unsigned depth, unsigned from, unsigned end,
                   const double *errors, const float *u, double *sums) {
  const qp_simd_level simd = qp_simd();
  strip s;
  for (unsigned at = from; at < end; at += STRIP) {
    const unsigned width = end - at < STRIP ? end - at : STRIP;
    memset(s.sum, 0, sizeof s.sum);
    for (unsigned i = 0; i < depth; i += DEPTH)
      add_rows(&s, simd, depth - i < DEPTH ? depth - i : DEPTH, u + (size_t)i * columns + at, width,
               errors + i, columns);
    for (size_t r = 0; r < ROWS; r++)
      memcpy(sums + r * columns + at, s.sum[r], sizeof *sums * width);
  }
}

void qp_exact_add(unsigned columns, unsigned first, unsigned last, unsigned from, unsigned end,
                  const double *errors, const float *u, double *sums) {
#ifdef QP_X86
  const bool vectors = qp_simd() >= QP_SIMD_AVX2; /* asked once: it reads the environment */
#endif
  for (size_t r = 0; r < ROWS; r++) {
    const double *error = errors + r * columns;
    double *sum = sums + r * columns;
    size_t at = from;
#ifdef QP_X86
    if (vectors) at = add_row_avx2(columns, first, last, from, end, error, u, sum);
#endif
    add_row(columns, first, last, at, end, error, u, sum);
  }
}
