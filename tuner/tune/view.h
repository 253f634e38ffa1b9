/* SPDX-License-Identifier: MIT */
/* How a tuning run is shown:  states -> one live line on a terminal, else a line a problem. */
#ifndef QP_TUNE_VIEW_H
#define QP_TUNE_VIEW_H

#include <stdio.h>

#include "tuner/tune/tune.h"

typedef struct qp_tune_view {
  FILE *to;
  bool live; /* 'to' is a terminal: one line is redrawn */
  double drawn;
} qp_tune_view;

/* Draw on 'to' (stderr). */
void qp_tune_view_begin(qp_tune_view *v, FILE *to);
/* Give this as qp_tune_options.show, with the view as its argument. */
void qp_tune_view_show(void *view, const qp_tune_state *state);
/* Leave the live line. */
void qp_tune_view_end(qp_tune_view *v);

/* "tcq-3 qkv 6144x4096, batch 1, tensor": what a problem is, in 'size' bytes. */
void qp_tune_problem_text(const qp_tune_problem *p, char *out, size_t size);

#endif
