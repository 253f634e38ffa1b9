/* SPDX-License-Identifier: MIT */
/*
** The rows of rotations, blocks take rows of X in turn:  rotate  Y = H (s * X) or its inverse,  and
** with a prologue  rotate-norm  Y = H (s * RMSNorm(X + residual)),
** rotate-glu  Y = H (s * activation(gate) * up).
*/
#include "runtime/arch.h"
#include "gen/kernel/kernel.h"
#include "gen/kernel/kernel_op.h"
#include "gen/kernel/rotation.h"

#define PROLOGUE(X)                                                                                \
  X(UNSIGNED, K, k->problem.columns, "values of a row")                                            \
  X(FLAG, BF16, k->problem.type == QP_BF16, "values are bf16, else fp16")                          \
  X(FLAG, PDL, k->pdl, "programmatic dependent launch")
#define CONSTANTS(X)                                                                               \
  PROLOGUE(X)                                                                                      \
  X(FLAG, INVERSE, k->problem.inverse, "Y = s * (H^T X)")

static const qp_named constant[] = {CONSTANTS(QP_NAMED)};
static const qp_named prologue_constant[] = {PROLOGUE(QP_NAMED)};
static void values(const qp_kernel *k, unsigned *v) { CONSTANTS(QP_VALUE) }
static void prologue_values(const qp_kernel *k, unsigned *v) { PROLOGUE(QP_VALUE) }

static const qp_tunable_use tunable[] = {
    {"warps", 1, 32, QP_NEEDED, false, "warps a block"},
    {"pdl", 0, 1, 0, false, "1: programmatic dependent launch"},
};

static qp_status check(const qp_problem *p, const char *family, qp_error *err) {
  const unsigned bytes = qp_rotation_smem_bytes(p->columns), room = qp_arch_smem_bytes(p->arch);
  (void)family;
  if (bytes <= room) return QP_OK;
  return qp_fail(err, QP_E_LIMIT,
                 "a rotation of K = %u takes %u bytes of shared memory; sm_%u has %u", p->columns,
                 bytes, p->arch, room);
}

static qp_status size(qp_kernel *k, qp_error *err) {
  (void)err;
  k->grid = k->problem.sm_count;
  k->smem_bytes = qp_rotation_smem_bytes(k->problem.columns);
  return QP_OK;
}

static qp_status add_rotation(qp_text *t, const qp_kernel *k, qp_error *err) {
  return qp_rotation_text(t, k->problem.columns, k->block, k->problem.inverse, err);
}

#define ROTATION(op_, help_, constants, values_)                                                   \
  {                                                                                                \
    .op = op_, .form = "", .help = help_, QP_OP_LIST(tunable, tunable),                            \
    QP_OP_LIST(constant, constants), .values = values_, .check = check, .size = size, .hole = {    \
      QP_HOLES_OF_ALL,                                                                             \
      [QP_HOLE_rotation] = add_rotation                                                            \
    }                                                                                              \
  }

const qp_kernel_op qp_op_rotate =
    ROTATION(QP_OP_ROTATE, "the Hadamard rotation of rows, one row in shared memory at a time",
             constant, values);
const qp_kernel_op qp_op_rotate_norm =
    ROTATION(QP_OP_ROTATE_NORM, "a residual added, RMSNorm, and the rotation of what it gives",
             prologue_constant, prologue_values);
const qp_kernel_op qp_op_rotate_glu =
    ROTATION(QP_OP_ROTATE_GLU, "a gated linear unit, and the rotation of what it gives",
             prologue_constant, prologue_values);
