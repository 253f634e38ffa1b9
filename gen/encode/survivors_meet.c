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
#define APART         __attribute__((noinline))
#else
#define FORCED_INLINE static inline
#define APART
#endif

static inline unsigned least_of(unsigned a, unsigned b) { return a < b ? a : b; }

/* Windows of rows that meet before any of their codes is dealt, so that what is found in one, which
   no branch foresees, does not hold up the next. */
enum { BATCH = 32, CHUNK = QP_CODE_ROWS_CHUNK, TOGETHER = 4 };

typedef struct batch {
  _Alignas(64) uint16_t sum[BATCH][CHUNK];
  unsigned lowest;                    /* sum of this batch and those before */
  unsigned count;                     /* of codes that are found, */
  uint32_t at[BATCH * CHUNK + LANES]; /* [count]: window of the batch * CHUNK + code of it */
} batch;

/* Codes of a window that may come. */
FORCED_INLINE uint64_t may_come(const uint64_t *may, unsigned first) {
  return may ? may[first / 64] >> first % 64 : ~UINT64_C(0);
}

/* The logarithm of a power of two. */
static inline unsigned bits_of(uint32_t power) {
  unsigned bits = 0;
  while (power >> bits > 1) bits++;
  return bits;
}

/* Bring what is listed of a batch of windows from 'first' on, all of one block, to the lists by
   code; note where these end behind the block, if it does. */
FORCED_INLINE void deal(const qp_trellis *t, qp_meeting *m, uint32_t first, uint32_t count,
                        const batch *b) {
  const unsigned row_bits = t->window - 2 * t->step, windows = t->rows.windows, n = b->count;
  const unsigned window_bits = bits_of(windows), span_bits = bits_of(t->rows.span);
  const uint32_t mask = t->fan - 1, rows = (first + count) >> window_bits;
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
      const unsigned code = (window & (windows - 1)) << span_bits | at % CHUNK;
      const uint32_t group = code << row_bits | window >> window_bits;
      found[next[code]++] = (group & mask) << 16 | sum[at];
    }
  if ((first + count) % windows == 0 && (rows & mask) == 0)
    for (unsigned code = 0; code < t->fan; code++)
      m->ends[code * m->ends_stride + (rows >> t->step) - 1] = next[code];
}

/* Do so with the first windows that there is room for, with none if there was too little before.
   Returns whether there was for all. */
APART static bool keep(const qp_trellis *t, qp_meeting *m, uint32_t first, uint32_t count,
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

/* The sums by the code that is watched to m->column. */
static void watch(const qp_trellis *t, const qp_meeting *m, uint32_t first, uint32_t count,
                  const batch *b) {
  const unsigned windows = t->rows.windows, wanted = m->watched / t->rows.span;
  for (uint32_t i = (wanted + windows - first % windows) % windows; i < count; i += windows)
    m->column[(first + i) / windows] = b->sum[i][m->watched % t->rows.span];
}

/* The same where not all sums are made. */
static void watch_all(const qp_trellis *t, const qp_meeting *m) {
  for (uint32_t row = 0; row < t->groups / t->fan; row++)
    for (uint32_t k = m->begin[row]; k < m->begin[row + 1]; k++) {
      const uint32_t group = row << t->step | m->path[k] >> 16, before = m->path[k] & QP_NO_PATH;
      const unsigned v = before + m->square[qp_code_rows_at(&t->rows, group, m->watched)];
      if (v < m->column[row]) m->column[row] = (uint16_t)v;
    }
}

/* The sums of a row that are known, or NULL. */
static const uint16_t *known_sums(const qp_trellis *t, const qp_meeting *m, uint32_t row) {
  const uint32_t i = row / m->apart;
  return row == qp_meet_sampled(i, m->apart) ? m->sampled + (size_t)i * t->fan : NULL;
}

/* Windows behind some paths that may have sums below the limit: where their squares are, and which
   of the row << 16 | the sum before. */
enum { SIFTED = 32, WINDOWS = QP_MEET_SIFTED };

typedef struct sifted {
  uint32_t place[SIFTED * WINDOWS + LANES], of[SIFTED * WINDOWS + LANES];
} sifted;

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
      b->at[b->count++] = lane;
  }
}

