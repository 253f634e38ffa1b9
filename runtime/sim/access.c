/* SPDX-License-Identifier: MIT */
/* Checks accesses of single lanes to global, shared and local memory; it finds races in shared
   memory. */
#include "runtime/sim/order.h"
#include "runtime/sim/overlap.h"
#include "runtime/sim/race.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct view {
  uint8_t *data, *shadow;
} view;

static const char *space_name(unsigned space) {
  static const char *const names[] = {"generic", "global", "shared", "local", "parameter"};
  return names[space];
}

qp_sim_space qp_sim_resolve(uint64_t *address) {
  if (*address - QP_SIM_SHARED_BASE < QP_SIM_WINDOW_BYTES) {
    *address -= QP_SIM_SHARED_BASE;
    return QP_SIM_SHARED;
  }
  if (*address - QP_SIM_LOCAL_BASE < QP_SIM_WINDOW_BYTES) {
    *address -= QP_SIM_LOCAL_BASE;
    return QP_SIM_LOCAL;
  }
  if (*address - QP_SIM_PARAM_BASE < QP_SIM_WINDOW_BYTES) {
    *address -= QP_SIM_PARAM_BASE;
    return QP_SIM_PARAM;
  }
  return QP_SIM_GLOBAL;
}

/* Where a global address stands to the nearest allocation, for a message. */
static void describe_global(const qp_sim_arena *a, uint64_t address, char *out, size_t n) {
  const qp_sim_alloc *p = qp_sim_arena_before(a, address);
  if (!p) {
    snprintf(out, n, "before every allocation");
    return;
  }
  const uint64_t base = QP_SIM_ARENA_BASE + p->offset;
  snprintf(out, n, "%lld bytes from the start of the allocation of %llu bytes at 0x%llx",
           (long long)(address - base), (unsigned long long)p->bytes, (unsigned long long)base);
}

static void fault_bounds(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, unsigned space,
                         uint64_t address, unsigned bytes) {
  const qp_sim_block *b = w->block;
  char where[160];
  if (space == QP_SIM_GLOBAL)
    describe_global(b->launch->arena, address, where, sizeof where);
  else if (space == QP_SIM_SHARED)
    snprintf(where, sizeof where, "the block's shared memory is 0x%x..0x%x", QP_SIM_SHARED_START,
             b->shared_bytes);
  else
    snprintf(where, sizeof where, "there are %u bytes",
             space == QP_SIM_PARAM ? b->launch->param_bytes : b->frame_bytes);
  qp_sim_fault(w, o, lane, "out of bounds: %u bytes at %s address 0x%llx (%s)", bytes,
               space_name(space), (unsigned long long)address, where);
}

static inline bool locate(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, unsigned space,
                          uint64_t address, unsigned bytes, view *v) {
  const qp_sim_block *b = w->block;
  uint64_t limit;
  switch (space) {
  case QP_SIM_GLOBAL:
    address -= QP_SIM_ARENA_BASE;
    limit = QP_SIM_ARENA_BYTES;
    *v = (view){b->launch->arena->data, b->launch->arena->shadow};
    break;
  case QP_SIM_SHARED:
    limit = b->shared_bytes;
    *v = (view){b->shared, b->shared_shadow};
    break;
  case QP_SIM_PARAM: /* only read */
    limit = b->launch->param_bytes;
    *v = (view){(uint8_t *)(uintptr_t)b->launch->params,
                (uint8_t *)(uintptr_t)b->launch->params_shadow};
    break;
  default: {
    limit = b->frame_bytes;
    const size_t frame = (size_t)(w->index * QP_SIM_LANES + lane) * b->frame_bytes;
    *v = (view){b->local + frame, b->local_shadow + frame};
    break;
  }
  }
  if (address >= limit || bytes > limit - address) {
    fault_bounds(w, o, lane, space, space == QP_SIM_GLOBAL ? address + QP_SIM_ARENA_BASE : address,
                 bytes);
    return false;
  }
  v->data += address;
  v->shadow += address;
  return true;
}

