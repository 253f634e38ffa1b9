/* SPDX-License-Identifier: MIT */
/* Finds the nearest codewords by looking at all of them, or those that a tree says. */
#include "gen/encode/nearest.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "gen/base/simd.h"

enum { LANES = 16 };

qp_status qp_codewords_make(qp_codewords *c, unsigned count, unsigned dim, const float *values,
                            qp_error *err) {
  const unsigned tiles = (count + LANES - 1) / LANES;
  float *table = aligned_alloc(64, sizeof *table * tiles * (1 + dim) * LANES);
  if (!table) return qp_fail(err, QP_E_NOMEM, "no memory for a table of %u codes", count);
  for (unsigned code = 0; code < tiles * LANES; code++) {
    float *at = table + (size_t)(code / LANES) * (1 + dim) * LANES + code % LANES;
    float square = code < count ? 0 : INFINITY;
    for (unsigned i = 0; i < dim; i++) {
      float v = code < count ? values[(size_t)code * dim + i] : 0;
      square = fmaf(v, v, square);
      at[(1 + i) * LANES] = -2 * v;
    }
    at[0] = square;
  }
  *c = (qp_codewords){
      .count = count, .dim = dim, .tiles = tiles, .table = table, .simd = (int)qp_simd()};
  if (count < QP_TREE_LEAST || dim < QP_TREE_LEAST_DIM) return QP_OK;
  const qp_status status = qp_codeword_tree_new(count, dim, values, &c->tree, err);
  if (status) qp_codewords_free(c);
  return status;
}

void qp_codewords_free(qp_codewords *c) {
  qp_codeword_tree_free(c->tree);
  free(c->table);
  *c = (qp_codewords){0};
}

/* The least of 16 sums, and of equals the lowest code. */
static uint32_t least_of(const float *least, const uint32_t *tile) {
  unsigned best = 0;
  for (unsigned l = 1; l < LANES; l++) {
    if (least[l] < least[best] || (!(least[best] < least[l]) && tile[l] < tile[best])) best = l;
  }
  return tile[best] * LANES + best;
}

static uint32_t nearest_plain(const qp_codewords *c, const float *x) {
  float least[LANES];
  uint32_t tile_of[LANES] = {0};
  for (unsigned l = 0; l < LANES; l++) least[l] = INFINITY;
  for (unsigned tile = 0; tile < c->tiles; tile++) {
    const float *row = c->table + (size_t)tile * (1 + c->dim) * LANES;
    for (unsigned l = 0; l < LANES; l++) {
      float d = row[l];
      for (unsigned i = 0; i < c->dim; i++) d = fmaf(x[i], row[(1 + i) * LANES + l], d);
      if (d < least[l]) least[l] = d, tile_of[l] = tile;
    }
  }
  return least_of(least, tile_of);
}

#ifdef QP_X86
#include <immintrin.h>

/* As least_of does: all lanes get the least sum, then the lowest code that has it. */
QP_AVX2_INLINE uint32_t least_of_avx2(const __m256 *sum, const __m256i *tile) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), none = _mm256_set1_epi32(-1);
  __m256 low = _mm256_min_ps(sum[0], sum[1]);
  low = _mm256_min_ps(low, _mm256_permute2f128_ps(low, low, 1));
  low = _mm256_min_ps(low, _mm256_permute_ps(low, 0x4e));
  low = _mm256_min_ps(low, _mm256_permute_ps(low, 0xb1));
  __m256i code[2];
  QP_UNROLL for (unsigned half = 0; half < 2; half++) {
    const __m256i here = _mm256_castps_si256(_mm256_cmp_ps(sum[half], low, _CMP_EQ_OQ));
    const __m256i number = _mm256_add_epi32(
        _mm256_slli_epi32(tile[half], 4), _mm256_add_epi32(lane, _mm256_set1_epi32(8 * (int)half)));
    code[half] = _mm256_blendv_epi8(none, number, here);
  }
  __m256i best = _mm256_min_epu32(code[0], code[1]);
  best = _mm256_min_epu32(best, _mm256_permute2x128_si256(best, best, 1));
  best = _mm256_min_epu32(best, _mm256_shuffle_epi32(best, 0x4e));
  best = _mm256_min_epu32(best, _mm256_shuffle_epi32(best, 0xb1));
  return (uint32_t)_mm256_extract_epi32(best, 0);
}

