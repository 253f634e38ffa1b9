/* SPDX-License-Identifier: MIT */
/* Hadamard matrices: which orders there are, how K factors into them, and the transform itself. */
#ifndef QP_HADAMARD_H
#define QP_HADAMARD_H

#include <stdint.h>

#include "runtime/status.h"

enum { QP_HADAMARD_FACTORS = 6 };

/*
** H of order K is a Kronecker product:
**   H_K = H_blocks(identity) (x) B_0 (x) B_1 ... (x) Sylvester_2^a,
** where index k is ((block * b_0 + i_0) * b_1 + i_1) ... * 2^a + j.  Where K has no such
** factorisation, or was to be cut, 'blocks' is more than 1: the transform is then block-diagonal
** with 'blocks' equal blocks.
*/
typedef struct qp_hadamard {
  unsigned order;                     /* K */
  unsigned blocks;                    /* 1, or the number of diagonal blocks */
  unsigned bases;                     /* number of base orders, 0 to 6 */
  unsigned base[QP_HADAMARD_FACTORS]; /* 12, 20, 28, 36, ... each > 2 and a known order */
  unsigned log2_tail;                 /* a of 2^a */
} qp_hadamard;

/* Factor K (>= 1) so that the transform takes the fewest additions.  Every K has an answer, if need
   be with blocks > 1. */
void qp_hadamard_factor(unsigned order, qp_hadamard *out);

/* Factor K in diagonal blocks of 'block' columns each, which must divide K; 0 stands for one block
   of K. */
void qp_hadamard_factor_blocks(unsigned order, unsigned block, qp_hadamard *out);

/* Give the row-major matrix of +1 and -1 of a base order (4 <= n <= 428, a multiple of 4), which
   the library owns, or NULL if the order is not known.  H H^T = n I always holds; row 0 need not
   consist of ones. */
const int8_t *qp_hadamard_base(unsigned n);

/* Compute  y = H x / sqrt(order / blocks)  in double precision; x and y hold 'order' values and may
   be the same array. */
void qp_hadamard_apply(const qp_hadamard *h, const double *x, double *y);
/* Compute the inverse,  y = H^T x / sqrt(order / blocks). */
void qp_hadamard_apply_transposed(const qp_hadamard *h, const double *x, double *y);

#endif
