/* SPDX-License-Identifier: MIT */
/* Launches that depend on each other, as a model has them: do they stay right
   where they overlap? */
#ifndef QP_CHAIN_H
#define QP_CHAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "gen/compile/compile.h"
#include "gen/kernel/family.h"
#include "runtime/device.h"
#include "tuner/check/verify.h"

typedef struct qp_chain_case {
  const qp_quantizer *quantizer;
  const char *path; /* path of its gemm; NULL: the usual one */
  unsigned size;    /* M and K of its linears, a multiple of 64. */
  unsigned batch;   /* rows of X */
  bool atomic;      /* instead of the four: a fill of zeros, then one gemm that adds to Y */
  unsigned arch;    /* architecture of the device */
  unsigned sm_count;
  uint64_t seed;
} qp_chain_case;

/*
** Run   A = rotate(X),  B = W0 A,  C = rotate(B),  D = W1 C   as four launches with
** programmatic dependent launch, the gemms with one workspace and the same counters, and again one
** after another with a synchronisation behind each: the same bits.  With 'atomic':  fill(Y, 0),  Y
** += W0 X,  the launch marked as dependent on the fill; relative L2 error at most 1e-5 in fp32,
** since the order of sums is free.  Each kernel's own result is qp_verify's business.
** In the simulator the launches overlap as far as they may (runtime/sim/overlap.h); on a GPU they
** are captured as one CUDA graph and replayed.
** What the kernels do wrong is a verdict; an error is returned where the check itself
** could not be done: QP_E_ARG (an architecture without dependent launches, below
** sm_90), QP_E_MISSING, QP_E_NOMEM.
*/
qp_status qp_chain_verify(qp_device *dev, qp_families *families, qp_compiler *compiler,
                          const qp_chain_case *what, qp_verdict *out, qp_error *err);

#endif
