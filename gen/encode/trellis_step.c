/* SPDX-License-Identifier: MIT */
/* The inner loops of the trellis search, for each instruction set: all give the same numbers. */
#include "gen/encode/trellis_step.h"

#include <string.h>

#include "gen/base/simd.h"
#include "gen/encode/turn.h"

enum { LANES = QP_TRELLIS_LANES, TURN = QP_TURN };

/* ---- Any machine ---- */

static inline unsigned least_of(unsigned a, unsigned b) { return a < b ? a : b; }

/* Constant bounds and 32-bit numbers: compilers find vectors for these loops. */
static void add_squares(const qp_trellis *t, int x, const int16_t *row, int *v) {
  const int factor = 1 << t->metric.doublings;
  for (unsigned l = 0; l < LANES; l++) {
    int d = (x - row[l]) * factor;
    d = d < -32768 ? -32768 : d;
    d = d > 32767 ? 32767 : d;
    v[l] += (d * d + (1 << 14)) >> 15;
  }
}

/* ---- A mirrored trellis ---- */

/* Of lane l of a pair of tiles: its group in the lower half. */
static uint32_t group_of_lane(unsigned tile, bool descends, unsigned l) {
  return tile * LANES + (descends ? LANES - 1 - l : l);
}

/* Of row j of the table, the choice of one half of the groups: is it one of the batch's? */
static bool is_made(const qp_trellis *t, const qp_step_batch *b, unsigned j, bool mirrors) {
  const unsigned made = mirrors ? t->fan - 1 - j : j;
  return made % b->apart == b->first || (b->even && (t->fan - 1 - made) % b->apart == b->first);
}

static void run_pair(const qp_trellis *t, unsigned tile, const qp_step_batch *b, unsigned k,
                     bool upper) {
  const qp_trellis_pair p = t->pair[tile];
  const int16_t *row = t->table + (size_t)tile * t->fan * t->dim * LANES;
  const uint16_t *sums = b->sum[k] + p.from[b->even ? p.descends : upper];
  int least[LANES], v[LANES];
  for (unsigned l = 0; l < LANES; l++) least[l] = QP_NO_PATH;
  for (unsigned j = 0; j < t->fan; j++, row += t->dim * LANES) {
    const uint16_t *sum = sums + (ptrdiff_t)(j & (t->turned - 1)) * p.apart[!b->even && upper];
    if (!is_made(t, b, j, p.descends != upper)) continue;
    for (unsigned l = 0; l < LANES; l++) v[l] = sum[l % t->spread];
    for (unsigned i = 0; i < t->dim; i++) add_squares(t, b->x[k][i], row + i * LANES, v);
    for (unsigned l = 0; l < LANES; l++) least[l] = v[l] < least[l] ? v[l] : least[l];
  }
  for (unsigned l = 0; l < LANES; l++) {
    const uint32_t g = group_of_lane(tile, p.descends, l);
    b->least[k][upper ? t->groups - 1 - g : g] = (uint16_t)least[l];
  }
}

/* ---- Any trellis ---- */

static void run_plain(const qp_trellis *t, unsigned tile, const qp_step_batch *b) {
  for (unsigned k = 0; t->mirrored && k < 2 * b->count; k++) run_pair(t, tile, b, k / 2, k % 2);
  if (t->mirrored) return;
  const int16_t *table = t->table + (size_t)tile * t->fan * t->dim * LANES;
  const unsigned column = tile * LANES % t->spread, second = t->spread < LANES ? 0 : LANES / 2;
  for (unsigned k = 0; k < b->count; k++) {
    int least[LANES], v[LANES];
    for (unsigned l = 0; l < LANES; l++) least[l] = QP_NO_PATH;
    for (unsigned j = b->first; j < t->fan; j += b->apart) {
      const uint16_t *sum = b->sum[k] + (size_t)(j % t->turned) * t->stride + column;
      for (unsigned l = 0; l < LANES / 2; l++) v[l] = sum[l];
      for (unsigned l = 0; l < LANES / 2; l++) v[LANES / 2 + l] = sum[second + l];
      for (unsigned i = 0; i < t->dim; i++)
        add_squares(t, b->x[k][i], table + ((size_t)j * t->dim + i) * LANES, v);
      for (unsigned l = 0; l < LANES; l++) least[l] = v[l] < least[l] ? v[l] : least[l];
    }
    for (unsigned l = 0; l < LANES; l++) b->least[k][tile * LANES + l] = (uint16_t)least[l];
  }
}

