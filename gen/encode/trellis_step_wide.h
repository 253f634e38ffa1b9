/* SPDX-License-Identifier: MIT */
/*
** The step of the trellis search for one width of vectors: trellis_step.c includes this text once
** for each instruction set and gets  NAME(run)  as qp_trellis_step has it.  It defines before
**   NAME(f), TARGET, INLINE     names and marks of the functions
**   VECTOR, WIDTH, MM(op)       type of WIDTH 16-bit numbers, and its operations
**   LOAD, STORE                 of WIDTH sums or weights, aligned
**   IS_NARROW(t)                has a row fewer sums than WIDTH?  They come by LOAD_NARROW then.
**   LOAD_ROW                    the sums of a row of 2, 4 or 16, over and over
**   TOGETHER                    sequences of a mirrored trellis that registers have room for
**   REVERSE(v)                  the numbers of v from the last to the first
** All of it is undefined again at the end, so there is no include guard.
*/

#include "gen/encode/square_wide.h"

/* Least sums of WIDTH groups from 'group' on, in the 'count' sequences from 'from' on (up to 4, so
   that a table entry that was loaded serves all of them); choices are left out where there is one
   sequence alone. */
INLINE void NAME(groups)(const qp_trellis *t, unsigned group, const int16_t *row, form f,
                         bool narrow, unsigned count, const qp_step_batch *b, unsigned from) {
  const unsigned dim = f.dim;
  const size_t column = group % t->spread, mask = t->turned - 1, stride = t->stride;
  VECTOR x[4][QP_TRELLIS_DIM] = {{{0}}}, least[4];
  QP_UNROLL for (unsigned k = 0; k < count; k++) {
    QP_UNROLL for (unsigned i = 0; i < dim; i++) x[k][i] = MM(set1_epi16)(b->x[from + k][i]);
    least[k] = MM(set1_epi16)(-1);
  }
  const unsigned first = count > 1 ? 0 : b->first, apart = count > 1 ? 1 : b->apart;
  row += first * dim * LANES;
  for (unsigned j = first; j < t->fan; j += apart, row += apart * dim * LANES) {
    const size_t at = (j & mask) * stride + column;
    VECTOR v[QP_TRELLIS_DIM] = {{0}};
    QP_UNROLL for (unsigned i = 0; i < dim; i++) v[i] = LOAD(row + i * LANES);
    QP_UNROLL for (unsigned k = 0; k < count; k++) {
      const uint16_t *sums = b->sum[from + k] + at;
      const VECTOR sum = narrow ? LOAD_NARROW(sums) : LOAD(sums);
      least[k] = MM(min_epu16)(NAME(add)(f, x[k], v, sum), least[k]);
    }
  }
  QP_UNROLL for (unsigned k = 0; k < count; k++) STORE(b->least[from + k] + group, least[k]);
}

/* Any one sequence: few, so that it is made once for all forms. */
TARGET static void NAME(one)(const qp_trellis *t, unsigned group, const int16_t *row, form f,
                             const qp_step_batch *b, unsigned from) {
  NAME(groups)(t, group, row, f, IS_NARROW(t), 1, b, from);
}

INLINE void NAME(tile)(const qp_trellis *t, unsigned tile, form f, bool narrow,
                       const qp_step_batch *b) {
  const int16_t *row = t->table + (size_t)tile * t->fan * f.dim * LANES;
  for (unsigned at = 0; at < LANES; at += WIDTH) {
    const unsigned group = tile * LANES + at;
    unsigned k = 0;
    for (; k + 4 <= b->count; k += 4) NAME(groups)(t, group, row + at, f, narrow, 4, b, k);
    for (; k < b->count; k++) NAME(one)(t, group, row + at, f, b, k);
  }
}

/* ---- Mirrored trellises: a square for states s and ~s (qp_trellis_pair) ---- */

/* Write least sums of lanes from 'at' on of a tile of the lower half, or with 'upper' of the groups
   that mirror these. */
INLINE void NAME(put)(const qp_trellis *t, unsigned tile, unsigned at, bool descends, bool upper,
                      uint16_t *least, VECTOR v) {
  uint16_t *to = least + (upper ? t->groups - LANES - tile * LANES : tile * LANES);
  if (descends == upper)
    STORE(to + at, v);
  else
    STORE(to + (LANES - WIDTH - at), REVERSE(v));
}

/* Both halves, or with 'even' what is the same of both. */
INLINE void NAME(put_both)(const qp_trellis *t, unsigned tile, unsigned at, bool descends,
                           bool even, uint16_t *least, const VECTOR v[2]) {
  NAME(put)(t, tile, at, descends, false, least, v[0]);
  NAME(put)(t, tile, at, descends, true, least, v[!even]);
}

