/* SPDX-License-Identifier: MIT */
/* Lists what the states behind each group of a trellis decode to where rows move from strip to
   strip:  table of states --> strips + where rows begin and move on. */
#ifndef QP_CODE_JOINTS_H
#define QP_CODE_JOINTS_H

#include "gen/encode/code_strips.h"
#include "gen/encode/numbering.h"

/*
** Where a hash is no more than nearly linear in the code, neighbours of a row are mostly equally
** far apart, but after each 'period' codes once by one less, or more.  Strips of the usual distance
** lie 'apart' numbers apart in an order in which each row moves on to the next one:  code c of
** group p is
**   pool[near[p] + c + apart (c < turn[p] ? 0 : 1 + (c - turn[p]) / period)]
** So there are about as many numbers as different values, where windows that overlap would be many
** times as many.
** Make such strips, of which 16 bits say where rows begin, of rows of more than QP_CODE_ROWS_CHUNK
** codes: 'value' numbers what states decode to, id [2^window] says which of it each does.  Where
** there are none, out->pool stays NULL.  False: there is no memory.
*/
bool qp_code_joints_find(qp_code_rows *out, const qp_code_rows_of *of, const qp_numbering *value,
                         const uint32_t *id);

#endif