/* Turn all rows of the sums. */
static void turn_rows(const qp_trellis *t, const uint16_t *least, uint16_t *sum) {
  const unsigned columns = t->groups / t->turned;
  for (unsigned r = 0; r < t->turned; r++)
    for (unsigned c = 0; c < t->spread; c++)
      sum[(size_t)r * t->stride + c] = least[(size_t)(c % columns) * t->turned + r];
}

/* Of a mirrored trellis: the sums that groups of the upper half read are put in their order. */
static void mirror_rows(const qp_trellis *t, const uint16_t *least, uint16_t *sum) {
  const unsigned columns = t->groups / t->turned, last = t->groups - 1;
  const bool wide = columns > LANES;
  const unsigned all = wide ? columns / 2 : columns;
  uint16_t *to = sum + (wide ? all : (size_t)t->turned * t->stride);
  for (unsigned r = 0; r < t->turned && columns > 1; r++)
    for (unsigned c = 0; c < all; c++)
      to[(size_t)r * t->stride + c] = least[last - c * t->turned - r];
}

static void turn_plain(const qp_trellis *t, uint16_t *least, uint16_t *sum, bool even) {
  unsigned lowest = QP_NO_PATH;
  for (unsigned g = 0; g < t->groups; g++) lowest = least_of(least[g], lowest);
  for (unsigned g = 0; g < t->tiles * LANES; g++)
    if (least[g] < QP_NO_PATH || lowest == QP_NO_PATH) least[g] = (uint16_t)(least[g] - lowest);
  turn_rows(t, least, sum);
  if (t->mirrored && !even) mirror_rows(t, least, sum);
}

static unsigned choice_plain(const qp_trellis *t, uint32_t g, const int16_t *x,
                             const uint16_t *before) {
  const int16_t *table = t->by_group + (size_t)g * t->dim * t->fan;
  unsigned best = 0, least = QP_NO_PATH + 1;
  for (unsigned j = 0; j < t->fan; j++) {
    unsigned v = before[(g << t->step | j) & (t->groups - 1)];
    for (unsigned i = 0; i < t->dim; i++)
      v += qp_metric_square(&t->metric, x[i], table[i * t->fan + j]);
    v = least_of(v, QP_NO_PATH);
    if (v < least) least = v, best = j;
  }
  return best;
}

#ifdef QP_X86
#include <immintrin.h>

/* How differences become squares: a constant where the loops of trellis_step_wide.h are inlined. */
typedef struct form {
  unsigned dim, doublings;
  bool clips;
} form;

/* ---- AVX2: sixteen groups at a time ---- */

QP_AVX2_INLINE __m256i row_of_2_avx2(const uint16_t *from) {
  int v;
  memcpy(&v, from, sizeof v);
  return _mm256_set1_epi32(v);
}
QP_AVX2_INLINE __m256i row_of_4_avx2(const uint16_t *from) {
  long long v;
  memcpy(&v, from, sizeof v);
  return _mm256_set1_epi64x(v);
}
QP_AVX2_INLINE __m256i row_of_16_avx2(const uint16_t *from) {
  return _mm256_load_si256((const __m256i *)(const void *)from);
}