/* Of a row of so many sums, or of one that is longer than a vector. */
INLINE VECTOR NAME(sums)(unsigned spread, const uint16_t *from) {
  switch (spread) {
  case 2: return LOAD_ROW(2, from);
  case 4: return LOAD_ROW(4, from);
  case 16: return LOAD_ROW(16, from);
  default: return LOAD(from);
  }
}

/* The least of one or two vectors and what was the least so far. */
INLINE void NAME(lessen)(VECTOR *least, unsigned rows, const VECTOR *now) {
  *least = MM(min_epu16)(rows > 1 ? LEAST(now[0], now[1]) : now[0], *least);
}

/* Do as NAME(groups) does, with all choices, for WIDTH lanes of a pair of tiles. */
INLINE void NAME(pair)(const qp_trellis *t, unsigned tile, unsigned at, form f, unsigned spread,
                       bool even, unsigned count, const qp_step_batch *b, unsigned from) {
  const qp_trellis_pair p = t->pair[tile];
  const size_t lane = spread ? 0 : at;
  const int16_t *row = t->table + (size_t)tile * t->fan * 2 * LANES + at;
  const int16_t *const end = row + (size_t)t->fan * 2 * LANES;
  const unsigned rows = count > 1 && f.clips && WIDTH == 32 ? 2 : 1;
  VECTOR x[TOGETHER][2], least[TOGETHER][2];
  QP_UNROLL for (unsigned k = 0; k < count; k++) QP_UNROLL for (unsigned i = 0; i < 2; i++) {
    x[k][i] = MM(set1_epi16)(b->x[from + k][i]);
    least[k][i] = MM(set1_epi16)(-1);
  }
  while (row < end) {
    size_t low = p.from[even && p.descends] + lane, up = p.from[1] + lane;
    for (unsigned left = t->turned / rows; left; left--, row += rows * 2 * LANES) {
      VECTOR v[2][2];
      QP_UNROLL for (unsigned r = 0; r < rows; r++) v[r][0] = LOAD(row + r * 2 * LANES),
                                                    v[r][1] = LOAD(row + r * 2 * LANES + LANES);
      QP_UNROLL for (unsigned k = 0; k < count; k++) {
        const uint16_t *sums = b->sum[from + k];
        VECTOR now[2][2];
        QP_UNROLL for (unsigned r = 0; r < rows; r++) {
          const VECTOR square = NAME(squares_of_two)(f, x[k], v[r]);
          now[0][r] =
              MM(adds_epu16)(square, NAME(sums)(spread, sums + low + r * (size_t)p.apart[0]));
          if (!even)
            now[1][r] =
                MM(adds_epu16)(square, NAME(sums)(spread, sums + up + r * (size_t)p.apart[1]));
        }
        NAME(lessen)(&least[k][0], rows, now[0]);
        if (!even) NAME(lessen)(&least[k][1], rows, now[1]);
      }
      low += rows * (size_t)p.apart[0], up += rows * (size_t)p.apart[1];
    }
  }
  QP_UNROLL for (unsigned k = 0; k < count; k++)
      NAME(put_both)(t, tile, at, p.descends, even, b->least[from + k], least[k]);
}

/* The least sums of one half of the groups, of the choices 'first', first + b->apart, ... */
INLINE VECTOR NAME(near)(const qp_trellis *t, unsigned tile, unsigned at, form f, bool upper,
                         unsigned first, const qp_step_batch *b, VECTOR least) {
  const qp_trellis_pair p = t->pair[tile];
  const int16_t *row = t->table + (size_t)tile * t->fan * f.dim * LANES + at;
  const uint16_t *sums = b->sum[0] + p.from[b->even ? p.descends : upper];
  const VECTOR x[2] = {MM(set1_epi16)(b->x[0][0]), MM(set1_epi16)(b->x[0][1])};
  for (unsigned i = first; i < t->fan; i += b->apart) {
    const unsigned j = p.descends != upper ? t->fan - 1 - i : i;
    const uint16_t *sum = sums + (ptrdiff_t)(j & (t->turned - 1)) * p.apart[upper];
    const VECTOR v[2] = {LOAD(row + (size_t)j * 2 * LANES),
                         LOAD(row + (size_t)j * 2 * LANES + LANES)};
    const VECTOR from = t->spread > 16 ? LOAD(sum + at) : NAME(sums)(t->spread, sum);
    least = MM(min_epu16)(NAME(add)(f, x, v, from), least);
  }
  return least;
}

