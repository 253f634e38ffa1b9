/* SPDX-License-Identifier: MIT */
/* Makes a model of kinds of blocks:  lists of linears with names of their groups -> its linears and
   groups. */
#ifndef QP_KINDS_H
#define QP_KINDS_H

#include "gen/model/model.h"
#include "runtime/status.h"

/* The linears of one kind of block, in order. */
typedef struct qp_kind_list {
  unsigned count;
  qp_model_linear linear[QP_MODEL_LINEARS];
  char group[QP_MODEL_LINEARS][sizeof((qp_model_group *)0)->name];
} qp_kind_list;

/*
** Add the groups of 'k' that the model does not have yet, with their linears; '*has': which of the
** model's linears those of 'k' are.  QP_E_ARG: there are too many, or linears of one group have
** other columns or experts; 'where' begins the message.
*/
qp_status qp_kinds_add(qp_model *m, const char *where, const qp_kind_list *k, uint64_t *has,
                       qp_error *err);

/*
** Sum up the model's weights.  In no linear and no embedding are 'extra' ones in the blocks,
** without biases, which every token meets, and 'once' outside them.
*/
void qp_kinds_count(qp_model *m, uint64_t extra, uint64_t once);

#endif
