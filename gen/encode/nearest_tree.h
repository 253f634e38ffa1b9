/* SPDX-License-Identifier: MIT */
/* Finds codewords near a target without looking at all of them:  a target + boxes around codewords
   --> those that may be near. */
#ifndef QP_NEAREST_TREE_H
#define QP_NEAREST_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/status.h"

enum {
  QP_TREE_TILE = 16,    /* codewords of a tile, and boxes of a node */
  QP_TREE_LEAST = 1024, /* Fewer codewords are looked at one by one. */
  QP_TREE_LEAST_DIM = 3
};

/* Codewords in the order of a k-d tree, with boxes around each 16, around each 16 of these, ... */
typedef struct qp_codeword_tree qp_codeword_tree;

/* 'values' is [count][dim], dim 1 to 16.  Free with qp_codeword_tree_free.  QP_E_NOMEM only. */
qp_status qp_codeword_tree_new(unsigned count, unsigned dim, const float *values,
                               qp_codeword_tree **out, qp_error *err);
void qp_codeword_tree_free(qp_codeword_tree *t);

/*
** Is shown some of sixteen codewords t, those whose bits are set in 'set': their distances
** |t|^2 - 2 x.t,  in the fused multiply-adds of gen/encode/nearest.h, and their codes.  None is
** above the largest distance that is still wanted, which it returns and which never rises.
*/
typedef float qp_codeword_visit(void *arg, unsigned set, const float *distance,
                                const uint32_t *code);

/* Show every codeword whose distance from x [dim] is not above what is wanted when its turn comes;
   in the beginning all are wanted. */
void qp_codeword_tree_search(const qp_codeword_tree *t, const float *x, qp_codeword_visit *visit,
                             void *arg);
/* The code with the least distance, of equals the lowest. */
uint32_t qp_codeword_tree_nearest(const qp_codeword_tree *t, const float *x);

#endif
