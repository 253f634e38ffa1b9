/* SPDX-License-Identifier: MIT */
/* Who listens to a backward pass: see backward.h. */
#ifndef QP_BACKWARD_TYPES_H
#define QP_BACKWARD_TYPES_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/status.h"

/*
** Called once a linear and run of whole sequences, in all some 2048 tokens: y = W x is what linear
** 'linear' (as in qp_model.linear) gives out for the tokens first .. first + rows - 1.
**   x [rows][columns]                                         what it reads
**   g [rows] of 'features' floats each, 'stride' floats apart: dL/dy
**   end [sequences], ascending to 'rows': the run's sequences
** All valid during the call.  A status other than QP_OK ends the pass and is returned.
*/
typedef struct qp_gradient {
  unsigned block, linear, features, columns;
  size_t first, rows, stride, sequences;
  const size_t *end;
  const float *x, *g;
} qp_gradient;

/*
** Gradients of factors, of a run of whole sequences, to be added up over runs:
**   linear: g [rows]   dL/d(ln of each row's scale)
**   norm:   g [width]  dL/d(ln of each weight), of a norm that adds 1 to its weights of the sum;
**                      block == layers: the final norm, 'place' is 0
** both without what a bias adds.
*/
typedef struct qp_factor_gradient {
  unsigned block, linear, place, count;
  bool norm;
  const double *g; /* [count], valid during the call */
} qp_factor_gradient;

typedef struct qp_backward_hook {
  qp_status (*gradient)(void *arg, const qp_gradient *g, qp_error *err);      /* or NULL */
  qp_status (*factor)(void *arg, const qp_factor_gradient *g, qp_error *err); /* or NULL */
  void *arg;
} qp_backward_hook;

#endif
