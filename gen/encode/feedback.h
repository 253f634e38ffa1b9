/* SPDX-License-Identifier: MIT */
/* Block-LDLQ: errors of earlier columns become part of the targets of later ones. */
#ifndef QP_FEEDBACK_H
#define QP_FEEDBACK_H

#include <stddef.h>

#include "gen/base/blas.h"
#include "runtime/status.h"

/* Superblocks that are coded together, and their columns of the linear. */
typedef struct qp_feed_block {
  unsigned part, first, count;
  unsigned column, end;
} qp_feed_block;

/*
** H = U D U^T with U unit upper triangular by blocks (QuIP#, arXiv 2402.04396, mirrored so that columns are
** coded in ascending order).  Then  tr(E H E^T) = sum over blocks k of |(E_k + sum_{j<k} E_j U_jk) D_k^1/2|^2:
** block k approaches  X_k - sum_{j<k} E_j U_jk.
*/
typedef struct qp_feedback {
  const qp_blas *blas;
  unsigned columns;
  const float *hessian; /* [columns][columns], the caller's */
  float *unit;          /* U, column-major [columns][columns] */
  qp_feed_block *block;
  unsigned blocks;
} qp_feedback;

/*
** 'block' [blocks] covers the columns in order and is taken over, also on error.  'damping' times the
** mean of the diagonal is added to it.
** QP_E_ARG: H holds what is no number, is not symmetric, or not positive definite; QP_E_MISSING, QP_E_NOMEM.
*/
qp_status qp_feedback_make(qp_feedback *out, unsigned columns, const float *hessian, double damping,
                           qp_feed_block *block, unsigned blocks, qp_error *err);
void qp_feedback_free(qp_feedback *f);

/* targets[:, column..end) = x[:, column..end) - errors[:, 0..column) U[0..column, column..end)
** for 32 rows, arrays [32][columns]. */
void qp_feedback_targets(const qp_feedback *f, unsigned column, unsigned end, const float *x,
                         const float *errors, float *targets);

/* out[r] = a_r H b_r^T for 32 rows; a, b and scratch are [32][columns]. */
void qp_feedback_product(const qp_feedback *f, const float *a, const float *b, float *scratch,
                         double out[32]);

#endif
