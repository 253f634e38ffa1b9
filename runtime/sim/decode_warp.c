/* SPDX-License-Identifier: MIT */
/* Decodes collectives: shuffles, votes, barriers, mma and ldmatrix. */
#include "runtime/sim/parse.h"

#include <stdio.h>

static bool operands(parser *p, uint32_t least, uint32_t most) {
  if (p->operand_count >= least && p->operand_count <= most) return true;
  return p_fail(p, "'%s' takes %u operands, not %u", p->part[0], least, p->operand_count);
}

static bool finish(parser *p, qp_sim_op *o) {
  p_push(p, o);
  return p_ok(p);
}

/* This decodes shfl.sync.mode.b32 d|p, a, b, c, members */
static bool decode_shfl(parser *p, unsigned variant) {
  (void)variant;
  qp_sim_op o = p_op(p, qp_sim_do_shfl, QP_SIM_SHUFFLE);
  static const char *const modes[] = {"up", "down", "bfly", "idx"};
  bool found = false;
  for (uint8_t i = 0; i < 4 && !found; i++)
    if ((found = p_part(p, modes[i]))) o.sub = i;
  if (!found || !p_part(p, "sync") || !p_part(p, "b32")) return false;
  if (!p_all_used(p) || !operands(p, 5, 5)) return false;
  const operand *x = p->ops_in;
  if (x->second && !p_def_pred(p, &o.r[5], x->second)) return false;
  if (!p_def(p, &o, 0, x, 'w')) return false;
  for (unsigned i = 1; i < 5; i++)
    if (!p_use(p, &o, i, x + i, 'w')) return false;
  return finish(p, &o);
}

static bool decode_vote(parser *p, unsigned variant) {
  (void)variant;
  qp_sim_op o = p_op(p, qp_sim_do_vote, QP_SIM_SHUFFLE);
  static const char *const modes[] = {"all", "any", "uni", "ballot"};
  bool found = false;
  for (uint8_t i = 0; i < 4 && !found; i++)
    if ((found = p_part(p, modes[i]))) o.sub = i;
  if (!found || !p_part(p, "sync")) return false;
  const bool ballot = o.sub == QP_SIM_VOTE_BALLOT;
  if (!p_part(p, ballot ? "b32" : "pred") || !p_all_used(p) || !operands(p, 3, 3)) return false;
  const operand *x = p->ops_in;
  if (!(ballot ? p_def(p, &o, 0, x, 'w') : p_def_pred(p, &o.r[0], x))) return false;
  if (!p_use_pred(p, &o.r[1], x + 1) || !p_use(p, &o, 2, x + 2, 'w')) return false;
  return finish(p, &o);
}

static bool decode_match(parser *p, unsigned variant) {
  (void)variant;
  qp_sim_op o = p_op(p, qp_sim_do_match, QP_SIM_SHUFFLE);
  if (p_part(p, "all"))
    o.sub = 1;
  else if (!p_part(p, "any"))
    return false;
  unsigned type;
  if (!p_part(p, "sync") || !p_part_type(p, &type) || !p_all_used(p) || !operands(p, 3, 3))
    return false;
  o.type = p_type_bits(type) == 64 ? QP_SIM_B64 : QP_SIM_B32;
  const operand *x = p->ops_in;
  if (x->second && !p_def_pred(p, &o.r[5], x->second)) return false;
  if (!p_def(p, &o, 0, x, 'w') || !p_use(p, &o, 1, x + 1, p_type_letter(type)) ||
      !p_use(p, &o, 2, x + 2, 'w'))
    return false;
  return finish(p, &o);
}

