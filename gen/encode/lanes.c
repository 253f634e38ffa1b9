/* SPDX-License-Identifier: MIT */
/* Rows as the lanes' sequences, and codes as words. */
#include "gen/encode/lanes.h"

#include <stddef.h>

enum { BLOCK_WEIGHTS = QP_GROUP_ROWS * QP_BLOCK_COLUMNS / 32 /* of a lane in a block */ };

void qp_lanes_gather(const qp_stream *s, const float *targets, float *out) {
  const size_t weights =
      (size_t)s->superblocks * s->period.steps * s->quantizer->dim; /* of a lane */
  for (unsigned lane = 0; lane < 32; lane++)
    for (size_t i = 0; i < weights; i++) {
      unsigned row, in_block;
      qp_layout_pair(lane, (unsigned)(i % BLOCK_WEIGHTS / 2), &row, &in_block);
      const size_t column = i / BLOCK_WEIGHTS * QP_BLOCK_COLUMNS + in_block + i % 2;
      *out++ = column < s->columns ? targets[(size_t)row * s->columns + column] : 0;
    }
}

void qp_lanes_pack(const qp_stream *s, unsigned row_group, const uint32_t *code, uint32_t *codes) {
  const unsigned words = s->period.words, steps = s->period.steps, step = s->quantizer->step;
  for (unsigned lane = 0; lane < 32; lane++)
    for (unsigned b = 0; b < s->superblocks; b++) {
      uint32_t *to = codes + ((size_t)row_group * s->superblocks + b) * 32 * words;
      uint64_t bits = 0;
      unsigned held = 0, word = 0;
      for (unsigned i = 0; i < steps; i++) {
        bits |= (uint64_t)*code++ << held;
        for (held += step; held >= 32; held -= 32, bits >>= 32)
          to[qp_layout_word(words, lane, word++)] = (uint32_t)bits;
      }
    }
}
