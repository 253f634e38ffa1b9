/* SPDX-License-Identifier: MIT */
/* Compiles  CUDA source -> cubin + PTX  by NVRTC in worker processes, behind a cache whose keys are
   contents. */
#ifndef QP_COMPILE_H
#define QP_COMPILE_H

#include "runtime/arch.h"
#include "gen/compile/job.h"

typedef struct qp_compiler qp_compiler;

typedef struct qp_compiler_options {
  unsigned workers;      /* most processes at a time; 0: as many as CPUs are online */
  const char *cache_dir; /* "": none; NULL: $QPAL_CACHE (empty: none), else
                            $XDG_CACHE_HOME/qpal, else ~/.cache/qpal */
  double timeout_s;      /* a compile that takes more processor time, or stands still for as
                            long, is ended and fails; 0: 120 */
} qp_compiler_options;

/*
** Start a compiler.  Forks a small process from which workers are forked when there is work, so
** call it before the process starts threads; workers may be replaced at any time later.  Each
** worker opens NVRTC by dlopen (gen/compile/nvrtc.h says where it looks).  A worker that crashes,
** hangs or is killed fails the job it had, no other, and is replaced; workers end with the thread
** that calls this.  A cache directory that cannot be written only means that nothing is kept.
** 'opt' may be NULL (defaults).  A compiler is used by one thread at a time.
** QP_E_MISSING: no NVRTC; the message names what was tried and how to get it.  QP_E_ARG: a negative
** time limit.  QP_E_NOMEM, QP_E_LIMIT: no memory, processes or descriptors; QP_E_LIMIT: threads of
** qp_thread_start run.  '*out' is then untouched.
*/
qp_status qp_compiler_open(const qp_compiler_options *opt, qp_compiler **out, qp_error *err);

/* Ends the workers, whatever they do, and drops results that nobody took.  NULL is allowed. */
void qp_compiler_close(qp_compiler *c);

/* Describe the compiler by its version and build, which are part of every cache key: "NVRTC 13.0
   (V13.0.88, CL-36424714)". */
const char *qp_compiler_version(const qp_compiler *c);

/*
** Queue a job (strings are copied).  Results come from qp_compiler_next, in order of completion.
** QP_E_ARG: an empty name, no source, an architecture that is not known, nothing wanted;
** QP_E_NOMEM.
*/
qp_status qp_compiler_submit(qp_compiler *c, const qp_compile_job *job, qp_error *err);

/*
** Wait for one result; false when nothing is queued or running ('out' and 'user' are untouched).
** '*user' (may be NULL) becomes the job's.  The result's status is QP_OK; QP_E_COMPILE (NVRTC
** refused the source, the kernel is not in the cubin, or the worker died); QP_E_LIMIT (the time
** limit, or no process to be had); QP_E_NOMEM; QP_E_MISSING (NVRTC has gone since).
*/
bool qp_compiler_next(qp_compiler *c, qp_compiled *out, void **user);

/* Do one job before those queued and wait for it.  Fails like qp_compiler_submit or with the
   result's own status, then with its log in err and *out untouched. */
qp_status qp_compiler_run(qp_compiler *c, const qp_compile_job *job, qp_compiled *out,
                          qp_error *err);

#endif