/* Two targets at a time: they share the table's loads. */
QP_AVX2_INLINE void pair_avx2(const qp_codewords *c, unsigned dim, const float *const *target,
                              uint32_t *code) {
  __m256 x[2][QP_NEAREST_DIM] = {{{0}}}, least[2][2];
  __m256i from[2][2], number = _mm256_setzero_si256();
  const __m256i one = _mm256_set1_epi32(1);
  const float *row = c->table;
  QP_UNROLL for (unsigned k = 0; k < 2; k++) {
    QP_UNROLL for (unsigned i = 0; i < dim; i++) x[k][i] = _mm256_set1_ps(target[k][i]);
    least[k][0] = least[k][1] = _mm256_set1_ps(INFINITY);
    from[k][0] = from[k][1] = number;
  }
  for (unsigned tile = 0; tile < c->tiles; tile++, row += (1 + dim) * LANES) {
    QP_UNROLL for (unsigned k = 0; k < 2; k++) {
      QP_UNROLL for (unsigned half = 0; half < 2; half++) {
        __m256 d = _mm256_loadu_ps(row + 8 * half);
        QP_UNROLL for (unsigned i = 0; i < dim; i++) d =
            _mm256_fmadd_ps(x[k][i], _mm256_loadu_ps(row + (1 + i) * LANES + 8 * half), d);
        __m256 less = _mm256_cmp_ps(d, least[k][half], _CMP_LT_OQ);
        least[k][half] = _mm256_min_ps(d, least[k][half]);
        from[k][half] = _mm256_blendv_epi8(from[k][half], number, _mm256_castps_si256(less));
      }
    }
    number = _mm256_add_epi32(number, one);
  }
  for (unsigned k = 0; k < 2; k++) code[k] = least_of_avx2(least[k], from[k]);
}

/* Sixteen scalars or pairs at a time, one a lane: codes come one by one, the lowest first. */
QP_AVX2_INLINE void lanes_avx2(const qp_codewords *c, unsigned dim, const float *targets,
                               uint32_t *codes) {
  __m256 x[2][2], least[2];
  __m256i best[2], number = _mm256_setzero_si256();
  const __m256i one = _mm256_set1_epi32(1), even = _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14);
  QP_UNROLL for (unsigned k = 0; k < 2; k++) {
    const float *from = targets + (size_t)8 * k * dim;
    x[k][0] = dim == 1 ? _mm256_loadu_ps(from) : _mm256_i32gather_ps(from, even, 4);
    x[k][1] = dim == 1 ? x[k][0] : _mm256_i32gather_ps(from + 1, even, 4);
    least[k] = _mm256_set1_ps(INFINITY);
    best[k] = number;
  }
  for (unsigned code = 0; code < c->count; code++) {
    const float *at = c->table + (size_t)(code / LANES) * (1 + dim) * LANES + code % LANES;
    QP_UNROLL for (unsigned k = 0; k < 2; k++) {
      __m256 d = _mm256_broadcast_ss(at);
      QP_UNROLL for (unsigned i = 0; i < dim; i++) d =
          _mm256_fmadd_ps(x[k][i], _mm256_broadcast_ss(at + (size_t)(1 + i) * LANES), d);
      const __m256 less = _mm256_cmp_ps(d, least[k], _CMP_LT_OQ);
      least[k] = _mm256_min_ps(d, least[k]);
      best[k] = _mm256_blendv_epi8(best[k], number, _mm256_castps_si256(less));
    }
    number = _mm256_add_epi32(number, one);
  }
  QP_UNROLL for (unsigned k = 0; k < 2; k++)
      _mm256_storeu_si256((__m256i *)(void *)(codes + 8 * k), best[k]);
}

QP_AVX2 static void sixteen_avx2(const qp_codewords *c, const float *targets, uint32_t *codes) {
  if (c->dim == 1) return lanes_avx2(c, 1, targets, codes);
  lanes_avx2(c, 2, targets, codes);
}

QP_AVX2 static void nearest_avx2(const qp_codewords *c, const float *const *target,
                                 uint32_t *code) {
  switch (c->dim) {
  case 1: pair_avx2(c, 1, target, code); break;
  case 2: pair_avx2(c, 2, target, code); break;
  case 4: pair_avx2(c, 4, target, code); break;
  case 8: pair_avx2(c, 8, target, code); break;
  default: pair_avx2(c, c->dim, target, code);
  }
}
#endif

