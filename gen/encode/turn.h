/* SPDX-License-Identifier: MIT */
/* Sums of 16 bits between rows and columns, for the searches' AVX2 and AVX-512. */
#ifndef QP_TURN_H
#define QP_TURN_H

#include <stddef.h>
#include <stdint.h>

#include "gen/base/simd.h"

enum {
  QP_TURN = 8,      /* rows and columns that are turned together */
  QP_TURN_WIDE = 32 /* columns that AVX-512 turns together */
};

#ifdef QP_X86
#include <immintrin.h>

/* From the last to the first. */
QP_AVX2_INLINE __m256i qp_reverse(__m256i v) {
  const __m256i swap = _mm256_setr_epi8(14, 15, 12, 13, 10, 11, 8, 9, 6, 7, 4, 5, 2, 3, 0, 1, 14,
                                        15, 12, 13, 10, 11, 8, 9, 6, 7, 4, 5, 2, 3, 0, 1);
  return _mm256_permute2x128_si256(_mm256_shuffle_epi8(v, swap), v, 1);
}

/* Find the least of sixteen sums. */
QP_AVX2_INLINE unsigned qp_lowest_of(__m256i v) {
  const __m128i half = _mm_min_epu16(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  return (unsigned)_mm_extract_epi16(_mm_minpos_epu16(half), 0);
}

/* Write eight columns of eight sums as eight rows. */
QP_AVX2_INLINE void qp_turn_eight(const uint16_t *const column[QP_TURN], uint16_t *to,
                                  ptrdiff_t stride) {
  __m128i a[QP_TURN], b[QP_TURN];
  QP_UNROLL for (unsigned i = 0; i < QP_TURN; i++) a[i] =
      _mm_loadu_si128((const __m128i *)(const void *)column[i]);
  QP_UNROLL for (unsigned i = 0; i < 4; i++) {
    b[2 * i] = _mm_unpacklo_epi16(a[2 * i], a[2 * i + 1]);
    b[2 * i + 1] = _mm_unpackhi_epi16(a[2 * i], a[2 * i + 1]);
  }
  QP_UNROLL for (unsigned i = 0; i < 2; i++) {
    a[4 * i] = _mm_unpacklo_epi32(b[4 * i], b[4 * i + 2]);
    a[4 * i + 1] = _mm_unpackhi_epi32(b[4 * i], b[4 * i + 2]);
    a[4 * i + 2] = _mm_unpacklo_epi32(b[4 * i + 1], b[4 * i + 3]);
    a[4 * i + 3] = _mm_unpackhi_epi32(b[4 * i + 1], b[4 * i + 3]);
  }
  QP_UNROLL for (unsigned i = 0; i < 4; i++) {
    const __m128i lo = _mm_unpacklo_epi64(a[i], a[i + 4]), hi = _mm_unpackhi_epi64(a[i], a[i + 4]);
    _mm_storeu_si128((__m128i *)(void *)(to + 2 * (int)i * stride), lo);
    _mm_storeu_si128((__m128i *)(void *)(to + (2 * (int)i + 1) * stride), hi);
  }
}

/* Minima, and sums that saturate, are found by one unit, comparisons by another. */
QP_AVX512_INLINE __m512i qp_least(__m512i a, __m512i b) {
  return _mm512_mask_blend_epi16(_mm512_cmplt_epu16_mask(a, b), b, a);
}

/* Load eight sums of each of four columns that are 'apart' numbers apart. */
QP_AVX512_INLINE __m512i qp_load_four(const uint16_t *from, ptrdiff_t apart) {
  __m128i v[4];
  QP_UNROLL for (unsigned i = 0; i < 4; i++) v[i] =
      _mm_loadu_si128((const __m128i *)(const void *)(from + (int)i * apart));
  const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(v[0]), v[1], 1);
  const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(v[2]), v[3], 1);
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/* Write 32 columns of eight sums, 'apart' numbers apart, as eight rows. */
QP_AVX512_INLINE void qp_turn_wide(const uint16_t *from, ptrdiff_t apart, uint16_t *to,
                                   ptrdiff_t stride) {
  __m512i a[QP_TURN], b[QP_TURN];
  QP_UNROLL for (unsigned i = 0; i < QP_TURN; i++) a[i] =
      qp_load_four(from + (int)i * apart, QP_TURN * apart);
  QP_UNROLL for (unsigned i = 0; i < 4; i++) {
    b[2 * i] = _mm512_unpacklo_epi16(a[2 * i], a[2 * i + 1]);
    b[2 * i + 1] = _mm512_unpackhi_epi16(a[2 * i], a[2 * i + 1]);
  }
  QP_UNROLL for (unsigned i = 0; i < 2; i++) {
    a[4 * i] = _mm512_unpacklo_epi32(b[4 * i], b[4 * i + 2]);
    a[4 * i + 1] = _mm512_unpackhi_epi32(b[4 * i], b[4 * i + 2]);
    a[4 * i + 2] = _mm512_unpacklo_epi32(b[4 * i + 1], b[4 * i + 3]);
    a[4 * i + 3] = _mm512_unpackhi_epi32(b[4 * i + 1], b[4 * i + 3]);
  }
  QP_UNROLL for (unsigned i = 0; i < 4; i++) {
    _mm512_storeu_si512(to + 2 * (int)i * stride, _mm512_unpacklo_epi64(a[i], a[i + 4]));
    _mm512_storeu_si512(to + (2 * (int)i + 1) * stride, _mm512_unpackhi_epi64(a[i], a[i + 4]));
  }
}
#endif

#endif