#define NAME(function)    function##_avx2
#define TARGET            QP_AVX2
#define INLINE            QP_AVX2_INLINE
#define MM(operation)     _mm256_##operation
#define VECTOR            __m256i
#define WIDTH             16u
#define IS_NARROW(t)      false
#define LOAD_ROW(n, from) row_of_##n##_avx2(from)
#define TOGETHER          2
#define LEAST(a, b)       _mm256_min_epu16(a, b)
#define LEAST(a, b)       _mm256_min_epu16(a, b)
#define REVERSE(v)        qp_reverse(v)
#define LOAD(from)        _mm256_load_si256((const __m256i *)(const void *)(from))
#define LOAD_NARROW(from) LOAD(from)
#define STORE(to, v)      _mm256_store_si256((__m256i *)(void *)(to), v)
#include "gen/encode/trellis_step_wide.h"

/* Write eight columns of four sums as four rows. */
QP_AVX2_INLINE void turn_four(const uint16_t *from, uint16_t *to, size_t stride) {
  __m128i a[4], b[4];
  QP_UNROLL for (unsigned i = 0; i < 4; i++) a[i] =
      _mm_loadu_si128((const __m128i *)(const void *)(from + 8 * i));
  QP_UNROLL for (unsigned i = 0; i < 2; i++) {
    const __m128i lo = _mm_unpacklo_epi16(a[2 * i], a[2 * i + 1]);
    const __m128i hi = _mm_unpackhi_epi16(a[2 * i], a[2 * i + 1]);
    b[2 * i] = _mm_unpacklo_epi16(lo, hi);
    b[2 * i + 1] = _mm_unpackhi_epi16(lo, hi);
  }
  QP_UNROLL for (unsigned i = 0; i < 2; i++) {
    const __m128i lo = _mm_unpacklo_epi64(b[i], b[i + 2]), hi = _mm_unpackhi_epi64(b[i], b[i + 2]);
    _mm_storeu_si128((__m128i *)(void *)(to + 2 * i * stride), lo);
    _mm_storeu_si128((__m128i *)(void *)(to + (2 * i + 1) * stride), hi);
  }
}

/* Write eight columns of two sums as two rows. */
QP_AVX2_INLINE void turn_two(const uint16_t *from, uint16_t *to, size_t stride) {
  const __m128i pick = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
  __m128i a = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)from), pick);
  __m128i b = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(from + 8)), pick);
  _mm_storeu_si128((__m128i *)(void *)to, _mm_unpacklo_epi64(a, b));
  _mm_storeu_si128((__m128i *)(void *)(to + stride), _mm_unpackhi_epi64(a, b));
}

/* Eight columns from 'column' on; 'upper': what groups of the upper half read of a mirrored
   trellis. */
QP_AVX2_INLINE void turn_columns(const qp_trellis *t, const uint16_t *least, unsigned column,
                                 bool upper, uint16_t *sum) {
  const unsigned columns = t->groups / t->turned, rows = t->turned;
  const uint16_t *from = least + (size_t)column * rows;
  const ptrdiff_t stride = (ptrdiff_t)t->stride;
  if (rows == 2) return turn_two(from, sum + column, t->stride);
  if (rows == 4) return turn_four(from, sum + column, t->stride);
  for (unsigned row = 0; row < rows; row += TURN) {
    const uint16_t *at[TURN];
    for (unsigned i = 0; i < TURN; i++) {
      const size_t first = (size_t)((column + i) & (columns - 1)) * rows + row;
      at[i] = least + (upper ? t->groups - TURN - first : first);
    }
    if (upper)
      qp_turn_eight(at, sum + (row + TURN - 1) * stride + column, -stride);
    else
      qp_turn_eight(at, sum + row * stride + column, stride);
  }
}

/* ---- Mirrored trellises ---- */

