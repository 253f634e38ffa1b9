/* SPDX-License-Identifier: MIT */
/* The input side of linears:  signs from a seed, order and scales from weights and Hessian -->
   [tensor] (runtime/input_side.h), one for all linears that read one x. */
#ifndef QP_SIDE_H
#define QP_SIDE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "tuner/quantize/job.h"

/*
** Make the tensor l->signs, of qp_side_bytes(l->columns, l->rotation) bytes, malloc'ed; NULL where
** the linear has none.  The same job gives the same bytes.
**   order   columns by their share of the outputs' error, largest first: the diagonal of E[x x^T]
**           of the linear's Hessian times d^2; without one the squares of W's column over d^2.  Of
**           import: as the source has it
**   scales  d[k] = (m[k] / M)^e, M the geometric mean: m as the quantizer's 'scale' says, e of 17
**           steps of 1/16 the one whose error, of 32 rows of each linear, times that diagonal, is
**           least.  e = 0 is among them
** QP_E_ARG: scales by activations, and no Hessian; QP_E_LIMIT: 'cancel' (may be NULL) was set;
** errors of the checkpoint, of Hessians and of the encoder.
*/
qp_status qp_side_make(const qp_job *j, const qp_job_linear *l, const _Atomic bool *cancel,
                       void **out, qp_error *err);

#endif
