/* SPDX-License-Identifier: MIT */
/* What the states of a trellis decode to, as encode kernels read it:  values --> numbers of
   different ones. */
#ifndef QP_PATH_TABLE_H
#define QP_PATH_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "gen/encode/code_rows.h"
#include "runtime/status.h"

/*
** Groups are of 'sets' sets: those of one set, g = c sets + set, follow the same groups.  Row
** set fan + j  has what the states of oldest bits j decode to, by c.  A few different values
** ("entries") are there, whose distances from a target kernels find once a step.  Where windows of
** 'span' codes have entries that follow each other, a row has the number of each window's first.
** Else it has a number for each state, and entries are numbered so that lanes side by side, whose
** codes are equally far apart, meet different banks where the hash is linear in the code.
** Where entries are too many but one weight of the states has few different values ("levels"),
** kernels find the distances of these once a step.
*/
typedef struct qp_path_table {
  unsigned rows, codes;  /* sets fan, groups / sets */
  unsigned span;         /* codes of a window; 1 */
  unsigned dim, entries; /* 0 entries: they were more than asked for, there are no numbers */
  uint32_t *number;      /* [rows][codes / span] */
  int16_t *value;        /* t^ [entries][dim]; without entries [rows][codes][dim], */
  unsigned levels, held; /* where weight 'held' is a number of a level; 0 levels: it is a weight */
  int16_t *level;        /* t^ [levels] */
} qp_path_table;

/* Make the table with up to 'most' entries.  QP_E_NOMEM. */
qp_status qp_path_table_make(qp_path_table *out, const qp_code_rows_of *of, size_t most,
                             qp_error *err);
/* Make levels of the weight with the fewest different values, if it has up to 'most', where there
   are no entries, and codes have several weights.  QP_E_NOMEM. */
qp_status qp_path_table_hold(qp_path_table *t, size_t most, qp_error *err);
void qp_path_table_free(qp_path_table *t);

#endif
