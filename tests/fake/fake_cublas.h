/* SPDX-License-Identifier: MIT */
/* What the fake cuBLAS saw. */
#ifndef QP_FAKE_CUBLAS_H
#define QP_FAKE_CUBLAS_H

#include <stddef.h>

typedef struct fake_cublas_gemm {
  unsigned launches;
  void *stream;
  size_t workspace;
  const void *weights; /* of the last one */
  int shape[8];        /* transposed A, transposed B, m, n, k, lda, ldb, ldc */
  int types[5];        /* of A, B, C; compute type; algorithm */
} fake_cublas_gemm;

const fake_cublas_gemm *fake_cublas_last(void);

#endif
