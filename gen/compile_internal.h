/* SPDX-License-Identifier: MIT */
/* Inside of the compiler: what runs in a worker process, and a seam for tests of bad workers. */
#ifndef QP_COMPILE_INTERNAL_H
#define QP_COMPILE_INTERNAL_H

#include <sys/types.h>

#include "gen/compile.h"

/*
** The compiler that a worker process runs; gen/nvrtc.c holds the only one of the product.  All
** three functions are called in the worker only, by one thread, so they may crash or hang.
**   open      called once before the others; *self is handed to them
**   describe  writes the compiler's name, version and build ("NVRTC 13.0 ..."), which go into keys
**   compile   fills 'out', which is zeroed: status, log (malloc), cubin (malloc), ptx (malloc)
*/
typedef struct qp_compile_backend {
  qp_status (*open)(void **self, qp_error *err);
  qp_status (*describe)(void *self, char *text, size_t size, qp_error *err);
  void (*compile)(void *self, const qp_compile_job *job, qp_compiled *out);
} qp_compile_backend;

/* qp_compiler_open with another backend in the workers; 'backend' must outlive the compiler. */
qp_status qp_compiler_open_with(const qp_compiler_options *opt, const qp_compile_backend *backend,
                                qp_compiler **out, qp_error *err);

/* Number of worker slots, and the process in one; 0 where none has been started yet. */
unsigned qp_compiler_worker_count(const qp_compiler *c);
pid_t qp_compiler_worker_pid(const qp_compiler *c, unsigned index);

#endif
