/* SPDX-License-Identifier: MIT */
/* Builds, checks, prints and evaluates the decode IR. */
#include "gen/ir/ir.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/text.h"
#include "runtime/half.h"

qp_ir *qp_ir_new(void) { return calloc(1, sizeof(qp_ir)); }

qp_ir *qp_ir_clone(const qp_ir *ir) {
  qp_ir *copy = malloc(sizeof *copy);
  if (!copy) return NULL;
  *copy = *ir;
  copy->capacity = ir->count;
  copy->node = malloc(sizeof *ir->node * (ir->count ? ir->count : 1));
  if (!copy->node) return free(copy), NULL;
  memcpy(copy->node, ir->node, sizeof *ir->node * ir->count);
  return copy;
}

void qp_ir_free(qp_ir *ir) {
  if (!ir) return;
  free(ir->node);
  free(ir);
}

qp_ir_type qp_ir_type_of(const qp_ir *ir, unsigned node) {
  return qp_ir_op_row(ir->node[node].op)->result;
}

bool qp_ir_is_const(const qp_ir *ir, unsigned node, uint32_t *value) {
  const qp_ir_node *n = &ir->node[node];
  if (n->op == QP_IR_AS_PAIR || n->op == QP_IR_AS_BPAIR || n->op == QP_IR_AS_SINGLE)
    n = &ir->node[n->arg[0]];
  if (n->op != QP_IR_CONST && n->op != QP_IR_HALF_CONST) return false;
  *value = n->imm;
  return true;
}

/* ---- Building ---- */

static int append(qp_ir *ir, const qp_ir_node *n) {
  for (unsigned i = 0; i < ir->count; i++)
    if (!memcmp(&ir->node[i], n, sizeof *n)) return (int)i;
  if (ir->count == QP_IR_MAX_NODES) return -1;
  if (ir->count == ir->capacity) {
    unsigned capacity = ir->capacity ? 2 * ir->capacity : 64;
    qp_ir_node *node = realloc(ir->node, capacity * sizeof *node);
    if (!node) return -1;
    ir->node = node;
    ir->capacity = capacity;
  }
  ir->node[ir->count] = *n;
  return (int)ir->count++;
}

static int plain(qp_ir *ir, qp_ir_op op, const int *args, uint32_t imm, uint32_t imm2) {
  qp_ir_node n;
  memset(&n, 0, sizeof n); /* nodes are compared as bytes */
  n.op = (uint16_t)op;
  n.imm = imm;
  n.imm2 = imm2;
  for (unsigned i = 0; args && i < qp_ir_op_row(op)->arity; i++) n.arg[i] = (uint16_t)args[i];
  return append(ir, &n);
}

int qp_ir_add_constant(qp_ir *ir, qp_ir_type type, uint32_t value) {
  if (type == QP_HALF) return plain(ir, QP_IR_HALF_CONST, NULL, value & 0xffff, 0);
  int c = plain(ir, QP_IR_CONST, NULL, value, 0);
  if (type == QP_WORD || c < 0) return c;
  const qp_ir_op as = type == QP_PAIR     ? QP_IR_AS_PAIR
                      : type == QP_SINGLE ? QP_IR_AS_SINGLE
                                          : QP_IR_AS_BPAIR;
  return plain(ir, as, &c, 0, 0);
}

int qp_ir_add_one(qp_ir *ir, qp_ir_op op, int a) { return qp_ir_add(ir, op, &a, 0, 0); }

int qp_ir_add_two(qp_ir *ir, qp_ir_op op, int a, int b) {
  const int args[] = {a, b};
  return qp_ir_add(ir, op, args, 0, 0);
}

static bool is(const qp_ir *ir, int node, qp_ir_op op) { return ir->node[node].op == op; }
static int arg(const qp_ir *ir, int node, unsigned i) { return ir->node[node].arg[i]; }

/* ((x >> b) & m) << b = x & m << b, or -1 where node a is no such field. */
static int shifted_back(qp_ir *ir, int a, uint32_t b) {
  uint32_t mask, shift;
  if (!is(ir, a, QP_IR_AND) || !qp_ir_is_const(ir, ir->node[a].arg[1], &mask)) return -1;
  int field = arg(ir, a, 0);
  if (!is(ir, field, QP_IR_SHR) || !qp_ir_is_const(ir, ir->node[field].arg[1], &shift)) return -1;
  if (shift != b || mask << b >> b != mask) return -1;
  return qp_ir_add_two(ir, QP_IR_AND, arg(ir, field, 0), qp_ir_add_word(ir, mask << b));
}

