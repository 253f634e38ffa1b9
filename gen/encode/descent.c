/* SPDX-License-Identifier: MIT */
/* Coordinate descent on codes, a column of 32 rows at a time.  Few codes change: what a change adds
   to a row's slopes is added at once. */
#include "gen/encode/descent.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "gen/base/simd.h"

enum {
  ROWS = 32,
  BLOCK = 64 /* columns in hand: rows of H that stay near while all rows take up their changes */
};

/* The columns [at, at + n) in hand, of all rows side by side. */
typedef struct block {
  const qp_feedback *f;
  unsigned at, n, dim, states;
  bool wide;     /* by vectors of AVX2 */
  bool shared;   /* all rows have one table */
  float *slopes; /* [32][columns] */
  float slope[BLOCK][ROWS], value[BLOCK][ROWS];
} block;

static float h_at(const qp_feedback *f, size_t i, size_t k) {
  return f->hessian[i * f->columns + k];
}

/* ---- Slopes of a row ---- */

static void add_plain(size_t from, size_t n, float by, const float *h, float *slope) {
  for (size_t c = from; c < n; c++) slope[c] += by * h[c];
}

#ifdef QP_X86
#include <immintrin.h>

enum { LANES = 8 };

/* The same, and how far it came. */
QP_AVX2 static size_t add_avx2(size_t n, float by, const float *h, float *slope) {
  const __m256 v = _mm256_set1_ps(by);
  size_t c = 0;
  for (; c + LANES <= n; c += LANES)
    _mm256_storeu_ps(slope + c, _mm256_add_ps(_mm256_loadu_ps(slope + c),
                                              _mm256_mul_ps(v, _mm256_loadu_ps(h + c))));
  return c;
}
#endif

/* Weight k of row r has changed by 'by'; the columns in hand behind it have their slopes apart. */
static void add_change(block *b, unsigned r, unsigned k, float by) {
  const size_t n = b->f->columns;
  const float *h = b->f->hessian + k * n;
  float *slope = b->slopes + r * n;
  size_t from = 0;
#ifdef QP_X86
  if (b->wide) from = add_avx2(n, by, h, slope);
#endif
  add_plain(from, n, by, h, slope);
  slope[k] += (float)b->f->added * by;
  for (unsigned c = k + 1 - b->at; c < b->n; c++) b->slope[c][r] += by * h[b->at + c];
}

/* ---- The best codes of a column ---- */

/* Scalars: the loss is a parabola of each, and the nearest code to its lowest point is the best. */
static void best_scalars(const block *b, const qp_descent_row *row, unsigned i, uint32_t *best) {
  const float h = h_at(b->f, b->at + i, b->at + i) + (float)b->f->added;
  float target[ROWS];
  if (!(h > 0)) return;
  for (unsigned r = 0; r < ROWS; r++) target[r] = b->value[i][r] - b->slope[i][r] / h;
  if (b->shared) {
    qp_codewords_nearest(row->nearest, ROWS, target, best);
    return;
  }
  for (unsigned r = 0; r < ROWS; r++)
    if (row[r].table) qp_codewords_nearest(row[r].nearest, 1, target + r, best + r);
}

/*
** Pairs: where t takes the place of v the loss changes by  2 slope.(t - v) + (t - v) H (t - v)^T,
** which is  t H t^T + 2 t.(slope - v H)  but for what all t share.
*/
typedef struct pairs {
  float p, q, r;                 /* H of both, q twice */
  float twice[2][ROWS];          /* 2 (slope - v H) */
  float alone[QP_DESCENT_PAIRS]; /* t H t^T of all codes */
} pairs;

static void weigh_codes(pairs *a, const float *table, uint32_t states) {
  for (uint32_t i = 0; i < states; i++) {
    const float x = table[2 * i], y = table[2 * i + 1];
    a->alone[i] = x * (a->p * x + a->q * y) + a->r * y * y;
  }
}

static float loss_of(const pairs *a, const float *table, unsigned r, uint32_t code) {
  return fmaf(a->twice[1][r], table[2 * code + 1],
              fmaf(a->twice[0][r], table[2 * code], a->alone[code]));
}

/* The first code of those that lose least, if it is less than the row's own loses. */
static uint32_t least_pair(const pairs *a, const float *table, uint32_t states, unsigned r,
                           uint32_t own) {
  float least = loss_of(a, table, r, own);
  uint32_t best = own;
  for (uint32_t i = 0; i < states; i++) {
    const float loss = loss_of(a, table, r, i);
    if (loss < least) least = loss, best = i;
  }
  return best;
}

