/* SPDX-License-Identifier: MIT */
/* What is asked of cuBLAS, against one that keeps books (fake_cublas.c). */
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fake/fake_cublas.h"
#include "tests/fake/fake_cuda.h"
#include "runtime/cuda_time.h"
#include "runtime/half.h"
#include "tuner/base/cublas.h"

static const char fake[] = QP_BINARY_DIR "/libfake_cuda.so";
static qp_error err;
static qp_device *dev;
static qp_cublas *cublas;
static char version[64];

static void *find(const char *name) { return dlsym(dlopen(fake, RTLD_NOW | RTLD_LOCAL), name); }

static const fake_cublas_gemm *gemm(void) {
  const fake_cublas_gemm *(*get)(void);
  void *p = find("fake_cublas_last");
  memcpy(&get, &p, sizeof p);
  return get();
}

static void begin(void) {
  setenv("QPAL_LIBCUDA", fake, 1);
  setenv("QPAL_CUBLAS", fake, 1);
  cr_assert_eq(qp_device_open("cuda:0", &dev, &err), QP_OK, "%s", err.text);
}

static void end(void) {
  int (*live)(void);
  void *p = find("fake_cuda_live");
  memcpy(&live, &p, sizeof p);
  qp_cublas_close(cublas);
  qp_device_close(dev);
  cr_assert_eq(live(), 0);
}
TestSuite(cublas, .init = begin, .fini = end);

static qp_status open_it(void) {
  return qp_cublas_open(dev, &cublas, version, sizeof version, &err);
}

Test(cublas, it_tells_its_version) {
  cr_assert_eq(open_it(), QP_OK, "%s", err.text);
  cr_assert_str_eq(version, "cuBLAS 13.1.0");
}

Test(cublas, a_missing_library_is_named_with_how_to_get_it) {
  setenv("QPAL_CUBLAS", "/nowhere/libcublas.so.13", 1);
  cr_assert_eq(open_it(), QP_E_MISSING);
  cr_assert(strstr(err.text, "/nowhere/libcublas.so.13") && strstr(err.text, "CUDA Toolkit"), "%s",
            err.text);
}

Test(cublas, a_product_is_w_transposed_times_x_in_fp16_with_fp32_sums) {
  int64_t ps = 0;
  double error = -1;
  cr_assert_eq(open_it(), QP_OK, "%s", err.text);
  cr_assert_eq(qp_cublas_time(cublas, 1024, 4096, 8, &ps, &error, &err), QP_OK, "%s", err.text);
  /* column-major: op(A) is m x k with A k x m, B is k x n, C is m x n */
  const int shape[] = {1, 0, 1024, 8, 4096, 4096, 4096, 1024};
  const int types[] = {2, 2, 2, 68, -1}; /* CUDA_R_16F thrice, CUBLAS_COMPUTE_32F, default */
  cr_assert_arr_eq(gemm()->shape, shape, sizeof shape);
  cr_assert_arr_eq(gemm()->types, types, sizeof types);
  cr_assert_geq(gemm()->workspace, 32 << 20, "a graph must not allocate");
}