void qp_codewords_nearest(const qp_codewords *c, size_t n, const float *targets, uint32_t *codes) {
  size_t i = 0;
  if (c->tree) {
    for (; i < n; i++) codes[i] = qp_codeword_tree_nearest(c->tree, targets + i * c->dim);
    return;
  }
#ifdef QP_X86
  if (c->simd >= QP_SIMD_AVX2) {
    for (; c->dim <= 2 && i + LANES <= n; i += LANES)
      sixteen_avx2(c, targets + i * c->dim, codes + i);
    for (; i < n; i += 2) {
      const size_t second = i + 1 < n ? i + 1 : i;
      const float *target[2] = {targets + i * c->dim, targets + second * c->dim};
      uint32_t code[2];
      nearest_avx2(c, target, code);
      codes[i] = code[0];
      codes[second] = code[second - i];
    }
    return;
  }
#endif
  for (; i < n; i++) codes[i] = nearest_plain(c, targets + i * c->dim);
}

/* ---- Errors alone ---- */

enum { SUMS = 8 /* each of every eighth target; they are added in a fixed order */, CHUNK = 32 };

static float sum_of(const float *sum) {
  return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

/* Find the least |t|^2 - 2 x t over all codes, for dim 1. */
static float least_single(const qp_codewords *c, float x) {
  float least = INFINITY;
  for (unsigned code = 0; code < c->count; code++) {
    const float *at = c->table + (size_t)(code / LANES) * 2 * LANES + code % LANES;
    const float d = fmaf(x, at[LANES], at[0]);
    least = d < least ? d : least;
  }
  return least;
}

static void add_plain(const qp_codewords *c, size_t n, const float *targets, float *sum) {
  for (size_t i = 0; i < n; i++)
    sum[i % SUMS] += fmaf(targets[i], targets[i], least_single(c, targets[i]));
}

#ifdef QP_X86
/* Let thirty-two targets at a time share each code. */
QP_AVX2 static void add_chunk_avx2(const qp_codewords *c, const float *targets, float *sum) {
  __m256 x[CHUNK / SUMS], least[CHUNK / SUMS];
  QP_UNROLL for (unsigned k = 0; k < CHUNK / SUMS; k++) {
    x[k] = _mm256_loadu_ps(targets + SUMS * k);
    least[k] = _mm256_set1_ps(INFINITY);
  }
  for (unsigned code = 0; code < c->count; code++) {
    const float *at = c->table + (size_t)(code / LANES) * 2 * LANES + code % LANES;
    const __m256 square = _mm256_set1_ps(at[0]), twice = _mm256_set1_ps(at[LANES]);
    QP_UNROLL for (unsigned k = 0; k < CHUNK / SUMS; k++) least[k] =
        _mm256_min_ps(_mm256_fmadd_ps(x[k], twice, square), least[k]);
  }
  __m256 all = _mm256_loadu_ps(sum);
  QP_UNROLL for (unsigned k = 0; k < CHUNK / SUMS; k++) all =
      _mm256_add_ps(all, _mm256_fmadd_ps(x[k], x[k], least[k]));
  _mm256_storeu_ps(sum, all);
}
#endif

static float error_of_singles(const qp_codewords *c, size_t n, const float *targets, float most) {
  float sum[SUMS] = {0};
  size_t i = 0;
  for (; i + CHUNK <= n; i += CHUNK) {
#ifdef QP_X86
    if (c->simd >= QP_SIMD_AVX2)
      add_chunk_avx2(c, targets + i, sum);
    else
#endif
      add_plain(c, CHUNK, targets + i, sum);
    const float so_far = sum_of(sum);
    if (so_far > most) return so_far;
  }
  add_plain(c, n - i, targets + i, sum);
  return sum_of(sum);
}

float qp_codewords_error(const qp_codewords *c, size_t n, const float *targets, float most) {
  if (c->dim == 1) return error_of_singles(c, n, targets, most);
  float sum = 0;
  for (size_t i = 0; i < n && !(sum > most); i++) {
    const float *x = targets + i * c->dim;
    uint32_t code;
    qp_codewords_nearest(c, 1, x, &code);
    const float *at = c->table + (size_t)(code / LANES) * (1 + c->dim) * LANES + code % LANES;
    float d = at[0];
    for (unsigned e = 0; e < c->dim; e++) d = fmaf(x[e], at[(1 + e) * LANES] + x[e], d);
    sum += d;
  }
  return sum;
}
