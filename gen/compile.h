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
  unsigned registers;                           /* per thread */
  unsigned smem_static_bytes;                   /* per block */
  unsigned stack_bytes;                         /* per thread, local memory frame */
  unsigned spill_store_bytes, spill_load_bytes; /* per thread */
  unsigned barriers;
} qp_resources;

typedef struct qp_compile_job {
  const char *name;   /* kernel name, also the source's name in messages */
  const char *source; /* freestanding CUDA C++ */
  unsigned arch;      /* 80, 86, 89, 90, 100, 120 */
  bool want_cubin, want_ptx;
  void *user; /* handed back */
} qp_compile_job;

/* Owned by the callee; free with qp_compiled_free.  On failure 'log' says why, both images are
 * NULL. */
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

void qp_compiled_free(qp_compiled *c);

typedef struct qp_compiler qp_compiler;

typedef struct qp_compiler_options {
  unsigned workers; /* processes; 0: as many as CPUs online */
  const char
      *cache_dir;   /* NULL: $QPAL_CACHE, else $XDG_CACHE_HOME/qpal, else ~/.cache/qpal; "": none */
  double timeout_s; /* a compile that takes longer is killed and fails; 0: 120 */
} qp_compiler_options;

/*
** Start the workers (fork; each opens NVRTC by dlopen on its first job).  Must be called before the
** process starts threads.  QP_E_MISSING if NVRTC cannot be opened: the message names the sonames
*and
** paths tried and how to get it.  A worker that crashes or hangs fails its job only; it is
*replaced.
*/
qp_status qp_compiler_open(const qp_compiler_options *opt, qp_compiler **out, qp_error *err);
void qp_compiler_close(qp_compiler *c);
/* "NVRTC 13.0" and the build string that goes into cache keys. */
const char *qp_compiler_version(const qp_compiler *c);

/* Queue a job (strings are copied).  Results come from qp_compiler_next, in order of completion. */
qp_status qp_compiler_submit(qp_compiler *c, const qp_compile_job *job, qp_error *err);
/* Wait for one result; false when nothing is queued or running.  *user is the job's. */
bool qp_compiler_next(qp_compiler *c, qp_compiled *out, void **user);
/* Submit one job and wait for it; fails with the compile's own status and log in err. */
qp_status qp_compiler_run(qp_compiler *c, const qp_compile_job *job, qp_compiled *out,
                          qp_error *err);

/* Architectures that qpal generates for, ending with 0:  80 86 89 90 100 120. */
extern const unsigned qp_architectures[];
/* "sm_90", "90" -> 90; QP_E_ARG names the ones known. */
qp_status qp_arch_parse(const char *text, unsigned *arch, qp_error *err);
/* Most dynamic shared memory a block can opt into: 166912 (80), 101376 (86, 89, 120), 232448 (90,
 * 100). */
unsigned qp_arch_smem_bytes(unsigned arch);

/* Instruction mix of the innermost, longest loop of 'kernel' in PTX text: kinds by pipe. */
typedef struct qp_mix {
  unsigned total, integer_alu, integer_mul, half_math, float_math, mma, shared_load, shared_store,
      global_load, global_store, atomic, shuffle, barrier, convert, control, other;
  bool sass; /* counted from SASS (nvdisasm was found), else from PTX */
} qp_mix;
qp_status qp_mix_ptx(const char *ptx, const char *kernel, qp_mix *out, qp_error *err);
/* The same from the cubin through nvdisasm, if one is on PATH, in $QPAL_NVDISASM or in the toolkit;
** QP_E_MISSING otherwise. */
qp_status qp_mix_sass(const void *cubin, size_t bytes, const char *kernel, qp_mix *out,
                      qp_error *err);

#endif
