/* SPDX-License-Identifier: MIT */
/* Runs a tuning:  problems + budget --compile, verify, time--> records. */
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
  const qp_tune_problem *problem; /* This one is being tuned, ... */
  size_t number, problems;        /* ... with this number of all, counted from 1. */
  size_t begun;                   /* Problems that were tried. */
  unsigned candidates;            /* Candidates of this problem that are done. */
  int64_t best_ps;                /* The best of them; 0: none yet. */
  int64_t floor_ps;             /* Its weights take so long at the read bandwidth; 0: not known. */
  size_t done, failed, resumed; /* Candidates of the run; the journal told the resumed ones. */
  double left_s;                /* What is left of the budget; negative: there is none. */
  const char *now;              /* The kernel that is measured; "" while kernels are compiled. */
  bool news; /* The problem was tried for the first time, or has a better result. */
} qp_tune_state;

typedef struct qp_tune_options {
  const char *device; /* As qp_meter_open takes it. */
  bool events;
  double budget_s;      /* Seconds for the whole run; 0: there is no limit. */
  unsigned most;        /* Most candidates of a problem; 0: there is no limit. */
  unsigned finalists;   /* Candidates of a problem that are timed again, interleaved; 0: 4. */
  unsigned workers;     /* Processes that run NVRTC; 0: as many as CPUs. */
  unsigned spill_limit; /* Bytes a thread may spill, stores and loads together. */
  qp_strategy strategy;
  uint64_t seed;
  bool crossovers;         /* Crossovers are searched at the end (crossover.h). */
  double timeout_s;        /* A candidate may take so long; 0: 30. */
  const qp_records *known; /* Searches of problems like these begin there; NULL: nowhere. */
  const qp_records
      *earlier;             /* Candidates of this GPU, driver, timer and compiler that are in it are
                               not measured again; NULL: there are none. */
  const _Atomic bool *stop; /* Set from outside: the run ends after the candidate in flight.  May
                               be NULL. */
  void (*show)(void *arg, const qp_tune_state *state); /* May be NULL. */
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
  bool complete;       /* The run was not stopped, and every problem was tried. */
  size_t begun;        /* Problems that were tried, ... */
  size_t working;      /* ... and those that have a kernel that works. */
  size_t resumed;      /* Candidates that the journal or 'earlier' told. */
  size_t launches;     /* Gemms that differ in more than batch and family, ... */
  size_t crossovers;   /* ... and those of them whose crossover is known. */
  size_t products;     /* Products of cuBLAS that were measured. */
  bool without_cublas; /* There is none; 'why' says where it was looked for. */
  char why[512];
} qp_tune_end;

/*
** Tune the problems, which are of the device's architecture and multiprocessors.  It is called
** once.  Without a budget in time they come one after the other, each until its search or 'most'
** ends.  Under a budget each one's best known or default candidate comes first, in order; what time
** is left goes to the problems that can win most (qp_schedule_next), then to their finalists, and a
** tenth of it to the crossovers. 'journal' is a file of this run's own; what an earlier run wrote
** to it is not measured again.  Every candidate's record is appended to '*out', also when the run
** ends early.  With equal seed, problems and timings, and no budget in time, equal candidates come
** in equal order.  QP_E_ARG, QP_E_IO: the journal; QP_E_DEVICE, QP_E_MISSING: no worker can be had
** any more; QP_E_NOMEM.
*/
qp_status qp_tuner_run(qp_tuner *t, const qp_tune_problems *problems, const char *journal,
                       qp_records *out, qp_tune_end *end, qp_error *err);

/* After the run: forget the journal, its records were written elsewhere. */
void qp_tuner_done(qp_tuner *t);
void qp_tuner_close(qp_tuner *t);

#endif