static void less_plain(size_t n, const uint32_t *from, uint32_t by, uint32_t *to) {
  for (size_t i = 0; i < n; i++) to[i] = from[i] - by;
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

/* What is read of a meeting, where no store can be thought to change it. */
typedef struct reader {
  const uint32_t *begin, *path, *offset;
  const uint16_t *square, *near, *behind, *place, *least;
  const uint8_t *turn;
  const int16_t *table, *x;
  unsigned dim, doublings, step, windows, blocks, apart, coarse, limit;
} reader;

static reader reader_of(const qp_trellis *t, const qp_meeting *m) {
  return (reader){.begin = m->begin,
                  .path = m->path,
                  .offset = t->rows.offset,
                  .square = m->square,
                  .near = t->rows.near,
                  .behind = m->behind,
                  .place = t->ahead.offset,
                  .least = m->least,
                  .turn = t->rows.turn,
                  .table = t->rows.table,
                  .x = m->x,
                  .dim = t->dim,
                  .doublings = t->metric.doublings,
                  .step = t->step,
                  .windows = t->rows.windows,
                  .blocks = t->ahead.blocks,
                  .apart = t->rows.apart,
                  .coarse = m->coarse,
                  .limit = m->limit};
}

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

/* List the codes of a window that are found, whose first one is numbered 'first', from b->at[n] on;
   returns how many are listed then.  By fours, somewhat more than there are, so that no branch has
   to foresee how many. */
QP_AVX2_INLINE unsigned list_avx2(batch *b, unsigned n, unsigned first, uint64_t found,
                                  unsigned span) {
  const unsigned count = (unsigned)__builtin_popcountll(found);
  uint32_t *at = b->at + n;
  (void)span;
  for (unsigned k = 0; k < count; k += TOGETHER) QP_UNROLL for (unsigned l = 0; l < TOGETHER; l++) {
      at[k + l] = first + (unsigned)_tzcnt_u64(found);
      found &= found - 1;
      __asm__ volatile("" ::: "memory"); /* gcc joins the four in a vector, which takes longer */
    }
  return n + count;
}

/* Which windows of 'count' paths of a row of groups, from 'first' on, may lead below the limit. */
QP_AVX2_INLINE unsigned sift_avx2(const reader *r, size_t first, const uint32_t *path,
                                  unsigned count, sifted *to) {
  unsigned n = 0;
  for (unsigned k = 0; k < count; k++) {
    const uint16_t *at = r->near + (first + (path[k] >> 16)) * WINDOWS;
    const unsigned before = path[k] & QP_NO_PATH;
    for (unsigned w = 0; w < WINDOWS; w++) {
      const uint32_t place = at[w];
      to->place[n] = place;
      to->of[n] = w << 16 | before;
      n += before + r->least[place >> r->coarse] < r->limit;
    }
  }
  return n;
}

typedef __m256i turn_avx2;

/* Lanes before a turn from one vector, others from another; 'first': the number of lane 0. */
QP_AVX2_INLINE __m256i pick(__m256i before, __m256i behind, __m256i turn, short first) {
  const __m256i lane = _mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m256i at = _mm256_add_epi16(lane, _mm256_set1_epi16(first));
  return _mm256_blendv_epi8(behind, before, _mm256_cmpgt_epi16(turn, at));
}

#define NAME(function) function##_avx2
#define INLINE         QP_AVX2_INLINE
#define TARGET         QP_AVX2
#define MM(operation)  _mm256_##operation
#define VECTOR         __m256i
#define WIDTH          16u
#define OF_LANES
#define LOAD_ANY(from)   load(from)
#define STORE_ANY(to, v) _mm256_storeu_si256((__m256i *)(void *)(to), v)
#define JOIN(low, high)  load(low)
#define BELOW(v, limit)  below(v, limit)
#define LOWEST(v)        qp_lowest_of(v)
#define TURN(turn)       _mm256_set1_epi16((short)(turn))
#define PICK(a, b, t, i) pick(a, b, t, (short)(i))
#include "gen/encode/survivors_meet_wide.h"

/* Of a trellis whose windows have 16 codes at least. */
static kernel_avx2 kernel_of_avx2(const qp_code_rows *r, unsigned dim) {
  const bool near = r->near != NULL;
  if (r->turn)
    return (kernel_avx2){r->period == 32 ? sum_joints32_avx2 : sum_joints64_avx2, pick_4_avx2};
  if (r->table) return (kernel_avx2){dim == 2 ? sum_pairs_avx2 : sum_table_avx2, pick_1_avx2};
  switch (r->span / LANES) {
  case 4: return (kernel_avx2){near ? sum_near64_avx2 : sum_far64_avx2, pick_4_avx2};
  case 2: return (kernel_avx2){near ? sum_near32_avx2 : sum_far32_avx2, pick_2_avx2};
  default: return (kernel_avx2){near ? sum_near16_avx2 : sum_far16_avx2, pick_1_avx2};
  }
}

QP_AVX2 static void less_avx2(size_t n, const uint32_t *from, uint32_t by, uint32_t *to) {
  const __m256i less = _mm256_set1_epi32((int)by);
  size_t i = 0;
  for (; i + LANES / 2 <= n; i += LANES / 2)
    _mm256_storeu_si256((__m256i *)(void *)(to + i), _mm256_sub_epi32(load(from + i), less));
  less_plain(n - i, from + i, by, to + i);
}

static bool run_avx2(const qp_trellis *t, qp_meeting *m) {
  if (t->rows.span < LANES || !m->limit) return run_plain(t, m);
  return run_all_avx2(t, kernel_of_avx2(&t->rows, t->dim), m);
}

static unsigned row_avx2(const qp_trellis *t, const qp_meeting *m, uint32_t row, uint16_t *sum) {
  if (t->rows.span < LANES) return row_plain(t, m, row, sum);
  return row_of_avx2(t, kernel_of_avx2(&t->rows, t->dim), m, row, sum);
}

/* ---- AVX-512: windows of 32 codes at least ---- */

QP_AVX512_INLINE __m512i join(const void *low, const void *high) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256(low)),
                            _mm256_loadu_si256(high), 1);
}

