/* SPDX-License-Identifier: MIT */
/* What the simulator counts, and its switches. */
#ifndef QP_SIM_COUNTERS_H
#define QP_SIM_COUNTERS_H

#include <stdbool.h>
#include <stdint.h>

/* The kinds of instructions.  Each PTX instruction that is executed counts in one of them. */
#define QP_SIM_KINDS(X)                                                                            \
  X(INT_ALU, "integer ALU")      /* add, logic, shift, compare, select, pack */                    \
  X(INT_MUL, "integer multiply") /* mul, mad, dp4a, div, rem */                                    \
  X(HALF, "half math")           /* fp16 and bf16, also packed in pairs */                         \
  X(FLOAT, "float math")         /* fp32 and fp64 */                                               \
  X(SPECIAL, "special function") /* rcp, sqrt, ex2, lg2, sin, cos, tanh, float division */         \
  X(CONVERT, "convert")          /* cvt */                                                         \
  X(MMA, "mma")                  /* mma.sync */                                                    \
  X(LD_GLOBAL, "global load")    /* also loads by generic address */                               \
  X(ST_GLOBAL, "global store")   /* also stores by generic address */                              \
  X(LD_SHARED, "shared load")    /* ld.shared, ldmatrix */                                         \
  X(ST_SHARED, "shared store")   /* st.shared, stmatrix */                                         \
  X(LD_LOCAL, "local load")      /* parameters of device functions count too */                    \
  X(ST_LOCAL, "local store")     /* parameters of device functions count too */                    \
  X(LD_CONST, "constant load")   /* ld.const and kernel parameters */                              \
  X(ATOMIC, "atomic")            /* atom, red */                                                   \
  X(ASYNC, "asynchronous copy")  /* cp.async, cp.async.bulk and what waits for them */             \
  X(SHUFFLE, "shuffle and vote") /* shfl, vote, match, redux, elect, activemask */                 \
  X(BARRIER, "barrier")          /* bar, barrier, mbarrier, fences */                              \
  X(CONTROL, "control")          /* bra, call, ret, exit */                                        \
  X(MOVE, "move")                /* mov; ptxas gives both ends one register where it can */        \
  X(OTHER, "other")              /* prefetch, createpolicy, ... */

typedef enum qp_sim_kind {
#define X(name, text) QP_SIM_##name,
  QP_SIM_KINDS(X)
#undef X
      QP_SIM_KIND_COUNT
} qp_sim_kind;

/* Sums over all launches since the device was opened or the counters were reset. */
typedef struct qp_sim_counters {
  uint64_t launches, blocks;
  uint64_t thread_instructions[QP_SIM_KIND_COUNT]; /* once for each thread whose guard holds */
  uint64_t warp_instructions[QP_SIM_KIND_COUNT];   /* Each group of lanes in step counts once. */
  uint64_t global_read_bytes, global_write_bytes;  /* Atomics count in both, and copies too. */
  uint64_t shared_read_bytes, shared_write_bytes;
  uint64_t shared_wavefronts; /* passes that the shared accesses need, at 32 banks of 4 bytes */
  uint64_t bank_conflicts;    /* Wavefronts beyond the fewest that each access's bytes could
                                 take. */
} qp_sim_counters;

typedef struct qp_sim_switches {
  bool bank_conflicts;   /* Wavefronts and conflicts of shared memory are counted; off at first. */
  bool races;            /* Races within a launch are reported (order.h); on at first. */
  bool uninitialised;    /* report reads of bytes that nothing has written; on at first */
  bool overlap;          /* report what a launch with 'pdl' touches of those before it, which may
                            still run, without having waited for them (overlap.h); off at first */
  uint64_t schedule;     /* 0: blocks and warps run in order; else it seeds a shuffled order and
                            slices of random length.  It is 0 at first. */
  uint64_t thread_limit; /* instructions one thread may execute in a launch before it counts as
                            hung; 2^25 at first */
} qp_sim_switches;

#endif
