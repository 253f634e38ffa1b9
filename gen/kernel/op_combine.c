/* SPDX-License-Identifier: MIT */
/* The row of combine adds up the outputs of a token's experts by their weights; threads take chunks
   of eight columns in turn. */
#include "gen/kernel/kernel.h"
#include "gen/kernel/kernel_op.h"

#define CONSTANTS(X)                                                                               \
  X(UNSIGNED, THREADS, k->block, "threads a block")                                                \
  X(UNSIGNED, K, k->problem.columns, "columns of X and Y")                                         \
  X(FLAG, BF16, k->problem.type == QP_BF16, "values are bf16, else fp16")                          \
  X(FLAG, PDL, k->pdl, "programmatic dependent launch")

static const qp_named constant[] = {CONSTANTS(QP_NAMED)};
static void values(const qp_kernel *k, unsigned *v) { CONSTANTS(QP_VALUE) }

static const qp_tunable_use tunable[] = {
    {"warps", 1, 32, QP_NEEDED, false, "warps a block"},
    {"pdl", 0, 1, 0, false, "1: programmatic dependent launch"},
};

static qp_status size(qp_kernel *k, qp_error *err) {
  (void)err;
  k->grid = k->problem.sm_count;
  return QP_OK;
}

const qp_kernel_op qp_op_combine = {
    .op = QP_OP_COMBINE,
    .form = "",
    .help = "threads take eight columns of a token in turn",
    QP_OP_LIST(tunable, tunable),
    QP_OP_LIST(constant, constant),
    .values = values,
    .check = qp_kernel_op_takes_all,
    .size = size,
    .hole = {QP_HOLES_OF_ALL},
};
