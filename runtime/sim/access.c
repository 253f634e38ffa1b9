/* SPDX-License-Identifier: MIT */
/* Checks accesses to global, shared and local memory; it finds races in shared memory and counts
   bank conflicts. */
#include "runtime/sim/order.h"
#include "runtime/sim/overlap.h"

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

/* Has 'lane' of 'w' seen what thread 'other' did at 'clock' of that thread's warp? */
static inline bool ordered(const qp_sim_warp *w, unsigned lane, unsigned other, uint32_t clock) {
  const unsigned warp = other / QP_SIM_LANES, who = other % QP_SIM_LANES;
  if (warp != w->index) return clock < w->seen[warp];
  if (who == lane) return true;
  return clock < w->acquired[lane] || (clock < w->synced[lane] && clock < w->synced[who]);
}

static void fault_race(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, const char *now,
                       const char *then, unsigned other, uint64_t address) {
  qp_sim_fault(w, o, lane,
               "race: %s shared address 0x%llx, which thread %u %s with no synchronisation between",
               now, (unsigned long long)address, other, then);
}

/* A thread of a warp reads a word weakly. */
static inline void note_reader(qp_sim_touch *t, unsigned thread, uint32_t generation,
                               uint32_t clock, uint8_t bytes) {
  const uint32_t warp = 1u << thread / QP_SIM_LANES;
  if (t->read_generation == generation && t->read_bytes == bytes && t->reader != QP_SIM_NOBODY) {
    t->read_many |= t->reader != thread;
    t->read_warps |= warp;
  } else {
    t->read_generation = generation;
    t->read_bytes = bytes;
    t->read_many = 0;
    t->read_warps = warp;
  }
  t->reader = (uint16_t)thread;
  t->read_clock = clock;
}

static inline void touch_read(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, uint32_t word,
                              uint8_t bytes, bool strong) {
  qp_sim_touch *t = w->block->touch + word;
  const unsigned me = w->index * QP_SIM_LANES + lane;
  if (t->writer != QP_SIM_NOBODY && t->writer != me && (t->write_bytes & bytes) &&
      !(strong && t->write_strong) && !ordered(w, lane, t->writer, t->write_clock)) {
    fault_race(w, o, lane, "reads", "wrote", t->writer, 4 * (uint64_t)word);
    return;
  }
  /* a strong read only races with weak writes; those are seen from there */
  if (!strong) note_reader(t, me, w->block->generation, w->clock, bytes);
}

/* Another thread's read that this write is not ordered after, or QP_SIM_NOBODY. */
static unsigned unordered_reader(const qp_sim_warp *w, unsigned lane, const qp_sim_touch *t,
                                 uint8_t bytes) {
  if (t->reader == QP_SIM_NOBODY || !(t->read_bytes & bytes)) return QP_SIM_NOBODY;
  const unsigned me = w->index * QP_SIM_LANES + lane;
  if (t->reader != me && !ordered(w, lane, t->reader, t->read_clock)) return t->reader;
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
      !(strong && t->write_strong) && !ordered(w, lane, t->writer, t->write_clock)) {
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

static void touch_reads(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, uint32_t address,
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
      touch_reads(w, o, lane, (uint32_t)address, bytes, (o->mode & QP_SIM_STRONG) != 0);
      if (w->event == QP_SIM_FAULT) return NULL;
    }
  }
  return v.data;
}

/* Put plain reads of global memory, which are allowed, into the order of the launch. */
static bool reads_in_order(qp_sim_warp *w, const qp_sim_op *o, uint32_t lanes,
                           const uint64_t *offset, unsigned bytes) {
  const qp_sim_launch *launch = w->block->launch;
  launch->count->global_read_bytes += (uint64_t)bytes * (unsigned)__builtin_popcount(lanes);
  return !launch->order || qp_sim_order_reads(w, o, lanes, offset, bytes);
}

/* Of these functions each size of an access has its own. */
#define OF_SIZE static inline __attribute__((always_inline))

