/* SPDX-License-Identifier: MIT */
/* Bounds what the last items of a problem with one limit can still do; it is a part of the
   dominance DP. */
#ifndef QP_HULL_H
#define QP_HULL_H

#include "tuner/plan/knapsack.h"

/* A step along an item's convex hull leads to 'choice', which costs more and loses less. */
typedef struct qp_hull_step {
  unsigned layer;
  uint32_t choice;
  int64_t cost;
  double loss;  /* loss that the step saves, > 0 */
  double slope; /* loss / cost, no more than that of the layer's step before */
} qp_hull_step;

typedef struct qp_hull {
  unsigned layers, steps;
  qp_hull_step *step; /* The steps of all layers, those that save most for a unit of cost first. */
  uint32_t *cheapest; /* [layers]: the choice of least cost */
  int64_t *base_cost; /* [layers + 1]: of the cheapest choices of layers i.. */
  double *base_loss;
  unsigned *first; /* [layers + 1]: where in 'cost' and 'saved' the sums for layers i.. begin */
  int64_t *cost;   /* Sums over the steps of layers i.., running in the order of 'step'. */
  double *saved;
} qp_hull;

/*
** Hulls of (cost, loss) of the choices of each layer, list[order[layer]]; cost is bytes or ps.  The
** choices are as qp_knap_within leaves them for one limit: loss rising, cost falling.
** QP_E_NOMEM.  Free with qp_hull_free.
*/
qp_status qp_hull_make(const qp_near_list *list, const unsigned *order, unsigned layers, bool bytes,
                       qp_hull *out);
void qp_hull_free(qp_hull *h);

/* A bound over all plans for layers 'from'.. with a cost of at most 'left'. */
typedef struct qp_hull_rest {
  double bound;   /* none has less loss (the linear relaxation's value); INFINITY: there is none */
  double loss;    /* loss of the plan of whole steps, unless bound is INFINITY */
  unsigned steps; /* that it takes, for qp_hull_take */
} qp_hull_rest;
qp_hull_rest qp_hull_left(const qp_hull *h, unsigned from, int64_t left);

/* List the choices of that plan, take[layer] for layers 'from'.. */
void qp_hull_take(const qp_hull *h, unsigned from, unsigned steps, uint32_t *take);

#endif
