/* SPDX-License-Identifier: MIT */
/* Asynchronous copies, mbarriers, fences, and instructions that only advise. */
#include "runtime/sim/parse.h"

static bool finish(parser *p, qp_sim_op *o) {
  p_push(p, o);
  return p_ok(p);
}

static bool shared_part(parser *p) {
  return p_part(p, "shared") || p_part(p, "shared::cta") || p_part(p, "shared::cluster");
}

/* This decodes cp.async.ca|cg.shared.global{.L2...} [d], [s], 4|8|16{, source bytes | ignore}{,
   policy} */
static bool decode_cp_plain(parser *p) {
  qp_sim_op o = p_op(p, qp_sim_do_cp_async, QP_SIM_ASYNC);
  const bool cg = p_part(p, "cg");
  if (!cg && !p_part(p, "ca")) return false;
  const bool hint = p_part(p, "L2::cache_hint");
  p_part(p, "L2::64B");
  p_part(p, "L2::128B");
  p_part(p, "L2::256B");
  if (!shared_part(p) || !p_part(p, "global") || !p_all_used(p)) return false;
  const uint32_t count = p->operand_count - hint;
  const operand *x = p->ops_in;
  if (count < 3 || count > 4) return p_fail(p, "three or four operands are expected");
  if (x[2].kind != O_INT || (x[2].value != 16 && (cg || (x[2].value != 4 && x[2].value != 8))))
    return p_fail(p, "the copy's size must be %s", cg ? "16" : "4, 8 or 16");
  o.n = (uint8_t)x[2].value;
  bool wide, frame;
  if (!p_address(p, &o, 1, x + 1, &wide, &frame)) return false;
  if (!wide) return p_fail(p, "the source must be a global address of 64 bits");
  const int64_t source = o.imm;
  if (!p_address(p, &o, 0, x, &wide, &frame)) return false;
  o.sub2 = wide;
  o.ext = (uint32_t)(int32_t)source;
  if (count == 4) {
    o.type2 = x[3].kind == O_PRED ? 2 : 1;
    if (!(o.type2 == 2 ? p_use_pred(p, &o.r[2], x + 3) : p_use(p, &o, 2, x + 3, 'w'))) return false;
  }
  return finish(p, &o);
}

/* This decodes cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [d], [s], size,
   [mbarrier] */
static bool decode_cp_bulk(parser *p) {
  qp_sim_op o = p_op(p, qp_sim_do_bulk_copy, QP_SIM_ASYNC);
  if (p_part(p, "prefetch")) { /* to L2 */
    o.run = qp_sim_do_nop;
    return finish(p, &o);
  }
  const bool hint = p_part(p, "L2::cache_hint");
  if (!shared_part(p) || !p_part(p, "global") || !p_part(p, "mbarrier::complete_tx::bytes"))
    return false;
  if (!p_all_used(p)) return false;
  if (p->operand_count != 4u + hint) return p_fail(p, "four operands are expected");
  const operand *x = p->ops_in;
  bool wide, frame;
  if (!p_address(p, &o, 0, x, &wide, &frame)) return false;
  if (o.imm) return p_fail(p, "the simulator takes no offset in the target of a bulk copy");
  o.sub2 |= wide ? 1 : 0;
  if (!p_address(p, &o, 1, x + 1, &wide, &frame)) return false;
  if (o.imm || !wide) return p_fail(p, "the source must be a 64-bit register without offset");
  if (!p_use(p, &o, 2, x + 2, 'w') || !p_address(p, &o, 3, x + 3, &wide, &frame)) return false;
  o.sub2 |= wide ? 2 : 0;
  return finish(p, &o);
}

static bool decode_cp(parser *p, unsigned variant) {
  (void)variant;
  if (!p_part(p, "async")) return false;
  if (p_part(p, "bulk")) return decode_cp_bulk(p);
  qp_sim_op o = p_op(p, qp_sim_do_cp_commit, QP_SIM_ASYNC);
  if (p_part(p, "commit_group")) return p_all_used(p) && finish(p, &o);
  o.run = qp_sim_do_cp_wait;
  if (p_part(p, "wait_all")) {
    o.sub = 1;
    return p_all_used(p) && finish(p, &o);
  }
  if (p_part(p, "wait_group")) {
    if (p->operand_count != 1 || p->ops_in[0].kind != O_INT)
      return p_fail(p, "a number of groups is expected");
    o.imm = p->ops_in[0].value;
    return p_all_used(p) && finish(p, &o);
  }
  if (p_part(p, "mbarrier")) {
    o.run = qp_sim_do_cp_mbarrier;
    bool wide, frame;
    if (!p_part(p, "arrive")) return false;
    o.sub = p_part(p, "noinc");
    shared_part(p);
    p_part(p, "b64");
    if (!p_all_used(p) || !p_address(p, &o, 1, p->ops_in, &wide, &frame)) return false;
    o.sub2 = wide;
    return finish(p, &o);
  }
  return decode_cp_plain(p);
}

