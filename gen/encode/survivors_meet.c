/* SPDX-License-Identifier: MIT */
/* Where paths of a long window meet, for each instruction set: all give the same numbers. */
#include "gen/encode/survivors_meet.h"

#include <string.h>

#include "gen/base/simd.h"
#include "gen/encode/turn.h"

enum { LANES = QP_CODE_ROWS_LANES };

/* Taken into functions for an instruction set, where it uses that. */
#ifdef __GNUC__
#define FORCED_INLINE __attribute__((always_inline)) static inline
#else
#define FORCED_INLINE static inline
#endif

static inline unsigned least_of(unsigned a, unsigned b) { return a < b ? a : b; }

/* Windows of rows that meet before any of their codes is dealt, so that what is found in one, which
   no branch foresees, does not hold up the next. */
enum { BATCH = 32, CHUNK = QP_CODE_ROWS_CHUNK, TOGETHER = 4 };

typedef struct batch {
  unsigned count;                        /* of codes that are found, */
  uint16_t at[BATCH * CHUNK + TOGETHER]; /* [count]: window of the batch * CHUNK + code of it */
  uint16_t sum[BATCH][CHUNK];
} batch;

/* Codes of a window that may come. */
FORCED_INLINE uint64_t may_come(const uint64_t *may, unsigned first) {
  return may ? may[first / 64] >> first % 64 : ~UINT64_C(0);
}

/* Bring what is listed of a batch of windows from 'first' on, all of one block, to the lists by
   code; note where these end behind the block, if it does. */
FORCED_INLINE void deal(const qp_trellis *t, qp_meeting *m, uint32_t first, uint32_t count,
                        const batch *b) {
  const unsigned row_bits = t->window - 2 * t->step, windows = t->rows.windows, n = b->count;
  const uint32_t mask = t->fan - 1, rows = (first + count) / windows;
  uint32_t *next = m->next, *found = m->found;
  const uint16_t *sum = b->sum[0];
  if (windows == 1 && row_bits >= t->step)
    for (unsigned i = 0; i < n; i++) {
      const unsigned at = b->at[i];
      found[next[at % CHUNK]++] = ((first + at / CHUNK) & mask) << 16 | sum[at];
    }
  else
    for (unsigned i = 0; i < n; i++) {
      const unsigned at = b->at[i], window = first + at / CHUNK;
      const unsigned code = window % windows * t->rows.span + at % CHUNK;
      const uint32_t group = code << row_bits | window / windows;
      found[next[code]++] = (group & mask) << 16 | sum[at];
    }
  if ((first + count) % windows == 0 && (rows & mask) == 0)
    memcpy(m->ends + (rows - t->fan), next, sizeof *next * t->fan);
}

/* Do so with the first windows that there is room for, with none if there was too little before.
   Returns whether there was for all. */
FORCED_INLINE bool keep(const qp_trellis *t, qp_meeting *m, uint32_t first, uint32_t count,
                        bool room, batch *b) {
  if (!room) b->count = 0;
  while (b->count && m->used + b->count > m->room) {
    const unsigned window = b->at[b->count - 1] / CHUNK;
    while (b->count && b->at[b->count - 1] / CHUNK == window) b->count--;
    room = false;
  }
  m->used += b->count;
  deal(t, m, first, count, b);
  return room;
}

/* What the next position adds at least, from a code of a row on, of up to 16 codes. */
static inline const uint16_t *behind_row(const qp_trellis *t, const qp_meeting *m, uint32_t row,
                                         unsigned code) {
  return m->behind + t->ahead.offset[(size_t)row * t->ahead.blocks + code / LANES];
}

/* ---- Any machine ---- */

static unsigned square_of(const qp_trellis *t, const qp_meeting *m, uint32_t group, unsigned code) {
  if (m->square) return m->square[qp_code_rows_at(&t->rows, group, code)];
  const unsigned lane = code % t->rows.span;
  const size_t window = (size_t)group * t->rows.windows + code / t->rows.span;
  unsigned v = 0;
  for (unsigned i = 0; i < t->dim; i++)
    v += qp_metric_square(&t->metric, m->x[i], t->rows.table[(window * t->dim + i) * LANES + lane]);
  return v;
}

