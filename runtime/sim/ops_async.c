/* SPDX-License-Identifier: MIT */
/*
** Asynchronous copies to shared memory and mbarriers.  A copy's target is marked pending when it is
** issued; the data lands when a thread waits for it (cp.async.wait_*, or a test of the mbarrier
** that it completes on).  Reading or writing the target before is a fault.
*/
#include "runtime/sim/order.h"
#include "runtime/sim/rows.h"

#include <stdlib.h>

/* Give the address in shared memory behind operand i. */
static uint32_t shared_address(const qp_sim_warp *w, const qp_sim_op *o, unsigned i, bool wide,
                               unsigned lane, uint32_t add) {
  const uint32_t *base = qp_sim_reg(w, o->r[i]);
  uint64_t a = wide ? ((const qp_sim_u64 *)base)[lane] : base[lane];
  if (wide) qp_sim_resolve(&a);
  return (uint32_t)a + add;
}

/* ---- copies ---- */

static qp_sim_copy *copy_add(qp_sim_warp *w, const qp_sim_op *o, unsigned lane) {
  qp_sim_copies *list = &w->block->copies;
  if (list->count == list->room) {
    const uint32_t room = list->room ? 2 * list->room : 256;
    qp_sim_copy *p = realloc(list->list, room * sizeof *p);
    if (!p) {
      qp_sim_fault(w, o, lane, "host memory exhausted");
      return NULL;
    }
    list->list = p;
    list->room = room;
  }
  return list->list + list->count++;
}

/* Check both ends of a copy, mark the target and queue it. */
static void copy_start(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, qp_sim_copy c) {
  const uint32_t align = c.bytes < 16 ? c.bytes : 16;
  if (c.target % align || c.source % align) {
    qp_sim_fault(w, o, lane,
                 "misaligned: a copy of %u bytes from global address 0x%llx to shared address "
                 "0x%x; both must be multiples of %u",
                 c.bytes, (unsigned long long)c.source, c.target, align);
    return;
  }
  const unsigned step = align;
  for (uint32_t i = 0; i < c.source_bytes; i++) /* The tail of a partly filled copy lands too. */
    if (i % step == 0 && c.source_bytes - i >= step) {
      if (!qp_sim_read(w, o, lane, QP_SIM_GLOBAL, c.source + i, step)) return;
      i += step - 1;
    } else if (!qp_sim_read(w, o, lane, QP_SIM_GLOBAL, c.source + i, 1)) {
      return;
    }
  for (uint32_t i = 0; i < c.bytes; i += step) {
    if (!qp_sim_write(w, o, lane, QP_SIM_SHARED, c.target + i, step)) return;
    memset(w->block->shared_shadow + c.target + i, QP_SIM_LIVE | QP_SIM_PENDING, step);
  }
  c.thread = (uint16_t)(w->index * QP_SIM_LANES + lane);
  c.op = o;
  c.clock = w->clock;
  qp_sim_copy *p = copy_add(w, o, lane);
  if (p) *p = c;
}

static void copy_land(qp_sim_warp *w, const qp_sim_copy *c) {
  qp_sim_block *b = w->block;
  const uint8_t *source = b->launch->arena->data + (c->source - QP_SIM_ARENA_BASE);
  if (c->source_bytes) memcpy(b->shared + c->target, source, c->source_bytes);
  memset(b->shared + c->target + c->source_bytes, 0, c->bytes - c->source_bytes);
  memset(b->shared_shadow + c->target, QP_SIM_LIVE | QP_SIM_INIT, c->bytes);
  b->progress++;
}

/* r: shared, global, (size, type2 1); n: bytes; mode 1: wide shared address; imm, ext: offsets */
void qp_sim_do_cp_async(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  const qp_sim_u64 *global = (const qp_sim_u64 *)qp_sim_reg(w, o->r[1]);
  const uint32_t *size = o->type2 == 1 ? qp_sim_reg(w, o->r[2]) : NULL;
  const uint32_t ignore = o->type2 == 2 ? qp_sim_pred(w, o->r[2]) : 0;
  QP_SIM_LOOP(mask, l) {
    uint32_t bytes = o->n;
    if (size && size[l] < bytes) bytes = size[l];
    if (ignore >> l & 1) bytes = 0;
    copy_start(w, o, l,
               (qp_sim_copy){
                   .source = global[l] + (uint64_t)(int64_t)(int32_t)o->ext,
                   .target = shared_address(w, o, 0, o->sub2 & 1, l, (uint32_t)o->imm),
                   .bytes = o->n,
                   .source_bytes = bytes,
                   .group = w->group[l],
               });
    if (w->event == QP_SIM_FAULT) return;
  }
}

void qp_sim_do_cp_commit(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  (void)o;
  QP_SIM_LOOP(mask, l) w->group[l]++;
}

