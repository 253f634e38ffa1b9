/* SPDX-License-Identifier: MIT */
/* Rows as the lanes' sequences, and codes as words, for codes that are found elsewhere:
   targets --[gather]--> a device's encode kernel --[pack]--> packed codes. */
#ifndef QP_LANES_H
#define QP_LANES_H

#include <stdint.h>

#include "gen/spec/layout.h"

/*
** Put the targets of 32 rows in the order of the 32 lanes' streams (runtime/LAYOUT.md):
** targets [32][s->columns] --> out [32][superblocks period.steps][dim]; 0 beyond the columns.
*/
void qp_lanes_gather(const qp_stream *s, const float *targets, float *out);

/* Codes by row [32][ceil(s->columns / dim)] to those of lanes, out [32][superblocks period.steps],
   for codes that lie within one row; 0 beyond the columns.  Code i of a row is the place[i]-th of
   row_code's; NULL: the i-th. */
void qp_lanes_of_rows(const qp_stream *s, const uint32_t *row_code, const unsigned *place,
                      uint32_t *out);

/*
** Codes [32][superblocks period.steps] of a group of rows to their words of 'codes'
** [s->code_words]: step i of a lane has the bits [i step, (i + 1) step) of the lane's words, or its
** bit of each plane (runtime/LAYOUT.md).
*/
void qp_lanes_pack(const qp_stream *s, unsigned row_group, const uint32_t *code, uint32_t *codes);

/* Groups of columns of a row whose fields are chosen together, those beyond its columns not
   counted. */
unsigned qp_field_groups(const qp_stream *s);

/*
** Group fields by row, raw [32][qp_field_groups][fields], of a group of rows to the stream's arrays
** 'field'; padding has its neighbour's.
*/
void qp_field_groups_pack(const qp_stream *s, unsigned row_group, const uint32_t *raw,
                          uint8_t *const field[QP_MAX_ARRAYS]);

#endif
