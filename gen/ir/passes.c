/* SPDX-License-Identifier: MIT */
/* Passes over the decode IR; see passes.h for what each does. */
#include "gen/ir/passes.h"

#include <stdlib.h>
#include <string.h>

void qp_pass_reach(const qp_ir *ir, bool *need) {
  memset(need, 0, ir->count * sizeof *need);
  for (unsigned i = 0; i < ir->outputs; i++) need[ir->output[i]] = true;
  for (unsigned i = ir->count; i-- > 0;)
    for (unsigned k = 0; need[i] && k < qp_ir_op_arity((qp_ir_op)ir->node[i].op); k++)
      need[ir->node[i].arg[k]] = true;
}

/* ---- Demanded bits ---- */

/* All bits at and below the highest of d: carries move upwards only. */
static uint32_t below(uint32_t d) { return d ? ~0u >> __builtin_clz(d) : 0; }

/* Each half of a pair whose bits are demanded is demanded whole. */
static uint32_t by_half(uint32_t d) {
  return (d & 0xffffu ? 0xffffu : 0) | (d >> 16 ? 0xffff0000u : 0);
}

static uint32_t whole(qp_ir_type t) { return t == QP_HALF ? 0xffffu : ~0u; }

/* The bytes that a dot product with the constant c reads. */
static uint32_t used_bytes(uint32_t c) {
  uint32_t bytes = 0;
  for (unsigned k = 0; k < 32; k += 8) bytes |= c >> k & 255 ? 255u << k : 0;
  return bytes;
}

/* Bits of operand k that node i's bits d depend on. */
static uint32_t operand_demand(const qp_ir *ir, unsigned i, unsigned k, uint32_t d) {
  const qp_ir_node *n = &ir->node[i];
  uint32_t c = 0;
  bool constant = qp_ir_op_arity((qp_ir_op)n->op) > 1 && qp_ir_is_const(ir, n->arg[1], &c);
  switch (n->op) {
  case QP_IR_ADD:
  case QP_IR_SUB: return below(d);
  case QP_IR_MUL:
  case QP_IR_MAD: return k == 0 && constant && c ? below(d) >> __builtin_ctz(c) : below(d);
  case QP_IR_DP4A: return k == 0 && constant ? used_bytes(c) : ~0u;
  case QP_IR_AND: return k == 0 && constant ? d & c : d;
  case QP_IR_OR: return k == 0 && constant ? d & ~c : d;
  case QP_IR_XOR:
  case QP_IR_NOT:
  case QP_IR_LOP3:
  case QP_IR_AS_PAIR:
  case QP_IR_AS_BPAIR:
  case QP_IR_WORD_OF_PAIR:
  case QP_IR_WORD_OF_BPAIR:
  case QP_IR_PNEG: return d;
  case QP_IR_SELECT: return k == 0 ? ~0u : d;
  case QP_IR_SHL: return k == 0 && constant ? (c < 32 ? d >> c : 0) : ~0u;
  case QP_IR_SHR: return k == 0 && constant ? (c < 32 ? d << c : 0) : ~0u;
  case QP_IR_SCALE: return d >> n->imm;
  case QP_IR_AS_HALF:
  case QP_IR_WORD_OF_HALF:
  case QP_IR_LO: return d & 0xffffu;
  case QP_IR_HI: return d << 16;
  case QP_IR_PACK: return k == 0 ? d & 0xffffu : d >> 16;
  case QP_IR_HNEG: return d & 0xffffu;
  case QP_IR_HABS: return d & 0x7fffu;
  case QP_IR_PABS: return d & 0x7fff7fffu;
  case QP_IR_HADD:
  case QP_IR_HSUB:
  case QP_IR_HMUL:
  case QP_IR_HFMA: return d & 0xffffu ? 0xffffu : 0;
  case QP_IR_PADD:
  case QP_IR_PSUB:
  case QP_IR_PMUL:
  case QP_IR_PFMA:
  case QP_IR_BPAIR_OF_PAIR: return by_half(d);
  default: return ~0u;
  }
}