/* imm: groups that may stay in flight; sub 1: none, committed or not */
void qp_sim_do_cp_wait(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  qp_sim_copies *list = &w->block->copies;
  uint32_t kept = 0;
  for (uint32_t i = 0; i < list->count; i++) {
    const qp_sim_copy *c = list->list + i;
    const unsigned lane = c->thread % QP_SIM_LANES;
    const bool mine = !c->barrier && c->thread / QP_SIM_LANES == w->index && mask >> lane & 1;
    if (mine && (o->sub || (c->group < w->group[lane] && w->group[lane] - c->group > o->imm)))
      copy_land(w, c);
    else
      list->list[kept++] = *c;
  }
  list->count = kept;
}

/* ---- mbarriers ---- */

static qp_sim_mbarrier *mbarrier_find(const qp_sim_block *b, uint32_t address) {
  for (uint32_t i = 0; i < b->mbarrier_count; i++)
    if (b->mbarriers[i].address == address) return b->mbarriers + i;
  return NULL;
}

static qp_sim_mbarrier *mbarrier_at(qp_sim_warp *w, const qp_sim_op *o, unsigned lane,
                                    uint32_t address) {
  qp_sim_mbarrier *m = mbarrier_find(w->block, address);
  if (!m) qp_sim_fault(w, o, lane, "there is no mbarrier at shared address 0x%x", address);
  return m;
}

static void mbarrier_init(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, uint32_t address,
                          uint32_t count) {
  qp_sim_block *b = w->block;
  if (count == 0 || count > 0xfffff) {
    qp_sim_fault(w, o, lane, "an mbarrier's count is 1 to 1048575, not %u", count);
    return;
  }
  if (!qp_sim_write(w, o, lane, QP_SIM_SHARED, address, 8)) return;
  qp_sim_mbarrier *m = mbarrier_find(b, address);
  if (!m) {
    if (b->mbarrier_count == b->mbarrier_room) {
      const uint32_t room = b->mbarrier_room ? 2 * b->mbarrier_room : 16;
      qp_sim_mbarrier *p = realloc(b->mbarriers, room * sizeof *p);
      if (!p) {
        qp_sim_fault(w, o, lane, "host memory exhausted");
        return;
      }
      b->mbarriers = p;
      b->mbarrier_room = room;
    }
    m = b->mbarriers + b->mbarrier_count++;
  }
  *m = (qp_sim_mbarrier){.address = address, .expected = count, .pending = count};
}

/* A phase ends when all have arrived and all bytes have come. */
static void mbarrier_turn(qp_sim_block *b, qp_sim_mbarrier *m) {
  if (m->pending || m->bytes) return;
  m->phase++;
  m->pending = m->expected;
  b->progress++;
}

/* Copies on the barrier land now; then see whether the phase ends. */
static void mbarrier_land(qp_sim_warp *w, qp_sim_mbarrier *m) {
  qp_sim_copies *list = &w->block->copies;
  uint32_t kept = 0;
  for (uint32_t i = 0; i < list->count; i++) {
    const qp_sim_copy *c = list->list + i;
    if (c->barrier != m->address) {
      list->list[kept++] = *c;
      continue;
    }
    copy_land(w, c);
    uint32_t *clock = m->clock + c->thread / QP_SIM_LANES; /* who waits has seen the copy */
    if (*clock <= c->clock) *clock = c->clock + 1;
    if (c->group == UINT32_MAX) m->bytes -= c->bytes; /* bulk copies count bytes */
  }
  list->count = kept;
  mbarrier_turn(w->block, m);
}

static void mbarrier_arrive(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, qp_sim_mbarrier *m,
                            uint32_t count) {
  if (count > m->pending) {
    qp_sim_fault(w, o, lane, "%u arrivals at the mbarrier at 0x%x, which expects only %u more",
                 count, m->address, m->pending);
    return;
  }
  for (uint32_t i = 0; i < w->block->warps; i++)
    if (w->seen[i] > m->clock[i]) m->clock[i] = w->seen[i];
  m->clock[w->index] = w->clock + 1;
  if (!qp_sim_far_add(&w->block->handed, w->far)) {
    qp_sim_fault(w, o, lane, "host memory exhausted");
    return;
  }
  m->pending -= count;
  mbarrier_turn(w->block, m);
}

static bool mbarrier_test(qp_sim_warp *w, qp_sim_mbarrier *m, uint32_t parity, unsigned lane) {
  mbarrier_land(w, m);
  if ((m->phase & 1) == (parity & 1)) return false;
  for (uint32_t i = 0; i < w->block->warps; i++)
    if (m->clock[i] > w->seen[i]) w->seen[i] = m->clock[i];
  if (m->clock[w->index] > w->acquired[lane]) w->acquired[lane] = m->clock[w->index];
  (void)qp_sim_far_add(&w->far, w->block->handed); /* without memory a race too many is reported */
  return true;
}

