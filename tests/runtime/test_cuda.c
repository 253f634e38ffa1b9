/* SPDX-License-Identifier: MIT */
/* The CUDA backend against a driver that keeps books (fake_cuda.c). */
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cuda_time.h"
#include "runtime/device.h"
#include "tests/fake/fake_cuda.h"

static const char fake[] = QP_BINARY_DIR "/libfake_cuda.so";
static qp_error err;

/* A function of the fake driver itself: the backend loads it by path, the test finds the same
** copy. */
static void *find(const char *name) {
  void *handle = dlopen(fake, RTLD_NOW | RTLD_LOCAL);
  cr_assert(handle, "%s", dlerror());
  return dlsym(handle, name);
}

static const fake_cuda_launch *last(void) {
  const fake_cuda_launch *(*get)(void);
  void *p = find("fake_cuda_last");
  memcpy(&get, &p, sizeof p);
  return get();
}

static int live(void) {
  int (*get)(void);
  void *p = find("fake_cuda_live");
  memcpy(&get, &p, sizeof p);
  return get();
}

static qp_device *open_fake(void) {
  qp_device *dev = NULL;
  setenv("QPAL_LIBCUDA", fake, 1);
  cr_assert_eq(qp_device_open("cuda:0", &dev, &err), QP_OK, "%s", err.text);
  return dev;
}

Test(cuda, a_device_tells_what_the_driver_says) {
  qp_device *dev = open_fake();
  cr_assert_str_eq(dev->info.name, "Fake H100");
  cr_assert_eq(dev->info.arch, 90);
  cr_assert_eq(dev->info.sm_count, 132);
  cr_assert_eq(dev->info.smem_block_bytes, 232448);
  cr_assert_not(dev->info.simulated);
  qp_device_close(dev);
  cr_assert_eq(live(), 0);
}

Test(cuda, a_missing_driver_is_named_with_what_was_tried) {
  qp_device *dev;
  setenv("QPAL_LIBCUDA", "/nowhere/libcuda.so", 1);
  cr_assert_eq(qp_device_open("cuda:0", &dev, &err), QP_E_MISSING);
  cr_assert(strstr(err.text, "/nowhere/libcuda.so") && strstr(err.text, "install"), "%s", err.text);
}

Test(cuda, a_gpu_that_is_not_there_is_missing) {
  qp_device *dev;
  setenv("QPAL_LIBCUDA", fake, 1);
  cr_assert_eq(qp_device_open("cuda:3", &dev, &err), QP_E_MISSING);
  cr_assert(strstr(err.text, "1 GPU"), "%s", err.text);
}

Test(cuda, a_gpu_without_a_row_is_given_ptx_of_the_nearest_lower_architecture) {
  setenv("FAKE_CUDA_CAPABILITY", "132", 1);
  qp_device *dev = open_fake();
  cr_expect_eq(dev->info.capability, 132);
  cr_expect_eq(dev->info.arch, 121);
  cr_expect(dev->info.wants_ptx);
  qp_device_close(dev);
  setenv("FAKE_CUDA_CAPABILITY", "87", 1);
  dev = open_fake();
  cr_expect_eq(dev->info.arch, 87);
  cr_expect_not(dev->info.wants_ptx);
  qp_device_close(dev);
}

Test(cuda, a_gpu_older_than_every_architecture_is_refused_with_the_oldest) {
  qp_device *dev = NULL;
  setenv("QPAL_LIBCUDA", fake, 1);
  setenv("FAKE_CUDA_CAPABILITY", "61", 1);
  cr_assert_eq(qp_device_open("cuda:0", &dev, &err), QP_E_MISSING);
  cr_expect(strstr(err.text, "6.1") && strstr(err.text, "7.5 is the oldest"), "%s", err.text);
  cr_expect_eq(live(), 0);
}

