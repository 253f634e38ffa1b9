/* SPDX-License-Identifier: MIT */
/* The forward step of the trellis search, for each instruction set: all give the same numbers. */
#include "gen/encode/trellis_push.h"

#include <string.h>

#include "gen/base/simd.h"
#include "gen/encode/turn.h"

enum { TURN = QP_TURN };

static inline unsigned least_of(unsigned a, unsigned b) { return a < b ? a : b; }

unsigned qp_push_stride(const qp_trellis *t) {
  return t->fan < QP_CODE_ROWS_LANES ? QP_CODE_ROWS_LANES : t->fan;
}

/* ---- Any machine ---- */

static void squares_plain(const qp_trellis *t, const int16_t *x, uint16_t *square) {
  for (size_t at = 0; at < t->rows.size; at++) {
    unsigned v = 0;
    for (unsigned i = 0; i < t->dim; i++)
      v += qp_metric_square(&t->metric, x[i], t->rows.pool[i * t->rows.size + at]);
    square[at] = (uint16_t)least_of(v, QP_NO_PATH);
  }
}

/* What a code behind group p adds to its sum; 'square': of the pool, or NULL. */
static unsigned square_behind(const qp_trellis *t, uint32_t p, unsigned code, const int16_t *x,
                              const uint16_t *square) {
  const unsigned window = code / t->rows.span, lane = code % t->rows.span;
  const size_t at = (size_t)p * t->rows.windows + window, size = t->rows.size;
  const int16_t *value = t->rows.pool ? t->rows.pool + t->rows.offset[at] + lane
                                      : t->rows.table + at * t->dim * QP_CODE_ROWS_LANES + lane;
  if (square && t->rows.pool) return square[t->rows.offset[at] + lane];
  unsigned v = 0;
  for (unsigned i = 0; i < t->dim; i++)
    v += qp_metric_square(&t->metric, x[i], value[i * (t->rows.pool ? size : QP_CODE_ROWS_LANES)]);
  return v;
}

/* Row b of 'out', and the least of it and 'lowest'. */
static unsigned row_plain(const qp_trellis *t, uint32_t b, unsigned codes, const int16_t *x,
                          const uint16_t *square, const uint16_t *before, uint16_t *row,
                          unsigned lowest) {
  memset(row, 0xff, sizeof *row * qp_push_stride(t));
  for (unsigned j = 0; j < t->fan; j++) {
    const uint32_t p = b * t->fan + j;
    for (unsigned code = 0; before[p] < QP_NO_PATH && code < codes; code++) {
      const unsigned v = before[p] + square_behind(t, p, code, x, square);
      if (v < row[code]) row[code] = (uint16_t)v;
    }
  }
  for (unsigned code = 0; code < codes; code++) lowest = least_of(lowest, row[code]);
  return lowest;
}

static unsigned run_plain(const qp_trellis *t, const int16_t *x, const uint16_t *square,
                          const uint16_t *before, qp_rows_wanted wanted, uint16_t *out) {
  unsigned lowest = QP_NO_PATH;
  for (uint32_t i = 0; i < wanted.count; i++)
    lowest = row_plain(t, wanted.row ? wanted.row[i] : i, wanted.codes, x, square, before,
                       out + (size_t)i * qp_push_stride(t), lowest);
  return lowest;
}

/* Turn rows [b, end) of 'out'. */
static void turn_rows(const qp_trellis *t, const uint16_t *out, uint32_t b, uint32_t end,
                      uint16_t *sums) {
  const uint32_t rows = t->groups / t->fan;
  const unsigned stride = qp_push_stride(t);
  for (; b < end; b++)
    for (unsigned code = 0; code < t->fan; code++)
      sums[(size_t)code * rows + b] = out[(size_t)b * stride + code];
}

static void turn_plain(const qp_trellis *t, const uint16_t *out, uint16_t *sums) {
  turn_rows(t, out, 0, t->groups / t->fan, sums);
}

