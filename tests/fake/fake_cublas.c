/* SPDX-License-Identifier: MIT */
/*
** A libcublas for tests, in one library with the fake driver.  A product counts as a launch there;
** FAKE_CUBLAS_FAIL names a call that fails.  Products are right unless
** FAKE_CUBLAS_WRONG is set: "sum" leaves the last sixteenth of K out, "idle" writes nothing.
*/
#include <stdlib.h>
#include <string.h>

#include "tests/fake/fake_cublas.h"
#include "runtime/half.h"

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
static float *floats_of(const uint16_t *half, size_t count) {
  float *to = malloc((count + 1) * sizeof *to);
  for (size_t i = 0; to && i < count; i++) to[i] = qp_half_to_float(half[i]);
  return to;
}

/* C (m x n, columns 'ldc' apart) = A^T (k x m) B (k x n), columns first; C in fp32 or fp16. */
static void multiply(int m, int n, int k, const uint16_t *a, const uint16_t *b, void *c, int ldc,
                     int fp32) {
  const char *wrong = getenv("FAKE_CUBLAS_WRONG");
  if (wrong && !strcmp(wrong, "idle")) return;
  const int last_k = wrong ? k - k / 16 : k;
  float *row = floats_of(a, (size_t)m * (size_t)k), *column = floats_of(b, (size_t)n * (size_t)k);
  for (int i = 0; row && column && i < m; i++)
    for (int j = 0; j < n; j++) {
      const float *r = row + (size_t)i * (size_t)k, *s = column + (size_t)j * (size_t)k;
      float sum = 0;
      for (int t = 0; t < last_k; t++) sum += r[t] * s[t];
      const size_t at = (size_t)j * (size_t)ldc + (size_t)i;
      if (fp32)
        ((float *)c)[at] = sum;
      else
        ((uint16_t *)c)[at] = qp_float_to_half(sum);
    }
  free(row);
  free(column);
}

int cublasGemmEx(void *handle, int ta, int tb, int m, int n, int k, const void *alpha,
                 const void *a, int at, int lda, const void *b, int bt, int ldb, const void *beta,
                 void *c, int ct, int ldc, int compute, int algorithm) {
  (void)handle, (void)alpha, (void)beta;
  multiply(m, n, k, a, b, c, ldc, ct == 0);
  last.launches++;
  last = (fake_cublas_gemm){.launches = last.launches,
                            .stream = last.stream,
                            .workspace = last.workspace,
                            .weights = a,
                            .shape = {ta, tb, m, n, k, lda, ldb, ldc},
                            .types = {at, bt, ct, compute, algorithm}};
  return outcome("cublasGemmEx");
}
