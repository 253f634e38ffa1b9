/* SPDX-License-Identifier: MIT */
/* The pass that multiplies two small numbers at once; its rule stands above it in passes.h. */
#include <stdlib.h>
#include <string.h>

#include "gen/ir/passes.h"

enum { NONE = -1 };

typedef struct lanes {
  const qp_ir *ir;
  uint32_t may[QP_IR_MAX_NODES];
  int partner[QP_IR_MAX_NODES]; /* The node of the chain of the other code, or NONE. */
  int both[QP_IR_MAX_NODES];    /* The new node of a pair, by its first node; NONE until it is
                                   made. */
} lanes;

/* Byte k of a word:  x & 255, (x >> 8k) & 255. */
static bool is_byte(const qp_ir *ir, unsigned node, unsigned *of, uint32_t *k) {
  const qp_ir_node *n = &ir->node[node];
  uint32_t c;
  if (n->op != QP_IR_AND || !qp_ir_is_const(ir, n->arg[1], &c) || c != 255) return false;
  const qp_ir_node *s = &ir->node[n->arg[0]];
  *of = n->arg[0];
  *k = 0;
  if (s->op != QP_IR_SHR || !qp_ir_is_const(ir, s->arg[1], &c) || c >= 32 || c % 8) return true;
  return *of = s->arg[0], *k = c / 8, true;
}

/* Is the node a link of a chain: a product below 2^16, or some of such a product's bits? */
static bool is_link(const lanes *l, unsigned node) {
  const qp_ir_node *n = &l->ir->node[node];
  uint32_t c;
  if (n->op == QP_IR_MUL && qp_ir_is_const(l->ir, n->arg[1], &c))
    return (uint64_t)l->may[n->arg[0]] * c < 0x10000;
  return n->op == QP_IR_AND && qp_ir_is_const(l->ir, n->arg[1], &c) &&
         l->ir->node[n->arg[0]].op == QP_IR_MUL && is_link(l, n->arg[0]);
}

/* Do the same links lead from two bytes of one word to a and to b? */
static bool is_alike(const lanes *l, unsigned a, unsigned b) {
  const qp_ir_node *m = &l->ir->node[a], *n = &l->ir->node[b];
  unsigned x, y;
  uint32_t i, j;
  if (a == b) return false;
  if (l->partner[a] != NONE || l->partner[b] != NONE) return l->partner[a] == (int)b;
  if (is_link(l, a) && is_link(l, b))
    return m->op == n->op && m->arg[1] == n->arg[1] && is_alike(l, m->arg[0], n->arg[0]);
  if (is_link(l, a) || is_link(l, b)) return false;
  return is_byte(l->ir, a, &x, &i) && is_byte(l->ir, b, &y, &j) && x == y;
}

static void pair_up(lanes *l, unsigned a, unsigned b) {
  for (; l->partner[a] == NONE; a = l->ir->node[a].arg[0], b = l->ir->node[b].arg[0]) {
    l->partner[a] = (int)b;
    l->partner[b] = (int)a;
    if (!is_link(l, a)) return;
  }
}

static void find_pairs(lanes *l) {
  for (unsigned a = 0; a < l->ir->count; a++)
    for (unsigned b = a + 1; b < l->ir->count && l->partner[a] == NONE && is_link(l, a); b++)
      if (is_link(l, b) && is_alike(l, a, b)) pair_up(l, a, b);
}

/* Make a | b << 16 of a pair in the new IR. */
static int both_of(qp_copy *c, lanes *l, unsigned a) {
  const unsigned b = (unsigned)l->partner[a], first = a < b ? a : b;
  const qp_ir_node *n = &l->ir->node[first];
  unsigned x = 0;
  uint32_t low = 0, high = 0, k = 0;
  if (l->both[first] != NONE) return l->both[first];
  if (is_link(l, first)) {
    const int of = both_of(c, l, n->arg[0]);
    (void)qp_ir_is_const(l->ir, n->arg[1], &k);
    if (n->op == QP_IR_AND) k |= k << 16;
    l->both[first] =
        of < 0 ? -1 : qp_ir_add_two(c->to, (qp_ir_op)n->op, of, qp_ir_add_word(c->to, k));
    return l->both[first];
  }
  (void)is_byte(l->ir, first, &x, &low);
  (void)is_byte(l->ir, (unsigned)l->partner[first], &x, &high);
  const int args[] = {c->map[x], qp_ir_add_word(c->to, 0),
                      qp_ir_add_word(c->to, 0x4040u | low | high << 8)};
  return l->both[first] = qp_ir_add(c->to, QP_IR_PRMT, args, 0, 0);
}

/* Take the bits from 'by' on of a pair's node. */
static int part_of(qp_copy *c, lanes *l, unsigned node, uint32_t by) {
  const uint32_t lane = (int)node < l->partner[node] ? 0 : 16;
  int v = both_of(c, l, node);
  if (v >= 0 && lane + by) v = qp_ir_add_two(c->to, QP_IR_SHR, v, qp_ir_add_word(c->to, lane + by));
  return v < 0 ? -1 : qp_ir_add_two(c->to, QP_IR_AND, v, qp_ir_add_word(c->to, 0xffffu >> by));
}

static int use_lanes(qp_copy *c, unsigned i, const int *args) {
  lanes *l = c->user;
  const qp_ir_node *n = &c->from->node[i];
  uint32_t by;
  (void)args;
  if (l->partner[i] != NONE && is_link(l, i)) return part_of(c, l, i, 0);
  if (n->op != QP_IR_SHR || !qp_ir_is_const(c->from, n->arg[1], &by) || by >= 16) return QP_KEEP;
  const unsigned x = n->arg[0];
  return l->partner[x] != NONE && is_link(l, x) ? part_of(c, l, x, by) : QP_KEEP;
}

qp_ir *qp_pass_pair_products(const qp_ir *ir) {
  lanes *l = malloc(sizeof *l);
  qp_ir *out = NULL;
  if (l) {
    l->ir = ir;
    for (unsigned i = 0; i < QP_IR_MAX_NODES; i++) l->partner[i] = l->both[i] = NONE;
    qp_pass_known(ir, l->may);
    find_pairs(l);
    out = qp_pass_rewrite(ir, use_lanes, l);
  }
  free(l);
  return out;
}
