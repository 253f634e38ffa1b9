/* SPDX-License-Identifier: MIT */
/* One step of the search for one instruction set; included by trellis_step.c for each of them. */
#ifndef QP_TRELLIS_STEP_H
#define QP_TRELLIS_STEP_H

#include <stdint.h>

#include "gen/encode/trellis_table.h"

/* Sums of two sequences before a step, and what the step makes of them. */
typedef struct qp_step_pair {
  const float *x[2];   /* [dim] */
  const float *sum[2]; /* transposed, as qp_trellis says */
  float *least[2];     /* [tiles * 16]: the new sums, by group */
  uint16_t *from[2];   /* [tiles * 16]: the oldest bits of the best state */
} qp_step_pair;

/* Groups 16 tile to 16 tile + 15. */
typedef void qp_step_run(const qp_trellis *t, unsigned tile, const qp_step_pair *pair);

/* The best that this CPU has. */
qp_step_run *qp_step_choose(void);

#endif
