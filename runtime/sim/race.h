/* SPDX-License-Identifier: MIT */
/* What accesses leave behind for later ones to be compared with. */
#ifndef QP_SIM_RACE_H
#define QP_SIM_RACE_H

#include <string.h>

#include "runtime/sim/exec.h"

/* Has 'lane' of 'w' seen what thread 'other' did at 'clock' of that thread's warp? */
static inline bool qp_sim_ordered(const qp_sim_warp *w, unsigned lane, unsigned other,
                                  uint32_t clock) {
  const unsigned warp = other / QP_SIM_LANES, who = other % QP_SIM_LANES;
  if (warp != w->index) return clock < w->seen[warp];
  if (who == lane) return true;
  return clock < w->acquired[lane] || (clock < w->synced[lane] && clock < w->synced[who]);
}

/* A thread of a warp reads a word weakly. */
static inline void qp_sim_note_reader(qp_sim_touch *t, unsigned thread, uint32_t generation,
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

/* Note that bytes were written; of a few a call would cost more than they do. */
static inline void qp_sim_mark_written(uint8_t *shadow, unsigned bytes) {
  const unsigned mark = QP_SIM_LIVE | QP_SIM_INIT;
  const uint32_t marks = mark * 0x01010101u;
  switch (bytes) {
  case 1: *shadow = (uint8_t)mark; break;
  case 2: memcpy(shadow, &marks, 2); break;
  case 4: memcpy(shadow, &marks, 4); break;
  default: memset(shadow, (int)mark, bytes);
  }
}

/* Let one lane read words of shared memory; a race is a fault of the warp. */
void qp_sim_touch_reads(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, uint32_t address,
                        unsigned bytes, bool strong);

#endif
