/* SPDX-License-Identifier: MIT */
/* Schedules groups of lanes, warps and blocks; it finds who waits in vain, and reports faults. */
#include "runtime/sim/exec.h"

#include <stdio.h>
#include <stdlib.h>

enum {
  FAIR_TICKS = 4096,       /* a ready lane waits at most so many instructions of its warp */
  WARP_SLICE = 1 << 14,    /* instructions of a warp before the next warp runs */
  BLOCK_SLICE = 1 << 21,   /* instructions of a block before another block may start */
  RESIDENT_THREADS = 2048, /* of an SM */
  RESIDENT_BLOCKS = 32
};

/* ---- faults ---- */

void qp_sim_fault(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, const char *format, ...) {
  qp_sim_launch *launch = w->block->launch;
  w->event = QP_SIM_FAULT;
  if (launch->status != QP_OK) return;
  char what[1024];
  va_list ap;
  va_start(ap, format);
  vsnprintf(what, sizeof what, format, ap);
  va_end(ap);
  size_t n;
  const char *text = qp_sim_code_line(launch->code, o->line, &n);
  launch->status =
      qp_fail(launch->err, QP_E_DEVICE, "kernel '%s', PTX line %u '%.*s', block %u, thread %u: %s",
              launch->kernel->name, o->line, (int)(n < 200 ? n : 200), text, w->block->index,
              w->index * QP_SIM_LANES + lane, what);
}

/* ---- groups ---- */

/* Choose the lanes that run next: those at the lowest op, or at that of a lane left waiting long.
 */
static uint32_t choose_group(const qp_sim_warp *w, uint32_t *stop) {
  uint32_t low = UINT32_MAX, second = UINT32_MAX, oldest = 0;
  uint64_t since = UINT64_MAX;
  QP_SIM_LOOP(w->ready, l) {
    if (w->last_run[l] < since) {
      since = w->last_run[l];
      oldest = l;
    }
    if (w->pc[l] < low) {
      second = low;
      low = w->pc[l];
    } else if (w->pc[l] > low && w->pc[l] < second) {
      second = w->pc[l];
    }
  }
  const bool unfair = second != UINT32_MAX && w->ticks - since > FAIR_TICKS;
  const uint32_t at = unfair ? w->pc[oldest] : low;
  *stop = unfair && at != low ? UINT32_MAX : second;
  uint32_t group = 0;
  QP_SIM_LOOP(w->ready, l) {
    if (w->pc[l] == at) group |= 1u << l;
  }
  return group;
}

static void count_op(qp_sim_counters *c, const qp_sim_op *o, uint32_t mask) {
  c->warp_instructions[o->kind]++;
  c->thread_instructions[o->kind] +=
      mask == UINT32_MAX ? QP_SIM_LANES : (unsigned)__builtin_popcount(mask);
}

/* Run one group until it splits, waits, ends, meets another group or has used 'budget'. */
static uint64_t run_group(qp_sim_warp *w, uint64_t budget) {
  qp_sim_launch *launch = w->block->launch;
  const qp_sim_op *ops = launch->code->ops;
  uint32_t stop;
  w->active = choose_group(w, &stop);
  const uint32_t started = w->active;
  if (stop != UINT32_MAX && budget > FAIR_TICKS) budget = FAIR_TICKS;
  w->event = QP_SIM_NONE;
  w->next = w->pc[qp_sim_lane(w->active)];
  uint64_t left = budget;
  while (left) {
    left--;
    const qp_sim_op *o = ops + w->next;
    w->here = w->next++;
    const uint32_t mask =
        o->guard == QP_SIM_TRUE ? w->active : w->active & qp_sim_pred(w, o->guard);
    if (mask) {
      count_op(launch->count, o, mask);
      o->run(w, o, mask);
    }
    if (w->event != QP_SIM_NONE || !w->active || w->next >= stop) break;
  }
  w->ticks += budget - left;
  QP_SIM_LOOP(w->active, l) w->pc[l] = w->next;
  QP_SIM_LOOP(started, l) w->last_run[l] = w->ticks;
  return budget - left;
}

/* ---- the order of blocks and warps ---- */

