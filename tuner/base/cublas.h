/* SPDX-License-Identifier: MIT */
/* Opens cuBLAS by dlopen.  It computes what a user would run instead of our kernels, Y = X W^T with
   fp16 weights, and the products of a forward pass on a GPU. */
#ifndef QP_CUBLAS_H
#define QP_CUBLAS_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/device.h"

typedef struct qp_cublas qp_cublas;

/*
** Open libcublas (13, else 12; $QPAL_CUBLAS names another) on a CUDA device, which must outlive it.
** 'version' gets "cuBLAS 13.1.0".  QP_E_MISSING: not found, with how to get it; QP_E_DEVICE.
*/
qp_status qp_cublas_open(qp_device *dev, qp_cublas **out, char *version, size_t size,
                         qp_error *err);
void qp_cublas_close(qp_cublas *c);

/*
** Measure the picoseconds of a launch of Y[N,M] = X[N,K] W[M,K]^T, all fp16, sums in fp32, in a
** CUDA graph chain.  The chain walks through copies of W, and the L2 cache is cleared before each
** replay, so that weights come from DRAM.  X and Y are warm.  Then 64 rows of what the last launch
** left in Y, which was poisoned, are compared with sums in double precision: '*error' is their
** relative L2 error.
** QP_E_WRONG: it is above 2e-3, or Y was not written; QP_E_NOMEM, QP_E_DEVICE.
*/
qp_status qp_cublas_time(qp_cublas *c, unsigned rows, unsigned columns, unsigned batch, int64_t *ps,
                         double *error, qp_error *err);

/*
** Compute y[rows][features] = x[rows][columns] w[features][columns]^T, with x and w in fp16, sums
** and y in fp32, and rows of y 'y_stride' numbers apart.  It runs in order with the device's
** launches and is not waited for.  QP_E_DEVICE.
*/
typedef struct qp_cublas_product {
  qp_devptr x, w, y;
  uint64_t y_stride;
  unsigned rows, features, columns;
} qp_cublas_product;
qp_status qp_cublas_multiply(qp_cublas *c, const qp_cublas_product *p, qp_error *err);

#endif
