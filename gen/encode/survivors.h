/* SPDX-License-Identifier: MIT */
/* Follows some of the paths of a trellis with a long window:  targets + rows of states -->
   survivors by position --> codes. */
#ifndef QP_SURVIVORS_H
#define QP_SURVIVORS_H

#include <stdint.h>

#include "gen/encode/trellis_table.h"
#include "runtime/status.h"

enum { QP_ANY_GROUP = 0x7fffffff, QP_ANY_CODE = 0x7fffffff };

/* Memory of one thread that searches; any trellis no larger than the one it was made for. */
typedef struct qp_survivors qp_survivors;
qp_status qp_survivors_new(const qp_trellis *t, qp_survivors **out, qp_error *err);
void qp_survivors_free(qp_survivors *s);

/*
** A run over a circle of targets:
**   target      [circle][dim]; position p of the run is step (first + p) % circle
**   ahead       the last positions, which are but looked at: fewer paths are kept there
**   start, end  the group before position 0 and behind the last one; QP_ANY_GROUP: not given
**   early       [before], written: codes of the first positions
**   codes       [steps - before], written: those of the others
*/
typedef struct qp_survivors_run {
  const float *target;
  unsigned circle, first, steps, ahead;
  uint32_t start, end;
  unsigned before;
  uint32_t *early, *codes;
} qp_survivors_run;

/* How far a run has come.  Begins as {.t, .s, .run}. */
typedef struct qp_survivors_progress {
  const qp_trellis *t;
  qp_survivors *s;
  const qp_survivors_run *run;
  unsigned at;      /* position that comes next */
  unsigned told;    /* positions whose codes are written */
  uint32_t origin;  /* the group before position 0, once a position is told */
  unsigned reach;   /* by how much sums of those kept are above the least */
  unsigned bound;   /* below which the next limit may be */
  uint64_t base;    /* what was taken off the sums so far */
  unsigned chosen;  /* position behind whose group ways part that do not count; 0: none, */
  unsigned until;   /* and the one where it was chosen */
  uint32_t watched; /* code of the next position for qp_survivors_cheapest(); QP_ANY_CODE: none */
} qp_survivors_progress;

void qp_survivors_begin(qp_survivors_progress *p);
/* Make a position.  Where memory is full the codes of positions half of it back are told before,
   and paths that have others are given up. */
void qp_survivors_advance(qp_survivors_progress *p);

/* Tell codes until no more than 'open' positions are not told. */
void qp_survivors_settle(qp_survivors_progress *p, unsigned open);
/* Positions that may be open at once. */
unsigned qp_survivors_room(const qp_survivors *s);

/* A group that survives before position p->at, by its number; how many there are. */
unsigned qp_survivors_count(const qp_survivors_progress *p);
uint32_t qp_survivors_best(const qp_survivors_progress *p);
/* Tell all codes before position 'end', from one of its groups. */
void qp_survivors_tell(qp_survivors_progress *p, unsigned end, uint32_t group);

/* Choose the best path, where not all is told: codes before position 'end', which is not 0, are
   told, and qp_survivors_cheapest() passes over paths that do not go through its group there. */
void qp_survivors_choose(qp_survivors_progress *p, unsigned end);

/*
** If 'count' given codes come at the positions from 'at' on, which is p->at or the one before:
** which group makes them cheapest, if all sums together are less than *least then.  Returns whether
** they are.  Quick where the first code was p->watched when position 'at' was made.
*/
bool qp_survivors_cheapest(const qp_survivors_progress *p, unsigned at, const uint32_t *code,
                           unsigned count, uint64_t *least, uint32_t *group);

/* What a code adds to a sum behind a group, for a position of the run. */
unsigned qp_survivors_square(const qp_trellis *t, const qp_survivors_run *run, unsigned at,
                             uint32_t group, uint32_t code);

#endif