/* Draw a number below n; the same launch with the same seed runs in the same order (splitmix64). */
static uint64_t draw(qp_sim_launch *launch, uint64_t n) {
  uint64_t z = launch->random += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return (z ^ z >> 31) % n;
}

/* How long something runs before its neighbour does: shuffled, mostly short slices. */
static uint64_t slice(qp_sim_launch *launch, uint64_t most) {
  if (!launch->switches.schedule) return most;
  return 1 + draw(launch, (uint64_t)1 << draw(launch, 1 + (unsigned)(63 - __builtin_clzll(most))));
}

/* 0 .. n - 1 in the order in which they run. */
static void order(qp_sim_launch *launch, uint32_t *list, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    const uint32_t k = launch->switches.schedule ? (uint32_t)draw(launch, i + 1) : i;
    list[i] = list[k];
    list[k] = i;
  }
}

/* Run a warp until all of it waits, it yields, or a slice is used; instructions done. */
static uint64_t run_warp(qp_sim_warp *w) {
  uint64_t done = 0;
  const uint64_t most = slice(w->block->launch, WARP_SLICE);
  while (w->ready && done < most) {
    done += run_group(w, most - done);
    if (w->event == QP_SIM_FAULT) return done;
    if (w->event == QP_SIM_YIELD) break;
  }
  qp_sim_launch *launch = w->block->launch;
  if (w->ticks > launch->switches.thread_limit && w->live) { /* a loop may wait in each iteration */
    const unsigned lane = qp_sim_lane(w->ready ? w->ready : w->live);
    qp_sim_fault(w, launch->code->ops + w->pc[lane], lane,
                 "timeout: the thread's warp has executed %llu instructions, more than the limit "
                 "of %llu; it waits for something that never comes, or the limit is too low",
                 (unsigned long long)w->ticks, (unsigned long long)launch->switches.thread_limit);
  }
  return done;
}

/* ---- ends ---- */

void qp_sim_exit_lanes(qp_sim_warp *w, uint32_t mask) {
  w->live &= ~mask;
  w->ready &= ~mask;
  w->active &= ~mask;
  w->block->progress++;
  if (!w->live) w->block->live_warps--;
  /* a collective that waited only for lanes that are gone now completes */
  const qp_sim_op *ops = w->block->launch->code->ops;
  for (uint32_t parked = w->parked; parked && w->event != QP_SIM_FAULT; parked &= parked - 1) {
    const unsigned l = qp_sim_lane(parked);
    if (!(w->parked >> l & 1)) continue;
    const qp_sim_op *o = ops + w->pc[l];
    qp_sim_gather(w, o, 0, &w->members[l], qp_sim_collective_of(o));
  }
}

/* Nobody in the block can run: say who waits for whom. */
static void report_deadlock(qp_sim_block *b) {
  const qp_sim_op *ops = b->launch->code->ops;
  for (uint32_t i = 0; i < b->warps; i++) {
    qp_sim_warp *w = b->warp + i;
    if (!w->parked) continue;
    const unsigned lane = qp_sim_lane(w->parked);
    const uint32_t missing = w->members[lane] & ~w->parked;
    qp_sim_fault(w, ops + w->pc[lane], lane,
                 "the instruction waits for lanes 0x%08x of its warp, of which 0x%08x never come "
                 "(0x%08x have ended)",
                 w->members[lane], missing, missing & ~w->live);
    return;
  }
  for (unsigned id = 0; id < QP_SIM_BARRIERS; id++) {
    const qp_sim_barrier *bar = b->barriers + id;
    if (!bar->expected) continue;
    for (uint32_t i = 0; i < b->warps; i++) {
      qp_sim_warp *w = b->warp + i;
      if (!bar->waiting[i]) continue;
      const unsigned lane = qp_sim_lane(bar->waiting[i]);
      uint32_t absent = 0;
      while (absent < b->warps - 1 && !(~bar->came[absent])) absent++;
      const uint32_t gone = ~bar->came[absent];
      const unsigned who = absent * QP_SIM_LANES + (gone ? qp_sim_lane(gone) : 0);
      qp_sim_fault(w, ops + w->pc[lane], lane,
                   "barrier %u is divergent: %u of %u threads have arrived; thread %u %s", id,
                   bar->arrived, bar->expected, who,
                   b->warp[absent].live >> (who % QP_SIM_LANES) & 1 ? "waits elsewhere"
                                                                    : "has ended without it");
      return;
    }
  }
  for (uint32_t i = 0; i < b->warps; i++)
    if (b->warp[i].live)
      qp_sim_fault(b->warp + i, ops + b->warp[i].pc[qp_sim_lane(b->warp[i].live)],
                   qp_sim_lane(b->warp[i].live), "the thread can never go on");
}

