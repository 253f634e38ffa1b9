/* SPDX-License-Identifier: MIT */
/* Where a gated linear unit is quicker:  records of four launches -> behind the gemm of up and
   gate, or before the rotation that follows it. */
#ifndef QP_PAIRS_H
#define QP_PAIRS_H

#include "gen/model/model.h"
#include "tuner/tune/lookup.h"

/*
** Two ways from the input of up and gate to down's rotated input, as measured:
**   before   gemm of up and gate, then a rotation with the unit before it (rotate-glu)
**   behind   gemm that has the unit behind it (gemm-glu), then a rotation alone, of half as much
** Of stacks the gemm is experts, with the unit behind it experts-glu; rotations are then of a row
** of each expert that a token goes to.
*/
typedef struct qp_pair {
  qp_pick gemm, rotate_glu, gemm_glu, rotate;
} qp_pair;

/* Find the four records of such a gemm that this GPU gave; false means that one is missing. */
bool qp_pair_find(qp_lookup *l, const qp_problem *gemm, const char *path, qp_pair *out);
int64_t qp_pair_before_ps(const qp_pair *p);
int64_t qp_pair_behind_ps(const qp_pair *p);

#endif
