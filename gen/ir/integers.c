/* SPDX-License-Identifier: MIT */
/* The pass that makes a pair of two small integers of one word; its rule stands above it in
   passes.h. */
#include "gen/ir/passes.h"

/* x & mask, (x >> by) & mask. */
static bool is_field(const qp_ir *ir, unsigned node, unsigned *x, uint32_t *by, uint32_t *mask) {
  const qp_ir_node *n = &ir->node[node];
  if (n->op != QP_IR_AND || !qp_ir_is_const(ir, n->arg[1], mask) || !*mask) return false;
  const qp_ir_node *s = &ir->node[n->arg[0]];
  *x = n->arg[0];
  *by = 0;
  if (s->op == QP_IR_SHR && qp_ir_is_const(ir, s->arg[1], by)) *x = s->arg[0];
  return true;
}

/* Give the fp16 number of 2^exponent. */
static uint32_t power_of_two(int exponent) { return (uint32_t)(exponent + 15) << 10; }

static int pair_of_integers(qp_copy *c, unsigned i, const int *args) {
  const qp_ir *ir = c->from;
  const qp_ir_node *n = &ir->node[i];
  unsigned x, y;
  uint32_t low, high, m, k;
  (void)args;
  if (n->op != QP_IR_PACK) return QP_KEEP;
  const qp_ir_node *lo = &ir->node[n->arg[0]], *hi = &ir->node[n->arg[1]];
  if (lo->op != QP_IR_HALF_OF_UINT || hi->op != QP_IR_HALF_OF_UINT) return QP_KEEP;
  if (!is_field(ir, lo->arg[0], &x, &low, &m) || !is_field(ir, hi->arg[0], &y, &high, &k))
    return QP_KEEP;
  if (x != y || low || k != m || !high || high > 9 || m >= 1024 || m << high >= 1024)
    return QP_KEEP;
  qp_ir *to = c->to;
  int v = qp_ir_add_one(to, QP_IR_AS_HALF, c->map[x]);
  v = v < 0 ? -1 : qp_ir_add_two(to, QP_IR_PACK, v, v);
  v = v < 0 ? -1 : qp_ir_add_one(to, QP_IR_WORD_OF_PAIR, v);
  v = v < 0 ? -1 : qp_ir_add_two(to, QP_IR_AND, v, qp_ir_add_word(to, m | m << (16 + high)));
  v = v < 0 ? -1 : qp_ir_add_two(to, QP_IR_OR, v, qp_ir_add_word(to, 0x64006400));
  v = v < 0 ? -1 : qp_ir_add_one(to, QP_IR_AS_PAIR, v);
  const uint32_t down = power_of_two(0) | power_of_two(-(int)high) << 16;
  const uint32_t kilo = power_of_two(10) | power_of_two(10 - (int)high) << 16;
  const int three[] = {v, qp_ir_add_constant(to, QP_PAIR, down),
                       qp_ir_add_constant(to, QP_PAIR, kilo ^ 0x80008000u)};
  return v < 0 ? -1 : qp_ir_add(to, QP_IR_PFMA, three, 0, 0);
}

qp_ir *qp_pass_pair_integers(const qp_ir *ir) {
  return qp_pass_rewrite(ir, pair_of_integers, NULL);
}
