/* SPDX-License-Identifier: MIT */
/* CUDA source -> cubin + PTX:  NVRTC in worker processes, behind a content-addressed cache. */
#ifndef QP_COMPILE_H
#define QP_COMPILE_H

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
  const char *name;          /* the kernel's (extern "C"); also the source's name in messages */
  const char *source;        /* freestanding CUDA C++ (C++20); unmarked functions are __device__ */
  unsigned arch;             /* one of qp_architectures */
  bool want_cubin, want_ptx; /* one at least; PTX alone spares the time of ptxas */
  void *user;                /* handed back */
} qp_compile_job;

/* The caller's once handed out: qp_compiled_free.  After a failure there are no images. */
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

/* Free what a result owns and zero it; 'c' may be NULL or zeroed. */
void qp_compiled_free(qp_compiled *c);

typedef struct qp_compiler qp_compiler;

typedef struct qp_compiler_options {
  unsigned workers;      /* most processes at a time; 0: as many as CPUs are online */
  const char *cache_dir; /* "": none; NULL: $QPAL_CACHE (empty: none), else
                            $XDG_CACHE_HOME/qpal, else ~/.cache/qpal */
  double timeout_s;      /* a compile that takes longer is killed and fails; 0: 120 */
} qp_compiler_options;

/*
** Start a compiler.  Forks a small process from which workers are forked when there is work, so
** call it before the process starts threads; workers may be replaced at any time later.  Each
** worker opens NVRTC by dlopen (gen/nvrtc.h says where it looks).  A worker that crashes, hangs or
** is killed fails the job it had, no other, and is replaced; workers end with the thread that calls
** this.  A cache directory that cannot be written only means that nothing is kept.
** 'opt' may be NULL (defaults).  A compiler is used by one thread at a time.
** QP_E_MISSING: no NVRTC; the message names what was tried and how to get it.  QP_E_ARG: a negative
** time limit.  QP_E_NOMEM, QP_E_LIMIT: no memory, processes or descriptors.  '*out' is then
** untouched.
*/
qp_status qp_compiler_open(const qp_compiler_options *opt, qp_compiler **out, qp_error *err);

/* Ends the workers, whatever they do, and drops results that nobody took.  NULL is allowed. */
void qp_compiler_close(qp_compiler *c);

/* "NVRTC 13.0 (V13.0.88, CL-36424714)": version and build, which are part of every cache key. */
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
** result's own status, then with its log in err and *out untouched. */
qp_status qp_compiler_run(qp_compiler *c, const qp_compile_job *job, qp_compiled *out,
                          qp_error *err);

/* Architectures that qpal generates for, ending with 0:  80 86 89 90 100 120. */
extern const unsigned qp_architectures[];

/* "sm_90", "90" -> 90; QP_E_ARG names the ones known and leaves *arch alone. */
qp_status qp_arch_parse(const char *text, unsigned *arch, qp_error *err);

/* Most dynamic shared memory, in bytes, that a block can opt into: 166912 (80), 101376 (86, 89,
** 120), 232448 (90, 100); 0 for an architecture that is not known. */
unsigned qp_arch_smem_bytes(unsigned arch);

/* Instructions of a loop by the pipe they keep busy.  total is the sum of all others. */
typedef struct qp_mix {
  unsigned total, integer_alu, integer_mul, half_math, float_math, mma, shared_load, shared_store,
      global_load, global_store, atomic, shuffle, barrier, convert, control, other;
  bool sass; /* counted from SASS (nvdisasm was found), else from PTX */
} qp_mix;

/*
** Instruction mix of a kernel's main loop: of all loops, each without the loops inside it, the one with
** the most instructions; of the whole kernel where it has no loop.  'ptx' is NUL-ended text as NVRTC
** writes it.  QP_E_ARG: the text has no such kernel.  Thread-safe.
*/
qp_status qp_mix_ptx(const char *ptx, const char *kernel, qp_mix *out, qp_error *err);

/*
** The same from a cubin, through nvdisasm: $QPAL_NVDISASM, or one on PATH, in $CUDA_HOME/bin or in
** /usr/local/cuda/bin.  QP_E_MISSING: there is none; QP_E_IO: it fails; QP_E_ARG: no such kernel.
*/
qp_status qp_mix_sass(const void *cubin, size_t bytes, const char *kernel, qp_mix *out,
                      qp_error *err);

#endif