static unsigned count_plain(unsigned n, const uint16_t *sums, unsigned limit) {
  unsigned count = 0;
  for (unsigned i = 0; i < n; i++) count += sums[i] < limit;
  return count;
}

static void level_plain(unsigned n, unsigned lowest, unsigned limit, uint16_t *sums) {
  for (unsigned i = 0; i < n; i++)
    sums[i] = (uint16_t)(sums[i] < limit ? sums[i] - lowest : QP_NO_PATH);
}

/* Where sums of few groups go. */
typedef struct place {
  uint32_t rows, last; /* of all; the last group */
  unsigned step;
  bool even;
  uint16_t *sums;
  uint64_t *live;
} place;

static place place_of(const qp_trellis *t, bool even, uint16_t *sums, uint64_t *live) {
  return (place){.rows = t->groups / t->fan,
                 .last = t->groups - 1,
                 .step = t->step,
                 .even = even,
                 .sums = sums,
                 .live = live};
}

/* One sum to the group of code 'code' behind row b. */
static inline void place_one(const place *p, uint32_t b, unsigned code, unsigned sum) {
  const uint32_t g = code * p->rows + b, half = p->rows / 2;
  uint32_t next = g >> p->step;
  p->sums[g] = (uint16_t)sum;
  if (p->even) {
    p->sums[p->last - g] = (uint16_t)sum;
    next = next < half ? next : p->rows - 1 - next;
  }
  p->live[next / 64] |= UINT64_C(1) << next % 64;
}

static void place_plain(const qp_trellis *t, qp_rows_wanted rows, bool even, const uint16_t *out,
                        unsigned lowest, unsigned limit, uint16_t *sums, uint64_t *live) {
  const place p = place_of(t, even, sums, live);
  for (unsigned i = 0; i < rows.count; i++)
    for (unsigned code = 0; code < t->fan; code++) {
      const unsigned v = out[(size_t)i * qp_push_stride(t) + code];
      if (v < limit) place_one(&p, rows.row[i], code, v - lowest);
    }
}

static void mirror_plain(unsigned n, uint16_t *v) {
  for (unsigned i = 0; i < n / 2; i++) v[n - 1 - i] = v[i];
}

static uint32_t best_plain(unsigned n, const uint16_t *sums) {
  uint32_t best = 0;
  for (uint32_t g = 1; g < n; g++)
    if (sums[g] < sums[best]) best = g;
  return best;
}

#ifdef QP_X86
#include <immintrin.h>

/* How differences become squares: a constant where the loops are inlined. */
typedef struct form {
  unsigned dim, doublings;
  bool clips;
} form;

/* ---- AVX2 ---- */

QP_AVX2_INLINE __m256i load(const void *from) { return _mm256_loadu_si256((const __m256i *)from); }

/* Say which of up to 64 groups a path leads to. */
QP_AVX2_INLINE uint64_t live_avx2(const qp_trellis *t, const uint16_t *before) {
  const __m256i none = _mm256_set1_epi16(-1);
  uint64_t live = 0;
  for (unsigned i = 0; i < QP_CODE_ROWS_CHUNK && i < t->fan; i += 16) {
    const __m256i gone = _mm256_cmpeq_epi16(load(before + i), none);
    const __m128i bytes =
        _mm_packs_epi16(_mm256_castsi256_si128(gone), _mm256_extracti128_si256(gone, 1));
    live |= (uint64_t)(~(unsigned)_mm_movemask_epi8(bytes) & 0xffff) << i;
  }
  return live;
}

#define NAME(function) function##_avx2
#define TARGET         QP_AVX2
#define INLINE         QP_AVX2_INLINE
#define MM(operation)  _mm256_##operation
#define VECTOR         __m256i
#define WIDTH          16u
#define LOAD(from)     _mm256_load_si256((const __m256i *)(const void *)(from))
#define LOAD_ANY(from) load(from)
#define LEAST(a, b)    _mm256_min_epu16(a, b)
#define STORE(to, v)   _mm256_store_si256((__m256i *)(void *)(to), v)
#include "gen/encode/trellis_push_wide.h"

