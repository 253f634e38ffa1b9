/* SPDX-License-Identifier: MIT */
/* Multiplies 32 rows by a matrix or a triangle:  a, M --> a M, the same bits on every machine. */
#ifndef QP_ROWS_PRODUCT_H
#define QP_ROWS_PRODUCT_H

#include <stddef.h>

/* Rows stand side by side in these arrays, [columns][32]: element k of row r is at 32 k + r. */
enum { QP_PRODUCT_ROWS = 32 };

/* Copy 32 rows, [32][columns], to such an array, and back. */
void qp_rows_gather(unsigned columns, const float *rows, float *out);
void qp_rows_scatter(unsigned columns, const float *in, float *rows);

/* Which elements of a row of M, the j-th, are taken. */
typedef enum qp_rows_part {
  QP_ROWS_BEFORE, /* 0 to j */
  QP_ROWS_BEHIND, /* j to columns - 1 */
  QP_ROWS_ALL
} qp_rows_part;

/*
** Compute, of M with 'stride' floats from one of its rows to the next, for each j below 'columns'
** and each of 32 rows
**   out[j] = sum of M[j][i] a[i] over i of the part.
** The sum is one of fused multiply-adds in ascending order of i, so that it is the same on every
** machine.  'out' may not be 'a'.
*/
void qp_rows_product(unsigned columns, const float *m, size_t stride, qp_rows_part part,
                     const float *a, float *out);

#endif
