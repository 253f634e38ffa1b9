/* SPDX-License-Identifier: MIT */
/* Launches that overlap:  who wrote and read each byte, and may a launch touch it yet. */
#include "runtime/sim/overlap.h"

#include <stdio.h>
#include <sys/mman.h>

static uint8_t *reserve(void) {
  void *p = mmap(NULL, QP_SIM_ARENA_BYTES, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p == MAP_FAILED ? NULL : p;
}

void qp_sim_chain_close(qp_sim_chain *c) {
  if (c->writer) munmap(c->writer, QP_SIM_ARENA_BYTES);
  if (c->reader) munmap(c->reader, QP_SIM_ARENA_BYTES);
  *c = (qp_sim_chain){0};
}

/* All slots are used: forget them, the pages go back to the system and read as zero. */
static void start_over(qp_sim_chain *c) {
  madvise(c->writer, QP_SIM_ARENA_BYTES, MADV_DONTNEED);
  madvise(c->reader, QP_SIM_ARENA_BYTES, MADV_DONTNEED);
  c->last = 0;
  c->all_done = true;
}

qp_status qp_sim_chain_begin(qp_sim_chain *c, qp_sim_launch *launch, bool pdl, qp_error *err) {
  if (!c->writer) c->writer = reserve();
  if (!c->reader) c->reader = reserve();
  if (!c->writer || !c->reader)
    return qp_fail(err, QP_E_NOMEM, "simulator: cannot reserve address space to track launches");
  if (c->last + 1 == QP_SIM_SLOTS) start_over(c);
  if (!pdl || c->all_done) c->open = c->last + 1;
  c->all_done = false;
  launch->chain = c;
  launch->slot = ++c->last;
  launch->open = c->open;
  launch->open_after = c->before_last_waited ? c->last : c->open;
  snprintf(c->name[c->last], sizeof c->name[0], "%s", launch->kernel->name);
  return QP_OK;
}

/*
** The next launch may begin when all blocks of this one have let their dependents go.  If each did
** so after it had waited, those before this one have ended by then.
*/
void qp_sim_chain_end(qp_sim_chain *c, const qp_sim_launch *launch) {
  c->before_last_waited = launch->waited;
  if (!launch->let_go_early) c->open = c->last;
}

/* The first byte that a launch touched which may still run; 'bytes': there is none. */
static unsigned meets(const qp_sim_warp *w, unsigned lane, const uint8_t *slots, unsigned bytes) {
  const qp_sim_launch *launch = w->block->launch;
  const bool waited = w->waited >> lane & 1;
  const unsigned end = waited ? launch->slot - 1 : launch->slot;
  const unsigned first = waited ? launch->open_after : launch->open;
  unsigned i = 0;
  while (i < bytes && (slots[i] < first || slots[i] >= end)) i++;
  return i;
}

static bool fault(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, const char *now,
                  const char *then, unsigned slot, uint64_t offset) {
  const qp_sim_chain *c = w->block->launch->chain;
  qp_sim_fault(w, o, lane,
               "race of launches: %s global address 0x%llx, which kernel '%s' %s and may not have "
               "ended with: the thread %s",
               now, (unsigned long long)offset + QP_SIM_ARENA_BASE, c->name[slot], then,
               w->waited >> lane & 1
                   ? "has executed griddepcontrol.wait, but no thread of the kernel between did"
                   : "has not executed griddepcontrol.wait");
  return false;
}

bool qp_sim_chain_read(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, uint64_t offset,
                       unsigned bytes) {
  const qp_sim_launch *launch = w->block->launch;
  const uint8_t *writer = launch->chain->writer + offset;
  unsigned met = meets(w, lane, writer, bytes);
  if (met < bytes) return fault(w, o, lane, "reads", "wrote", writer[met], offset + met);
  memset(launch->chain->reader + offset, (int)launch->slot, bytes);
  return true;
}

bool qp_sim_chain_write(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, uint64_t offset,
                        unsigned bytes) {
  const qp_sim_launch *launch = w->block->launch;
  const uint8_t *writer = launch->chain->writer + offset;
  const uint8_t *reader = launch->chain->reader + offset;
  unsigned met = meets(w, lane, writer, bytes);
  if (met < bytes) return fault(w, o, lane, "writes", "wrote", writer[met], offset + met);
  met = meets(w, lane, reader, bytes);
  if (met < bytes) return fault(w, o, lane, "writes", "read", reader[met], offset + met);
  memset(launch->chain->writer + offset, (int)launch->slot, bytes);
  return true;
}

/* griddepcontrol.wait: the lanes know that the launches before theirs have ended. */
void qp_sim_do_grid_wait(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  (void)o;
  w->waited |= mask;
  w->block->launch->waited = true;
}

/* griddepcontrol.launch_dependents: the block lets the next launch begin. */
void qp_sim_do_grid_go(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  (void)o;
  if (mask & ~w->waited) w->block->launch->let_go_early = true;
}
