/* SPDX-License-Identifier: MIT */
/*
** A libcublas for tests, in one library with the fake driver.  A product counts as a launch there;
** FAKE_CUBLAS_FAIL names a call that fails.
*/
#include <stdlib.h>
#include <string.h>

#include "fake_cublas.h"

static fake_cublas_gemm last;

const fake_cublas_gemm *fake_cublas_last(void) { return &last; }

static int outcome(const char *call) {
  const char *fails = getenv("FAKE_CUBLAS_FAIL");
  return fails && !strcmp(fails, call) ? 13 : 0;
}

int cublasCreate_v2(void **handle) { return *handle = &last, outcome("cublasCreate_v2"); }
int cublasDestroy_v2(void *handle) { return (void)handle, 0; }
int cublasGetVersion_v2(void *handle, int *v) { return (void)handle, *v = 130100, 0; }
int cublasSetStream_v2(void *handle, void *stream) { return (void)handle, last.stream = stream, 0; }
int cublasSetWorkspace_v2(void *handle, void *at, size_t bytes) {
  return (void)handle, last.workspace = at ? bytes : 0, 0;
}
int cublasGemmEx(void *handle, int ta, int tb, int m, int n, int k, const void *alpha,
                 const void *a, int at, int lda, const void *b, int bt, int ldb, const void *beta,
                 void *c, int ct, int ldc, int compute, int algorithm) {
  (void)handle, (void)alpha, (void)b, (void)beta, (void)c;
  last.launches++;
  last = (fake_cublas_gemm){.launches = last.launches,
                            .stream = last.stream,
                            .workspace = last.workspace,
                            .weights = a,
                            .shape = {ta, tb, m, n, k, lda, ldb, ldc},
                            .types = {at, bt, ct, compute, algorithm}};
  return outcome("cublasGemmEx");
}