/* ---- blocks ---- */

/* What a block's threads have learnt of others. */
static void forget(qp_sim_block *b) {
  for (uint32_t i = 0; i < b->warps; i++) {
    free(b->warp[i].far);
    free(b->warp[i].fresh);
    free(b->warp[i].heard);
  }
  free(b->handed);
  b->handed = NULL;
}

static void block_free(qp_sim_block *b) {
  if (!b) return;
  forget(b);
  free(b->shared);
  free(b->shared_shadow);
  free(b->touch);
  free(b->local);
  free(b->local_shadow);
  free(b->mbarriers);
  free(b->copies.list);
  free(b->registers);
  free(b);
}

static qp_sim_block *block_new(qp_sim_launch *launch) {
  qp_sim_block *b = calloc(1, sizeof *b);
  if (!b) return NULL;
  b->launch = launch;
  b->threads = launch->block_threads;
  b->warps = (b->threads + QP_SIM_LANES - 1) / QP_SIM_LANES;
  b->shared_bytes = launch->shared_bytes;
  b->frame_bytes = launch->kernel->total_frame_bytes;
  const size_t frames = (size_t)b->frame_bytes * b->warps * QP_SIM_LANES + 1;
  const size_t words = launch->kernel->total_reg_words + 64;
  const size_t per_warp = (words + launch->code->preds + 31) / 16 * 16;
  b->shared = malloc(b->shared_bytes + 16);
  b->shared_shadow = malloc(b->shared_bytes + 16);
  b->touch = malloc((b->shared_bytes / 4 + 4) * sizeof *b->touch);
  b->local = malloc(frames + 16);
  b->local_shadow = malloc(frames + 16);
  b->registers = aligned_alloc(64, per_warp * b->warps * sizeof(uint32_t));
  if (!b->shared || !b->shared_shadow || !b->touch || !b->local || !b->local_shadow ||
      !b->registers) {
    block_free(b);
    return NULL;
  }
  for (uint32_t i = 0; i < b->warps; i++) {
    qp_sim_warp *w = b->warp + i;
    w->block = b;
    w->index = i;
    w->base[0] = (uint32_t *)b->registers + per_warp * i;
    w->base[1] = launch->code->consts;
    w->preds = w->base[0] + words;
  }
  return b;
}

/* Put a fresh block of the grid into the memory of 'b'. */
static void block_start(qp_sim_block *b, uint32_t index, uint32_t sm) {
  const qp_sim_launch *launch = b->launch;
  forget(b);
  b->index = index;
  b->sm = sm;
  b->live_warps = b->warps;
  b->generation = 1;
  b->mbarrier_count = b->copies.count = 0;
  b->progress = 0;
  memset(b->generation_clock, 0, sizeof b->generation_clock);
  memset(b->barriers, 0, sizeof b->barriers);
  memset(b->shared, 0xcd, b->shared_bytes);
  const uint32_t start = QP_SIM_SHARED_START;
  memset(b->shared_shadow, 0, b->shared_bytes + 16);
  if (b->shared_bytes > start)
    memset(b->shared_shadow + start, QP_SIM_LIVE, b->shared_bytes - start);
  for (uint32_t i = 0; i < b->shared_bytes / 4 + 4; i++)
    b->touch[i] = (qp_sim_touch){.writer = QP_SIM_NOBODY, .reader = QP_SIM_NOBODY};
  const size_t frames = (size_t)b->frame_bytes * b->warps * QP_SIM_LANES;
  memset(b->local, 0xcd, frames);
  memset(b->local_shadow, QP_SIM_LIVE, frames);
  for (uint32_t i = 0; i < b->warps; i++) {
    const qp_sim_warp old = b->warp[i];
    const uint32_t lanes = b->threads - i * QP_SIM_LANES;
    b->warp[i] = (qp_sim_warp){
        .base = {old.base[0], old.base[1]},
        .preds = old.preds,
        .block = b,
        .index = i,
        .clock = 1,
    };
    qp_sim_warp *w = b->warp + i;
    w->live = w->ready = lanes >= QP_SIM_LANES ? UINT32_MAX : (1u << lanes) - 1;
    for (unsigned l = 0; l < QP_SIM_LANES; l++) w->pc[l] = launch->kernel->start;
    memset(w->base[0], 0, launch->kernel->total_reg_words * sizeof(uint32_t));
    memset(w->preds, 0, launch->code->preds * sizeof(uint32_t));
  }
}

