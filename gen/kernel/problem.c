/* SPDX-License-Identifier: MIT */
/* Problem: what one kernel launch computes. */
#include "gen/kernel/problem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "gen/base/suggest.h"
#include "runtime/arch.h"

static const struct {
  const char *name;
  bool segments, batch, inverse, experts;
} ops[] = {
#define X(id, name, ...) [QP_OP_##id] = {name, __VA_ARGS__},
    QP_OPS(X)
#undef X
};
static const char *const dtype_names[] = {[QP_F16] = "f16", [QP_BF16] = "bf16", [QP_F32] = "f32"};

const char *qp_op_name(qp_op op) { return ops[op].name; }
bool qp_op_has_segments(qp_op op) { return ops[op].segments; }
bool qp_op_has_batch(qp_op op) { return ops[op].batch; }
bool qp_op_has_inverse(qp_op op) { return ops[op].inverse; }
bool qp_op_has_experts(qp_op op) { return ops[op].experts; }
bool qp_op_has_columns(qp_op op) { return op != QP_OP_ROUTE; }
bool qp_op_rotates(qp_op op) {
  return op == QP_OP_ROTATE || op == QP_OP_ROTATE_NORM || op == QP_OP_ROTATE_GLU;
}
bool qp_op_multiplies(qp_op op) { return op == QP_OP_GEMM || op == QP_OP_GEMM_GLU; }
bool qp_op_multiplies_stacks(qp_op op) { return op == QP_OP_EXPERTS || op == QP_OP_EXPERTS_GLU; }
bool qp_op_has_unit(qp_op op) { return op == QP_OP_GEMM_GLU || op == QP_OP_EXPERTS_GLU; }
const char *qp_dtype_name(qp_dtype t) { return dtype_names[t]; }
unsigned qp_dtype_bytes(qp_dtype t) { return t == QP_F32 ? 4 : 2; }

qp_status qp_op_parse(const char *text, qp_op *out, qp_error *err) {
  char known[192] = "";
  size_t n = 0;
  for (unsigned i = 0; i < QP_OP_COUNT; i++) {
    if (!strcmp(text, ops[i].name)) return *out = (qp_op)i, QP_OK;
    n += (size_t)snprintf(known + n, sizeof known - n, "%s%s",
                          !i                    ? ""
                          : i + 1 < QP_OP_COUNT ? ", "
                                                : " or ",
                          ops[i].name);
  }
  const char *names[QP_OP_COUNT];
  for (unsigned i = 0; i < QP_OP_COUNT; i++) names[i] = ops[i].name;
  const char *near = qp_suggest(text, names, QP_OP_COUNT);
  return qp_fail(err, QP_E_ARG, "operation '%.40s' is not known%s%s%s; choose %s", text,
                 near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "", known);
}

qp_status qp_dtype_parse(const char *text, qp_dtype *out, qp_error *err) {
  for (unsigned i = 0; i < sizeof dtype_names / sizeof *dtype_names; i++)
    if (!strcmp(text, dtype_names[i])) return *out = (qp_dtype)i, QP_OK;
  return qp_fail(err, QP_E_ARG, "data type '%s' is not known; choose f16, bf16 or f32", text);
}

/* Check up and gate, whose rows meet; those of gemm-glu must share a cluster. */
static qp_status check_pair(const qp_problem *p, qp_error *err) {
  const char *op = qp_op_name(p->op);
  if (p->segments != 2)
    return qp_fail(err, QP_E_ARG, "%s has 2 segments, up and gate, not %u", op, p->segments);
  if (p->segment[0].rows != p->segment[1].rows)
    return qp_fail(err, QP_E_ARG, "%s: up has %u rows, gate %u; they must be the same", op,
                   p->segment[0].rows, p->segment[1].rows);
  if (p->op == QP_OP_GEMM_GLU && p->segment[0].quantizer != p->segment[1].quantizer)
    return qp_fail(err, QP_E_ARG, "%s: up is of %s, gate of %s; they must be the same", op,
                   p->segment[0].quantizer->name, p->segment[1].quantizer->name);
  return QP_OK;
}

unsigned qp_problem_stream_rows(const qp_problem *p, unsigned segment) {
  return p->segment[segment].rows * (qp_op_has_experts(p->op) ? p->experts : 1);
}

unsigned qp_problem_pieces(const qp_problem *p) { return p->pieces ? p->pieces : 1; }

qp_problem qp_problem_rotation_back(const qp_problem *of) {
  return (qp_problem){.op = QP_OP_ROTATE,
                      .columns = of->columns,
                      .batch = of->segment[0].rows,
                      .type = of->type,
                      .inverse = true,
                      .rotation = of->rotation,
                      .arch = of->arch,
                      .sm_count = of->sm_count};
}

unsigned qp_problem_assignments(const qp_problem *p) { return p->batch * p->top_k; }

unsigned qp_problem_all_experts(const qp_problem *p) {
  return p->experts * (p->slices ? p->slices : 1);
}

double qp_problem_met_experts(const qp_problem *p) {
  if (!qp_op_has_experts(p->op)) return 1;
  return p->experts * (1 - pow(1 - (double)p->top_k / qp_problem_all_experts(p), p->batch));
}

unsigned qp_problem_usual_tile(unsigned tokens, unsigned columns) {
  unsigned tile = tokens < 8 ? tokens : 8;
  while (tile > 1 && tile * columns > 1u << 16) tile /= 2; /* of 16 bits */
  return tile;
}

