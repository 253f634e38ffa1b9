/* SPDX-License-Identifier: MIT */
/* Where the bits of packed weights lie; see layout.h. */
#include "gen/spec/layout.h"

#include <math.h>
#include <string.h>

enum { PIECE_BYTES = 16 };

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

unsigned qp_layout_array(unsigned f) { return f < QP_MAX_ARRAYS ? f : QP_MAX_ARRAYS - 1; }

unsigned qp_layout_arrays(const qp_quantizer *q) {
  const unsigned pieces = q->fields + (q->sparse > 0 ? 1 : 0);
  return pieces < QP_MAX_ARRAYS ? pieces : QP_MAX_ARRAYS;
}

unsigned qp_layout_sparse_array(const qp_quantizer *q) { return qp_layout_array(q->fields); }

bool qp_layout_array_is_half(const qp_quantizer *q, unsigned a) {
  const bool shared = a == qp_layout_array(q->fields) && q->sparse > 0;
  if (a >= q->fields || shared) return false;
  return q->field[a].type == QP_FIELD_F16 && (a + 1 < QP_MAX_ARRAYS || q->fields <= QP_MAX_ARRAYS);
}

/* Count the bytes of field f for a row group. */
static size_t piece_bytes(const qp_stream *s, unsigned f) {
  const qp_field *field = &s->quantizer->field[f];
  const size_t columns = (size_t)s->superblocks * s->period.blocks * QP_BLOCK_COLUMNS;
  const size_t groups = field->size ? (columns + field->size - 1) / field->size : 1;
  const size_t elements = field->tensor ? 1 : QP_GROUP_ROWS * groups;
  const size_t bytes = (elements * qp_field_row_of(field->type)->bits + 7) / 8;
  return (bytes + PIECE_BYTES - 1) / PIECE_BYTES * PIECE_BYTES;
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
  if (q->group) s.groups = (s.superblocks * width + q->group - 1) / q->group;
  s.arrays = qp_layout_arrays(q);
  for (unsigned f = 0; f < q->fields; f++)
    s.field_bytes[qp_layout_array(f)] += s.row_groups * piece_bytes(&s, f);
  if (q->sparse > 0 && columns) {
    const unsigned n = (unsigned)lround(q->sparse * columns);
    s.sparse = n ? n : 1;
    s.field_bytes[qp_layout_sparse_array(q)] += 4 * (size_t)s.row_groups * QP_GROUP_ROWS * s.sparse;
  }
  if (s.sparse && columns > QP_SPARSE_COLUMNS)
    return qp_fail(err, QP_E_LIMIT,
                   "quantizer %s: sparse entries of %u columns, whose numbers have 16 bits: %d are "
                   "possible",
                   q->name, columns, QP_SPARSE_COLUMNS);
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

bool qp_layout_by_row(const qp_quantizer *q) {
  bool rows = q->fields > 0;
  for (unsigned c = 0; c < q->codebooks; c++) rows |= q->codebook[c].scope == QP_SCOPE_ROW;
  return rows && q->dim > 2;
}

void qp_layout_weight(const qp_quantizer *q, unsigned lane, size_t i, unsigned *row,
                      size_t *column) {
  enum { LANE_WEIGHTS = 2 * QP_BLOCK_PAIRS };
  unsigned in_block, j = (unsigned)(i % LANE_WEIGHTS / 2);
  if (qp_layout_by_row(q)) /* pair j % 4 of row j / 4 % 4 of half j / 16 */
    j = j / 16 * 16 + j / 8 % 2 * 4 + j / 4 % 2 + j / 2 % 2 * 8 + j % 2 * 2;
  qp_layout_pair(lane, j, row, &in_block);
  *column = i / LANE_WEIGHTS * QP_BLOCK_COLUMNS + in_block + i % 2;
}

size_t qp_layout_field(const qp_stream *s, unsigned f, unsigned row, unsigned column) {
  const qp_field *field = &s->quantizer->field[f];
  const unsigned in = row % QP_GROUP_ROWS, array = qp_layout_array(f);
  size_t at = row / QP_GROUP_ROWS * (s->field_bytes[array] / s->row_groups);
  for (unsigned k = array; k < f; k++) at += piece_bytes(s, k);
  const size_t group = field->size ? column / field->size : 0;
  const size_t element = field->tensor ? 0 : (group * 8 + in % 8) * 4 + in / 8;
  return 8 * at + element * qp_field_row_of(field->type)->bits;
}

uint32_t qp_layout_get_field(const qp_stream *s, unsigned f, unsigned row, unsigned column,
                             const uint8_t *array) {
  const size_t at = qp_layout_field(s, f, row, column);
  const unsigned bits = qp_field_row_of(s->quantizer->field[f].type)->bits;
  uint32_t raw = 0;
  for (unsigned i = 0; i < bits; i++)
    raw |= (uint32_t)(array[(at + i) / 8] >> (at + i) % 8 & 1) << i;
  return raw;
}

void qp_layout_set_field(const qp_stream *s, unsigned f, unsigned row, unsigned column,
                         uint8_t *array, uint32_t raw) {
  const size_t at = qp_layout_field(s, f, row, column);
  const unsigned bits = qp_field_row_of(s->quantizer->field[f].type)->bits;
  for (unsigned i = 0; i < bits; i++) {
    const unsigned bit = 1u << (at + i) % 8, byte = array[(at + i) / 8];
    array[(at + i) / 8] = (uint8_t)(raw >> i & 1 ? byte | bit : byte & ~bit);
  }
}

/* Words lie in bytes that need not be aligned. */
static size_t sparse_at(const qp_stream *s, unsigned row, unsigned e) {
  const unsigned array = qp_layout_sparse_array(s->quantizer);
  size_t at = row / QP_GROUP_ROWS * (s->field_bytes[array] / s->row_groups);
  for (unsigned f = array; f < s->quantizer->fields; f++) at += piece_bytes(s, f);
  return at + 4 * ((size_t)e * QP_GROUP_ROWS + row % QP_GROUP_ROWS);
}

uint32_t qp_layout_get_sparse(const qp_stream *s, unsigned row, unsigned e, const uint8_t *array) {
  uint32_t word;
  memcpy(&word, array + sparse_at(s, row, e), sizeof word);
  return word;
}

void qp_layout_set_sparse(const qp_stream *s, unsigned row, unsigned e, uint8_t *array,
                          uint32_t word) {
  memcpy(array + sparse_at(s, row, e), &word, sizeof word);
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

static unsigned parts_of(const qp_quantizer *q) { return q->kind == QP_SPLIT ? q->parts : 1; }

unsigned qp_layout_ranges(const qp_quantizer *q, unsigned pieces) {
  return (pieces ? pieces : 1) * parts_of(q);
}

qp_range qp_layout_range(const qp_quantizer *q, unsigned columns, unsigned pieces, unsigned i) {
  const unsigned parts = parts_of(q), width = columns / (pieces ? pieces : 1);
  qp_range r = {.piece = i / parts, .part = i % parts};
  const unsigned from = qp_layout_part_column(q, width, r.part);
  r.quantizer = q->kind == QP_SPLIT ? q->part[r.part].quantizer : q;
  r.column = r.piece * width + from;
  r.columns = qp_layout_part_column(q, width, r.part + 1) - from;
  return r;
}
