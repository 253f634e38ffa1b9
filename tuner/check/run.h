/* SPDX-License-Identifier: MIT */
/* A run of cases:  what it is given, and what becomes of each case. */
#ifndef QP_RUN_H
#define QP_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/compile/compile.h"
#include "tuner/check/cases.h"

typedef enum qp_outcome {
  QP_OUTCOME_LOST, /* not run: the run was cut, stopped at a failure, or the device was lost */
  QP_OUTCOME_PASS,
  QP_OUTCOME_FAIL, /* wrong, refused by the compiler or device, or its process died or hung */
  QP_OUTCOME_SKIP, /* a limit was met: of the family, of shared memory, or of the device's memory */
  QP_OUTCOME_MADE, /* compiled, and not asked to be verified */
  QP_OUTCOME_COUNT
} qp_outcome;

typedef struct qp_result {
  size_t index; /* number of the case */
  qp_outcome outcome;
  double error;   /* relative L2, of verified ones */
  double seconds; /* making, compiling and verifying */
  unsigned smem_dynamic_bytes;
  qp_resources res; /* where a cubin was made */
  char why[600];
} qp_result;

typedef struct qp_run_options {
  const char *device;      /* as qp_device_open takes it */
  unsigned processes;      /* that verify; 0: as many as CPUs for the simulator, 1 for a GPU */
  uint64_t seed;           /* seed of the data; each case adds its index */
  uint64_t schedule;       /* seed by which the simulator shuffles blocks and warps; 0: they run in
                              order */
  unsigned row_groups_max; /* as qp_verify takes it */
  double timeout_s;        /* that verifying one kernel may take, in the simulator of processor
                              time; 0: 120 on a GPU, 600 else */
  bool cubins;             /* make cubins too where the device wants PTX */
  bool fail_fast;          /* no further cases once one has failed */
  const char *what;        /* what the progress line calls the work */
  /* Called for each result as it comes, with 'user'; may be NULL. */
  void (*each)(void *user, const qp_result *r);
  void *user;
} qp_run_options;

#endif
