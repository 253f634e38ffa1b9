/* SPDX-License-Identifier: MIT */
/*
** The rows of what stands between a decoder's linears when it writes a text, token by token: attend
** takes a block for each sequence and key head, pick a block for each sequence.
*/
#include "gen/kernel/kernel.h"
#include "gen/kernel/kernel_op.h"
#include "runtime/arch.h"

#define CONSTANTS(X, k_help)                                                                       \
  X(UNSIGNED, THREADS, k->block, "threads a block")                                                \
  X(UNSIGNED, K, k->problem.columns, k_help)                                                       \
  X(FLAG, BF16, k->problem.type == QP_BF16, "values are bf16, else fp16")                          \
  X(FLAG, PDL, k->pdl, "programmatic dependent launch")

/* ---- attend ---- */

#define ATTEND_CONSTANTS(X)                                                                        \
  CONSTANTS(X, "elements of a head")                                                               \
  X(UNSIGNED, HEADS, qp_choice_get(&k->choice, "heads"), "heads that share a key at once")

static const qp_named attend_constant[] = {ATTEND_CONSTANTS(QP_NAMED)};
static void attend_values(const qp_kernel *k, unsigned *v) { ATTEND_CONSTANTS(QP_VALUE) }

static const qp_tunable_use attend_tunable[] = {
    {"warps", 1, 32, QP_NEEDED, false, "warps a block"},
    {"heads", 1, 16, QP_NEEDED, false, "heads that share a key at once"},
    {"pdl", 0, 1, 0, false, "1: programmatic dependent launch"},
};

enum { MOST_HEAD = 512 };

static qp_status attend_check(const qp_problem *p, const char *family, qp_error *err) {
  if (p->columns <= MOST_HEAD) return QP_OK;
  return qp_fail(err, QP_E_LIMIT, "%s: heads of K = %u; at most %d are possible", family,
                 p->columns, MOST_HEAD);
}

/* Count bytes as the template's struct Shared has them: q of each head, and the sums of each warp
   and head. */
static qp_status attend_size(qp_kernel *k, qp_error *err) {
  const unsigned warps = k->block / 32, columns = k->problem.columns;
  const unsigned heads = qp_choice_get(&k->choice, "heads"), arch = k->problem.arch;
  k->grid = 2 * k->problem.sm_count;
  k->smem_bytes = 4 * heads * (columns + warps * (columns + 2));
  if (k->smem_bytes <= qp_arch_smem_bytes(arch)) return QP_OK;
  return qp_fail(err, QP_E_LIMIT,
                 "%u heads of K = %u and %u warps take %u bytes of shared memory; "
                 "sm_%u has %u",
                 heads, columns, warps, k->smem_bytes, arch, qp_arch_smem_bytes(arch));
}

const qp_kernel_op qp_op_attend = {
    .op = QP_OP_ATTEND,
    .form = "",
    .help = "blocks take a sequence and a key head in turn, warps share the positions",
    QP_OP_LIST(tunable, attend_tunable),
    QP_OP_LIST(constant, attend_constant),
    .values = attend_values,
    .check = attend_check,
    .size = attend_size,
    .hole = {QP_HOLES_OF_ALL},
};

/* ---- pick ---- */

#define PICK_CONSTANTS(X) CONSTANTS(X, "columns of the embedding")

static const qp_named pick_constant[] = {PICK_CONSTANTS(QP_NAMED)};
static void pick_values(const qp_kernel *k, unsigned *v) { PICK_CONSTANTS(QP_VALUE) }

static const qp_tunable_use pick_tunable[] = {
    {"warps", 1, 32, QP_NEEDED, false, "warps a block"},
    {"pdl", 0, 1, 0, false, "1: programmatic dependent launch"},
};

static qp_status pick_size(qp_kernel *k, qp_error *err) {
  (void)err;
  k->grid = k->problem.sm_count;
  return QP_OK;
}

const qp_kernel_op qp_op_pick = {
    .op = QP_OP_PICK,
    .form = "",
    .help = "blocks take sequences in turn",
    QP_OP_LIST(tunable, pick_tunable),
    QP_OP_LIST(constant, pick_constant),
    .values = pick_values,
    .check = qp_kernel_op_takes_all,
    .size = pick_size,
    .hole = {QP_HOLES_OF_ALL},
};
