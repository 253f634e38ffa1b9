/* SPDX-License-Identifier: MIT */
/* Products of 32 rows with a matrix, by tiles of M's rows whose sums stay in registers. */
#include "gen/encode/rows_product.h"

#include <math.h>
#include <string.h>

#include "gen/base/simd.h"

enum {
  ROWS = QP_PRODUCT_ROWS,
  DEPTH = 128 /* elements of a sum between two looks at the same a: 16 KB of it */
};

/* Columns that are copied at a time: a cache line of each row. */
enum { LINE = 16 };

void qp_rows_gather(unsigned columns, const float *rows, float *out) {
  for (size_t at = 0; at < columns; at += LINE) {
    const size_t end = at + LINE < columns ? at + LINE : columns;
    for (size_t r = 0; r < ROWS; r++)
      for (size_t k = at; k < end; k++) out[k * ROWS + r] = rows[r * columns + k];
  }
}

void qp_rows_scatter(unsigned columns, const float *in, float *rows) {
  for (size_t at = 0; at < columns; at += LINE) {
    const size_t end = at + LINE < columns ? at + LINE : columns;
    for (size_t r = 0; r < ROWS; r++)
      for (size_t k = at; k < end; k++) rows[r * columns + k] = in[k * ROWS + r];
  }
}

/* Add M[i] a[i] of i below n to the sums of 'tile' rows of M, 'stride' apart. */
typedef void add_tile(unsigned tile, const float *m, size_t stride, unsigned n, const float *a,
                      float *sum);

static void add_plain(unsigned tile, const float *m, size_t stride, unsigned n, const float *a,
                      float *sum) {
  for (unsigned t = 0; t < tile; t++)
    for (size_t i = 0; i < n; i++)
      for (unsigned r = 0; r < ROWS; r++)
        sum[t * ROWS + r] = fmaf(m[t * stride + i], a[i * ROWS + r], sum[t * ROWS + r]);
}

#ifdef QP_X86
#include <immintrin.h>

enum { TILE_AVX2 = 6, TILE_AVX512 = 12 };

/* Sixteen rows by up to six of M: twelve sums in registers. */
QP_AVX2_INLINE void half_avx2(unsigned tile, const float *m, size_t stride, unsigned n,
                              const float *a, float *sum) {
  __m256 v[TILE_AVX2][2];
  QP_UNROLL for (unsigned t = 0; t < tile; t++) {
    v[t][0] = _mm256_loadu_ps(sum + t * ROWS);
    v[t][1] = _mm256_loadu_ps(sum + t * ROWS + 8);
  }
  for (unsigned i = 0; i < n; i++) {
    const __m256 low = _mm256_loadu_ps(a + (size_t)i * ROWS);
    const __m256 high = _mm256_loadu_ps(a + (size_t)i * ROWS + 8);
    QP_UNROLL for (unsigned t = 0; t < tile; t++) {
      const __m256 by = _mm256_broadcast_ss(m + t * stride + i);
      v[t][0] = _mm256_fmadd_ps(by, low, v[t][0]);
      v[t][1] = _mm256_fmadd_ps(by, high, v[t][1]);
    }
  }
  QP_UNROLL for (unsigned t = 0; t < tile; t++) {
    _mm256_storeu_ps(sum + t * ROWS, v[t][0]);
    _mm256_storeu_ps(sum + t * ROWS + 8, v[t][1]);
  }
}

QP_AVX2 static void add_avx2(unsigned tile, const float *m, size_t stride, unsigned n,
                             const float *a, float *sum) {
  for (unsigned half = 0; half < ROWS; half += 16) {
    if (tile == TILE_AVX2) half_avx2(TILE_AVX2, m, stride, n, a + half, sum + half);
    for (unsigned t = 0; t < tile && tile < TILE_AVX2; t++)
      half_avx2(1, m + t * stride, stride, n, a + half, sum + t * ROWS + half);
  }
}