/* The shadow forbids an access: find the first bad byte and say why. */
static bool explain(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, unsigned space,
                    uint64_t address, unsigned bytes, const uint8_t *shadow, bool write) {
  for (unsigned i = 0; i < bytes; i++) {
    const uint8_t s = shadow[i];
    const unsigned long long at = address + i;
    if (!(s & QP_SIM_LIVE)) {
      fault_bounds(w, o, lane, space, address, bytes);
      return false;
    }
    if (s & QP_SIM_PENDING) {
      qp_sim_fault(w, o, lane,
                   "%s address 0x%llx is the target of an asynchronous copy that has not been "
                   "waited for",
                   space_name(space), at);
      return false;
    }
    if (write && (s & QP_SIM_READONLY)) {
      qp_sim_fault(w, o, lane, "write to constant memory at address 0x%llx", at);
      return false;
    }
    if (!write && !(s & QP_SIM_INIT) && w->block->launch->switches.uninitialised) {
      qp_sim_fault(w, o, lane, "uninitialised: nothing has written %s address 0x%llx",
                   space_name(space), at);
      return false;
    }
  }
  return true;
}

static inline bool aligned(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, unsigned space,
                           uint64_t address, unsigned bytes) {
  if (!(address & (bytes - 1))) return true;
  qp_sim_fault(w, o, lane, "misaligned: %s address 0x%llx of an access of %u bytes",
               space_name(space), (unsigned long long)address, bytes);
  return false;
}

/* ---- races ---- */

static void fault_race(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, const char *now,
                       const char *then, unsigned other, uint64_t address) {
  qp_sim_fault(w, o, lane,
               "race: %s shared address 0x%llx, which thread %u %s with no synchronisation between",
               now, (unsigned long long)address, other, then);
}

static inline void touch_read(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, uint32_t word,
                              uint8_t bytes, bool strong) {
  qp_sim_touch *t = w->block->touch + word;
  const unsigned me = w->index * QP_SIM_LANES + lane;
  if (t->writer != QP_SIM_NOBODY && t->writer != me && (t->write_bytes & bytes) &&
      !(strong && t->write_strong) && !qp_sim_ordered(w, lane, t->writer, t->write_clock)) {
    fault_race(w, o, lane, "reads", "wrote", t->writer, 4 * (uint64_t)word);
    return;
  }
  /* a strong read only races with weak writes; those are seen from there */
  if (!strong) qp_sim_note_reader(t, me, w->block->generation, w->clock, bytes);
}

/* Another thread's read that this write is not ordered after, or QP_SIM_NOBODY. */
static unsigned unordered_reader(const qp_sim_warp *w, unsigned lane, const qp_sim_touch *t,
                                 uint8_t bytes) {
  if (t->reader == QP_SIM_NOBODY || !(t->read_bytes & bytes)) return QP_SIM_NOBODY;
  const unsigned me = w->index * QP_SIM_LANES + lane;
  if (t->reader != me && !qp_sim_ordered(w, lane, t->reader, t->read_clock)) return t->reader;
  if (!t->read_many || t->read_generation != w->block->generation) return QP_SIM_NOBODY;
  /* warps of which nothing at all has been seen since the last block-wide barrier */
  QP_SIM_LOOP(t->read_warps & ~(1u << w->index), other) {
    if (w->seen[other] <= w->block->generation_clock[other]) return other * QP_SIM_LANES;
  }
  return QP_SIM_NOBODY;
}

static inline void touch_write(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, uint32_t word,
                               uint8_t bytes, bool strong) {
  qp_sim_touch *t = w->block->touch + word;
  const unsigned me = w->index * QP_SIM_LANES + lane;
  if (t->writer != QP_SIM_NOBODY && t->writer != me && (t->write_bytes & bytes) &&
      !(strong && t->write_strong) && !qp_sim_ordered(w, lane, t->writer, t->write_clock)) {
    fault_race(w, o, lane, "writes", "wrote", t->writer, 4 * (uint64_t)word);
    return;
  }
  const unsigned reader = unordered_reader(w, lane, t, bytes);
  if (reader != QP_SIM_NOBODY) {
    fault_race(w, o, lane, "writes", "read", reader, 4 * (uint64_t)word);
    return;
  }
  t->writer = (uint16_t)me;
  t->write_clock = w->clock;
  t->write_bytes = bytes;
  t->write_strong = strong;
}

/* Call 'touch' for each word of an access. */
#define EACH_WORD(touch)                                                                           \
  do {                                                                                             \
    if (bytes >= 4) {                                                                              \
      for (unsigned i = 0; i < bytes / 4; i++) touch(w, o, lane, address / 4 + i, 15, strong);     \
    } else {                                                                                       \
      const uint8_t part = (uint8_t)(((1u << bytes) - 1) << (address & 3));                        \
      touch(w, o, lane, address / 4, part, strong);                                                \
    }                                                                                              \
  } while (0)

