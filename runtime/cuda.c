/* SPDX-License-Identifier: MIT */
/* The CUDA backend of the device interface, by the driver API.  No other file includes cuda.h. */
#include <cuda.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/arch.h"
#include "runtime/cuda_time.h"
#include "runtime/device.h"
#include "runtime/dynlib.h"

/* The driver calls in use, each with the name of its field, its symbol in libcuda and its
   parameters. */
#define DRIVER_CALLS(X)                                                                            \
  X(Init, "cuInit", (unsigned))                                                                    \
  X(DriverGetVersion, "cuDriverGetVersion", (int *))                                               \
  X(GetErrorName, "cuGetErrorName", (CUresult, const char **))                                     \
  X(GetErrorString, "cuGetErrorString", (CUresult, const char **))                                 \
  X(DeviceGetCount, "cuDeviceGetCount", (int *))                                                   \
  X(DeviceGet, "cuDeviceGet", (CUdevice *, int))                                                   \
  X(DeviceGetName, "cuDeviceGetName", (char *, int, CUdevice))                                     \
  X(DeviceGetAttribute, "cuDeviceGetAttribute", (int *, CUdevice_attribute, CUdevice))             \
  X(DeviceGetPCIBusId, "cuDeviceGetPCIBusId", (char *, int, CUdevice))                             \
  X(DeviceTotalMem, "cuDeviceTotalMem_v2", (size_t *, CUdevice))                                   \
  X(PrimaryCtxRetain, "cuDevicePrimaryCtxRetain", (CUcontext *, CUdevice))                         \
  X(PrimaryCtxRelease, "cuDevicePrimaryCtxRelease_v2", (CUdevice))                                 \
  X(CtxSetCurrent, "cuCtxSetCurrent", (CUcontext))                                                 \
  X(CtxGetCurrent, "cuCtxGetCurrent", (CUcontext *))                                               \
  X(CtxGetDevice, "cuCtxGetDevice", (CUdevice *))                                                  \
  X(StreamCreate, "cuStreamCreate", (CUstream *, unsigned))                                        \
  X(StreamDestroy, "cuStreamDestroy_v2", (CUstream))                                               \
  X(StreamSynchronize, "cuStreamSynchronize", (CUstream))                                          \
  X(MemAlloc, "cuMemAlloc_v2", (CUdeviceptr *, size_t))                                            \
  X(MemFree, "cuMemFree_v2", (CUdeviceptr))                                                        \
  X(MemcpyHtoD, "cuMemcpyHtoDAsync_v2", (CUdeviceptr, const void *, size_t, CUstream))             \
  X(MemcpyDtoH, "cuMemcpyDtoHAsync_v2", (void *, CUdeviceptr, size_t, CUstream))                   \
  X(MemsetD8, "cuMemsetD8Async", (CUdeviceptr, unsigned char, size_t, CUstream))                   \
  X(ModuleLoadData, "cuModuleLoadData", (CUmodule *, const void *))                                \
  X(ModuleUnload, "cuModuleUnload", (CUmodule))                                                    \
  X(ModuleGetFunction, "cuModuleGetFunction", (CUfunction *, CUmodule, const char *))              \
  X(FuncSetAttribute, "cuFuncSetAttribute", (CUfunction, CUfunction_attribute, int))               \
  X(StreamBeginCapture, "cuStreamBeginCapture_v2", (CUstream, CUstreamCaptureMode))                \
  X(StreamEndCapture, "cuStreamEndCapture", (CUstream, CUgraph *))                                 \
  X(GraphInstantiate, "cuGraphInstantiateWithFlags", (CUgraphExec *, CUgraph, unsigned long long)) \
  X(GraphLaunch, "cuGraphLaunch", (CUgraphExec, CUstream))                                         \
  X(GraphExecDestroy, "cuGraphExecDestroy", (CUgraphExec))                                         \
  X(GraphDestroy, "cuGraphDestroy", (CUgraph))                                                     \
  X(EventCreate, "cuEventCreate", (CUevent *, unsigned))                                           \
  X(EventRecord, "cuEventRecord", (CUevent, CUstream))                                             \
  X(EventSynchronize, "cuEventSynchronize", (CUevent))                                             \
  X(EventElapsedTime, "cuEventElapsedTime", (float *, CUevent, CUevent))                           \
  X(EventDestroy, "cuEventDestroy_v2", (CUevent))                                                  \
  X(LaunchKernelEx, "cuLaunchKernelEx", (const CUlaunchConfig *, CUfunction, void **, void **))

