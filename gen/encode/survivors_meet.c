/* SPDX-License-Identifier: MIT */
/* Where paths of a long window meet, for each instruction set: all give the same numbers. */
#include "gen/encode/survivors_meet.h"

#include <string.h>

#include "gen/base/simd.h"
#include "gen/encode/turn.h"

enum { LANES = QP_CODE_ROWS_LANES };

static inline unsigned least_of(unsigned a, unsigned b) { return a < b ? a : b; }

/* Add those of a window's codes that are marked, and may come, to what is found. */
static inline bool keep(const qp_trellis *t, qp_meeting *m, uint32_t row, unsigned window,
                        uint64_t found, const uint16_t *sum) {
  const unsigned first = window * t->rows.span, row_bits = t->window - 2 * t->step;
  const uint32_t mask = t->fan - 1, from = first << row_bits | row;
  const size_t stride = m->stride;
  uint32_t *count = m->count + first, *to = m->found + first * stride;
  found &= m->may[first / 64] >> first % 64;
  m->used += (unsigned)__builtin_popcountll(found);
  if (m->used > m->room) return false;
  for (; found; found &= found - 1) {
    const unsigned lane = (unsigned)__builtin_ctzll(found);
    to[lane * stride + count[lane]++] = ((from | lane << row_bits) & mask) << 16 | sum[lane];
  }
  return true;
}

/* Note how many there are behind a block of rows. */
static inline void end_row(const qp_trellis *t, qp_meeting *m, uint32_t row) {
  if (((row + 1) & (t->fan - 1)) == 0)
    memcpy(m->ends + (row + 1 - t->fan), m->count, sizeof *m->count * t->fan);
}

/* What the next position adds at least, from a code of a row on, of up to 16 codes. */
static inline const uint16_t *behind_row(const qp_trellis *t, const qp_meeting *m, uint32_t row,
                                         unsigned code) {
  return m->behind + t->ahead.offset[(size_t)row * t->ahead.blocks + code / LANES];
}

/* ---- Any machine ---- */

