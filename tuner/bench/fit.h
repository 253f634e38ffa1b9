/* SPDX-License-Identifier: MIT */
/* Fits a line to the rows of a quantizer:  time = a x bytes + b. */
#ifndef QP_BENCH_FIT_H
#define QP_BENCH_FIT_H

#include <stdbool.h>

#include "tuner/bench/bench_row.h"

typedef struct qp_bench_fit {
  const qp_quantizer *quantizer;
  unsigned batch, rows;
  double tb_s;      /* 1 / a: what more bytes cost, in 1e12 bytes a second. */
  double launch_us; /* b: what a launch costs whose weights are nothing */
  double worst;     /* The largest distance of a row from the line, as a part of the row's time. */
} qp_bench_fit;

/*
** Least squares over the rows of a quantizer at a batch that passed, a row's error relative to its
** time (so that large linears do not hide small ones).  Time is qp_bench_row_ps.  False: there are
** less than three rows of different bytes, or they do not rise with the bytes.
*/
bool qp_bench_fit_rows(const qp_bench *b, const qp_quantizer *q, unsigned batch, qp_bench_fit *out);

#endif
