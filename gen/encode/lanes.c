/* SPDX-License-Identifier: MIT */
/* Takes rows apart into the lanes' sequences, and puts codes into words. */
#include "gen/encode/lanes.h"

#include <stdbool.h>
#include <stddef.h>

enum { LANES = 32, BLOCK_WEIGHTS = 64 };

void qp_lanes_gather(const qp_stream *s, const float *targets, float *out) {
  const size_t weights =
      (size_t)s->superblocks * s->period.steps * s->quantizer->dim; /* of a lane */
  for (unsigned lane = 0; lane < LANES; lane++)
    for (size_t i = 0; i < weights; i++) {
      unsigned row;
      size_t column;
      qp_layout_weight(s->quantizer, lane, i, &row, &column);
      *out++ = column < s->columns ? targets[(size_t)row * s->columns + column] : 0;
    }
}

void qp_lanes_of_rows(const qp_stream *s, const uint32_t *row_code, const unsigned *place,
                      uint32_t *out) {
  const unsigned dim = s->quantizer->dim;
  const size_t per_row = (s->columns + dim - 1) / dim;
  const size_t steps = (size_t)s->superblocks * s->period.steps;
  for (unsigned lane = 0; lane < LANES; lane++)
    for (size_t i = 0; i < steps; i++) {
      unsigned row;
      size_t column;
      qp_layout_weight(s->quantizer, lane, i * dim, &row, &column);
      const bool coded = column < s->columns;
      const size_t at = coded && place ? place[column / dim] : column / dim;
      *out++ = coded ? row_code[row * per_row + at] : 0;
    }
}

/* Write one lane's codes of a superblock to its words. */
static void pack_bits(const qp_stream *s, unsigned lane, const uint32_t *code, uint32_t *to) {
  const unsigned words = s->period.words, step = s->quantizer->step;
  uint64_t bits = 0;
  unsigned held = 0, word = 0;
  for (unsigned i = 0; i < s->period.steps; i++) {
    bits |= (uint64_t)code[i] << held;
    for (held += step; held >= 32; held -= 32, bits >>= 32)
      to[qp_layout_word(words, lane, word++)] = (uint32_t)bits;
  }
}

static void pack_planes(const qp_stream *s, unsigned lane, const uint32_t *code, uint32_t *to) {
  const qp_quantizer *q = s->quantizer;
  const unsigned words = s->period.words;
  for (unsigned i = 0; i < words; i++) to[qp_layout_word(words, lane, i)] = 0;
  for (unsigned i = 0; i < s->period.steps; i++) {
    for (unsigned p = 0; p < q->planes_read; p++) {
      const unsigned at = i / BLOCK_WEIGHTS * 2 * q->step + 2 * p + i % BLOCK_WEIGHTS / 32;
      const uint32_t bit = code[i] >> (q->planes_read - 1 - p) & 1;
      to[qp_layout_word(words, lane, at)] |= bit << (i % 32);
    }
  }
}

void qp_lanes_pack(const qp_stream *s, unsigned row_group, const uint32_t *code, uint32_t *codes) {
  for (unsigned lane = 0; lane < LANES; lane++)
    for (unsigned b = 0; b < s->superblocks; b++, code += s->period.steps) {
      uint32_t *to = codes + ((size_t)row_group * s->superblocks + b) * LANES * s->period.words;
      if (s->quantizer->planes)
        pack_planes(s, lane, code, to);
      else
        pack_bits(s, lane, code, to);
    }
}

/* ---- Group fields ---- */

static unsigned padded_columns(const qp_stream *s) {
  return s->superblocks * s->period.blocks * QP_BLOCK_COLUMNS;
}

unsigned qp_field_groups(const qp_stream *s) {
  const unsigned group = s->quantizer->group;
  return group ? (s->columns + group - 1) / group : 1;
}

void qp_field_groups_pack(const qp_stream *s, unsigned row_group, const uint32_t *raw,
                          uint8_t *const field[QP_MAX_ARRAYS]) {
  const qp_quantizer *q = s->quantizer;
  const unsigned groups = qp_field_groups(s), group = q->group ? q->group : padded_columns(s);
  for (unsigned row = 0; row < QP_GROUP_ROWS; row++, raw += (size_t)groups * q->fields)
    for (unsigned at = 0; at < padded_columns(s); at += group) {
      const unsigned g = at / group < groups ? at / group : groups - 1;
      for (unsigned f = 0; f < q->fields; f++)
        qp_layout_set_field(s, f, row_group * QP_GROUP_ROWS + row, at, field[qp_layout_array(f)],
                            raw[(size_t)g * q->fields + f]);
    }
}