static bool decode_redux(parser *p, unsigned variant) {
  (void)variant;
  qp_sim_op o = p_op(p, qp_sim_do_redux, QP_SIM_SHUFFLE);
  static const struct {
    const char *name;
    uint8_t sub;
  } table[] = {{"add", QP_SIM_ADD}, {"min", QP_SIM_MIN}, {"max", QP_SIM_MAX},
               {"and", QP_SIM_AND}, {"or", QP_SIM_OR},   {"xor", QP_SIM_XOR}};
  bool found = false;
  for (size_t i = 0; i < sizeof table / sizeof *table && !found; i++)
    if ((found = p_part(p, table[i].name))) o.sub = table[i].sub;
  unsigned type;
  if (!found || !p_part(p, "sync") || !p_part_type(p, &type) || type == QP_SIM_F32) return false;
  if (!p_all_used(p) || !operands(p, 3, 3)) return false;
  o.type = (uint8_t)type;
  const operand *x = p->ops_in;
  if (!p_def(p, &o, 0, x, 'w') || !p_use(p, &o, 1, x + 1, 'w') || !p_use(p, &o, 2, x + 2, 'w'))
    return false;
  return finish(p, &o);
}

static bool decode_elect(parser *p, unsigned variant) {
  (void)variant;
  qp_sim_op o = p_op(p, qp_sim_do_elect, QP_SIM_SHUFFLE);
  if (!p_part(p, "sync") || !p_all_used(p) || !operands(p, 2, 2)) return false;
  const operand *x = p->ops_in;
  if (!x->second || !p_def_pred(p, &o.r[5], x->second)) return p_fail(p, "d|p is expected");
  if (!p_def(p, &o, 0, x, 'w') || !p_use(p, &o, 1, x + 1, 'w')) return false;
  return finish(p, &o);
}

static bool decode_activemask(parser *p, unsigned variant) {
  (void)variant;
  qp_sim_op o = p_op(p, qp_sim_do_activemask, QP_SIM_SHUFFLE);
  if (!p_part(p, "b32") || !p_all_used(p) || !operands(p, 1, 1)) return false;
  return p_def(p, &o, 0, p->ops_in, 'w') && finish(p, &o);
}

/* This decodes bar{.cta}.sync, barrier{.cta}.sync{.aligned} a{, b}; .arrive a, b; .red.op d, a{,
   b}, p */
static bool decode_barrier(parser *p, unsigned variant) {
  (void)variant;
  qp_sim_op o = p_op(p, qp_sim_do_barrier, QP_SIM_BARRIER);
  p_part(p, "cta");
  p_part(p, "aligned");
  const operand *x = p->ops_in;
  if (p_part(p, "warp")) {
    o.run = qp_sim_do_warpsync;
    if (!p_part(p, "sync") || !p_all_used(p) || !operands(p, 1, 1)) return false;
    return p_use(p, &o, 0, x, 'w') && finish(p, &o);
  }
  if (p_part(p, "cluster")) { /* in a cluster of one block it is a bar of its threads */
    return p_fail(p, "clusters are not simulated");
  }
  uint32_t count = p->operand_count;
  if (p_part(p, "sync")) {
    o.sub = QP_SIM_BAR_SYNC;
  } else if (p_part(p, "arrive")) {
    o.sub = QP_SIM_BAR_ARRIVE;
    if (count != 2) return p_fail(p, "a barrier number and a thread count are expected");
  } else if (p_part(p, "red")) {
    o.sub = QP_SIM_BAR_RED;
    o.sub2 = p_part(p, "popc") ? QP_SIM_POPC : p_part(p, "and") ? QP_SIM_AND : QP_SIM_OR;
    if (o.sub2 == QP_SIM_OR && !p_part(p, "or")) return false;
    if (!p_part(p, o.sub2 == QP_SIM_POPC ? "u32" : "pred") || count < 3) return false;
    if (!(o.sub2 == QP_SIM_POPC ? p_def(p, &o, 0, x, 'w') : p_def_pred(p, &o.r[0], x)))
      return false;
    if (!p_use_pred(p, &o.r[3], x + count - 1)) return false;
    x++;
    count -= 2;
  } else {
    return false;
  }
  if (!p_all_used(p)) return false;
  if (count < 1 || count > 2) return p_fail(p, "a barrier number is expected");
  o.type2 = count == 2;
  if (!p_use(p, &o, 1, x, 'w') || (count == 2 && !p_use(p, &o, 2, x + 1, 'w'))) return false;
  return finish(p, &o);
}

