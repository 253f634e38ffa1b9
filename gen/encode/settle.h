/* SPDX-License-Identifier: MIT */
/* Looks for another damping and input scale of a linear with a Hessian:  factors, losses of rows
   --[trials]--> what may lose less. */
#ifndef QP_SETTLE_H
#define QP_SETTLE_H

#include <stdbool.h>
#include <stddef.h>

#include "gen/encode/feedback.h"

typedef struct qp_settled {
  double damping, input_scale;
} qp_settled;

/* A linear that was coded, and how rows of it are coded with something else. */
typedef struct qp_settle_task {
  const float *weights; /* [rows][columns] */
  unsigned rows, columns;
  double rate;                /* of the quantizer, bits a weight */
  const double *lost, *power; /* [rows]: e H e^T and w H w^T of each row */
  size_t samples;             /* of which the Hessian is the mean; 0: not known */
  bool scale, damping;        /* may be another one */
  /* The proxy loss of weights [rows][columns] that are coded with 'with'. */
  qp_status (*lose)(void *context, const float *weights, unsigned rows, const qp_settled *with,
                    double *out, qp_error *err);
  void *context;
} qp_settle_task;

/*
** '*io' is what the linear was coded with, 'f' the factors of its Hessian.  Six groups of 32 rows
** are coded anew with what the factors say may lose less; what lowers their proxy loss by at least
** 2 % is kept, and tried next with the other:
**  - a tenth of the damping, where it is more than 8 % of what feedback leaves, and the Hessian is
**    the mean of at least 16 samples a column: of fewer, what it says beyond the damping is chance;
**  - 0.93, 0.86 and 0.80 of the input scale, as long as each loses less than the one before, where
**    errors that are fed forward add at least 15 % to the variance of targets, at the codes' rate.
** Most linears meet neither condition and cost nothing.  '*io' becomes the best; the whole linear
** may still lose more with it.  QP_E_NOMEM and errors of 'lose' leave '*io' untouched.
*/
qp_status qp_settle(const qp_settle_task *task, const qp_feedback *f, qp_settled *io,
                    qp_error *err);

#endif