TARGET static void NAME(near_pair)(const qp_trellis *t, unsigned tile, unsigned at, form f,
                                   const qp_step_batch *b) {
  VECTOR least[2];
  for (unsigned upper = 0; upper < 2; upper++) {
    least[upper] = NAME(near)(t, tile, at, f, upper, b->first, b, MM(set1_epi16)(-1));
    if (b->even)
      least[upper] = NAME(near)(t, tile, at, f, upper, b->apart - 1 - b->first, b, least[upper]);
    if (b->even) break;
  }
  NAME(put_both)(t, tile, at, t->pair[tile].descends, b->even, b->least[0], least);
}

/* Any sequences from the k-th on, one by one: few, so that it is made once for all forms. */
TARGET static void NAME(any_pairs)(const qp_trellis *t, unsigned tile, form f,
                                   const qp_step_batch *b, unsigned k) {
  for (; k < b->count; k++)
    for (unsigned at = 0; at < LANES; at += WIDTH)
      if (b->apart > 1)
        NAME(near_pair)(t, tile, at, f, b);
      else
        NAME(pair)(t, tile, at, f, t->spread > 16 ? 0 : t->spread, b->even, 1, b, k);
}

INLINE void NAME(pairs)(const qp_trellis *t, unsigned tile, form f, unsigned spread, bool even,
                        const qp_step_batch *b) {
  unsigned k = 0;
  for (; b->apart == 1 && k + TOGETHER <= b->count; k += TOGETHER)
    for (unsigned at = 0; at < LANES; at += WIDTH)
      NAME(pair)(t, tile, at, f, spread, even, TOGETHER, b, k);
  if (k < b->count) NAME(any_pairs)(t, tile, f, b, k);
}

INLINE void NAME(all_pairs)(const qp_trellis *t, unsigned tile, form f, unsigned spread,
                            const qp_step_batch *b) {
  b->even ? NAME(pairs)(t, tile, f, spread, true, b) : NAME(pairs)(t, tile, f, spread, false, b);
}

/* Squares are made finer by doublings where steps have so many bits that there is one column; other
   trellises with them are made as any. */
INLINE void NAME(mirrored)(const qp_trellis *t, unsigned tile, form f, const qp_step_batch *b) {
  if (t->spread == 2)
    NAME(all_pairs)(t, tile, f, 2, b);
  else if (f.doublings)
    NAME(any_pairs)(t, tile, f, b, 0);
  else if (t->spread == 4)
    NAME(all_pairs)(t, tile, f, 4, b);
  else if (t->spread == 16)
    NAME(all_pairs)(t, tile, f, 16, b);
  else
    NAME(all_pairs)(t, tile, f, 0, b);
}

INLINE void NAME(spread)(const qp_trellis *t, unsigned tile, form f, const qp_step_batch *b) {
  IS_NARROW(t) ? NAME(tile)(t, tile, f, true, b) : NAME(tile)(t, tile, f, false, b);
}

/* Of seldom forms, made once for all of them. */
TARGET static void NAME(any)(const qp_trellis *t, unsigned tile, form f, const qp_step_batch *b) {
  NAME(spread)(t, tile, f, b);
}

INLINE void NAME(dims)(const qp_trellis *t, unsigned tile, unsigned doublings, bool clips,
                       const qp_step_batch *b) {
  switch (t->dim) {
  case 1: NAME(spread)(t, tile, (form){1, doublings, clips}, b); break;
  case 2:
    t->mirrored ? NAME(mirrored)(t, tile, (form){2, doublings, clips}, b)
                : NAME(spread)(t, tile, (form){2, doublings, clips}, b);
    break;
  case 4:
    clips ? NAME(any)(t, tile, (form){4, doublings, clips}, b)
          : NAME(spread)(t, tile, (form){4, doublings, clips}, b);
    break;
  default: NAME(any)(t, tile, (form){t->dim, doublings, clips}, b);
  }
}

TARGET static void NAME(run)(const qp_trellis *t, unsigned tile, const qp_step_batch *b) {
  switch (t->metric.doublings) {
  case 0:
    t->metric.clips ? NAME(dims)(t, tile, 0, true, b) : NAME(dims)(t, tile, 0, false, b);
    break;
  case 1: NAME(dims)(t, tile, 1, true, b); break;
  default: NAME(dims)(t, tile, 2, true, b);
  }
}

#undef NAME
#undef TARGET
#undef INLINE
#undef MM
#undef VECTOR
#undef WIDTH
#undef IS_NARROW
#undef LOAD_ROW
#undef TOGETHER
#undef LEAST
#undef REVERSE
#undef LOAD
#undef LOAD_NARROW
#undef STORE
