/* SPDX-License-Identifier: MIT */
/*
** Tensor parallelism:  model, number of ranks -> [the model as one rank has it].  Heads stay whole:
** q, k, v, gate, up and what comes of latent vectors are divided by rows, o and down by columns,
** the lm_head by rows of the vocabulary; all else (latent vectors, state spaces, what stays in 16 bits)
** is every rank's.  Of keys and values with fewer heads than ranks each rank has one.
*/
#ifndef QP_PARALLEL_H
#define QP_PARALLEL_H

#include "gen/model/model.h"
#include "runtime/status.h"

enum { QP_PARALLEL_RANKS = 8 }; /* most */

/*
** '*out' is a rank's model: shapes of linears, weights and bytes.  QP_E_ARG: 1, 2, 4 or 8 ranks are
** needed, heads or a size of a linear cannot be divided (the message names it), or keys' heads
** neither by the ranks nor these by them.
*/
qp_status qp_parallel_split(const qp_model *m, unsigned ranks, qp_model *out, qp_error *err);

/* All-reduces of one pass: behind each o and each down of a block, of which experts, shared and
   routed, have one together. */
unsigned qp_parallel_reduces(const qp_model *m);

#endif
