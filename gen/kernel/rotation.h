/* SPDX-License-Identifier: MIT */
/* Prints the constants of the Hadamard rotation as CUDA text for templates/rotation.cuh.in. */
#ifndef QP_ROTATION_H
#define QP_ROTATION_H

#include <stdbool.h>

#include "gen/base/hadamard.h"
#include "gen/base/text.h"
#include "runtime/status.h"

/*
** Constants of the transform H (or H^T) for blocks of 'threads' threads, and of the order and
** scales that the flags of 'side' (runtime/input_side.h) say, as CUDA text; '*text' is
** malloc'ed, the caller frees it.  A base order n is done in tiles of at most 44 outputs, one tile
** a thread; its signs are ROT_SIGNS<f>[tile][input][2]: bit r of the 64 is set where output tile *
** ROWS + r takes the input negative.
** QP_E_NOMEM only.
*/
qp_status qp_rotation_constants(const qp_hadamard *h, unsigned side, unsigned threads,
                                bool transposed, char **text);

/* Add the same for the transform of order 'columns' by a problem's 'rotation' to 't' (a hole of a
   template). */
qp_status qp_rotation_text(qp_text *t, unsigned columns, unsigned rotation, unsigned threads,
                           bool transposed, qp_error *err);

/* Tell how much shared memory the transform of one row of 'columns' values needs: these are fp32,
   with a word more every 32. */
unsigned qp_rotation_smem_bytes(unsigned columns);

/*
** The transform as templates/rotation_tensor.cuh.in does it: its topmost factor of 'order' (a base
** order, or 32 of Sylvester's) on tensor cores, 'rows' of its outputs a tile, 'group' tiles at a
** time in 'steps'; 'below' is what remains, on group * rows blocks of 'rest' values.
*/
typedef struct qp_rotation_top {
  unsigned columns, order, rest;
  unsigned rows, group, steps;
  qp_hadamard below;
} qp_rotation_top;

/* false: K has no such factor, or too little below it. */
bool qp_rotation_top_of(unsigned columns, unsigned threads, qp_rotation_top *out);
/* Tell how much shared memory X takes in 'planes' of 16 bits. */
unsigned qp_rotation_top_smem_bytes(const qp_rotation_top *t, unsigned planes);
/* Print the constants as CUDA text.  QP_E_NOMEM. */
qp_status qp_rotation_top_text(qp_text *t, const qp_rotation_top *top, unsigned threads,
                               bool transposed, qp_error *err);

#endif
