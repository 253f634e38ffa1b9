/* SPDX-License-Identifier: MIT */
/* Make, compile and verify many candidates, in several processes. */
#ifndef QP_RUNNER_H
#define QP_RUNNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/compile/compile.h"
#include "gen/kernel/family.h"
#include "tuner/check/cases.h"

typedef enum qp_outcome {
  QP_OUTCOME_LOST, /* its process ended before it was done */
  QP_OUTCOME_PASS,
  QP_OUTCOME_FAIL,
  QP_OUTCOME_SKIP, /* the family refuses these tunables for this problem */
  QP_OUTCOME_MADE  /* compiled, and not asked to be verified */
} qp_outcome;

typedef struct qp_result {
  size_t index; /* of the case */
  qp_outcome outcome;
  double error;   /* relative L2, of verified ones */
  double seconds; /* making, compiling and verifying */
  unsigned smem_dynamic_bytes;
  qp_resources res; /* where a cubin was made */
  char why[600];
} qp_result;

typedef struct qp_run_options {
  const char *device; /* as qp_device_open takes it */
  unsigned processes; /* that verify; 0: as many as CPUs for the simulator, 1 for a GPU */
  uint64_t seed;      /* of the data; each case adds its index */
  uint64_t schedule;  /* simulator: seed of a shuffled order of blocks and warps; 0: in order */
  unsigned row_groups_max; /* as qp_verify takes it */
  bool cubins;             /* make cubins too where the device wants PTX */
  const char *what;        /* for the progress line */
} qp_run_options;

/*
** Run the cases; result[i] belongs to case i.  verify[i] says whether case i is verified (NULL:
** all).
** Must be called before the process starts threads.  A process that dies loses its cases
** (QP_OUTCOME_LOST), no others.  Returns an error where no case could be run (device, NVRTC).
*/
qp_status qp_run_cases(qp_families *families, const qp_run_options *opt, const qp_cases *cases,
                       const bool *verify, qp_result *result, qp_error *err);

#endif