static struct {
#define X(name, symbol, parameters) CUresult(CUDAAPI *name) parameters;
  DRIVER_CALLS(X)
#undef X
} cu;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool opened;

static const qp_device_ops ops;

typedef struct cuda_device {
  qp_device base;
  CUdevice device;
  CUcontext context;
  bool adopted; /* the context is the caller's */
  CUstream stream;
} cuda_device;

struct qp_function {
  qp_function *next; /* of the module */
  CUfunction function;
  unsigned smem_bytes; /* that the function has been allowed */
};

struct qp_module {
  CUmodule module;
  qp_function *functions;
};

/* ---- Opening the driver ---- */

static qp_status open_driver(qp_error *err) {
  void *handle;
  qp_status status = qp_dynlib_open(QP_DYNLIB_CUDA, NULL, &handle, err);
#define X(name, symbol, parameters)                                                                \
  if (!status) status = qp_dynlib_symbol(handle, "the CUDA driver", symbol, &cu.name, err);
  DRIVER_CALLS(X)
#undef X
  return status;
}

static qp_status open_once(qp_error *err) {
  pthread_mutex_lock(&lock);
  qp_status status = opened ? QP_OK : open_driver(err);
  opened = status == QP_OK;
  pthread_mutex_unlock(&lock);
  return status;
}

/* A failed call as a status: the call's name, the driver's name of the error and its text. */
static qp_status failed(CUresult r, const char *call, qp_error *err) {
  const char *name = NULL, *text = NULL;
  if (cu.GetErrorName(r, &name)) name = NULL;
  if (cu.GetErrorString(r, &text)) text = NULL;
  return qp_fail(err, r == CUDA_ERROR_OUT_OF_MEMORY ? QP_E_NOMEM : QP_E_DEVICE, "%s: %s (%s)", call,
                 name ? name : "unknown error", text ? text : "the driver says no more");
}

static qp_status make_current(const cuda_device *d, qp_error *err) {
  CUresult r = cu.CtxSetCurrent(d->context);
  return r ? failed(r, "cuCtxSetCurrent", err) : QP_OK;
}

/* ---- Memory ---- */

static qp_status cuda_alloc(qp_device *self, size_t bytes, qp_devptr *out, qp_error *err) {
  CUdeviceptr p;
  qp_status status = make_current((cuda_device *)self, err);
  if (status) return status;
  CUresult r = cu.MemAlloc(&p, bytes ? bytes : 1); /* the driver aligns to 256 bytes or more */
  if (r) return failed(r, "cuMemAlloc", err);
  *out = (qp_devptr)p;
  return QP_OK;
}

static void cuda_free(qp_device *self, qp_devptr ptr) {
  if (ptr && !make_current((cuda_device *)self, NULL)) cu.MemFree((CUdeviceptr)ptr);
}

static qp_status cuda_sync(qp_device *self, qp_error *err) {
  cuda_device *d = (cuda_device *)self;
  qp_status status = make_current(d, err);
  if (status) return status;
  CUresult r = cu.StreamSynchronize(d->stream);
  return r ? failed(r, "cuStreamSynchronize", err) : QP_OK;
}

static qp_status cuda_upload(qp_device *self, qp_devptr dst, const void *src, size_t bytes,
                             qp_error *err) {
  cuda_device *d = (cuda_device *)self;
  qp_status status = make_current(d, err);
  if (status) return status;
  CUresult r = cu.MemcpyHtoD((CUdeviceptr)dst, src, bytes, d->stream);
  return r ? failed(r, "cuMemcpyHtoDAsync", err) : cuda_sync(self, err);
}

static qp_status cuda_download(qp_device *self, void *dst, qp_devptr src, size_t bytes,
                               qp_error *err) {
  cuda_device *d = (cuda_device *)self;
  qp_status status = make_current(d, err);
  if (status) return status;
  CUresult r = cu.MemcpyDtoH(dst, (CUdeviceptr)src, bytes, d->stream);
  return r ? failed(r, "cuMemcpyDtoHAsync", err) : cuda_sync(self, err);
}

