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

/*
** Write codes [32][superblocks period.steps] of a group of rows into their words of 'codes'
** [s->code_words]: step i of a lane has the bits [i step, (i + 1) step) of the lane's words.  It
** does not serve bit planes.
*/
void qp_lanes_pack(const qp_stream *s, unsigned row_group, const uint32_t *code, uint32_t *codes);

#endif
