/* SPDX-License-Identifier: MIT */
/* The compiler that runs in a worker process, as the rest of the stage sees it. */
#ifndef QP_COMPILE_BACKEND_H
#define QP_COMPILE_BACKEND_H

#include "gen/compile/job.h"

/*
** The compiler that a worker process runs; gen/compile/nvrtc.c holds the only one of the product.
** All three functions are called in the worker only, by one thread, so they may crash or hang.
**   open      called once before the others; *self is handed to them
**   describe  writes the compiler's name, version and build ("NVRTC 13.0 ..."), which go into keys
**   compile   fills 'out', which is zeroed: status, log (malloc), cubin (malloc), ptx (malloc)
*/
typedef struct qp_compile_backend {
  qp_status (*open)(void **self, qp_error *err);
  qp_status (*describe)(void *self, char *text, size_t size, qp_error *err);
  void (*compile)(void *self, const qp_compile_job *job, qp_compiled *out);
} qp_compile_backend;

#endif