QP_AVX512_INLINE unsigned lowest_avx512(__m512i v) {
  return qp_lowest_of(_mm256_min_epu16(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1)));
}

/* The same, sixteen codes at a time. */
QP_AVX512_INLINE unsigned list_avx512(batch *b, unsigned n, unsigned first, uint64_t found,
                                      unsigned span) {
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  QP_UNROLL for (unsigned k = 0; k < span; k += LANES) {
    const __mmask16 these = (__mmask16)(found >> k);
    const __m512i at = _mm512_add_epi32(lane, _mm512_set1_epi32((int)(first + k)));
    _mm512_storeu_si512(b->at + n, _mm512_maskz_compress_epi32(these, at));
    n += (unsigned)__builtin_popcount(these);
  }
  return n;
}

QP_AVX512_INLINE __m128i load_eight(const uint16_t *from) {
  return _mm_loadu_si128((const __m128i *)(const void *)from);
}

/* at[index[i]] and the number behind it; where gcc 12 does not optimise, the intrinsic is a macro
   with a sign that changes. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-conversion"
QP_AVX512_INLINE __m512i gather_pairs(__m512i index, const uint16_t *at) {
  return _mm512_i32gather_epi32(index, at, 2);
}
#pragma GCC diagnostic pop

/* The same, the windows of two paths at a time. */
QP_AVX512_INLINE unsigned sift_avx512(const reader *r, size_t first, const uint32_t *path,
                                      unsigned count, sifted *to) {
  const __m512i window = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7);
  const __m512i low = _mm512_set1_epi32(0xffff), limit = _mm512_set1_epi32((int)r->limit);
  unsigned n = 0;
  for (unsigned k = 0; k < count; k += 2) {
    const uint32_t one = path[k], two = path[least_of(k + 1, count - 1)];
    const uint16_t *at = r->near + (first + (one >> 16)) * WINDOWS;
    const uint16_t *next = r->near + (first + (two >> 16)) * WINDOWS;
    const __m512i before = _mm512_and_si512(
        low, _mm512_inserti64x4(_mm512_set1_epi32((int)one), _mm256_set1_epi32((int)two), 1));
    const __m512i place = _mm512_cvtepu16_epi32(_mm256_set_m128i(load_eight(next), load_eight(at)));
    const __m512i from = _mm512_srl_epi32(place, _mm_cvtsi32_si128((int)r->coarse));
    const __m512i least = _mm512_and_si512(low, gather_pairs(from, r->least));
    const __mmask16 live = _mm512_cmplt_epu32_mask(_mm512_add_epi32(least, before), limit);
    const __m512i of = _mm512_or_si512(before, _mm512_slli_epi32(window, 16));
    _mm512_storeu_si512(to->place + n, _mm512_maskz_compress_epi32(live, place));
    _mm512_storeu_si512(to->of + n, _mm512_maskz_compress_epi32(live, of));
    n += (unsigned)__builtin_popcount(live);
  }
  return n;
}

