/* SPDX-License-Identifier: MIT */
/*
** The versions of packed weights on disk (PACKED.md), and which of them a linear needs.  A file
** says the least version that has all it holds, and a reader refuses one that holds more than its
** version has: who reads versions by the same text would compute something else.
*/
#ifndef QP_PACKED_VERSION_H
#define QP_PACKED_VERSION_H

#include <stdbool.h>

enum {
  QP_PACKED_FIRST = 1,
  QP_PACKED_PLAIN = 2,     /* row scales of fp16 */
  QP_PACKED_CUT = 3,       /* rotations in blocks, slices for ranks */
  QP_PACKED_SIDE = 4,      /* orders and scales of columns */
  QP_PACKED_SPARSE = 5,    /* sparse entries */
  QP_PACKED_PARTS = 6,     /* more than QP_PACKED_FEW_PARTS parts */
  QP_PACKED_LAST = 6,      /* that this libqpal reads */
  QP_PACKED_FEW_PARTS = 4, /* most of a split before version 6 */
};

/* What a linear has that not every version has. */
typedef struct qp_packed_extras {
  bool rotation, split, order, scale, sparse;
  unsigned parts;
} qp_packed_extras;

/* The least version that has all of it; '*field' becomes the field that needs it, or "". */
static inline unsigned qp_packed_version(const qp_packed_extras *e, const char **field) {
  const struct {
    const char *field;
    unsigned version;
    bool has;
  } rule[] = {{"parts", QP_PACKED_PARTS, e->parts > QP_PACKED_FEW_PARTS},
              {"sparse", QP_PACKED_SPARSE, e->sparse},
              {"order", QP_PACKED_SIDE, e->order},
              {"scale", QP_PACKED_SIDE, e->scale},
              {"rotation", QP_PACKED_CUT, e->rotation},
              {"split", QP_PACKED_CUT, e->split}};
  for (unsigned i = 0; i < sizeof rule / sizeof *rule; i++)
    if (rule[i].has) return *field = rule[i].field, rule[i].version;
  return *field = "", QP_PACKED_PLAIN;
}

#endif
