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
  const qp_problem *p = &k->problem;
  return qp_rotation_text(t, p->columns, p->rotation, k->block, p->inverse, err);
}

/* ---- The topmost factor on tensor cores ---- */

/* X as it is; what a prologue makes of it as two bf16. */
static unsigned planes_of(const qp_problem *p) { return p->op == QP_OP_ROTATE ? 1 : 2; }

enum { USUAL_THREADS = 512 };

static qp_status check_tensor(const qp_problem *p, const char *family, qp_error *err) {
  qp_rotation_top top;
  if (p->rotation & QP_SIDE_FLAGS)
    return qp_fail(err, QP_E_LIMIT, "%s: columns have an order or scales of their own, which it "
                                    "does not apply", family);
  if (p->rotation)
    return qp_fail(err, QP_E_LIMIT,
                   "%s: H has diagonal blocks of %u columns; it does one block of K = %u", family,
                   p->rotation, p->columns);
  if (!qp_rotation_top_of(p->columns, USUAL_THREADS, &top))
    return qp_fail(err, QP_E_LIMIT,
                   "%s: K = %u has no factor for tensor cores, or less than 16 "
                   "below it",
                   family, p->columns);
  const unsigned bytes = qp_rotation_top_smem_bytes(&top, planes_of(p));
  const unsigned room = qp_arch_smem_bytes(p->arch);
  if (bytes <= room) return QP_OK;
  return qp_fail(err, QP_E_LIMIT, "%s: K = %u takes %u bytes of shared memory; sm_%u has %u",
                 family, p->columns, bytes, p->arch, room);
}

static qp_status size_tensor(qp_kernel *k, qp_error *err) {
  qp_rotation_top top;
  qp_rotation_top_of(k->problem.columns, k->block, &top);
  k->grid = k->problem.sm_count;
  k->smem_bytes = qp_rotation_top_smem_bytes(&top, planes_of(&k->problem));
  const unsigned room = qp_arch_smem_bytes(k->problem.arch);
  if (k->smem_bytes <= room) return QP_OK;
  return qp_fail(err, QP_E_LIMIT, "%u warps take %u bytes of shared memory; sm_%u has %u",
                 k->block / 32, k->smem_bytes, k->problem.arch, room);
}

static qp_status add_rotation_tensor(qp_text *t, const qp_kernel *k, qp_error *err) {
  qp_rotation_top top;
  qp_rotation_top_of(k->problem.columns, k->block, &top);
  return qp_rotation_top_text(t, &top, k->block, k->problem.inverse, err);
}

/* ---- The rows ---- */

#define ROTATION(op_, form_, help_, constants, values_, check_, size_, rotation_)                  \
  {                                                                                                \
    .op = op_, .form = form_, .help = help_, QP_OP_LIST(tunable, tunable),                         \
    QP_OP_LIST(constant, constants), .values = values_, .check = check_, .size = size_, .hole = {  \
      QP_HOLES_OF_ALL,                                                                             \
      [QP_HOLE_rotation] = rotation_                                                               \
    }                                                                                              \
  }
#define IN_MEMORY  check, size, add_rotation
#define ON_TENSORS check_tensor, size_tensor, add_rotation_tensor
#define ROW(...)   ROTATION(__VA_ARGS__)

const qp_kernel_op qp_op_rotate =
    ROW(QP_OP_ROTATE, "", "the Hadamard rotation of rows, one row in shared memory at a time",
        constant, values, IN_MEMORY);
const qp_kernel_op qp_op_rotate_tensor =
    ROW(QP_OP_ROTATE, "tensor", "the rotation of rows, its topmost factor on tensor cores",
        constant, values, ON_TENSORS);
const qp_kernel_op qp_op_rotate_norm =
    ROW(QP_OP_ROTATE_NORM, "", "a residual added, RMSNorm, and the rotation of what it gives",
        prologue_constant, prologue_values, IN_MEMORY);
const qp_kernel_op qp_op_rotate_norm_tensor =
    ROW(QP_OP_ROTATE_NORM, "tensor", "the same, the topmost factor on tensor cores",
        prologue_constant, prologue_values, ON_TENSORS);
const qp_kernel_op qp_op_rotate_glu =
    ROW(QP_OP_ROTATE_GLU, "", "a gated linear unit, and the rotation of what it gives",
        prologue_constant, prologue_values, IN_MEMORY);
const qp_kernel_op qp_op_rotate_glu_tensor =
    ROW(QP_OP_ROTATE_GLU, "tensor", "the same, the topmost factor on tensor cores",
        prologue_constant, prologue_values, ON_TENSORS);
