/* SPDX-License-Identifier: MIT */
/* Gradients of a loss:  hidden states of a forward pass + dL/dlogits --> dL/dy of every linear.
**
** The caller keeps the hidden states that go into each block (forward.h), and walks back:
**
**   qp_backward_head(f, last, tokens, &loss, &hook, gradient, err);      // dL/d(last hidden state)
**   for (unsigned b = layers; b--;)
**     qp_backward_block(f, b, &sequences, &hook, into[b], gradient, err);   // replaces gradient
**
** Everything else of a block is computed again from its input, or, where there is room, was kept on
** the way forth:
**
**   qp_backward_forth(f, b, &sequences, &hook, into[b], into[b + 1], &room, &kept[b], err);
**   ...
**   qp_backward_block_kept(kept[b], gradient, err);  // in place of qp_backward_block, if kept[b]
**
** All numbers are fp32; sums do not depend on the number of threads.
*/
#ifndef QP_BACKWARD_H
#define QP_BACKWARD_H

#include "gen/model/backward_types.h"
#include "gen/model/forward.h"

/* A loss replaces a row's logits [vocab] by dL/dlogits.  Any thread calls it, for each row once. */
typedef struct qp_loss {
  void (*row)(void *arg, size_t row, float *logits, size_t vocab);
  void *arg;
} qp_loss;

/*
** Compute gradient [rows][hidden] = dL/dhidden for a loss of the logits of hidden [rows][hidden],
** as qp_forward_head computes them.  The hook, which may be NULL, hears of the final norm.  The
** head's weights are kept in memory from then on.  QP_E_MISSING means that there is no BLAS;
** QP_E_NOMEM; errors of qp_forward_head and of the hook.
*/
qp_status qp_backward_head(qp_forward *f, const float *hidden, size_t rows, const qp_loss *loss,
                           const qp_backward_hook *hook, float *gradient, qp_error *err);

/*
** Go back through a block: gradient [tokens][hidden], which is dL/d(what the block gives out),
** becomes dL/d(what goes into it), for the hidden [tokens][hidden] that goes into it.  'hook' may
** be NULL.  QP_E_MISSING means that there is no BLAS; other errors are those of qp_forward_block.
** On error 'gradient' is spoilt.
*/
qp_status qp_backward_block(qp_forward *f, unsigned block, const qp_sequences *s,
                            const qp_backward_hook *hook, const float *hidden, float *gradient,
                            qp_error *err);

/* What a block computed on the way forth.  It belongs to the sequences, the hook, the states and
   the forward pass that it was made with, whose factors must not change meanwhile. */
typedef struct qp_backward_kept qp_backward_kept;

/*
** Compute out [tokens][hidden], what the block gives out for hidden [tokens][hidden].  Where what
** lies between takes no more than '*room' bytes, these are taken off and it is kept in '*kept',
** which qp_backward_kept_free frees; else '*kept' is NULL.  QP_E_MISSING means that there is no
** BLAS; QP_E_NOMEM; errors of qp_forward_block.
*/
qp_status qp_backward_forth(qp_forward *f, unsigned block, const qp_sequences *s,
                            const qp_backward_hook *hook, const float *hidden, float *out,
                            size_t *room, qp_backward_kept **kept, qp_error *err);

/* Do what qp_backward_block does, with the same bits.  It can be done once. */
qp_status qp_backward_block_kept(qp_backward_kept *kept, float *gradient, qp_error *err);
void qp_backward_kept_free(qp_backward_kept *kept); /* NULL is allowed */

#endif
