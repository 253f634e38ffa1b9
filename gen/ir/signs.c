/* SPDX-License-Identifier: MIT */
/* The pass that moves single bits by multiplication; its rules stand above it in passes.h. */
#include <stdlib.h>
#include <string.h>

#include "gen/ir/passes.h"

typedef struct flips {
  const qp_ir *ir;
  unsigned uses[QP_IR_MAX_NODES];
  uint32_t read[QP_IR_MAX_NODES]; /* The bits of a node that flip something. */
} flips;

/* One bit of a word that was moved up: (x << up) & bit. */
typedef struct moved {
  unsigned x;
  uint32_t up, bit;
} moved;

static bool is_single(uint32_t bit) { return bit && !(bit & (bit - 1)); }

static bool is_moved(const qp_ir *ir, unsigned node, moved *out) {
  const qp_ir_node *n = &ir->node[node];
  uint32_t up, bit;
  if (n->op == QP_IR_SHL && qp_ir_is_const(ir, n->arg[1], &up) && up == 31)
    return *out = (moved){n->arg[0], 31, 1u << 31}, true;
  if (n->op != QP_IR_AND || !qp_ir_is_const(ir, n->arg[1], &bit) || !is_single(bit)) return false;
  const qp_ir_node *s = &ir->node[n->arg[0]];
  if (s->op != QP_IR_SHL || !qp_ir_is_const(ir, s->arg[1], &up) || up > 31 || !(bit >> up))
    return false;
  return *out = (moved){s->arg[0], up, bit}, true;
}

/* Is the node w ^ first ^ second of two moved bits, with the inner sum used here alone? */
static bool is_two_flips(const flips *f, unsigned i, unsigned *w, moved *first, moved *second) {
  const qp_ir *ir = f->ir;
  const qp_ir_node *n = &ir->node[i];
  if (n->op != QP_IR_XOR) return false;
  for (unsigned k = 0; k < 2; k++) {
    const unsigned inner = n->arg[1 - k];
    if (!is_moved(ir, n->arg[k], second)) continue;
    if (ir->node[inner].op != QP_IR_XOR || f->uses[inner] != 1) continue;
    for (unsigned j = 0; j < 2; j++)
      if (is_moved(ir, ir->node[inner].arg[j], first)) return *w = ir->node[inner].arg[1 - j], true;
  }
  return false;
}

/* Both bits of one word: the products of its bits that are read have no bit in common, so that
   their sum has no carries. */
static bool one_product(const flips *f, const moved *a, const moved *b) {
  const uint32_t m = f->read[a->x];
  return a->x == b->x && a->up != b->up && !((m << a->up) & (m << b->up));
}

static int flip_both(qp_copy *c, const flips *f, const moved *a, const moved *b, int w) {
  int bits = qp_ir_add_two(c->to, QP_IR_AND, c->map[a->x], qp_ir_add_word(c->to, f->read[a->x]));
  int t = qp_ir_add_two(c->to, QP_IR_MUL, bits, qp_ir_add_word(c->to, 1u << a->up | 1u << b->up));
  t = t < 0 ? -1 : qp_ir_add_two(c->to, QP_IR_AND, t, qp_ir_add_word(c->to, a->bit | b->bit));
  return t < 0 ? -1 : qp_ir_add_two(c->to, QP_IR_XOR, t, w);
}

/* The second bit is the lowest of another word and becomes the uppermost. */
static int flip_with_top(qp_copy *c, const flips *f, const moved *a, const moved *top, int w) {
  int bits = qp_ir_add_two(c->to, QP_IR_AND, c->map[a->x], qp_ir_add_word(c->to, f->read[a->x]));
  bits = bits < 0 ? -1 : qp_ir_add_two(c->to, QP_IR_SHL, bits, qp_ir_add_word(c->to, a->up));
  const int three[] = {c->map[top->x], qp_ir_add_word(c->to, top->bit), bits};
  int t = bits < 0 ? -1 : qp_ir_add(c->to, QP_IR_MAD, three, 0, 0);
  t = t < 0 ? -1 : qp_ir_add_two(c->to, QP_IR_AND, t, qp_ir_add_word(c->to, a->bit | top->bit));
  return t < 0 ? -1 : qp_ir_add_two(c->to, QP_IR_XOR, t, w);
}