void qp_sim_touch_reads(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, uint32_t address,
                        unsigned bytes, bool strong) {
  EACH_WORD(touch_read);
}

void qp_sim_touch_write(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, uint32_t address,
                        unsigned bytes, bool strong) {
  EACH_WORD(touch_write);
}

/* ---- accesses ---- */

/* Put an access to global memory into the order of those of the launch and of launches before
   it. */
static bool in_order(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, uint64_t address,
                     unsigned bytes, bool write, bool strong) {
  const qp_sim_launch *launch = w->block->launch;
  const uint64_t offset = address - QP_SIM_ARENA_BASE;
  if (launch->chain && !(write ? qp_sim_chain_write(w, o, lane, offset, bytes)
                               : qp_sim_chain_read(w, o, lane, offset, bytes)))
    return false;
  if (!launch->order) return true;
  uint64_t all[QP_SIM_LANES];
  all[lane] = offset;
  if (!(write ? qp_sim_order_write(w, o, lane, offset, bytes, strong)
              : qp_sim_order_reads(w, o, 1u << lane, all, bytes)))
    return false;
  if (strong) qp_sim_order_meet(w, o, lane, offset);
  return w->event != QP_SIM_FAULT;
}

const uint8_t *qp_sim_read(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, unsigned space,
                           uint64_t address, unsigned bytes) {
  if (space == QP_SIM_GENERIC) space = qp_sim_resolve(&address);
  view v;
  if (!aligned(w, o, lane, space, address, bytes) || !locate(w, o, lane, space, address, bytes, &v))
    return NULL;
  if (!qp_sim_shadow_ok(v.shadow, bytes, QP_SIM_READ_BITS, QP_SIM_READ_GOOD) &&
      !explain(w, o, lane, space, address, bytes, v.shadow, false))
    return NULL;
  qp_sim_counters *count = w->block->launch->count;
  if (space == QP_SIM_GLOBAL) {
    count->global_read_bytes += bytes;
    if (!in_order(w, o, lane, address, bytes, false, o->mode & QP_SIM_STRONG)) return NULL;
  } else if (space == QP_SIM_SHARED) {
    count->shared_read_bytes += bytes;
    if (w->block->launch->switches.races) {
      qp_sim_touch_reads(w, o, lane, (uint32_t)address, bytes, (o->mode & QP_SIM_STRONG) != 0);
      if (w->event == QP_SIM_FAULT) return NULL;
    }
  }
  return v.data;
}

static uint8_t *write_common(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, unsigned space,
                             uint64_t address, unsigned bytes, bool strong, bool also_read) {
  if (space == QP_SIM_GENERIC) space = qp_sim_resolve(&address);
  view v;
  if (!aligned(w, o, lane, space, address, bytes) || !locate(w, o, lane, space, address, bytes, &v))
    return NULL;
  if (also_read && !qp_sim_shadow_ok(v.shadow, bytes, QP_SIM_READ_BITS, QP_SIM_READ_GOOD) &&
      !explain(w, o, lane, space, address, bytes, v.shadow, false))
    return NULL;
  if (!qp_sim_shadow_ok(v.shadow, bytes, QP_SIM_WRITE_BITS, QP_SIM_WRITE_GOOD) &&
      !explain(w, o, lane, space, address, bytes, v.shadow, true))
    return NULL;
  qp_sim_counters *count = w->block->launch->count;
  if (space == QP_SIM_GLOBAL) {
    count->global_write_bytes += bytes;
    if (also_read) count->global_read_bytes += bytes;
    if (!in_order(w, o, lane, address, bytes, true, strong)) return NULL;
  } else if (space == QP_SIM_SHARED) {
    count->shared_write_bytes += bytes;
    if (also_read) count->shared_read_bytes += bytes;
    if (w->block->launch->switches.races) {
      qp_sim_touch_write(w, o, lane, (uint32_t)address, bytes, strong);
      if (w->event == QP_SIM_FAULT) return NULL;
    }
  }
  qp_sim_mark_written(v.shadow, bytes);
  return v.data;
}

uint8_t *qp_sim_write(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, unsigned space,
                      uint64_t address, unsigned bytes) {
  const bool strong = (o->mode & QP_SIM_STRONG) != 0;
  return write_common(w, o, lane, space, address, bytes, strong, false);
}

uint8_t *qp_sim_update(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, unsigned space,
                       uint64_t address, unsigned bytes) {
  return write_common(w, o, lane, space, address, bytes, true, true);
}
