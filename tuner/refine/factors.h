/* SPDX-License-Identifier: MIT */
/* What refinement trains:  a factor for each row of the packed linears and each weight of a norm.
**
** Factors are kept as logarithms, so that a step is a relative one of every scale, and none becomes
** 0 or changes its sign.  They belong to one forward pass, which multiplies with them.
*/
#ifndef QP_FACTORS_H
#define QP_FACTORS_H

#include <stdbool.h>

#include "gen/model/backward.h"
#include "gen/model/forward.h"

/* A tensor of the model whose elements have factors [first, first + count). */
typedef struct qp_factor_span {
  char name[QP_FORWARD_NAME]; /* "model.layers.0.self_attn.q_proj.row_scales" */
  unsigned block, linear, place;
  bool norm;
  size_t first;
  unsigned count;
  float *weights; /* A norm's weights as the forward pass has them. */
} qp_factor_span;

typedef struct qp_factors {
  qp_forward *f;
  size_t spans, count;
  qp_factor_span *span; /* [spans] */
  double *log;          /* [count] */
  double *gradient;     /* [count]: summed by the hook */
  float *value;         /* [count]: exp(log) of linears, of norms the weights as they were */
} qp_factors;

/*
** All factors 1, of the blocks' linears for which packed(arg, tensor) is true and of all norms;
** 'f' computes with them from now on.  QP_E_NOMEM; QP_E_ARG: a matrix lies there taken apart, for
** ranks.
*/
qp_status qp_factors_open(qp_forward *f, bool (*packed)(void *arg, const char *tensor), void *arg,
                          qp_factors *out, qp_error *err);
void qp_factors_close(qp_factors *x); /* 'f' is as before, and must still be open */

/* The forward pass computes with x->log as it is now. */
void qp_factors_apply(qp_factors *x);

/* Adds dL/dlog to x->gradient. */
qp_backward_hook qp_factors_hook(qp_factors *x);

#endif
