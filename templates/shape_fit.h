/* SPDX-License-Identifier: MIT */
/*
** The steps that choose fields which scale vectors (gen/encode/shapes.h):  the targets of a unit
** --> its scale and each group's own whole numbers.  C (gen/encode/shapes.c) and CUDA
** (templates/encode_shapes.cu.in) compile this one text.  Before it are defined
**   QP_STEP, QP_INFINITE, qp_real   as templates/field_fit.h has them
**   qp_shape          the unit in hand and all that is known of its quantizer, by these functions:
**     shape_groups, shape_owns   groups of the unit; combinations of whole numbers
**     shape_own(i)    what combination i multiplies a scale by; they ascend
**     shape_power(g)  the sum of squares of group g's targets
**     shape_rms(g)    the root of their mean
**     shape_sums(g, a, cross, square)   sums of x.u and u.u with the codes that are nearest at a
**     shape_raw(x), shape_scale(raw)    the scale that is nearest to x as it is stored; its number
**     shape_fitted(g) what stands of group g: a shape_best
**
** Of a group's targets x and the codes that are nearest at a number a, the sum of squares as a
** function of the number alone is
**   |x|^2 - 2 a x.u + a^2 u.u   =   lost + u.u (a - best)^2,   best = x.u / u.u.
*/
#ifndef QP_SHAPE_FIT_STEPS
#define QP_SHAPE_FIT_STEPS

enum { SHAPE_TRIED = 4, SHAPE_REFITS = 2 };

/* What a group has at one number: x.u / u.u, u.u, and the sum of squares at 'best'. */
typedef struct shape_best {
  qp_real best, square, error;
} shape_best;

/* The best number of those near 'a'. */
QP_STEP void shape_near(qp_shape *s, unsigned g, qp_real power, qp_real a, shape_best *out) {
  qp_real cross, square;
  shape_sums(s, g, a, &cross, &square);
  out->best = out->square = 0;
  out->error = power;
  if (!(square > 0)) return;
  out->best = cross / square;
  out->square = square;
  out->error = power - cross * cross / square;
}

/* Numbers that are parts of the root mean square of the targets, over that of all vectors; then
   from the best one on. */
QP_STEP void shape_fit_group(qp_shape *s, unsigned g, shape_best *best) {
  const qp_real power = shape_power(s, g), rms = shape_rms(s, g);
  best->best = best->square = best->error = 0;
  if (!(rms > 0)) return;
  best->error = QP_INFINITE;
  for (unsigned i = 0; i < SHAPE_TRIED + SHAPE_REFITS; i++) {
    const bool refits = i >= SHAPE_TRIED;
    const qp_real part = i == 0 ? 0.65 : i == 1 ? 0.8 : i == 2 ? 0.95 : 1.15;
    shape_best now;
    if (refits && !(best->best != 0)) return;
    shape_near(s, g, power, refits ? best->best : part * rms, &now);
    if (now.error < best->error)
      *best = now;
    else if (refits)
      return;
  }
}

/* The sum of squares at a number. */
QP_STEP qp_real shape_error(qp_shape *s, unsigned g, qp_real a) {
  qp_real cross = 0, square = 0;
  if (a != 0) shape_sums(s, g, a, &cross, &square);
  return shape_power(s, g) - 2 * a * cross + a * a * square;
}

QP_STEP unsigned shape_nearest_own(const qp_shape *s, qp_real number) {
  unsigned low = 0, high = shape_owns(s) - 1;
  while (low < high) {
    const unsigned middle = (low + high) / 2;
    if (shape_own(s, middle) + shape_own(s, middle + 1) < 2 * number)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

QP_STEP unsigned shape_own_at(qp_shape *s, unsigned g, qp_real scale) {
  return scale != 0 ? shape_nearest_own(s, shape_fitted(s, g)->best / scale) : 0;
}

/* What a scale costs beyond each group's own best number. */
QP_STEP qp_real shape_misses(qp_shape *s, qp_real scale) {
  qp_real sum = 0;
  for (unsigned g = 0; g < shape_groups(s); g++) {
    const shape_best *b = shape_fitted(s, g);
    const qp_real miss = scale * shape_own(s, shape_own_at(s, g, scale)) - b->best;
    sum += b->square * miss * miss;
  }
  return sum;
}

/* Of the scales that make one of the groups exact, the best; then the best for what was chosen. */
QP_STEP unsigned shape_choose_scale(qp_shape *s) {
  unsigned best = shape_raw(s, 0);
  qp_real least = QP_INFINITE, cross = 0, square = 0;
  for (unsigned g = 0; g < shape_groups(s); g++)
    for (unsigned i = 0; i < shape_owns(s); i++) {
      const qp_real number = shape_own(s, i);
      if (!(number != 0)) continue;
      const unsigned raw = shape_raw(s, shape_fitted(s, g)->best / number);
      const qp_real now = shape_misses(s, shape_scale(s, raw));
      if (now < least) least = now, best = raw;
    }
  for (unsigned g = 0; g < shape_groups(s); g++) {
    const shape_best *b = shape_fitted(s, g);
    const qp_real number = shape_own(s, shape_own_at(s, g, shape_scale(s, best)));
    cross += b->square * number * b->best;
    square += b->square * number * number;
  }
  const unsigned fitted = square > 0 ? shape_raw(s, cross / square) : best;
  return shape_misses(s, shape_scale(s, fitted)) < least ? fitted : best;
}

/* A group's own fields at a scale: the nearest to its best number, or a neighbour of that. */
QP_STEP unsigned shape_choose_own(qp_shape *s, unsigned g, qp_real scale) {
  const unsigned at = shape_own_at(s, g, scale);
  unsigned best = at;
  qp_real least = QP_INFINITE;
  for (unsigned i = at ? at - 1 : 0; i <= at + 1 && i < shape_owns(s); i++) {
    qp_real now = 0;
    if (shape_owns(s) > 1) now = shape_error(s, g, scale * shape_own(s, i));
    if (now < least) least = now, best = i;
  }
  return best;
}

#endif
