/* SPDX-License-Identifier: MIT */
/* Where paths of a long window meet, for each instruction set: all give the same numbers. */
#ifndef QP_SURVIVORS_MEET_H
#define QP_SURVIVORS_MEET_H

#include <stdint.h>

#include "gen/encode/trellis_table.h"

/*
** A position:  survivors before it --> those behind it whose sums are below a limit.
** Groups  row << step | j  of one row, with  row < groups / fan,  lead to the same groups,
** code << (window - 2 step) | row.
*/
typedef struct qp_meeting {
  const int16_t *x;
  const uint16_t *square; /* [rows.size] of the pool; NULL: there is a table */
  const uint32_t *begin;  /* [groups / fan + 1]: where each row's begin in 'path' */
  const uint32_t *path;   /* j << 16 | sum, in order of the groups */
  const uint64_t *may;    /* [fan / 64 or 1]: a bit for each code that is looked at */
  unsigned limit;         /* at most QP_NO_PATH */
  uint64_t *found;        /* [room]: group << 16 | sum, in order of rows before, then of codes */
  uint32_t *count;        /* [fan], of those found, by code */
  size_t used, room;      /* how many are found, and may be */
  unsigned lowest;        /* written: the least sum behind all rows that were looked at */
} qp_meeting;

typedef struct qp_meet {
  /* False: there is no room for all that there is to find. */
  bool (*run)(const qp_trellis *t, qp_meeting *m);
  /* Least sums of all codes behind one row, [fan filled up to 16]. */
  void (*row)(const qp_trellis *t, const qp_meeting *m, uint32_t row, uint16_t *sum);
} qp_meet;

/* The best that this CPU has. */
qp_meet qp_meet_choose(void);

#endif
