/* SPDX-License-Identifier: MIT */
/* A bitshift trellis as it is searched: its sizes, its arithmetic and the values of its states. */
#ifndef QP_TRELLIS_TABLE_H
#define QP_TRELLIS_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "gen/encode/beam_table.h"
#include "gen/encode/metric.h"

enum {
  QP_TRELLIS_LANES = 32,   /* groups that lie together in the table */
  QP_TRELLIS_DIM = 8,      /* most weights a step */
  QP_TRELLIS_WINDOW = 20,  /* most bits a state of which all paths are looked at; a beam, beyond */
  QP_TRELLIS_SEQUENCES = 8 /* sequences in flight */
};

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
** alone count that come from it. */
typedef struct qp_trellis {
  unsigned window, step, dim;
  unsigned groups, fan; /* 2^(window - step), 2^step */
  qp_metric metric;
  unsigned tiles;        /* of 32 groups */
  unsigned rows, spread; /* sums as the next step reads them, [rows][spread] */
  unsigned stride;       /* from row to row: a little more, or rows would share cache sets */
  unsigned kept;         /* steps whose sums are kept */
  int16_t *table;        /* t^ [tiles][fan][dim][32] of s = g' << step | j */
  int16_t *by_group;     /* t^ [groups][dim][fan] */
  bool long_window;      /* beyond QP_TRELLIS_WINDOW: 'beam' in place of all this */
  qp_beam beam;
} qp_trellis;

#endif
