/* SPDX-License-Identifier: MIT */
/*
** The row of gather:  ids -> rows of W in the checkpoint's basis, with a block for each id.  It
** decodes code by code without tables: a look-up reads a few rows, and filling tables would take
** longer than decoding them.
*/
#include "gen/kernel/kernel.h"
#include "gen/kernel/kernel_op.h"
#include "gen/kernel/pieces.h"
#include "gen/kernel/rotation.h"
#include "runtime/arch.h"

#define CONSTANTS(X)                                                                               \
  X(UNSIGNED, THREADS, k->block, "threads a block")                                                \
  X(UNSIGNED, ROWS, k->problem.segment[0].rows, "V, rows of W")                                    \
  X(UNSIGNED, K, k->problem.columns, "columns of W and Y")                                         \
  X(UNSIGNED, STREAMS, k->streams, "streams of weights")                                           \
  X(UNSIGNED, SEGMENTS, k->problem.segments, "linears: 1")                                         \
  X(FLAG, BF16, k->problem.type == QP_BF16, "Y is bf16, else fp16")                                \
  X(FLAG, PDL, k->pdl, "programmatic dependent launch")

static const qp_named constant[] = {CONSTANTS(QP_NAMED)};
static void values(const qp_kernel *k, unsigned *v) { CONSTANTS(QP_VALUE) }

static const qp_tunable_use tunable[] = {
    {"warps", 1, 32, QP_NEEDED, false, "warps a block"},
    {"blocks", 1, 32, QP_NEEDED, false, "blocks a multiprocessor"},
    {"pdl", 0, 1, 0, false, "1: programmatic dependent launch"},
};

static qp_status check(const qp_problem *p, const char *family, qp_error *err) {
  const unsigned bytes = qp_rotation_smem_bytes(p->columns), room = qp_arch_smem_bytes(p->arch);
  (void)family;
  if (p->segments != 1)
    return qp_fail(err, QP_E_LIMIT, "gather reads one matrix, not %u", p->segments);
  if (bytes <= room) return QP_OK;
  return qp_fail(err, QP_E_LIMIT, "a row of K = %u takes %u bytes of shared memory; sm_%u has %u",
                 p->columns, bytes, p->arch, room);
}

static qp_status size(qp_kernel *k, qp_error *err) {
  k->grid = k->problem.sm_count * qp_choice_get(&k->choice, "blocks");
  k->smem_bytes = qp_rotation_smem_bytes(k->problem.columns);
  return qp_pieces_size(k, err);
}

static qp_status add_rotation(qp_text *t, const qp_kernel *k, qp_error *err) {
  return qp_rotation_text(t, k->problem.columns, k->problem.rotation, k->block, true, err);
}

static qp_status add_dispatch(qp_text *t, const qp_kernel *k, qp_error *err) {
  (void)err;
  qp_pieces_dispatch(t, k, "decode_piece", "scale, scratch");
  return QP_OK;
}

const qp_kernel_op qp_op_gather = {
    .op = QP_OP_GATHER,
    .form = "",
    .help = "blocks take ids in turn, decode as the spec says, and undo the rotation of the row",
    QP_OP_LIST(tunable, tunable),
    QP_OP_LIST(constant, constant),
    .values = values,
    .structs = qp_pieces_structs,
    .check = check,
    .size = size,
    .hole = {QP_HOLES_OF_ALL, [QP_HOLE_stream] = qp_hole_text_stream,
             [QP_HOLE_quantizers] = qp_pieces_quantizers, [QP_HOLE_parts] = qp_pieces_parts,
             [QP_HOLE_rotation] = add_rotation, [QP_HOLE_dispatch] = add_dispatch},
};
