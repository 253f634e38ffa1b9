/* SPDX-License-Identifier: MIT */
/* The exact solver:  knapsack --bound, dominance DP--> [plan, proof]. */
#ifndef QP_SOLVE_H
#define QP_SOLVE_H

#include "tuner/plan/knapsack.h"

typedef struct qp_solve_options {
  double time_limit_s; /* 0: none */
  size_t most_states;  /* kept at once; 0: 8 million */
} qp_solve_options;

typedef enum qp_solve_outcome {
  QP_SOLVE_PROVEN,     /* the plan is the best there is */
  QP_SOLVE_STOPPED,    /* the time or the memory ran out: the best plan so far, and a bound */
  QP_SOLVE_UNKNOWN,    /* the same, and no plan within the limits was found */
  QP_SOLVE_INFEASIBLE, /* no plan is within the limits; 'total' is of the cheapest plan: least ps
                          within bytes_limit, or least bytes where that alone cannot be met */
} qp_solve_outcome;

typedef struct qp_solution {
  qp_solve_outcome outcome;
  qp_knap_total total;
  double bound; /* No plan within the limits has less loss; where the plan is proven it is the loss
                   itself. */
  /* Where it is infeasible the cheapest plan misses a limit by so much; 0 for a limit that it
     meets. */
  int64_t ps_over, bytes_over;
  unsigned evaluations, rounds; /* evaluations of the dual function, and rounds of the DP */
  size_t states;                /* the most at once */
  double seconds;
} qp_solution;

/*
** Find the best plan, with a proof.  With r = loss + lambda ps + mu bytes - min the reduced cost of
** a choice at the dual's multipliers, a plan of loss z within the limits has  sum of r <= z -
** bound.  So a DP over the items that keeps every undominated partial plan of reduced cost up to
** delta either finds the best plan, if its loss is at most bound + delta, or proves that there is
** none so good; then delta grows.  ps and bytes are whole numbers, and limits are checked again at
** the end.
**   plan: k->items choices, written unless the outcome is QP_SOLVE_UNKNOWN.
** QP_E_ARG: qp_knap_check; QP_E_NOMEM.  Infeasible and stopped are outcomes, not errors.
*/
qp_status qp_solve(const qp_knap *k, const qp_solve_options *options, qp_knap_choice *plan,
                   qp_solution *out, qp_error *err);

#endif
