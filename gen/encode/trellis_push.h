/* SPDX-License-Identifier: MIT */
/* The trellis search forward from each group that a path leads to:  sums before a step + targets
   --> sums behind it.  The numbers are those of gen/encode/trellis_step.h. */
#ifndef QP_TRELLIS_PUSH_H
#define QP_TRELLIS_PUSH_H

#include <stdint.h>

#include "gen/encode/trellis_table.h"

/* Which rows b: those listed, or where 'row' is NULL the first 'count'; the first 'codes' of each,
   all or a multiple of QP_CODE_ROWS_CHUNK. */
typedef struct qp_rows_wanted {
  const uint32_t *row;
  unsigned count, codes;
} qp_rows_wanted;

/*
** Groups whose sum is QP_NO_PATH are passed over.  With  p = b fan + j  the group before and
** code << (window - 2 step) | b  the one behind a step, all j of one b lead to the same 'fan'
** groups, a row of 'out'; the rows, turned, are the sums by group.
*/
typedef struct qp_trellis_push {
  /* Computes the squares of a pool, [rows.size]. */
  void (*squares)(const qp_trellis *t, const int16_t *x, uint16_t *square);
  /* Write the rows that are wanted to out [count][qp_push_stride]; return the least number in it.
     Without squares (NULL) those of a pool are computed where they are wanted. */
  unsigned (*run)(const qp_trellis *t, const int16_t *x, const uint16_t *square,
                  const uint16_t *before, qp_rows_wanted wanted, uint16_t *out);
  /* Write all rows to sums [groups] by group. */
  void (*turn)(const qp_trellis *t, const uint16_t *out, uint16_t *sums);
  /* How many of n sums are below a limit (n a multiple of 32) */
  unsigned (*count)(unsigned n, const uint16_t *sums, unsigned limit);
  /* Sums less 'lowest'; those that were no less than 'limit' become QP_NO_PATH. */
  void (*level)(unsigned n, unsigned lowest, unsigned limit, uint16_t *sums);
  /* The sums of the rows that are below a limit, less 'lowest', go to sums [groups], which are
     QP_NO_PATH; bit b of 'live' is set for each row b that they are before.  With 'even' they also
     go to the groups that mirror theirs, and rows of the lower half stand for both.  Behind 'out'
     there are QP_PUSH_SLACK numbers of QP_NO_PATH. */
  void (*place)(const qp_trellis *t, qp_rows_wanted rows, bool even, const uint16_t *out,
                unsigned lowest, unsigned limit, uint16_t *sums, uint64_t *live);
  /* Set v[n - 1 - i] to v[i] for i below n / 2; n is a multiple of 32. */
  void (*mirror)(unsigned n, uint16_t *v);
  /* The first of the least of n sums, n a multiple of 32 or any number below it. */
  uint32_t (*best)(unsigned n, const uint16_t *sums);
} qp_trellis_push;

enum { QP_PUSH_SLACK = 64 };

/* The distance from row to row of 'out': there are as many numbers as codes, filled up to whole
   vectors. */
unsigned qp_push_stride(const qp_trellis *t);

/* The best that this CPU has. */
qp_trellis_push qp_trellis_push_choose(void);

#endif
