/* SPDX-License-Identifier: MIT */
/* Takes rows apart into the lanes' sequences, and puts codes into words. */
#include "gen/encode/lanes.h"

#include <stddef.h>

void qp_lanes_gather(const qp_stream *s, const float *targets, float *out) {
  const size_t weights =
      (size_t)s->superblocks * s->period.steps * s->quantizer->dim; /* of a lane */
  for (unsigned lane = 0; lane < 32; lane++)
    for (size_t i = 0; i < weights; i++) {
      unsigned row;
      size_t column;
      qp_layout_weight(s->quantizer, lane, i, &row, &column);
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
