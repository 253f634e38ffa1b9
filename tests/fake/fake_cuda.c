/* SPDX-License-Identifier: MIT */
/*
** A libcuda for tests: the driver calls that runtime/cuda.c uses, on host memory.  A "kernel" named
** "store" writes its launch down for the test, which reads it through fake_cuda_last(); so do
** kernels of kernel libraries, whose names hold "__".  Launches are told to the fake CUPTI in the
** same library (fake_cupti.c).  FAKE_CUDA_FAIL names a call that fails, FAKE_CUDA_DRIVER is the
** driver's version, FAKE_CUDA_CAPABILITY the compute capability (90), FAKE_CUDA_MEMORY the bytes
** that one allocation may have.  The wait for a kernel whose name holds FAKE_CUDA_HANG never ends;
** after one whose name holds FAKE_CUDA_STICKY every call of the process that can fail does, as
** after a fault on a GPU.
*/
#include <cuda.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fake/fake_cuda.h"
#include "tests/fake/fake_cupti.h"

static fake_cuda_launch last;
static int live, other;
static char kernel[512];  /* the function that was asked for last */
static unsigned captured; /* launches of the last graph */
static int capturing;
static _Thread_local CUcontext current;

__attribute__((visibility("default"))) const fake_cuda_launch *fake_cuda_last(void) {
  return &last;
}
__attribute__((visibility("default"))) int fake_cuda_live(void) { return live; }

static int launched(const char *variable) {
  const char *part = getenv(variable);
  return part && last.launches && strstr(kernel, part) != NULL;
}

static CUresult outcome(const char *call) {
  static int sticky;
  sticky |= launched("FAKE_CUDA_STICKY");
  if (sticky) return CUDA_ERROR_ILLEGAL_ADDRESS;
  const char *fails = getenv("FAKE_CUDA_FAIL");
  return fails && !strcmp(fails, call) ? CUDA_ERROR_ILLEGAL_ADDRESS : CUDA_SUCCESS;
}

