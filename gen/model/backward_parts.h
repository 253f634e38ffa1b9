/* SPDX-License-Identifier: MIT */
/* Takes gradients back through the steps of a block, with rows shared out to threads. */
#ifndef QP_BACKWARD_PARTS_H
#define QP_BACKWARD_PARTS_H

#include "gen/model/backward_types.h"
#include "gen/model/forward_state.h"

/*
** Compute  out[i] = sum_r dy[r][i] (y[r][i] - bias[i])  in the order of the rows: this is dL/d(ln
** of a factor of y - bias).  'bias' may be NULL.
*/
typedef struct qp_factor_back {
  const float *dy, *y, *bias;
  size_t rows, dy_stride, y_stride, count;
  double *out; /* [count] */
} qp_factor_back;
void qp_factor_back_run(const qp_forward *f, const qp_factor_back *b);

/* Compute  out[r][i] = dy[r][i] scale[i],  where rows of 'out' lie one behind another. */
typedef struct qp_scale_back {
  const float *dy, *scale;
  float *out;
  size_t rows, dy_stride, count;
} qp_scale_back;
void qp_scale_back_run(const qp_forward *f, const qp_scale_back *b);

/* Tell the hook of a norm's factors, with dy as for qp_norm_back.  Returns QP_E_NOMEM or what the
   hook returns. */
qp_status qp_norm_tell(const qp_forward *f, const qp_backward_hook *hook, unsigned block,
                       qp_norm_place place, const qp_norm_rows *n, const float *dy, qp_error *err);

/* Go back through a linear of 'features' x 'columns':  dx[i] (+)= sum_j dy[i][j] w[j]. */
typedef struct qp_product_back {
  const float *dy, *w;
  float *dx;
  size_t rows, dy_stride, dx_stride;
  unsigned features, columns;
  bool add;
} qp_product_back;
void qp_product_back_run(const qp_forward *f, const qp_product_back *p);

/* Compute  dx (+)= dL/dx  of  y = norm(x)  with x = n->x; 'n->y' is not looked at.  dy and dx are
   laid out as y and x of qp_norm_rows, and dx may be dy. */
typedef struct qp_norm_back {
  qp_norm_rows n;
  const float *dy;
  float *dx;
  bool add;
} qp_norm_back;
void qp_norm_back_run(const qp_forward *f, const qp_norm_back *b);

/*
** Go back through  y = activation(gate) up  (without 'gated':  activation(gate)).  The rows gate
** [inner] | up [inner] become dL/dgate | dL/dup of dy [rows][inner], in place.
*/
typedef struct qp_activation_back {
  float *gate;
  const float *dy;
  size_t rows, inner;
  bool gated;
} qp_activation_back;
void qp_activation_back_run(const qp_forward *f, const qp_activation_back *a);

#endif
