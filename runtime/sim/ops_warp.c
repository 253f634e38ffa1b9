/* SPDX-License-Identifier: MIT */
/* Executes collectives of a warp: it gathers lanes, then shuffles, votes, matches or reduces. */
#include "runtime/sim/order.h"
#include "runtime/sim/rows.h"

#define HANDLER(name) void name(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask)

void qp_sim_order_lanes(qp_sim_warp *w, uint32_t lanes) {
  w->clock++;
  QP_SIM_LOOP(lanes, l) w->synced[l] = w->clock;
  qp_sim_order_share(w, lanes);
}

/* ---- gathering ---- */

/* Do two ops of one kind pair up though they are at different places in the text? */
static bool alike(const qp_sim_op *x, const qp_sim_op *y, const qp_sim_collective *how) {
  if (x == y) return true;
  return how->any_place && x->run == y->run && x->sub == y->sub && x->type == y->type;
}

/* Lanes that wait for the same lanes at an op like 'o'. */
static uint32_t waiting_alike(const qp_sim_warp *w, const qp_sim_op *o, uint32_t members,
                              const qp_sim_collective *how) {
  const qp_sim_op *ops = w->block->launch->code->ops;
  uint32_t found = 0;
  QP_SIM_LOOP(w->parked & members, l) {
    if (w->members[l] == members && alike(ops + w->pc[l], o, how)) found |= 1u << l;
  }
  return found;
}

static void complete_parked(qp_sim_warp *w, uint32_t all, const qp_sim_collective *how) {
  const qp_sim_op *ops = w->block->launch->code->ops;
  for (int stage = 0; stage < 2; stage++) {
    for (uint32_t left = all; left && w->event != QP_SIM_FAULT;) {
      const uint32_t pc = w->pc[qp_sim_lane(left)];
      uint32_t here = 0;
      QP_SIM_LOOP(left, l) {
        if (w->pc[l] == pc) here |= 1u << l;
      }
      if (stage == 0 && how->offer) how->offer(w, ops + pc, here);
      if (stage == 1) how->take(w, ops + pc, here, all);
      left &= ~here;
    }
  }
  QP_SIM_LOOP(all, l) w->pc[l]++;
  w->parked &= ~all;
  w->ready |= all;
  w->block->progress++;
  if (how->orders) qp_sim_order_lanes(w, all);
}

/* Everyone named must be there: exited lanes count as there, unless all 32 are needed. */
static bool all_here(qp_sim_warp *w, const qp_sim_op *o, uint32_t members, uint32_t here,
                     const qp_sim_collective *how, unsigned lane) {
  if (how->full && w->live != UINT32_MAX) {
    qp_sim_fault(w, o, lane,
                 "needs all 32 lanes of the warp, but lanes 0x%08x have ended or "
                 "are not part of the block",
                 ~w->live);
    return false;
  }
  return !(members & w->live & ~here);
}

void qp_sim_gather(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask, const uint32_t *members,
                   const qp_sim_collective *how) {
  if (!mask) { /* a lane has ended: does that complete what others wait for? */
    const uint32_t found = waiting_alike(w, o, *members, how);
    if (found && all_here(w, o, *members, found, how, qp_sim_lane(found)))
      complete_parked(w, found, how);
    return;
  }
  const unsigned first = qp_sim_lane(mask);
  bool same = true;
  QP_SIM_LOOP(mask, l) {
    same &= members[l] == members[first];
    if (!(members[l] >> l & 1)) {
      qp_sim_fault(w, o, l, "the lane is not in the member mask 0x%08x that it gives", members[l]);
      return;
    }
  }
  if (same && all_here(w, o, members[first], mask, how, first)) {
    if (w->event == QP_SIM_FAULT) return;
    if (how->offer) how->offer(w, o, mask);
    how->take(w, o, mask, mask);
    if (how->orders) qp_sim_order_lanes(w, mask);
    return;
  }
  if (w->event == QP_SIM_FAULT) return;
  QP_SIM_LOOP(mask, l) {
    w->members[l] = members[l];
    w->pc[l] = w->here;
  }
  w->parked |= mask;
  w->ready &= ~mask;
  w->active &= ~mask;
  for (uint32_t left = mask; left && w->event != QP_SIM_FAULT; left &= left - 1) {
    const unsigned l = qp_sim_lane(left);
    if (!(w->parked >> l & 1)) continue;
    const uint32_t found = waiting_alike(w, o, w->members[l], how);
    if (all_here(w, o, w->members[l], found, how, l)) complete_parked(w, found, how);
  }
  /* lanes that went on must not be overtaken by the rest of the group */
  if (w->event == QP_SIM_NONE) w->event = QP_SIM_REGROUP;
}