static qp_status cuda_fill(qp_device *self, qp_devptr dst, uint8_t byte, size_t bytes,
                           qp_error *err) {
  cuda_device *d = (cuda_device *)self;
  qp_status status = make_current(d, err);
  if (status || !bytes) return status;
  CUresult r = cu.MemsetD8((CUdeviceptr)dst, byte, bytes, d->stream);
  return r ? failed(r, "cuMemsetD8Async", err) : cuda_sync(self, err);
}

/* ---- Kernels ---- */

static qp_status cuda_load(qp_device *self, const void *image, size_t bytes, qp_module **out,
                           qp_error *err) {
  (void)bytes; /* a cubin tells its own size */
  qp_status status = make_current((cuda_device *)self, err);
  if (status) return status;
  qp_module *m = calloc(1, sizeof *m);
  if (!m) return qp_fail(err, QP_E_NOMEM, "no memory for a module");
  CUresult r = cu.ModuleLoadData(&m->module, image);
  if (r) return free(m), failed(r, "cuModuleLoadData", err);
  *out = m;
  return QP_OK;
}

static void cuda_unload(qp_device *self, qp_module *m) {
  if (!m) return;
  if (!make_current((cuda_device *)self, NULL)) cu.ModuleUnload(m->module);
  for (qp_function *f = m->functions, *next; f; f = next) {
    next = f->next;
    free(f);
  }
  free(m);
}

static qp_status cuda_function(qp_device *self, qp_module *m, const char *name, qp_function **out,
                               qp_error *err) {
  qp_status status = make_current((cuda_device *)self, err);
  if (status) return status;
  qp_function *f = calloc(1, sizeof *f);
  if (!f) return qp_fail(err, QP_E_NOMEM, "no memory for a function");
  CUresult r = cu.ModuleGetFunction(&f->function, m->module, name);
  if (r) {
    free(f);
    status = failed(r, "cuModuleGetFunction", err);
    return qp_fail_prefix(err, status, "kernel '%.200s'", name);
  }
  f->next = m->functions;
  *out = m->functions = f;
  return QP_OK;
}

/* More than 48 KB of dynamic shared memory must be asked for; the L1 cache gives way to it. */
static qp_status allow_smem(qp_function *f, unsigned bytes, qp_error *err) {
  if (bytes <= f->smem_bytes) return QP_OK;
  CUresult r =
      cu.FuncSetAttribute(f->function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)bytes);
  if (!r)
    r = cu.FuncSetAttribute(f->function, CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT,
                            CU_SHAREDMEM_CARVEOUT_MAX_SHARED);
  if (r) return failed(r, "cuFuncSetAttribute", err);
  f->smem_bytes = bytes;
  return QP_OK;
}

static qp_status cuda_launch(qp_device *self, qp_function *f, const qp_launch *how, qp_error *err) {
  cuda_device *d = (cuda_device *)self;
  qp_status status = make_current(d, err);
  if (!status) status = allow_smem(f, how->smem_bytes, err);
  if (status) return status;
  CUlaunchAttribute pdl;
  memset(&pdl, 0, sizeof pdl);
  pdl.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
  pdl.value.programmaticStreamSerializationAllowed = 1;
  CUlaunchConfig config = {.gridDimX = how->grid,
                           .gridDimY = 1,
                           .gridDimZ = 1,
                           .blockDimX = how->block,
                           .blockDimY = 1,
                           .blockDimZ = 1,
                           .sharedMemBytes = how->smem_bytes,
                           .hStream = how->on_stream ? (CUstream)how->stream : d->stream,
                           .attrs = &pdl,
                           .numAttrs = how->pdl && qp_arch_has(self->info.arch, QP_ARCH_PDL)};
  size_t bytes = how->params_bytes;
  void *params = (void *)(uintptr_t)how->params; /* the driver only reads them */
  void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, params, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes,
                   CU_LAUNCH_PARAM_END};
  CUresult r = cu.LaunchKernelEx(&config, f->function, NULL, extra);
  return r ? failed(r, "cuLaunchKernelEx", err) : QP_OK;
}

/* Without an attribute to set, a lazily loaded function would be loaded by its first launch, maybe
   within a capture. */
