/* SPDX-License-Identifier: MIT */
/*
** The forward step for one width of vectors.  trellis_push.c includes this text once for each
** instruction set, with the names that trellis_step_wide.h explains, with LOAD_ANY for what is not
** aligned, and with LEAST for the lesser of two vectors' numbers, which may be found by another
** unit than minima are.  All of them are undefined again at the end, so there is no include guard.
*/

#include "gen/encode/square_wide.h"

INLINE void NAME(pool)(const qp_trellis *t, form f, const int16_t *target, uint16_t *square) {
  const size_t size = t->rows.size;
  VECTOR x[QP_TRELLIS_DIM] = {{0}}, v[QP_TRELLIS_DIM] = {{0}};
  QP_UNROLL for (unsigned i = 0; i < f.dim; i++) x[i] = MM(set1_epi16)(target[i]);
  for (size_t at = 0; at < size; at += WIDTH) {
    QP_UNROLL for (unsigned i = 0; i < f.dim; i++) v[i] = LOAD(t->rows.pool + i * size + at);
    STORE(square + at, NAME(add)(f, x, v, MM(set1_epi16)(0)));
  }
}

TARGET static void NAME(squares)(const qp_trellis *t, const int16_t *x, uint16_t *square) {
  const form f = {t->dim, t->metric.doublings, t->metric.clips};
  if (t->dim == 2 && !f.clips) return NAME(pool)(t, (form){2, 0, false}, x, square);
  if (t->dim == 2) return NAME(pool)(t, (form){2, f.doublings, true}, x, square);
  NAME(pool)(t, (form){f.dim, f.doublings, true}, x, square);
}

/* How rows are read: vectors of a window, windows of a chunk; or a table. */
typedef struct NAME(shape) {
  unsigned vectors, windows;
  bool table;
  form f;
} NAME(shape);

/* From group p by the codes of a chunk, to the least sums of these. */
INLINE void NAME(visit)(const qp_trellis *t, NAME(shape) s, uint32_t p, unsigned chunk,
                        const VECTOR *x, const uint16_t *square, unsigned sum, VECTOR *least) {
  const VECTOR from = MM(set1_epi16)((short)sum);
  const size_t at = (size_t)p * t->rows.windows + (size_t)chunk * s.windows;
  QP_UNROLL for (unsigned w = 0; w < s.windows; w++) {
    QP_UNROLL for (unsigned i = 0; i < s.vectors; i++) {
      VECTOR v[QP_TRELLIS_DIM] = {{0}}, now;
      if (s.table) {
        const int16_t *row = t->rows.table + (at + w) * s.f.dim * QP_CODE_ROWS_LANES;
        QP_UNROLL for (unsigned e = 0; e < s.f.dim; e++) v[e] =
            LOAD_ANY(row + e * QP_CODE_ROWS_LANES);
        now = NAME(add)(s.f, x, v, from);
      } else {
        now = MM(adds_epu16)(LOAD_ANY(square + t->rows.offset[at + w] + i * WIDTH), from);
      }
      VECTOR *to = &least[w * s.vectors + i];
      *to = MM(min_epu16)(*to, now);
    }
  }
}

/* From groups p and p + 1 by the codes of a chunk, of strips. */
INLINE void NAME(visit_two)(const qp_trellis *t, NAME(shape) s, uint32_t p, unsigned chunk,
                            const uint16_t *square, const uint16_t *sum, VECTOR *least) {
  const VECTOR one = MM(set1_epi16)((short)sum[0]), other = MM(set1_epi16)((short)sum[1]);
  const size_t windows = t->rows.windows, at = (size_t)p * windows + (size_t)chunk * s.windows;
  QP_UNROLL for (unsigned w = 0; w < s.windows; w++) {
    const uint16_t *a = square + t->rows.offset[at + w];
    const uint16_t *b = square + t->rows.offset[at + windows + w];
    QP_UNROLL for (unsigned i = 0; i < s.vectors; i++) {
      const VECTOR now = LEAST(MM(adds_epu16)(LOAD_ANY(a + i * WIDTH), one),
                               MM(adds_epu16)(LOAD_ANY(b + i * WIDTH), other));
      VECTOR *to = &least[w * s.vectors + i];
      *to = MM(min_epu16)(*to, now);
    }
  }
}

/* All groups before that lead to row b of 'out', and the least of its sums so far. */
INLINE VECTOR NAME(row)(const qp_trellis *t, NAME(shape) s, uint32_t b, unsigned chunk,
                        const VECTOR *x, const uint16_t *square, const uint16_t *before,
                        uint16_t *out, VECTOR lowest) {
  VECTOR least[4] = {{0}};
  QP_UNROLL for (unsigned i = 0; i < s.vectors * s.windows; i++) least[i] = MM(set1_epi16)(-1);
  const unsigned side = t->fan < QP_CODE_ROWS_CHUNK ? t->fan : QP_CODE_ROWS_CHUNK;
  for (unsigned first = 0; first < t->fan; first += side) {
    const uint32_t p = b * t->fan + first;
    uint64_t live = NAME(live)(t, before + p);
    if (live == ~UINT64_C(0) >> (64 - side)) {
      for (unsigned j = 0; !s.table && j < side; j += 2)
        NAME(visit_two)(t, s, p + j, chunk, square, before + p + j, least);
      for (unsigned j = 0; s.table && j < side; j++)
        NAME(visit)(t, s, p + j, chunk, x, square, before[p + j], least);
      continue;
    }
    for (; live; live &= live - 1) {
      const unsigned j = (unsigned)__builtin_ctzll(live);
      NAME(visit)(t, s, p + j, chunk, x, square, before[p + j], least);
    }
  }
  QP_UNROLL for (unsigned i = 0; i < s.vectors * s.windows; i++) {
    STORE(out + i * WIDTH, least[i]);
    lowest = MM(min_epu16)(lowest, least[i]);
  }
  return lowest;
}

/* 'wanted': rows b of 'out', one behind another. */
INLINE VECTOR NAME(rows)(const qp_trellis *t, NAME(shape) s, const int16_t *target,
                         const uint16_t *square, const uint16_t *before, qp_rows_wanted wanted,
                         uint16_t *out) {
  const unsigned codes = s.vectors * s.windows * WIDTH, stride = qp_push_stride(t);
  VECTOR x[QP_TRELLIS_DIM] = {{0}}, lowest = MM(set1_epi16)(-1);
  for (unsigned i = 0; s.table && i < s.f.dim; i++) x[i] = MM(set1_epi16)(target[i]);
  for (uint32_t i = 0; i < wanted.count; i++)
    for (unsigned chunk = 0; chunk * codes < wanted.codes; chunk++)
      lowest = NAME(row)(t, s, wanted.row ? wanted.row[i] : i, chunk, x, square, before,
                         out + (size_t)i * stride + (size_t)chunk * codes, lowest);
  return lowest;
}

#undef NAME
#undef TARGET
#undef INLINE
#undef MM
#undef VECTOR
#undef WIDTH
#undef LOAD
#undef LOAD_ANY
#undef LEAST
#undef STORE
