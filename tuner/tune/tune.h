/* SPDX-License-Identifier: MIT */
/* A tuning run:  problems + budget --compile, verify, time--> records. */
#ifndef QP_TUNE_H
#define QP_TUNE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "tuner/base/session.h"
#include "tuner/tune/meter.h"
#include "tuner/tune/problems.h"
#include "tuner/tune/records.h"
#include "tuner/tune/search.h"

/* Where a run is, for who draws it.  Strings are valid during the call. */
typedef struct qp_tune_state {
  const qp_tune_problem *problem; /* the one that is tuned */
  size_t number, problems;        /* it is number .. of problems, from 1 */
  size_t begun;                   /* problems that have been tried */
  unsigned candidates;            /* of this problem that are done */
  int64_t best_ps;                /* of this problem; 0: none yet */
  int64_t floor_ps;               /* its weights at the read bandwidth; 0: not known */
  size_t done, failed, resumed;   /* candidates of the run; resumed: told by the journal */
  double left_s;                  /* of the budget; negative: there is none */
  const char *now;                /* kernel that is measured; "" while compiling */
  bool news;                      /* the problem was tried first, or has a better result */
} qp_tune_state;

typedef struct qp_tune_options {
  const char *device; /* as qp_meter_open takes it */
  bool events;
  double budget_s;      /* 0: none */
  unsigned most;        /* candidates a problem at most; 0: no limit */
  unsigned finalists;   /* of a problem, timed again interleaved; 0: 4 */
  unsigned workers;     /* NVRTC processes; 0: as many as CPUs */
  unsigned spill_limit; /* bytes a thread, stores and loads together */
  qp_strategy strategy;
  uint64_t seed;
  bool crossovers;         /* search them at the end (crossover.h) */
  double timeout_s;        /* of a candidate; 0: 30 */
  const qp_records *known; /* where searches of like problems begin; NULL: nowhere */
  const qp_records
      *earlier;             /* candidates of this GPU, driver, timer and compiler that are in it are
                                not measured again; NULL: none */
  const _Atomic bool *stop; /* set from outside: end after the candidate in flight; may be NULL */
  void (*show)(void *arg, const qp_tune_state *state); /* may be NULL */
  void *arg;
} qp_tune_options;

typedef struct qp_tuner qp_tuner;

/*
** Start the compiling and the measuring processes, which have every quantizer of the session; call
** before the process starts threads.  Session and options must outlive it.
** Fails as qp_compiler_open and qp_meter_open.
*/
qp_status qp_tuner_open(qp_session *s, const qp_tune_options *opt, qp_tuner **out, qp_error *err);
/* What it measures on. */
const qp_meter_info *qp_tuner_info(const qp_tuner *t);

/* How a run ended. */
typedef struct qp_tune_end {
  bool complete;  /* not stopped, and every problem was tried */
  size_t begun;   /* problems that were tried */
  size_t working; /* problems that have a kernel which works */
  size_t resumed; /* candidates that were told by the journal or by 'earlier' */
  size_t launches,
      crossovers;      /* gemms but for batch and family, and those whose crossover is known */
  size_t products;     /* of cuBLAS that were measured */
  bool without_cublas; /* there is none; 'why' says where it was looked for */
  char why[512];
} qp_tune_end;

/*
** Tune the problems, which are of the device's architecture and multiprocessors; once.  Without a
** budget in time one after the other, each until its search or 'most' ends.  Under a budget first
** each one's best known or default candidate, in order; what time is left goes to the problems that
** can win most (qp_schedule_next), then to their finalists, and a tenth of it to the crossovers.
** 'journal' is a file of this run's own; what an earlier run wrote to it is not measured again.
** Every candidate's record is appended to '*out', also when the run ends early.  With equal seed,
** problems and timings, and no budget in time, equal candidates come in equal order.
** QP_E_ARG, QP_E_IO: the journal; QP_E_DEVICE, QP_E_MISSING: no worker can be had any more;
** QP_E_NOMEM.
*/
qp_status qp_tuner_run(qp_tuner *t, const qp_tune_problems *problems, const char *journal,
                       qp_records *out, qp_tune_end *end, qp_error *err);

/* After the run: forget the journal, its records were written elsewhere. */
void qp_tuner_done(qp_tuner *t);
void qp_tuner_close(qp_tuner *t);

#endif