static void gather_by(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask, int32_t members,
                      const qp_sim_collective *how) {
  qp_sim_gather(w, o, mask, qp_sim_reg(w, members), how);
}

/* ---- shfl: r = d, a, b, c, members; r[5] predicate or 0 ---- */

static void shfl_offer(qp_sim_warp *w, const qp_sim_op *o, uint32_t lanes) {
  const uint32_t *a = qp_sim_reg(w, o->r[1]);
  QP_SIM_LOOP(lanes, l) w->offer[0][l] = a[l];
}

static void shfl_take(qp_sim_warp *w, const qp_sim_op *o, uint32_t lanes, uint32_t all) {
  uint32_t *d = qp_sim_reg(w, o->r[0]);
  const uint32_t *b = qp_sim_reg(w, o->r[2]), *c = qp_sim_reg(w, o->r[3]);
  uint32_t in_range = 0;
  QP_SIM_LOOP(lanes, l) {
    const uint32_t n = b[l] & 31, clamp = c[l] & 31, segment = c[l] >> 8 & 31;
    const uint32_t max = (l & segment) | (clamp & ~segment), min = l & segment;
    uint32_t from;
    bool ok;
    switch (o->sub) {
    case QP_SIM_SHFL_UP:
      from = l - n;
      ok = (int32_t)from >= (int32_t)max;
      break;
    case QP_SIM_SHFL_DOWN:
      from = l + n;
      ok = from <= max;
      break;
    case QP_SIM_SHFL_BFLY:
      from = l ^ n;
      ok = from <= max;
      break;
    default:
      from = min | (n & ~segment);
      ok = from <= max;
      break;
    }
    if (!ok) from = l;
    in_range |= (uint32_t)ok << l;
    if (!(all >> from & 1)) {
      qp_sim_fault(w, o, l, "reads lane %u, which does not take part (0x%08x do)", from, all);
      return;
    }
    d[l] = w->offer[0][from];
  }
  if (o->r[5]) qp_sim_set_pred(w, o->r[5], lanes, in_range);
}
static const qp_sim_collective shfl = {shfl_offer, shfl_take, true, false, false};
HANDLER(qp_sim_do_shfl) { gather_by(w, o, mask, o->r[4], &shfl); }

/* ---- vote: r = d (predicate or register), predicate, members ---- */

static void vote_offer(qp_sim_warp *w, const qp_sim_op *o, uint32_t lanes) {
  const uint32_t p = qp_sim_pred(w, o->r[1]);
  QP_SIM_LOOP(lanes, l) w->offer[0][l] = p >> l & 1;
}
static void vote_take(qp_sim_warp *w, const qp_sim_op *o, uint32_t lanes, uint32_t all) {
  uint32_t ballot = 0;
  QP_SIM_LOOP(all, l) ballot |= w->offer[0][l] << l;
  if (o->sub == QP_SIM_VOTE_BALLOT) {
    uint32_t *d = qp_sim_reg(w, o->r[0]);
    QP_SIM_LOOP(lanes, l) d[l] = ballot;
    return;
  }
  const bool yes = o->sub == QP_SIM_VOTE_ALL   ? ballot == all
                   : o->sub == QP_SIM_VOTE_ANY ? ballot != 0
                                               : ballot == all || ballot == 0;
  qp_sim_set_pred(w, o->r[0], lanes, yes ? UINT32_MAX : 0);
}
static const qp_sim_collective vote = {vote_offer, vote_take, true, false, false};
HANDLER(qp_sim_do_vote) { gather_by(w, o, mask, o->r[2], &vote); }

/* ---- match: r = d, a, members; r[5] predicate (all) or 0; sub 1: all ---- */

static void match_offer(qp_sim_warp *w, const qp_sim_op *o, uint32_t lanes) {
  const uint32_t *a = qp_sim_reg(w, o->r[1]);
  QP_SIM_LOOP(lanes, l) w->wide[l] = o->type == QP_SIM_B64 ? ((const qp_sim_u64 *)a)[l] : a[l];
}
static uint32_t equal_lanes(const qp_sim_warp *w, uint32_t all, uint64_t value) {
  uint32_t same = 0;
  QP_SIM_LOOP(all, l) same |= (uint32_t)(w->wide[l] == value) << l;
  return same;
}
static void match_take(qp_sim_warp *w, const qp_sim_op *o, uint32_t lanes, uint32_t all) {
  uint32_t *d = qp_sim_reg(w, o->r[0]);
  uint32_t agree = 0;
  QP_SIM_LOOP(lanes, l) {
    const uint32_t same = equal_lanes(w, all, w->wide[l]);
    d[l] = o->sub ? (same == all ? all : 0) : same;
    agree |= (uint32_t)(same == all) << l;
  }
  if (o->r[5]) qp_sim_set_pred(w, o->r[5], lanes, agree);
}
static const qp_sim_collective match = {match_offer, match_take, true, false, false};
HANDLER(qp_sim_do_match) { gather_by(w, o, mask, o->r[2], &match); }

