/* SPDX-License-Identifier: MIT */
/* Rotary position embeddings:  turns of lua/rotary.lua --> [tables of cosines] --> turned heads. */
#ifndef QP_ROTARY_H
#define QP_ROTARY_H

#include "gen/model/computation.h"

/* The tables for sequences of one length; they are zeroed before the first use. */
typedef struct qp_rotary {
  size_t length; /* length of the sequences that it is prepared for; 0: none */
  unsigned sets;
  struct {
    qp_turns turns;
    size_t positions;
    float *table; /* [positions][2][pairs]: cosines, sines, times the scale */
  } set[QP_MAX_TURNS];
} qp_rotary;

/* Make the tables for sequences of 'length' tokens; those that hold already are kept.  Errors are
   those of qp_computation_turns, and QP_E_NOMEM. */
qp_status qp_rotary_prepare(qp_rotary *r, const qp_computation *c, size_t length, qp_error *err);
void qp_rotary_free(qp_rotary *r);

/* Turn 'heads' neighbouring heads at a position, by set number 1 .. sets (0: leave them). */
void qp_rotary_apply(const qp_rotary *r, unsigned set, size_t position, unsigned heads,
                     unsigned head_dim, float *x);

/* The transposed map: dL/d(turned) of such heads becomes dL/d(not turned). */
void qp_rotary_back(const qp_rotary *r, unsigned set, size_t position, unsigned heads,
                    unsigned head_dim, float *x);

#endif
