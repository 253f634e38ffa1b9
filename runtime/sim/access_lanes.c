/* SPDX-License-Identifier: MIT */
/* Checks accesses of a warp's lanes together, most of which find nothing wrong, and counts bank
   conflicts. */
#include "runtime/sim/order.h"
#include "runtime/sim/race.h"

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
    if (t->writer != QP_SIM_NOBODY && !qp_sim_ordered(w, lane, t->writer, t->write_clock))
      return false;
    qp_sim_note_reader(t, me, generation, clock, 15);
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
    qp_sim_touch_reads(w, o, l, (uint32_t)offset, bytes, false);
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
  /* cppcheck-suppress uninitvar ; it is written for the same lanes */
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

/* The memory of a space as one lane finds it. */
typedef struct room {
  uint8_t *data, *shadow;
  uint64_t base, limit; /* the first address, and how many there are */
} room;

static inline room room_of(const qp_sim_warp *w, unsigned space, unsigned lane) {
  const qp_sim_block *b = w->block;
  const qp_sim_arena *arena = b->launch->arena;
  const size_t frame = (size_t)(w->index * QP_SIM_LANES + lane) * b->frame_bytes;
  switch (space) {
  case QP_SIM_GLOBAL:
    return (room){arena->data, arena->shadow, QP_SIM_ARENA_BASE, QP_SIM_ARENA_BYTES};
  case QP_SIM_SHARED: return (room){b->shared, b->shared_shadow, 0, b->shared_bytes};
  default: return (room){b->local + frame, b->local_shadow + frame, 0, b->frame_bytes};
  }
}

/* Put a write that is allowed into the order of the launch or block. */
static inline bool write_in_order(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, unsigned space,
                                  uint64_t offset, unsigned bytes, bool strong) {
  const qp_sim_launch *launch = w->block->launch;
  if (space == QP_SIM_GLOBAL) {
    launch->count->global_write_bytes += bytes;
    return !launch->order || qp_sim_order_write(w, o, lane, offset, bytes, strong);
  }
  if (space == QP_SIM_SHARED) {
    launch->count->shared_write_bytes += bytes;
    if (launch->switches.races) qp_sim_touch_write(w, o, lane, (uint32_t)offset, bytes, strong);
  }
  return w->event != QP_SIM_FAULT;
}

/* Written by the lanes of 'mask' in their order: what is good by the short way, any other by the
   long one. */
OF_SIZE bool write_space(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask, unsigned space,
                         const uint64_t *address, unsigned bytes, uint8_t **at) {
  const bool strong = (o->mode & QP_SIM_STRONG) != 0;
  const bool quick = space == QP_SIM_GLOBAL ? !strong && !w->block->launch->chain
                                            : space == QP_SIM_SHARED || space == QP_SIM_LOCAL;
  QP_SIM_LOOP(mask, l) {
    const room r = room_of(w, space, l);
    const uint64_t offset = address[l] - r.base;
    if (!quick || offset & (bytes - 1) || offset >= r.limit || bytes > r.limit - offset ||
        !qp_sim_shadow_ok(r.shadow + offset, bytes, QP_SIM_WRITE_BITS, QP_SIM_WRITE_GOOD)) {
      if (!(at[l] = qp_sim_write(w, o, l, space, address[l], bytes))) return false;
      continue;
    }
    at[l] = r.data + offset;
    if (!write_in_order(w, o, l, space, offset, bytes, strong)) return false;
    qp_sim_mark_written(r.shadow + offset, bytes);
  }
  return true;
}

bool qp_sim_write_lanes(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask, uint64_t *address,
                        unsigned bytes, uint8_t **at) {
  const unsigned space = o->space == QP_SIM_GENERIC ? resolve_all(mask, address) : o->space;
  switch (bytes) {
  case 1: return write_space(w, o, mask, space, address, 1, at);
  case 2: return write_space(w, o, mask, space, address, 2, at);
  case 4: return write_space(w, o, mask, space, address, 4, at);
  case 8: return write_space(w, o, mask, space, address, 8, at);
  default: return write_space(w, o, mask, space, address, bytes, at);
  }
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
