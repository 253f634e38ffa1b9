/* SPDX-License-Identifier: MIT */
/*
** Squares of differences as gen/encode/metric.h counts them, for one width of vectors:
** trellis_step_wide.h and trellis_push_wide.h include this text, with the same names defined, so
** there is no include guard.
*/

INLINE VECTOR NAME(square)(form f, VECTOR x, VECTOR t) {
  VECTOR d = f.clips ? MM(subs_epi16)(x, t) : MM(sub_epi16)(x, t);
  if (f.doublings >= 1) d = MM(adds_epi16)(d, d);
  if (f.doublings >= 2) d = MM(adds_epi16)(d, d);
  return MM(mulhrs_epi16)(d, d);
}

/* v plus the squares of all weights of a step, the first two of which fit together in 16 bits if
   nothing is clipped. */
INLINE VECTOR NAME(add)(form f, const VECTOR *x, const VECTOR *t, VECTOR v) {
  VECTOR first = NAME(square)(f, x[0], t[0]);
  if (f.dim > 1) {
    const VECTOR second = NAME(square)(f, x[1], t[1]);
    first = f.clips ? MM(adds_epu16)(first, second) : MM(add_epi16)(first, second);
  }
  v = MM(adds_epu16)(v, first);
  QP_UNROLL for (unsigned i = 2; i < f.dim; i++) v = MM(adds_epu16)(v, NAME(square)(f, x[i], t[i]));
  return v;
}
