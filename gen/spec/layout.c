/* SPDX-License-Identifier: MIT */
/* Where the bits of packed weights lie; see layout.h. */
#include "gen/spec/layout.h"

#include <math.h>

qp_status qp_layout_period(const qp_quantizer *q, qp_period *out, qp_error *err) {
  for (unsigned blocks = 1; blocks <= 8; blocks++) {
    unsigned weights = blocks * 2 * QP_BLOCK_PAIRS;
    unsigned pairs_a_code = q->dim % 2 ? q->dim : q->dim / 2; /* odd dims go two codes at a time */
    unsigned codes_a_read = q->dim % 2 ? 2 : 1;
    if (blocks * QP_BLOCK_PAIRS % pairs_a_code) continue;
    unsigned steps = weights / q->dim;
    if (steps % codes_a_read || steps * q->step % 32) continue;
    unsigned words = steps * q->step / 32;
    *out = (qp_period){.blocks = blocks,
                       .steps = steps,
                       .words = words,
                       .words_read = q->planes ? 2 * q->planes_read : words};
    return QP_OK;
  }
  return qp_fail(err, QP_E_LIMIT,
                 "quantizer %s: codes of %u bits for %u weights do not fill whole 32-bit words "
                 "within 8 blocks of 64 weights; choose 'step' so that 512 / dim * step is a "
                 "multiple of 32",
                 q->name, q->step, q->dim);
}

qp_status qp_layout_stream(const qp_quantizer *q, unsigned rows, unsigned columns, qp_stream *out,
                           qp_error *err) {
  qp_stream s = {.quantizer = q, .rows = rows, .columns = columns};
  qp_status status = qp_layout_period(q, &s.period, err);
  if (status) return status;
  unsigned width = s.period.blocks * QP_BLOCK_COLUMNS;
  s.row_groups = (rows + QP_GROUP_ROWS - 1) / QP_GROUP_ROWS;
  s.superblocks = (columns + width - 1) / width;
  s.code_words = (size_t)s.row_groups * s.superblocks * s.period.words * 32;
  if (q->group) {
    s.groups = (s.superblocks * width + q->group - 1) / q->group;
    for (unsigned f = 0; f < q->fields; f++) {
      size_t elements = (size_t)s.row_groups * s.groups * QP_GROUP_ROWS;
      s.field_bytes[f] = q->field[f].type == QP_FIELD_F16  ? 2 * elements
                         : q->field[f].type == QP_FIELD_U8 ? elements
                                                           : elements / 2;
    }
  }
  *out = s;
  return QP_OK;
}

unsigned qp_layout_padded_rows(unsigned rows) { return (rows + 15) / 16 * 16; }

unsigned qp_layout_word(unsigned words, unsigned lane, unsigned i) {
  unsigned quads = words / 4, base = quads * 128;
  if (i < 4 * quads) return i / 4 * 128 + lane * 4 + i % 4;
  i -= 4 * quads;
  if ((words & 2) && i < 2) return base + lane * 2 + i;
  return base + (words & 2 ? 64 : 0) + lane;
}

void qp_layout_pair(unsigned lane, unsigned j, unsigned *row, unsigned *column) {
  unsigned t = j / 4, r = j % 4, m = t % 2, k = t / 2;
  *row = 16 * m + lane / 4 + 8 * (r & 1);
  *column = 32 * (k / 2) + 8 * (lane & 3) + 4 * (k & 1) + 2 * (r / 2);
}

size_t qp_layout_field(const qp_stream *s, unsigned row, unsigned column) {
  unsigned rg = row / QP_GROUP_ROWS, in = row % QP_GROUP_ROWS;
  size_t group = (size_t)rg * s->groups + column / s->quantizer->group;
  return (group * 8 + in % 8) * 4 + in / 8;
}

unsigned qp_layout_part_column(const qp_quantizer *q, unsigned columns, unsigned part) {
  if (part == 0) return 0;
  unsigned parts = q->kind == QP_SPLIT ? q->parts : 1;
  if (part >= parts) return columns;
  double fraction = 0;
  for (unsigned i = 0; i < part; i++) fraction += q->part[i].fraction;
  unsigned unit = QP_BLOCK_COLUMNS;
  unsigned column = (unsigned)lround(fraction * columns / unit) * unit;
  return column < columns ? column : columns;
}
