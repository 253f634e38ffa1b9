/* SPDX-License-Identifier: MIT */
/*
** What rows share whose templates decode code by code, as the spec says (gemm_rows, gather):
** streams become PIECES, quantizers structs P0, P1, ... for templates/weight.cuh.in.
*/
#ifndef QP_PIECES_H
#define QP_PIECES_H

#include "gen/kernel/kernel.h"
#include "gen/kernel/kernel_op.h"

/* "Piece", for a row's 'structs'. */
extern const qp_struct qp_pieces_structs[];

/* The streams of a kernel none of whose quantizers is lowered; 'plain' counts them. */
qp_status qp_pieces_size(qp_kernel *k, qp_error *err);

/* Make the texts of the holes 'quantizers' and 'parts'. */
qp_status qp_pieces_quantizers(qp_text *t, const qp_kernel *k, qp_error *err);
qp_status qp_pieces_parts(qp_text *t, const qp_kernel *k, qp_error *err);
/* Call function<P>(args, i, row, more) with the struct P of the quantizer that piece i has. */
void qp_pieces_dispatch(qp_text *t, const qp_kernel *k, const char *function, const char *more);

#endif
