/* SPDX-License-Identifier: MIT */
/* Finds the codes of a bitshift trellis:  targets + table of states --Viterbi--> codes. */
#ifndef QP_TRELLIS_H
#define QP_TRELLIS_H

#include <stdint.h>

#include "gen/encode/trellis_table.h"
#include "runtime/status.h"

/* Tell how many sequences are searched together: 8, or fewer where that would take too much memory;
   for a long window it is 1. */
unsigned qp_trellis_sequences(const qp_trellis *t);

/* Memory of one thread that searches; any trellis no larger than the one it was made for. */
typedef struct qp_search qp_search;
qp_status qp_search_new(const qp_trellis *t, qp_search **out, qp_error *err);
void qp_search_free(qp_search *s);

/*
** The codes of 'count' sequences (1 to qp_trellis_sequences) of 'steps' steps each:
**   targets[k]  [steps][dim]: what is to be approached
**   codes[k]    [steps]: 'step' bits each, newest bits of the states
**   start[k]    FROM, BETWEEN: the group before step 0;  FREE, TIED: written, the group found there
**   end[k]      BETWEEN: the group behind the last step; else NULL
**   ahead       of the steps the last ones are only there to tell which code is best before them:
**               paths that are much worse than the best are given up there
** Of all paths with these ends the codes are those with the least sum as defined above (of a long
** window, of about as many paths as are kept); for TIED the group where the ends meet is that of
** the best path through the seam and qp_trellis_seam steps on each side of it, and the path is the
** best one for that group.  TIED needs steps * step >= window.
** Results do not depend on the instruction set, nor on how many sequences are in flight.
** QP_E_NOMEM cannot happen: memory is in 'search'.
*/
void qp_trellis_search(const qp_trellis *t, qp_search *search, qp_ends ends, unsigned count,
                       unsigned steps, unsigned ahead, const float *const *targets, uint32_t *start,
                       const uint32_t *end, uint32_t *const *codes);

/* How many groups of those steps are kept, or somewhat more; 0: all. */
unsigned qp_trellis_kept_ahead(const qp_trellis *t);

/* Find the groups where circular runs meet, as QP_ENDS_TIED finds them, but from 'around' steps on
   each side (at most 'steps') in place of qp_trellis_seam. */
void qp_trellis_seams(const qp_trellis *t, qp_search *search, unsigned count, unsigned steps,
                      unsigned around, const float *const *targets, uint32_t *start);

#endif
