/* SPDX-License-Identifier: MIT */
/* The few BLAS and LAPACK functions that Hessians and forward passes need, opened at run time. */
#ifndef QP_BLAS_H
#define QP_BLAS_H

#include "runtime/status.h"

/* The functions have the Fortran interface: matrices are column-major, sizes have 32 bits,
   everything is passed by reference, and calls use one thread. */
typedef struct qp_blas {
  void (*dpotrf)(const char *uplo, const int *n, double *a, const int *lda, int *info);
  void (*dtrsm)(const char *side, const char *uplo, const char *trans, const char *diag,
                const int *m, const int *n, const double *alpha, const double *a, const int *lda,
                double *b, const int *ldb);
  void (*sgemm)(const char *trans_a, const char *trans_b, const int *m, const int *n, const int *k,
                const float *alpha, const float *a, const int *lda, const float *b, const int *ldb,
                const float *beta, float *c, const int *ldc);
  void (*dgemm)(const char *trans_a, const char *trans_b, const int *m, const int *n, const int *k,
                const double *alpha, const double *a, const int *lda, const double *b,
                const int *ldb, const double *beta, double *c, const int *ldc);
} qp_blas;

/* Open the library once and keep it until exit; $QPAL_BLAS names one to be used instead.  Any
   thread may call this.  QP_E_MISSING means that there is none: the message says what was tried and
   how to get one. */
qp_status qp_blas_open(const qp_blas **out, qp_error *err);

#endif
