/* SPDX-License-Identifier: MIT */
/* Keeps a linear that is packed already as it is:  codes and numbers of the source --> packed
   weights. */
#ifndef QP_KEEP_CODES_H
#define QP_KEEP_CODES_H

#include "gen/encode/encode.h"
#include "tuner/quantize/job.h"

/*
** Write the linear's codes and numbers in our layout, with row scales of 1; then every weight is
** decoded again by the reference and compared with the source's, rounded to fp16, bit for bit.
** '*out' is filled (free with qp_encoded_free) or untouched.
** QP_E_ARG: a number is not one that its field holds, or a weight decodes otherwise (the message
** names row, column and both values); QP_E_NOMEM; errors of qp_job_read.
*/
qp_status qp_keep_codes(const qp_job *j, const qp_job_linear *l, qp_encoded *out, qp_error *err);

#endif