/* x op constant (the constant is b): an equal simpler node, or -1. */
static int with_constant(qp_ir *ir, qp_ir_op op, int a, uint32_t b) {
  uint32_t c;
  switch (op) {
  case QP_IR_ADD:
  case QP_IR_SUB:
  case QP_IR_XOR: return b == 0 ? a : -1;
  case QP_IR_MUL: return b == 1 ? a : b == 0 ? qp_ir_add_word(ir, 0) : -1;
  case QP_IR_OR: return b == 0 ? a : b == ~0u ? qp_ir_add_word(ir, b) : -1;
  case QP_IR_AND:
    if (b == ~0u) return a;
    if (b == 0) return qp_ir_add_word(ir, 0);
    if (is(ir, a, QP_IR_AND) && qp_ir_is_const(ir, ir->node[a].arg[1], &c))
      return qp_ir_add_two(ir, QP_IR_AND, arg(ir, a, 0), qp_ir_add_word(ir, b & c));
    return -1;
  case QP_IR_SHL:
  case QP_IR_SHR:
    if (b == 0) return a;
    if (b >= 32) return qp_ir_add_word(ir, 0);
    if (op == QP_IR_SHL) { /* a field put back where it came from */
      int there = shifted_back(ir, a, b);
      if (there >= 0) return there;
    }
    if (is(ir, a, op) && qp_ir_is_const(ir, ir->node[a].arg[1], &c) && c < 32)
      return qp_ir_add_two(ir, op, arg(ir, a, 0), qp_ir_add_word(ir, b + c));
    return -1;
  default: return -1;
  }
}

/* PACK(op(a,..), op(c,..)) = op.p(PACK(a,c), ..): two fp16 operations in one. */
static int pack_operations(qp_ir *ir, int lo, int hi) {
  static const struct {
    qp_ir_op half, pair;
  } forms[] = {{QP_IR_HADD, QP_IR_PADD}, {QP_IR_HSUB, QP_IR_PSUB}, {QP_IR_HMUL, QP_IR_PMUL},
               {QP_IR_HFMA, QP_IR_PFMA}, {QP_IR_HNEG, QP_IR_PNEG}, {QP_IR_HABS, QP_IR_PABS}};
  for (unsigned f = 0; f < sizeof forms / sizeof *forms; f++) {
    if (!is(ir, lo, forms[f].half) || !is(ir, hi, forms[f].half)) continue;
    int packed[3] = {0};
    for (unsigned i = 0; i < qp_ir_op_row(forms[f].half)->arity; i++) {
      packed[i] = qp_ir_add_two(ir, QP_IR_PACK, arg(ir, lo, i), arg(ir, hi, i));
      if (packed[i] < 0) return -1;
    }
    return qp_ir_add(ir, forms[f].pair, packed, 0, 0);
  }
  return -1;
}

/* Leave out conversions that undo each other. */
static int without_round_trip(qp_ir *ir, qp_ir_op op, const int *a) {
  switch (op) {
  case QP_IR_AS_PAIR: return is(ir, a[0], QP_IR_WORD_OF_PAIR) ? arg(ir, a[0], 0) : -1;
  case QP_IR_AS_BPAIR: return is(ir, a[0], QP_IR_WORD_OF_BPAIR) ? arg(ir, a[0], 0) : -1;
  case QP_IR_AS_HALF: return is(ir, a[0], QP_IR_WORD_OF_HALF) ? arg(ir, a[0], 0) : -1;
  case QP_IR_AS_SINGLE: return is(ir, a[0], QP_IR_WORD_OF_SINGLE) ? arg(ir, a[0], 0) : -1;
  case QP_IR_WORD_OF_SINGLE: return is(ir, a[0], QP_IR_AS_SINGLE) ? arg(ir, a[0], 0) : -1;
  case QP_IR_WORD_OF_PAIR: return is(ir, a[0], QP_IR_AS_PAIR) ? arg(ir, a[0], 0) : -1;
  case QP_IR_WORD_OF_BPAIR: return is(ir, a[0], QP_IR_AS_BPAIR) ? arg(ir, a[0], 0) : -1;
  case QP_IR_LO: return is(ir, a[0], QP_IR_PACK) ? arg(ir, a[0], 0) : -1;
  case QP_IR_HI: return is(ir, a[0], QP_IR_PACK) ? arg(ir, a[0], 1) : -1;
  case QP_IR_PACK:
    if (is(ir, a[0], QP_IR_LO) && is(ir, a[1], QP_IR_HI) && arg(ir, a[0], 0) == arg(ir, a[1], 0))
      return arg(ir, a[0], 0);
    return pack_operations(ir, a[0], a[1]);
  default: return -1;
  }
}

