/* SPDX-License-Identifier: MIT */
/* Inside of a tuning run:  tune.c chooses problems, problem_run.c takes each
   through its candidates. */
#ifndef QP_TUNE_INTERNAL_H
#define QP_TUNE_INTERNAL_H

#include "tuner/tune/candidate.h"
#include "tuner/tune/journal.h"
#include "tuner/tune/measurer.h"
#include "tuner/tune/tune.h"

enum { QP_VISIT_MOST = 8, QP_RUN_VISITS = 2 };
enum { QP_TUNE_SAMPLES = 20, QP_TUNE_ROUNDS = 5 };

struct qp_tuner {
  qp_session *session;
  qp_tune_options opt;
  qp_compiler *compiler;
  qp_measurer *measurer;
  qp_meter_info info;
  qp_journal *journal;
  unsigned workers;
  double started, reserved_s;   /* A part of the budget is reserved for the crossovers. */
  size_t done, failed, resumed; /* candidates */
  size_t begun, problems;       /* problems that had a visit, and all */
  double finalist_s;            /* what a finalist takes, on the average */
  qp_records leaders;           /* The best record of each problem, by its number; where there is
                                   none it is not ok. */
};

typedef struct qp_visit qp_visit;

/* One problem: what was tried and what became of it. */
typedef struct qp_problem_run {
  qp_tuner *t;
  const qp_tune_problem *problem;
  size_t number, rival; /* The same problem by another family; they form a ring, and one that is
                           alone has its own number here. */
  qp_search *search;    /* NULL before the first visit */
  qp_records own;
  qp_visit *flying[QP_RUN_VISITS]; /* begun and not over */
  unsigned made;                   /* candidates so far */
  unsigned due;                    /* finalists that are to be timed, 0: they were */
  int64_t best_ps, floor_ps;       /* 0: none; not known */
  int64_t rival_ps;                /* The best of the same problem by other families; 0: there is
                                      none yet. */
  unsigned bounded;                /* candidates that were left out for it */
  bool visited;                    /* a visit is over */
  bool timed;                      /* finalists were timed before */
  bool waits;                      /* the search waits for results of what flies */
  bool closed;                     /* nothing more is to be tried */
} qp_problem_run;

/* Candidates of a problem that are compiled together and measured in the order of their
   estimates. */
struct qp_visit {
  qp_visit *next; /* that is over after this one */
  qp_problem_run *run;
  unsigned count;
  qp_candidate list[QP_VISIT_MOST];
};

/* ---- Limits of the run ---- */

bool qp_tuner_stopped(const qp_tuner *t);
/* Tell how many seconds of the budget are left; a negative number means that there is no budget. */
double qp_tuner_left_s(const qp_tuner *t);
/* Tell whether the run was stopped or its budget is over.  While there is no result at all it lasts
   a little longer. */
bool qp_tuner_is_over(const qp_tuner *t);

/* ---- After the candidates (crossover_run.c) ---- */

/* Search the crossover of each gemm's launch; products of cuBLAS are added to '*out', what came of
   it to '*end'.  Ends where the run does.  Fails as qp_measurer_cublas but for a missing cuBLAS. */
qp_status qp_tuner_crossovers(qp_tuner *t, const qp_tune_problems *problems, qp_records *out,
                              qp_tune_end *end, qp_error *err);

/* ---- The run of a problem (problem_run.c) ---- */

/*
** Propose up to 'most' candidates and let them compile; '*out' becomes NULL where there are none:
** then the run is closed, or waits.  Fails as qp_compiler_submit and the journal.
*/
qp_status qp_problem_run_begin(qp_problem_run *c, unsigned most, qp_visit **out, qp_error *err);
/* Wait for the compilers, measure, tell the search.  Frees the visit unless it fails. */
qp_status qp_problem_run_visit(qp_problem_run *c, qp_visit *v, qp_error *err);
/* Time the finalists, interleaved, if that is due. */
qp_status qp_problem_run_finish(qp_problem_run *c, qp_error *err);
void qp_visit_free(qp_visit *v);
void qp_problem_run_close(qp_problem_run *c);

#endif