typedef uint64_t turn_avx512;

#define NAME(function)   function##_avx512
#define INLINE           QP_AVX512_INLINE
#define TARGET           QP_AVX512
#define MM(operation)    _mm512_##operation
#define VECTOR           __m512i
#define WIDTH            32u
#define LOAD_ANY(from)   _mm512_loadu_si512(from)
#define STORE_ANY(to, v) _mm512_storeu_si512(to, v)
#define JOIN(low, high)  join(low, high)
#define BELOW(v, limit)  _mm512_cmplt_epu16_mask(v, limit)
#define LOWEST(v)        lowest_avx512(v)
#define TURN(turn)       _bzhi_u64(~UINT64_C(0), turn)
#define PICK(a, b, t, i) _mm512_mask_mov_epi16(b, (__mmask32)((t) >> (i)), a)
#include "gen/encode/survivors_meet_wide.h"

enum { WIDTH_AVX512 = 32 };

static kernel_avx512 kernel_of_avx512(const qp_code_rows *r) {
  const bool near = r->near != NULL;
  if (r->turn)
    return (kernel_avx512){r->period == 32 ? sum_joints32_avx512 : sum_joints64_avx512,
                           pick_2_avx512};
  if (r->span == 2 * WIDTH_AVX512)
    return (kernel_avx512){near ? sum_near64_avx512 : sum_far64_avx512, pick_2_avx512};
  return (kernel_avx512){near ? sum_near32_avx512 : sum_far32_avx512, pick_1_avx512};
}

static bool is_wide(const qp_trellis *t) { return t->rows.pool && t->rows.span >= WIDTH_AVX512; }

/* List the paths whose sums are below the limit as they are, in m->live behind where each row's
   begin: others lead nowhere. */
QP_AVX512 static void list_live(const qp_trellis *t, const qp_meeting *m) {
  const uint32_t rows = t->groups / t->fan;
  const __m512i limit = _mm512_set1_epi32((int)m->limit), low = _mm512_set1_epi32(QP_NO_PATH);
  uint32_t *begin = m->live, *to = m->live + rows + 1, n = 0;
  for (uint32_t row = 0; row < rows; row++) {
    begin[row] = n;
    for (uint32_t k = m->begin[row]; k < m->begin[row + 1]; k += LANES) {
      const uint32_t left = m->begin[row + 1] - k;
      const __mmask16 these = (__mmask16)_bzhi_u32(0xffff, left);
      const __m512i path = _mm512_maskz_loadu_epi32(these, m->path + k);
      const __mmask16 live =
          _mm512_mask_cmplt_epu32_mask(these, _mm512_and_si512(path, low), limit);
      _mm512_storeu_si512(to + n, _mm512_maskz_compress_epi32(live, path));
      n += (unsigned)__builtin_popcount(live);
    }
  }
  begin[rows] = n;
}

static bool run_avx512(const qp_trellis *t, qp_meeting *m) {
  const uint32_t *begin = m->begin, *path = m->path;
  if (!is_wide(t) || !m->limit) return run_avx2(t, m);
  if (!m->behind && !m->column) {
    list_live(t, m);
    m->begin = m->live;
    m->path = m->live + t->groups / t->fan + 1;
  }
  const bool room = run_all_avx512(t, kernel_of_avx512(&t->rows), m);
  m->begin = begin;
  m->path = path;
  return room;
}

static unsigned row_avx512(const qp_trellis *t, const qp_meeting *m, uint32_t row, uint16_t *sum) {
  if (!is_wide(t)) return row_avx2(t, m, row, sum);
  return row_of_avx512(t, kernel_of_avx512(&t->rows), m, row, sum);
}
#endif

qp_meet qp_meet_choose(void) {
#ifdef QP_X86
  if (qp_simd() == QP_SIMD_AVX512) return (qp_meet){run_avx512, row_avx512, less_avx2};
  if (qp_simd() == QP_SIMD_AVX2) return (qp_meet){run_avx2, row_avx2, less_avx2};
#endif
  return (qp_meet){run_plain, row_plain, less_plain};
}
