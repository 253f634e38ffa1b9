/* SPDX-License-Identifier: MIT */
/* Back through one block, for some whole sequences. */
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

/* The block's weights are there.  QP_E_NOMEM; what the hook returns. */
qp_status qp_backward_run_block(const qp_backward_run *r);

#endif
