/* SPDX-License-Identifier: MIT */
/* The pass that makes shifts and byte permutes of the state part of its fetch; its rules stand
   above it in passes.h. */
#include <stdlib.h>

#include "gen/ir/passes.h"

typedef struct fetch {
  const qp_ir *ir;
  unsigned window;
  uint32_t demand[QP_IR_MAX_NODES];
} fetch;

static bool is_state(const qp_ir *ir, unsigned i) {
  return ir->node[i].op == QP_IR_INPUT && ir->node[i].imm == QP_IN_STATE;
}

/* Is the node the state as a half, its bits under another name? */
static bool is_renamed(const qp_ir *ir, unsigned i) {
  return ir->node[i].op == QP_IR_AS_HALF && is_state(ir, ir->node[i].arg[0]);
}

/* A shift of the state, of which nothing is demanded where the stream's bits come in. */
static bool is_shift(const fetch *f, unsigned i, qp_ir_op *as, uint32_t *by) {
  const qp_ir_node *n = &f->ir->node[i];
  if (n->op != QP_IR_SHL && n->op != QP_IR_SHR && n->op != QP_IR_SCALE) return false;
  if (!is_state(f->ir, n->arg[0])) return false;
  *by = n->imm;
  if (n->op != QP_IR_SCALE && !qp_ir_is_const(f->ir, n->arg[1], by)) return false;
  if (*by == 0 || *by > 31) return false;
  *as = n->op == QP_IR_SHR ? QP_IR_STATE_RIGHT : QP_IR_STATE_LEFT;
  if (n->op != QP_IR_SHR) return !(f->demand[i] & ((1u << *by) - 1));
  return *by < f->window && !(f->demand[i] >> (f->window - *by));
}

/* Is the node a permute of the state's bytes and a constant's?  Bytes that nobody demands are the
   constant's. */
static bool is_permute(const fetch *f, unsigned i, uint32_t *constant, uint32_t *bytes) {
  const qp_ir_node *n = &f->ir->node[i];
  *constant = 0;
  if (n->op == QP_IR_PACK && is_renamed(f->ir, n->arg[0]) && n->arg[0] == n->arg[1])
    *bytes = 0x1010;
  else if (n->op != QP_IR_PRMT || !is_state(f->ir, n->arg[0]) ||
           !qp_ir_is_const(f->ir, n->arg[1], constant) || !qp_ir_is_const(f->ir, n->arg[2], bytes))
    return false;
  for (unsigned k = 0; k < 4; k++)
    if (!(f->demand[i] >> 8 * k & 255)) *bytes = (*bytes & ~(15u << 4 * k)) | 4u << 4 * k;
  *bytes &= 0x7777;
  return true;
}

/* Is there a use of the state that is none of these?  Then it is fetched as it is, too. */
static bool is_read_plain(const fetch *f) {
  const qp_ir *ir = f->ir;
  qp_ir_op as;
  uint32_t a, b;
  for (unsigned i = 0; i < ir->outputs; i++)
    if (is_renamed(ir, ir->output[i])) return true;
  for (unsigned i = 0; i < ir->count; i++)
    for (unsigned k = 0; k < qp_ir_arity(ir, i); k++) {
      const unsigned x = ir->node[i].arg[k];
      if (!is_state(ir, x) && !is_renamed(ir, x)) continue;
      if (!is_renamed(ir, i) && !is_shift(f, i, &as, &a) && !is_permute(f, i, &a, &b)) return true;
    }
  return false;
}

/* ---- Halves ---- */

/* Is the node 16 bits of the state, from bit *by on? */
static bool is_half(const qp_ir *ir, unsigned i, unsigned window, uint32_t *by) {
  const qp_ir_node *n = &ir->node[i], *shift = &ir->node[n->arg[0]];
  uint32_t mask;
  *by = 0;
  if (n->op != QP_IR_AND || !qp_ir_is_const(ir, n->arg[1], &mask) || mask != 0xffff) return false;
  if (is_state(ir, n->arg[0])) return window >= 16;
  return shift->op == QP_IR_SHR && is_state(ir, shift->arg[0]) &&
         qp_ir_is_const(ir, shift->arg[1], by) && *by + 16 <= window;
}

/* Does anything but such halves read the state? */
static bool reads_more(const qp_ir *ir, unsigned window) {
  uint32_t by;
  for (unsigned i = 0; i < ir->outputs; i++)
    if (is_renamed(ir, ir->output[i])) return true;
  for (unsigned i = 0; i < ir->count; i++)
    for (unsigned k = 0; k < qp_ir_arity(ir, i); k++) {
      const unsigned x = ir->node[i].arg[k];
      const bool shifted = ir->node[x].op == QP_IR_SHR && is_state(ir, ir->node[x].arg[0]);
      if (shifted && !is_half(ir, i, window, &by)) return true;
      if (is_state(ir, x) && ir->node[i].op != QP_IR_SHR && !is_half(ir, i, window, &by))
        return true;
    }
  return false;
}

static int fetch_half(qp_copy *c, unsigned i, const int *args) {
  const unsigned *window = c->user;
  uint32_t by;
  (void)args;
  return is_half(c->from, i, *window, &by) ? qp_ir_add(c->to, QP_IR_STATE_HALF, NULL, by, 0)
                                           : QP_KEEP;
}

qp_ir *qp_pass_fetch_halves(const qp_ir *ir, unsigned window) {
  return qp_pass_rewrite(ir, reads_more(ir, window) ? NULL : fetch_half, &window);
}

/* ---- What is moved ---- */

static int fetch_moved(qp_copy *c, unsigned i, const int *args) {
  const fetch *f = c->user;
  qp_ir_op as;
  uint32_t number, bytes;
  (void)args;
  if (is_shift(f, i, &as, &number)) return qp_ir_add(c->to, as, NULL, number, 0);
  if (!is_permute(f, i, &number, &bytes)) return QP_KEEP;
  const int constant = qp_ir_add_word(c->to, number);
  const int v = qp_ir_add(c->to, QP_IR_STATE_BYTES, &constant, bytes, 0);
  return v < 0 || qp_ir_type_of(c->from, i) == QP_WORD ? v : qp_ir_add_one(c->to, QP_IR_AS_PAIR, v);
}

qp_ir *qp_pass_fetch(const qp_ir *ir, unsigned window) {
  fetch *f = malloc(sizeof *f);
  qp_ir *out = NULL;
  if (f) {
    f->ir = ir;
    f->window = window;
    qp_pass_demand(ir, ir->output, ir->outputs, -1, f->demand);
    out = qp_pass_rewrite(ir, is_read_plain(f) ? NULL : fetch_moved, f);
  }
  free(f);
  return out;
}
