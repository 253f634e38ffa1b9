/* SPDX-License-Identifier: MIT */
/* BLAS and LAPACK, opened at run time. */
#include "gen/base/blas.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include "runtime/dynlib.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static qp_blas blas;
static bool opened;

/*
** An OpenBLAS that is older than the CPU takes it for one of 2004 (0.3.21 on a Xeon of family 6,
** model 207: Prescott kernels, a fifth of the speed).  So it is told what the CPU can do, before it
** is opened, unless the user has said something himself.
*/
static void name_kernels(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const char *name = __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                             __builtin_cpu_supports("avx512bw")
                         ? "SKYLAKEX"
                     : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? "HASWELL"
                                                                                       : NULL;
  if (name) setenv("OPENBLAS_CORETYPE", name, 0);
#endif
}

/* Our own threads divide the work: those of an OpenBLAS would only be in their way.  It starts them
   when it is loaded, so it is told before. */
static void stay_alone(void) { setenv("OPENBLAS_NUM_THREADS", "1", 1); }

static qp_status open_once(qp_error *err) {
  void *handle;
  void (*set_threads)(int) = NULL;
  qp_blas b;
  name_kernels();
  stay_alone();
  qp_status status = qp_dynlib_open(QP_DYNLIB_BLAS, NULL, &handle, err);
  if (!status) status = qp_dynlib_symbol(handle, "LAPACK", "dpotrf_", &b.dpotrf, err);
  if (!status) status = qp_dynlib_symbol(handle, "BLAS", "dtrsm_", &b.dtrsm, err);
  if (!status) status = qp_dynlib_symbol(handle, "BLAS", "sgemm_", &b.sgemm, err);
  if (!status) status = qp_dynlib_symbol(handle, "BLAS", "dgemm_", &b.dgemm, err);
  if (status) return status;
  if (!qp_dynlib_symbol(handle, "OpenBLAS", "openblas_set_num_threads", &set_threads, NULL))
    set_threads(1);
  blas = b;
  opened = true;
  return QP_OK;
}

qp_status qp_blas_open(const qp_blas **out, qp_error *err) {
  pthread_mutex_lock(&lock);
  qp_status status = opened ? QP_OK : open_once(err);
  pthread_mutex_unlock(&lock);
  if (!status) *out = &blas;
  return status;
}