/* ---- redux: r = d, a, members ---- */

static void redux_take(qp_sim_warp *w, const qp_sim_op *o, uint32_t lanes, uint32_t all) {
  uint32_t r = w->offer[0][qp_sim_lane(all)];
  QP_SIM_LOOP(all & (all - 1), l) {
    const uint32_t v = w->offer[0][l];
    switch (o->sub) {
    case QP_SIM_ADD: r += v; break;
    case QP_SIM_AND: r &= v; break;
    case QP_SIM_OR: r |= v; break;
    case QP_SIM_XOR: r ^= v; break;
    case QP_SIM_MIN: r = (o->type == QP_SIM_S32 ? (int32_t)v < (int32_t)r : v < r) ? v : r; break;
    default: r = (o->type == QP_SIM_S32 ? (int32_t)v > (int32_t)r : v > r) ? v : r; break;
    }
  }
  uint32_t *d = qp_sim_reg(w, o->r[0]);
  QP_SIM_LOOP(lanes, l) d[l] = r;
}
static const qp_sim_collective redux = {shfl_offer, redux_take, true, false, false};
HANDLER(qp_sim_do_redux) { gather_by(w, o, mask, o->r[2], &redux); }

/* ---- elect: r = d, members; r[5] predicate ---- */

static void elect_take(qp_sim_warp *w, const qp_sim_op *o, uint32_t lanes, uint32_t all) {
  const unsigned leader = qp_sim_lane(all);
  uint32_t *d = qp_sim_reg(w, o->r[0]);
  QP_SIM_LOOP(lanes, l) d[l] = leader;
  qp_sim_set_pred(w, o->r[5], lanes, 1u << leader);
}
static const qp_sim_collective elect = {NULL, elect_take, true, false, false};
HANDLER(qp_sim_do_elect) { gather_by(w, o, mask, o->r[1], &elect); }

HANDLER(qp_sim_do_activemask) {
  uint32_t *d = qp_sim_reg(w, o->r[0]);
  QP_SIM_LOOP(mask, l) d[l] = mask;
}

/* ---- bar.warp.sync: r = members ---- */

static void nothing(qp_sim_warp *w, const qp_sim_op *o, uint32_t lanes, uint32_t all) {
  (void)w;
  (void)o;
  (void)lanes;
  (void)all;
}
static const qp_sim_collective warpsync = {.take = nothing, .any_place = true, .orders = true};
HANDLER(qp_sim_do_warpsync) { gather_by(w, o, mask, o->r[0], &warpsync); }

/* ---- instructions of the whole warp ---- */

extern const qp_sim_collective qp_sim_mma_collective, qp_sim_ldmatrix_collective,
    qp_sim_stmatrix_collective;
static const uint32_t everyone[QP_SIM_LANES] = {
    [0 ... QP_SIM_LANES - 1] = UINT32_MAX,
};
HANDLER(qp_sim_do_mma) { qp_sim_gather(w, o, mask, everyone, &qp_sim_mma_collective); }
HANDLER(qp_sim_do_ldmatrix) { qp_sim_gather(w, o, mask, everyone, &qp_sim_ldmatrix_collective); }
HANDLER(qp_sim_do_stmatrix) { qp_sim_gather(w, o, mask, everyone, &qp_sim_stmatrix_collective); }

const qp_sim_collective *qp_sim_collective_of(const qp_sim_op *o) {
  static const struct {
    qp_sim_fn run;
    const qp_sim_collective *how;
  } table[] = {
      {qp_sim_do_shfl, &shfl},
      {qp_sim_do_vote, &vote},
      {qp_sim_do_match, &match},
      {qp_sim_do_redux, &redux},
      {qp_sim_do_elect, &elect},
      {qp_sim_do_warpsync, &warpsync},
      {qp_sim_do_mma, &qp_sim_mma_collective},
      {qp_sim_do_ldmatrix, &qp_sim_ldmatrix_collective},
      {qp_sim_do_stmatrix, &qp_sim_stmatrix_collective},
  };
  for (size_t i = 0; i < sizeof table / sizeof *table; i++)
    if (table[i].run == o->run) return table[i].how;
  return NULL;
}
