/* SPDX-License-Identifier: MIT */
/* Does the dominance DP over the choices of each item within the gap; solve uses it. */
#ifndef QP_DOMINANCE_H
#define QP_DOMINANCE_H

#include "tuner/plan/knapsack.h"

typedef struct qp_dominance {
  const qp_knap *k;
  const qp_near_list *list; /* [k->items] */
  double lambda, mu;        /* where 'reduced' was taken */
  double delta;             /* partial plans of more reduced cost are dropped */
  double most_loss;         /* plans of this loss or more are not looked for */
  double bound, margin;     /* bound of the dual, and what rounding may do to it */
  double deadline_s;        /* on the clock of qp_seconds(); 0: none */
  size_t most_states;
  /* out: */
  bool found;
  double loss;
  size_t states; /* the most at once */
} qp_dominance;

/*
** Find the plan of least loss below most_loss within the limits among the lists, if it has reduced
** cost (with the slack of the limits at their multipliers) of at most delta.  Partial plans are
** also dropped by bounds of what is left (one limit: the linear relaxation, hull.h; two: at
** multipliers around (lambda, mu)), and completed with the choices behind those bounds: a complete
** plan within the limits lowers most_loss at once.
**   plan: [k->items], written if d->found.
** QP_E_LIMIT: time or states ran out; QP_E_NOMEM.
*/
qp_status qp_dominance_run(qp_dominance *d, qp_knap_choice *plan);

#endif
