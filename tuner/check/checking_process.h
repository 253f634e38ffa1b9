/* SPDX-License-Identifier: MIT */
/* One process of a check:  its share of the cases -> messages to the runner. */
#ifndef QP_CHECKING_PROCESS_H
#define QP_CHECKING_PROCESS_H

#include <stdbool.h>

#include "gen/kernel/family.h"
#include "tuner/check/run.h"

typedef enum qp_checking_kind {
  QP_CHECKING_MAKES, /* 'index' is about to be made */
  QP_CHECKING_WAITS, /* it waits for the compiler; 'index' is no more at work */
  QP_CHECKING_RUNS,  /* 'index' is about to be verified */
  QP_CHECKING_RESULT /* all of 'result' */
} qp_checking_kind;

/* The first that a process says: whether it has a device and a compiler. */
typedef struct qp_checking_greeting {
  qp_status status;
  qp_error err;
} qp_checking_greeting;

typedef struct qp_checking_message {
  qp_checking_kind kind;
  qp_result result;
} qp_checking_message;

typedef struct qp_checking_process {
  qp_families *families;
  const qp_run_options *opt;
  const qp_cases *cases;
  const bool *verify;  /* NULL: all */
  const bool *settled; /* cases that have a result already */
  size_t first, step;  /* its share of the cases: first, first + step, ... */
  unsigned compilers;
  int out; /* a pipe that takes messages */
} qp_checking_process;

/* Greet, check the share and return.  Ends early where a kernel left a context in an error. */
void qp_checking_process_run(const qp_checking_process *p);

#endif
