/* SPDX-License-Identifier: MIT */
/* The pass that makes two rows' numbers of their fields at once; its rule stands above it in
   passes.h. */
#include "gen/ir/passes.h"

/* Is the node a byte of a group's field, bounded by constants?  'least' and 'most': its range. */
static bool is_bounded(const qp_ir *ir, unsigned node, uint32_t *least, uint32_t *most) {
  const qp_ir_node *n = &ir->node[node], *x = &ir->node[n->arg[0]];
  uint32_t c;
  if (qp_ir_arity(ir, node) != 2 || !qp_ir_is_const(ir, n->arg[1], &c)) return false;
  if (n->op == QP_IR_AND && x->op == QP_IR_INPUT)
    return *least = 0, *most = 255, c == 255 && x->imm >= QP_IN_GROUP && x->imm < QP_IN_LANE;
  if (c > 255 || (n->op != QP_IR_MIN && n->op != QP_IR_MAX)) return false;
  if (!is_bounded(ir, n->arg[0], least, most)) return false;
  const bool up = n->op == QP_IR_MAX;
  if (up ? *least < c : *least > c) *least = c;
  if (up ? *most < c : *most > c) *most = c;
  return true;
}

/* pack(h, h) of a half (x - c) << k that stays below 2^16. */
static bool is_scaled(const qp_ir *ir, unsigned node, unsigned *x, uint32_t *c, uint32_t *k) {
  const qp_ir_node *n = &ir->node[node];
  uint32_t least, most;
  *c = 0;
  if (n->op != QP_IR_PACK || n->arg[0] != n->arg[1]) return false;
  const qp_ir_node *half = &ir->node[n->arg[0]], *shift = &ir->node[half->arg[0]];
  if (half->op != QP_IR_AS_HALF || shift->op != QP_IR_SHL) return false;
  if (!qp_ir_is_const(ir, shift->arg[1], k) || *k >= 16) return false;
  *x = shift->arg[0];
  if (ir->node[*x].op == QP_IR_SUB && qp_ir_is_const(ir, ir->node[*x].arg[1], c))
    *x = ir->node[*x].arg[0];
  return is_bounded(ir, *x, &least, &most) && least >= *c && (most - *c) >> (16 - *k) == 0;
}

/* Put both rows' x into the halves of a word. */
static int bound_both(qp_copy *c, unsigned node) {
  const qp_ir_node *n = &c->from->node[node];
  uint32_t number;
  (void)qp_ir_is_const(c->from, n->arg[1], &number);
  if (n->op == QP_IR_AND)
    return qp_ir_add(c->to, QP_IR_ROWS, NULL, c->from->node[n->arg[0]].imm - QP_IN_GROUP, 0);
  const int x = bound_both(c, n->arg[0]);
  const qp_ir_op op = n->op == QP_IR_MIN ? QP_IR_MIN2 : QP_IR_MAX2;
  return x < 0 ? -1 : qp_ir_add_two(c->to, op, x, qp_ir_add_word(c->to, number * 0x10001));
}

static int scale_both(qp_copy *copy, unsigned i, const int *args) {
  unsigned x;
  uint32_t c, k;
  (void)args;
  if (!is_scaled(copy->from, i, &x, &c, &k)) return QP_KEEP;
  qp_ir *to = copy->to;
  int v = bound_both(copy, x);
  v = v < 0 ? -1 : qp_ir_add_two(to, QP_IR_MUL, v, qp_ir_add_word(to, 1u << k));
  v = v < 0 ? -1 : qp_ir_add_two(to, QP_IR_ADD, v, qp_ir_add_word(to, 0 - (c * 0x10001 << k)));
  v = v < 0 ? -1 : qp_ir_add_one(to, QP_IR_AS_PAIR, v);
  return v < 0 ? -1 : qp_ir_add_one(to, QP_IR_OWN, v);
}

qp_ir *qp_pass_pair_rows(const qp_ir *ir) { return qp_pass_rewrite(ir, scale_both, NULL); }
