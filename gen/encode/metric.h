/* SPDX-License-Identifier: MIT */
/* What a search of paths counts in: it sums squares of differences as whole numbers of 16 bits. */
#ifndef QP_METRIC_H
#define QP_METRIC_H

#include <stdbool.h>
#include <stddef.h>

/*
** All of it is whole numbers, so that every instruction set, number of threads and device finds
** the same codes.  With  clip(v) = v brought into [-2^15, 2^15):
**  x^ = x scale, to the nearest whole number, brought into [-edge, edge]
**  t^ = the same of the table's numbers, in [-peak, peak]
**  d  = clip((x^ - t^) 2^doublings)                                  of each weight of a step
**  a sum  = min(65535, sum before + sum of (d d + 2^14) >> 15)       65535: no path
** Scale and doublings make a unit of a sum so small that rounding adds less than 0.1 % to the
** distortion at the code's rate, and so large that differences between paths fit. */
typedef struct qp_metric {
  float scale;
  int edge, peak;     /* the largest x^ and the largest t^ */
  unsigned doublings; /* 0 to 2 */
  bool clips;         /* some x^ - t^ may be beyond 16 bits */
} qp_metric;

enum { QP_NO_PATH = 65535 };

/* Choose the metric for a table of 'states' times 'dim' values, of codes of 'step' bits. */
qp_metric qp_metric_choose(unsigned step, unsigned dim, size_t states, const float *values);

/* Compute x^ of a target, or t^ of a state's value. */
int qp_metric_target(const qp_metric *m, float x);
int qp_metric_value(const qp_metric *m, float v);

/* Compute the square of x^ - t^ as the sums count it. */
static inline unsigned qp_metric_square(const qp_metric *m, int x, int at) {
  int d = (x - at) * (1 << m->doublings);
  d = d < -32768 ? -32768 : d > 32767 ? 32767 : d;
  return (unsigned)(d * d + (1 << 14)) >> 15;
}

#endif
