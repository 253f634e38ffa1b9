/* SPDX-License-Identifier: MIT */
/* The row that multiplies 32 rows by a matrix or a triangle, each sum in one order. */
#include "gen/kernel/kernel.h"
#include "gen/kernel/kernel_op.h"

enum { WARP = 32 };

#define CONSTANTS(X)                                                                               \
  X(UNSIGNED, THREADS, k->block, "threads a block")                                                \
  X(UNSIGNED, K, k->problem.columns, "rows of M, and columns of it that are taken")                \
  X(UNSIGNED, EACH, qp_choice_get(&k->choice, "each"), "rows of M that a warp has at a time")

static const qp_named constant[] = {CONSTANTS(QP_NAMED)};
static void values(const qp_kernel *k, unsigned *v) { CONSTANTS(QP_VALUE) }

static const qp_tunable_use tunable[] = {
    {"warps", 1, 16, QP_NEEDED, false, "warps a block"},
    {"each", 4, 16, QP_NEEDED, true, "rows of M that a warp has at a time"},
};

static qp_status size(qp_kernel *k, qp_error *err) {
  const unsigned tasks = k->problem.columns / qp_choice_get(&k->choice, "each");
  const unsigned warps = k->block / WARP;
  (void)err;
  k->grid = (tasks + warps - 1) / warps;
  return QP_OK;
}

const qp_kernel_op qp_op_rows_product = {
    .op = QP_OP_ROWS_PRODUCT,
    .form = "",
    .help = "a warp's lanes are the rows, and it has some rows of M at a time",
    QP_OP_LIST(tunable, tunable),
    QP_OP_LIST(constant, constant),
    .values = values,
    .check = qp_kernel_op_takes_all,
    .size = size,
    .hole = {QP_HOLES_OF_ALL},
};
