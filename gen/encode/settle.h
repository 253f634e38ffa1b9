/* SPDX-License-Identifier: MIT */
/* Looks for another damping and input scale of a linear with a Hessian:  factors, losses of rows
   --[trials]--> what may lose less. */
#ifndef QP_SETTLE_H
#define QP_SETTLE_H

#include "gen/encode/encode.h"
#include "gen/encode/feedback.h"

typedef struct qp_settled {
  double damping, input_scale;
} qp_settled;

/*
** '*io' is what the linear was coded with, 'f' the factors of its Hessian, 'lost' and 'power'
** [rows] are e H e^T and w H w^T of each row.  Six groups of 32 rows are coded anew with what the
** factors say may lose less; what lowers their proxy loss by at least 2 % is kept, and tried next
** with the other:
**  - a tenth of the damping, where it is more than 8 % of what feedback leaves, and the Hessian is
**    the mean of at least 16 samples a column: of fewer, what it says beyond the damping is chance;
**  - 0.93, 0.86 and 0.80 of the input scale, as long as each loses less than the one before, where
**    errors that are fed forward add at least 15 % to the variance of targets, at the codes' rate.
** Most linears meet neither condition and cost nothing.  '*io' becomes the best; the whole linear
** may still lose more with it.  The same input gives the same for any number of threads.  Errors
** are those of qp_encode_linear; '*io' is untouched then.
*/
qp_status qp_settle(const qp_quantizer *q, const float *weights, unsigned rows, unsigned columns,
                    const qp_encode_options *options, const qp_feedback *f, const double *lost,
                    const double *power, qp_settled *io, qp_error *err);

#endif
