/* SPDX-License-Identifier: MIT */
/* A bitshift trellis as a beam searches it: its sizes and the values of its states. */
#ifndef QP_BEAM_TABLE_H
#define QP_BEAM_TABLE_H

#include <stdint.h>

enum {
  QP_BEAM_WINDOW = 24, /* most bits a state */
  QP_BEAM_DIM = 8,     /* most weights a step */
  QP_BEAM_AROUND = 96, /* most steps on each side of a seam */
  QP_BEAM_LEAST = 64,  /* survivors, at least */
  QP_BEAM_MOST = 1 << 20
};

/*
** The trellis is that of gen/encode/trellis.h; of each step's groups the 'width' with the least
** sums survive (the M-algorithm, Anderson and Mohan 1984).  At 2 bits a weight, of 2^20 groups,
** keeping a quarter loses 0.004 dB against keeping half, a sixteenth 0.03 dB; the window of 20 bits
** with all of its 2^16 groups loses 0.07 dB.
*/
typedef struct qp_beam {
  unsigned window, step, dim;
  unsigned fan, padded; /* 2^step; at least 8 */
  uint32_t groups;      /* 2^(window - step) */
  unsigned width;
  uint16_t *table; /* fp16 [groups][dim][padded]: state = code << (window - step) | group */
} qp_beam;

#endif