static void set_state(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, const qp_sim_mbarrier *m) {
  ((qp_sim_u64 *)qp_sim_reg(w, o->r[0]))[lane] = m->phase;
}

/* A lane's operand; 1 where the instruction has none. */
static uint32_t given(const uint32_t *operand, unsigned lane) {
  return operand ? operand[lane] : 1;
}

/* The same of an operand of 64 bits, a state as set_state writes it. */
static uint32_t given_state(const uint32_t *operand, unsigned lane) {
  return operand ? (uint32_t)((const qp_sim_u64 *)operand)[lane] : 1;
}

/*
** r: state or predicate, address, operand; sub: what; sub2 1: wide address; type2 1: there is an
** operand; n 1: there is a destination
*/
void qp_sim_do_mbarrier(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  uint32_t done = 0, published = 0;
  const uint32_t *operand = o->type2 ? qp_sim_reg(w, o->r[2]) : NULL;
  QP_SIM_LOOP(mask, l) {
    const uint32_t address = shared_address(w, o, 1, o->sub2 & 1, l, (uint32_t)o->imm);
    if (o->sub == QP_SIM_MB_INIT) {
      mbarrier_init(w, o, l, address, given(operand, l));
      if (w->event == QP_SIM_FAULT) return;
      continue;
    }
    qp_sim_mbarrier *m = mbarrier_at(w, o, l, address);
    if (!m) return;
    switch (o->sub) {
    case QP_SIM_MB_INVAL: *m = w->block->mbarriers[--w->block->mbarrier_count]; break;
    case QP_SIM_MB_ARRIVE:
      if (o->n) set_state(w, o, l, m);
      mbarrier_arrive(w, o, l, m, given(operand, l));
      published = 1;
      break;
    case QP_SIM_MB_ARRIVE_TX:
      if (o->n) set_state(w, o, l, m);
      m->bytes += given(operand, l);
      mbarrier_arrive(w, o, l, m, 1);
      published = 1;
      break;
    case QP_SIM_MB_EXPECT_TX: m->bytes += given(operand, l); break;
    case QP_SIM_MB_COMPLETE_TX:
      m->bytes -= given(operand, l);
      mbarrier_turn(w->block, m);
      break;
    case QP_SIM_MB_TEST:
    case QP_SIM_MB_TRY:
      done |= (uint32_t)mbarrier_test(w, m, given_state(operand, l), l) << l;
      break;
    default: done |= (uint32_t)mbarrier_test(w, m, given(operand, l), l) << l; break;
    }
    if (w->event == QP_SIM_FAULT) return;
  }
  if (published) w->clock++; /* what follows is not covered by the arrival */
  if (o->sub < QP_SIM_MB_TEST) return;
  qp_sim_set_pred(w, o->r[0], mask, done);
  if (done != mask) w->event = QP_SIM_YIELD; /* let others bring what is waited for */
}

/* cp.async.mbarrier.arrive: the thread's copies so far come with the mbarrier.  sub 1: .noinc */
void qp_sim_do_cp_mbarrier(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  QP_SIM_LOOP(mask, l) {
    const uint32_t address = shared_address(w, o, 1, o->sub2 & 1, l, (uint32_t)o->imm);
    qp_sim_mbarrier *m = mbarrier_at(w, o, l, address);
    if (!m) return;
    qp_sim_copies *list = &w->block->copies;
    for (uint32_t i = 0; i < list->count; i++) {
      qp_sim_copy *c = list->list + i;
      if (c->thread == w->index * QP_SIM_LANES + l && !c->barrier) c->barrier = address;
    }
    if (!o->sub) m->pending++;
    mbarrier_arrive(w, o, l, m, 1);
    if (w->event == QP_SIM_FAULT) return;
  }
  w->clock++;
}

/* ---- cp.async.bulk, global to shared: r: shared, global, bytes, mbarrier ---- */

void qp_sim_do_bulk_copy(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  const qp_sim_u64 *global = (const qp_sim_u64 *)qp_sim_reg(w, o->r[1]);
  const uint32_t *size = qp_sim_reg(w, o->r[2]);
  QP_SIM_LOOP(mask, l) {
    const uint32_t barrier = shared_address(w, o, 3, o->sub2 & 2, l, (uint32_t)o->imm);
    if (!mbarrier_at(w, o, l, barrier)) return;
    if (size[l] % 16) {
      qp_sim_fault(w, o, l, "a bulk copy of %u bytes; the size must be a multiple of 16", size[l]);
      return;
    }
    if (!size[l]) continue;
    copy_start(w, o, l,
               (qp_sim_copy){
                   .source = global[l],
                   .target = shared_address(w, o, 0, o->sub2 & 1, l, 0),
                   .bytes = size[l],
                   .source_bytes = size[l],
                   .group = UINT32_MAX,
                   .barrier = barrier,
               });
    if (w->event == QP_SIM_FAULT) return;
  }
  w->clock++;
}
