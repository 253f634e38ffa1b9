/* SPDX-License-Identifier: MIT */
/* What error feedback leaves of each linear's loss:  Hessians --> [shares], for the planner. */
#ifndef QP_FEEDBACK_SHARE_H
#define QP_FEEDBACK_SHARE_H

#include <stddef.h>

#include "gen/model/model.h"
#include "runtime/status.h"

enum { QP_FEEDBACK_SHARE_COLUMNS = 4096 };

/*
** Without feedback a quantizer of distortion D loses  D tr(H)  of outputs whose inputs have the
** Hessian H = E[x x^T]; with errors fed from each column to the next  D sum d_k, where
** H = U diag(d) U^T.  In a rotated basis no column differs from another, so all d_k are near their
** geometric mean, which no rotation changes:
**   share = det(H)^(1/K) / (tr(H) / K),  H damped by QP_ENCODE_DAMPING;  1 of white inputs.
** (The trace of the residual of qp_feedback_make, in blocks of 8 columns, was 1.01 to 1.15 times
** that in SmolLM2's layers.)  What that does to a model's predictions may be several times as much
** where the inputs lie in a few directions: qpal calibrate measures it
** (tuner/calibrate/sensitivity.h).  Of more than QP_FEEDBACK_SHARE_COLUMNS columns as many, evenly
** spaced, are looked at: the share is then somewhat too large.
** 'share' [blocks * linears + 1], as linears are numbered in qp_plan_input; 1 where 'path' (as in
** qp_hessian_open) has no Hessian of a linear, or one that cannot be factored; *found counts the
** others.
** QP_E_MISSING: no BLAS; QP_E_NOMEM; errors of qp_hessian_open.
*/
qp_status qp_feedback_shares(const char *path, const qp_model *m, double *share, size_t *found,
                             qp_error *err);

#endif
