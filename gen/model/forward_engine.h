/* SPDX-License-Identifier: MIT */
/*
** Where a forward pass is computed if not on the CPU.  An engine, made elsewhere, takes the place
** of qp_forward_block and qp_forward_head with the same arrays in host memory, so that whoever
** drives a pass knows nothing of it; overridden weights and hooks are its duty too.  It finds model
** and weights in gen/model/forward_state.h.
*/
#ifndef QP_FORWARD_ENGINE_H
#define QP_FORWARD_ENGINE_H

#include "gen/model/forward_types.h"

typedef struct qp_forward_engine {
  void *self;
  /* These compute what qp_forward_block and qp_forward_head do, with the same arguments and errors.
     */
  qp_status (*block)(void *self, unsigned block, const qp_sequences *s, const qp_forward_hook *hook,
                     float *hidden, qp_error *err);
  qp_status (*head)(void *self, const float *hidden, size_t rows, const qp_forward_hook *hook,
                    float *logits, qp_error *err);
} qp_forward_engine;

/* From now on a copy of 'engine' computes what 'f' does; its 'self' must outlive 'f'.  NULL gives
   the work back to the CPU. */
void qp_forward_use(qp_forward *f, const qp_forward_engine *engine);

#endif