/* Do so with windows of 64, 32 or 16 codes, and chunks of 64, or all codes. */
QP_AVX2_INLINE __m256i strips_avx2(const qp_trellis *t, const uint16_t *square,
                                   const uint16_t *before, qp_rows_wanted wanted, uint16_t *out) {
  const form none = {.dim = 0};
  const bool wide = t->fan >= QP_CODE_ROWS_CHUNK;
  switch (t->rows.span) {
  case 64: return rows_avx2(t, (shape_avx2){4, 1, false, none}, NULL, square, before, wanted, out);
  case 32:
    return wide ? rows_avx2(t, (shape_avx2){2, 2, false, none}, NULL, square, before, wanted, out)
                : rows_avx2(t, (shape_avx2){2, 1, false, none}, NULL, square, before, wanted, out);
  default:
    if (wide)
      return rows_avx2(t, (shape_avx2){1, 4, false, none}, NULL, square, before, wanted, out);
    return t->fan == 32
               ? rows_avx2(t, (shape_avx2){1, 2, false, none}, NULL, square, before, wanted, out)
               : rows_avx2(t, (shape_avx2){1, 1, false, none}, NULL, square, before, wanted, out);
  }
}

QP_AVX2_INLINE __m256i table_form(const qp_trellis *t, form f, const int16_t *x,
                                  const uint16_t *before, qp_rows_wanted wanted, uint16_t *out) {
  switch (t->fan) {
  case 16: return rows_avx2(t, (shape_avx2){1, 1, true, f}, x, NULL, before, wanted, out);
  case 32: return rows_avx2(t, (shape_avx2){1, 2, true, f}, x, NULL, before, wanted, out);
  default: return rows_avx2(t, (shape_avx2){1, 4, true, f}, x, NULL, before, wanted, out);
  }
}

QP_AVX2_INLINE __m256i table_avx2(const qp_trellis *t, const int16_t *x, const uint16_t *before,
                                  qp_rows_wanted wanted, uint16_t *out) {
  const qp_metric *m = &t->metric;
  if (t->dim == 2 && !m->clips) return table_form(t, (form){2, 0, false}, x, before, wanted, out);
  if (t->dim == 2) return table_form(t, (form){2, m->doublings, true}, x, before, wanted, out);
  return table_form(t, (form){t->dim, m->doublings, true}, x, before, wanted, out);
}

/* Sixteen codes behind the groups before row b that a path leads to. */
QP_AVX2_INLINE __m256i codes_avx2(const qp_trellis *t, form f, const __m256i *x, uint32_t b,
                                  unsigned code, const uint16_t *before) {
  const qp_code_rows *r = &t->rows;
  const unsigned side = t->fan < QP_CODE_ROWS_CHUNK ? t->fan : QP_CODE_ROWS_CHUNK;
  __m256i least = _mm256_set1_epi16(-1);
  for (uint32_t p = b * t->fan; p < (b + 1) * t->fan; p += side)
    for (uint64_t live = live_avx2(t, before + p); live; live &= live - 1) {
      const uint32_t from = p + (unsigned)__builtin_ctzll(live);
      const size_t at = (size_t)from * r->windows + code / r->span;
      const int16_t *row = r->pool + r->offset[at] + code % r->span;
      __m256i v[QP_TRELLIS_DIM] = {{0}};
      QP_UNROLL for (unsigned e = 0; e < f.dim; e++) v[e] = load(row + (size_t)e * r->size);
      least = _mm256_min_epu16(least, add_avx2(f, x, v, _mm256_set1_epi16((short)before[from])));
    }
  return least;
}

