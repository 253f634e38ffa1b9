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

/* The squares of the first two weights of a step, or of one alone: two fit together in 16 bits if
   nothing is clipped. */
INLINE VECTOR NAME(squares_of_two)(form f, const VECTOR *x, const VECTOR *t) {
  const VECTOR first = NAME(square)(f, x[0], t[0]);
  if (f.dim < 2) return first;
  const VECTOR second = NAME(square)(f, x[1], t[1]);
  return f.clips ? MM(adds_epu16)(first, second) : MM(add_epi16)(first, second);
}

/* v plus the squares of all weights of a step. */
INLINE VECTOR NAME(add)(form f, const VECTOR *x, const VECTOR *t, VECTOR v) {
  v = MM(adds_epu16)(v, NAME(squares_of_two)(f, x, t));
  QP_UNROLL for (unsigned i = 2; i < f.dim; i++) v = MM(adds_epu16)(v, NAME(square)(f, x[i], t[i]));
  return v;
}
