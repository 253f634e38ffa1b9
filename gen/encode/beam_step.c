/* SPDX-License-Identifier: MIT */
/* The inner loops of the beam search, for each instruction set.  All of them do the same operations
   in the same order (fused multiply-adds), so that codes do not depend on the machine. */
#include "gen/encode/beam_step.h"

#include <math.h>
#include <stdbool.h>

#include "gen/base/simd.h"
#include "runtime/half.h"

enum {
  LANES = 8,
  AHEAD = 12,
  /* survivors whose rows of the table are fetched early */ PENDING = 1024
};

static inline const uint16_t *row_of(const qp_beam *b, uint32_t group) {
  return b->table + (size_t)group * b->dim * b->padded;
}

/* A candidate to its list, unless the one before it leads to the same group and is better; 'rest'
   is what stays of the parent's group. */
static inline void add(const qp_candidates out, unsigned code, float sum, unsigned parent,
                       uint32_t rest) {
  const unsigned n = out.count[code];
  qp_candidate *to = out.list + code * out.room + n;
  const bool same = out.last[code] == rest && n; /* a path that meets the one before it */
  if (same && !(sum < to[-1].sum)) return;
  to[-(int)same] = (qp_candidate){sum, parent};
  out.last[code] = rest;
  out.count[code] = n + !same;
}

/* ---- Any machine ---- */

/* sum + |x - t|^2 for eight codes from 'code' on. */
static void eight(const qp_beam *b, const uint16_t *row, unsigned code, const float *x, float sum,
                  float *out) {
  for (unsigned l = 0; l < LANES; l++) out[l] = sum;
  for (unsigned i = 0; i < b->dim; i++)
    for (unsigned l = 0; l < LANES; l++) {
      const float d = x[i] - qp_half_to_float(row[i * b->padded + code + l]);
      out[l] = fmaf(d, d, out[l]);
    }
}

static unsigned sample_plain(const qp_beam *b, const qp_survivors *s, const float *x,
                             unsigned first, unsigned stride, float *out) {
  unsigned n = 0;
  for (unsigned i = first; i < s->count; i += stride) {
    const uint16_t *row = row_of(b, s->group[i]);
    for (unsigned code = 0; code < b->fan; code += LANES) {
      eight(b, row, code, x, s->sum[i], out + n);
      n += b->fan < LANES ? b->fan : LANES;
    }
  }
  return n;
}

static void expand_plain(const qp_beam *b, const qp_survivors *s, const float *x, float limit,
                         qp_candidates *out) {
  for (unsigned i = 0; i < s->count; i++) {
    if (!(s->sum[i] < limit)) continue;
    const uint16_t *row = row_of(b, s->group[i]);
    for (unsigned code = 0; code < b->fan; code += LANES) {
      float sum[LANES];
      eight(b, row, code, x, s->sum[i], sum);
      for (unsigned l = 0; l < LANES && code + l < b->fan; l++)
        if (sum[l] < limit) add(*out, code + l, sum[l], i, s->group[i] >> b->step);
    }
  }
}

/* ---- AVX2 ---- */

#ifdef QP_X86
#include <immintrin.h>

QP_AVX2_INLINE __m256 eight_avx2(const uint16_t *row, unsigned padded, unsigned dim,
                                 const __m256 *x, __m256 sum) {
  QP_UNROLL for (unsigned i = 0; i < dim; i++) {
    const __m128i halves = _mm_loadu_si128((const __m128i *)(const void *)(row + i * padded));
    const __m256 d = _mm256_sub_ps(x[i], _mm256_cvtph_ps(halves));
    sum = _mm256_fmadd_ps(d, d, sum);
  }
  return sum;
}

QP_AVX2_INLINE void fetch(const qp_beam *b, const qp_survivors *s, unsigned i) {
  if (i >= s->count) return;
  const char *row = (const char *)row_of(b, s->group[i]);
  const size_t bytes = sizeof(uint16_t) * b->dim * b->padded;
  for (size_t at = 0; at < bytes && at < 512; at += 64) _mm_prefetch(row + at, _MM_HINT_T0);
}

QP_AVX2_INLINE unsigned sample_dim(const qp_beam *b, const qp_survivors *s, const float *target,
                                   unsigned first, unsigned stride, unsigned dim, float *out) {
  __m256 x[QP_BEAM_DIM] = {{0}};
  unsigned n = 0;
  QP_UNROLL for (unsigned i = 0; i < dim; i++) x[i] = _mm256_set1_ps(target[i]);
  for (unsigned i = first; i < s->count; i += stride) {
    const uint16_t *row = row_of(b, s->group[i]);
    fetch(b, s, i + AHEAD * stride);
    for (unsigned code = 0; code < b->fan; code += LANES) {
      const __m256 sum = eight_avx2(row + code, b->padded, dim, x, _mm256_set1_ps(s->sum[i]));
      _mm256_storeu_ps(out + n, sum);
      n += b->fan < LANES ? b->fan : LANES;
    }
  }
  return n;
}

