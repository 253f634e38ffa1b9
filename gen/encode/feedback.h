/* SPDX-License-Identifier: MIT */
/* Block-LDLQ: errors of earlier columns become part of the targets of later ones. */
#ifndef QP_FEEDBACK_H
#define QP_FEEDBACK_H

#include <stddef.h>

#include "gen/base/blas.h"
#include "runtime/status.h"

/*
** H = U D U^T with U unit upper triangular by blocks (QuIP#, arXiv 2402.04396, mirrored so that
** columns are coded in ascending order).  Then  tr(E H E^T) is the sum over blocks k of
**   |(E_k + sum_{j<k} E_j U_jk) D_k^1/2|^2:
** block k approaches  X_k - sum_{j<k} E_j U_jk.
**
** That sum is exact, so that every order of it, instruction set, BLAS and device gives the same
** targets: errors are whole numbers of 2^-16, brought into [-2^24, 2^24], U's columns whole numbers
** of a power of two each, as small as 53 bits allow for a sum of so many, and 24 for each:
**   e = clip(round((v - x) 2^16))     targets = x - float(2^-(16 + b_k) sum e round(U_jk 2^b_k))
*/
enum { QP_FEEDBACK_ERROR_FRACTION = 16, QP_FEEDBACK_ERROR_BITS = 24 };

typedef struct qp_feedback {
  const qp_blas *blas;
  unsigned columns, blocks;
  unsigned *edge;       /* [blocks + 1]: block k holds the columns [edge[k], edge[k + 1]) */
  const float *hessian; /* [columns][columns], the caller's */
  float *unit;          /* U above its diagonal blocks in whole numbers, else 0: row-major
                           [columns][columns] */
  double *scale;        /* [columns]: the unit of a column's sums, a power of two */
  float *root;          /* C, upper triangular, and its transpose below:  H + added = C C^T;
                           row-major [columns][stride] */
  size_t stride;        /* of root's rows, in floats */
  unsigned long serial; /* no other factor that is made has it; 0: none was made */
  double damping;       /* what was added to the diagonal, as a share of its mean */
  double added;         /* the same as a number */
  double left;  /* the mean of the variances of columns given those behind them, as a share of the
                  mean diagonal: what feedback leaves of white errors */
  double reach; /* sum of the squares of U above its diagonal blocks, by columns: what errors of
                   variance 1 add to the variance of targets */
} qp_feedback;

/* QP_E_ARG: H, [columns][columns], holds what is no number, or is not symmetric. */
qp_status qp_feedback_check(unsigned columns, const float *hessian, qp_error *err);

/*
** For a Hessian that qp_feedback_check takes.  'edge' [blocks + 1] ascends from 0 to 'columns' and
** is taken over, also on error.  'damping' times the mean of the diagonal is added to it; ten times
** that, and so on as far as it takes, where H is not positive definite.  A Hessian of zeros alone
** says nothing: then out->unit is NULL, and there is no feedback.  QP_E_ARG: elements are no
** numbers; QP_E_MISSING, QP_E_NOMEM.
*/
qp_status qp_feedback_make(qp_feedback *out, unsigned columns, const float *hessian, double damping,
                           unsigned *edge, unsigned blocks, qp_error *err);
void qp_feedback_free(qp_feedback *f);

/* Compute  sums[:, from..end) = errors[:, 0..column) U[0..column, from..end)  for 32 rows of arrays
   [32][columns]; column <= from. */
void qp_feedback_sum(const qp_feedback *f, unsigned column, unsigned from, unsigned end,
                     const double *errors, double *sums);

/* Add what comes of columns that were coded since:  sums[:, from..end) +=
   errors[:, column..at) U[column..at, from..end),  with arrays as above; at <= from. */
void qp_feedback_pass(const qp_feedback *f, unsigned column, unsigned at, unsigned from,
                      unsigned end, const double *errors, double *sums);

/* Compute the targets of columns [from, end) by their sums; arrays as above. */
void qp_feedback_targets(const qp_feedback *f, unsigned from, unsigned end, const float *x,
                         const double *sums, float *targets);

/* Give the error of a weight x that is coded as 'value', as the sums take it. */
double qp_feedback_error(float value, float x);

/* Compute  out = a C  for 32 rows side by side ([columns][32], gen/encode/rows_product.h): the sum
   of the squares of a row is then  a (H + added) a^T. */
void qp_feedback_root(const qp_feedback *f, const float *a, float *out);

/* Compute  out = a H  for such rows. */
void qp_feedback_times(const qp_feedback *f, const float *a, float *out);

/* Compute  slopes = c C^T  for such rows:  a (H + added),  where c = a C. */
void qp_feedback_slopes(const qp_feedback *f, const float *c, float *slopes);

#endif