static void window_plain(const qp_trellis *t, const qp_meeting *m, uint32_t row, unsigned window,
                         uint16_t *sum) {
  const unsigned span = t->rows.span;
  memset(sum, 0xff, sizeof *sum * span);
  for (uint32_t k = m->begin[row]; k < m->begin[row + 1]; k++) {
    const uint32_t group = row << t->step | m->path[k] >> 16, before = m->path[k] & QP_NO_PATH;
    for (unsigned lane = 0; lane < span; lane++) {
      const unsigned v = before + square_of(t, m, group, window * span + lane);
      if (v < sum[lane]) sum[lane] = (uint16_t)v;
    }
  }
}

/* What is compared with the limit. */
static unsigned judged(const qp_trellis *t, const qp_meeting *m, uint32_t row, unsigned code,
                       unsigned sum) {
  const unsigned more = m->behind ? behind_row(t, m, row, code)[code % LANES] : 0;
  return least_of(sum + more, QP_NO_PATH);
}

/* One window, as a batch. */
static void meet_plain(const qp_trellis *t, qp_meeting *m, uint32_t row, unsigned window,
                       batch *b) {
  const unsigned span = t->rows.span, first = window * span;
  const uint64_t may = may_come(m->may, first);
  b->count = 0;
  if (m->begin[row] == m->begin[row + 1]) return;
  window_plain(t, m, row, window, b->sum[0]);
  if (m->column && window == m->watched / span) m->column[row] = b->sum[0][m->watched % span];
  for (unsigned lane = 0; lane < span; lane++) {
    const unsigned sum = b->sum[0][lane];
    m->lowest = least_of(m->lowest, sum);
    if (may >> lane & 1 && judged(t, m, row, first + lane, sum) < m->limit)
      b->at[b->count++] = (uint16_t)lane;
  }
}

static bool run_plain(const qp_trellis *t, qp_meeting *m) {
  const uint32_t windows = t->rows.windows, all = t->groups / t->fan * windows;
  batch b;
  bool room = true;
  m->lowest = QP_NO_PATH;
  for (uint32_t i = 0; i < all; i++) {
    meet_plain(t, m, i / windows, i % windows, &b);
    room = keep(t, m, i, 1, room, &b);
  }
  return room;
}

static unsigned row_plain(const qp_trellis *t, const qp_meeting *m, uint32_t row, uint16_t *sum) {
  unsigned lowest = QP_NO_PATH;
  for (unsigned window = 0; window < t->rows.windows; window++)
    window_plain(t, m, row, window, sum + (size_t)window * t->rows.span);
  for (unsigned code = 0; code < t->fan; code++) {
    sum[code] = (uint16_t)judged(t, m, row, code, sum[code]);
    lowest = least_of(lowest, sum[code]);
  }
  return lowest;
}

#ifdef QP_X86
#include <immintrin.h>

/* How differences become squares: a constant where the loops are inlined. */
typedef struct form {
  unsigned dim, doublings;
  bool clips;
} form;

/* ---- AVX2 ---- */