/* Candidates on their way to the lists, in the order in which they were found. */
typedef struct pending {
  unsigned count;
  float sum[PENDING + LANES];
  uint32_t path[PENDING + LANES]; /* parent << step | code */
} pending;

static void hand_on(const qp_beam *b, const qp_survivors *s, pending *p, const qp_candidates to) {
  const unsigned step = b->step, count = p->count;
  const uint32_t mask = b->fan - 1;
  for (unsigned i = 0; i < count; i++) {
    const uint32_t parent = p->path[i] >> step;
    add(to, p->path[i] & mask, p->sum[i], parent, s->group[parent] >> step);
  }
  p->count = 0;
}

/* The lanes of 'mask', moved together. */
QP_AVX2_INLINE __m256i places_of(unsigned mask) {
  static const uint64_t identity = 0x0706050403020100;
  const uint64_t bytes = _pdep_u64(mask, 0x0101010101010101) * 0xff;
  return _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)_pext_u64(identity, bytes)));
}

/* 'rare': few of eight neighbours pass, so that it pays to ask whether one does. */
QP_AVX2_INLINE void expand_dim(const qp_beam *b, const qp_survivors *s, const float *target,
                               float limit, unsigned dim, bool rare, qp_candidates *out) {
  const unsigned fan = b->fan, padded = b->padded, step = b->step, count = s->count;
  const unsigned all = fan < LANES ? (1u << fan) - 1 : 0xff;
  const __m256 most = _mm256_set1_ps(limit);
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  __m256 x[QP_BEAM_DIM] = {{0}};
  pending p = {.count = 0};
  QP_UNROLL for (unsigned i = 0; i < dim; i++) x[i] = _mm256_set1_ps(target[i]);
  for (unsigned i = 0; i < count; i++) {
    fetch(b, s, i + AHEAD);
    if (!(s->sum[i] < limit)) continue;
    const uint16_t *row = row_of(b, s->group[i]);
    const __m256 from = _mm256_set1_ps(s->sum[i]);
    for (unsigned code = 0; code < fan; code += LANES) {
      const __m256 sum = eight_avx2(row + code, padded, dim, x, from);
      const unsigned less =
          (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(sum, most, _CMP_LT_OQ)) & all;
      if (rare && !less) continue;
      const __m256i places = places_of(less);
      const __m256i path = _mm256_add_epi32(_mm256_set1_epi32((int)(i << step | code)), lane);
      _mm256_storeu_ps(p.sum + p.count, _mm256_permutevar8x32_ps(sum, places));
      _mm256_storeu_si256((__m256i *)(void *)(p.path + p.count),
                          _mm256_permutevar8x32_epi32(path, places));
      p.count += (unsigned)__builtin_popcount(less);
      if (p.count >= PENDING) hand_on(b, s, &p, *out);
    }
  }
  hand_on(b, s, &p, *out);
}

QP_AVX2 static unsigned sample_avx2(const qp_beam *b, const qp_survivors *s, const float *x,
                                    unsigned first, unsigned stride, float *out) {
  switch (b->dim) {
  case 1: return sample_dim(b, s, x, first, stride, 1, out);
  case 2: return sample_dim(b, s, x, first, stride, 2, out);
  case 4: return sample_dim(b, s, x, first, stride, 4, out);
  default: return sample_dim(b, s, x, first, stride, b->dim, out);
  }
}

QP_AVX2 static void expand_avx2(const qp_beam *b, const qp_survivors *s, const float *x,
                                float limit, qp_candidates *out) {
  const bool rare = b->fan > 32;
  switch (b->dim) {
  case 1: expand_dim(b, s, x, limit, 1, rare, out); break;
  case 2:
    rare ? expand_dim(b, s, x, limit, 2, true, out) : expand_dim(b, s, x, limit, 2, false, out);
    break;
  case 4: expand_dim(b, s, x, limit, 4, rare, out); break;
  default: expand_dim(b, s, x, limit, b->dim, rare, out);
  }
}
#endif

qp_beam_step qp_beam_step_choose(void) {
#ifdef QP_X86
  if (qp_simd() >= QP_SIMD_AVX2) return (qp_beam_step){sample_avx2, expand_avx2};
#endif
  return (qp_beam_step){sample_plain, expand_plain};
}
