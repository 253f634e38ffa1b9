/* SPDX-License-Identifier: MIT */
/* Coordinate descent on codes, some columns at a time. */
#include "gen/encode/descent.h"

#include <stdbool.h>
#include <string.h>

#include "gen/base/simd.h"

enum { ROWS = 32, BLOCK = 64 /* columns between two products with all of H */ };

/* The columns [at, at + n) in hand; slope is e H of these columns as it stands now. */
typedef struct block {
  const qp_feedback *f;
  unsigned at, n, dim, states;
  bool wide; /* by vectors of AVX2 */
  float slope[ROWS][BLOCK];
} block;

static float h_at(const qp_feedback *f, unsigned i, unsigned k) {
  return f->hessian[(size_t)i * f->columns + k];
}

/* A scalar: the loss is a parabola of it, and the nearest code to its lowest point is the best. */
static uint32_t best_scalar(const block *b, const qp_descent_row *row, unsigned k, float v,
                            float slope, uint32_t code) {
  const float h = h_at(b->f, k, k) + (float)b->f->added;
  if (!(h > 0)) return code;
  const float target = v - slope / h;
  uint32_t best;
  qp_codewords_nearest(row->nearest, 1, &target, &best);
  return best;
}

/* A pair: with d = t - v of a code t the loss changes by  2 slope.d + d H d^T. */
typedef struct parabola {
  float v[2], twice[2]; /* twice the slope */
  float p, q, r;        /* H of both, q twice */
} parabola;

/* The least change of the codes [from, states), if it is below 'least'. */
static uint32_t least_pair(const parabola *a, const float *table, uint32_t from, uint32_t states,
                           float least, uint32_t best) {
  for (uint32_t i = from; i < states; i++) {
    const float x = table[2 * i] - a->v[0], y = table[2 * i + 1] - a->v[1];
    const float change = x * (a->twice[0] + a->p * x + a->q * y) + y * (a->twice[1] + a->r * y);
    if (change < least) least = change, best = i;
  }
  return best;
}

#ifdef QP_X86
#include <immintrin.h>

enum { LANES = 8 };

/* The least of what the lanes have found, and of equals the first code. */
QP_AVX2_INLINE void least_lane(__m256 least, __m256i at, float *lowest, uint32_t *best) {
  float v[LANES];
  uint32_t i[LANES];
  _mm256_storeu_ps(v, least);
  _mm256_storeu_si256((__m256i *)(void *)i, at);
  for (unsigned k = 0; k < LANES; k++) {
    if (!(v[k] < *lowest) && !(v[k] == *lowest && v[k] < 0 && i[k] < *best)) continue;
    *lowest = v[k];
    *best = i[k];
  }
}

/* The same operations in the same order for eight codes at once. */
QP_AVX2 static uint32_t least_pair_avx2(const parabola *a, const float *table, uint32_t states,
                                        uint32_t code) {
  const __m256 vx = _mm256_set1_ps(a->v[0]), vy = _mm256_set1_ps(a->v[1]);
  const __m256 sx = _mm256_set1_ps(a->twice[0]), sy = _mm256_set1_ps(a->twice[1]);
  const __m256 p = _mm256_set1_ps(a->p), q = _mm256_set1_ps(a->q), r = _mm256_set1_ps(a->r);
  __m256i at = _mm256_setr_epi32(0, 1, 4, 5, 2, 3, 6, 7), best = _mm256_set1_epi32((int)code);
  __m256 least = _mm256_setzero_ps();
  uint32_t i = 0;
  for (; i + LANES <= states; i += LANES, at = _mm256_add_epi32(at, _mm256_set1_epi32(LANES))) {
    const __m256 low = _mm256_loadu_ps(table + 2 * i),
                 high = _mm256_loadu_ps(table + 2 * i + LANES);
    const __m256 x = _mm256_sub_ps(_mm256_shuffle_ps(low, high, 0x88), vx);
    const __m256 y = _mm256_sub_ps(_mm256_shuffle_ps(low, high, 0xdd), vy);
    const __m256 first = _mm256_add_ps(_mm256_add_ps(sx, _mm256_mul_ps(p, x)), _mm256_mul_ps(q, y));
    const __m256 second = _mm256_add_ps(sy, _mm256_mul_ps(r, y));
    const __m256 change = _mm256_add_ps(_mm256_mul_ps(x, first), _mm256_mul_ps(y, second));
    const __m256 less = _mm256_cmp_ps(change, least, _CMP_LT_OQ);
    least = _mm256_blendv_ps(least, change, less);
    best = _mm256_blendv_epi8(best, at, _mm256_castps_si256(less));
  }
  float lowest = 0;
  least_lane(least, best, &lowest, &code);
  return least_pair(a, table, i, states, lowest, code);
}
#endif

static uint32_t best_pair(const block *b, const qp_descent_row *row, unsigned k, const float *v,
                          const float *slope, uint32_t code) {
  const float added = (float)b->f->added;
  const parabola a = {.v = {v[0], v[1]},
                      .twice = {2 * slope[0], 2 * slope[1]},
                      .p = h_at(b->f, k, k) + added,
                      .q = 2 * h_at(b->f, k, k + 1),
                      .r = h_at(b->f, k + 1, k + 1) + added};
#ifdef QP_X86
  if (b->wide) return least_pair_avx2(&a, row->table, b->states, code);
#endif
  return least_pair(&a, row->table, 0, b->states, 0, code);
}

/* Code u of row r, of the columns from at + i on; 'moved' gets what its values change by. */
static void choose(block *b, const qp_descent_row *row, unsigned r, unsigned i, uint32_t *code,
                   float *values, float *moved) {
  const unsigned k = b->at + i;
  const float *slope = b->slope[r] + i;
  const uint32_t best = b->dim == 1 ? best_scalar(b, row, k, *values, *slope, *code)
                                    : best_pair(b, row, k, values, slope, *code);
  if (best == *code) return;
  *code = best;
  for (unsigned e = 0; e < b->dim; e++) {
    const float now = row->table[(size_t)best * b->dim + e];
    moved[e] = now - values[e];
    values[e] = now;
    for (unsigned c = i + b->dim; c < b->n; c++)
      b->slope[r][c] += moved[e] * h_at(b->f, k + e, b->at + c);
  }
}

void qp_descend(const qp_feedback *f, unsigned first, unsigned end, unsigned dim, unsigned states,
                const qp_descent_row row[32], float *values, float *slopes, float *scratch) {
  const size_t columns = f->columns;
  const bool wide = qp_simd() >= QP_SIMD_AVX2;
  memset(scratch, 0, sizeof *scratch * ROWS * columns);
  for (unsigned at = first; at < end; at += BLOCK) {
    block b = {.f = f, .at = at, .n = end - at < BLOCK ? end - at : BLOCK, .dim = dim};
    b.states = states;
    b.wide = wide;
    for (size_t r = 0; r < ROWS; r++) {
      memcpy(b.slope[r], slopes + r * columns + at, sizeof(float) * b.n);
      for (unsigned i = 0; i < b.n && row[r].table; i += dim)
        choose(&b, &row[r], (unsigned)r, i, &row[r].code[(at + i - first) / dim],
               values + r * columns + at + i, scratch + r * columns + at + i);
    }
    qp_feedback_slopes(f, at, at + b.n, scratch, slopes);
    for (size_t r = 0; r < ROWS; r++)
      for (size_t i = r * columns + at; i < r * columns + at + b.n; i++)
        slopes[i] += (float)f->added * scratch[i];
  }
}
