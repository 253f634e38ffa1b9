/* SPDX-License-Identifier: MIT */
/* The row of route:  a router's ids -> assignments sorted by expert, in tiles.  One block does it.
   */
#include "gen/kernel/kernel.h"
#include "gen/kernel/kernel_op.h"
#include "runtime/routing.h"

static unsigned chunks(const qp_problem *p) { return (qp_problem_assignments(p) + 31) / 32; }

#define CONSTANTS(X)                                                                               \
  X(UNSIGNED, THREADS, k->block, "threads of the block")                                           \
  X(UNSIGNED, WARPS, k->block / 32, "warps of the block")                                          \
  X(UNSIGNED, EXPERTS, p->experts, "experts")                                                      \
  X(UNSIGNED, TILE, p->tile, "most assignments of a tile")                                         \
  X(UNSIGNED, CHUNKS, chunks(p), "most assignments / 32")                                          \
  X(UNSIGNED, ORDER, qp_routing_order(qp_problem_assignments(p), p->experts, p->tile),             \
    "word of the routing where the order of assignments begins")                                   \
  X(FLAG, PDL, k->pdl, "programmatic dependent launch")

static const qp_named constant[] = {CONSTANTS(QP_NAMED)};
static void values(const qp_kernel *k, unsigned *v) {
  const qp_problem *p = &k->problem;
  CONSTANTS(QP_VALUE)
}

static const qp_tunable_use tunable[] = {
    {"warps", 1, 32, QP_NEEDED, false, "warps of the block"},
    {"pdl", 0, 1, 0, false, "1: programmatic dependent launch"},
};

/* Of each expert, and of what is none: counts by chunk, first assignment and first tile. */
static qp_status size(qp_kernel *k, qp_error *err) {
  (void)err;
  k->grid = 1;
  k->smem_bytes = (chunks(&k->problem) + 2) * (k->problem.experts + 1) * 4;
  return QP_OK;
}

const qp_kernel_op qp_op_route = {
    .op = QP_OP_ROUTE,
    .form = "",
    .help = "one block sorts a router's assignments by expert and cuts them into tiles",
    QP_OP_LIST(tunable, tunable),
    QP_OP_LIST(constant, constant),
    .values = values,
    .check = qp_kernel_op_takes_all,
    .size = size,
    .hole = {QP_HOLES_OF_ALL},
};