#ifdef QP_X86
/* The same for sixteen rows from r on, one a lane. */
QP_AVX2 static void least_pairs_avx2(const pairs *a, const float *table, uint32_t states,
                                     unsigned r, uint32_t *best) {
  __m256 least[2], by[2][2];
  __m256i code[2], number = _mm256_setzero_si256();
  const __m256i one = _mm256_set1_epi32(1);
  QP_UNROLL for (unsigned k = 0; k < 2; k++) {
    code[k] = _mm256_loadu_si256((const __m256i *)(const void *)(best + LANES * k));
    least[k] = _mm256_i32gather_ps(a->alone, code[k], 4);
    QP_UNROLL for (unsigned e = 0; e < 2; e++) {
      by[k][e] = _mm256_loadu_ps(a->twice[e] + r + LANES * k);
      least[k] = _mm256_fmadd_ps(by[k][e], _mm256_i32gather_ps(table + e, code[k], 8), least[k]);
    }
  }
  for (uint32_t i = 0; i < states; i++) {
    QP_UNROLL for (unsigned k = 0; k < 2; k++) {
      __m256 loss = _mm256_broadcast_ss(a->alone + i);
      loss = _mm256_fmadd_ps(by[k][0], _mm256_broadcast_ss(table + 2 * i), loss);
      loss = _mm256_fmadd_ps(by[k][1], _mm256_broadcast_ss(table + 2 * i + 1), loss);
      const __m256 less = _mm256_cmp_ps(loss, least[k], _CMP_LT_OQ);
      least[k] = _mm256_min_ps(loss, least[k]);
      code[k] = _mm256_blendv_epi8(code[k], number, _mm256_castps_si256(less));
    }
    number = _mm256_add_epi32(number, one);
  }
  QP_UNROLL for (unsigned k = 0; k < 2; k++)
      _mm256_storeu_si256((__m256i *)(void *)(best + LANES * k), code[k]);
}
#endif

static void best_pairs(const block *b, const qp_descent_row *row, unsigned i, uint32_t *best) {
  const float added = (float)b->f->added;
  const size_t k = b->at + i;
  pairs a = {.p = h_at(b->f, k, k) + added,
             .q = 2 * h_at(b->f, k, k + 1),
             .r = h_at(b->f, k + 1, k + 1) + added};
  for (unsigned r = 0; r < ROWS; r++) {
    const float x = b->value[i][r], y = b->value[i + 1][r];
    a.twice[0][r] = 2 * (b->slope[i][r] - a.p * x) - a.q * y;
    a.twice[1][r] = 2 * (b->slope[i + 1][r] - a.r * y) - a.q * x;
  }
  if (b->shared) weigh_codes(&a, row->table, b->states);
#ifdef QP_X86
  if (b->shared && b->wide) {
    for (unsigned r = 0; r < ROWS; r += 2 * LANES)
      least_pairs_avx2(&a, row->table, b->states, r, best + r);
    return;
  }
#endif
  for (unsigned r = 0; r < ROWS; r++) {
    if (!row[r].table) continue;
    if (!b->shared) weigh_codes(&a, row[r].table, b->states);
    best[r] = least_pair(&a, row[r].table, b->states, r, best[r]);
  }
}

/* The codes of all rows from column at + i on; their places in a row's codes are 'place'. */
static void choose(block *b, const qp_descent_row *row, unsigned i, size_t place, float *values) {
  uint32_t best[ROWS];
  for (unsigned r = 0; r < ROWS; r++) best[r] = row[r].table ? row[r].code[place] : 0;
  if (b->dim == 1)
    best_scalars(b, row, i, best);
  else
    best_pairs(b, row, i, best);
  for (unsigned r = 0; r < ROWS; r++) {
    if (!row[r].table || best[r] == row[r].code[place]) continue;
    row[r].code[place] = best[r];
    for (unsigned e = 0; e < b->dim; e++) {
      const float now = row[r].table[(size_t)best[r] * b->dim + e], by = now - b->value[i + e][r];
      values[r * b->f->columns + b->at + i + e] = now;
      add_change(b, r, b->at + i + e, by);
    }
  }
}

static bool have_one_table(const qp_descent_row *row) {
  for (unsigned r = 0; r < ROWS; r++)
    if (row[r].table && row[r].table != row->table) return false;
  return row->table != NULL;
}

void qp_descend(const qp_feedback *f, unsigned first, unsigned end, unsigned dim, unsigned states,
                const qp_descent_row row[32], float *values, float *slopes) {
  const size_t columns = f->columns;
  block b = {.f = f, .dim = dim, .states = states, .slopes = slopes};
  b.wide = qp_simd() >= QP_SIMD_AVX2;
  b.shared = have_one_table(row);
  for (b.at = first; b.at < end; b.at += BLOCK) {
    b.n = end - b.at < BLOCK ? end - b.at : BLOCK;
    for (size_t r = 0; r < ROWS; r++)
      for (unsigned i = 0; i < b.n; i++) {
        b.slope[i][r] = slopes[r * columns + b.at + i];
        b.value[i][r] = values[r * columns + b.at + i];
      }
    for (unsigned i = 0; i < b.n; i += dim) choose(&b, row, i, (b.at - first + i) / dim, values);
  }
}
