/* SPDX-License-Identifier: MIT */
/* Sums of products of whole numbers for 32 rows:  errors, U --> sums.  They are exact, so that
   every order of them gives the same. */
#ifndef QP_EXACT_SUMS_H
#define QP_EXACT_SUMS_H

enum { QP_EXACT_ROWS = 32 };

/*
** Compute  sums[:, from..end) = errors[:, 0..depth) u[0..depth, from..end)  of arrays with
** 'columns' numbers in a row; 'errors' and 'sums' have 32 rows.  Numbers are whole ones, and a sum
** of absolute values of products is at most 2^53.
*/
void qp_exact_sums(unsigned columns, unsigned depth, unsigned from, unsigned end,
                   const double *errors, const float *u, double *sums);

/* Add what a few more rows of u give:  sums[:, from..end) += errors[:, first..last) u[first..last,
   from..end). */
void qp_exact_add(unsigned columns, unsigned first, unsigned last, unsigned from, unsigned end,
                  const double *errors, const float *u, double *sums);

#endif