QP_AVX2_INLINE __m256i values_form(const qp_trellis *t, form f, const int16_t *target,
                                   const uint16_t *before, qp_rows_wanted wanted, uint16_t *out) {
  const unsigned stride = qp_push_stride(t);
  __m256i x[QP_TRELLIS_DIM] = {{0}}, lowest = _mm256_set1_epi16(-1);
  QP_UNROLL for (unsigned i = 0; i < f.dim; i++) x[i] = _mm256_set1_epi16(target[i]);
  for (unsigned i = 0; i < wanted.count; i++)
    for (unsigned code = 0; code < wanted.codes; code += 16) {
      const __m256i least = codes_avx2(t, f, x, wanted.row ? wanted.row[i] : i, code, before);
      _mm256_store_si256((__m256i *)(void *)(out + (size_t)i * stride + code), least);
      lowest = _mm256_min_epu16(lowest, least);
    }
  return lowest;
}

/* Do the same where squares of the pool were not computed, as few of them are wanted. */
QP_AVX2_INLINE __m256i values_avx2(const qp_trellis *t, const int16_t *x, const uint16_t *before,
                                   qp_rows_wanted wanted, uint16_t *out) {
  const form f = {t->dim, t->metric.doublings, true};
  if (t->dim == 2) return values_form(t, (form){2, f.doublings, true}, x, before, wanted, out);
  return values_form(t, f, x, before, wanted, out);
}

QP_AVX2 static unsigned run_avx2(const qp_trellis *t, const int16_t *x, const uint16_t *square,
                                 const uint16_t *before, qp_rows_wanted wanted, uint16_t *out) {
  if (t->fan < 16) return run_plain(t, x, square, before, wanted, out);
  if (!t->rows.pool) return qp_lowest_of(table_avx2(t, x, before, wanted, out));
  if (!square) return qp_lowest_of(values_avx2(t, x, before, wanted, out));
  return qp_lowest_of(strips_avx2(t, square, before, wanted, out));
}

/* Which of 32 numbers are at most 'most'. */
QP_AVX2_INLINE uint64_t at_most_avx2(const uint16_t *v, __m256i most) {
  const __m256i zero = _mm256_setzero_si256();
  const __m256i a = _mm256_cmpeq_epi16(_mm256_subs_epu16(load(v), most), zero);
  const __m256i b = _mm256_cmpeq_epi16(_mm256_subs_epu16(load(v + 16), most), zero);
  const __m256i both = _mm256_permute4x64_epi64(_mm256_packs_epi16(a, b), 0xd8);
  return (uint32_t)_mm256_movemask_epi8(both);
}

/* 64 at a time, so that few branches are hard to foretell. */
QP_AVX2 static void place_avx2(const qp_trellis *t, qp_rows_wanted rows, bool even,
                               const uint16_t *out, unsigned lowest, unsigned limit, uint16_t *sums,
                               uint64_t *live) {
  const unsigned stride = qp_push_stride(t), bits = (unsigned)__builtin_ctz(stride);
  const place p = place_of(t, even, sums, live);
  const __m256i most = _mm256_set1_epi16((short)(limit - 1));
  if (!limit) return;
  for (size_t at = 0; at < (size_t)rows.count * stride; at += 64) {
    uint64_t below = at_most_avx2(out + at, most) | at_most_avx2(out + at + 32, most) << 32;
    for (; below; below &= below - 1) {
      const size_t i = at + (unsigned)__builtin_ctzll(below);
      place_one(&p, rows.row[i >> bits], (unsigned)i & (stride - 1), out[i] - lowest);
    }
  }
}

QP_AVX2 static void mirror_avx2(unsigned n, uint16_t *v) {
  for (unsigned i = 0; i < n / 2; i += 16)
    _mm256_storeu_si256((__m256i *)(void *)(v + n - 16 - i), qp_reverse(load(v + i)));
}

