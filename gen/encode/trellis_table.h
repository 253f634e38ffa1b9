/* SPDX-License-Identifier: MIT */
/* A bitshift trellis as the search needs it: its sizes, its arithmetic and the values of its
   states. */
#ifndef QP_TRELLIS_TABLE_H
#define QP_TRELLIS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/encode/code_rows.h"
#include "gen/encode/lookahead.h"
#include "gen/encode/metric.h"
#include "runtime/status.h"

enum {
  QP_TRELLIS_LANES = 32,   /* groups that lie together in the table */
  QP_TRELLIS_DIM = 8,      /* most weights a step */
  QP_TRELLIS_WINDOW = 20,  /* largest window, in bits, of which all paths are looked at */
  QP_BEAM_WINDOW = 24,     /* largest window of which some paths are kept: */
  QP_BEAM_LEAST = 64,      /* least number of paths */
  QP_BEAM_MOST = 1 << 20,  /* and the most */
  QP_TRELLIS_SEQUENCES = 8 /* sequences in flight */
};

/*
** Where all states s and ~s of a trellis of pairs decode to the same, one square serves both.  The
** table then holds the lower half of the groups alone, [tiles / 2][fan][dim][32], and of these and
** of the upper half sums are read side by side.  Of rows of
**   32 columns or more in each half: an upper column is where the lower one is that mirrors it, but
**     half a row further on, in the row of the mirrored choice.  Lanes of a tile whose sums come of
**     the upper half are in descending order, and so are their choices;
**   16 columns or 4: as many rows stand behind them all, of what groups of the upper half read;
**   one column, which is there twice: they read the mirrored row.
** A path that begins in ~g costs as much as that from g whose states mirror its.  So a run from a
** given group to any, of up to 'kept' steps, is made from both, and mirrored where the best path
** comes from ~g.  Sums of g and ~g are equal then, as they are where a run begins in any group, and
** half of the work is done.
*/
typedef struct qp_trellis_pair {
  bool descends;      /* lanes and choices do */
  size_t from[2];     /* where the lower and the upper half read in a row of sums, */
  ptrdiff_t apart[2]; /* and from row to row */
} qp_trellis_pair;

/*
** The state of step i is the last 'window' bits of the stream, newest highest:
**  s[i] = code[i] << (window - step) | s[i-1] >> step
** States that differ in their 'step' oldest bits only have the same successors: they form a group,
** g = s >> step, and what lies behind a group's best state needs no more than one number.  With
** m[g] = least sum of squares of all paths that end in group g, one step is
**  m'[g'] = min over j of  m[s mod groups] + |x - table[s]|^2      s = g' << step | j
** in the whole numbers of gen/encode/metric.h:
**  m'[g'] = min over j of  min(65535, m[s mod groups] + sum of (d d + 2^14) >> 15)
**  m'[g'] -= the least of all m', but 65535 (no path) stays; where all are, all become 0
** The choice j is the lowest of equals; on the way back it is found again from the sums of each
** step, which are kept.  In the first steps of a run that begins in a given group those choices
** alone count that come from it.
** Of windows beyond QP_TRELLIS_WINDOW only about 'width' groups survive each step, those with the
** least sums, each with what the next step adds at least where that is known (lookahead.h); they
** are listed (gen/encode/survivors.h).  At 2 bits a weight, of 2^20
** groups, keeping a quarter loses 0.004 dB against keeping half, a sixteenth 0.03 dB; the window of
** 20 bits with all of its 2^16 groups loses 0.07 dB. */
typedef struct qp_trellis {
  unsigned window, step, dim;
  unsigned groups, fan; /* 2^(window - step), 2^step */
  qp_metric metric;
  unsigned tiles;          /* tiles of 32 groups each */
  unsigned turned, spread; /* The next step reads sums as [turned][spread]. */
  size_t sums;             /* numbers of them, with what is between rows and behind them */
  unsigned stride;         /* from row to row: a little more than a row, or rows would share cache
                              sets */
  bool mirrored;         /* States s and ~s decode to the same; table and sums are as said below. */
  unsigned kept;         /* steps whose sums are kept */
  int16_t *table;        /* t^ [tiles][fan][dim][32] of s = g' << step | j; NULL where steps are
                              pushed. */
  int16_t *by_group;     /* t^ [groups][dim][fan]; NULL where some paths are kept, as 'table' */
  qp_trellis_pair *pair; /* [tiles / 2], of a mirrored trellis */
  qp_code_rows rows;     /* Rows of the states behind each group; empty where they serve
                              nothing. */
  qp_lookahead ahead;    /* Of what the next step adds, where some paths are kept; or empty. */
  bool pushed;           /* steps are made forward by 'rows', which is quicker */
  unsigned width;        /* paths of each step that are kept where the window is long; else 0 */
} qp_trellis;

/*
** 'values' is [2^window][dim], fp16 numbers.  Free with qp_trellis_free.
** QP_E_LIMIT: window, step or dim are beyond what can be searched; QP_E_NOMEM.
*/
qp_status qp_trellis_make(qp_trellis *t, unsigned window, unsigned step, unsigned dim,
                          const float *values, qp_error *err);
void qp_trellis_free(qp_trellis *t);
/* Do the same for a window of any length, and keep about 'width' paths of each step, or all if
   'width' is 0. 2 step <= window. */
qp_status qp_trellis_make_kept(qp_trellis *t, unsigned window, unsigned step, unsigned dim,
                               unsigned width, const float *values, qp_error *err);

/* Paths that are kept at each step of a long window where no step is looked ahead: 2^(21 - step),
   twice that for up to 4 bits, at least 1024; qp_trellis_make keeps 7 of 16 of them where one is
   (lookahead.h), and 14 of steps of 10 bits.  Other numbers are brought between QP_BEAM_LEAST and
   QP_BEAM_MOST or the number of groups; a shorter window keeps all. */
unsigned qp_trellis_usual_width(unsigned step);
void qp_trellis_set_width(qp_trellis *t, unsigned width);

/* How many steps are looked at on each side of a circle's seam: many times as many as a state
   remembers. */
unsigned qp_trellis_seam(unsigned window, unsigned step, unsigned steps);

/* What is known about the ends of a run. */
typedef enum qp_ends {
  QP_ENDS_TIED,   /* circular: the bits before the first are the last ones (tail-biting) */
  QP_ENDS_FREE,   /* any bits before the first */
  QP_ENDS_FROM,   /* begins behind group start[k], ends anywhere */
  QP_ENDS_BETWEEN /* begins behind group start[k], ends in group end[k] */
} qp_ends;

#endif