static unsigned square_of(const qp_trellis *t, const qp_meeting *m, size_t window, unsigned lane) {
  if (m->square) return m->square[t->rows.offset[window] + lane];
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
      const unsigned v = before + square_of(t, m, (size_t)group * t->rows.windows + window, lane);
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

static bool run_plain(const qp_trellis *t, qp_meeting *m) {
  const unsigned span = t->rows.span;
  m->lowest = QP_NO_PATH;
  uint16_t sum[QP_CODE_ROWS_CHUNK];
  bool room = true;
  const uint32_t rows = t->groups / t->fan;
  for (uint32_t row = 0; row < rows; row++) {
    const bool any = m->begin[row] < m->begin[row + 1];
    for (unsigned window = 0; any && room && window < t->rows.windows; window++) {
      uint64_t found = 0;
      window_plain(t, m, row, window, sum);
      for (unsigned lane = 0; lane < span; lane++) {
        m->lowest = least_of(m->lowest, sum[lane]);
        found |= (uint64_t)(judged(t, m, row, window * span + lane, sum[lane]) < m->limit) << lane;
      }
      room = keep(t, m, row, window, found, sum);
    }
    end_row(t, m, row);
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

#define NAME(function) function##_avx2
#define INLINE         QP_AVX2_INLINE
#define MM(operation)  _mm256_##operation
#define VECTOR         __m256i
#include "gen/encode/square_wide.h"

QP_AVX2_INLINE __m256i load(const void *from) { return _mm256_loadu_si256(from); }

/* How a window is read: vectors of it; from a pool of squares, at places of 16 bits or 32, or from
   a table. */
typedef struct shape {
  unsigned vectors;
  bool table, near;
  form f;
} shape;

QP_AVX2_INLINE void window_avx2(const qp_trellis *t, shape s, const qp_meeting *m, uint32_t row,
                                unsigned window, const __m256i *x, __m256i *least) {
  const size_t windows = t->rows.windows, first = ((size_t)row << t->step) * windows + window;
  QP_UNROLL for (unsigned i = 0; i < s.vectors; i++) least[i] = _mm256_set1_epi16(-1);
  for (uint32_t k = m->begin[row]; k < m->begin[row + 1]; k++) {
    const size_t at = first + (m->path[k] >> 16) * windows;
    const __m256i before = _mm256_set1_epi16((short)(m->path[k] & QP_NO_PATH));
    __m256i v[QP_TRELLIS_DIM] = {{0}};
    if (s.table) {
      const int16_t *values = t->rows.table + at * s.f.dim * LANES;
      QP_UNROLL for (unsigned e = 0; e < s.f.dim; e++) v[e] = load(values + e * LANES);
      least[0] = _mm256_min_epu16(least[0], add_avx2(s.f, x, v, before));
      continue;
    }
    const uint16_t *square = m->square + (s.near ? t->rows.near[at] : t->rows.offset[at]);
    QP_UNROLL for (unsigned i = 0; i < s.vectors; i++) least[i] =
        _mm256_min_epu16(least[i], _mm256_adds_epu16(load(square + i * LANES), before));
  }
}

/* What is compared with the limit, in the stead of the sums of a window. */
QP_AVX2_INLINE void judge_avx2(const qp_trellis *t, shape s, const qp_meeting *m, uint32_t row,
                               unsigned window, __m256i *sum) {
  QP_UNROLL for (unsigned i = 0; i < s.vectors; i++) sum[i] =
      _mm256_adds_epu16(sum[i], load(behind_row(t, m, row, (window * s.vectors + i) * LANES)));
}

/* A bit for each sum that is below the limit: 'most' is one less. */
QP_AVX2_INLINE uint64_t below_avx2(shape s, const __m256i *sum, __m256i most) {
  const __m256i zero = _mm256_setzero_si256();
  uint64_t found = 0;
  QP_UNROLL for (unsigned i = 0; i < s.vectors; i++) {
    const __m256i low = _mm256_cmpeq_epi16(_mm256_subs_epu16(sum[i], most), zero);
    const __m128i bytes =
        _mm_packs_epi16(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
    found |= (uint64_t)(unsigned)_mm_movemask_epi8(bytes) << i * LANES;
  }
  return found;
}

QP_AVX2_INLINE void set_targets(shape s, const qp_meeting *m, __m256i *x) {
  for (unsigned e = 0; s.table && e < s.f.dim; e++) x[e] = _mm256_set1_epi16(m->x[e]);
}

/* Windows of rows that meet before any of their codes is kept, so that what is found in one, which
   no branch foresees, does not hold up the next. */
enum { BATCH = 32 };

typedef struct batch {
  uint64_t found[BATCH];
  uint16_t sum[BATCH][QP_CODE_ROWS_CHUNK];
} batch;

/* Windows [first, first + count), counted over all rows; returns the least sums. */
QP_AVX2_INLINE __m256i meet_avx2(const qp_trellis *t, shape s, const qp_meeting *m, uint32_t first,
                                 uint32_t count, const __m256i *x, __m256i lowest, batch *b) {
  const __m256i most = _mm256_set1_epi16((short)(m->limit - 1));
  const unsigned windows = t->rows.windows;
  uint32_t row = first / windows;
  unsigned window = first % windows;
  for (uint32_t i = 0; i < count; i++) {
    __m256i least[4] = {{0}};
    b->found[i] = 0;
    if (m->begin[row] < m->begin[row + 1]) {
      window_avx2(t, s, m, row, window, x, least);
      QP_UNROLL for (unsigned k = 0; k < s.vectors; k++) {
        lowest = _mm256_min_epu16(lowest, least[k]);
        _mm256_storeu_si256((__m256i *)(void *)(b->sum[i] + k * LANES), least[k]);
      }
      if (m->behind) judge_avx2(t, s, m, row, window, least);
      b->found[i] = below_avx2(s, least, most);
    }
    if (++window == windows) window = 0, row++;
  }
  return lowest;
}

QP_AVX2_INLINE bool rows_avx2(const qp_trellis *t, shape s, qp_meeting *m) {
  const uint32_t windows = t->rows.windows, all = t->groups / t->fan * windows;
  __m256i x[QP_TRELLIS_DIM] = {{0}}, lowest = _mm256_set1_epi16(-1);
  batch b;
  bool room = true;
  set_targets(s, m, x);
  for (uint32_t first = 0; first < all; first += BATCH) {
    const uint32_t count = least_of(BATCH, all - first);
    if (room) lowest = meet_avx2(t, s, m, first, count, x, lowest, &b);
    uint32_t row = first / windows, window = first % windows;
    for (uint32_t i = 0; i < count; i++) {
      room = room && keep(t, m, row, window, b.found[i], b.sum[i]);
      if (++window < windows) continue;
      end_row(t, m, row++);
      window = 0;
    }
  }
  m->lowest = qp_lowest_of(lowest);
  return room;
}

QP_AVX2_INLINE unsigned one_row_avx2(const qp_trellis *t, shape s, const qp_meeting *m,
                                     uint32_t row, uint16_t *sum) {
  __m256i x[QP_TRELLIS_DIM] = {{0}}, lowest = _mm256_set1_epi16(-1);
  set_targets(s, m, x);
  for (unsigned window = 0; window < t->rows.windows; window++) {
    __m256i least[4] = {{0}};
    window_avx2(t, s, m, row, window, x, least);
    if (m->behind) judge_avx2(t, s, m, row, window, least);
    QP_UNROLL for (unsigned i = 0; i < s.vectors; i++) {
      lowest = _mm256_min_epu16(lowest, least[i]);
      _mm256_storeu_si256((__m256i *)(void *)(sum + (size_t)window * t->rows.span + i * LANES),
                          least[i]);
    }
  }
  return qp_lowest_of(lowest);
}

/* Call a function of shapes with this trellis's. */
#define FOR_SHAPE(call)                                                                            \
  do {                                                                                             \
    const form any = {t->dim, t->metric.doublings, true}, two = {2, any.doublings, true};          \
    if (!m->square && t->dim == 2) return call((shape){1, true, false, two});                      \
    if (!m->square) return call((shape){1, true, false, any});                                     \
    if (t->rows.near && t->rows.span == 4 * LANES) return call((shape){4, false, true, any});      \
    switch (t->rows.span / LANES) {                                                                \
    case 4: return call((shape){4, false, false, any});                                            \
    case 2: return call((shape){2, false, false, any});                                            \
    default: return call((shape){1, false, false, any});                                           \
    }                                                                                              \
  } while (0)

QP_AVX2 static bool run_avx2(const qp_trellis *t, qp_meeting *m) {
  if (t->rows.span < LANES || !m->limit) return run_plain(t, m);
#define RUN(...) rows_avx2(t, __VA_ARGS__, m)
  FOR_SHAPE(RUN);
#undef RUN
}

QP_AVX2 static unsigned row_avx2(const qp_trellis *t, const qp_meeting *m, uint32_t row,
                                 uint16_t *sum) {
  if (t->rows.span < LANES) return row_plain(t, m, row, sum);
#define ROW(...) one_row_avx2(t, __VA_ARGS__, m, row, sum)
  FOR_SHAPE(ROW);
#undef ROW
}
#endif

qp_meet qp_meet_choose(void) {
#ifdef QP_X86
  if (qp_simd() >= QP_SIMD_AVX2) return (qp_meet){run_avx2, row_avx2};
#endif
  return (qp_meet){run_plain, row_plain};
}