QP_AVX2 static uint32_t best_avx2(unsigned n, const uint16_t *sums) {
  __m256i a = _mm256_set1_epi16(-1), b = a;
  if (n % 32) return best_plain(n, sums);
  for (unsigned g = 0; g < n; g += 32) {
    a = _mm256_min_epu16(a, load(sums + g));
    b = _mm256_min_epu16(b, load(sums + g + 16));
  }
  const __m256i least = _mm256_set1_epi16((short)qp_lowest_of(_mm256_min_epu16(a, b)));
  for (unsigned g = 0;; g += 32) {
    const uint64_t found = at_most_avx2(sums + g, least);
    if (found) return g + (unsigned)__builtin_ctzll(found);
  }
}

/* A block of 'out' that a cache keeps at a time, so that whole lines of sums are written. */
QP_AVX2 static void turn_avx2(const qp_trellis *t, const uint16_t *out, uint16_t *sums) {
  enum { BLOCK = 32 };
  const uint32_t rows = t->groups / t->fan;
  const unsigned stride = qp_push_stride(t);
  if (rows == 1) {
    memcpy(sums, out, sizeof *sums * t->groups);
    return;
  }
  if (rows < TURN || t->fan < TURN) return turn_plain(t, out, sums);
  for (uint32_t block = 0; block < rows; block += BLOCK)
    for (unsigned code = 0; code < t->fan; code += TURN)
      for (uint32_t b = block; b < block + BLOCK && b < rows; b += TURN) {
        const uint16_t *at[TURN];
        for (unsigned i = 0; i < TURN; i++) at[i] = out + (size_t)(b + i) * stride + code;
        qp_turn_eight(at, sums + (size_t)code * rows + b, rows);
      }
}

QP_AVX2 static unsigned count_avx2(unsigned n, const uint16_t *sums, unsigned limit) {
  const __m256i most = _mm256_set1_epi16((short)(limit - 1)), zero = _mm256_setzero_si256();
  __m256i count = zero;
  if (!limit || n % 32) return count_plain(n, sums, limit);
  for (unsigned i = 0; i < n; i += 32) { /* -1 for each; bytes of eight ones add up */
    const __m256i a = _mm256_cmpeq_epi16(_mm256_subs_epu16(load(sums + i), most), zero);
    const __m256i b = _mm256_cmpeq_epi16(_mm256_subs_epu16(load(sums + i + 16), most), zero);
    const __m256i ones = _mm256_sub_epi8(zero, _mm256_packs_epi16(a, b));
    count = _mm256_add_epi64(count, _mm256_sad_epu8(ones, zero));
  }
  uint64_t part[4];
  _mm256_storeu_si256((__m256i *)(void *)part, count);
  return (unsigned)(part[0] + part[1] + part[2] + part[3]);
}

QP_AVX2 static void level_avx2(unsigned n, unsigned lowest, unsigned limit, uint16_t *sums) {
  const __m256i low = _mm256_set1_epi16((short)lowest), zero = _mm256_setzero_si256();
  const __m256i most = _mm256_set1_epi16((short)(limit - 1)), none = _mm256_set1_epi16(-1);
  if (!limit || n % 16) return level_plain(n, lowest, limit, sums);
  for (unsigned i = 0; i < n; i += 16) {
    const __m256i v = load(sums + i);
    const __m256i stays = _mm256_cmpeq_epi16(_mm256_subs_epu16(v, most), zero);
    const __m256i less = _mm256_blendv_epi8(none, _mm256_sub_epi16(v, low), stays);
    _mm256_storeu_si256((__m256i *)(void *)(sums + i), less);
  }
}

/* ---- AVX-512: windows of 32 codes at least ---- */