/* Put the operands of an op that commutes in order: a constant last, else in the order of their
   nodes. */
static void put_in_order(const qp_ir *ir, int a[3]) {
  uint32_t value;
  const bool first = qp_ir_is_const(ir, (unsigned)a[0], &value);
  const bool second = qp_ir_is_const(ir, (unsigned)a[1], &value);
  if (first < second || (first == second && a[0] <= a[1])) return;
  const int t = a[0];
  a[0] = a[1];
  a[1] = t;
}

int qp_ir_add(qp_ir *ir, qp_ir_op op, const int *args, uint32_t imm, uint32_t imm2) {
  const qp_ir_op_info *row = qp_ir_op_row(op);
  int a[3] = {0};
  uint32_t v[3] = {0};
  bool all = row->arity > 0 && !(row->trait & (QP_IR_LOOKS_UP | QP_IR_LOADS | QP_IR_FETCHES));
  if (row->arity > 0 && !args) return -1;
  for (unsigned i = 0; i < row->arity; i++) {
    /* NOLINTNEXTLINE(clang-analyzer-core.*): callers give as many operands as the op takes */
    if (args[i] < 0 || (unsigned)args[i] >= ir->count) return -1;
    a[i] = args[i];
    all &= qp_ir_is_const(ir, (unsigned)a[i], &v[i]);
  }
  if (all) return qp_ir_add_constant(ir, row->result, qp_ir_op_evaluate(op, v, imm, imm2, NULL));
  if (row->trait & QP_IR_COMMUTES) put_in_order(ir, a);
  if (row->arity == 2 && qp_ir_is_const(ir, (unsigned)a[1], &v[1])) {
    int simple = with_constant(ir, op, a[0], v[1]);
    if (simple >= 0) return simple;
  }
  if (op == QP_IR_SELECT && qp_ir_is_const(ir, (unsigned)a[0], &v[0])) return v[0] ? a[1] : a[2];
  int direct = without_round_trip(ir, op, a);
  return direct >= 0 ? direct : plain(ir, op, a, imm, imm2);
}

/* ---- Checking ---- */

static bool type_fits(qp_ir_type t, char letter) { return letter == "whpsb"[t]; }

static qp_status verify_node(const qp_ir *ir, unsigned i, qp_error *err) {
  static const char *const types[] = {"word", "half", "pair", "single", "bpair"};
  const qp_ir_node *n = &ir->node[i];
  if (n->op >= QP_IR_OP_COUNT)
    return qp_fail(err, QP_E_ARG, "IR node %%%u: op %u does not exist", i, n->op);
  const qp_ir_op_info *op = qp_ir_op_row(n->op);
  for (unsigned k = 0; k < op->arity; k++) {
    if (n->arg[k] >= i)
      return qp_fail(err, QP_E_ARG, "IR node %%%u (%s): operand %%%u is not before it", i, op->name,
                     n->arg[k]);
    qp_ir_type t = qp_ir_type_of(ir, n->arg[k]);
    if (!type_fits(t, op->args[k]))
      return qp_fail(err, QP_E_ARG, "IR node %%%u (%s): operand %u is a %s, needs '%c'", i,
                     op->name, k + 1, types[t], op->args[k]);
  }
  const bool input = n->op == QP_IR_INPUT || n->op == QP_IR_INPUT_H || n->op == QP_IR_INPUT_P;
  const bool reads = op->trait & (QP_IR_LOOKS_UP | QP_IR_LOADS);
  if ((input && n->imm >= QP_IN_COUNT) || (reads && (n->imm >= 4 || n->imm2 >= 8)))
    return qp_fail(err, QP_E_ARG, "IR node %%%u (%s): number %u.%u is out of range", i, op->name,
                   n->imm, n->imm2);
  return QP_OK;
}

