/* SPDX-License-Identifier: MIT */
/* Latencies of a model's launches:  latency table --match, weigh, pool--> [costs] -> problem. */
#ifndef QP_COSTS_H
#define QP_COSTS_H

#include "tuner/plan/input.h"

enum { QP_GROUP_LINEARS_MAX = 8 };

typedef struct qp_launch_cost {
  int64_t ps, spread_ps; /* ps -1: not known */
  qp_latency_match match;
  size_t row; /* The row of the table; of several batches that of the first. */
} qp_launch_cost;

/* A measured launch of several quantizers: the tags (quantizer * QP_KNAP_TAGS + path) of the
   linears of the mask, in order. */
typedef struct qp_mixed_cost {
  unsigned mask, tag[QP_GROUP_LINEARS_MAX];
  qp_launch_cost cost;
} qp_mixed_cost;

typedef struct qp_group_costs {
  unsigned linears;
  qp_launch_cost *same; /* [1 << linears][menu][QP_PATHS]: all of the mask with one quantizer */
  unsigned mixeds;
  qp_mixed_cost *mixed;
} qp_group_costs;

typedef struct qp_costs {
  unsigned groups; /* The model's groups, and behind them the lm_head. */
  qp_group_costs *group;
  unsigned paths; /* The paths of the input, or those of the table in the order of its rows. */
  char path[QP_PATHS][QP_PATH_NAME];
  int64_t overhead_ps; /* The fixed cost of a launch; -1: it is not known, so no launch is
                          modelled. */
  size_t rows_used, rows_refused; /* rows of the table that served, and rows refused for their match
                                     or definition */
} qp_costs;

/* Find the cost of the linears 'mask' of a group in one launch by one quantizer on a path; NULL: it
   is not known. */
const qp_launch_cost *qp_costs_same(const qp_costs *c, const qp_plan_input *in, unsigned group,
                                    unsigned mask, unsigned quantizer, unsigned path);

/*
** Collect the costs of every launch that the table has.  A row serves each set of linears of a
** group that has its shapes (or roles).  Over several batches a launch costs the weighted mean, and
** is known where all batches have it.  With a confidence p above 0.5 it costs  median + z(p) *
** spread,  z the normal quantile, where launches of equal shapes have shared their medians and
** spreads.  Without an overhead in the table, it is the median of what fusing saved, (sum of parts
** - fused) / (members - 1), over the launches where both are measured.  QP_E_ARG: two rows for one
** launch; a key that fits no role of the model; a table by keys of another model; no spread in the
** table where a confidence is asked for.  QP_E_NOMEM.  No table: all unknown.
*/
qp_status qp_costs_make(const qp_plan_input *in, qp_costs *out, qp_error *err);
void qp_costs_free(qp_costs *c);

/* z with P(N(0,1) <= z) = p, 0.5 <= p < 1. */
double qp_normal_quantile(double p);

#endif
