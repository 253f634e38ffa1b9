/* SPDX-License-Identifier: MIT */
/*
** Memory of the simulated device.  Each byte of data has a shadow byte that says what may be done
** with it, so that one look at the shadow checks bounds, initialisation, write protection and
** pending asynchronous copies.
*/
#ifndef QP_SIM_MEMORY_H
#define QP_SIM_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "runtime/status.h"

/* The bits of a shadow byte. */
enum {
  QP_SIM_LIVE = 1,     /* belongs to an allocation */
  QP_SIM_INIT = 2,     /* has been written */
  QP_SIM_READONLY = 4, /* constant memory */
  QP_SIM_PENDING = 8,  /* an asynchronous copy will write it */
  QP_SIM_READ_BITS = QP_SIM_LIVE | QP_SIM_INIT | QP_SIM_PENDING,
  QP_SIM_READ_GOOD = QP_SIM_LIVE | QP_SIM_INIT,
  QP_SIM_WRITE_BITS = QP_SIM_LIVE | QP_SIM_READONLY | QP_SIM_PENDING,
  QP_SIM_WRITE_GOOD = QP_SIM_LIVE
};

/* Addresses.  Shared and local windows hold every block's and thread's own memory. */
#define QP_SIM_ARENA_BASE   UINT64_C(0x100000000)
#define QP_SIM_ARENA_BYTES  (UINT64_C(1) << 34)
#define QP_SIM_PARAM_BASE   UINT64_C(0x7d0000000000)
#define QP_SIM_SHARED_BASE  UINT64_C(0x7e0000000000)
#define QP_SIM_LOCAL_BASE   UINT64_C(0x7f0000000000)
#define QP_SIM_WINDOW_BYTES UINT64_C(0x100000000)

typedef struct qp_sim_alloc {
  uint64_t offset, bytes; /* place in the arena */
} qp_sim_alloc;

/* Global memory: one reservation of address space, whose pages appear as they are written. */
typedef struct qp_sim_arena {
  uint8_t *data, *shadow;
  uint64_t bytes;       /* how much may be allocated: QP_SIM_ARENA_BYTES or less */
  qp_sim_alloc *allocs; /* sorted by offset */
  size_t count, room;
  uint64_t next; /* where to look for free space first */
} qp_sim_arena;

/* QP_E_NOMEM: the address space cannot be reserved. */
qp_status qp_sim_arena_open(qp_sim_arena *a, uint64_t bytes, qp_error *err);
void qp_sim_arena_close(qp_sim_arena *a);
/* Reserve memory that is aligned to 256 bytes and not initialised, with a guard of at least 256
   bytes to its neighbours. */
qp_status qp_sim_arena_alloc(qp_sim_arena *a, uint64_t bytes, uint64_t *address, qp_error *err);
/* False: no allocation begins at this address. */
bool qp_sim_arena_free(qp_sim_arena *a, uint64_t address);
/* The allocation that holds [address, address + bytes), or NULL. */
const qp_sim_alloc *qp_sim_arena_find(const qp_sim_arena *a, uint64_t address, uint64_t bytes);
/* The last allocation that begins at or before the address, or NULL. */
const qp_sim_alloc *qp_sim_arena_before(const qp_sim_arena *a, uint64_t address);

/* Do 'bytes' (1, 2, 4, 8, 16, or any) shadow bytes all have 'bits' equal to 'good'? */
static inline bool qp_sim_shadow_ok(const uint8_t *s, unsigned bytes, unsigned bits,
                                    unsigned good) {
  const uint64_t ones = UINT64_C(0x0101010101010101);
  uint64_t v[2];
  uint32_t u;
  uint16_t h;
  switch (bytes) {
  case 1: return (*s & bits) == good;
  case 2: memcpy(&h, s, 2); return (h & (bits * 0x0101u)) == good * 0x0101u;
  case 4: memcpy(&u, s, 4); return (u & (bits * 0x01010101u)) == good * 0x01010101u;
  case 8: memcpy(v, s, 8); return (v[0] & (bits * ones)) == good * ones;
  case 16:
    memcpy(v, s, 16);
    return ((v[0] & v[1] & (bits * ones)) == good * ones) &&
           (((v[0] | v[1]) & (bits * ones)) == good * ones);
  default:
    for (unsigned i = 0; i < bytes; i++)
      if ((s[i] & bits) != good) return false;
    return true;
  }
}

#endif