/* All 32 rows by up to twelve of M. */
QP_AVX512_INLINE void whole_avx512(unsigned tile, const float *m, size_t stride, unsigned n,
                                   const float *a, float *sum) {
  __m512 v[TILE_AVX512][2];
  QP_UNROLL for (unsigned t = 0; t < tile; t++) {
    v[t][0] = _mm512_loadu_ps(sum + t * ROWS);
    v[t][1] = _mm512_loadu_ps(sum + t * ROWS + 16);
  }
  for (unsigned i = 0; i < n; i++) {
    const __m512 low = _mm512_loadu_ps(a + (size_t)i * ROWS);
    const __m512 high = _mm512_loadu_ps(a + (size_t)i * ROWS + 16);
    QP_UNROLL for (unsigned t = 0; t < tile; t++) {
      const __m512 by = _mm512_set1_ps(m[t * stride + i]);
      v[t][0] = _mm512_fmadd_ps(by, low, v[t][0]);
      v[t][1] = _mm512_fmadd_ps(by, high, v[t][1]);
    }
  }
  QP_UNROLL for (unsigned t = 0; t < tile; t++) {
    _mm512_storeu_ps(sum + t * ROWS, v[t][0]);
    _mm512_storeu_ps(sum + t * ROWS + 16, v[t][1]);
  }
}

QP_AVX512 static void add_avx512(unsigned tile, const float *m, size_t stride, unsigned n,
                                 const float *a, float *sum) {
  if (tile == TILE_AVX512) {
    whole_avx512(TILE_AVX512, m, stride, n, a, sum);
    return;
  }
  for (unsigned t = 0; t < tile; t++) whole_avx512(1, m + t * stride, stride, n, a, sum + t * ROWS);
}
#endif

/* How M is gone through: which function adds, and how many of M's rows at a time. */
typedef struct way {
  add_tile *add;
  unsigned tile;
} way;

static way choose_way(void) {
#ifdef QP_X86
  switch (qp_simd()) {
  case QP_SIMD_AVX512: return (way){add_avx512, TILE_AVX512};
  case QP_SIMD_AVX2: return (way){add_avx2, TILE_AVX2};
  default: break;
  }
#endif
  return (way){add_plain, 1};
}

/* Add what comes of i in [from, end) to the sums of M's rows [j, j + tile). */
static void product_tile(const way *w, unsigned tile, unsigned j, const float *m, size_t stride,
                         unsigned from, unsigned end, const float *a, float *out) {
  const float *row = m + j * stride;
  float *sum = out + (size_t)j * ROWS;
  for (unsigned i = from; i < end; i += DEPTH) {
    const unsigned n = end - i < DEPTH ? end - i : DEPTH;
    w->add(tile, row + i, stride, n, a + (size_t)i * ROWS, sum);
  }
}

/* Rows of a tile have most of a triangle in common; before or behind it each one has its own part
   of the edge. */
void qp_rows_product(unsigned columns, const float *m, size_t stride, qp_rows_part part,
                     const float *a, float *out) {
  const way w = choose_way();
  memset(out, 0, sizeof *out * ROWS * columns);
  for (unsigned j = 0; j < columns; j += w.tile) {
    const unsigned tile = columns - j < w.tile ? columns - j : w.tile, last = j + tile - 1;
    const unsigned from = part == QP_ROWS_BEHIND ? last : 0;
    const unsigned end = part == QP_ROWS_BEFORE ? j + 1 : columns;
    for (unsigned k = j; k < last && part == QP_ROWS_BEHIND; k++)
      product_tile(&w, 1, k, m, stride, k, last, a, out);
    product_tile(&w, tile, j, m, stride, from, end, a, out);
    for (unsigned k = j + 1; k <= last && part == QP_ROWS_BEFORE; k++)
      product_tile(&w, 1, k, m, stride, j + 1, k + 1, a, out);
  }
}