/* A bit for each of 16 sums that is below the limit's. */
QP_AVX2_INLINE unsigned below(__m256i sum, __m256i limit) {
  const __m256i ones = _mm256_cmpeq_epi16(limit, limit);
  const __m256i high = _mm256_cmpeq_epi16(_mm256_max_epu16(sum, limit), sum);
  const __m256i low = _mm256_andnot_si256(high, ones);
  const __m128i bytes =
      _mm_packs_epi16(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
  return (unsigned)_mm_movemask_epi8(bytes);
}

QP_AVX2_INLINE __m256i load(const void *from) { return _mm256_loadu_si256(from); }

/* List codes of window i of a batch: by fours, somewhat more than there are, so that no branch has
   to foresee how many. */
QP_AVX2_INLINE void list(batch *b, unsigned i, uint64_t found) {
  const unsigned n = (unsigned)__builtin_popcountll(found);
  uint16_t *at = b->at + b->count;
  for (unsigned k = 0; k < n; k += TOGETHER) QP_UNROLL for (unsigned l = 0; l < TOGETHER; l++) {
      at[k + l] = (uint16_t)(i * CHUNK + (unsigned)_tzcnt_u64(found));
      found &= found - 1;
    }
  b->count += n;
}

typedef __m256i turn_avx2;

/* Lanes before a turn from one vector, others from another; 'first': the number of lane 0. */
QP_AVX2_INLINE __m256i pick(__m256i before, __m256i behind, __m256i turn, short first) {
  const __m256i lane = _mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m256i at = _mm256_add_epi16(lane, _mm256_set1_epi16(first));
  return _mm256_blendv_epi8(behind, before, _mm256_cmpgt_epi16(turn, at));
}

#define NAME(function)   function##_avx2
#define INLINE           QP_AVX2_INLINE
#define MM(operation)    _mm256_##operation
#define VECTOR           __m256i
#define WIDTH            16u
#define LOAD_ANY(from)   load(from)
#define STORE_ANY(to, v) _mm256_storeu_si256((__m256i *)(void *)(to), v)
#define JOIN(low, high)  load(low)
#define BELOW(v, limit)  below(v, limit)
#define TURN(turn)       _mm256_set1_epi16(turn)
#define PICK(a, b, t, i) pick(a, b, t, (short)(i))
#include "gen/encode/survivors_meet_wide.h"

/* Call a function of shapes with this trellis's. */
#define FOR_SHAPE(call)                                                                            \
  do {                                                                                             \
    const form any = {t->dim, t->metric.doublings, true}, two = {2, any.doublings, true};          \
    const bool near = t->rows.near != NULL;                                                        \
    if (t->rows.turn && t->rows.period == 32) return call((shape_avx2){4, false, true, 32, any});  \
    if (t->rows.turn) return call((shape_avx2){4, false, true, 64, any});                          \
    if (!m->square && t->dim == 2) return call((shape_avx2){1, true, false, 0, two});              \
    if (!m->square) return call((shape_avx2){1, true, false, 0, any});                             \
    switch (t->rows.span / LANES) {                                                                \
    case 4:                                                                                        \
      return near ? call((shape_avx2){4, false, true, 0, any})                                     \
                  : call((shape_avx2){4, false, false, 0, any});                                   \
    case 2:                                                                                        \
      return near ? call((shape_avx2){2, false, true, 0, any})                                     \
                  : call((shape_avx2){2, false, false, 0, any});                                   \
    default: return call((shape_avx2){1, false, false, 0, any});                                   \
    }                                                                                              \
  } while (0)

QP_AVX2_INLINE bool strips_avx2(const qp_trellis *t, qp_meeting *m, __m256i *lowest) {
#define RUN(...) rows_avx2(t, __VA_ARGS__, m, lowest)
  FOR_SHAPE(RUN);
#undef RUN
}

QP_AVX2_INLINE __m256i one_avx2(const qp_trellis *t, const qp_meeting *m, uint32_t row,
                                uint16_t *sum) {
#define ROW(...) one_row_avx2(t, __VA_ARGS__, m, row, sum)
  FOR_SHAPE(ROW);
#undef ROW
}

QP_AVX2 static bool run_avx2(const qp_trellis *t, qp_meeting *m) {
  if (t->rows.span < LANES || !m->limit) return run_plain(t, m);
  __m256i lowest;
  const bool room = strips_avx2(t, m, &lowest);
  m->lowest = qp_lowest_of(lowest);
  return room;
}

QP_AVX2 static unsigned row_avx2(const qp_trellis *t, const qp_meeting *m, uint32_t row,
                                 uint16_t *sum) {
  if (t->rows.span < LANES) return row_plain(t, m, row, sum);
  return qp_lowest_of(one_avx2(t, m, row, sum));
}

/* ---- AVX-512: windows of 32 codes at least ---- */

QP_AVX512_INLINE __m512i join(const void *low, const void *high) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256(low)),
                            _mm256_loadu_si256(high), 1);
}

