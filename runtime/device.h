/* SPDX-License-Identifier: MIT */
/* The device interface is one set of calls that both the CUDA driver and the PTX simulator answer.
   */
#ifndef QP_DEVICE_H
#define QP_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

typedef struct qp_device qp_device;
typedef struct qp_module qp_module;     /* A loaded module: a cubin (CUDA) or PTX text
                                           (simulator). */
typedef struct qp_function qp_function; /* A kernel of a module, which owns it. */
typedef uint64_t qp_devptr;             /* device address; 0 is no address */

typedef struct qp_device_info {
  char name[128];      /* "NVIDIA H100 80GB HBM3", "PTX simulator" */
  char bus[32];        /* PCI address "0000:3b:00.0"; "" for the simulator */
  unsigned arch;       /* the one of qp_arch_table for which code is made: its own or the nearest
                          lower */
  unsigned capability; /* The compute capability as 10 * major + minor. */
  unsigned sm_count;
  unsigned smem_block_bytes; /* most dynamic shared memory a block may opt into */
  size_t memory_bytes;
  size_t l2_bytes;
  bool simulated;  /* true: never gives a latency */
  bool wants_ptx;  /* images to load are PTX: a simulator, or a GPU whose capability has no row */
  unsigned driver; /* The newest CUDA version of the driver, 1000 major + 10 minor; 0: there is no
                      driver. */
} qp_device_info;

typedef struct qp_launch {
  unsigned grid, block; /* blocks; threads a block (one dimension) */
  unsigned smem_bytes;  /* dynamic shared memory a block */
  const void *params;   /* The kernel's parameter space, laid out as one struct in CUDA C. */
  size_t params_bytes;
  bool pdl; /* Launch by programmatic dependent launch (CUDA only; it is ignored before sm_90). */
  bool on_stream; /* Launch on 'stream' (a CUstream of the device's context), not the device's
                     own. */
  void *stream;
} qp_launch;

/* Each backend fills this table; 'self' is the device. */
typedef struct qp_device_ops {
  void (*close)(qp_device *self);
  qp_status (*alloc)(qp_device *self, size_t bytes, qp_devptr *out, qp_error *err);
  void (*free)(qp_device *self, qp_devptr ptr);
  qp_status (*upload)(qp_device *self, qp_devptr dst, const void *src, size_t bytes, qp_error *err);
  qp_status (*download)(qp_device *self, void *dst, qp_devptr src, size_t bytes, qp_error *err);
  qp_status (*fill)(qp_device *self, qp_devptr dst, uint8_t byte, size_t bytes, qp_error *err);
  qp_status (*load)(qp_device *self, const void *image, size_t bytes, qp_module **out,
                    qp_error *err);
  void (*unload)(qp_device *self, qp_module *module);
  qp_status (*function)(qp_device *self, qp_module *module, const char *name, qp_function **out,
                        qp_error *err);
  qp_status (*launch)(qp_device *self, qp_function *f, const qp_launch *how, qp_error *err);
  qp_status (*sync)(qp_device *self, qp_error *err);
  /*
  ** For engines with streams and contexts of their own; NULL where a backend has no such thing.
  ** 'prepare' does what a first launch with this much shared memory would, so that launches may be
  ** captured.  'clear' sets bytes to 0 and 'wait' waits, on a stream.  'enter' makes the device's
  ** context current and returns what was; 'leave' makes that current again.
  */
  qp_status (*prepare)(qp_device *self, qp_function *f, unsigned smem_bytes, qp_error *err);
  qp_status (*clear)(qp_device *self, qp_devptr dst, size_t bytes, void *stream, qp_error *err);
  qp_status (*wait)(qp_device *self, void *stream, qp_error *err);
  void *(*enter)(qp_device *self);
  void (*leave)(qp_device *self, void *before);
} qp_device_ops;

/* Every backend's device begins with this. */
struct qp_device {
  const qp_device_ops *ops;
  qp_device_info info;
};

/*
** Open a device by name:  "cuda:N"  (driver API, opened by dlopen), or
** "sim[:sm_90[:SMS]]"  (the PTX simulator posing as that architecture with SMS multiprocessors;
** by default sm_90 and 4).  QP_E_ARG: the name has none of these forms; QP_E_MISSING: there is no
** driver or no such GPU.  Close with qp_device_close.  A device is used by one thread at a time.
*/
qp_status qp_device_open(const char *name, qp_device **out, qp_error *err);
void qp_device_close(qp_device *dev);

/* Wrappers; memory given by alloc is uninitialised (the simulator tracks that), 256-byte aligned.
 */
static inline qp_status qp_device_alloc(qp_device *d, size_t bytes, qp_devptr *out, qp_error *err) {
  return d->ops->alloc(d, bytes, out, err);
}
static inline void qp_device_free(qp_device *d, qp_devptr p) { d->ops->free(d, p); }
static inline qp_status qp_device_upload(qp_device *d, qp_devptr dst, const void *src, size_t bytes,
                                         qp_error *err) {
  return d->ops->upload(d, dst, src, bytes, err);
}
static inline qp_status qp_device_download(qp_device *d, void *dst, qp_devptr src, size_t bytes,
                                           qp_error *err) {
  return d->ops->download(d, dst, src, bytes, err);
}
static inline qp_status qp_device_fill(qp_device *d, qp_devptr dst, uint8_t byte, size_t bytes,
                                       qp_error *err) {
  return d->ops->fill(d, dst, byte, bytes, err);
}
static inline qp_status qp_device_load(qp_device *d, const void *image, size_t bytes,
                                       qp_module **out, qp_error *err) {
  return d->ops->load(d, image, bytes, out, err);
}
static inline void qp_device_unload(qp_device *d, qp_module *m) { d->ops->unload(d, m); }
static inline qp_status qp_device_function(qp_device *d, qp_module *m, const char *name,
                                           qp_function **out, qp_error *err) {
  return d->ops->function(d, m, name, out, err);
}
static inline qp_status qp_device_launch(qp_device *d, qp_function *f, const qp_launch *how,
                                         qp_error *err) {
  return d->ops->launch(d, f, how, err);
}
static inline qp_status qp_device_sync(qp_device *d, qp_error *err) { return d->ops->sync(d, err); }

/* A sentence where code is made for another architecture than the device's own, else "".  Returns
   'to'. */
const char *qp_device_remark(const qp_device_info *info, char *to, size_t size);

/* The backends, which qp_device_open calls. */
qp_status qp_cuda_open(unsigned index, qp_device **out, qp_error *err);
/* The context that is current on this thread; it stays the caller's.  QP_E_MISSING: none is. */
qp_status qp_cuda_open_current(qp_device **out, qp_error *err);
/* Get the context that is current on this thread (NULL: there is none, or no driver), and set it
   again. */
void *qp_cuda_context(void);
void qp_cuda_set_context(void *context);
qp_status qp_sim_open(unsigned arch, unsigned sm_count, qp_device **out, qp_error *err);

#endif