static bool mbarrier_what(parser *p, uint8_t *sub) {
  const bool parity = p_part(p, "parity");
  if (p_part(p, "init"))
    *sub = QP_SIM_MB_INIT;
  else if (p_part(p, "inval"))
    *sub = QP_SIM_MB_INVAL;
  else if (p_part(p, "arrive"))
    *sub = p_part(p, "expect_tx") ? QP_SIM_MB_ARRIVE_TX : QP_SIM_MB_ARRIVE;
  else if (p_part(p, "expect_tx"))
    *sub = QP_SIM_MB_EXPECT_TX;
  else if (p_part(p, "complete_tx"))
    *sub = QP_SIM_MB_COMPLETE_TX;
  else if (p_part(p, "test_wait"))
    *sub = parity ? QP_SIM_MB_TEST_PARITY : QP_SIM_MB_TEST;
  else if (p_part(p, "try_wait"))
    *sub = parity ? QP_SIM_MB_TRY_PARITY : QP_SIM_MB_TRY;
  else
    return false;
  return true;
}

static bool decode_mbarrier(parser *p, unsigned variant) {
  (void)variant;
  qp_sim_op o = p_op(p, qp_sim_do_mbarrier, QP_SIM_BARRIER);
  static const char *const orders[] = {"release", "acquire", "relaxed", "cta", "cluster"};
  for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) p_part(p, orders[i]);
  if (!mbarrier_what(p, &o.sub)) return false;
  shared_part(p);
  if (!p_part(p, "b64") || !p_all_used(p)) return false;
  const operand *x = p->ops_in;
  uint32_t left = p->operand_count;
  const bool test = o.sub >= QP_SIM_MB_TEST;
  const bool arrive = o.sub == QP_SIM_MB_ARRIVE || o.sub == QP_SIM_MB_ARRIVE_TX;
  if (test && !p_def_pred(p, &o.r[0], x)) return false;
  if (arrive && left > 1 && x->kind != O_ADDRESS) {
    o.n = x->kind != O_SINK;
    if (o.n && !p_def(p, &o, 0, x, 'd')) return false;
  }
  if (test || (arrive && left > 1 && x->kind != O_ADDRESS)) {
    x++;
    left--;
  }
  bool wide, frame;
  if (!left || !p_address(p, &o, 1, x++, &wide, &frame)) return p_fail(p, "an address is expected");
  o.sub2 = wide;
  left--;
  const bool state = o.sub == QP_SIM_MB_TEST || o.sub == QP_SIM_MB_TRY;
  const bool needs = o.sub != QP_SIM_MB_INVAL && o.sub != QP_SIM_MB_ARRIVE;
  if (needs && !left) return p_fail(p, "an operand is missing");
  if (left) { /* a try_wait may end with a time limit, which is of no matter here */
    o.type2 = 1;
    if (!p_use(p, &o, 2, x, state ? 'd' : 'w')) return false;
  }
  return finish(p, &o);
}

static bool decode_createpolicy(parser *p, unsigned variant) {
  (void)variant;
  qp_sim_op o = p_op(p, qp_sim_do_createpolicy, QP_SIM_OTHER);
  if (p->operand_count < 1) return p_fail(p, "a destination is expected");
  return p_def(p, &o, 0, p->ops_in, 'd') && finish(p, &o);
}

/* griddepcontrol.{launch_dependents,wait} */
static bool decode_griddepcontrol(parser *p, unsigned variant) {
  (void)variant;
  const bool wait = p_part(p, "wait");
  if (!wait && !p_part(p, "launch_dependents"))
    return p_fail(p, "griddepcontrol.launch_dependents or griddepcontrol.wait is expected");
  qp_sim_op o = p_op(p, wait ? qp_sim_do_grid_wait : qp_sim_do_grid_go, QP_SIM_OTHER);
  return finish(p, &o);
}

/* This decodes fence{.sc,.acq_rel}.SCOPE and membar.LEVEL.  Those of proxies order nothing of
   ordinary accesses, and one of a block's scope is not relied on. */
static bool decode_fence(parser *p, unsigned variant) {
  (void)variant;
  const bool idle = p_part(p, "proxy") || p_part(p, "mbarrier_init") || p_part(p, "cta");
  qp_sim_op o = p_op(p, idle ? qp_sim_do_nop : qp_sim_do_fence, QP_SIM_BARRIER);
  return finish(p, &o);
}

/* Without effect here: caches are not modelled. */
static bool decode_idle(parser *p, unsigned kind) {
  qp_sim_op o = p_op(p, qp_sim_do_nop, (qp_sim_kind)kind);
  return finish(p, &o);
}

const decoder p_decoders_async[] = {
    {.name = "cp", .decode = decode_cp},
    {.name = "mbarrier", .decode = decode_mbarrier},
    {.name = "griddepcontrol", .decode = decode_griddepcontrol},
    {.name = "createpolicy", .decode = decode_createpolicy},
    {.name = "fence", .decode = decode_fence},
    {.name = "membar", .decode = decode_fence},
    {.name = "prefetch", .decode = decode_idle, .variant = QP_SIM_OTHER},
    {.name = "prefetchu", .decode = decode_idle, .variant = QP_SIM_OTHER},
    {.name = "applypriority", .decode = decode_idle, .variant = QP_SIM_OTHER},
    {.name = "nanosleep", .decode = decode_idle, .variant = QP_SIM_OTHER},
    {.name = "setmaxnreg", .decode = decode_idle, .variant = QP_SIM_OTHER},
    {.name = "pmevent", .decode = decode_idle, .variant = QP_SIM_OTHER},
    {.name = NULL}};
