/* SPDX-License-Identifier: MIT */
/* Says before a step of a long window what the next one adds at least:  squares of the next step's
   strips --> the least square behind each group. */
#include "gen/encode/lookahead.h"

#include <stdlib.h>
#include <string.h>

#include "gen/base/simd.h"

enum {
  LANES = QP_CODE_ROWS_LANES,
  SLACK = QP_CODE_ROWS_SLACK,
  COARSEST = 3,   /* windows begin at multiples of up to 2^this, */
  NUMBERS = 16384 /* so that no more than these are looked up */
};

/* ---- Tables ---- */

/* Rows of groups by the codes that lead to them, which are of the kinds that their windows make;
   'word': room for where these begin. */
static qp_status make_rows_of_kinds(qp_code_rows *out, const qp_code_rows *rows,
                                    const qp_code_rows_of *of, unsigned coarse, uint32_t *word,
                                    size_t most, qp_error *err) {
  const qp_code_rows_of groups = {
      .window = of->window - of->step, .step = of->step, .dim = rows->windows};
  const size_t n = (size_t)rows->windows << groups.window;
  for (size_t i = 0; i < n; i++) word[i] = rows->offset[i] >> coarse;
  return qp_code_rows_make_numbers(out, &groups, word, most, err);
}

static bool fill(qp_lookahead *a, const uint32_t *word, const qp_code_rows *kinds,
                 unsigned all_rows) {
  a->begin = malloc(sizeof *a->begin * a->kinds * a->windows);
  a->pool = malloc(sizeof *a->pool * a->size);
  a->offset = malloc(sizeof *a->offset * all_rows * a->blocks);
  if (!a->begin || !a->pool || !a->offset) return false;
  for (size_t k = 0; k < a->kinds; k++)
    for (size_t w = 0; w < a->windows; w++)
      a->begin[k * a->windows + w] = (uint16_t)word[kinds->state[k] * a->windows + w];
  for (unsigned i = 0; i < a->size; i++)
    a->pool[i] = a->windows == 1 ? a->begin[kinds->number[i]] : (uint16_t)kinds->number[i];
  for (unsigned row = 0; row < all_rows; row++)
    for (unsigned b = 0; b < a->blocks; b++)
      a->offset[(size_t)row * a->blocks + b] =
          (uint16_t)(kinds->offset[(size_t)row * kinds->windows + b * LANES / kinds->span] +
                     b * LANES % kinds->span);
  return true;
}

/* Make one whose windows begin at multiples of 2^coarse; it stays empty if there are too many. */
static qp_status make_coarse(qp_lookahead *out, const qp_code_rows *rows, const qp_code_rows_of *of,
                             unsigned coarse, uint32_t *word, size_t most, qp_error *err) {
  const unsigned fan = 1u << of->step, all_rows = 1u << (of->window - 2 * of->step);
  qp_code_rows kinds = {0};
  qp_status status = make_rows_of_kinds(&kinds, rows, of, coarse, word, most, err);
  qp_lookahead a = {.span = rows->span,
                    .windows = rows->windows,
                    .coarse = coarse,
                    .kinds = kinds.values,
                    .size = kinds.size,
                    .blocks = fan < LANES ? 1 : fan / LANES};
  if (!status && kinds.number && a.size + (size_t)a.kinds * a.windows <= most) {
    if (!fill(&a, word, &kinds, all_rows)) {
      qp_lookahead_free(&a);
      status = qp_fail(err, QP_E_NOMEM, "no memory for a trellis of 2^%u states", of->window);
    }
    *out = a;
  }
  qp_code_rows_free(&kinds);
  return status;
}

qp_status qp_lookahead_make(qp_lookahead *out, const qp_code_rows *rows, const qp_code_rows_of *of,
                            size_t most, qp_error *err) {
  *out = (qp_lookahead){0};
  if (!rows->pool || rows->turn || rows->size > UINT16_MAX || 3 * of->step > of->window)
    return QP_OK;
  uint32_t *word = malloc(sizeof *word * rows->windows << (of->window - of->step));
  qp_status status = QP_OK;
  if (!word) return qp_fail(err, QP_E_NOMEM, "no memory for a trellis of 2^%u states", of->window);
  if (most > NUMBERS) most = NUMBERS;
  for (unsigned coarse = 0; coarse <= COARSEST && rows->span >> coarse && !status; coarse++) {
    status = make_coarse(out, rows, of, coarse, word, most, err);
    if (out->size) break;
  }
  free(word);
  return status;
}

void qp_lookahead_free(qp_lookahead *a) {
  free(a->begin);
  free(a->pool);
  free(a->offset);
  *a = (qp_lookahead){0};
}

/* ---- A step ---- */

static void *numbers(size_t n) {
  uint16_t *v = aligned_alloc(64, (sizeof *v * n + 63) & ~(size_t)63);
  if (v) memset(v, 0xff, sizeof *v * n);
  return v;
}

uint16_t *qp_outlook_squares(const qp_code_rows *rows) {
  return numbers((size_t)rows->size + 2 * SLACK);
}