static qp_status cuda_prepare(qp_device *self, qp_function *f, unsigned smem_bytes, qp_error *err) {
  qp_status status = make_current((cuda_device *)self, err);
  if (status) return status;
  if (smem_bytes > f->smem_bytes) return allow_smem(f, smem_bytes, err);
  CUresult r = cu.FuncSetAttribute(f->function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                   (int)f->smem_bytes);
  return r ? failed(r, "cuFuncSetAttribute", err) : QP_OK;
}

/* ---- The caller's streams and contexts ---- */

static qp_status cuda_clear(qp_device *self, qp_devptr dst, size_t bytes, void *stream,
                            qp_error *err) {
  qp_status status = make_current((cuda_device *)self, err);
  if (status || !bytes) return status;
  CUresult r = cu.MemsetD8((CUdeviceptr)dst, 0, bytes, (CUstream)stream);
  return r ? failed(r, "cuMemsetD8Async", err) : QP_OK;
}

static qp_status cuda_wait(qp_device *self, void *stream, qp_error *err) {
  qp_status status = make_current((cuda_device *)self, err);
  if (status) return status;
  CUresult r = cu.StreamSynchronize((CUstream)stream);
  return r ? failed(r, "cuStreamSynchronize", err) : QP_OK;
}

static void *cuda_enter(qp_device *self) {
  CUcontext before = NULL, wanted = ((cuda_device *)self)->context;
  if (cu.CtxGetCurrent(&before)) before = NULL;
  if (before != wanted) cu.CtxSetCurrent(wanted);
  return before;
}

static void cuda_leave(qp_device *self, void *before) {
  if (before != (void *)((cuda_device *)self)->context) cu.CtxSetCurrent((CUcontext)before);
}

void *qp_cuda_context(void) {
  CUcontext current =
      NULL; /* opens the driver: the context may be one of the caller's own making */
  return !open_once(NULL) && !cu.CtxGetCurrent(&current) ? current : NULL;
}

void qp_cuda_set_context(void *context) {
  if (!open_once(NULL)) cu.CtxSetCurrent((CUcontext)context);
}

void *qp_cuda_stream(const qp_device *dev) { return ((const cuda_device *)dev)->stream; }

/* ---- Timing a chain ---- */

enum { WARM_UP = 3, MOST_REPLAYS = 64 };

/* What one timing holds while it runs. */
typedef struct timing {
  cuda_device *d;
  CUgraphExec graph;
  CUevent from, to;
  CUdeviceptr flush;
  size_t flush_bytes;
} timing;

