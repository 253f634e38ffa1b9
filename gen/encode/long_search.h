/* SPDX-License-Identifier: MIT */
/* Finds the codes of a trellis with a long window, of whose paths some are followed:  targets +
   ends of a run --> codes. */
#ifndef QP_LONG_SEARCH_H
#define QP_LONG_SEARCH_H

#include "gen/encode/survivors.h"

/*
** Does what qp_trellis_search (trellis.h) says for one sequence.  Of the best path through the seam
** of a circle, free at both ends, the run begins behind the seam; at the best of the last positions
** it takes up that path again.
*/
void qp_long_search(const qp_trellis *t, qp_survivors *s, qp_ends ends, unsigned steps,
                    unsigned ahead, const float *target, uint32_t *start, const uint32_t *end,
                    uint32_t *codes);

/* Find the group where a circle's run is to close, from 'around' steps on each side of its seam. */
uint32_t qp_long_seam(const qp_trellis *t, qp_survivors *s, const float *target, unsigned circle,
                      unsigned around);

#endif
