/* SPDX-License-Identifier: MIT */
/* Traces the Pareto fronts of an input: loss against latency, and loss against bits. */
#ifndef QP_FRONT_H
#define QP_FRONT_H

#include "gen/base/text.h"
#include "tuner/plan/build.h"

typedef struct qp_front_point {
  double loss, bits_per_weight;
  int64_t latency_ps; /* with the constant; -1: not known */
  uint64_t memory_bytes;
} qp_front_point;

typedef struct qp_front_line {
  size_t points, capacity;
  qp_front_point *point; /* loss falling, cost rising */
  double step;           /* see qp_front_trace */
} qp_front_line;

typedef struct qp_front {
  char model[64], gpu[128];
  qp_front_line latency; /* no point where latencies are not known */
  qp_front_line bits;
} qp_front;

/* Neighbours further apart, as part of the loss, get points between them where there are any. */
#define QP_FRONT_STEP 0.01

/*
** Trace both fronts without limits.  First come all plans on the lower convex hulls of (latency,
** loss) and of (bits, loss), found by halving segments (for two neighbours, the plan that is best
** in the direction of their segment; none below it proves that no plan lies below the segment).
** Then come exact plans with limits in between, until neighbours' losses are within QP_FRONT_STEP
** or it is proven that no plan lies between them.  So under any limit the best point of a front has
** a loss of at most 1 + 'step' times the best plan's; 'step' is larger than QP_FRONT_STEP only if
** the time ran out (0: no limit).
** Errors: those of qp_plan_build.  Free with qp_front_free.
*/
qp_status qp_front_trace(const qp_plan_input *in, double time_limit_s, qp_front *out,
                         qp_error *err);
void qp_front_free(qp_front *f);

/*
** JSON {"schema": "qpal-front", "version": 1, "latency": [...], "bits": [...], "chosen": ...};
** 'chosen' may be NULL.
*/
void qp_front_print(const qp_front *f, const qp_plan *chosen, qp_text *to);
/* Draw both fronts with loss on a logarithmic axis and the chosen plan marked. */
void qp_front_svg(const qp_front *f, const qp_plan *chosen, qp_text *to);
/* Print about 20 points of each front on stdout. */
void qp_front_table(const qp_front *f);

#endif
