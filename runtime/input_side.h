/* SPDX-License-Identifier: MIT */
/*
** What stands between x and the columns of packed weights:  x~ = H (P (s * d * x)).  A number
** called 'rotation' says of what kind it is: columns of a diagonal block of H (0: all, 1: no H),
** and by two bits above whether there are an order P and scales d.  One tensor holds all of it:
**
**   s   a bit a column, k % 32 of word k / 32; with P or d filled up to whole 16 bytes
**   P   uint16 [K], only with QP_SIDE_ORDER: where column k of x goes
**   d   fp16 [K], only with QP_SIDE_SCALE: what column k of x is multiplied by, not 0
*/
#ifndef QP_INPUT_SIDE_H
#define QP_INPUT_SIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  QP_SIDE_ORDER = 1 << 28,
  QP_SIDE_SCALE = 1 << 29,
  QP_SIDE_FLAGS = QP_SIDE_ORDER | QP_SIDE_SCALE,
  QP_SIDE_COLUMNS_MAX = 65536 /* with an order */
};

/* Tell how many columns a diagonal block of H has: 0 stands for all, and 1 means that there is no
   H. */
static inline unsigned qp_side_block(unsigned rotation) {
  return rotation & ~(unsigned)QP_SIDE_FLAGS;
}
/* The number whose blocks of all columns are 0. */
static inline unsigned qp_side_plain(unsigned columns, unsigned rotation) {
  return qp_side_block(rotation) == columns ? rotation & QP_SIDE_FLAGS : rotation;
}
static inline bool qp_side_has_order(unsigned rotation) { return (rotation & QP_SIDE_ORDER) != 0; }
static inline bool qp_side_has_scale(unsigned rotation) { return (rotation & QP_SIDE_SCALE) != 0; }

/* Tell how many bytes of the tensor stand before P and before d, and how many it has in all. */
static inline uint64_t qp_side_order_at(unsigned columns) {
  return (uint64_t)(columns + 127) / 128 * 16;
}
static inline uint64_t qp_side_scale_at(unsigned columns, unsigned rotation) {
  return qp_side_order_at(columns) + (qp_side_has_order(rotation) ? 2ull * columns : 0);
}
static inline uint64_t qp_side_bytes(unsigned columns, unsigned rotation) {
  if (!(rotation & QP_SIDE_FLAGS)) return (columns + 31ull) / 32 * 4;
  return qp_side_scale_at(columns, rotation) +
         (qp_side_has_scale(rotation) ? 2ull * columns : 0);
}

/*
** Is each of its columns the goal of one of them, and each scale a finite number other than 0?
** 'side' has qp_side_bytes; with an order 'columns' is at most QP_SIDE_COLUMNS_MAX.  Where not,
** 'why' says which column is wrong, in 'size' bytes.
*/
bool qp_side_is_right(const void *side, unsigned columns, unsigned rotation, char *why,
                      size_t size);

#endif
