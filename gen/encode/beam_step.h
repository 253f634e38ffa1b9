/* SPDX-License-Identifier: MIT */
/* The inner loops of the beam search:  survivors + targets of a step --> sums, candidates. */
#ifndef QP_BEAM_STEP_H
#define QP_BEAM_STEP_H

#include <stddef.h>
#include <stdint.h>

#include "gen/encode/beam_table.h"

/* A path that may survive: its sum, and the survivor that it continues. */
typedef struct qp_candidate {
  float sum;
  uint32_t parent;
} qp_candidate;

/*
** The candidates of a code, in the order of their parents.  As these are in the order of their
** groups, so are their successors, and paths that meet in a group are neighbours in the list: the
** better one stays.
*/
typedef struct qp_candidates {
  qp_candidate *list; /* [fan][room] */
  unsigned *count;    /* [fan] */
  uint32_t *last;     /* [fan]: the group, less its oldest bits, of the last one's parent */
  size_t room;
} qp_candidates;

/* Survivors before a step, in the order of their groups, each group once. */
typedef struct qp_survivors {
  uint32_t *group;
  float *sum;
  unsigned count;
} qp_survivors;

typedef struct qp_beam_step {
  /* sums of all codes of each 'stride'-th survivor from 'first' on, to out[]; returns how many */
  unsigned (*sample)(const qp_beam *b, const qp_survivors *s, const float *x, unsigned first,
                     unsigned stride, float *out);
  /* candidates whose sums are below 'limit' (INFINITY: all) */
  void (*expand)(const qp_beam *b, const qp_survivors *s, const float *x, float limit,
                 qp_candidates *out);
} qp_beam_step;

/* The best that this CPU has.  All give the same numbers. */
qp_beam_step qp_beam_step_choose(void);

#endif