/* One column: each sum twice. */
QP_AVX2_INLINE void turn_one(const qp_trellis *t, const uint16_t *least, uint16_t *sum) {
  for (unsigned row = 0; row < t->turned; row += 8) {
    const __m128i v = _mm_load_si128((const __m128i *)(const void *)(least + row));
    __m128i *to = (__m128i *)(void *)(sum + (size_t)row * 2);
    _mm_store_si128(to, _mm_unpacklo_epi16(v, v));
    _mm_store_si128(to + 1, _mm_unpackhi_epi16(v, v));
  }
}

QP_AVX2_INLINE __m128i reverse_half(__m128i v) {
  return _mm_shuffle_epi8(v, _mm_setr_epi8(14, 15, 12, 13, 10, 11, 8, 9, 6, 7, 4, 5, 2, 3, 0, 1));
}

/* Four columns, two rows a vector; backward from 'end' on what the upper half reads. */
QP_AVX2_INLINE void turn_short(const qp_trellis *t, const uint16_t *least, uint16_t *sum,
                               uint16_t *end) {
  for (unsigned row = 0; row < t->turned; row += TURN) {
    __m128i a[4], b[4];
    QP_UNROLL for (unsigned i = 0; i < 4; i++) a[i] =
        _mm_load_si128((const __m128i *)(const void *)(least + (size_t)i * t->turned + row));
    QP_UNROLL for (unsigned i = 0; i < 2; i++) {
      b[2 * i] = _mm_unpacklo_epi16(a[2 * i], a[2 * i + 1]);
      b[2 * i + 1] = _mm_unpackhi_epi16(a[2 * i], a[2 * i + 1]);
    }
    QP_UNROLL for (unsigned i = 0; i < 4; i++, sum += 8) {
      const __m128i v = i % 2 ? _mm_unpackhi_epi32(b[i / 2], b[i / 2 + 2])
                              : _mm_unpacklo_epi32(b[i / 2], b[i / 2 + 2]);
      _mm_store_si128((__m128i *)(void *)sum, v);
      end -= 8;
      _mm_store_si128((__m128i *)(void *)end, reverse_half(v));
    }
  }
}

/* Sixteen columns: what the upper half reads, from rows that stand before it. */
QP_AVX2_INLINE void mirror_few(const qp_trellis *t, const uint16_t *sum, uint16_t *end) {
  for (unsigned row = 0; row < t->turned; row++, sum += t->stride) {
    const __m256i v = _mm256_load_si256((const __m256i *)(const void *)sum);
    end -= t->stride;
    _mm256_store_si256((__m256i *)(void *)end, qp_reverse(v));
  }
}

QP_AVX2_INLINE void turn_mirrored(const qp_trellis *t, const uint16_t *least, uint16_t *sum,
                                  bool even) {
  const unsigned columns = t->groups / t->turned;
  const bool few = columns < LANES;
  const unsigned all = few ? columns : columns / 2;
  if (columns == 1) return turn_one(t, least, sum);
  if (columns == 4) return turn_short(t, least, sum, sum + t->sums);
  for (unsigned column = 0; column < all; column += TURN)
    turn_columns(t, least, column, false, sum);
  if (even) return;
  for (unsigned column = 0; column < all && !few; column += TURN)
    turn_columns(t, least, column, true, sum + all);
  if (few) mirror_few(t, sum, sum + t->sums);
}

QP_AVX2 static void turn_all(const qp_trellis *t, const uint16_t *least, uint16_t *sum, bool even) {
  if (t->mirrored) return turn_mirrored(t, least, sum, even);
  if ((t->turned % TURN && t->turned != 2 && t->turned != 4) ||
      (t->turned < TURN && t->groups < 64))
    return turn_rows(t, least, sum);
  for (unsigned column = 0; column < t->spread; column += TURN)
    turn_columns(t, least, column, false, sum);
}

