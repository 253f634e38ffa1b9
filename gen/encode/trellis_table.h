/* SPDX-License-Identifier: MIT */
/* A bitshift trellis as it is searched: its sizes and the values of its states. */
#ifndef QP_TRELLIS_TABLE_H
#define QP_TRELLIS_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "gen/encode/beam_table.h"

enum {
  QP_TRELLIS_LANES = 16,            /* groups that are searched together */
  QP_TRELLIS_SEAM = QP_BEAM_AROUND, /* steps looked at on each side of a circle's seam: many times
                                       window / step */
  QP_TRELLIS_DIM = 8,               /* most weights a step */
  QP_TRELLIS_WINDOW = 20,  /* most bits a state of which all paths are looked at; a beam, beyond */
  QP_TRELLIS_SEQUENCES = 8 /* sequences in flight */
};

/*
** The state of step i is the last 'window' bits of the stream, newest highest:
**   s[i] = code[i] << (window - step) | s[i-1] >> step
** States that differ in their 'step' oldest bits only have the same successors: they form a group,
** g = s >> step, and what lies behind a group's best state needs no more than one number.  With
** m[g] = least sum of squares of all paths that end in group g, one step is
**   m'[g'] = min over j of  m[s mod groups] + |x - table[s]|^2      s = g' << step | j
** The squares are taken as |t|^2 - 2 x.t: |x|^2 is the same for all states.
*/
typedef struct qp_trellis {
  unsigned window, step, dim;
  unsigned groups, fan;  /* 2^(window - step), 2^step */
  unsigned tiles;        /* of 16 groups */
  unsigned rows, spread; /* sums are kept transposed, [rows][spread]: a tile's lie together */
  unsigned stride;       /* from row to row: a little more, or rows would share cache sets */
  float *table;          /* [tiles][fan][1 + dim][16]: |t|^2, -2 t for s = g' << step | j */
  bool long_window;      /* beyond QP_TRELLIS_WINDOW: 'beam' in place of 'table' */
  qp_beam beam;
} qp_trellis;

#endif
