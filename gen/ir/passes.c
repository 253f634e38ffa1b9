/* SPDX-License-Identifier: MIT */
/* Passes over the decode IR; see passes.h for what each does. */
#include "gen/ir/passes.h"

#include <stdlib.h>
#include <string.h>

void qp_pass_reach(const qp_ir *ir, bool *need) {
  memset(need, 0, ir->count * sizeof *need);
  for (unsigned i = 0; i < ir->outputs; i++) need[ir->output[i]] = true;
  for (unsigned i = ir->count; i-- > 0;)
    for (unsigned k = 0; need[i] && k < qp_ir_arity(ir, i); k++) need[ir->node[i].arg[k]] = true;
}

/* ---- Demanded bits ---- */

static uint32_t whole(qp_ir_type t) { return t == QP_HALF ? 0xffffu : ~0u; }

/* The value of a node's second operand where that is a constant, else NULL. */
static const uint32_t *second_constant(const qp_ir *ir, unsigned i, uint32_t *value) {
  const bool constant = qp_ir_arity(ir, i) > 1 && qp_ir_is_const(ir, ir->node[i].arg[1], value);
  return constant ? value : NULL;
}

void qp_pass_demand(const qp_ir *ir, const uint16_t *roots, unsigned n, int stop,
                    uint32_t *demand) {
  memset(demand, 0, ir->count * sizeof *demand);
  for (unsigned i = 0; i < n; i++) demand[roots[i]] = whole(qp_ir_type_of(ir, roots[i]));
  for (unsigned i = ir->count; i-- > 0;) {
    if (!demand[i] || (int)i == stop) continue;
    const qp_ir_node *node = &ir->node[i];
    uint32_t value;
    const uint32_t *second = second_constant(ir, i, &value);
    for (unsigned k = 0; k < qp_ir_arity(ir, i); k++)
      demand[node->arg[k]] |= qp_ir_op_demand(node->op, k, demand[i], second, node->imm);
  }
}

/* ---- Known bits ---- */

void qp_pass_known(const qp_ir *ir, uint32_t *may) {
  may[0] = ~0u; /* what operands that an op lacks read */
  for (unsigned i = 0; i < ir->count; i++) {
    const qp_ir_node *n = &ir->node[i];
    const uint32_t operands[] = {may[n->arg[0]], may[n->arg[1]], may[n->arg[2]]};
    uint32_t value;
    may[i] = qp_ir_op_may(n->op, operands, second_constant(ir, i, &value), n->imm);
  }
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
    for (unsigned k = 0; k < qp_ir_arity(from, i); k++) args[k] = map[n->arg[k]];
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

/* A node of which nothing is demanded goes too: if it is a load, its address may have
   lost a mask. */
static int drop_mask(qp_copy *c, unsigned i, const int *args) {
  const uint32_t *demand = c->user;
  uint32_t mask;
  if (!demand[i]) return qp_ir_add_constant(c->to, qp_ir_type_of(c->from, i), 0);
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
  int mask = qp_ir_add_word(c->to, ((const uint32_t *)c->user)[n->imm - QP_IN_GROUP]);
  return qp_ir_add_two(c->to, QP_IR_AND, field, mask);
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
  if (!qp_ir_has(c->from, i, QP_IR_LOOKS_UP)) return QP_KEEP;
  if (k->may[n->arg[0]] < k->entries[n->imm]) return QP_KEEP;
  int idx = qp_ir_add_two(c->to, QP_IR_MIN, args[0], qp_ir_add_word(c->to, k->entries[n->imm] - 1));
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

/* Make 'state op number', with the number that the user's pointer leads to. */
static int with_state(qp_copy *c, qp_ir_op op) {
  int state = qp_ir_add(c->to, QP_IR_INPUT, NULL, QP_IN_STATE, 0);
  return qp_ir_add_two(c->to, op, state, qp_ir_add_word(c->to, *(const uint32_t *)c->user));
}

static int mask_state(qp_copy *c, unsigned i, const int *args) {
  (void)args;
  if (!is_state(c->from, i)) return QP_KEEP;
  return with_state(c, QP_IR_AND);
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
  return with_state(c, QP_IR_SHR);
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

/* Make a pair's bits with signs changed those of a bf16 pair; QP_KEEP if that is not what they
   are. */
static int signs_to_bf16(qp_ir *ir, unsigned word) {
  const qp_ir_node n = ir->node[word];
  if (n.op == QP_IR_WORD_OF_PAIR) {
    int inner = to_bf16(ir, n.arg[0]);
    return inner < 0 ? -1 : qp_ir_add_one(ir, QP_IR_WORD_OF_BPAIR, inner);
  }
  for (unsigned k = 0; k < 2 && n.op == QP_IR_XOR; k++) {
    if (!only_signs(ir, n.arg[1 - k], 0x80008000u)) continue;
    int inner = signs_to_bf16(ir, n.arg[k]);
    if (inner != QP_KEEP) return inner < 0 ? -1 : qp_ir_add_two(ir, QP_IR_XOR, inner, n.arg[1 - k]);
  }
  return QP_KEEP;
}

static int to_bf16(qp_ir *ir, int pair) {
  const qp_ir_node n = ir->node[pair];
  if (n.op == QP_IR_AS_PAIR) {
    int word = signs_to_bf16(ir, n.arg[0]);
    if (word != QP_KEEP) return word < 0 ? -1 : qp_ir_add_one(ir, QP_IR_AS_BPAIR, word);
  }
  if (n.op == QP_IR_PNEG) {
    int inner = to_bf16(ir, n.arg[0]);
    if (inner < 0) return -1;
    int signs = qp_ir_add_word(ir, 0x80008000u);
    return qp_ir_add_one(
        ir, QP_IR_AS_BPAIR,
        qp_ir_add_two(ir, QP_IR_XOR, qp_ir_add_one(ir, QP_IR_WORD_OF_BPAIR, inner), signs));
  }
  return qp_ir_add_one(ir, QP_IR_BPAIR_OF_PAIR, pair);
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