QP_AVX2 static void turn_avx2(const qp_trellis *t, uint16_t *least, uint16_t *sum, bool even) {
  const unsigned all = t->tiles * LANES; /* beyond the groups they are repeated */
  const __m256i none = _mm256_set1_epi16(-1);
  __m256i low = none;
  for (unsigned g = 0; g < all; g += 16)
    low = _mm256_min_epu16(low, _mm256_load_si256((const __m256i *)(const void *)(least + g)));
  const unsigned lowest = qp_lowest_of(low);
  low = _mm256_set1_epi16((short)lowest);
  const __m256i stay = lowest == QP_NO_PATH ? _mm256_setzero_si256() : none;
  for (unsigned g = 0; g < all; g += 16) {
    __m256i *at = (__m256i *)(void *)(least + g), v = _mm256_load_si256(at);
    const __m256i no_path = _mm256_and_si256(_mm256_cmpeq_epi16(v, none), stay);
    _mm256_store_si256(at, _mm256_or_si256(_mm256_sub_epi16(v, low), no_path));
  }
  turn_all(t, least, sum, even);
}

QP_AVX2_INLINE unsigned choice_form(const qp_trellis *t, uint32_t g, form f, const int16_t *target,
                                    const uint16_t *before) {
  const int16_t *row = t->by_group + (size_t)g * f.dim * t->fan;
  __m256i x[QP_TRELLIS_DIM] = {{0}}, v[QP_TRELLIS_DIM] = {{0}};
  __m256i least = _mm256_set1_epi16(-1);
  __m256i from = _mm256_setzero_si256(), number = from;
  const __m256i one = _mm256_set1_epi16(1);
  QP_UNROLL for (unsigned i = 0; i < f.dim; i++) x[i] = _mm256_set1_epi16(target[i]);
  for (unsigned j = 0; j < t->fan; j += 16) {
    QP_UNROLL for (unsigned i = 0; i < f.dim; i++) v[i] =
        _mm256_loadu_si256((const __m256i *)(const void *)(row + (size_t)i * t->fan + j));
    const uint16_t *at = before + ((g << t->step | j) & (t->groups - 1));
    const __m256i sum = _mm256_loadu_si256((const __m256i *)(const void *)at);
    const __m256i now = _mm256_min_epu16(add_avx2(f, x, v, sum), least);
    from = _mm256_blendv_epi8(number, from, _mm256_cmpeq_epi16(now, least));
    least = now;
    number = _mm256_add_epi16(number, one);
  }
  uint16_t lane_least[16], lane_from[16];
  _mm256_storeu_si256((__m256i *)(void *)lane_least, least);
  _mm256_storeu_si256((__m256i *)(void *)lane_from, from);
  const unsigned lowest = qp_lowest_of(least);
  unsigned best = t->fan;
  for (unsigned l = 0; l < 16; l++)
    if (lane_least[l] == lowest) best = least_of(best, lane_from[l] * 16u + l);
  return best;
}

QP_AVX2 static unsigned choice_avx2(const qp_trellis *t, uint32_t g, const int16_t *x,
                                    const uint16_t *before) {
  if (t->fan < 16 || t->groups < 16) return choice_plain(t, g, x, before);
  const form f = {t->dim, t->metric.doublings, true};
  if (t->dim == 2) return choice_form(t, g, (form){2, f.doublings, true}, x, before);
  return choice_form(t, g, f, x, before);
}

/* ---- AVX-512: thirty-two; sums of a row of sixteen stand for both halves ---- */

QP_AVX512_INLINE __m512i row_of_2_avx512(const uint16_t *from) {
  int v;
  memcpy(&v, from, sizeof v);
  return _mm512_set1_epi32(v);
}
QP_AVX512_INLINE __m512i row_of_4_avx512(const uint16_t *from) {
  long long v;
  memcpy(&v, from, sizeof v);
  return _mm512_set1_epi64(v);
}
QP_AVX512_INLINE __m512i row_of_16_avx512(const uint16_t *from) {
  return _mm512_broadcast_i64x4(row_of_16_avx2(from));
}

