/* SPDX-License-Identifier: MIT */
/* The measuring half of the bench, in a process that may be lost. */
#ifndef QP_BENCH_MEASURE_H
#define QP_BENCH_MEASURE_H

#include <stdatomic.h>

#include "tuner/bench/bench_row.h"

/* Where a measuring process is; in memory that it shares with the one that watches it. */
typedef struct qp_bench_place {
  _Atomic unsigned beat; /* steps so far; 0: nothing was run on the device yet */
  _Atomic bool running;  /* something runs on the device: it may hang */
  size_t row;            /* that is run, or the first of the block */
  bool block;
  double deadline; /* time of qp_seconds after which no quantizer is begun; 0: none */
} qp_bench_place;

/*
** Measure the rows from number 'from' on and the blocks they complete; 'b' has its launches, rows
** and blocks, with what is not measured yet zero beside quantizer, launch and batch.  Fails as
** qp_bench_run; where a kernel broke the device, its row says so and 'place' names it.
*/
qp_status qp_bench_measure(qp_session *s, const qp_bench_options *opt, size_t from, qp_bench *b,
                           qp_bench_place *place, qp_error *err);

#endif
