/* SPDX-License-Identifier: MIT */
/* Measures what noise in one linear does to a model's predictions:  noise --> [alpha, its error].
   */
#ifndef QP_SENSITIVITY_H
#define QP_SENSITIVITY_H

#include <stdbool.h>
#include <stdint.h>

#include "gen/base/blas.h"
#include "gen/model/forward.h"

/*
** alpha of a linear (the linearity theorem, arXiv 2411.17525): with W + E in place of W, E white
** noise in each row with |E_i|^2 = t |W_i|^2, the mean KL divergence of the predictions from those
** of the model itself is alpha t for small t.  Each probe draws E once and takes the mean of what
** +E and -E cause: terms of odd order in E cancel.
*/
typedef struct qp_sensitivity {
  double alpha;
  double error; /* The standard error of alpha: those of tokens (taken as independent) and of
                   probes, added in squares. */
} qp_sensitivity;

typedef struct qp_sensitivity_options {
  double noise;    /* t, above 0 */
  unsigned probes; /* at least 1; qp_calibrate takes 0 for gradients (gradient_sensitivity.h) */
  uint64_t seed;   /* With block, linear, probe and row it gives E, the same on every machine. */
  /* E[x x^T] of the linear at hand [columns][columns]: E is what error feedback makes of white
  ** noise; NULL: E is white. */
  const float *hessian;
} qp_sensitivity_options;

typedef struct qp_probe qp_probe;

/*
** Keep the predictions of 'f' on all tokens of 's' to compare with; 'f' and what 's' points to must
** outlive the probe.  Logits are kept where they fit into 'logit_bytes', else computed again each
** time. 'hidden' [tokens][hidden]: room that the probe uses until it is closed, malloc'ed by it.
** Errors of qp_forward_block; QP_E_NOMEM.
*/
qp_status qp_probe_open(qp_forward *f, const qp_sequences *s, uint64_t logit_bytes, qp_probe **out,
                        qp_error *err);
void qp_probe_close(qp_probe *p); /* NULL is allowed */

/*
** Measure linear 'linear' of block 'block' (linear == linears: the lm_head, block == layers), where
** 'hidden' [tokens][hidden] goes into that block.  The model is as before afterwards.
** QP_E_ARG: a divergence is not finite; QP_E_NOMEM; errors of qp_forward_block.
*/
qp_status qp_probe_measure(qp_probe *p, const qp_sensitivity_options *o, unsigned block,
                           unsigned linear, const float *hidden, qp_sensitivity *out,
                           qp_error *err);

/* Draw the noise of one probe, out[rows][columns] = E for w[rows][columns]; rows of zeros stay so.
   */
void qp_noise_fill(qp_parallel *p, uint64_t seed, double noise, const float *w, unsigned rows,
                   unsigned columns, float *out);

/*
** What error feedback makes of white noise N [rows][columns], in place:  E = g^1/2 N L^-1  for
** H + damping = L L^T and g = det(L L^T)^(1/columns).  Then  E (H + damping) E^T = g N N^T:
** errors of the outputs are the share of white noise's that feedback leaves
** (tuner/quantize/feedback_share.h), and lie where it leaves them.
** A Hessian that has no factor leaves N as it is.  QP_E_MISSING: no LAPACK; QP_E_NOMEM.
*/
qp_status qp_noise_shape(qp_parallel *p, const float *hessian, unsigned rows, unsigned columns,
                         float *noise, qp_error *err);

/*
** Compute the factor L of that, into 'a', [columns][columns] column by column, and '*mean' = g.
** False: there is none.
*/
bool qp_noise_factor(const qp_blas *blas, const float *h, unsigned columns, double *a,
                     double *mean);

#endif
