/* SPDX-License-Identifier: MIT */
/* The measuring process:  cubin -> [verified, timed].  Whatever a kernel does to the process, the
   run goes on. */
#ifndef QP_MEASURER_H
#define QP_MEASURER_H

#include "gen/kernel/family.h"
#include "gen/kernel/problem.h"
#include "tuner/tune/meter.h"
#include "tuner/tune/records.h"

typedef struct qp_measurer_options {
  const char *device; /* as qp_meter_open takes it */
  bool events;
  qp_families *families; /* opened before, with every quantizer that jobs will name */
  double timeout_s;      /* a candidate that takes longer hangs; 0: 30 */
  unsigned samples;      /* launches a screening takes; 0: 20 */
  unsigned rounds;       /* rounds of interleaved finalists; 0: 5 */
  unsigned row_groups;   /* row groups of each segment that are compared with the reference; 0: 8 */
} qp_measurer_options;

typedef struct qp_measurer qp_measurer;

typedef struct qp_measure_job {
  qp_problem problem;
  qp_choice choice;
  uint64_t seed;     /* seed of the random data */
  const void *cubin; /* cubin of qp_kernel_make(problem, choice) */
  size_t cubin_bytes;
} qp_measure_job;

typedef struct qp_measured {
  qp_record_outcome outcome; /* ok, wrong, device, hang, crash or timer */
  char why[240];
  double error;
  qp_timing timing;
  int64_t chain_ps, chain_pdl_ps; /* 0: not measured */
  qp_meter_state state;
  char by[64]; /* cuBLAS and its version, where it is a product. */
} qp_measured;

/*
** Forks a small process from which the measuring worker is forked, and forked again when it is
** lost; call it before the process starts threads and after everything that jobs point at was
** loaded.  The options are copied; families and the device's name must outlive the measurer.
*/
qp_status qp_measurer_open(const qp_measurer_options *opt, qp_measurer **out, qp_error *err);
void qp_measurer_close(qp_measurer *m);

/* Start the worker and ask what it measures on.  Fails as qp_meter_open does. */
qp_status qp_measurer_info(qp_measurer *m, qp_meter_info *out, qp_error *err);

/*
** Verify a candidate, then time it.  What the candidate does is in '*out'; an error is returned
** where no worker could be had (QP_E_DEVICE, QP_E_MISSING, QP_E_LIMIT).
*/
qp_status qp_measurer_screen(qp_measurer *m, const qp_measure_job *job, qp_measured *out,
                             qp_error *err);

/*
** Time verified finalists against each other, interleaved, and their chains.  out[i] belongs to
** job[i]; 'error' stays what it was.  A finalist that fails is left out and the others are timed
** again.
*/
enum { QP_MAX_FINALISTS = 16 };
qp_status qp_measurer_final(qp_measurer *m, const qp_measure_job *job, unsigned count,
                            qp_measured *out, qp_error *err);

/*
** Time cuBLAS with 16-bit weights at the shape and batch of the job's problem, which has one
** segment of no quantizer.  In '*out' the time in a chain is 'timing', and 'resources' says that
** there is no room.  QP_E_MISSING means that there is no cuBLAS; other errors are those of
** qp_measurer_screen.
*/
qp_status qp_measurer_cublas(qp_measurer *m, const qp_measure_job *job, qp_measured *out,
                             qp_error *err);

/* Workers that were lost so far. */
unsigned qp_measurer_lost(const qp_measurer *m);

#endif
