/* SPDX-License-Identifier: MIT */
/* Exact sums by strips of columns, whose part of U is brought to doubles once for 32 rows. */
#include "gen/encode/exact_sums.h"

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

/* As add_row does, for four columns at a time.  Returns how far it came. */
QP_AVX2 static size_t add_row_avx2(size_t columns, size_t first, size_t last, size_t from,
                                   size_t end, const double *error, const float *u, double *sum) {
  size_t k = from;
  for (; k + 4 <= end; k += 4) {
    __m256d v = _mm256_loadu_pd(sum + k);
    for (size_t i = first; i < last; i++)
      v = _mm256_fmadd_pd(_mm256_set1_pd(error[i]),
                          _mm256_cvtps_pd(_mm_loadu_ps(u + i * columns + k)), v);
    _mm256_storeu_pd(sum + k, v);
  }
  return k;
}

/* Do so for all rows, eight columns and four rows at a time. */
QP_AVX2 static size_t add_tiles_avx2(size_t columns, size_t first, size_t last, size_t from,
                                     size_t end, const double *errors, const float *u,
                                     double *sums) {
  size_t at = from;
  for (; at + 8 <= end; at += 8)
    for (size_t r = 0; r < ROWS; r += 4) {
      __m256d v[4][2];
      QP_UNROLL for (unsigned k = 0; k < 4; k++) QP_UNROLL for (unsigned c = 0; c < 2; c++)
          v[k][c] = _mm256_loadu_pd(sums + (r + k) * columns + at + 4 * c);
      for (size_t i = first; i < last; i++) {
        const float *row = u + i * columns + at;
        const __m256d low = _mm256_cvtps_pd(_mm_loadu_ps(row));
        const __m256d high = _mm256_cvtps_pd(_mm_loadu_ps(row + 4));
        QP_UNROLL for (unsigned k = 0; k < 4; k++) {
          const __m256d e = _mm256_broadcast_sd(errors + (r + k) * columns + i);
          v[k][0] = _mm256_fmadd_pd(e, low, v[k][0]);
          v[k][1] = _mm256_fmadd_pd(e, high, v[k][1]);
        }
      }
      QP_UNROLL for (unsigned k = 0; k < 4; k++) QP_UNROLL for (unsigned c = 0; c < 2; c++)
          _mm256_storeu_pd(sums + (r + k) * columns + at + 4 * c, v[k][c]);
    }
  return at;
}

/* Do so, sixteen columns and eight rows at a time. */
QP_AVX512 static size_t add_tiles_avx512(size_t columns, size_t first, size_t last, size_t from,
                                         size_t end, const double *errors, const float *u,
                                         double *sums) {
  size_t at = from;
  for (; at + 16 <= end; at += 16)
    for (size_t r = 0; r < ROWS; r += 8) {
      __m512d v[8][2];
      QP_UNROLL for (unsigned k = 0; k < 8; k++) QP_UNROLL for (unsigned c = 0; c < 2; c++)
          v[k][c] = _mm512_loadu_pd(sums + (r + k) * columns + at + 8 * c);
      for (size_t i = first; i < last; i++) {
        const float *row = u + i * columns + at;
        const __m512d low = _mm512_cvtps_pd(_mm256_loadu_ps(row));
        const __m512d high = _mm512_cvtps_pd(_mm256_loadu_ps(row + 8));
        QP_UNROLL for (unsigned k = 0; k < 8; k++) {
          const __m512d e = _mm512_set1_pd(errors[(r + k) * columns + i]);
          v[k][0] = _mm512_fmadd_pd(e, low, v[k][0]);
          v[k][1] = _mm512_fmadd_pd(e, high, v[k][1]);
        }
      }
      QP_UNROLL for (unsigned k = 0; k < 8; k++) QP_UNROLL for (unsigned c = 0; c < 2; c++)
          _mm512_storeu_pd(sums + (r + k) * columns + at + 8 * c, v[k][c]);
    }
  return add_tiles_avx2(columns, first, last, at, end, errors, u, sums);
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
  size_t begin = from;
#ifdef QP_X86
  const qp_simd_level simd = qp_simd(); /* asked once: it reads the environment */
  if (simd >= QP_SIMD_AVX512)
    begin = add_tiles_avx512(columns, first, last, from, end, errors, u, sums);
  else if (simd >= QP_SIMD_AVX2)
    begin = add_tiles_avx2(columns, first, last, from, end, errors, u, sums);
#endif
  for (size_t r = 0; r < ROWS && begin < end; r++) {
    const double *error = errors + r * columns;
    double *sum = sums + r * columns;
    size_t at = begin;
#ifdef QP_X86
    if (simd >= QP_SIMD_AVX2) at = add_row_avx2(columns, first, last, at, end, error, u, sum);
#endif
    add_row(columns, first, last, at, end, error, u, sum);
  }
}
