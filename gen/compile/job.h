/* SPDX-License-Identifier: MIT */
/* What goes into a compile and what comes out of it: the types that compiler, workers and cache
   share. */
#ifndef QP_COMPILE_JOB_H
#define QP_COMPILE_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

/* What ptxas says of one kernel, read from the cubin itself and from NVRTC's log. */
typedef struct qp_resources {
  unsigned registers;         /* per thread */
  unsigned smem_static_bytes; /* per block, without what the driver reserves */
  unsigned stack_bytes;       /* per thread, local memory frame */
  unsigned spill_store_bytes; /* per thread */
  unsigned spill_load_bytes;  /* per thread */
  unsigned barriers;          /* named barriers of a block in use */
} qp_resources;

typedef struct qp_compile_job {
  const char *name;          /* the kernel's name (extern "C"), by which messages also call the
                                source */
  const char *source;        /* freestanding CUDA C++ (C++20); unmarked functions are __device__ */
  unsigned arch;             /* one of qp_arch_table (runtime/arch.h) */
  bool want_cubin, want_ptx; /* at least one of the two; PTX alone spares the time of ptxas */
  void *user;                /* handed back */
} qp_compile_job;

/* What came of a compile.  It belongs to the caller once it was handed out, who frees it by
   qp_compiled_free.  After a failure there are no images. */
typedef struct qp_compiled {
  qp_status status;
  char *log;   /* NVRTC's log or the reason of a failure; never NULL */
  void *cubin; /* NULL where not asked for */
  size_t cubin_bytes;
  char *ptx;        /* NUL-ended; NULL where not asked for */
  size_t ptx_bytes; /* without the NUL */
  qp_resources res; /* filled when there is a cubin */
  bool cached;      /* came from the cache */
  double seconds;   /* spent compiling (0 from the cache) */
} qp_compiled;

/* What a device loads: the PTX where it wants that (qp_device_info), else the cubin; NULL where
   it was not asked for. */
static inline const void *qp_compiled_image(const qp_compiled *c, bool wants_ptx, size_t *bytes) {
  *bytes = wants_ptx ? c->ptx_bytes : c->cubin_bytes;
  return wants_ptx ? (const void *)c->ptx : c->cubin;
}

/* Free what a result owns and zero it; 'c' may be NULL or zeroed. */
void qp_compiled_free(qp_compiled *c);

#endif