QP_AVX512_INLINE __m512i reverse_avx512(__m512i v) {
  const __m512i swap =
      _mm512_broadcast_i32x4(_mm_setr_epi8(14, 15, 12, 13, 10, 11, 8, 9, 6, 7, 4, 5, 2, 3, 0, 1));
  const __m512i parts = _mm512_shuffle_epi8(v, swap);
  return _mm512_shuffle_i64x2(parts, parts, 0x1b);
}

#define NAME(function)    function##_avx512
#define TARGET            QP_AVX512
#define INLINE            QP_AVX512_INLINE
#define MM(operation)     _mm512_##operation
#define VECTOR            __m512i
#define WIDTH             32u
#define IS_NARROW(t)      ((t)->spread == 16)
#define LOAD_ROW(n, from) row_of_##n##_avx512(from)
#define TOGETHER          4
#define LEAST(a, b)       qp_least(a, b)
#define REVERSE(v)        reverse_avx512(v)
#define LOAD(from)        _mm512_load_si512(from)
#define LOAD_NARROW(from)                                                                          \
  _mm512_broadcast_i64x4(_mm256_load_si256((const __m256i *)(const void *)(from)))
#define STORE(to, v) _mm512_store_si512(to, v)
#include "gen/encode/trellis_step_wide.h"

/* The least of all, which is taken from each but where there is no path. */
QP_AVX512 static void level_avx512(unsigned all, uint16_t *least) {
  const __m512i none = _mm512_set1_epi16(-1);
  __m512i low = none;
  for (unsigned g = 0; g < all; g += 32) low = _mm512_min_epu16(low, _mm512_load_si512(least + g));
  const unsigned lowest = qp_lowest_of(
      _mm256_min_epu16(_mm512_castsi512_si256(low), _mm512_extracti64x4_epi64(low, 1)));
  const __mmask32 every = lowest == QP_NO_PATH ? ~(__mmask32)0 : 0;
  low = _mm512_set1_epi16((short)lowest);
  for (unsigned g = 0; g < all; g += 32) {
    const __m512i v = _mm512_load_si512(least + g);
    const __mmask32 path = _mm512_cmpneq_epu16_mask(v, none) | every;
    _mm512_store_si512(least + g, _mm512_mask_sub_epi16(v, path, v, low));
  }
}

QP_AVX512 static void turn_avx512(const qp_trellis *t, uint16_t *least, uint16_t *sum, bool even) {
  const unsigned columns = t->groups / t->turned, rows = t->turned;
  const unsigned below = t->mirrored ? columns / 2 : columns; /* columns that stand as they are */
  const ptrdiff_t apart = (ptrdiff_t)rows, stride = (ptrdiff_t)t->stride;
  level_avx512(t->tiles * LANES, least); /* beyond the groups they are repeated */
  if (rows % TURN || columns % QP_TURN_WIDE) return turn_all(t, least, sum, even);
  for (unsigned column = 0; column < below; column += QP_TURN_WIDE)
    for (unsigned row = 0; row < rows; row += TURN) {
      const uint16_t *from = least + (size_t)column * rows + row, *last = least + t->groups - TURN;
      uint16_t *to = sum + row * stride + column;
      qp_turn_wide(from, apart, to, stride);
      if (t->mirrored && !even)
        qp_turn_wide(last - (from - least), -apart, to + below + (TURN - 1) * stride, -stride);
    }
}
#endif

qp_trellis_step qp_trellis_step_choose(void) {
#ifdef QP_X86
  switch (qp_simd()) {
  case QP_SIMD_AVX512: return (qp_trellis_step){run_avx512, turn_avx512, choice_avx2};
  case QP_SIMD_AVX2: return (qp_trellis_step){run_avx2, turn_avx2, choice_avx2};
  default: break;
  }
#endif
  return (qp_trellis_step){run_plain, turn_plain, choice_plain};
}
