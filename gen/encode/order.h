/* SPDX-License-Identifier: MIT */
/* The order in which columns are coded with error feedback, where codes may come in any order. */
#ifndef QP_ORDER_H
#define QP_ORDER_H

#include <stdbool.h>

/*
** Error feedback takes the error of a column back in those that are coded behind it, so that the
** last ones keep theirs.  These should be the columns that cost least: units of 'dim' neighbouring
** columns go by the sum of their diagonal elements of the Hessian, the largest first, equal ones as
** they stand.  'hessian' is [columns][columns]; 'order' [columns] of which [first, first + count)
** gets the columns [first, first + count) as they come.  'dim' divides 'count'. Returns false
** without memory; 'order' is then untouched.
*/
bool qp_order_columns(const float *hessian, unsigned columns, unsigned first, unsigned count,
                      unsigned dim, unsigned *order);

/* Rows and columns of 'hessian' in an order:  out[i][k] = hessian[order[i]][order[k]]. */
void qp_order_hessian(const float *hessian, unsigned columns, const unsigned *order, float *out);

#endif
