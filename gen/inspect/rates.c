/* SPDX-License-Identifier: MIT */
/*
** The table of rates; see rates.h.  sm_90 was measured on an H100 SXM: SHF, LOP3, PRMT, IMAD 2.0
** cycles, IMAD.WIDE and IMAD.HI 4.0, LDS.32 4.0, read bandwidth 3.10 TB/s or more, 1.98 GHz; its
** other rates and all other rows are assumed: CUDA C++ Programming Guide, "Throughput of Native
** Arithmetic Instructions"; 92 % of the data sheet's bandwidth, the boost clock.
*/
#include "gen/inspect/rates.h"

#include <stddef.h>

/* arch, measured, GHz, GB/s, cycles: alu imad imad_wide ffma half lds ldg mma. */
#define ROWS(X)                                                                                    \
  X(75, false, 1.59, 290, 2, 2, 4, 2, 2, 4, 4, 16)                                                 \
  X(80, false, 1.41, 1880, 2, 2, 4, 2, 1, 4, 4, 8)                                                 \
  X(86, false, 1.70, 860, 2, 2, 4, 1, 2, 4, 4, 16)                                                 \
  X(87, false, 1.30, 188, 2, 2, 4, 1, 1, 4, 4, 16)                                                 \
  X(88, false, 1.30, 94, 2, 2, 4, 1, 2, 4, 4, 16)                                                  \
  X(89, false, 2.52, 930, 2, 2, 4, 1, 2, 4, 4, 16)                                                 \
  X(90, true, 1.98, 3100, 2, 2, 4, 1, 1, 4, 4, 4)                                                  \
  X(100, false, 1.92, 7360, 2, 2, 4, 1, 1, 4, 4, 4)                                                \
  X(103, false, 1.92, 7360, 2, 2, 4, 1, 1, 4, 4, 4)                                                \
  X(107, false, 1.92, 12000, 2, 2, 4, 1, 1, 4, 4, 4)                                               \
  X(110, false, 1.57, 250, 2, 2, 4, 1, 1, 4, 4, 8)                                                 \
  X(120, false, 2.41, 1650, 2, 2, 4, 1, 2, 4, 4, 16)                                               \
  X(121, false, 2.41, 250, 2, 2, 4, 1, 2, 4, 4, 16)

#define ROW(arch, measured, ghz, gbs, ...) {arch, measured, ghz, gbs, {__VA_ARGS__, 0, 0}},
static const qp_rates rows[] = {ROWS(ROW)};

qp_pipe qp_unit_pipe(qp_sm_unit unit) {
  static const qp_pipe pipe[] = {
#define X(unit, of, what) QP_PIPE_##of,
      QP_UNITS(X)
#undef X
  };
  return pipe[unit];
}

const char *qp_pipe_name(qp_pipe pipe) {
  static const char *const name[] = {
#define X(pipe) #pipe,
      QP_PIPES(X)
#undef X
  };
  return name[pipe];
}

const qp_rates *qp_rates_of(unsigned arch) {
  const qp_rates *best = rows;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    if (rows[i].arch <= arch) best = &rows[i];
  return best;
}
