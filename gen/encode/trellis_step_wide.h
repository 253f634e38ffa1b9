/* SPDX-License-Identifier: MIT */
/*
** The step of the trellis search for one width of vectors: trellis_step.c includes this text once
** for each instruction set and gets  NAME(run)  as qp_trellis_step has it.  It defines before
**   NAME(f), TARGET, INLINE     names and marks of the functions
**   VECTOR, WIDTH, MM(op)       type of WIDTH 16-bit numbers, and its operations
**   LOAD, STORE                 of WIDTH sums or weights, aligned
**   IS_NARROW(t)                has a row fewer sums than WIDTH?  They come by LOAD_NARROW then.
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

INLINE void NAME(tile)(const qp_trellis *t, unsigned tile, form f, bool narrow,
                       const qp_step_batch *b) {
  const int16_t *row = t->table + (size_t)tile * t->fan * f.dim * LANES;
  for (unsigned at = 0; at < LANES; at += WIDTH) {
    const unsigned group = tile * LANES + at;
    unsigned k = 0;
    for (; k + 4 <= b->count; k += 4) NAME(groups)(t, group, row + at, f, narrow, 4, b, k);
    for (; k < b->count; k++) NAME(groups)(t, group, row + at, f, narrow, 1, b, k);
  }
}

INLINE void NAME(spread)(const qp_trellis *t, unsigned tile, form f, const qp_step_batch *b) {
  IS_NARROW(t) ? NAME(tile)(t, tile, f, true, b) : NAME(tile)(t, tile, f, false, b);
}

INLINE void NAME(dims)(const qp_trellis *t, unsigned tile, unsigned doublings, bool clips,
                       const qp_step_batch *b) {
  switch (t->dim) {
  case 1: NAME(spread)(t, tile, (form){1, doublings, clips}, b); break;
  case 2: NAME(spread)(t, tile, (form){2, doublings, clips}, b); break;
  case 4: NAME(spread)(t, tile, (form){4, doublings, clips}, b); break;
  default: NAME(spread)(t, tile, (form){t->dim, doublings, clips}, b);
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
#undef LOAD
#undef LOAD_NARROW
#undef STORE
