/* SPDX-License-Identifier: MIT */
/* The row of plain multiplies few rows of X by a matrix in 16 bits; warps take rows of W in turn.
   */
#include "gen/kernel/kernel.h"
#include "gen/kernel/kernel_op.h"
#include "runtime/arch.h"

#define CONSTANTS(X)                                                                               \
  X(UNSIGNED, THREADS, k->block, "threads a block")                                                \
  X(UNSIGNED, K, k->problem.columns, "columns of X and W")                                         \
  X(FLAG, BF16, k->problem.type == QP_BF16, "values are bf16, else fp16")                          \
  X(FLAG, PDL, k->pdl, "programmatic dependent launch")                                            \
  X(UNSIGNED, ROWS, qp_choice_get(&k->choice, "rows"), "rows of W that a warp reads at once")

static const qp_named constant[] = {CONSTANTS(QP_NAMED)};
static void values(const qp_kernel *k, unsigned *v) { CONSTANTS(QP_VALUE) }

static const qp_tunable_use tunable[] = {
    {"warps", 1, 32, QP_NEEDED, false, "warps a block"},
    {"rows", 1, 16, QP_NEEDED, false, "rows of W that a warp reads at once"},
    {"pdl", 0, 1, 0, false, "1: programmatic dependent launch"},
};

/* X' of one row in fp32; the norm's sums of warps lie beside it. */
enum { BLOCKS = 2 /* a multiprocessor */, SUMS_BYTES = 4 * 32 };

static qp_status check(const qp_problem *p, const char *family, qp_error *err) {
  const unsigned room = qp_arch_smem_bytes(p->arch);
  if (4 * (uint64_t)p->columns + SUMS_BYTES <= room) return QP_OK;
  return qp_fail(err, QP_E_LIMIT,
                 "%s: a row of K = %u takes %u bytes of shared memory; sm_%u has %u", family,
                 p->columns, 4 * p->columns + SUMS_BYTES, p->arch, room);
}

static qp_status size(qp_kernel *k, qp_error *err) {
  (void)err;
  k->grid = BLOCKS * k->problem.sm_count;
  k->smem_bytes = 4 * k->problem.columns;
  return QP_OK;
}

const qp_kernel_op qp_op_plain = {
    .op = QP_OP_PLAIN,
    .form = "",
    .help = "warps take rows of W in turn, X' lies in shared memory",
    QP_OP_LIST(tunable, tunable),
    QP_OP_LIST(constant, constant),
    .values = values,
    .check = check,
    .size = size,
    .hole = {QP_HOLES_OF_ALL},
};