/* Read by the lanes of 'mask', most of which find nothing but good bytes of global memory: they are
   looked at together, any other by itself, in the order of lanes. */
OF_SIZE bool read_global(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask, uint64_t *address,
                         unsigned bytes, const uint8_t **at) {
  const qp_sim_arena *arena = w->block->launch->arena;
  uint32_t good = 0;
  QP_SIM_LOOP(mask, l) {
    const uint64_t offset = address[l] - QP_SIM_ARENA_BASE;
    if (!(offset & (bytes - 1)) && offset < QP_SIM_ARENA_BYTES &&
        bytes <= QP_SIM_ARENA_BYTES - offset &&
        qp_sim_shadow_ok(arena->shadow + offset, bytes, QP_SIM_READ_BITS, QP_SIM_READ_GOOD)) {
      at[l] = arena->data + offset;
      address[l] = offset;
      good |= 1u << l;
      continue;
    }
    if (good && !reads_in_order(w, o, good, address, bytes)) return false;
    good = 0;
    if (!(at[l] = qp_sim_read(w, o, l, QP_SIM_GLOBAL, address[l], bytes))) return false;
  }
  return !good || reads_in_order(w, o, good, address, bytes);
}

/* The same of the lanes' own memory. */
OF_SIZE bool read_local(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask, const uint64_t *address,
                        unsigned bytes, const uint8_t **at) {
  const qp_sim_block *b = w->block;
  const uint64_t limit = b->frame_bytes;
  QP_SIM_LOOP(mask, l) {
    const size_t place = (w->index * QP_SIM_LANES + l) * limit + address[l];
    if (address[l] & (bytes - 1) || address[l] >= limit || bytes > limit - address[l] ||
        !qp_sim_shadow_ok(b->local_shadow + place, bytes, QP_SIM_READ_BITS, QP_SIM_READ_GOOD)) {
      if (!(at[l] = qp_sim_read(w, o, l, QP_SIM_LOCAL, address[l], bytes))) return false;
      continue;
    }
    at[l] = b->local + place;
  }
  return true;
}

/* Touch whole words that a lane reads weakly, up to the first whose last write was not seen. */
static inline bool touch_seen(qp_sim_warp *w, unsigned lane, uint32_t address, unsigned bytes) {
  const uint32_t generation = w->block->generation, clock = w->clock;
  const unsigned me = w->index * QP_SIM_LANES + lane;
  qp_sim_touch *t = w->block->touch + address / 4, *end = t + bytes / 4;
  for (; t < end; t++) {
    if (t->writer != QP_SIM_NOBODY && !ordered(w, lane, t->writer, t->write_clock)) return false;
    note_reader(t, me, generation, clock, 15);
  }
  return bytes >= 4;
}

/* The same of shared memory. */
OF_SIZE bool read_shared(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask, const uint64_t *address,
                         unsigned bytes, const uint8_t **at) {
  const qp_sim_block *b = w->block;
  const uint64_t limit = b->shared_bytes;
  const bool races = b->launch->switches.races;
  QP_SIM_LOOP(mask, l) {
    const uint64_t offset = address[l];
    if (offset & (bytes - 1) || offset >= limit || bytes > limit - offset ||
        !qp_sim_shadow_ok(b->shared_shadow + offset, bytes, QP_SIM_READ_BITS, QP_SIM_READ_GOOD)) {
      if (!(at[l] = qp_sim_read(w, o, l, QP_SIM_SHARED, offset, bytes))) return false;
      continue;
    }
    at[l] = b->shared + offset;
    b->launch->count->shared_read_bytes += bytes;
    if (!races || touch_seen(w, l, (uint32_t)offset, bytes)) continue;
    touch_reads(w, o, l, (uint32_t)offset, bytes, false);
    if (w->event == QP_SIM_FAULT) return false;
  }
  return true;
}

/* The space in which all lanes find their generic addresses, which become its addresses; generic
   where they are several. */
