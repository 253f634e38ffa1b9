/* SPDX-License-Identifier: MIT */
/* Is a packed model what it says?  files -> [reference, dequant kernel] <-> checkpoint. */
#ifndef QP_PROOF_H
#define QP_PROOF_H

#include <stdatomic.h>
#include <stdbool.h>

#include "gen/compile/compile.h"
#include "gen/kernel/family.h"
#include "tuner/quantize/job.h"

typedef struct qp_proof_options {
  const char *device; /* qp_session_device chose it. */
  unsigned arch, sm_count;
  qp_compiler *compiler; /* borrowed; opened before there are other threads, as it forks */
  unsigned row_groups;  /* row groups of each linear that the kernel decodes: first, last, evenly;
                           0: all */
  _Atomic size_t *done; /* weights, or NULL */
  const _Atomic bool *cancel;
} qp_proof_options;

typedef struct qp_proof {
  size_t linears;
  size_t reference_weights, kernel_weights; /* decoded and compared */
  double worst;   /* The relative L2 error of the kernel, over one row group. */
  char why[1024]; /* the first thing that is wrong; "" where nothing is */
} qp_proof;

/*
** Open the finished model in the job's folder as an engine would and
**  - decode every linear by the CPU reference: its distortion against the checkpoint must be what
**    config.json says (relative difference at most 1e-6), its signs those of the seed, codebooks
**    those of the definition;
**  - decode row groups by the `dequant` kernel on a device from the file's own arrays, times the
**    row scales: relative L2 error against the reference at most 2e-3 (fp16).
** What is wrong is told in out->why, and is no error; errors are those of files and devices.
*/
qp_status qp_proof_run(const qp_job *j, qp_families *families, const qp_proof_options *o,
                       qp_proof *out, qp_error *err);

#endif
