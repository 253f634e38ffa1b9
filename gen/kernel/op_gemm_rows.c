/* SPDX-License-Identifier: MIT */
/*
** The row of gemm's form "rows":  no division of the work, warps take rows of Y in turn; no
** lowering, quantizers decode as their specs say.  What is left is what a reader needs to see, and
** nothing that could be wrong in the same way as in gemm's parts.
*/
#include "gen/kernel/kernel.h"
#include "gen/kernel/kernel_op.h"
#include "gen/kernel/pieces.h"

#define CONSTANTS(X)                                                                               \
  X(UNSIGNED, THREADS, k->block, "threads a block")                                                \
  X(UNSIGNED, WARPS, k->block / 32, "warps a block")                                               \
  X(UNSIGNED, K, p->columns, "columns of W and X")                                                 \
  X(UNSIGNED, BATCH, p->batch, "rows of X and Y")                                                  \
  X(UNSIGNED, STREAMS, k->streams, "streams of weights")                                           \
  X(UNSIGNED, SEGMENTS, p->segments, "linears")                                                    \
  X(FLAG, BF16, p->type == QP_BF16, "X and biases are bf16, else fp16")                            \
  X(FLAG, OUT_F32, p->out_type == QP_F32, "Y and residuals are fp32, else X's type")

static const qp_named constant[] = {CONSTANTS(QP_NAMED)};

static void values(const qp_kernel *k, unsigned *v) {
  const qp_problem *p = &k->problem;
  CONSTANTS(QP_VALUE)
}

static const qp_tunable_use tunable[] = {
    {"warps", 1, 32, QP_NEEDED, false, "warps a block"},
    {"blocks", 1, 32, QP_NEEDED, false, "blocks a multiprocessor"},
};

static qp_status check(const qp_problem *p, const char *family, qp_error *err) {
  if (!p->rotate_fused) return QP_OK;
  return qp_fail(err, QP_E_LIMIT, "%s does not rotate x; use the rotate operation first", family);
}

static qp_status size(qp_kernel *k, qp_error *err) {
  k->grid = k->problem.sm_count * qp_choice_get(&k->choice, "blocks");
  return qp_pieces_size(k, err);
}

/* ---- Holes ---- */

static qp_status add_dispatch(qp_text *t, const qp_kernel *k, qp_error *err) {
  (void)err;
  qp_pieces_dispatch(t, k, "add_piece", "sum");
  return QP_OK;
}

const qp_kernel_op qp_op_gemm_rows = {
    .op = QP_OP_GEMM,
    .form = "rows",
    .help = "warps take rows of Y in turn and decode as the spec says, without tables",
    QP_OP_LIST(tunable, tunable),
    QP_OP_LIST(constant, constant),
    .values = values,
    .structs = qp_pieces_structs,
    .check = check,
    .size = size,
    .hole = {QP_HOLES_OF_ALL, [QP_HOLE_stream] = qp_hole_text_stream,
             [QP_HOLE_quantizers] = qp_pieces_quantizers, [QP_HOLE_parts] = qp_pieces_parts,
             [QP_HOLE_dispatch] = add_dispatch},
};
