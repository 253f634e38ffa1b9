/* SPDX-License-Identifier: MIT */
/* Sums second moments of a linear's inputs:  rows x of any number --> [E[x x^T]]. */
#ifndef QP_MOMENTS_H
#define QP_MOMENTS_H

#include <stddef.h>

#include "gen/base/blas.h"
#include "gen/base/parallel.h"
#include "runtime/status.h"

/* The sum so far, which takes 8 bytes for each of columns^2 elements.  It is used by one thread at
   a time. */
typedef struct qp_moments qp_moments;

/* Begin sums of 'columns' columns.  'p' and 'blas' must outlive the result.  QP_E_NOMEM names the
   size. */
qp_status qp_moments_new(unsigned columns, qp_parallel *p, const qp_blas *blas, qp_moments **out,
                         qp_error *err);
void qp_moments_free(qp_moments *m); /* NULL is allowed */

/*
** Add x x^T of each of x [rows][columns].  Up to 512 rows are multiplied in fp32, such products are
** added in double: the result does not lose digits with the length of the text, and is the same
** for any number of threads.
*/
void qp_moments_add(qp_moments *m, const float *x, size_t rows);

/*
** Compute the mean over all rows, out [columns][columns], which is symmetric.  QP_E_ARG means that
** no rows were added, or that an element is not finite because the model's activations overflow.
*/
qp_status qp_moments_mean(const qp_moments *m, float *out, qp_error *err);
size_t qp_moments_rows(const qp_moments *m);

#endif
