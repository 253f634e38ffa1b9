/* SPDX-License-Identifier: MIT */
/* Tells the planner what error feedback leaves of each linear's loss:  Hessians --> [shares]. */
#ifndef QP_FEEDBACK_SHARE_H
#define QP_FEEDBACK_SHARE_H

#include <stddef.h>

#include "gen/model/model.h"
#include "runtime/status.h"

enum {
  QP_FEEDBACK_SHARE_COLUMNS = 4096, /* that are looked at, at most */
  QP_FEEDBACK_STEPS = 64            /* steps of a profile */
};

/*
** Without feedback a quantizer of distortion D loses  D tr(H)  of outputs whose inputs have the
** Hessian H = E[x x^T]; with errors fed from each column to the next  D sum d_k, where
** H = U diag(d) U^T.  With columns of equal distortion that is least where all d_k are their
** geometric mean det(H)^(1/K), which no rotation changes.  In a rotated basis no column differs
** from another, but d_k grows with k: what the first columns lose is taken up by those that follow,
** what the last lose by none.  So a split whose later columns have more bits loses less than
** its parts' share of the columns says.
*/
typedef struct qp_feedback_profile {
  double share;  /* det(H)^(1/K) / (tr(H) / K), H damped by QP_ENCODE_DAMPING; it is 1 of white
                    inputs. */
  double excess; /* The mean of d_k / det(H)^(1/K) in the rotated basis, at least 1. */
  /* The share of sum d_k that lies in the first i / QP_FEEDBACK_STEPS of the columns. */
  double before[QP_FEEDBACK_STEPS + 1];
} qp_feedback_profile;

/* Give the value of 'before' at a fraction of the columns, 0 to 1; between its points it is in
   proportion. */
double qp_feedback_before(const qp_feedback_profile *p, double fraction);

/*
** share x excess x D is what a quantizer without parts is expected to lose with feedback, relative
** to D without.  (Errors are fed on from 8 columns to the next, which loses 1.01 to 1.15 times
** share in SmolLM2's layers.)  What that does to a model's predictions may be several times as much
** where the inputs lie in a few directions: qpal calibrate measures it
** (tuner/calibrate/sensitivity.h).  Of more than QP_FEEDBACK_SHARE_COLUMNS columns as many, evenly
** spaced, are looked at: the share is then somewhat too large.
** 'out' [blocks * linears + 1], as linears are numbered in qp_plan_input; 1, 1 and a straight line
** where 'path' (as in qp_hessian_open) has no Hessian of a linear, or one that cannot be factored;
** *found counts the others.  Of several groups of rows it is the mean.
** QP_E_MISSING: no BLAS; QP_E_NOMEM; errors of qp_hessian_open.
*/
qp_status qp_feedback_profiles(const char *path, const qp_model *m, qp_feedback_profile *out,
                               size_t *found, qp_error *err);

#endif