QP_AVX512_INLINE unsigned lowest_avx512(__m512i v) {
  return qp_lowest_of(_mm256_min_epu16(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1)));
}

typedef uint64_t turn_avx512;

#define NAME(function)   function##_avx512
#define INLINE           QP_AVX512_INLINE
#define MM(operation)    _mm512_##operation
#define VECTOR           __m512i
#define WIDTH            32u
#define LOAD_ANY(from)   _mm512_loadu_si512(from)
#define STORE_ANY(to, v) _mm512_storeu_si512(to, v)
#define JOIN(low, high)  join(low, high)
#define BELOW(v, limit)  _mm512_cmplt_epu16_mask(v, limit)
#define TURN(turn)       _bzhi_u64(~UINT64_C(0), turn)
#define PICK(a, b, t, i) _mm512_mask_mov_epi16(b, (__mmask32)((t) >> (i)), a)
#include "gen/encode/survivors_meet_wide.h"

/* Call a function of shapes with this trellis's. */
#define FOR_WIDE_SHAPE(call)                                                                       \
  do {                                                                                             \
    const form none = {.dim = 0};                                                                  \
    const bool near = t->rows.near != NULL;                                                        \
    if (t->rows.turn && t->rows.period == 32)                                                      \
      return call((shape_avx512){2, false, true, 32, none});                                       \
    if (t->rows.turn) return call((shape_avx512){2, false, true, 64, none});                       \
    if (t->rows.span == 2 * WIDTH_AVX512)                                                          \
      return near ? call((shape_avx512){2, false, true, 0, none})                                  \
                  : call((shape_avx512){2, false, false, 0, none});                                \
    return near ? call((shape_avx512){1, false, true, 0, none})                                    \
                : call((shape_avx512){1, false, false, 0, none});                                  \
  } while (0)

enum { WIDTH_AVX512 = 32 };

static bool is_wide(const qp_trellis *t, const qp_meeting *m) {
  return m->square && t->rows.span >= WIDTH_AVX512;
}

QP_AVX512_INLINE bool strips_avx512(const qp_trellis *t, qp_meeting *m, __m512i *lowest) {
#define RUN(...) rows_avx512(t, __VA_ARGS__, m, lowest)
  FOR_WIDE_SHAPE(RUN);
#undef RUN
}

QP_AVX512_INLINE __m512i one_avx512(const qp_trellis *t, const qp_meeting *m, uint32_t row,
                                    uint16_t *sum) {
#define ROW(...) one_row_avx512(t, __VA_ARGS__, m, row, sum)
  FOR_WIDE_SHAPE(ROW);
#undef ROW
}

QP_AVX512 static bool run_avx512(const qp_trellis *t, qp_meeting *m) {
  if (!is_wide(t, m) || !m->limit) return run_avx2(t, m);
  __m512i lowest;
  const bool room = strips_avx512(t, m, &lowest);
  m->lowest = lowest_avx512(lowest);
  return room;
}

QP_AVX512 static unsigned row_avx512(const qp_trellis *t, const qp_meeting *m, uint32_t row,
                                     uint16_t *sum) {
  if (!is_wide(t, m)) return row_avx2(t, m, row, sum);
  return lowest_avx512(one_avx512(t, m, row, sum));
}
#endif

qp_meet qp_meet_choose(void) {
#ifdef QP_X86
  if (qp_simd() == QP_SIMD_AVX512) return (qp_meet){run_avx512, row_avx512};
  if (qp_simd() == QP_SIMD_AVX2) return (qp_meet){run_avx2, row_avx2};
#endif
  return (qp_meet){run_plain, row_plain};
}
