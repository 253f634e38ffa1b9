/* SPDX-License-Identifier: MIT */
/* The inner loop of the search, for each instruction set.  All of them do the same operations in the
** same order (fused multiply-adds), so that codes do not depend on the machine. */
#include "gen/encode/trellis_step.h"

#include <math.h>
#include <string.h>

#include "gen/encode/simd.h"

enum { LANES = QP_TRELLIS_LANES };

/* Where the sums of row j begin for a tile. */
static inline size_t sums_at(const qp_trellis *t, unsigned tile, unsigned j) {
  return (size_t)(j % t->rows) * t->stride + tile * LANES % t->spread;
}

static void step_plain(const qp_trellis *t, unsigned tile, const qp_step_pair *p) {
  const float *table = t->table + (size_t)tile * t->fan * (1 + t->dim) * LANES;
  for (unsigned k = 0; k < 2; k++) {
    float least[LANES];
    uint16_t from[LANES] = {0};
    for (unsigned l = 0; l < LANES; l++) least[l] = INFINITY;
    for (unsigned j = 0; j < t->fan; j++) {
      const float *row = table + (size_t)j * (1 + t->dim) * LANES;
      const float *sum = p->sum[k] + sums_at(t, tile, j);
      for (unsigned l = 0; l < LANES; l++) {
        float d = row[l];
        for (unsigned i = 0; i < t->dim; i++) d = fmaf(p->x[k][i], row[(1 + i) * LANES + l], d);
        d += sum[l];
        if (d < least[l]) least[l] = d, from[l] = (uint16_t)j;
      }
    }
    memcpy(p->least[k] + tile * LANES, least, sizeof least);
    memcpy(p->from[k] + tile * LANES, from, sizeof from);
  }
}

#ifdef QP_X86
#include <immintrin.h>

/* Eight groups at a time; 'dim' is a constant where this is inlined. */
QP_AVX2_INLINE void half_avx2(const qp_trellis *t, unsigned tile, unsigned half, unsigned dim,
                              const qp_step_pair *p) {
  const float *row = t->table + (size_t)tile * t->fan * (1 + dim) * LANES + half;
  const size_t column = tile * LANES % t->spread + half;
  __m256 x[2][QP_TRELLIS_DIM] = {{{0}}}, least[2];
  __m256i from[2], number = _mm256_setzero_si256();
  const __m256i one = _mm256_set1_epi32(1);
  QP_UNROLL for (unsigned k = 0; k < 2; k++) {
    QP_UNROLL for (unsigned i = 0; i < dim; i++) x[k][i] = _mm256_set1_ps(p->x[k][i]);
    least[k] = _mm256_set1_ps(INFINITY);
    from[k] = number;
  }
  for (unsigned j = 0; j < t->fan; j++, row += (1 + dim) * LANES) {
    size_t at = (size_t)(j & (t->rows - 1)) * t->stride + column;
    QP_UNROLL for (unsigned k = 0; k < 2; k++) {
      __m256 d = _mm256_loadu_ps(row);
      QP_UNROLL for (unsigned i = 0; i < dim; i++) d =
          _mm256_fmadd_ps(x[k][i], _mm256_loadu_ps(row + (1 + i) * LANES), d);
      d = _mm256_add_ps(d, _mm256_loadu_ps(p->sum[k] + at));
      __m256 less = _mm256_cmp_ps(d, least[k], _CMP_LT_OQ);
      least[k] = _mm256_min_ps(d, least[k]);
      from[k] = _mm256_blendv_epi8(from[k], number, _mm256_castps_si256(less));
    }
    number = _mm256_add_epi32(number, one);
  }
  QP_UNROLL for (unsigned k = 0; k < 2; k++) {
    _mm256_storeu_ps(p->least[k] + tile * LANES + half, least[k]);
    __m256i words = _mm256_packus_epi32(from[k], from[k]);
    _mm_storel_epi64((__m128i *)(void *)(p->from[k] + tile * LANES + half),
                     _mm256_castsi256_si128(words));
    _mm_storel_epi64((__m128i *)(void *)(p->from[k] + tile * LANES + half + 4),
                     _mm256_extracti128_si256(words, 1));
  }
}

QP_AVX2 static void step_avx2(const qp_trellis *t, unsigned tile, const qp_step_pair *p) {
  for (unsigned half = 0; half < LANES; half += 8) {
    switch (t->dim) {
    case 1: half_avx2(t, tile, half, 1, p); break;
    case 2: half_avx2(t, tile, half, 2, p); break;
    case 4: half_avx2(t, tile, half, 4, p); break;
    default: half_avx2(t, tile, half, t->dim, p);
    }
  }
}

/* Sixteen groups at a time. */
QP_AVX512_INLINE void all_avx512(const qp_trellis *t, unsigned tile, unsigned dim,
                                 const qp_step_pair *p) {
  const float *row = t->table + (size_t)tile * t->fan * (1 + dim) * LANES;
  const size_t column = tile * LANES % t->spread;
  __m512 x[2][QP_TRELLIS_DIM] = {{{0}}}, least[2];
  __m512i from[2], number = _mm512_setzero_si512();
  const __m512i one = _mm512_set1_epi32(1);
  QP_UNROLL for (unsigned k = 0; k < 2; k++) {
    QP_UNROLL for (unsigned i = 0; i < dim; i++) x[k][i] = _mm512_set1_ps(p->x[k][i]);
    least[k] = _mm512_set1_ps(INFINITY);
    from[k] = number;
  }
  for (unsigned j = 0; j < t->fan; j++, row += (1 + dim) * LANES) {
    size_t at = (size_t)(j & (t->rows - 1)) * t->stride + column;
    QP_UNROLL for (unsigned k = 0; k < 2; k++) {
      __m512 d = _mm512_loadu_ps(row);
      QP_UNROLL for (unsigned i = 0; i < dim; i++) d =
          _mm512_fmadd_ps(x[k][i], _mm512_loadu_ps(row + (1 + i) * LANES), d);
      d = _mm512_add_ps(d, _mm512_loadu_ps(p->sum[k] + at));
      __mmask16 less = _mm512_cmp_ps_mask(d, least[k], _CMP_LT_OQ);
      least[k] = _mm512_min_ps(d, least[k]);
      from[k] = _mm512_mask_mov_epi32(from[k], less, number);
    }
    number = _mm512_add_epi32(number, one);
  }
  QP_UNROLL for (unsigned k = 0; k < 2; k++) {
    _mm512_storeu_ps(p->least[k] + tile * LANES, least[k]);
    _mm256_storeu_si256((__m256i *)(void *)(p->from[k] + tile * LANES),
                        _mm512_cvtepi32_epi16(from[k]));
  }
}

QP_AVX512 static void step_avx512(const qp_trellis *t, unsigned tile, const qp_step_pair *p) {
  switch (t->dim) {
  case 1: all_avx512(t, tile, 1, p); break;
  case 2: all_avx512(t, tile, 2, p); break;
  case 4: all_avx512(t, tile, 4, p); break;
  default: all_avx512(t, tile, t->dim, p);
  }
}
#endif

qp_step_run *qp_step_choose(void) {
#ifdef QP_X86
  switch (qp_simd()) {
  case QP_SIMD_AVX512: return step_avx512;
  case QP_SIMD_AVX2: return step_avx2;
  default: break;
  }
#endif
  return step_plain;
}