bool qp_outlook_new(qp_outlook *o, const qp_code_rows *rows, const qp_lookahead *a) {
  *o = (qp_outlook){.wide = qp_simd() >= QP_SIMD_AVX2};
  if (!rows->pool) return true;
  o->window = qp_outlook_squares(rows);
  if (!a->size) return o->window != NULL;
  o->square = qp_outlook_squares(rows);
  o->kind = numbers(a->kinds);
  o->behind = numbers((size_t)a->size + SLACK);
  return o->square && o->window && o->kind && o->behind;
}

void qp_outlook_free(qp_outlook *o) {
  free(o->square);
  free(o->window);
  free(o->kind);
  free(o->behind);
  *o = (qp_outlook){0};
}

/* to[i] = the lesser of from[i] and from[i + apart], up to n rounded up to 16; 'to' may be
   'from'. */
static void least_pairs(size_t n, unsigned apart, const uint16_t *from, uint16_t *to) {
  for (size_t i = 0; i < (n + LANES - 1) / LANES * LANES; i++)
    to[i] = from[i] < from[i + apart] ? from[i] : from[i + apart];
}

/* to[i] = the lesser of from[2 i] and from[2 i + 1], up to n rounded up to 16. */
static void least_halves(size_t n, const uint16_t *from, uint16_t *to) {
  for (size_t i = 0; i < (n + LANES - 1) / LANES * LANES; i++)
    to[i] = from[2 * i] < from[2 * i + 1] ? from[2 * i] : from[2 * i + 1];
}

#ifdef QP_X86
#include <immintrin.h>

QP_AVX2_INLINE __m256i load(const uint16_t *from) {
  return _mm256_loadu_si256((const __m256i *)(const void *)from);
}
QP_AVX2_INLINE void store(uint16_t *to, __m256i v) { _mm256_store_si256((__m256i *)(void *)to, v); }

QP_AVX2 static void least_pairs_avx2(size_t n, unsigned apart, const uint16_t *from, uint16_t *to) {
  for (size_t i = 0; i < n; i += LANES)
    store(to + i, _mm256_min_epu16(load(from + i), load(from + i + apart)));
}

QP_AVX2_INLINE __m256i least_of_pairs(__m256i v) {
  const __m256i low = _mm256_set1_epi32(0xffff);
  return _mm256_and_si256(_mm256_min_epu16(v, _mm256_srli_epi32(v, 16)), low);
}

QP_AVX2 static void least_halves_avx2(size_t n, const uint16_t *from, uint16_t *to) {
  for (size_t i = 0; i < n; i += LANES) {
    const __m256i a = least_of_pairs(load(from + 2 * i)),
                  b = least_of_pairs(load(from + 2 * i + LANES));
    store(to + i, _mm256_permute4x64_epi64(_mm256_packus_epi32(a, b), 0xd8));
  }
}
#endif

static void pairs(const qp_outlook *o, size_t n, unsigned apart, const uint16_t *from,
                  uint16_t *to) {
#ifdef QP_X86
  if (o->wide) {
    least_pairs_avx2(n, apart, from, to);
    return;
  }
#endif
  least_pairs(n, apart, from, to);
}

static void halves(const qp_outlook *o, size_t n, const uint16_t *from, uint16_t *to) {
#ifdef QP_X86
  if (o->wide) {
    least_halves_avx2(n, from, to);
    return;
  }
#endif
  least_halves(n, from, to);
}

void qp_outlook_windows(qp_outlook *o, const qp_code_rows *rows, unsigned span, unsigned coarse,
                        const uint16_t *square) {
  const uint16_t *from = square;
  size_t n = rows->size;
  for (unsigned i = 0; i < coarse; i++) {
    n = (n + 1) / 2;
    span /= 2;
    halves(o, n, from, o->window);
    from = o->window;
  }
  for (unsigned apart = 1; apart < span; apart *= 2) {
    pairs(o, n, apart, from, o->window);
    from = o->window;
  }
  if (coarse) pairs(o, n, 1, from, o->window); /* one more, or the last codes might be cut off */
  if (from != o->window) memcpy(o->window, square, sizeof *o->window * n);
}

static void find_kinds(qp_outlook *o, const qp_lookahead *a) {
  const uint16_t *begin = a->begin;
  for (unsigned k = 0; k < a->kinds; k++) {
    unsigned least = o->window[*begin++];
    for (unsigned w = 1; w < a->windows; w++, begin++)
      if (o->window[*begin] < least) least = o->window[*begin];
    o->kind[k] = (uint16_t)least;
  }
}

void qp_outlook_find(qp_outlook *o, const qp_code_rows *rows, const qp_lookahead *a) {
  qp_outlook_windows(o, rows, a->span, a->coarse, o->square);
  if (a->windows > 1) find_kinds(o, a);
  const uint16_t *from = a->windows > 1 ? o->kind : o->window;
  const uint16_t *at = a->pool;
  uint16_t *to = o->behind;
  for (unsigned i = 0, n = a->size; i < n; i++) to[i] = from[at[i]];
}
