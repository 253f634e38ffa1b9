/* SPDX-License-Identifier: MIT */
/* The rows that find group fields which scale vectors, with codes, without and with error feedback.
   */
#include <stdlib.h>

#include "runtime/arch.h"
#include "gen/encode/shape_table.h"
#include "gen/kernel/kernel.h"
#include "gen/kernel/kernel_op.h"
#include "gen/kernel/op_encode.h"

enum {
  WARP = QP_ENCODE_WARP,
  LONG = 512 /* columns of a unit whose sums of errors are kept for a group at a time */
};

static qp_status check_shapes(const qp_problem *p, const char *family, qp_error *err) {
  const qp_quantizer *q = p->segment[0].quantizer;
  qp_shape_table t;
  const qp_status status = qp_encode_check_linear(p, err);
  if (status) return status;
  if (q->kind == QP_TRELLIS || !q->fields || q->dim <= 2)
    return qp_encode_other_kind(p, family, "vectors with group fields", err);
  return qp_shape_table_make(q, p->columns, false, &t, err);
}

static unsigned span_of(const qp_shape_table *t) { return t->unit > LONG ? t->group : t->unit; }

#define SHAPES_CONSTANTS(X)                                                                        \
  X(UNSIGNED, THREADS, k->block, "threads a block")                                                \
  X(UNSIGNED, K, k->problem.columns, "columns of the targets")                                     \
  X(UNSIGNED, DIM, q->dim, "weights a code")                                                       \
  X(UNSIGNED, GROUP, t.group, "columns of the smallest group")                                     \
  X(UNSIGNED, UNIT, t.unit, "columns whose fields are chosen together")                            \
  X(UNSIGNED, FIELDS, q->fields, "of a group")                                                     \
  X(UNSIGNED, SCALE, t.scale, "the one that is no whole number; FIELDS: there is none")            \
  X(UNSIGNED, OWNS, t.owns, "combinations of the others")                                          \
  X(UNSIGNED, SPAN, span_of(&t), "with error feedback: columns whose sums of errors are kept")     \
  X(FLAG, BY_ROW, q->group == 0, "fields are stored once for a row")                               \
  X(FLAG, APART, q->sparse > 0, "with error feedback: weights of a row come to their targets")     \
  X(UNSIGNED, STATES, t.states, "codes")

static const qp_named shapes_constant[] = {SHAPES_CONSTANTS(QP_NAMED)};

static void shapes_values(const qp_kernel *k, unsigned *v) {
  const qp_quantizer *q = qp_encode_quantizer(k);
  qp_shape_table t = {0};
  qp_shape_table_make(q, k->problem.columns, false, &t, NULL); /* the check made it before */
  SHAPES_CONSTANTS(QP_VALUE)
}

static const qp_tunable_use shapes_tunable[] = {
    {"warps", 1, 16, QP_NEEDED, false, "warps a block"},
};

/* Count bytes as the template's struct Team has them. */
static qp_status size_shapes(qp_kernel *k, qp_error *err) {
  const qp_quantizer *q = qp_encode_quantizer(k);
  qp_shape_table t;
  const qp_status status = qp_shape_table_make(q, k->problem.columns, false, &t, err);
  if (status) return status;
  const unsigned room = qp_arch_smem_bytes(k->problem.arch);
  const unsigned words = t.group + t.group / q->dim;
  k->grid = 4 * k->problem.sm_count;
  k->smem_bytes = k->block / WARP * (24 * (t.unit / t.group) + 4 * (words + words % 2));
  if (k->smem_bytes <= room) return QP_OK;
  return qp_fail(err, QP_E_LIMIT,
                 "%s: fields of %u columns take %u bytes of shared memory; sm_%u has %u", q->name,
                 t.unit, k->smem_bytes, k->problem.arch, room);
}

const qp_kernel_op qp_op_encode_shapes = {
    .op = QP_OP_ENCODE,
    .form = "shapes",
    .help = "group fields that scale vectors, and the nearest codewords, a warp a unit",
    QP_OP_LIST(tunable, shapes_tunable),
    QP_OP_LIST(constant, shapes_constant),
    .values = shapes_values,
    .check = check_shapes,
    .size = size_shapes,
    .hole = {QP_HOLES_OF_ALL},
};

/* ---- With error feedback ---- */

static const qp_tunable_use fed_tunable[] = {QP_ENCODE_FED_WARPS};

/* Count bytes as the template's struct Team has them. */
static qp_status size_fed(qp_kernel *k, qp_error *err) {
  const qp_quantizer *q = qp_encode_quantizer(k);
  qp_shape_table t;
  const qp_status status = qp_shape_table_make(q, k->problem.columns, false, &t, err);
  if (status) return status;
  const unsigned room = qp_arch_smem_bytes(k->problem.arch), rows = k->block / WARP;
  const unsigned words = t.unit + t.group + t.group / q->dim;
  k->grid = qp_encode_fed_grid(k, rows);
  k->smem_bytes = rows * (8 * span_of(&t) + 24 * (t.unit / t.group) + 4 * (words + words % 2));
  if (k->smem_bytes <= room) return QP_OK;
  return qp_fail(err, QP_E_LIMIT,
                 "%s: %u rows of fields of %u columns take %u bytes of shared memory; sm_%u has %u",
                 q->name, rows, t.unit, k->smem_bytes, k->problem.arch, room);
}

const qp_kernel_op qp_op_encode_fed_shapes = {
    .op = QP_OP_ENCODE_FED,
    .form = "shapes",
    .help = "group fields that scale vectors, then codes vector by vector, their errors fed "
            "forward",
    QP_OP_LIST(tunable, fed_tunable),
    QP_OP_LIST(constant, shapes_constant),
    .values = shapes_values,
    .check = check_shapes,
    .size = size_fed,
    .hole = {QP_HOLES_OF_ALL, [QP_HOLE_quantizers] = qp_encode_add_decode},
};