static qp_status capture(cuda_device *d, const qp_graph_work *work, CUgraphExec *out,
                         qp_error *err) {
  CUgraph graph = NULL;
  CUresult r = cu.StreamBeginCapture(d->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
  if (r) return failed(r, "cuStreamBeginCapture", err);
  qp_status status = work->enqueue(d->stream, work->arg, err);
  r = cu.StreamEndCapture(d->stream, &graph);
  if (!status && r) status = failed(r, "cuStreamEndCapture", err);
  if (!status && (r = cu.GraphInstantiate(out, graph, 0)))
    status = failed(r, "cuGraphInstantiate", err);
  if (graph) cu.GraphDestroy(graph);
  return status;
}

static qp_status prepare_timing(timing *t, const qp_graph_work *work, qp_error *err) {
  CUresult r = cu.EventCreate(&t->from, CU_EVENT_DEFAULT);
  if (!r) r = cu.EventCreate(&t->to, CU_EVENT_DEFAULT);
  if (r) return failed(r, "cuEventCreate", err);
  if (work->flush_bytes && (r = cu.MemAlloc(&t->flush, work->flush_bytes)))
    return failed(r, "cuMemAlloc", err);
  t->flush_bytes = work->flush_bytes;
  qp_status status = work->warm ? work->enqueue(t->d->stream, work->arg, err) : QP_OK;
  if (!status && work->warm) status = cuda_sync(&t->d->base, err);
  return status ? status : capture(t->d, work, &t->graph, err);
}

static void end_timing(timing *t) {
  if (t->graph) cu.GraphExecDestroy(t->graph);
  if (t->from) cu.EventDestroy(t->from);
  if (t->to) cu.EventDestroy(t->to);
  if (t->flush) cu.MemFree(t->flush);
}

static qp_status replay(const timing *t, float *ms, qp_error *err) {
  CUstream stream = t->d->stream;
  CUresult r = t->flush ? cu.MemsetD8(t->flush, 0, t->flush_bytes, stream) : CUDA_SUCCESS;
  if (!r) r = cu.EventRecord(t->from, stream);
  if (!r) r = cu.GraphLaunch(t->graph, stream);
  if (!r) r = cu.EventRecord(t->to, stream);
  if (!r) r = cu.EventSynchronize(t->to);
  if (!r) r = cu.EventElapsedTime(ms, t->from, t->to);
  return r ? failed(r, "cuGraphLaunch", err) : QP_OK;
}

static int by_value(const void *a, const void *b) {
  const float x = *(const float *)a, y = *(const float *)b;
  return x < y ? -1 : x > y;
}

qp_status qp_cuda_time_work(qp_device *dev, const qp_graph_work *work, unsigned replays,
                            double *seconds, qp_error *err) {
  timing t = {.d = (cuda_device *)dev};
  float ms[MOST_REPLAYS], warm;
  if (dev->ops != &ops) return qp_fail(err, QP_E_ARG, "only a CUDA device has a clock");
  if (replays < 1 || replays > MOST_REPLAYS)
    return qp_fail(err, QP_E_ARG, "%u replays; 1 to %d are possible", replays, MOST_REPLAYS);
  qp_status status = make_current(t.d, err);
  if (!status) status = prepare_timing(&t, work, err);
  for (unsigned i = 0; i < WARM_UP && !status; i++) status = replay(&t, &warm, err);
  for (unsigned i = 0; i < replays && !status; i++) status = replay(&t, &ms[i], err);
  if (!status) {
    qsort(ms, replays, sizeof *ms, by_value);
    *seconds = (double)ms[replays / 2] * 1e-3;
  }
  end_timing(&t);
  return status;
}

typedef struct chain {
  cuda_device *d;
  const qp_chain_link *links;
  size_t count;
} chain;

static qp_status enqueue_chain(void *stream, void *arg, qp_error *err) {
  const chain *c = arg;
  qp_status status = QP_OK;
  (void)stream; /* the device's own, where launches go */
  for (size_t i = 0; i < c->count && !status; i++)
    status = cuda_launch(&c->d->base, c->links[i].function, &c->links[i].launch, err);
  return status;
}

qp_status qp_cuda_time_chain(qp_device *dev, const qp_chain_link *links, size_t count,
                             size_t flush_bytes, unsigned replays, double *seconds, qp_error *err) {
  chain c = {.d = (cuda_device *)dev, .links = links, .count = count};
  const qp_graph_work work = {.enqueue = enqueue_chain, .arg = &c, .flush_bytes = flush_bytes};
  if (dev->ops != &ops) return qp_fail(err, QP_E_ARG, "only a CUDA device has a clock");
  qp_status status = make_current(c.d, err);
  for (size_t i = 0; i < count && !status; i++) /* attributes are no part of a capture */
    status = allow_smem(links[i].function, links[i].launch.smem_bytes, err);
  return status ? status : qp_cuda_time_work(dev, &work, replays, seconds, err);
}

/* ---- Opening a device ---- */

static void cuda_close(qp_device *self) {
  cuda_device *d = (cuda_device *)self;
  if (d->context && !make_current(d, NULL) && d->stream) cu.StreamDestroy(d->stream);
  if (d->context && !d->adopted) cu.PrimaryCtxRelease(d->device);
  free(d);
}

static const qp_device_ops ops = {.close = cuda_close,
                                  .alloc = cuda_alloc,
                                  .free = cuda_free,
                                  .upload = cuda_upload,
                                  .download = cuda_download,
                                  .fill = cuda_fill,
                                  .load = cuda_load,
                                  .unload = cuda_unload,
                                  .function = cuda_function,
                                  .launch = cuda_launch,
                                  .sync = cuda_sync,
                                  .prepare = cuda_prepare,
                                  .clear = cuda_clear,
                                  .wait = cuda_wait,
                                  .enter = cuda_enter,
                                  .leave = cuda_leave};

/* The architecture that code is made for. */
static qp_status choose_arch(qp_device_info *info, qp_error *err) {
  const qp_arch *a = qp_arch_nearest(info->capability);
  if (!a)
    return qp_fail(err, QP_E_MISSING,
                   "%s: compute capability %u.%u; %u.%u is the oldest that kernels are made for",
                   info->name, info->capability / 10, info->capability % 10,
                   qp_arch_table->number / 10, qp_arch_table->number % 10);
  info->arch = a->number;
  info->wants_ptx = a->number != info->capability;
  return QP_OK;
}

static qp_status read_info(cuda_device *d, qp_error *err) {
  int major, minor, sms, smem, l2, driver;
  const struct {
    int *to;
    CUdevice_attribute which;
  } wanted[] = {{&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR},
                {&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR},
                {&sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT},
                {&smem, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN},
                {&l2, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE}};
  qp_device_info *info = &d->base.info;
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
    CUresult r = cu.DeviceGetAttribute(wanted[i].to, wanted[i].which, d->device);
    if (r) return failed(r, "cuDeviceGetAttribute", err);
  }
  CUresult r = cu.DeviceGetName(info->name, sizeof info->name, d->device);
  if (!r) r = cu.DeviceGetPCIBusId(info->bus, sizeof info->bus, d->device);
  if (!r) r = cu.DeviceTotalMem(&info->memory_bytes, d->device);
  if (!r) r = cu.DriverGetVersion(&driver);
  if (r) return failed(r, "cuDeviceGetName", err);
  info->driver = (unsigned)driver;
  info->capability = (unsigned)(10 * major + minor);
  info->sm_count = (unsigned)sms;
  info->smem_block_bytes = (unsigned)smem;
  info->l2_bytes = (size_t)l2;
  info->simulated = false;
  return choose_arch(info, err);
}