void qp_pass_demand(const qp_ir *ir, const uint16_t *roots, unsigned n, int stop,
                    uint32_t *demand) {
  memset(demand, 0, ir->count * sizeof *demand);
  for (unsigned i = 0; i < n; i++) demand[roots[i]] = whole(qp_ir_type_of(ir, roots[i]));
  for (unsigned i = ir->count; i-- > 0;) {
    if (!demand[i] || (int)i == stop) continue;
    for (unsigned k = 0; k < qp_ir_op_arity((qp_ir_op)ir->node[i].op); k++)
      demand[ir->node[i].arg[k]] |= operand_demand(ir, i, k, demand[i]);
  }
}

/* ---- Known bits ---- */

/* The bits of a number that is at most n. */
static uint32_t up_to(uint64_t n) { return n > UINT32_MAX ? ~0u : below((uint32_t)n); }

static uint32_t node_may(const qp_ir *ir, const qp_ir_node *n, const uint32_t *may) {
  uint32_t c = 0, a = may[n->arg[0]], b = may[n->arg[1]];
  bool constant = qp_ir_op_arity((qp_ir_op)n->op) > 1 && qp_ir_is_const(ir, n->arg[1], &c);
  switch (n->op) {
  case QP_IR_CONST:
  case QP_IR_HALF_CONST: return n->imm;
  case QP_IR_ADD: return up_to((uint64_t)a + b);
  case QP_IR_MUL: return up_to((uint64_t)a * b);
  case QP_IR_AND: return a & b;
  case QP_IR_OR:
  case QP_IR_XOR: return a | b;
  case QP_IR_SHL: return constant ? (c < 32 ? a << c : 0) : ~0u;
  case QP_IR_SHR: return constant ? (c < 32 ? a >> c : 0) : below(a);
  case QP_IR_MIN: return below(a < b ? a : b);
  case QP_IR_MAX: return below(a > b ? a : b);
  case QP_IR_EQ:
  case QP_IR_LT: return 1;
  case QP_IR_SELECT: return b | may[n->arg[2]];
  case QP_IR_POPC: return up_to(32);
  case QP_IR_WORD_OF_HALF: return 0xffff;
  case QP_IR_DP4A: {
    uint64_t sum = may[n->arg[2]];
    for (unsigned k = 0; k < 32; k += 8) sum += (a >> k & 255) * (b >> k & 255);
    return up_to(sum);
  }
  default: return ~0u;
  }
}

void qp_pass_known(const qp_ir *ir, uint32_t *may) {
  may[0] = ~0u; /* what operands that an op lacks read */
  for (unsigned i = 0; i < ir->count; i++) may[i] = node_may(ir, &ir->node[i], may);
}

/* ---- Copying ---- */

bool qp_pass_copy_into(qp_ir *to, const qp_ir *from, const bool *need, qp_visit visit, void *user,
                       int *map) {
  qp_copy c = {.from = from, .to = to, .map = map, .user = user};
  for (unsigned i = 0; i < from->count; i++) {
    map[i] = -1;
    if (!need[i]) continue;
    const qp_ir_node *n = &from->node[i];
    int args[3] = {0};
    for (unsigned k = 0; k < qp_ir_op_arity((qp_ir_op)n->op); k++) args[k] = map[n->arg[k]];
    int v = visit ? visit(&c, i, args) : QP_KEEP;
    if (v == QP_KEEP) v = qp_ir_add(to, (qp_ir_op)n->op, args, n->imm, n->imm2);
    if (v < 0) return false;
    map[i] = v;
  }
  return true;
}

