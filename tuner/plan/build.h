/* SPDX-License-Identifier: MIT */
/* Translates:  input -> [knapsack], and the knapsack's solution -> [plan]. */
#ifndef QP_BUILD_H
#define QP_BUILD_H

#include "tuner/plan/costs.h"
#include "tuner/plan/knapsack.h"
#include "tuner/plan/plan_file.h"
#include "tuner/plan/solve.h"

typedef enum qp_mode_kind {
  QP_MODE_ALONE,   /* one linear */
  QP_MODE_SAME,    /* several with one quantizer, measured */
  QP_MODE_MIXED,   /* Several go together with their own quantizers, as measured. */
  QP_MODE_MODELLED /* Several go together with their own quantizers: the sum of their parts less
                      launch overheads. */
} qp_mode_kind;

typedef struct qp_mode_info {
  qp_mode_kind kind;
  unsigned path; /* The path of QP_MODE_MODELLED. */
} qp_mode_info;

/* One item of the knapsack: a group of linears in all blocks of one class. */
typedef struct qp_item_info {
  unsigned class, group; /* The lm_head has group == model->groups. */
  unsigned blocks;       /* blocks in the class; ps, bytes and losses are of all of them together */
  const qp_mode_info *mode;
} qp_item_info;

typedef struct qp_plan_problem {
  const qp_plan_input *in;
  qp_costs costs;
  qp_knap knap; /* the problem to be solved */
  /* With every launch of every item: the same items, except without a limit on latency, where the
     knapsack chooses quantizers only and the fastest launches for them are looked up here. */
  qp_knap full;
  qp_item_info *item; /* [knap.items] */
  unsigned *class_of; /* [blocks] */
  int64_t fixed_ps;   /* constant: not in the knapsack */
  int64_t fixed_bytes;
  uint64_t planned_weights;
  void **memory; /* blocks to free */
  size_t memories;
} qp_plan_problem;

/*
** Make the knapsack of an input.  Blocks of one class (class_of[block] < classes; NULL: each block
** is its own class) get the same choice.  'in' must outlive the problem.  QP_E_ARG means that a
** linear has no quantizer with a latency (it is named), that the fixed part alone exceeds a limit,
** or that limits are bad; errors of qp_costs_make; QP_E_NOMEM.
*/
qp_status qp_plan_build(const qp_plan_input *in, const unsigned *class_of, unsigned classes,
                        qp_plan_problem *out, qp_error *err);
void qp_plan_problem_free(qp_plan_problem *p);

/* What the rotations of one pass take at the input's batches; -1: the table does not know. */
int64_t qp_plan_rotation_ps(const qp_plan_input *in);

/*
** Make the plan of a choice for each item, with totals, linears, launches and notes.  Each item's
** launches are the fastest for its quantizers, where latencies are known.
*/
qp_status qp_plan_decode(const qp_plan_problem *p, const qp_knap_choice *choice,
                         const qp_solution *solution, qp_plan *out, qp_error *err);

#endif