qp_status qp_ir_verify(const qp_ir *ir, qp_error *err) {
  qp_status status = QP_OK;
  for (unsigned i = 0; i < ir->count && !status; i++) status = verify_node(ir, i, err);
  if (status) return status;
  if (ir->outputs < 1 || ir->outputs > QP_IR_MAX_OUTPUTS)
    return qp_fail(err, QP_E_ARG, "IR with %u outputs; 1 to %d are possible", ir->outputs,
                   QP_IR_MAX_OUTPUTS);
  for (unsigned i = 0; i < ir->outputs; i++) {
    if (ir->output[i] >= ir->count)
      return qp_fail(err, QP_E_ARG, "IR output %u: node %%%u does not exist", i, ir->output[i]);
    const qp_ir_type type = qp_ir_type_of(ir, ir->output[i]);
    if (type == QP_WORD || type == QP_SINGLE)
      return qp_fail(err, QP_E_ARG, "IR output %u: a %s; weights are halves or pairs", i,
                     type == QP_WORD ? "word" : "single");
  }
  return QP_OK;
}

/* ---- Printing ---- */

static void dump_leaf(qp_text *t, const qp_ir_node *n) {
  static const char *const inputs[] = {"state",  "index",  "group0", "group1", "group2", "group3",
                                       "group4", "group5", "group6", "group7", "lane0",  "lane1",
                                       "lane2",  "lane3",  "around", "other0", "other1", "other2",
                                       "other3", "other4", "other5", "other6", "other7", "odd"};
  if (n->op == QP_IR_CONST)
    qp_text_add(t, " 0x%x", n->imm);
  else if (n->op == QP_IR_HALF_CONST)
    qp_text_add(t, " %.9g", (double)qp_half_to_float((uint16_t)n->imm));
  else
    qp_text_add(t, " %s", inputs[n->imm]);
}

static void dump_node(qp_text *t, const qp_ir *ir, unsigned i) {
  const qp_ir_node *n = &ir->node[i];
  const qp_ir_op_info *op = qp_ir_op_row(n->op);
  qp_text_add(t, "%%%u = %s", i, op->name);
  if (op->trait & QP_IR_LEAF) dump_leaf(t, n);
  const char *const memory = op->trait & QP_IR_LOOKS_UP ? "codebook" : "table";
  if (op->trait & (QP_IR_LOOKS_UP | QP_IR_LOADS))
    qp_text_add(t, " %s%u[%%%u].%u", memory, n->imm, n->arg[0], n->imm2);
  else
    for (unsigned k = 0; k < op->arity; k++) qp_text_add(t, "%s %%%u", k ? "," : "", n->arg[k]);
  if (op->trait & QP_IR_FETCHES && n->op != QP_IR_OWN)
    qp_text_add(t, n->op == QP_IR_STATE_BYTES ? ", 0x%04x" : " %u", n->imm);
  if (op->trait & QP_IR_NUMBER) qp_text_add(t, n->op == QP_IR_LOP3 ? ", 0x%02x" : ", %u", n->imm);
  qp_text_append(t, "\n", 1);
}

char *qp_ir_dump(const qp_ir *ir) {
  qp_text t = {0};
  for (unsigned i = 0; i < ir->count; i++) dump_node(&t, ir, i);
  qp_text_add(&t, "return");
  for (unsigned i = 0; i < ir->outputs; i++)
    qp_text_add(&t, "%s %%%u", i ? "," : "", ir->output[i]);
  qp_text_append(&t, "\n", 1);
  return qp_text_take(&t);
}

/* ---- Evaluating ---- */

void qp_ir_eval(const qp_ir *ir, const qp_ir_env *env, uint32_t *out) {
  uint32_t v[QP_IR_MAX_NODES];
  v[0] = 0; /* what operands that an op lacks read */
  for (unsigned i = 0; i < ir->count; i++) {
    const qp_ir_node *n = &ir->node[i];
    const uint32_t operand[] = {v[n->arg[0]], v[n->arg[1]], v[n->arg[2]]};
    v[i] = qp_ir_op_evaluate(n->op, operand, n->imm, n->imm2, env);
  }
  for (unsigned i = 0; i < ir->outputs; i++) out[i] = v[ir->output[i]];
}