qp_ir *qp_pass_copy(const qp_ir *ir, qp_visit visit, void *user) {
  qp_ir *to = qp_ir_new();
  bool *need = malloc(ir->count * sizeof *need + 1);
  int *map = malloc(ir->count * sizeof *map + 1);
  bool ok = to && need && map;
  if (ok) {
    qp_pass_reach(ir, need);
    ok = qp_pass_copy_into(to, ir, need, visit, user, map);
  }
  for (unsigned i = 0; ok && i < ir->outputs; i++)
    to->output[to->outputs++] = (uint16_t)map[ir->output[i]];
  free(need);
  free(map);
  if (!ok) qp_ir_free(to);
  return ok ? to : NULL;
}

qp_ir *qp_pass_rewrite(const qp_ir *ir, qp_visit visit, void *user) {
  qp_ir *once = qp_pass_copy(ir, visit, user);
  qp_ir *twice = once ? qp_pass_copy(once, NULL, NULL) : NULL;
  qp_ir_free(once);
  return twice;
}

/* ---- Masks ---- */

static int drop_idle_mask(qp_copy *c, unsigned i, const int *args) {
  const uint32_t *may = c->user;
  const qp_ir_node *n = &c->from->node[i];
  uint32_t mask;
  if (n->op != QP_IR_AND || !qp_ir_is_const(c->from, n->arg[1], &mask)) return QP_KEEP;
  return may[n->arg[0]] & ~mask ? QP_KEEP : args[0];
}

static int zero_of(qp_ir *ir, qp_ir_type type) {
  if (type == QP_HALF) return qp_ir_add(ir, QP_IR_HALF_CONST, NULL, 0, 0);
  int zero = qp_ir_add(ir, QP_IR_CONST, NULL, 0, 0);
  if (type == QP_WORD || zero < 0) return zero;
  return qp_ir_add(ir, type == QP_PAIR ? QP_IR_AS_PAIR : QP_IR_AS_BPAIR, &zero, 0, 0);
}

/* A node of which nothing is demanded goes too: if it is a load, its address may have lost a mask.
 */
static int drop_mask(qp_copy *c, unsigned i, const int *args) {
  const uint32_t *demand = c->user;
  uint32_t mask;
  if (!demand[i]) return zero_of(c->to, qp_ir_type_of(c->from, i));
  if (c->from->node[i].op != QP_IR_AND) return QP_KEEP;
  if (!qp_ir_is_const(c->from, c->from->node[i].arg[1], &mask)) return QP_KEEP;
  return demand[i] & ~mask ? QP_KEEP : args[0];
}

/* One after the other: a mask may be idle because of one whose bits nobody demands thanks to it. */
qp_ir *qp_pass_drop_masks(const qp_ir *ir) {
  uint32_t *bits = malloc(ir->count * sizeof *bits + sizeof *bits);
  if (!bits) return NULL;
  qp_pass_known(ir, bits);
  qp_ir *out = NULL, *busy = qp_pass_rewrite(ir, drop_idle_mask, bits);
  if (busy) {
    qp_pass_demand(busy, busy->output, busy->outputs, -1, bits);
    out = qp_pass_rewrite(busy, drop_mask, bits);
  }
  qp_ir_free(busy);
  free(bits);
  return out;
}

static int mask_field(qp_copy *c, unsigned i, const int *args) {
  const qp_ir_node *n = &c->from->node[i];
  (void)args;
  if (n->op != QP_IR_INPUT || n->imm < QP_IN_GROUP || n->imm >= QP_IN_LANE) return QP_KEEP;
  int field = qp_ir_add(c->to, QP_IR_INPUT, NULL, n->imm, 0);
  int mask =
      qp_ir_add(c->to, QP_IR_CONST, NULL, ((const uint32_t *)c->user)[n->imm - QP_IN_GROUP], 0);
  int both[] = {field, mask};
  return qp_ir_add(c->to, QP_IR_AND, both, 0, 0);
}

qp_ir *qp_pass_mask_fields(const qp_ir *ir, const uint32_t *masks) {
  uint32_t copy[QP_IN_LANE - QP_IN_GROUP];
  memcpy(copy, masks, sizeof copy);
  return qp_pass_rewrite(ir, mask_field, copy);
}

/* ---- Indices ---- */

typedef struct clamp {
  const uint32_t *may, *entries;
} clamp;

