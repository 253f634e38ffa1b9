/* SPDX-License-Identifier: MIT */
/* Bounds the planner's problem by its Lagrangian:  knapsack -> [bound, multipliers, first plan]. */
#ifndef QP_DUAL_H
#define QP_DUAL_H

#include "tuner/plan/knapsack.h"

/*
** For lambda, mu >= 0
**   g(lambda, mu) = sum over items of min (loss + lambda ps + mu bytes)
**                   - lambda ps_limit - mu bytes_limit
** is a lower bound of the loss of every plan within the limits (weak duality).  g is concave and
** piecewise linear.
*/
typedef struct qp_dual {
  double bound, lambda, mu; /* the highest g that was found, and where */
  double margin;            /* what rounding may have added to sums of the size of g's terms */
  bool found;               /* a plan within the limits was met on the way: */
  qp_knap_total best;       /* its totals; 'plan' below holds it */
  bool infeasible;          /* g exceeds every plan's loss: no plan is within the limits */
  unsigned evaluations;
} qp_dual;

/*
** Maximise g by cutting planes (Kelley 1960): each evaluation gives a plan and so a plane that
** bounds g from above; the next multipliers are where the lowest planes meet highest.  'plan' has
** room for k->items choices; it holds the best plan within the limits if out->found.  QP_E_NOMEM.
*/
qp_status qp_dual_solve(const qp_knap *k, qp_knap_choice *plan, qp_dual *out, qp_error *err);

/* One evaluation: the plan at the multipliers ('plan' may be NULL) and its totals; returns the sum
   of  weight loss + lambda ps + mu bytes. */
double qp_dual_plan(const qp_knap *k, double weight, double lambda, double mu, qp_knap_choice *plan,
                    qp_knap_total *total);

#endif