static qp_status find_device(unsigned index, CUdevice *out, qp_error *err) {
  int count = 0;
  CUresult r = cu.Init(0);
  if (r == CUDA_ERROR_NO_DEVICE)
    return qp_fail(err, QP_E_MISSING,
                   "cuda:%u: the driver is here (libcuda), but it finds no GPU: is one installed, "
                   "given to this container (--gpus all), and not hidden by CUDA_VISIBLE_DEVICES?",
                   index);
  if (r) return failed(r, "cuInit", err);
  r = cu.DeviceGetCount(&count);
  if (r) return failed(r, "cuDeviceGetCount", err);
  if (index >= (unsigned)count)
    return qp_fail(err, QP_E_MISSING, "cuda:%u: there are %d GPUs, the first is cuda:0", index,
                   count);
  r = cu.DeviceGet(out, (int)index);
  return r ? failed(r, "cuDeviceGet", err) : QP_OK;
}

/* What both ways to open have in common: 'd' has a device, and a context unless
   'retain' is wanted. */
static qp_status open_device(cuda_device d, bool retain, qp_device **out, qp_error *err) {
  cuda_device *own = calloc(1, sizeof *own);
  if (!own) return qp_fail(err, QP_E_NOMEM, "no memory for a device");
  *own = d;
  own->base.ops = &ops;
  qp_status status = read_info(own, err);
  CUresult r = status || !retain ? CUDA_SUCCESS : cu.PrimaryCtxRetain(&own->context, d.device);
  if (r) {
    own->context = NULL;
    status = failed(r, "cuDevicePrimaryCtxRetain", err);
  }
  if (!status) status = make_current(own, err);
  if (!status && (r = cu.StreamCreate(&own->stream, CU_STREAM_NON_BLOCKING)))
    status = failed(r, "cuStreamCreate", err);
  if (status) return cuda_close(&own->base), status;
  *out = &own->base;
  return QP_OK;
}

qp_status qp_cuda_open(unsigned index, qp_device **out, qp_error *err) {
  cuda_device d = {.adopted = false};
  qp_status status = open_once(err);
  if (!status) status = find_device(index, &d.device, err);
  return status ? status : open_device(d, true, out, err);
}

qp_status qp_cuda_open_current(qp_device **out, qp_error *err) {
  cuda_device d = {.adopted = true};
  qp_status status = open_once(err);
  if (status) return status;
  CUresult r = cu.CtxGetCurrent(&d.context);
  if (r == CUDA_ERROR_NOT_INITIALIZED || (!r && !d.context))
    return qp_fail(err, QP_E_MISSING,
                   "no CUDA context is current on this thread; make one current, or open a GPU by "
                   "its ordinal");
  if (!r) r = cu.CtxGetDevice(&d.device);
  return r ? failed(r, "cuCtxGetDevice", err) : open_device(d, false, out, err);
}
