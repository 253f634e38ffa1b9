/* SPDX-License-Identifier: MIT */
/*
** The kernels of templates/forward.cu on a device.  A qp_forward_kernels owns its module, not the
** device.  Addresses are the device's; fp16 arrays are what products read, all others are fp32.
** Launches run in order; errors of a kernel may come with a later call.
*/
#ifndef QP_FORWARD_KERNELS_H
#define QP_FORWARD_KERNELS_H

#include <stdbool.h>

#include "gen/compile/compile.h"
#include "runtime/device.h"

enum { QP_FORWARD_HEAD_DIM = 256 /* the largest */ };

typedef struct qp_forward_kernels qp_forward_kernels;

/*
** Compile (or find in the cache) and load; 'compiler' is not needed behind it.
** QP_E_COMPILE, QP_E_DEVICE; errors of the compiler.
*/
qp_status qp_forward_kernels_open(qp_device *dev, qp_compiler *compiler, qp_forward_kernels **out,
                                  qp_error *err);
void qp_forward_kernels_close(qp_forward_kernels *k); /* NULL is allowed */
qp_device *qp_forward_kernels_device(const qp_forward_kernels *k);

/*
** The structs are the kernels' parameters, laid out as templates/forward.cu has them; what is 0 for
** none is said there.
**
** norm:  out [rows] = norm(x) weight + bias over 'count' neighbouring pieces of 'width' of each row
*/
typedef struct qp_norm_args {
  qp_devptr x, weight, bias, out, out_half;
  uint64_t x_stride, out_stride;
  unsigned width, count, layer, add;
  float eps, offset;
} qp_norm_args;
qp_status qp_forward_kernels_norm(qp_forward_kernels *k, const qp_norm_args *a, size_t rows,
                                  qp_error *err);

/* Multiply:  y [rows][features] = x [rows][columns] w [features][columns]^T.  'feature_tiles' is
   filled in. */
typedef struct qp_product_args {
  qp_devptr x, w, y;
  uint64_t y_stride;
  unsigned rows, features, columns, feature_tiles;
} qp_product_args;
qp_status qp_forward_kernels_product(qp_forward_kernels *k, qp_product_args a, qp_error *err);

/* Add a bias and cap:  y [rows][features] = cap(y + bias).  'all' is filled in. */
typedef struct qp_finish_args {
  qp_devptr y, bias;
  uint64_t y_stride, all;
  unsigned features;
  float softcap;
} qp_finish_args;
qp_status qp_forward_kernels_finish(qp_forward_kernels *k, qp_finish_args a, size_t rows,
                                    qp_error *err);

/* Turn the heads of a sequence by the rotary embedding, in place.  'all' is filled in. */
typedef struct qp_turn_args {
  qp_devptr x, table;
  uint64_t stride, all;
  unsigned heads, head_dim, pairs;
} qp_turn_args;
qp_status qp_forward_kernels_turn(qp_forward_kernels *k, qp_turn_args a, size_t rows,
                                  qp_error *err);

/* Attend causally within one sequence:  q, k, v fp32 --> out fp16 [rows][heads][head_dim]. */
typedef struct qp_attend_args {
  qp_devptr q, k, v, out;
  uint64_t stride;
  unsigned rows, heads, kv_heads, head_dim, window;
  float scale, softcap;
} qp_attend_args;
qp_status qp_forward_kernels_attend(qp_forward_kernels *k, const qp_attend_args *a, qp_error *err);

/* Apply the gated unit:  out fp16 [rows][inner] = activation(gate) up.  'all' is filled in. */
typedef struct qp_gate_args {
  qp_devptr gate, up, out;
  uint64_t stride, all;
  unsigned inner, activation;
} qp_gate_args;
qp_status qp_forward_kernels_gate(qp_forward_kernels *k, qp_gate_args a, size_t rows,
                                  qp_error *err);

#endif
