/* SPDX-License-Identifier: MIT */
/*
** The steady state of a kernel:  launches in which each warp goes often enough around its loop,
** and over the borders of its work, that a fault there shows.  Small shapes on many
** multiprocessors give a warp one unit.
*/
#ifndef QP_STEADY_H
#define QP_STEADY_H

#include <stddef.h>

#include "gen/kernel/family.h"
#include "gen/kernel/kernel.h"
#include "runtime/status.h"

/* X(property, what a launch meets that has it) */
#define QP_STEADY(X)                                                                               \
  X(UNITS, "a warp has 2 stages + 1 units of work (dequant: three superblocks in turn)")           \
  X(CARRY, "a warp begins inside a row group, and hands a carry from unit to unit")                \
  X(ROW_GROUP, "a row group ends inside a warp's range")                                           \
  X(BORDER, "a warp crosses from segment to segment")                                              \
  X(BORDERS, "a warp meets three segments")                                                        \
  X(CLUSTERS, "several clusters, each in the steady state")                                        \
  X(SLABS, "slabs of K")                                                                           \
  X(RAGGED, "the last unit of a row group is not whole (dequant: its last superblock)")            \
  X(SHARED, "several warps contribute to a row group")                                             \
  X(SOLE, "a warp has a row group to itself")                                                      \
  X(BLOCKS, "several blocks share a part")                                                         \
  X(ROWS, "a block takes several rows in turn (rotate)")

enum {
#define X(name, help) QP_STEADY_BIT_##name,
  QP_STEADY(X)
#undef X
      QP_STEADY_COUNT
};
enum {
#define X(name, help) QP_STEADY_##name = 1u << QP_STEADY_BIT_##name,
  QP_STEADY(X)
#undef X
};

/* What one of the bits means, for people. */
const char *qp_steady_help(unsigned bit);

/* Say what the launch of a kernel meets for one of its quantizers (NULL: rotate), as bits
   QP_STEADY_*. */
unsigned qp_steady_met(const qp_kernel *k, const qp_quantizer *q);

/* Say how kernels tell quantizers apart: "trellis, 2 a code", "scalar, planes, rows", ... */
void qp_steady_kind(const qp_quantizer *q, char *to, size_t size);

/* Keep the first quantizer of each kind, in their order, at the beginning of the list; how many. */
size_t qp_steady_first_of_kinds(const qp_quantizer **list, size_t count);

/*
** Give a problem the columns, and its last segment of each quantizer the rows, that the steady
** state takes. Operation, types, batch, architecture, multiprocessors, quantizers and rows of
** segments (of the last of a quantizer: 0) are the caller's, as are the tunables.  QP_E_LIMIT: no
** such shape was found.
*/
qp_status qp_steady_shape(qp_families *families, qp_problem *p, const qp_choice *choice,
                          qp_error *err);

#endif
