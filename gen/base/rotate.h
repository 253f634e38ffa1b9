/* SPDX-License-Identifier: MIT */
/* Computes the input side of a linear, most of all its rotation:  W --> W diag(s) H^T,  so that  y
   = W~ (H (s x)) = W x. */
#ifndef QP_ROTATE_H
#define QP_ROTATE_H

#include <stdint.h>

#include "runtime/status.h"

/*
** Make the signs of an input of 'columns' values, which the tensor 'name' holds: word i is the low
** half of the i-th splitmix64 number, whose state begins as FNV-1a(name) ^ seed.  Bits at and
** beyond 'columns' are 0.  They go to out[(columns + 31) / 32].
*/
void qp_rotate_signs(const char *name, uint64_t seed, unsigned columns, uint32_t *out);

/*
** What stands between x and the codes' columns:  x~ = H P (s * d * x).  Weights on the other side
** are  w~ = H P (s * w / d),  so that w~ x~ = w x.  H is the orthonormal Hadamard matrix of
** gen/base/hadamard.h, in diagonal blocks, P a permutation.
*/
typedef struct qp_input {
  unsigned columns;
  unsigned block;        /* columns of a diagonal block of H, which divides all; 0: one block */
  const uint32_t *signs; /* s: bit k % 32 of word k / 32 is -1; NULL: nothing stands between them */
  const uint16_t *order; /* P: [columns], where column k of x goes; NULL: it stays */
  const uint16_t *scale; /* d: [columns], fp16, none is 0; NULL: ones */
} qp_input;

/* The input side whose tensor is 'side' (runtime/input_side.h), or NULL; its arrays are the
   tensor's. */
qp_input qp_input_of(unsigned columns, unsigned rotation, const void *side);

/*
** Each row w of 'rows' x columns values becomes w~, or back, computed in double precision by
** 'threads' threads (at least 1).  QP_E_NOMEM: the values are then half rotated.
*/
qp_status qp_rotate_rows(float *values, unsigned rows, const qp_input *in, unsigned threads,
                         qp_error *err);
qp_status qp_rotate_rows_back(float *values, unsigned rows, const qp_input *in, unsigned threads,
                              qp_error *err);

/* 'values' [columns][columns], symmetric, holds E[x x^T] and becomes E[x~ x~^T].  QP_E_NOMEM. */
qp_status qp_rotate_moments(float *values, const qp_input *in, unsigned threads, qp_error *err);

#endif
