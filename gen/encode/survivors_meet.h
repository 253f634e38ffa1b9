/* SPDX-License-Identifier: MIT */
/* Where paths of a long window meet, for each instruction set: all give the same numbers. */
#ifndef QP_SURVIVORS_MEET_H
#define QP_SURVIVORS_MEET_H

#include <stdint.h>

#include "gen/encode/trellis_table.h"

enum { QP_MEET_SIFTED = 8 /* windows of a row that are sifted */, QP_MEET_MOST_SAMPLED = 32 };

/*
** A position:  survivors before it --> those behind it whose sums, with what the next position adds
** at least, are below a limit.
** Groups  row << step | j  of one row, with  row < groups / fan,  lead to the same groups,
** code << (window - 2 step) | row.  Of these each code's are found in order of the rows.  Where
** rows are at least as many as codes, a block of 'fan' rows leads, with one code, to one row of the
** next position.
*/
typedef struct qp_meeting {
  const int16_t *x;
  const uint16_t *square; /* [rows.size] of the pool; NULL: there is a table */
  const uint16_t *behind; /* [ahead.size], of what the next position adds; NULL: not known */
  const uint16_t *least;  /* what no square is below in the windows that begin at each multiple of
                             2^coarse and behind it, or NULL: not known.  Then rows are
                             QP_MEET_SIFTED windows of 64 codes, and 'near'. */
  unsigned coarse;
  const uint32_t *begin; /* [groups / fan + 1]: where each row's begin in 'path' */
  const uint32_t *path;  /* j << 16 | sum, in order of the groups */
  const uint64_t *may;   /* [fan / 64 or 1]: a bit for each code that may come; NULL: all may */
  unsigned limit, floor; /* at most QP_NO_PATH; what some path is not above */
  const uint16_t
      *sampled; /* [rows / apart][fan]: the sums of rows qp_meet_sampled(0, apart), .., as
                              far as they are below the limit; NULL: not known, as where rows are
                              not of QP_MEET_SIFTED to QP_MEET_MOST_SAMPLED windows of 64 codes */
  unsigned apart;
  uint32_t *live;  /* [1 + groups / fan + paths + 16]: room to list paths in */
  uint32_t *found; /* [fan][stride]: j << 16 | sum of those that follow by each code */
  uint32_t *next;  /* [fan]: where in 'found' the next one of each code goes */
  uint32_t *ends;  /* [fan][ends_stride]: the same behind each block of rows */
  size_t ends_stride;
  size_t stride;     /* room for what is found of one code, at least one for each row */
  size_t used, room; /* how many are found, and may be */
  unsigned lowest;   /* written: the least sum behind all rows */
  uint16_t *column;  /* [groups / fan], written: the least sum by code 'watched' behind each row
                             that has paths; NULL: not wanted */
  unsigned watched;
} qp_meeting;

/* Some row of each 'apart' rows that follow each other. */
static inline uint32_t qp_meet_sampled(uint32_t i, unsigned apart) {
  return i * apart + (i * UINT32_C(0x9e3779b1) >> 16) % apart;
}

typedef struct qp_meet {
  /* False: there is no room for all that there is to find. */
  bool (*run)(const qp_trellis *t, qp_meeting *m);
  /* Write what is compared with the limit for all codes behind one row, [fan filled up to 16];
     returns the least of it.  Where 'least' is known, what is not below m->limit may be written as
     more than it is, unless the limit is QP_NO_PATH. */
  unsigned (*row)(const qp_trellis *t, const qp_meeting *m, uint32_t row, uint16_t *sum);
  /* Write  to[i] = from[i] - by. */
  void (*less)(size_t n, const uint32_t *from, uint32_t by, uint32_t *to);
} qp_meet;

/* The best that this CPU has. */
qp_meet qp_meet_choose(void);

#endif