CUresult CUDAAPI cuInit(unsigned flags) { return (void)flags, outcome("cuInit"); }
CUresult CUDAAPI cuGetErrorName(CUresult r, const char **s) {
  *s = r == CUDA_ERROR_ILLEGAL_ADDRESS ? "CUDA_ERROR_ILLEGAL_ADDRESS" : "CUDA_ERROR_OTHER";
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuGetErrorString(CUresult r, const char **s) {
  return (void)r, *s = "an illegal memory access", CUDA_SUCCESS;
}
CUresult CUDAAPI cuDeviceGetCount(int *n) { return *n = 1, CUDA_SUCCESS; }
CUresult CUDAAPI cuDeviceGet(CUdevice *d, int i) { return *d = i, CUDA_SUCCESS; }
CUresult CUDAAPI cuDeviceGetName(char *s, int n, CUdevice d) {
  (void)d;
  strncpy(s, "Fake H100", (size_t)n);
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuDeviceGetAttribute(int *v, CUdevice_attribute a, CUdevice d) {
  const char *given = getenv("FAKE_CUDA_CAPABILITY");
  const char *multiprocessors = getenv("FAKE_CUDA_MULTIPROCESSORS");
  const int capability = given ? atoi(given) : 90;
  (void)d;
  *v = a == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR   ? capability / 10
       : a == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR ? capability % 10
       : a == CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
           ? multiprocessors ? atoi(multiprocessors) : 132
       : a == CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE ? 8 << 20
                                                : 232448;
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuDeviceGetPCIBusId(char *s, int n, CUdevice d) {
  return (void)d, snprintf(s, (size_t)n, "0000:3b:00.0"), CUDA_SUCCESS;
}
CUresult CUDAAPI cuDeviceTotalMem_v2(size_t *n, CUdevice d) {
  return (void)d, *n = (size_t)80 << 30, CUDA_SUCCESS;
}
CUresult CUDAAPI cuDevicePrimaryCtxRetain(CUcontext *c, CUdevice d) {
  (void)d;
  live++;
  *c = (CUcontext)&live;
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuDevicePrimaryCtxRelease_v2(CUdevice d) { return (void)d, live--, CUDA_SUCCESS; }
CUresult CUDAAPI cuCtxSetCurrent(CUcontext c) { return current = c, CUDA_SUCCESS; }
CUresult CUDAAPI cuCtxGetCurrent(CUcontext *c) { return *c = current, CUDA_SUCCESS; }
CUresult CUDAAPI cuCtxGetDevice(CUdevice *d) { return *d = 0, CUDA_SUCCESS; }
CUresult CUDAAPI cuDriverGetVersion(int *v) {
  const char *version = getenv("FAKE_CUDA_DRIVER");
  return *v = version ? atoi(version) : 13000, CUDA_SUCCESS;
}
__attribute__((visibility("default"))) void *fake_cuda_current(void) { return current; }
__attribute__((visibility("default"))) void *fake_cuda_other(void) { return &other; }
CUresult CUDAAPI cuStreamCreate(CUstream *s, unsigned flags) {
  (void)flags;
  live++;
  *s = (CUstream)&last;
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuStreamDestroy_v2(CUstream s) { return (void)s, live--, CUDA_SUCCESS; }
CUresult CUDAAPI cuStreamSynchronize(CUstream s) {
  while (launched("FAKE_CUDA_HANG")) pause();
  return (void)s, last.waits++, outcome("cuStreamSynchronize");
}
CUresult CUDAAPI cuMemAlloc_v2(CUdeviceptr *p, size_t n) {
  if (outcome("cuMemAlloc_v2")) return outcome("cuMemAlloc_v2");
  const char *most = getenv("FAKE_CUDA_MEMORY");
  if (n > (most ? strtoull(most, NULL, 10) : 1ull << 40)) return CUDA_ERROR_OUT_OF_MEMORY;
  void *block = malloc(n);
  if (!block) return CUDA_ERROR_OUT_OF_MEMORY;
  live++;
  *p = (CUdeviceptr)(uintptr_t)block;
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuMemFree_v2(CUdeviceptr p) {
  live--;
  free((void *)(uintptr_t)p);
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuMemcpyHtoDAsync_v2(CUdeviceptr d, const void *s, size_t n, CUstream st) {
  (void)st;
  memcpy((void *)(uintptr_t)d, s, n);
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuMemcpyDtoHAsync_v2(void *d, CUdeviceptr s, size_t n, CUstream st) {
  (void)st;
  memcpy(d, (const void *)(uintptr_t)s, n);
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuMemsetD8Async(CUdeviceptr d, unsigned char v, size_t n, CUstream st) {
  (void)st;
  last.fills++;
  memset((void *)(uintptr_t)d, v, n);
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuModuleLoadData(CUmodule *m, const void *image) {
  (void)image;
  live++;
  *m = (CUmodule)&live;
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuModuleUnload(CUmodule m) { return (void)m, live--, CUDA_SUCCESS; }
CUresult CUDAAPI cuModuleGetFunction(CUfunction *f, CUmodule m, const char *name) {
  (void)m;
  *f = (CUfunction)&last;
  strncpy(kernel, name, sizeof kernel - 1);
  return strcmp(name, "other") == 0 ? CUDA_ERROR_NOT_FOUND : CUDA_SUCCESS; /* test_cuda asks so */
}
CUresult CUDAAPI cuFuncSetAttribute(CUfunction f, CUfunction_attribute a, int v) {
  (void)f;
  if (a == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)
    last.smem_allowed = (unsigned)v;
  else
    last.carveout = v;
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuLaunchKernelEx(const CUlaunchConfig *c, CUfunction f, void **args,
                                  void **extra) {
  (void)f;
  if (args || extra[0] != CU_LAUNCH_PARAM_BUFFER_POINTER || extra[2] != CU_LAUNCH_PARAM_BUFFER_SIZE)
    return CUDA_ERROR_INVALID_VALUE;
  last.launches++;
  last.stream = c->hStream;
  last.grid = c->gridDimX;
  last.block = c->blockDimX;
  last.smem_bytes = c->sharedMemBytes;
  last.pdl = c->numAttrs == 1 &&
             c->attrs[0].id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION &&
             c->attrs[0].value.programmaticStreamSerializationAllowed;
  last.params_bytes = *(size_t *)extra[3];
  memcpy(last.params, extra[1], last.params_bytes);
  captured += capturing != 0;
  if (!capturing) fake_cupti_ran(kernel, 1);
  return outcome("cuLaunchKernelEx");
}
CUresult CUDAAPI cuStreamBeginCapture_v2(CUstream s, CUstreamCaptureMode m) {
  return (void)s, (void)m, captured = 0, capturing = 1, CUDA_SUCCESS;
}
CUresult CUDAAPI cuStreamEndCapture(CUstream s, CUgraph *g) {
  (void)s;
  capturing = 0;
  live++;
  *g = (CUgraph)&live;
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuGraphInstantiateWithFlags(CUgraphExec *e, CUgraph g, unsigned long long f) {
  (void)g, (void)f;
  live++;
  *e = (CUgraphExec)&live;
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuGraphLaunch(CUgraphExec e, CUstream s) {
  fake_cupti_ran(kernel, captured);
  return (void)e, (void)s, last.replays++, CUDA_SUCCESS;
}
CUresult CUDAAPI cuGraphExecDestroy(CUgraphExec e) { return (void)e, live--, CUDA_SUCCESS; }
CUresult CUDAAPI cuGraphDestroy(CUgraph g) { return (void)g, live--, CUDA_SUCCESS; }
CUresult CUDAAPI cuEventCreate(CUevent *e, unsigned f) {
  (void)f;
  live++;
  *e = (CUevent)&live;
  return CUDA_SUCCESS;
}
CUresult CUDAAPI cuEventRecord(CUevent e, CUstream s) { return (void)e, (void)s, CUDA_SUCCESS; }
CUresult CUDAAPI cuEventSynchronize(CUevent e) { return (void)e, CUDA_SUCCESS; }
#undef cuEventElapsedTime
CUresult CUDAAPI cuEventElapsedTime(float *ms, CUevent a, CUevent b) {
  return (void)a, (void)b, *ms = 2.0f, CUDA_SUCCESS;
}
CUresult CUDAAPI cuEventDestroy_v2(CUevent e) { return (void)e, live--, CUDA_SUCCESS; }
