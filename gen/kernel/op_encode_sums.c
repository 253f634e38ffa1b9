/* SPDX-License-Identifier: MIT */
/* The rows that find group fields whose sum a weight is, with codes, without and with error
   feedback. */
#include <stdlib.h>

#include "runtime/arch.h"
#include "gen/encode/sum_table.h"
#include "gen/kernel/kernel.h"
#include "gen/kernel/kernel_op.h"
#include "gen/kernel/op_encode.h"

enum {
  MANY = 4, /* fields, beyond which three blocks are beside each other, else four */
  WARP = QP_ENCODE_WARP,
  DRAWN = 96,
  BEST = 12 /* as in templates/field_sums.h */
};

static qp_status check_sums(const qp_problem *p, const char *family, qp_error *err) {
  const qp_quantizer *q = p->segment[0].quantizer;
  qp_sum_table t;
  qp_status status = qp_encode_check_linear(p, err);
  if (status) return status;
  status = qp_sum_table_make(q, false, &t, err);
  if (status == QP_E_ARG)
    return qp_encode_other_kind(p, family, "group fields whose sum a weight is", err);
  if (!status && q->dim == 2)
    return qp_fail(err, QP_E_LIMIT,
                   "%s: pairs of weights that are sums of fields are found on the CPU alone",
                   q->name);
  if (status || p->columns % q->dim == 0) return status;
  return qp_fail(err, QP_E_LIMIT, "%s: kernels find codes of %u weights, which divide K; K is %u",
                 q->name, q->dim, p->columns);
}

#define SUMS_CONSTANTS(X)                                                                          \
  X(UNSIGNED, THREADS, k->block, "threads a block")                                                \
  X(UNSIGNED, K, k->problem.columns, "columns of the targets")                                     \
  X(UNSIGNED, DIM, q->dim, "weights a code")                                                       \
  X(UNSIGNED, GROUP, q->group, "columns of a group")                                               \
  X(UNSIGNED, FIELDS, q->fields, "of a group")                                                     \
  X(UNSIGNED, HALVES, t.halves, "those that are fp16, a bit for each,")                            \
  X(UNSIGNED, BF16S, t.bf16, "and bf16; the others are fp32")                                      \
  X(UNSIGNED, CLASSES, t.classes, "different sums of a weight")                                    \
  X(FLAG, APART, q->sparse > 0, "with error feedback: weights of a row come to their targets")

static const qp_named sums_constant[] = {SUMS_CONSTANTS(QP_NAMED)};

static void sums_values(const qp_kernel *k, unsigned *v) {
  const qp_quantizer *q = qp_encode_quantizer(k);
  qp_sum_table t = {0};
  qp_sum_table_make(q, false, &t, NULL); /* the check made it before */
  SUMS_CONSTANTS(QP_VALUE)
}

static const qp_tunable_use sums_tunable[] = {
    {"warps", 1, 16, QP_NEEDED, false, "warps a block"},
};

static unsigned even(unsigned n) { return n + n % 2; }

/* Count bytes as the template's struct Shared has them, with so many more for each warp. */
static qp_status size_shared(qp_kernel *k, unsigned more, qp_error *err) {
  const qp_quantizer *q = qp_encode_quantizer(k);
  qp_sum_table t;
  const qp_status status = qp_sum_table_make(q, false, &t, err);
  if (status) return status;
  const unsigned room = qp_arch_smem_bytes(k->problem.arch);
  unsigned power = 1;
  while (power < q->group) power *= 2;
  const unsigned words = 8 * t.classes + (q->dim > 1 ? (t.classes + 7) / 8 * 8 : 0);
  const unsigned team = 8 * (q->group + 1 + DRAWN + q->fields + 1) + words + 4 * even(power + BEST);
  k->smem_bytes = 8 * t.classes * (q->fields + 1) + k->block / WARP * (team + more);
  if (k->smem_bytes <= room) return QP_OK;
  return qp_fail(err, QP_E_LIMIT,
                 "%s: groups of %u columns take %u bytes of shared memory; sm_%u has %u", q->name,
                 q->group, k->smem_bytes, k->problem.arch, room);
}

static qp_status size_sums(qp_kernel *k, qp_error *err) {
  k->grid = (qp_encode_quantizer(k)->fields > MANY ? 3 : 4) * k->problem.sm_count;
  return size_shared(k, 0, err);
}

const qp_kernel_op qp_op_encode_sums = {
    .op = QP_OP_ENCODE,
    .form = "sums",
    .help = "group fields whose sum a weight is, by least squares and codes in turns, a warp a "
            "group",
    QP_OP_LIST(tunable, sums_tunable),
    QP_OP_LIST(constant, sums_constant),
    .values = sums_values,
    .check = check_sums,
    .size = size_sums,
    .hole = {QP_HOLES_OF_ALL, [QP_HOLE_quantizers] = qp_encode_add_decode},
};

/* ---- With error feedback ---- */

static const qp_tunable_use fed_tunable[] = {QP_ENCODE_FED_WARPS};

static qp_status size_fed(qp_kernel *k, qp_error *err) {
  const unsigned rows = k->block / WARP;
  k->grid = qp_encode_fed_grid(k, rows);
  return size_shared(k, 8 * qp_encode_quantizer(k)->group, err);
}

const qp_kernel_op qp_op_encode_fed_sums = {
    .op = QP_OP_ENCODE_FED,
    .form = "sums",
    .help = "group fields whose sum a weight is, then codes one by one, their errors fed forward",
    QP_OP_LIST(tunable, fed_tunable),
    QP_OP_LIST(constant, sums_constant),
    .values = sums_values,
    .check = check_sums,
    .size = size_fed,
    .hole = {QP_HOLES_OF_ALL, [QP_HOLE_quantizers] = qp_encode_add_decode},
};