/* (x & 1) ? one : zero, which differ in one bit. */
static int select_by_bit(qp_copy *c, unsigned i) {
  const qp_ir_node *n = &c->from->node[i], *x = &c->from->node[n->arg[0]];
  uint32_t mask, one, zero;
  if (n->op != QP_IR_SELECT || x->op != QP_IR_AND) return QP_KEEP;
  if (!qp_ir_is_const(c->from, x->arg[1], &mask) || mask != 1) return QP_KEEP;
  if (!qp_ir_is_const(c->from, n->arg[1], &one) || !qp_ir_is_const(c->from, n->arg[2], &zero))
    return QP_KEEP;
  if (!is_single(one ^ zero)) return QP_KEEP;
  const uint32_t up = (uint32_t)__builtin_ctz(one ^ zero);
  int t = qp_ir_add_two(c->to, QP_IR_SHL, c->map[x->arg[0]], qp_ir_add_word(c->to, up));
  t = t < 0 ? -1 : qp_ir_add_two(c->to, QP_IR_AND, t, qp_ir_add_word(c->to, one ^ zero));
  return t < 0 ? -1 : qp_ir_add_two(c->to, QP_IR_XOR, t, qp_ir_add_word(c->to, zero));
}

/* Does so where both halves hold the same number. */
static int select_twice(qp_copy *c, unsigned i) {
  const qp_ir *ir = c->from;
  const qp_ir_node *n = &ir->node[i], *half = &ir->node[n->arg[0]];
  uint32_t mask, one, zero;
  if (n->arg[0] != n->arg[1] || half->op != QP_IR_AS_HALF) return QP_KEEP;
  const qp_ir_node *s = &ir->node[half->arg[0]], *x = &ir->node[s->arg[0]];
  if (s->op != QP_IR_SELECT || x->op != QP_IR_AND) return QP_KEEP;
  if (!qp_ir_is_const(ir, x->arg[1], &mask) || mask != 1) return QP_KEEP;
  if (!qp_ir_is_const(ir, s->arg[1], &one) || !qp_ir_is_const(ir, s->arg[2], &zero)) return QP_KEEP;
  if ((one | zero) >> 16 || !is_single(one ^ zero)) return QP_KEEP;
  const uint32_t less = 0x10001 * one - 0x10001 * zero;
  int v = qp_ir_add_two(c->to, QP_IR_MUL, c->map[s->arg[0]], qp_ir_add_word(c->to, less));
  v = v < 0 ? -1 : qp_ir_add_two(c->to, QP_IR_ADD, v, qp_ir_add_word(c->to, 0x10001 * zero));
  return v < 0 ? -1 : qp_ir_add_one(c->to, QP_IR_AS_PAIR, v);
}

static int move_bits(qp_copy *c, unsigned i, const int *args) {
  const flips *f = c->user;
  unsigned w;
  moved a, b;
  (void)args;
  if (c->from->node[i].op == QP_IR_PACK) return select_twice(c, i);
  if (!is_two_flips(f, i, &w, &a, &b)) return select_by_bit(c, i);
  if (one_product(f, &a, &b)) return flip_both(c, f, &a, &b, c->map[w]);
  if (a.x == b.x || b.up != 31 || (f->read[a.x] << a.up) >> 31) return QP_KEEP;
  return flip_with_top(c, f, &a, &b, c->map[w]);
}

qp_ir *qp_pass_move_bits(const qp_ir *ir) {
  flips *f = calloc(1, sizeof *f);
  qp_ir *out = NULL;
  if (f) {
    f->ir = ir;
    for (unsigned i = 0; i < ir->count; i++)
      for (unsigned k = 0; k < qp_ir_arity(ir, i); k++) f->uses[ir->node[i].arg[k]]++;
    for (unsigned i = 0; i < ir->outputs; i++) f->uses[ir->output[i]]++;
    for (unsigned i = 0; i < ir->count; i++) {
      unsigned w;
      moved a, b;
      if (!is_two_flips(f, i, &w, &a, &b)) continue;
      f->read[a.x] |= a.bit >> a.up;
      f->read[b.x] |= b.bit >> b.up;
    }
    out = qp_pass_rewrite(ir, move_bits, f);
  }
  free(f);
  return out;
}
