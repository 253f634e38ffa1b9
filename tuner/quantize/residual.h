/* SPDX-License-Identifier: MIT */
/* Targets that take back what was lost before:  source, linears coded so far, text --> W'.
**
** What o and down give out is added to the hidden states, which carry the errors of all linears
** before them.  Much of these is a function of what o and down read, so that other weights there
** take it back.  Let y be the source's state behind such a linear, z that of the model whose
** linears are coded so far and whose o (down) is still the source's, and x what it reads there:
**
**   W' = W + share E[u (y - z) x^T] (E[u x x^T] + damping)^-1,   u = 1 / mean square of y,
**
** is coded in place of W: the regression of what is missing on x, u as the next norm weighs tokens.
** (GPTAQ, arXiv 2504.02692, and QEP, arXiv 2504.09629, correct what a linear itself gives out; here
** it is the sum that is corrected, so that o and down mend the errors of q, k, v, up and gate, and
** those of all blocks before.)
*/
#ifndef QP_RESIDUAL_H
#define QP_RESIDUAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "gen/model/models.h"
#include "gen/model/tokens.h"
#include "gen/spec/quantizer.h"
#include "runtime/status.h"

#define QP_RESIDUAL_SHARE   0.7
#define QP_RESIDUAL_DAMPING 0.01 /* as a share of the mean diagonal */

typedef struct qp_residual qp_residual;

/*
** Open the targets of a model, which is named as qp_forward_open takes it; 'models' and 'text' must
** outlive the result.  Memory: three hidden states of all tokens, what one linear reads of all, a
** block of the model in fp32 twice. '*out' is NULL where the family norms what o and down give out
** before it is added: it has no targets.  Errors of qp_forward_open; QP_E_NOMEM.
*/
qp_status qp_residual_open(const char *model, qp_models *models, const qp_tokens *text,
                           unsigned threads, qp_residual **out, qp_error *err);
void qp_residual_close(qp_residual *r); /* NULL is allowed */

/* A hash of the text and of all that decides about targets. */
uint64_t qp_residual_key(const qp_tokens *text);

/*
** w [rows][columns] of linear 'name' ("model.layers.0.self_attn.o_proj") becomes W'; other than o
** and down of a block stay.  All linears before it that are coded were told to qp_residual_coded.
** Any number of threads gives the same.  QP_E_LIMIT: 'cancel' (may be NULL) was set; QP_E_NOMEM;
** QP_E_ARG: the activations overflow.
*/
qp_status qp_residual_target(qp_residual *r, const char *name, float *w, const _Atomic bool *cancel,
                             qp_error *err);

/* Linear 'name' is coded as w [rows][columns], malloc'ed, which it takes over. */
void qp_residual_coded(qp_residual *r, const char *name, float *w);

#endif
