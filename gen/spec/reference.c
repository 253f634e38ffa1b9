/* SPDX-License-Identifier: MIT */
/* The CPU reference decodes packed weights to W^. */
#include "gen/spec/reference.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/half.h"

enum { MAX_TABLE_BITS = 20 };

typedef struct table {
  struct table *next;
  const qp_quantizer *quantizer;
  uint16_t *value; /* [2^window][dim] */
} table;

struct qp_reference {
  table *tables;
};

qp_reference *qp_reference_new(void) { return calloc(1, sizeof(qp_reference)); }

void qp_reference_free(qp_reference *r) {
  if (!r) return;
  for (table *t = r->tables, *next; t; t = next) {
    next = t->next;
    free(t->value);
    free(t);
  }
  free(r);
}

/* The table of a quantizer whose decode depends on nothing but the state; NULL where it does. */
static qp_status find_table(qp_reference *r, const qp_packed *p, const uint16_t **out,
                            qp_error *err) {
  const qp_quantizer *q = p->stream->quantizer;
  *out = NULL;
  if (q->fields || q->window > MAX_TABLE_BITS) return QP_OK;
  for (unsigned c = 0; c < q->codebooks; c++)
    if (p->codebook[c]) return QP_OK;
  for (const table *t = r->tables; t; t = t->next)
    if (t->quantizer == q) return *out = t->value, QP_OK;
  table *t = calloc(1, sizeof *t);
  if (t) t->value = malloc(sizeof *t->value * q->dim << q->window);
  if (!t || !t->value) return free(t), qp_fail(err, QP_E_NOMEM, "no memory for a decode table");
  qp_status status = qp_quantizer_table(q, NULL, NULL, t->value, err);
  if (status) return free(t->value), free(t), status;
  t->quantizer = q;
  t->next = r->tables;
  r->tables = t;
  *out = t->value;
  return QP_OK;
}

/* Gather the words of one lane's stream in one row group, in order: circular, stream->superblocks *
   words. */
static void gather_lane(const qp_packed *p, unsigned row_group, unsigned lane, uint32_t *out) {
  unsigned words = p->stream->period.words, superblocks = p->stream->superblocks;
  for (unsigned sb = 0; sb < superblocks; sb++) {
    const uint32_t *at = p->codes + ((size_t)row_group * superblocks + sb) * 32 * words;
    for (unsigned i = 0; i < words; i++) out[sb * words + i] = at[qp_layout_word(words, lane, i)];
  }
}

static uint32_t read_bits(const uint32_t *words, uint64_t total, uint64_t at, unsigned n) {
  uint32_t v = 0;
  for (unsigned i = 0; i < n; i++) {
    uint64_t bit = (at + i) % total;
    v |= (words[bit / 32] >> (bit % 32) & 1) << i;
  }
  return v;
}

/* Code of weight w of a lane's stream, where codes are bit planes: first plane, highest bit. */
static uint32_t read_planes(const qp_quantizer *q, const uint32_t *words, unsigned block_words,
                            uint64_t w) {
  const uint32_t *at = words + w / 64 * block_words; /* 2 words a plane */
  unsigned in = (unsigned)(w % 64);
  uint32_t code = 0;
  for (unsigned p = 0; p < q->planes_read; p++)
    code = code << 1 | (at[2 * p + in / 32] >> (in % 32) & 1);
  return code;
}

uint32_t qp_reference_field(const qp_packed *p, unsigned field, unsigned row, unsigned column) {
  return qp_layout_get_field(p->stream, field, row, column, p->field[qp_layout_array(field)]);
}

/* Decode one code at (row, column) of the stream through the quantizer itself. */
static void decode_directly(const qp_packed *p, uint32_t state, unsigned row, unsigned column,
                            uint16_t *out) {
  const qp_quantizer *q = p->stream->quantizer;
  uint32_t fields[QP_MAX_FIELDS] = {0};
  const uint16_t *codebooks[QP_MAX_CODEBOOKS] = {0};
  for (unsigned f = 0; f < q->fields; f++) fields[f] = qp_reference_field(p, f, row, column);
  for (unsigned c = 0; c < q->codebooks; c++) {
    codebooks[c] = p->codebook[c] ? p->codebook[c] : q->codebook[c].data;
    if (q->codebook[c].scope == QP_SCOPE_ROW && p->codebook[c])
      codebooks[c] += (size_t)row * q->codebook[c].entries * q->codebook[c].dim;
  }
  qp_quantizer_decode(q, state, fields, codebooks, out);
}

static void decode_lane(const qp_packed *p, const uint16_t *values, const uint32_t *words,
                        unsigned row_group, unsigned lane, uint16_t *out) {
  const qp_stream *s = p->stream;
  const qp_quantizer *q = s->quantizer;
  uint64_t total = (uint64_t)s->superblocks * s->period.words * 32;
  uint64_t codes = (uint64_t)s->superblocks * s->period.steps;
  uint16_t decoded[16];
  for (uint64_t c = 0; c < codes; c++) {
    uint64_t end = (c + 1) * q->step;
    uint32_t state = q->planes ? read_planes(q, words, s->period.words, c)
                               : read_bits(words, total, total + end - q->window, q->window);
    for (unsigned e = 0; e < q->dim; e++) {
      uint64_t w = c * q->dim + e;
      unsigned row;
      size_t column;
      qp_layout_weight(q, lane, w, &row, &column);
      if (e == 0 && !values)
        decode_directly(p, state, row_group * QP_GROUP_ROWS + row, (unsigned)column, decoded);
      if (column < s->columns)
        out[(size_t)row * s->columns + column] =
            values ? values[(size_t)state * q->dim + e] : decoded[e];
    }
  }
}

/* Add the numbers of sparse entries to the weights of a row group. */
static void add_sparse(const qp_packed *p, unsigned row_group, uint16_t *out) {
  const qp_stream *s = p->stream;
  const uint8_t *array = p->field[qp_layout_sparse_array(s->quantizer)];
  for (unsigned r = 0; r < QP_GROUP_ROWS; r++)
    for (unsigned e = 0; e < s->sparse; e++) {
      const uint32_t word = qp_layout_get_sparse(s, row_group * QP_GROUP_ROWS + r, e, array);
      const uint32_t column = word & 0xffff;
      if (!(word >> 16) || column >= s->columns) continue;
      uint16_t *w = out + (size_t)r * s->columns + column;
      *w = qp_float_to_half(qp_half_to_float(*w) + qp_half_to_float((uint16_t)(word >> 16)));
    }
}

qp_status qp_reference_decode(qp_reference *r, const qp_packed *p, unsigned row_group,
                              uint16_t *out, qp_error *err) {
  const qp_stream *s = p->stream;
  const uint16_t *values;
  qp_status status = find_table(r, p, &values, err);
  if (status) return status;
  uint32_t *words = calloc((size_t)s->superblocks * s->period.words, sizeof *words);
  if (!words) return qp_fail(err, QP_E_NOMEM, "no memory for a lane's codes");
  for (unsigned lane = 0; lane < 32; lane++) {
    gather_lane(p, row_group, lane, words);
    decode_lane(p, values, words, row_group, lane, out);
  }
  if (s->sparse) add_sparse(p, row_group, out);
  free(words);
  return QP_OK;
}