Test(cublas, a_product_of_a_pass_leaves_fp32_rows_apart_and_is_on_the_devices_stream) {
  enum { ROWS = 3, FEATURES = 5, COLUMNS = 8, STRIDE = 7 };
  uint16_t x[ROWS * COLUMNS], w[FEATURES * COLUMNS];
  float y[ROWS * STRIDE];
  for (unsigned i = 0; i < ROWS * COLUMNS; i++) x[i] = qp_float_to_half((float)i / 8 - 1);
  for (unsigned i = 0; i < FEATURES * COLUMNS; i++) w[i] = qp_float_to_half(1 - (float)(i % 7) / 4);
  qp_cublas_product p = {
      .y_stride = STRIDE, .rows = ROWS, .features = FEATURES, .columns = COLUMNS};
  cr_assert_eq(open_it(), QP_OK, "%s", err.text);
  cr_assert_eq(qp_device_alloc(dev, sizeof x, &p.x, &err), QP_OK);
  cr_assert_eq(qp_device_alloc(dev, sizeof w, &p.w, &err), QP_OK);
  cr_assert_eq(qp_device_alloc(dev, sizeof y, &p.y, &err), QP_OK);
  cr_assert_eq(qp_device_upload(dev, p.x, x, sizeof x, &err), QP_OK);
  cr_assert_eq(qp_device_upload(dev, p.w, w, sizeof w, &err), QP_OK);
  cr_assert_eq(qp_device_fill(dev, p.y, 0, sizeof y, &err), QP_OK);
  cr_assert_eq(qp_cublas_multiply(cublas, &p, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_device_download(dev, y, p.y, sizeof y, &err), QP_OK);
  for (unsigned r = 0; r < ROWS; r++)
    for (unsigned f = 0; f < STRIDE; f++) {
      float want = 0;
      for (unsigned k = 0; k < COLUMNS && f < FEATURES; k++)
        want += qp_half_to_float(x[r * COLUMNS + k]) * qp_half_to_float(w[f * COLUMNS + k]);
      cr_expect_float_eq(y[r * STRIDE + f], want, 1e-5, "[%u][%u]", r, f);
    }
  cr_expect_eq(gemm()->stream, qp_cuda_stream(dev));
  cr_expect_neq(gemm()->stream, NULL);
  const qp_devptr all[] = {p.x, p.w, p.y};
  for (unsigned i = 0; i < 3; i++) qp_device_free(dev, all[i]);
}

Test(cublas, a_chain_walks_over_four_times_the_cache) {
  int64_t ps = 0;
  double error = -1;
  cr_assert_eq(open_it(), QP_OK, "%s", err.text);
  cr_assert_eq(qp_cublas_time(cublas, 1024, 4096, 1, &ps, &error, &err), QP_OK, "%s", err.text);
  /* 8 MiB a copy, an L2 cache of 8 MiB: 4 copies, 12 launches; once to load kernels, once
  ** captured */
  cr_assert_eq(gemm()->launches, 24);
  cr_assert_eq(ps, 166666667, "the fake's events are 2 ms apart");
}

Test(cublas, what_it_computed_is_compared_with_sums_in_double_precision) {
  int64_t ps = 0;
  double error = -1;
  cr_assert_eq(open_it(), QP_OK, "%s", err.text);
  cr_assert_eq(qp_cublas_time(cublas, 96, 512, 3, &ps, &error, &err), QP_OK, "%s", err.text);
  cr_assert(error > 0 && error < 1e-3, "%g: halves are rounded", error);
}

static void expect_wrong(const char *how) {
  int64_t ps = 0;
  double error = -1;
  cr_assert_eq(open_it(), QP_OK, "%s", err.text);
  setenv("FAKE_CUBLAS_WRONG", how, 1);
  cr_assert_eq(qp_cublas_time(cublas, 96, 512, 3, &ps, &error, &err), QP_E_WRONG);
  cr_assert(strstr(err.text, "relative L2 error") && strstr(err.text, "2e-03"), "%s", err.text);
  cr_assert_eq(ps, 0, "a wrong product has no time");
}
Test(cublas, a_wrong_product_is_refused) { expect_wrong("sum"); }
Test(cublas, a_product_that_was_never_written_is_refused) { expect_wrong("idle"); }

Test(cublas, a_failed_call_is_a_device_error) {
  int64_t ps = 0;
  double error = -1;
  cr_assert_eq(open_it(), QP_OK, "%s", err.text);
  setenv("FAKE_CUBLAS_FAIL", "cublasGemmEx", 1);
  cr_assert_eq(qp_cublas_time(cublas, 1024, 4096, 1, &ps, &error, &err), QP_E_DEVICE);
  cr_assert(strstr(err.text, "cublasGemmEx"), "%s", err.text);
}
