/* SPDX-License-Identifier: MIT */
/* Manages the arena of global memory. */
#include "runtime/sim/memory.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { GUARD = 256, ALIGN = 256 };

static uint8_t *reserve(void) {
  void *p = mmap(NULL, QP_SIM_ARENA_BYTES, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p == MAP_FAILED ? NULL : p;
}

qp_status qp_sim_arena_open(qp_sim_arena *a, uint64_t bytes, qp_error *err) {
  *a = (qp_sim_arena){.data = reserve(), .shadow = reserve(), .bytes = bytes, .next = GUARD};
  if (a->data && a->shadow) return QP_OK;
  qp_sim_arena_close(a);
  return qp_fail(err, QP_E_NOMEM,
                 "simulator: cannot reserve 2 x %llu GiB of address space (ulimit -v?)",
                 (unsigned long long)(QP_SIM_ARENA_BYTES >> 30));
}

void qp_sim_arena_close(qp_sim_arena *a) {
  if (a->data) munmap(a->data, QP_SIM_ARENA_BYTES);
  if (a->shadow) munmap(a->shadow, QP_SIM_ARENA_BYTES);
  free(a->allocs);
  *a = (qp_sim_arena){0};
}

/* Index of the first allocation that begins after 'offset'. */
static size_t upper(const qp_sim_arena *a, uint64_t offset) {
  size_t lo = 0, hi = a->count;
  while (lo < hi) {
    const size_t mid = lo + (hi - lo) / 2;
    if (a->allocs[mid].offset > offset)
      hi = mid;
    else
      lo = mid + 1;
  }
  return lo;
}

static uint64_t align_up(uint64_t x) { return (x + ALIGN - 1) & ~(uint64_t)(ALIGN - 1); }

/* First gap of 'bytes' plus guards at or after 'from'; 'slot' is where the table takes it. */
static bool find_gap(const qp_sim_arena *a, uint64_t from, uint64_t bytes, uint64_t *offset,
                     size_t *slot) {
  size_t i = upper(a, from);
  uint64_t at = from;
  if (i > 0) {
    const uint64_t end = a->allocs[i - 1].offset + a->allocs[i - 1].bytes + GUARD;
    if (end > at) at = end;
  }
  for (;; i++) {
    at = align_up(at);
    const uint64_t limit = i < a->count ? a->allocs[i].offset : a->bytes;
    if (at <= limit && limit - at >= bytes + GUARD) {
      *offset = at;
      *slot = i;
      return true;
    }
    if (i >= a->count) return false;
    at = a->allocs[i].offset + a->allocs[i].bytes + GUARD;
  }
}

qp_status qp_sim_arena_alloc(qp_sim_arena *a, uint64_t bytes, uint64_t *address, qp_error *err) {
  if (a->count == a->room) {
    const size_t room = a->room ? 2 * a->room : 64;
    qp_sim_alloc *p = realloc(a->allocs, room * sizeof *p);
    if (!p) return qp_fail(err, QP_E_NOMEM, "simulator: host memory exhausted");
    a->allocs = p;
    a->room = room;
  }
  uint64_t offset;
  size_t slot;
  if (bytes > a->bytes / 2 ||
      (!find_gap(a, a->next, bytes, &offset, &slot) && !find_gap(a, GUARD, bytes, &offset, &slot)))
    return qp_fail(err, QP_E_NOMEM, "simulator: no room for %llu bytes of device memory",
                   (unsigned long long)bytes);
  memmove(a->allocs + slot + 1, a->allocs + slot, (a->count - slot) * sizeof *a->allocs);
  a->allocs[slot] = (qp_sim_alloc){.offset = offset, .bytes = bytes};
  a->count++;
  a->next = offset + bytes + GUARD;
  memset(a->shadow + offset, QP_SIM_LIVE, bytes);
  *address = QP_SIM_ARENA_BASE + offset;
  return QP_OK;
}

/* Give whole pages back to the system (they read as zero again), clear the rest. */
static void drop(uint8_t *base, uint64_t offset, uint64_t bytes) {
  const uint64_t page = 4096, from = (offset + page - 1) & ~(page - 1);
  const uint64_t to = (offset + bytes) & ~(page - 1);
  if (to > from && madvise(base + from, to - from, MADV_DONTNEED) == 0) {
    memset(base + offset, 0, from - offset);
    memset(base + to, 0, offset + bytes - to);
  } else {
    memset(base + offset, 0, bytes);
  }
}

bool qp_sim_arena_free(qp_sim_arena *a, uint64_t address) {
  const qp_sim_alloc *p = qp_sim_arena_before(a, address);
  if (!p || p->offset != address - QP_SIM_ARENA_BASE) return false;
  drop(a->data, p->offset, p->bytes);
  drop(a->shadow, p->offset, p->bytes);
  const size_t i = (size_t)(p - a->allocs);
  memmove(a->allocs + i, a->allocs + i + 1, (a->count - i - 1) * sizeof *a->allocs);
  a->count--;
  return true;
}

const qp_sim_alloc *qp_sim_arena_before(const qp_sim_arena *a, uint64_t address) {
  if (address < QP_SIM_ARENA_BASE) return NULL;
  const size_t i = upper(a, address - QP_SIM_ARENA_BASE);
  return i ? a->allocs + i - 1 : NULL;
}

const qp_sim_alloc *qp_sim_arena_find(const qp_sim_arena *a, uint64_t address, uint64_t bytes) {
  const qp_sim_alloc *p = qp_sim_arena_before(a, address);
  if (!p) return NULL;
  const uint64_t at = address - QP_SIM_ARENA_BASE - p->offset;
  return at <= p->bytes && bytes <= p->bytes - at ? p : NULL;
}
