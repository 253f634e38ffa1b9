/* SPDX-License-Identifier: MIT */
/* Nearest levels: by rounding where they are even, else by halving. */
#include "gen/encode/levels.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/simd.h"

enum {
  LANES = 8,    /* sums are kept of every eighth target each */
  FEW_DEPTH = 4 /* levels that two vectors hold */
};

/* Are values a line through the first and the last, but for rounding? */
static bool are_even(unsigned count, const double *values, double *apart) {
  *apart = (values[count - 1] - values[0]) / (count - 1);
  for (unsigned i = 0; i < count; i++)
    if (fabs(values[i] - (values[0] + *apart * i)) > 1e-9 * *apart) return false;
  return true;
}

qp_status qp_levels_make(qp_levels *out, unsigned count, const double *values, qp_error *err) {
  qp_levels l = {.count = count, .apart = 1, .simd = (int)qp_simd()};
  while (1u << l.depth < count) l.depth++;
  if (l.depth < FEW_DEPTH) l.depth = FEW_DEPTH;
  const unsigned room = 1u << l.depth;
  double apart;
  l.even = are_even(count, values, &apart);
  if (l.even) l.first = values[0], l.apart = apart;
  l.value = malloc(sizeof *l.value * room);
  l.edge = malloc(sizeof *l.edge * room);
  if (!l.value || !l.edge) {
    qp_levels_free(&l);
    return qp_fail(err, QP_E_NOMEM, "no memory for %u levels", count);
  }
  for (unsigned i = 0; i < room; i++) {
    const unsigned at = i < count ? i : count - 1;
    l.value[i] = l.even ? (float)at : (float)values[at];
    l.edge[i] = i + 1 < count ? (float)((values[i] + values[i + 1]) / 2) : INFINITY;
  }
  *out = l;
  return QP_OK;
}

void qp_levels_set(qp_levels *l, const float *values) {
  l->even = false;
  l->first = 0;
  l->apart = 1;
  for (unsigned i = 0; i < 1u << l->depth; i++) {
    l->value[i] = values[i < l->count ? i : l->count - 1];
    l->edge[i] = i + 1 < l->count ? (values[i] + values[i + 1]) / 2 : INFINITY;
  }
}

void qp_levels_free(qp_levels *l) {
  free(l->value);
  free(l->edge);
  *l = (qp_levels){0};
}

/* ---- Sums ---- */

/* Where a target x stands among the levels: y = p x + r. */
typedef struct line {
  float p, r, a, b;
} line;

enum { EE, EU, E, U, UU, SUMS };
typedef float lanes[SUMS][LANES];