static int clamp_lookup(qp_copy *c, unsigned i, const int *args) {
  const clamp *k = c->user;
  const qp_ir_node *n = &c->from->node[i];
  if (n->op != QP_IR_LOOKUP_H && n->op != QP_IR_LOOKUP_P) return QP_KEEP;
  if (k->may[n->arg[0]] < k->entries[n->imm]) return QP_KEEP;
  int both[] = {args[0], qp_ir_add(c->to, QP_IR_CONST, NULL, k->entries[n->imm] - 1, 0)};
  int idx = qp_ir_add(c->to, QP_IR_MIN, both, 0, 0);
  return qp_ir_add(c->to, (qp_ir_op)n->op, &idx, n->imm, n->imm2);
}

qp_ir *qp_pass_clamp_lookups(const qp_ir *ir, const uint32_t *entries) {
  uint32_t *may = malloc(ir->count * sizeof *may + sizeof *may);
  if (!may) return NULL;
  qp_pass_known(ir, may);
  clamp k = {may, entries};
  qp_ir *out = qp_pass_rewrite(ir, clamp_lookup, &k);
  free(may);
  return out;
}

static bool is_state(const qp_ir *ir, unsigned i) {
  return ir->node[i].op == QP_IR_INPUT && ir->node[i].imm == QP_IN_STATE;
}

static int mask_state(qp_copy *c, unsigned i, const int *args) {
  (void)args;
  if (!is_state(c->from, i)) return QP_KEEP;
  int both[] = {qp_ir_add(c->to, QP_IR_INPUT, NULL, QP_IN_STATE, 0),
                qp_ir_add(c->to, QP_IR_CONST, NULL, *(const uint32_t *)c->user, 0)};
  return qp_ir_add(c->to, QP_IR_AND, both, 0, 0);
}

qp_ir *qp_pass_mask_state(const qp_ir *ir, unsigned window) {
  uint32_t mask = window < 32 ? (1u << window) - 1 : ~0u;
  uint32_t *demand = malloc(ir->count * sizeof *demand + 1);
  if (!demand) return NULL;
  bool wanted = false;
  qp_pass_demand(ir, ir->output, ir->outputs, -1, demand);
  for (unsigned i = 0; i < ir->count; i++) wanted |= is_state(ir, i) && (demand[i] & ~mask) != 0;
  free(demand);
  return qp_pass_rewrite(ir, wanted ? mask_state : NULL, &mask);
}

/* ---- Folding ---- */

static int shift_state(qp_copy *c, unsigned i, const int *args) {
  (void)args;
  if (!is_state(c->from, i)) return QP_KEEP;
  int both[] = {qp_ir_add(c->to, QP_IR_INPUT, NULL, QP_IN_STATE, 0),
                qp_ir_add(c->to, QP_IR_CONST, NULL, *(const uint32_t *)c->user, 0)};
  return qp_ir_add(c->to, QP_IR_SHR, both, 0, 0);
}

qp_ir *qp_pass_fold(const qp_ir *ir, unsigned step) {
  qp_ir *to = qp_ir_new();
  bool *need = malloc(ir->count * sizeof *need + 1);
  int *map = malloc(ir->count * sizeof *map + 1);
  int half[2 * QP_IR_MAX_OUTPUTS];
  bool ok = to && need && map && ir->outputs <= QP_IR_MAX_OUTPUTS;
  if (ok) qp_pass_reach(ir, need);
  for (uint32_t code = 0; code < 2 && ok; code++) {
    uint32_t shift = code * step;
    ok = qp_pass_copy_into(to, ir, need, shift_state, &shift, map);
    for (unsigned i = 0; i < ir->outputs && ok; i++)
      half[code * ir->outputs + i] = map[ir->output[i]];
  }
  for (unsigned i = 0; i < ir->outputs && ok; i++) {
    int pair = qp_ir_add(to, QP_IR_PACK, half + 2 * i, 0, 0);
    ok = pair >= 0;
    to->output[to->outputs++] = (uint16_t)pair;
  }
  qp_ir *clean = ok ? qp_pass_copy(to, NULL, NULL) : NULL;
  free(need);
  free(map);
  qp_ir_free(to);
  return clean;
}

