/* SPDX-License-Identifier: MIT */
/* Block-level barriers: bar, barrier (sync, arrive, red), with and without thread counts. */
#include "runtime/sim/order.h"
#include "runtime/sim/rows.h"

#include <stdlib.h>

/* What participants have learnt of other blocks. */
static void share_far(qp_sim_warp *self, const qp_sim_barrier *bar) {
  qp_sim_block *b = self->block;
  qp_sim_far *all = NULL;
  bool good = true;
  for (uint32_t i = 0; i < b->warps && good; i++)
    if (bar->came[i]) good = qp_sim_far_add(&all, b->warp[i].far);
  for (uint32_t i = 0; i < b->warps && good; i++)
    if (bar->waiting[i]) good = qp_sim_far_add(&b->warp[i].far, all);
  free(all);
  if (!good) qp_sim_fault(self, b->launch->code->ops + self->here, 0, "host memory exhausted");
}

/* What each participant did before is ordered before what all do after. */
static void order_warps(qp_sim_block *b, const qp_sim_barrier *bar) {
  uint32_t newest[QP_SIM_WARPS] = {0};
  bool everybody = true;
  for (uint32_t i = 0; i < b->warps; i++) {
    qp_sim_warp *w = b->warp + i;
    const uint32_t lanes = w->live;
    everybody &= (bar->came[i] & lanes) == lanes;
    if (!bar->came[i]) continue;
    qp_sim_order_lanes(w, bar->came[i]);
    for (uint32_t j = 0; j < b->warps; j++)
      if (w->seen[j] > newest[j]) newest[j] = w->seen[j];
    newest[i] = w->clock;
  }
  for (uint32_t i = 0; i < b->warps; i++) {
    if (!bar->waiting[i]) continue; /* who only arrives learns nothing */
    memcpy(b->warp[i].seen, newest, sizeof newest);
  }
  if (!everybody) return;
  b->generation++;
  memcpy(b->generation_clock, newest, sizeof newest);
}

static void reduce(qp_sim_warp *w, const qp_sim_op *o, uint32_t lanes, const qp_sim_barrier *bar) {
  uint32_t count = 0;
  for (unsigned i = 0; i < QP_SIM_WARPS; i++)
    count += (uint32_t)__builtin_popcount(bar->value[i] & bar->came[i]);
  if (o->sub2 == QP_SIM_POPC) {
    uint32_t *d = qp_sim_reg(w, o->r[0]);
    QP_SIM_LOOP(lanes, l) d[l] = count;
    return;
  }
  const bool yes = o->sub2 == QP_SIM_AND ? count == bar->arrived : count != 0;
  qp_sim_set_pred(w, o->r[0], lanes, yes ? UINT32_MAX : 0);
}

static void complete(qp_sim_warp *self, qp_sim_barrier *bar) {
  qp_sim_block *b = self->block;
  const qp_sim_op *ops = b->launch->code->ops;
  order_warps(b, bar);
  if (b->launch->order) share_far(self, bar);
  for (uint32_t i = 0; i < b->warps; i++) {
    qp_sim_warp *w = b->warp + i;
    QP_SIM_LOOP(bar->waiting[i], l) {
      const qp_sim_op *o = ops + w->pc[l];
      if (o->sub == QP_SIM_BAR_RED) reduce(w, o, 1u << l, bar);
      w->pc[l]++;
    }
    w->ready |= bar->waiting[i];
  }
  *bar = (qp_sim_barrier){0};
  b->progress++;
}

static bool check(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, uint32_t id,
                  uint32_t expected) {
  const qp_sim_block *b = w->block;
  if (id >= QP_SIM_BARRIERS) {
    qp_sim_fault(w, o, lane, "there is no barrier %u (0 to %u)", id, QP_SIM_BARRIERS - 1);
    return false;
  }
  if (expected % QP_SIM_LANES && expected != b->threads) {
    qp_sim_fault(w, o, lane, "barrier %u: the count %u is not a multiple of 32", id, expected);
    return false;
  }
  if (expected > b->threads) {
    qp_sim_fault(w, o, lane, "barrier %u: the count %u is larger than the block (%u threads)", id,
                 expected, b->threads);
    return false;
  }
  const qp_sim_barrier *bar = b->barriers + id;
  if (bar->expected && bar->expected != expected) {
    qp_sim_fault(w, o, lane, "barrier %u: threads that are there expect %u threads, this one %u",
                 id, bar->expected, expected);
    return false;
  }
  if (bar->came[w->index] >> lane & 1) {
    qp_sim_fault(w, o, lane, "arrives twice at barrier %u before it completes", id);
    return false;
  }
  return true;
}

/*
** r: result (red), id, count (type2 1: given), predicate (red); sub: what; sub2: reduction.  Lanes
** of one group with different ids are taken one id at a time.
*/
void qp_sim_do_barrier(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  qp_sim_block *b = w->block;
  const uint32_t *ids = qp_sim_reg(w, o->r[1]);
  const uint32_t *counts = o->type2 ? qp_sim_reg(w, o->r[2]) : NULL;
  const uint32_t pred = o->sub == QP_SIM_BAR_RED ? qp_sim_pred(w, o->r[3]) : 0;
  uint32_t touched = 0;
  QP_SIM_LOOP(mask, l) {
    const uint32_t id = ids[l], expected = counts ? counts[l] : b->threads;
    if (!check(w, o, l, id, expected)) return;
    qp_sim_barrier *bar = b->barriers + id;
    const uint32_t bit = 1u << l;
    bar->expected = expected;
    bar->arrived++;
    bar->came[w->index] |= bit;
    bar->value[w->index] |= pred & bit;
    touched |= 1u << id;
    if (o->sub != QP_SIM_BAR_ARRIVE) {
      bar->waiting[w->index] |= bit;
      w->pc[l] = w->here;
    }
  }
  if (o->sub != QP_SIM_BAR_ARRIVE) {
    w->ready &= ~mask;
    w->active &= ~mask;
    w->event = QP_SIM_REGROUP;
  }
  b->progress++;
  QP_SIM_LOOP(touched, id) {
    qp_sim_barrier *bar = b->barriers + id;
    if (bar->arrived >= bar->expected) complete(w, bar);
  }
}

void qp_sim_do_fence(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  qp_sim_order_fence(w, o, mask);
}