static bool fragment(parser *p, qp_sim_op *o, const operand *x, unsigned n, unsigned letter,
                     bool def, const char *name) {
  if (x->kind != O_VECTOR && n == 1) return p_ext(p, o, x, letter, def);
  if (x->kind != O_VECTOR || x->count != n)
    return p_fail(p, "fragment %s has %u registers", name, n);
  for (unsigned i = 0; i < n; i++)
    if (!p_ext(p, o, x->items + i, letter, def)) return false;
  return true;
}

/* This decodes mma.sync.aligned.shape.row.col.types d, a, b, c */
static bool decode_mma(parser *p, unsigned variant) {
  (void)variant;
  qp_sim_op o = p_op(p, qp_sim_do_mma, QP_SIM_MMA);
  if (!p_part(p, "sync") || !p_part(p, "aligned") || !p_part(p, "row") || !p_part(p, "col"))
    return false;
  p_part(p, "satfinite");
  char name[96] = "";
  size_t n = 0;
  for (uint32_t i = 1; i < p->parts && n < 64; i++) {
    if (p->used[i]) continue;
    n += (size_t)snprintf(name + n, sizeof name - n, "%s%.20s", n ? "." : "", p->part[i]);
    p->used[i] = true;
  }
  unsigned index, a, b, c;
  if (!qp_sim_mma_shape(name, &index, &a, &b, &c))
    return p_fail(p, "mma '%s' is not known to the simulator", name);
  if (!operands(p, 4, 4)) return false;
  o.sub = (uint8_t)index;
  const operand *x = p->ops_in;
  const unsigned letter = c == 4 && !strstr(name, "s32") ? 'f' : 'w';
  if (!fragment(p, &o, x, c, letter, true, "D") || !fragment(p, &o, x + 1, a, 'w', false, "A") ||
      !fragment(p, &o, x + 2, b, 'w', false, "B") || !fragment(p, &o, x + 3, c, letter, false, "C"))
    return false;
  return finish(p, &o);
}

/* This decodes ldmatrix.sync.aligned.m8n8.xN{.trans}{.shared}.b16 {d...}, [a]; stmatrix likewise */
static bool decode_matrix(parser *p, unsigned load) {
  qp_sim_op o = p_op(p, load ? qp_sim_do_ldmatrix : qp_sim_do_stmatrix,
                     load ? QP_SIM_LD_SHARED : QP_SIM_ST_SHARED);
  if (!p_part(p, "sync") || !p_part(p, "aligned") || !p_part(p, "m8n8")) return false;
  o.n = p_part(p, "x4") ? 4 : p_part(p, "x2") ? 2 : 1;
  p_part(p, "x1");
  o.sub = p_part(p, "trans");
  const bool shared = p_part(p, "shared") || p_part(p, "shared::cta");
  o.space = shared ? QP_SIM_SHARED : QP_SIM_GENERIC;
  if (!p_part(p, "b16") || !p_all_used(p) || !operands(p, 2, 2)) return false;
  const operand *data = p->ops_in + (load ? 0 : 1), *address = p->ops_in + (load ? 1 : 0);
  bool wide, frame;
  if (!p_address(p, &o, 1, address, &wide, &frame)) return false;
  if (wide) o.sub2 |= 4;
  if (frame) return p_fail(p, "the address must be in shared memory");
  return fragment(p, &o, data, o.n, 'w', load, "of matrices") && finish(p, &o);
}

const decoder p_decoders_warp[] = {{.name = "shfl", .decode = decode_shfl},
                                   {.name = "vote", .decode = decode_vote},
                                   {.name = "match", .decode = decode_match},
                                   {.name = "redux", .decode = decode_redux},
                                   {.name = "elect", .decode = decode_elect},
                                   {.name = "activemask", .decode = decode_activemask},
                                   {.name = "bar", .decode = decode_barrier},
                                   {.name = "barrier", .decode = decode_barrier},
                                   {.name = "mma", .decode = decode_mma},
                                   {.name = "ldmatrix", .decode = decode_matrix, .variant = true},
                                   {.name = "stmatrix", .decode = decode_matrix, .variant = false},
                                   {.name = NULL}};
