/* SPDX-License-Identifier: MIT */
/* Inside of the compiler: what runs in a worker process, and a seam for tests of bad workers. */
#ifndef QP_COMPILE_INTERNAL_H
#define QP_COMPILE_INTERNAL_H

#include <sys/types.h>

#include "gen/compile/backend.h"
#include "gen/compile/compile.h"

/* qp_compiler_open with another backend in the workers; 'backend' must outlive the compiler. */
qp_status qp_compiler_open_with(const qp_compiler_options *opt, const qp_compile_backend *backend,
                                qp_compiler **out, qp_error *err);

/* Number of worker slots, and the process in one; 0 where none has been started yet. */
unsigned qp_compiler_worker_count(const qp_compiler *c);
pid_t qp_compiler_worker_pid(const qp_compiler *c, unsigned index);

#endif