/* ---- bf16 ---- */

static int one(qp_ir *ir, qp_ir_op op, int a) { return qp_ir_add(ir, op, &a, 0, 0); }

static int two(qp_ir *ir, qp_ir_op op, int a, int b) {
  int args[] = {a, b};
  return qp_ir_add(ir, op, args, 0, 0);
}

/* Can the word be other than zero only in the two sign bits? */
static bool only_signs(const qp_ir *ir, unsigned i, uint32_t allowed) {
  const qp_ir_node *n = &ir->node[i];
  uint32_t c;
  if (qp_ir_is_const(ir, i, &c)) return !(c & ~allowed);
  switch (n->op) {
  case QP_IR_AND: return only_signs(ir, n->arg[0], allowed) || only_signs(ir, n->arg[1], allowed);
  case QP_IR_OR:
  case QP_IR_XOR: return only_signs(ir, n->arg[0], allowed) && only_signs(ir, n->arg[1], allowed);
  case QP_IR_SHL:
    return qp_ir_is_const(ir, n->arg[1], &c) && c < 32 && only_signs(ir, n->arg[0], allowed >> c);
  case QP_IR_SHR:
    return qp_ir_is_const(ir, n->arg[1], &c) && c < 32 &&
           only_signs(ir, n->arg[0], allowed << c | ((1u << c) - 1));
  default: return false;
  }
}

static int to_bf16(qp_ir *ir, int pair);

/* A pair's bits with signs changed, as those of a bf16 pair; QP_KEEP if that is not what they are.
 */
static int signs_to_bf16(qp_ir *ir, unsigned word) {
  const qp_ir_node n = ir->node[word];
  if (n.op == QP_IR_WORD_OF_PAIR) {
    int inner = to_bf16(ir, n.arg[0]);
    return inner < 0 ? -1 : one(ir, QP_IR_WORD_OF_BPAIR, inner);
  }
  for (unsigned k = 0; k < 2 && n.op == QP_IR_XOR; k++) {
    if (!only_signs(ir, n.arg[1 - k], 0x80008000u)) continue;
    int inner = signs_to_bf16(ir, n.arg[k]);
    if (inner != QP_KEEP) return inner < 0 ? -1 : two(ir, QP_IR_XOR, inner, n.arg[1 - k]);
  }
  return QP_KEEP;
}

static int to_bf16(qp_ir *ir, int pair) {
  const qp_ir_node n = ir->node[pair];
  if (n.op == QP_IR_AS_PAIR) {
    int word = signs_to_bf16(ir, n.arg[0]);
    if (word != QP_KEEP) return word < 0 ? -1 : one(ir, QP_IR_AS_BPAIR, word);
  }
  if (n.op == QP_IR_PNEG) {
    int inner = to_bf16(ir, n.arg[0]);
    if (inner < 0) return -1;
    int signs = qp_ir_add(ir, QP_IR_CONST, NULL, 0x80008000u, 0);
    return one(ir, QP_IR_AS_BPAIR, two(ir, QP_IR_XOR, one(ir, QP_IR_WORD_OF_BPAIR, inner), signs));
  }
  return one(ir, QP_IR_BPAIR_OF_PAIR, pair);
}

qp_ir *qp_pass_bf16(const qp_ir *ir) {
  qp_ir *to = qp_pass_copy(ir, NULL, NULL);
  bool ok = to != NULL;
  for (unsigned i = 0; ok && i < to->outputs; i++) {
    int v = to_bf16(to, to->output[i]);
    ok = v >= 0;
    to->output[i] = (uint16_t)v;
  }
  qp_ir *clean = ok ? qp_pass_copy(to, NULL, NULL) : NULL;
  qp_ir_free(to);
  return clean;
}
