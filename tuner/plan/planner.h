/* SPDX-License-Identifier: MIT */
/* What `qpal plan` runs:  input -> problem -> solution -> [plan]. */
#ifndef QP_PLANNER_H
#define QP_PLANNER_H

#include "tuner/plan/build.h"

typedef struct qp_planner_options {
  double time_limit_s;  /* 0: none */
  unsigned block_types; /* most blocks that differ; 0: any number */
} qp_planner_options;

/*
** Find the best plan and check it again (qp_plan_check).  '*solution' is filled where one was
** sought, also when the limits are infeasible.
** QP_E_WRONG: no plan is within the limits; the message says by how much and what the cheapest plan
** is.  QP_E_LIMIT: the time ran out before any plan was found.  QP_E_ARG, QP_E_NOMEM:
** qp_plan_build.
**
** With block_types K the plan is of the best of several partitions of the blocks into K classes,
** each planned exactly; its bound is that of plans without this restriction, so the gap is proven
** but not 0 (for K = 1, and where the best plan needs no more than K types, it is 0).
*/
qp_status qp_planner_run(const qp_plan_input *in, const qp_planner_options *options, qp_plan *out,
                         qp_solution *solution, qp_error *err);

/* Count the different blocks in a plan, which differ by quantizers, launches or paths. */
unsigned qp_planner_block_types(const qp_plan *p);

#endif
