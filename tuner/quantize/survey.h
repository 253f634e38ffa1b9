/* SPDX-License-Identifier: MIT */
/* Can these weights be quantized at all?  job --[survey]--> the encoder's hours are not in vain. */
#ifndef QP_SURVEY_H
#define QP_SURVEY_H

#include <stdatomic.h>
#include <stdbool.h>

#include "tuner/quantize/job.h"

/*
** Before anything is encoded: every linear's type is one that is read as numbers (seen by one row
** of each, so that this takes no time), then all weights of all linears are finite and the norms of
** their rows, which a rotation may bring to one weight, within fp32, then all numbers of tensors
** that stay as they are are finite, and then those of all of the linears' Hessians.
** QP_E_ARG: one is not; the message names the file, the tensor, the element's place in it (or the
** row's) and what it is.  QP_E_LIMIT: 'cancel' was set.  QP_E_NOMEM.
*/
qp_status qp_survey_run(const qp_job *j, const _Atomic bool *cancel, qp_error *err);

#endif
