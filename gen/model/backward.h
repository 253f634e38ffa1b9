/* SPDX-License-Identifier: MIT */
/* Gradients of a loss:  hidden states of a forward pass + dL/dlogits --> dL/dy of every linear.
**
** The caller keeps the hidden states that go into each block (forward.h), and walks back:
**
**   qp_backward_head(f, last, tokens, &loss, gradient, err);          // dL/d(last hidden state)
**   for (unsigned b = layers; b--;)
**     qp_backward_block(f, b, &sequences, &hook, into[b], gradient, err);   // replaces gradient
**
** Everything else of a block is computed again from its input.  All in fp32; sums do not depend on
** the number of threads.
*/
#ifndef QP_BACKWARD_H
#define QP_BACKWARD_H

#include "gen/model/forward.h"

/*
** Called once a linear and run of whole sequences, in all some 2048 tokens: y = W x is what linear
** 'linear' (as in qp_model.linear) gives out for the tokens first .. first + rows - 1.
**   x [rows][columns]                                         what it reads
**   g [rows] of 'features' floats each, 'stride' floats apart: dL/dy
**   end [sequences], ascending to 'rows': the run's sequences
** All valid during the call.  A status other than QP_OK ends the pass and is returned.
*/
typedef struct qp_gradient {
  unsigned block, linear, features, columns;
  size_t first, rows, stride, sequences;
  const size_t *end;
  const float *x, *g;
} qp_gradient;

typedef struct qp_backward_hook {
  qp_status (*gradient)(void *arg, const qp_gradient *g, qp_error *err);
  void *arg;
} qp_backward_hook;

/* Replaces the logits [vocab] of a row by dL/dlogits; called by any thread, each row once. */
typedef struct qp_loss {
  void (*row)(void *arg, size_t row, float *logits, size_t vocab);
  void *arg;
} qp_loss;

/*
** gradient [rows][hidden] = dL/dhidden of a loss of the logits of hidden [rows][hidden], as
** qp_forward_head computes them.  The head's weights are kept in memory from then on.
** QP_E_MISSING: no BLAS; QP_E_NOMEM; errors of qp_forward_head.
*/
qp_status qp_backward_head(qp_forward *f, const float *hidden, size_t rows, const qp_loss *loss,
                           float *gradient, qp_error *err);

/*
** gradient [tokens][hidden]: dL/d(what the block gives out), becomes dL/d(what goes into it) for
** hidden [tokens][hidden] that goes into it.  hook may be NULL.  QP_E_MISSING: no BLAS;
** errors of qp_forward_block; 'gradient' is spoilt on error.
*/
qp_status qp_backward_block(qp_forward *f, unsigned block, const qp_sequences *s,
                            const qp_backward_hook *hook, const float *hidden, float *gradient,
                            qp_error *err);

#endif