static float total(const float *sum) {
  return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

static float level_plain(const qp_levels *l, float y) {
  if (l->even) {
    const float k = rintf(y), most = (float)(l->count - 1), up = k > 0 ? k : 0;
    return up < most ? up : most;
  }
  unsigned at = 0;
  for (unsigned step = 1u << l->depth >> 1; step; step >>= 1)
    if (y > l->edge[at + step - 1]) at += step;
  return l->value[at];
}

static void add_plain(const qp_levels *l, size_t n, const float *x, const line *t, lanes sum) {
  for (size_t i = 0; i < n; i++) {
    const float u = level_plain(l, fmaf(x[i], t->p, t->r)), e = fmaf(-t->a, u, x[i] - t->b);
    const unsigned at = (unsigned)(i % LANES);
    sum[EE][at] = fmaf(e, e, sum[EE][at]);
    sum[EU][at] = fmaf(e, u, sum[EU][at]);
    sum[E][at] += e;
    sum[U][at] += u;
    sum[UU][at] = fmaf(u, u, sum[UU][at]);
  }
}

#ifdef QP_X86
#include <immintrin.h>

/* Sixteen levels: the halves' edges are looked up in one vector each. */
typedef struct few {
  __m256 edge[FEW_DEPTH], low, high;
} few;

QP_AVX2_INLINE few load_few(const qp_levels *l) {
  few f = {.low = _mm256_loadu_ps(l->value), .high = _mm256_loadu_ps(l->value + LANES)};
  QP_UNROLL for (unsigned d = 0; d < FEW_DEPTH; d++) {
    float edge[LANES] = {0};
    const unsigned step = 1u << FEW_DEPTH >> (d + 1);
    for (unsigned i = 0; i < 1u << d; i++) edge[i] = l->edge[2 * step * i + step - 1];
    f.edge[d] = _mm256_loadu_ps(edge);
  }
  return f;
}

QP_AVX2_INLINE __m256 few_avx2(const few *f, __m256 y) {
  __m256i at = _mm256_setzero_si256();
  QP_UNROLL for (unsigned d = 0; d < FEW_DEPTH; d++) {
    const __m256 edge = _mm256_permutevar8x32_ps(f->edge[d], at);
    const __m256i beyond = _mm256_castps_si256(_mm256_cmp_ps(y, edge, _CMP_GT_OQ));
    at = _mm256_sub_epi32(_mm256_add_epi32(at, at), beyond);
  }
  return _mm256_blendv_ps(_mm256_permutevar8x32_ps(f->low, at),
                          _mm256_permutevar8x32_ps(f->high, at),
                          _mm256_castsi256_ps(_mm256_slli_epi32(at, 28)));
}

QP_AVX2_INLINE __m256 many_avx2(const qp_levels *l, __m256 y) {
  __m256i at = _mm256_setzero_si256();
  for (int step = 1 << l->depth >> 1; step; step >>= 1) {
    const __m256 edge = _mm256_i32gather_ps(l->edge + step - 1, at, 4);
    const __m256i beyond = _mm256_castps_si256(_mm256_cmp_ps(y, edge, _CMP_GT_OQ));
    at = _mm256_add_epi32(at, _mm256_and_si256(beyond, _mm256_set1_epi32(step)));
  }
  return _mm256_i32gather_ps(l->value, at, 4);
}

QP_AVX2_INLINE __m256 even_avx2(__m256 most, __m256 y) {
  const __m256 k = _mm256_round_ps(y, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  return _mm256_min_ps(_mm256_max_ps(k, _mm256_setzero_ps()), most);
}

enum { EVEN, FEW, MANY };

/* As 'total' does. */
QP_AVX2_INLINE float total_avx2(__m256 v) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* Of whole eights these are the totals; of others they are what each lane has before the last,
   incomplete one. */
QP_AVX2_INLINE void add_kind(const qp_levels *l, int kind, size_t n, const float *x, const line *t,
                             lanes sum, float *all) {
  const __m256 p = _mm256_set1_ps(t->p), r = _mm256_set1_ps(t->r);
  const __m256 a = _mm256_set1_ps(t->a), b = _mm256_set1_ps(t->b);
  const __m256 most = _mm256_set1_ps((float)(l->count - 1));
  const few f = load_few(l);
  __m256 s[SUMS];
  QP_UNROLL for (unsigned i = 0; i < SUMS; i++) s[i] = _mm256_setzero_ps();
  for (size_t i = 0; i < n; i += LANES) {
    const __m256 at = _mm256_loadu_ps(x + i), y = _mm256_fmadd_ps(at, p, r);
    const __m256 u = kind == EVEN  ? even_avx2(most, y)
                     : kind == FEW ? few_avx2(&f, y)
                                   : many_avx2(l, y);
    const __m256 e = _mm256_fnmadd_ps(a, u, _mm256_sub_ps(at, b));
    s[EE] = _mm256_fmadd_ps(e, e, s[EE]);
    s[EU] = _mm256_fmadd_ps(e, u, s[EU]);
    s[E] = _mm256_add_ps(s[E], e);
    s[U] = _mm256_add_ps(s[U], u);
    s[UU] = _mm256_fmadd_ps(u, u, s[UU]);
  }
  QP_UNROLL for (unsigned i = 0; i < SUMS; i++) {
    if (sum)
      _mm256_storeu_ps(sum[i], s[i]);
    else
      all[i] = total_avx2(s[i]);
  }
}

QP_AVX2 static void add_avx2(const qp_levels *l, size_t n, const float *x, const line *t, lanes sum,
                             float *all) {
  if (l->even)
    add_kind(l, EVEN, n, x, t, sum, all);
  else if (l->depth <= FEW_DEPTH)
    add_kind(l, FEW, n, x, t, sum, all);
  else
    add_kind(l, MANY, n, x, t, sum, all);
}
#endif

static void add_up(const qp_levels *l, size_t n, const float *x, const line *t, float *all) {
  lanes sum;
  size_t whole = 0;
#ifdef QP_X86
  const bool vectors = l->simd >= QP_SIMD_AVX2;
  if (vectors && n % LANES == 0) {
    add_avx2(l, n, x, t, NULL, all);
    return;
  }
  if (vectors) add_avx2(l, whole = n - n % LANES, x, t, sum, all);
#endif
  if (!whole) memset(sum, 0, sizeof sum);
  add_plain(l, n - whole, x + whole, t, sum);
  for (unsigned i = 0; i < SUMS; i++) all[i] = total(sum[i]);
}

void qp_levels_fit(const qp_levels *l, size_t n, const float *targets, double a, double b,
                   qp_level_sums *out) {
  const double p = a != 0 ? 1 / a : 0;
  const line t = {.p = (float)p, .r = (float)(-b * p), .a = (float)a, .b = (float)b};
  float sum[SUMS];
  add_up(l, n, targets, &t, sum);
  *out = (qp_level_sums){.ee = (double)sum[EE],
                         .eu = (double)sum[EU],
                         .e = (double)sum[E],
                         .u = (double)sum[U],
                         .uu = (double)sum[UU],
                         .n = (double)n};
}
