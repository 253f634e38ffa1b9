/* SPDX-License-Identifier: MIT */
/* Hadamard matrices: which orders there are, how K factors into them, and the transform itself. */
#ifndef QP_HADAMARD_H
#define QP_HADAMARD_H

#include <stdint.h>

#include "runtime/status.h"

enum { QP_HADAMARD_FACTORS = 6 };

/*
** H of order K as a Kronecker product:  H_K = H_blocks(identity) (x) B_0 (x) B_1 ... (x)
** Sylvester_2^a.
** Index k = ((block * b_0 + i_0) * b_1 + i_1) ... * 2^a + j.  'blocks' > 1 where K has no such
** factorisation, or was to be cut: the transform is then block-diagonal with 'blocks' equal blocks.
*/
typedef struct qp_hadamard {
  unsigned order;                     /* K */
  unsigned blocks;                    /* 1, or the number of diagonal blocks */
  unsigned bases;                     /* how many base orders, 0 to 6 */
  unsigned base[QP_HADAMARD_FACTORS]; /* 12, 20, 28, 36, ... each > 2 and a known order */
  unsigned log2_tail;                 /* a of 2^a */
} qp_hadamard;

/* Factor K (>= 1).  Prefers the fewest additions; every K has an answer (blocks > 1 at worst). */
void qp_hadamard_factor(unsigned order, qp_hadamard *out);

/* The same in diagonal blocks of 'block' columns each, which divides K; 0: one block of K. */
void qp_hadamard_factor_blocks(unsigned order, unsigned block, qp_hadamard *out);

/* Row-major +-1 matrix of a base order (4 <= n <= 428, multiple of 4), owned by the library,
   or NULL if the order is not known.  Row 0 need not be all ones; H H^T = n I always. */
const int8_t *qp_hadamard_base(unsigned n);

/* y = H x / sqrt(order / blocks)  in double precision; x and y hold 'order' values, may be
   equal. */
void qp_hadamard_apply(const qp_hadamard *h, const double *x, double *y);
/* y = H^T x / sqrt(order / blocks), the inverse. */
void qp_hadamard_apply_transposed(const qp_hadamard *h, const double *x, double *y);

#endif
