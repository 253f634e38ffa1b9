/* SPDX-License-Identifier: MIT */
/* Finds the nearest codewords of vector and scalar quantizers:  targets + table of codes --> codes.
   */
#ifndef QP_NEAREST_H
#define QP_NEAREST_H

#include <stddef.h>
#include <stdint.h>

#include "gen/encode/nearest_tree.h"
#include "runtime/status.h"

enum { QP_NEAREST_DIM = 16 };

typedef struct qp_codewords {
  unsigned count, dim, tiles;
  float *table;           /* [tiles][1 + dim][16]: |t|^2, -2 t; behind the last infinite */
  qp_codeword_tree *tree; /* where there are many codes of several weights; else NULL */
  int simd;               /* qp_simd_level of this CPU: asking for it takes longer than a search */
} qp_codewords;

/* 'values' is [count][dim], dim 1 to 16.  Free with qp_codewords_free.  QP_E_NOMEM only. */
qp_status qp_codewords_make(qp_codewords *c, unsigned count, unsigned dim, const float *values,
                            qp_error *err);
void qp_codewords_free(qp_codewords *c);

/*
** Find for each of 'targets' [n][dim] the code t with the least |x_i - t|^2, the lowest of equals,
** as codes[i].  Squares are taken as |t|^2 - 2 x.t in fused multiply-adds, which are the same on
** every machine.
*/
void qp_codewords_nearest(const qp_codewords *c, size_t n, const float *targets, uint32_t *codes);

/*
** Sum over the targets of the least |x_i - t|^2, in floats, the same on every machine; where it is
** more than 'most', some number that is more than 'most'.
*/
float qp_codewords_error(const qp_codewords *c, size_t n, const float *targets, float most);

#endif