typedef enum { BLOCK_DONE, BLOCK_SLICED, BLOCK_FAULT } block_end;

static block_end run_block(qp_sim_block *b) {
  uint64_t used = 0;
  const uint64_t most = slice(b->launch, BLOCK_SLICE);
  while (b->live_warps) {
    const uint64_t before = b->progress;
    uint64_t done = 0;
    uint32_t turn[QP_SIM_WARPS] = {0};
    order(b->launch, turn, b->warps);
    for (uint32_t i = 0; i < b->warps; i++) {
      qp_sim_warp *w = b->warp + turn[i];
      if (!w->ready) continue;
      done += run_warp(w);
      if (b->launch->status != QP_OK) return BLOCK_FAULT;
    }
    if (!done && before == b->progress) {
      report_deadlock(b);
      return BLOCK_FAULT;
    }
    used += done;
    if (used >= most && b->live_warps) return BLOCK_SLICED;
  }
  return BLOCK_DONE;
}

/* How many blocks an SM of the simulated device holds at a time. */
static uint32_t blocks_per_sm(const qp_sim_launch *launch) {
  uint32_t n = RESIDENT_THREADS / launch->block_threads;
  if (n > RESIDENT_BLOCKS) n = RESIDENT_BLOCKS;
  return n ? n : 1;
}

typedef struct grid {
  qp_sim_block **resident, *spare;
  uint32_t *number; /* [grid]: blocks in the order in which they start */
  uint32_t most, count, next;
} grid;

static void grid_free(grid *g) {
  for (uint32_t i = 0; i < g->count; i++) block_free(g->resident[i]);
  block_free(g->spare);
  free(g->resident);
  free(g->number);
}

static bool start_next(grid *g, qp_sim_launch *launch) {
  qp_sim_block *b = g->spare ? g->spare : block_new(launch);
  g->spare = NULL;
  if (!b) return false;
  block_start(b, g->number[g->next], g->next % launch->sm_count);
  g->resident[g->count++] = b;
  g->next++;
  return true;
}

/* Give each resident block a slice; those that end make room. */
static void run_residents(grid *g, qp_sim_launch *launch) {
  const uint32_t offset =
      launch->switches.schedule && g->count ? (uint32_t)draw(launch, g->count) : 0;
  for (uint32_t k = g->count; k-- > 0 && launch->status == QP_OK;) {
    const uint32_t i = (launch->switches.schedule ? k + offset : g->count - 1 - k) % g->count;
    if (run_block(g->resident[i]) != BLOCK_DONE) continue;
    block_free(g->spare);
    g->spare = g->resident[i];
    g->resident[i] = g->resident[--g->count];
    launch->count->blocks++;
    if (!g->count) return;
  }
}

qp_status qp_sim_run(qp_sim_launch *launch) {
  grid g = {.most = blocks_per_sm(launch) * launch->sm_count};
  g.resident = calloc(g.most, sizeof *g.resident);
  g.number = calloc(launch->grid, sizeof *g.number);
  bool room = g.resident && g.number;
  if (room) order(launch, g.number, launch->grid);
  while (room && launch->status == QP_OK && (g.count || g.next < launch->grid)) {
    if (g.next < launch->grid && g.count < g.most) room = start_next(&g, launch);
    if (room) run_residents(&g, launch);
  }
  grid_free(&g);
  return room ? launch->status
              : qp_fail(launch->err, QP_E_NOMEM, "simulator: host memory exhausted");
}
