/* SPDX-License-Identifier: MIT */
/*
** Tensor parallelism:  model, number of ranks -> [the model as one rank has it].  Heads stay whole:
** q, k, v, gate, up and what comes of latent vectors are divided by rows, o and down by columns,
** the lm_head by rows of the vocabulary; experts like any MLP, or by slices of their number (expert
** parallelism); all else (latent vectors, state spaces, what stays in 16 bits) is every rank's.  Of
** keys and values with fewer heads than ranks each rank has one.  A matrix that holds the rows of
** several linears becomes these (qp_model_take_apart), each of them divided.
*/
#ifndef QP_PARALLEL_H
#define QP_PARALLEL_H

#include "gen/model/model.h"
#include "runtime/status.h"

enum { QP_PARALLEL_RANKS = 8 }; /* most */

/* How many ranks share each of these; 1 (or 0) means that it stays whole. */
typedef struct qp_parallel {
  unsigned ranks;  /* tensor parallelism */
  unsigned slices; /* slices of the experts, which are whole matrices then */
  unsigned made;   /* ranks that packed weights are for, of which these are fewer; 0: the same */
} qp_parallel_ways;

/*
** '*out' is a rank's model: shapes of linears, numbers of experts, weights and bytes.  Of the
** experts that a token goes through ('active', of all ranks) a rank has its share on average.
** Errors of qp_model_take_apart; QP_E_ARG: 1, 2, 4 or 8 ranks are needed, of either kind, heads or
** a size of a linear cannot be divided (the message names it), keys' heads neither by the ranks nor
** these by them, or there are no experts to be sliced.
*/
qp_status qp_parallel_split(const qp_model *m, const qp_parallel_ways *ways, qp_model *out,
                            qp_error *err);

/* The model as packed weights for so many ranks have it: taken apart if these are several. */
qp_status qp_parallel_apart(const qp_model *m, unsigned ranks, qp_model *out, qp_error *err);

/* Is a linear of this role a matrix with the rows of several ("qkv", "gate_up")? */
bool qp_parallel_is_joined(const char *role);

/* How packed weights of a linear are cut, so that a rank's part is a contiguous slice. */
typedef enum qp_cut_way { QP_CUT_NONE, QP_CUT_ROWS, QP_CUT_COLUMNS } qp_cut_way;
typedef struct qp_cut {
  qp_cut_way way;
  unsigned slices; /* how many: the ranks, or of rows the heads where these are fewer */
} qp_cut;

/*
** Find the cut of a linear, l, of the whole model as qp_parallel_apart has it (the lm_head:
** m->linear[m->linears]).  An lm_head whose rows do not divide has none, nor have experts where
** slices of their number are shared.
** QP_E_ARG: its slices are no whole row groups of 32, or no multiples of 32 columns, or its matrix
** holds the rows of several linears, of which the family does not say where they are.
*/
qp_status qp_parallel_cut(const qp_model *m, const qp_model_linear *l, const qp_parallel_ways *ways,
                          qp_cut *out, qp_error *err);

/* Do ranks divide the columns of linears of this role ("o", "down")? */
bool qp_parallel_divides_columns(const char *role);

/* All-reduces of one pass: behind each o and each down of a block, of which experts, shared and
   routed, have one together. */
unsigned qp_parallel_reduces(const qp_model *m);

#endif
