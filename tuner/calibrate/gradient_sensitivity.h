/* SPDX-License-Identifier: MIT */
/* Measures the sensitivities of all linears of the blocks at once:  forward and backward pass -->
   [alpha]. */
#ifndef QP_GRADIENT_SENSITIVITY_H
#define QP_GRADIENT_SENSITIVITY_H

#include <stdatomic.h>
#include <stdbool.h>

#include "tuner/calibrate/sensitivity.h"

/*
** alpha as sensitivity.h defines it, to second order in the noise, without drawing any:  for a
** sequence of T tokens let y_t be drawn from the model's own predictions p_t,
** L = - sum_t ln p_t(y_t)  and  G = dL/dW  [rows][columns] of a linear.  The mean over y and a
** noise E of (sum_ij G_ij E_ij)^2 is twice the sum of the KL divergences that E causes, up to terms
** of third order (p's Fisher matrix).  Rows of E are independent, E_i normal with the covariance
** t |W_i|^2 / columns C,  so
**   alpha = 1 / (2 T) sum_i |W_i|^2 / columns  G_i C G_i^T,
** C = 1 of white noise, and  g (L L^T)^-1  of noise as error feedback leaves it (qp_noise_shape).
** The mean over sequences is by their tokens, its standard error takes them as independent.
*/
typedef struct qp_gradient_options {
  uint64_t seed;               /* seed of y */
  const char *hessians;        /* A folder of qp_hessian_files_write, with which noise is as
                                  feedback leaves it. */
  const char *file;            /* what is done so far, for a run that was stopped; stays */
  const _Atomic bool *stopped; /* or NULL */
  _Atomic size_t *done;        /* Counted up by the work below, of all sequences; or NULL. */
} qp_gradient_options;

/* Work of one sequence in one block, about as long as it takes: its pass forward, and the one back
   with the gradients of its linears. */
enum { QP_GRADIENT_FORTH = 1, QP_GRADIENT_BACK = 3 };

/*
** out [layers * linears]: linear l of block b at b * linears + l.  What options->file holds is not
** done again: the caller says that it is of the same model, tokens and options.  Hidden states of
** all blocks are kept for about 2048 tokens at a time.
** QP_E_LIMIT: stopped; QP_E_ARG: a gradient is not finite;
** QP_E_MISSING: no LAPACK; QP_E_IO; QP_E_NOMEM; errors of qp_forward_block and
** qp_hessian_files_read.
*/
qp_status qp_gradient_sensitivities(qp_forward *f, const qp_sequences *s,
                                    const qp_gradient_options *o, qp_sensitivity *out,
                                    qp_error *err);

#endif
