/* SPDX-License-Identifier: MIT */
/* One linear:  weights --[rotate, encode, measure]--> a file with its packed tensors. */
#ifndef QP_LINEAR_H
#define QP_LINEAR_H

#include <stdatomic.h>
#include <stdbool.h>

#include "tuner/quantize/job.h"

/*
** Encode the linear and write its packed tensors (runtime/PACKED.md) to 'path', whole or not at
** all; metadata "job" is the job's key, "linear" its entry of the section `quantization`, with
** figures. Memory: its weights in fp32, the codes, and with a Hessian that.
** 'done' is counted up by weights; 'cancel' ends it early with QP_E_LIMIT.  Otherwise errors of
** qp_encode_linear, of the checkpoint and of files, with the linear's name before them.
*/
qp_status qp_linear_write(const qp_job *j, const qp_job_linear *l, const char *path,
                          _Atomic size_t *done, const _Atomic bool *cancel, qp_error *err);

#endif
