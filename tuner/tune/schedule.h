/* SPDX-License-Identifier: MIT */
/* Decides which problem gets the next candidates when time is limited:  results so far -> problem.
   */
#ifndef QP_SCHEDULE_H
#define QP_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a run knows of one problem. */
typedef struct qp_stake {
  int64_t best_ps;   /* its best result so far; 0: none */
  int64_t rival_ps;  /* The best result of the same launch by another family; 0: there is none. */
  int64_t floor_ps;  /* The time of its weights' bytes at the read bandwidth; 0: that is not
                        known. */
  unsigned launches; /* launches of it for one token of the model; 0 counts as 1 */
  unsigned tried;    /* candidates, those that are under way included */
  bool closed;       /* there is nothing to try, or enough of it is under way */
} qp_stake;

/* Candidates that may fail before a problem without a result stands back behind the others. */
enum { QP_STAKE_FAILURES = 8 };

/*
** Picoseconds a token that better kernels of this problem can still win:
**
**   launches * (fastest - floor) * fastest / best      fastest: the best of all families
**
** so that a family that is slower by far counts for little.  0 where there is no result.
*/
double qp_stake_worth(const qp_stake *s);

/*
** Choose the problem to try next; 'n' means none.  First comes each problem once, in order; then
** those that have no result yet; then the one with the largest worth for each candidate it has had,
** so that in the long run candidates are spread in proportion to worth.  Of equals it is the first.
*/
size_t qp_schedule_next(const qp_stake *stake, size_t n);

#endif