static qp_status check_experts(const qp_problem *p, qp_error *err) {
  if (p->experts < 1 || p->experts > QP_MAX_EXPERTS)
    return qp_fail(err, QP_E_ARG, "%u experts; 1 to %d are possible", p->experts, QP_MAX_EXPERTS);
  if (p->slices > QP_MAX_SLICES)
    return qp_fail(err, QP_E_ARG, "experts in %u slices; 1 to %d are possible", p->slices,
                   QP_MAX_SLICES);
  if (p->top_k < 1 || p->top_k > QP_MAX_TOP_K || p->top_k > qp_problem_all_experts(p))
    return qp_fail(err, QP_E_ARG, "top_k is %u of %u experts; 1 to %d of them are possible",
                   p->top_k, qp_problem_all_experts(p), QP_MAX_TOP_K);
  if (p->tile < 1 || p->tile > QP_MAX_TILE)
    return qp_fail(err, QP_E_ARG, "tiles of %u assignments; 1 to %d are possible", p->tile,
                   QP_MAX_TILE);
  if (p->rotate_fused)
    return qp_fail(err, QP_E_ARG, "experts take x that is rotated; use the rotate operation first");
  for (unsigned s = 0; s < p->segments; s++)
    if (p->segment[s].rows % 32)
      return qp_fail(err, QP_E_ARG, "segment %u: experts of %u rows; M must be a multiple of 32",
                     s + 1, p->segment[s].rows);
  return QP_OK;
}

static qp_status check_batch(const qp_problem *p, qp_error *err) {
  if (p->batch >= 1 && p->batch <= QP_MAX_BATCH) return QP_OK;
  return qp_fail(err, QP_E_ARG, "batch is %u; 1 to %d are possible%s", p->batch, QP_MAX_BATCH,
                 p->op == QP_OP_GEMM ? " (beyond, use dequant)" : "");
}

static qp_status check_segments(const qp_problem *p, qp_error *err) {
  if (p->segments < 1 || p->segments > QP_MAX_SEGMENTS)
    return qp_fail(err, QP_E_ARG, "a launch has 1 to %d segments, not %u", QP_MAX_SEGMENTS,
                   p->segments);
  for (unsigned s = 0; s < p->segments; s++) {
    unsigned rows = p->segment[s].rows;
    if (rows == 0 || rows % 16 || rows > 1u << 20)
      return qp_fail(err, QP_E_ARG,
                     "segment %u (%s): %u rows; M must be a multiple of 16, at most 1048576", s + 1,
                     p->segment[s].quantizer->name, rows);
  }
  return qp_op_has_unit(p->op) ? check_pair(p, err) : QP_OK;
}

/* Check the diagonal blocks of the rotation, and the ranges of K with streams of their own. */
static qp_status check_input(const qp_problem *p, qp_error *err) {
  const unsigned b = qp_side_block(p->rotation), n = qp_problem_pieces(p);
  if (qp_side_has_order(p->rotation) && p->columns > QP_SIDE_COLUMNS_MAX)
    return qp_fail(err, QP_E_ARG, "an order of K = %u columns; %d at most are possible", p->columns,
                   QP_SIDE_COLUMNS_MAX);
  if (b && (p->columns % b || (b % 32 && b != 1)))
    return qp_fail(err, QP_E_ARG,
                   "a rotation in blocks of %u columns; a multiple of 32 that divides K = %u is "
                   "needed (1: no rotation, 0: one block)",
                   b, p->columns);
  if (n > QP_MAX_PIECES || p->columns % (32 * n))
    return qp_fail(err, QP_E_ARG,
                   "%u pieces of K = %u; 1 to %d multiples of 32 columns are possible", n,
                   p->columns, QP_MAX_PIECES);
  if (n > 1 && p->op != QP_OP_GEMM && p->op != QP_OP_DEQUANT && !qp_op_multiplies_stacks(p->op))
    return qp_fail(err, QP_E_ARG,
                   "%s does not read weights in %u pieces of K; gemm, experts and dequant do",
                   qp_op_name(p->op), n);
  return QP_OK;
}

qp_status qp_problem_check(const qp_problem *p, qp_error *err) {
  char names[160];
  if (!qp_arch_find(p->arch))
    return qp_fail(err, QP_E_ARG, "architecture sm_%u is not one of %s", p->arch,
                   qp_arch_names(names, sizeof names));
  if (!p->sm_count)
    return qp_fail(err, QP_E_ARG,
                   "sm_%u: how many multiprocessors its parts have is not documented; say it "
                   "(--sms N, or sm_%u:N)",
                   p->arch, p->arch);
  if (p->sm_count > 1024)
    return qp_fail(err, QP_E_ARG, "%u multiprocessors; 1 to 1024 are possible", p->sm_count);
  qp_status status = qp_op_has_experts(p->op) ? check_experts(p, err) : QP_OK;
  if (!status && (qp_op_has_experts(p->op) || qp_op_has_batch(p->op))) status = check_batch(p, err);
  if (status || !qp_op_has_columns(p->op)) return status;
  if (p->columns == 0 || p->columns % 32 || p->columns > 1u << 18)
    return qp_fail(err, QP_E_ARG, "K is %u; it must be a multiple of 32, at most 262144",
                   p->columns);
  if (p->type == QP_F32) return qp_fail(err, QP_E_ARG, "activations are f16 or bf16, not f32");
  status = check_input(p, err);
  if (!status && qp_op_has_segments(p->op)) status = check_segments(p, err);
  if (status || !qp_op_has_batch(p->op)) return status;
  if (p->out_type != QP_F32 && p->out_type != p->type)
    return qp_fail(err, QP_E_ARG, "output type %s; it must be f32 or the activations' %s",
                   qp_dtype_name(p->out_type), qp_dtype_name(p->type));
  return QP_OK;
}
