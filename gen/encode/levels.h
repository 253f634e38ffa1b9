/* SPDX-License-Identifier: MIT */
/* Finds the nearest of ascending levels that are scaled and shifted:  targets + a, b --> codes,
   sums of a fit. */
#ifndef QP_LEVELS_H
#define QP_LEVELS_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/status.h"

/*
** Levels u_0 < u_1 < ..., made once and read by all threads.  Evenly spaced ones are counted: their
** u is 0, 1, 2, ..., and a value v stands at (v - first) / apart.
*/
typedef struct qp_levels {
  unsigned count, depth; /* number of levels, and its log2, rounded up */
  bool even;
  double first, apart; /* of evenly spaced levels; else 0 and 1 */
  float *value;        /* [2^depth, at least 16]: u; beyond the count the last one is repeated. */
  float *edge; /* [2^depth, at least 16]: the middle between u and the next one; infinite beyond the
                  last. */
  int simd;    /* The qp_simd_level of this CPU. */
} qp_levels;

/* 'values' [count] ascend, no two are equal; count is at least 2.  Free with qp_levels_free.
   QP_E_NOMEM only. */
qp_status qp_levels_make(qp_levels *out, unsigned count, const double *values, qp_error *err);
/* Put 'count' other values, ascending but for equal ones, in the place of the levels' own. */
void qp_levels_set(qp_levels *l, const float *values);
void qp_levels_free(qp_levels *l);

/* Of targets x whose levels are u, and e = x - (a u + b): the sums of these. */
typedef struct qp_level_sums {
  double ee, eu, e, u, uu, n;
} qp_level_sums;

/*
** For each of n targets the level whose a u + b is nearest (in floats, but for ties).  Sums are
** those of floats in a fixed order, the same on every machine.
*/
void qp_levels_fit(const qp_levels *l, size_t n, const float *targets, double a, double b,
                   qp_level_sums *out);

#endif
