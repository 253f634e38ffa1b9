/* SPDX-License-Identifier: MIT */
/* The inner loops of the trellis search:  sums before a step + targets --> sums behind it, and the
   choice that led to one of them.  One definition (gen/encode/trellis.h), several instruction
   sets. */
#ifndef QP_TRELLIS_STEP_H
#define QP_TRELLIS_STEP_H

#include <stdint.h>

#include "gen/encode/trellis_table.h"

/* What one step of several sequences reads and writes. */
typedef struct qp_step_batch {
  unsigned count;
  int16_t x[QP_TRELLIS_SEQUENCES][QP_TRELLIS_DIM]; /* x^ */
  const uint16_t *sum[QP_TRELLIS_SEQUENCES];       /* [rows][stride], as qp_trellis says */
  uint16_t *least[QP_TRELLIS_SEQUENCES];           /* [tiles * 32]: the new sums, by group */
  unsigned first, apart; /* choices first, first + apart, ... alone, if count is 1; else 0, 1 */
  bool even;             /* of a mirrored trellis: sums of g and ~g are the same, and what mirrors
                            these choices is one, too */
} qp_step_batch;

typedef struct qp_trellis_step {
  /* Makes the step for groups 32 tile to 32 tile + 31; of a mirrored trellis, where tiles are
     counted to half of them, also for those that mirror these. */
  void (*run)(const qp_trellis *t, unsigned tile, const qp_step_batch *batch);
  /* Takes the least of 'least' [tiles * 32] off all, in place, and writes them where the next step
     reads them: group g = column * fan + row (modulo groups) at sum [row][column], of a mirrored
     trellis as qp_trellis_pair has it.  'even': sums of g and ~g are the same. */
  void (*turn)(const qp_trellis *t, uint16_t *least, uint16_t *sum, bool even);
  /* Says which choice j group g made, from the sums before the step, by group. */
  unsigned (*choice)(const qp_trellis *t, uint32_t g, const int16_t *x, const uint16_t *before);
} qp_trellis_step;

/* The best that this CPU has. */
qp_trellis_step qp_trellis_step_choose(void);

#endif