#define live_avx512    live_avx2
#define NAME(function) function##_avx512
#define TARGET         QP_AVX512
#define INLINE         QP_AVX512_INLINE
#define MM(operation)  _mm512_##operation
#define VECTOR         __m512i
#define WIDTH          32u
#define LOAD(from)     _mm512_load_si512(from)
#define LOAD_ANY(from) _mm512_loadu_si512(from)
#define LEAST(a, b)    qp_least(a, b)
#define STORE(to, v)   _mm512_store_si512(to, v)
#include "gen/encode/trellis_push_wide.h"

QP_AVX512 static unsigned run_avx512(const qp_trellis *t, const int16_t *x, const uint16_t *square,
                                     const uint16_t *before, qp_rows_wanted wanted, uint16_t *out) {
  const form none = {.dim = 0};
  const bool wide = t->fan >= QP_CODE_ROWS_CHUNK;
  __m512i low;
  if (!t->rows.pool || !square || t->rows.span < 32)
    return run_avx2(t, x, square, before, wanted, out);
  if (t->rows.span == 64)
    low = rows_avx512(t, (shape_avx512){2, 1, false, none}, NULL, square, before, wanted, out);
  else if (wide)
    low = rows_avx512(t, (shape_avx512){1, 2, false, none}, NULL, square, before, wanted, out);
  else
    low = rows_avx512(t, (shape_avx512){1, 1, false, none}, NULL, square, before, wanted, out);
  return qp_lowest_of(
      _mm256_min_epu16(_mm512_castsi512_si256(low), _mm512_extracti64x4_epi64(low, 1)));
}

QP_AVX512 static void turn_avx512(const qp_trellis *t, const uint16_t *out, uint16_t *sums) {
  const uint32_t rows = t->groups / t->fan;
  const unsigned stride = qp_push_stride(t);
  if (rows % QP_TURN_WIDE || t->fan < TURN) return turn_avx2(t, out, sums);
  for (uint32_t b = 0; b < rows; b += QP_TURN_WIDE)
    for (unsigned code = 0; code < t->fan; code += TURN)
      qp_turn_wide(out + (size_t)b * stride + code, stride, sums + (size_t)code * rows + b, rows);
}

QP_AVX512 static unsigned count_avx512(unsigned n, const uint16_t *sums, unsigned limit) {
  const __m512i most = _mm512_set1_epi16((short)limit);
  unsigned count = 0;
  if (n % 32) return count_plain(n, sums, limit);
  for (unsigned i = 0; i < n; i += 32)
    count +=
        (unsigned)__builtin_popcount(_mm512_cmplt_epu16_mask(_mm512_loadu_si512(sums + i), most));
  return count;
}

QP_AVX512 static void level_avx512(unsigned n, unsigned lowest, unsigned limit, uint16_t *sums) {
  const __m512i low = _mm512_set1_epi16((short)lowest), most = _mm512_set1_epi16((short)limit);
  const __m512i none = _mm512_set1_epi16(-1);
  if (n % 32) return level_plain(n, lowest, limit, sums);
  for (unsigned i = 0; i < n; i += 32) {
    const __m512i v = _mm512_loadu_si512(sums + i);
    const __mmask32 stays = _mm512_cmplt_epu16_mask(v, most);
    _mm512_storeu_si512(sums + i, _mm512_mask_sub_epi16(none, stays, v, low));
  }
}
#endif

qp_trellis_push qp_trellis_push_choose(void) {
#ifdef QP_X86
  switch (qp_simd()) {
  case QP_SIMD_AVX512:
    return (qp_trellis_push){squares_avx512, run_avx512, turn_avx512, count_avx512,
                             level_avx512,   place_avx2, mirror_avx2, best_avx2};
  case QP_SIMD_AVX2:
    return (qp_trellis_push){squares_avx2, run_avx2,   turn_avx2,   count_avx2,
                             level_avx2,   place_avx2, mirror_avx2, best_avx2};
  default: break;
  }
#endif
  return (qp_trellis_push){squares_plain, run_plain,   turn_plain,   count_plain,
                           level_plain,   place_plain, mirror_plain, best_plain};
}
