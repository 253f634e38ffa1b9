/* SPDX-License-Identifier: MIT */
/* Run a kernel on a device with fresh random data; compare with a double-precision reference. */
#ifndef QP_VERIFY_H
#define QP_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/compile/compile.h"
#include "gen/kernel/kernel.h"
#include "gen/spec/reference.h"
#include "runtime/device.h"

typedef struct qp_verdict {
  bool pass;
  bool fault;       /* the device reported an error: a GPU's context is lost with it */
  double error;     /* relative L2 error over what was compared; NaN where the result has one */
  double tolerance; /* 2e-3 with fp16, 8e-3 with bf16; gemm-glu to fp32: 5e-5 */
  size_t compared;  /* outputs compared */
  char why[512];    /* reason of a failure */
} qp_verdict;

/*
** Run a kernel and compare what it writes.  Encode kernels: codes of N(0,1) targets are equal to
** the CPU's bit for bit (in the simulator of a few sequences).  Gather kernels: rows of W in the
** checkpoint's basis, of the first, the last and random ids, and zeros of ids behind both ends.
** attend and pick: y, the caches and the tokens of sequences at positions inside and outside of the
** context.  combine: y to the bit.  Others: Random codes, group fields, codebooks (tensor and row
** scope), row scales, bias, residual and activations from 'seed'; outputs are poisoned with NaNs
** (or zeroed where the kernel adds), guarded behind their end, and compared with  Y = r (X~ W^^T) +
** bias + residual  in double precision.  Of large linears, 'row_groups_max' groups of 32 rows of
** each segment are compared (0: all), first and last among them; every output is searched for NaNs.
** The counters must be zero after the launch; on a GPU a kernel that sums in order is launched
** twice and must give the same bits.
** A wrong result, and a fault of the kernel, is a verdict; an error is returned where the check
** itself could not be done.
*/
qp_status qp_verify(qp_device *dev, const qp_kernel *kernel, const qp_compiled *compiled,
                    qp_reference *reference, uint64_t seed, unsigned row_groups_max,
                    qp_verdict *out, qp_error *err);

/* A kernel and what it was compiled to. */
typedef struct qp_verify_turn {
  const qp_kernel *kernel;
  const qp_compiled *compiled;
} qp_verify_turn;

/*
** Do the same with a dequant and, behind it, the inverse rotation of W's rows in their place, as
** qpal_dequant launches them where it is given signs: what lies there then is compared with
** r W^ H diag(s).  With 'turn' NULL it is qp_verify.
*/
qp_status qp_verify_unrotated(qp_device *dev, const qp_kernel *kernel, const qp_compiled *compiled,
                              const qp_verify_turn *turn, qp_reference *reference, uint64_t seed,
                              unsigned row_groups_max, qp_verdict *out, qp_error *err);

#endif