Test(cuda, memory_comes_back_as_it_went) {
  qp_device *dev = open_fake();
  qp_devptr p;
  char in[100] = "weights", out[100] = {0};
  cr_assert_eq(qp_device_alloc(dev, sizeof in, &p, &err), QP_OK);
  cr_assert_eq(qp_device_upload(dev, p, in, sizeof in, &err), QP_OK);
  cr_assert_eq(qp_device_download(dev, out, p, sizeof out, &err), QP_OK);
  cr_assert_arr_eq(in, out, sizeof in);
  cr_assert_eq(qp_device_fill(dev, p, 0xff, sizeof in, &err), QP_OK);
  cr_assert_eq(qp_device_download(dev, out, p, 1, &err), QP_OK);
  cr_assert_eq((unsigned char)out[0], 0xff);
  qp_devptr huge;
  cr_assert_eq(qp_device_alloc(dev, (size_t)1 << 50, &huge, &err), QP_E_NOMEM);
  qp_device_free(dev, p);
  qp_device_close(dev);
  cr_assert_eq(live(), 0);
}

static qp_function *load(qp_device *dev, qp_module **m) {
  qp_function *f;
  cr_assert_eq(qp_device_load(dev, "cubin", 5, m, &err), QP_OK);
  cr_assert_eq(qp_device_function(dev, *m, "store", &f, &err), QP_OK);
  return f;
}

Test(cuda, a_launch_hands_over_geometry_parameters_and_attributes) {
  qp_device *dev = open_fake();
  qp_module *m;
  qp_function *f = load(dev, &m), *none;
  unsigned char params[40];
  for (unsigned i = 0; i < sizeof params; i++) params[i] = (unsigned char)(3 * i);
  qp_launch how = {.grid = 132,
                   .block = 512,
                   .smem_bytes = 139264,
                   .params = params,
                   .params_bytes = sizeof params,
                   .pdl = true};
  cr_assert_eq(qp_device_launch(dev, f, &how, &err), QP_OK, "%s", err.text);
  cr_assert_eq(last()->grid, 132);
  cr_assert_eq(last()->block, 512);
  cr_assert_eq(last()->smem_bytes, 139264);
  cr_assert_eq(last()->smem_allowed, 139264);
  cr_assert_eq(last()->carveout, 100);
  cr_assert(last()->pdl);
  cr_assert_eq(last()->params_bytes, sizeof params);
  cr_assert_arr_eq(last()->params, params, sizeof params);
  how.pdl = false;
  cr_assert_eq(qp_device_launch(dev, f, &how, &err), QP_OK);
  cr_assert_not(last()->pdl);
  cr_assert_eq(qp_device_function(dev, m, "other", &none, &err), QP_E_DEVICE);
  cr_assert(strstr(err.text, "other"), "%s", err.text);
  qp_device_unload(dev, m);
  qp_device_close(dev);
  cr_assert_eq(live(), 0);
}

Test(cuda, a_failed_call_is_told_by_name) {
  qp_device *dev = open_fake();
  qp_module *m;
  qp_function *f = load(dev, &m);
  qp_launch how = {.grid = 1, .block = 32, .params = ""};
  setenv("FAKE_CUDA_FAIL", "cuLaunchKernelEx", 1);
  cr_assert_eq(qp_device_launch(dev, f, &how, &err), QP_E_DEVICE);
  cr_assert(strstr(err.text, "cuLaunchKernelEx: CUDA_ERROR_ILLEGAL_ADDRESS (an illegal"), "%s",
            err.text);
  setenv("FAKE_CUDA_FAIL", "cuStreamSynchronize", 1);
  cr_assert_eq(qp_device_sync(dev, &err), QP_E_DEVICE);
}

Test(cuda, a_chain_is_captured_once_and_replayed) {
  qp_device *dev = open_fake();
  qp_module *m;
  qp_function *f = load(dev, &m);
  qp_chain_link link[3];
  double seconds = 0;
  for (unsigned i = 0; i < 3; i++)
    link[i] = (qp_chain_link){
        .function = f,
        .launch = {
            .grid = 4, .block = 64, .smem_bytes = 1000, .params = "abcdefgh", .params_bytes = 8}};
  cr_assert_eq(qp_cuda_time_chain(dev, link, 3, 0, 15, &seconds, &err), QP_OK, "%s", err.text);
  cr_assert_eq(last()->launches, 3);
  cr_assert_eq(last()->replays, 3 + 15);
  cr_assert_float_eq(seconds, 2e-3, 1e-9);
  cr_assert_eq(qp_cuda_time_chain(dev, link, 3, 0, 0, &seconds, &err), QP_E_ARG);
  qp_device_unload(dev, m);
  qp_device_close(dev);
  cr_assert_eq(live(), 0);
}
