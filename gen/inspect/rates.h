/* SPDX-License-Identifier: MIT */
/*
** What the units of a multiprocessor can do on each architecture: the one table of rates.  Nouns: a
** 'unit' executes one sort of instruction; units of one 'pipe' take turns.  Times are cycles of one
** of a multiprocessor's four quarters for the instruction of one warp.
*/
#ifndef QP_RATES_H
#define QP_RATES_H

#include <stdbool.h>

/*
** X(unit, pipe, what it executes)
** lds and ldg: cycles a pass of 128 bytes, the quarters taking turns; the others a warp
** instruction. branch and other take issue slots alone: their own limits bind no kernel of ours.
*/
#define QP_UNITS(X)                                                                                \
  X(alu, alu, "shifts, logic, byte permutes, integer additions, comparisons")                      \
  X(imad, fma, "integer multiply-adds of 32 bits, and moves that take their place")                \
  X(imad_wide, fma, "those that give 64 bits or the upper 32")                                     \
  X(ffma, fma, "fp32")                                                                             \
  X(half, half, "pairs of fp16")                                                                   \
  X(lds, lds, "loads of shared memory")                                                            \
  X(ldg, ldg, "loads of global memory")                                                            \
  X(mma, mma, "tensor cores, m16n8k16 of fp16 with fp32 sums")                                     \
  X(branch, branch, "jumps and where they meet again")                                             \
  X(other, other, "uniform datapath, constants, conversions, stores, barriers")

typedef enum qp_sm_unit {
#define X(unit, pipe, what) QP_UNIT_##unit,
  QP_UNITS(X)
#undef X
      QP_UNIT_COUNT
} qp_sm_unit;

/* The pipes, in the order in which they are shown. */
#define QP_PIPES(X) X(alu) X(fma) X(half) X(lds) X(ldg) X(mma) X(branch) X(other)

typedef enum qp_pipe {
#define X(pipe) QP_PIPE_##pipe,
  QP_PIPES(X)
#undef X
      QP_PIPE_COUNT
} qp_pipe;

typedef struct qp_rates {
  unsigned arch;
  bool measured;                /* The numbers were measured; else they come from neighbours and
                                   data sheets. */
  double clock_ghz;             /* that a busy GPU of the usual part keeps */
  double read_gbs;              /* that a kernel which only reads gets from memory, 1e9 bytes/s */
  double cycles[QP_UNIT_COUNT]; /* 0: not counted */
} qp_rates;

qp_pipe qp_unit_pipe(qp_sm_unit unit);
const char *qp_pipe_name(qp_pipe pipe);

/* Find the row of an architecture (runtime/arch.h), or of its nearest lower neighbour; never
   NULL. */
const qp_rates *qp_rates_of(unsigned arch);

#endif
