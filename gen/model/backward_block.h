/* SPDX-License-Identifier: MIT */
/* Takes gradients back through one block, for some whole sequences. */
#ifndef QP_BACKWARD_BLOCK_H
#define QP_BACKWARD_BLOCK_H

#include "gen/model/backward_types.h"
#include "gen/model/forward_state.h"

typedef struct qp_backward_run {
  qp_forward *f;
  unsigned block;
  const qp_backward_hook *hook; /* or NULL */
  size_t first;                 /* token of the first row, as the hook counts */
  const size_t *end;            /* [sequences] within the run */
  size_t sequences, rows;
  const float *hidden; /* [rows][hidden] that goes into the block */
  float *gradient;     /* [rows][hidden] */
  qp_error *err;
} qp_backward_run;

/* What the block computed for a run of tokens on the way forth. */
typedef struct qp_backward_desk qp_backward_desk;

/* Tell how many bytes one of them takes. */
size_t qp_backward_desk_bytes(const qp_backward_run *r);

/*
** Forth: '*kept' for the way back, out [rows][hidden] (may be NULL) what the block gives out.  The
** block's weights are there; r->end, hidden, hook and f live until qp_backward_run_back, which sets
** r->gradient.  QP_E_NOMEM.
*/
qp_status qp_backward_run_forth(const qp_backward_run *r, float *out, qp_backward_desk **kept);

/* Back: once.  QP_E_NOMEM; what the hook returns. */
qp_status qp_backward_run_back(qp_backward_desk *kept, float *gradient, qp_error *err);
void qp_backward_desk_free(qp_backward_desk *kept); /* NULL is allowed */

#endif
