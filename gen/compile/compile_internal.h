/* SPDX-License-Identifier: MIT */
/* The inside of the compiler: what runs in a worker process, and a seam by which tests put bad
   workers in. */
#ifndef QP_COMPILE_INTERNAL_H
#define QP_COMPILE_INTERNAL_H

#include <sys/types.h>

#include "gen/compile/backend.h"
#include "gen/compile/compile.h"

/* Open a compiler whose workers run another backend; 'backend' must outlive the compiler. */
qp_status qp_compiler_open_with(const qp_compiler_options *opt, const qp_compile_backend *backend,
                                qp_compiler **out, qp_error *err);

/* How many worker slots there are, and the process in one of them; 0 means that none has been
   started yet. */
unsigned qp_compiler_worker_count(const qp_compiler *c);
pid_t qp_compiler_worker_pid(const qp_compiler *c, unsigned index);

#endif