static unsigned resolve_all(uint32_t mask, uint64_t *address) {
  unsigned space = QP_SIM_GENERIC;
  uint64_t resolved[QP_SIM_LANES];
  QP_SIM_LOOP(mask, l) {
    resolved[l] = address[l];
    const unsigned found = qp_sim_resolve(resolved + l);
    if (space != QP_SIM_GENERIC && found != space) return QP_SIM_GENERIC;
    space = found;
  }
  QP_SIM_LOOP(mask, l) address[l] = resolved[l];
  return space;
}

OF_SIZE bool read_space(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask, unsigned space,
                        uint64_t *address, unsigned bytes, const uint8_t **at) {
  const bool strong = o->mode & QP_SIM_STRONG;
  if (space == QP_SIM_GLOBAL && !strong && !w->block->launch->chain)
    return read_global(w, o, mask, address, bytes, at);
  if (space == QP_SIM_SHARED && !strong) return read_shared(w, o, mask, address, bytes, at);
  if (space == QP_SIM_LOCAL) return read_local(w, o, mask, address, bytes, at);
  QP_SIM_LOOP(mask, l) {
    if (!(at[l] = qp_sim_read(w, o, l, space, address[l], bytes))) return false;
  }
  return true;
}

bool qp_sim_read_lanes(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask, uint64_t *address,
                       unsigned bytes, const uint8_t **at) {
  const unsigned space = o->space == QP_SIM_GENERIC ? resolve_all(mask, address) : o->space;
  switch (bytes) {
  case 1: return read_space(w, o, mask, space, address, 1, at);
  case 2: return read_space(w, o, mask, space, address, 2, at);
  case 4: return read_space(w, o, mask, space, address, 4, at);
  case 8: return read_space(w, o, mask, space, address, 8, at);
  default: return read_space(w, o, mask, space, address, bytes, at);
  }
}

/* Note that bytes were written; of a few a call would cost more than they do. */
static inline void mark_written(uint8_t *shadow, unsigned bytes) {
  const unsigned mark = QP_SIM_LIVE | QP_SIM_INIT;
  const uint32_t marks = mark * 0x01010101u;
  switch (bytes) {
  case 1: *shadow = (uint8_t)mark; break;
  case 2: memcpy(shadow, &marks, 2); break;
  case 4: memcpy(shadow, &marks, 4); break;
  default: memset(shadow, (int)mark, bytes);
  }
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
  mark_written(v.shadow, bytes);
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

/* ---- bank conflicts ---- */

/*
** A warp-wide access is served in passes ("wavefronts") of at most 128 bytes in which no bank is
** asked for two different words.  8-byte accesses are served by half warps, 16-byte ones by quarter
** warps.  The fewest passes possible is one for each such part that has a lane.
*/
void qp_sim_count_banks(qp_sim_warp *w, uint32_t mask, const uint32_t *addresses, unsigned bytes) {
  const unsigned parts = bytes <= 4 ? 1 : bytes / 4, width = QP_SIM_LANES / parts;
  qp_sim_counters *count = w->block->launch->count;
  for (unsigned part = 0; part < parts; part++) {
    /* cppcheck-suppress shiftTooManyBits ; of several parts each has fewer lanes */
    const uint32_t lanes = parts == 1 ? mask : mask >> (part * width) & ((1u << width) - 1);
    if (!lanes) continue;
    uint32_t words[QP_SIM_LANES][QP_SIM_LANES];
    uint8_t used[QP_SIM_LANES] = {0};
    unsigned passes = 1;
    QP_SIM_LOOP(lanes, lane) {
      const uint32_t first = addresses[part * width + lane] / 4;
      for (unsigned i = 0; i < (bytes < 4 ? 1 : bytes / 4); i++) {
        const uint32_t word = first + i, bank = word % QP_SIM_LANES;
        unsigned k = 0;
        while (k < used[bank] && words[bank][k] != word) k++;
        if (k == used[bank] && k < QP_SIM_LANES) words[bank][used[bank]++] = word;
        if (used[bank] > passes) passes = used[bank];
      }
    }
    count->shared_wavefronts += passes;
    count->bank_conflicts += passes - 1;
  }
}
