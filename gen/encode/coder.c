/* SPDX-License-Identifier: MIT */
/* Codes for one stream:  rows <-> lanes, the search that suits the quantizer, bits into words. */
#include "gen/encode/coder.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/half.h"

enum { LANES = 32, BLOCK_WEIGHTS = 64, LLOYD_ROUNDS = 32 };

/* ---- What all threads read ---- */

static qp_status make_values(qp_coder *c, qp_error *err) {
  const qp_quantizer *q = c->quantizer;
  const size_t all = (size_t)q->dim << q->window, used = (size_t)c->states * q->dim;
  uint16_t *halves = malloc(sizeof *halves * all);
  c->values = malloc(sizeof *c->values * used);
  qp_status st = halves && c->values
                     ? qp_quantizer_table(q, NULL, NULL, halves, err)
                     : qp_fail(err, QP_E_NOMEM, "no memory for the decode table of %s", q->name);
  for (size_t i = 0; !st && i < used; i++) c->values[i] = qp_half_to_float(halves[i]);
  free(halves);
  return st;
}

static bool has_row_codebook(const qp_quantizer *q) {
  for (unsigned i = 0; i < q->codebooks; i++)
    if (q->codebook[i].scope == QP_SCOPE_ROW) return true;
  return false;
}

static qp_status make_search(qp_coder *c, qp_error *err) {
  const qp_quantizer *q = c->quantizer;
  if (c->kind == QP_CODER_TRELLIS)
    return qp_trellis_make(&c->trellis, q->window, q->step, q->dim, c->values, err);
  return qp_codewords_make(&c->words, c->states, q->dim, c->values, err);
}

qp_status qp_coder_make(qp_coder *out, const qp_quantizer *q, qp_error *err) {
  qp_coder c = {.quantizer = q};
  c.states = 1u << (q->planes ? q->planes_read : q->window);
  if (q->window > QP_TRELLIS_WINDOW) {
    return qp_fail(err, QP_E_LIMIT, "%s: a window of %u bits; up to %d can be encoded", q->name,
                   q->window, QP_TRELLIS_WINDOW);
  }
  c.kind = q->kind == QP_TRELLIS ? QP_CODER_TRELLIS
           : q->fields           ? QP_CODER_FIELDS
           : has_row_codebook(q) ? QP_CODER_ROWS
                                 : QP_CODER_CODES;
  qp_status st = QP_OK;
  if (q->kind == QP_TRELLIS && (q->fields || has_row_codebook(q))) {
    return qp_fail(err, QP_E_LIMIT,
                   "%s: a trellis with group fields or codebooks by row cannot be encoded",
                   q->name);
  }
  if (c.kind != QP_CODER_FIELDS) st = make_values(&c, err);
  if (!st && c.kind != QP_CODER_FIELDS) st = make_search(&c, err);
  if (st) {
    qp_coder_free(&c);
    return qp_fail_prefix(err, st, "%s", q->name);
  }
  *out = c;
  return QP_OK;
}

void qp_coder_free(qp_coder *c) {
  free(c->values);
  qp_trellis_free(&c->trellis);
  qp_codewords_free(&c->words);
  *c = (qp_coder){0};
}

/* ---- One thread ---- */

struct qp_coder_work {
  qp_search *search;       /* TRELLIS */
  qp_field_search *fields; /* FIELDS */
  size_t weights, steps;   /* of a lane */
  float *target;           /* [32][weights], in the order of the lanes' streams */
  uint32_t *code;          /* [32][steps] */
  uint32_t *row_code;      /* [32][weights of a row], FIELDS and ROWS */
};

qp_status qp_coder_work_new(const qp_coder *c, const qp_stream *s, qp_coder_work **out,
                            qp_error *err) {
  qp_coder_work *w = calloc(1, sizeof *w);
  if (!w) return qp_fail(err, QP_E_NOMEM, "out of memory");
  w->steps = (size_t)s->superblocks * s->period.steps;
  w->weights = w->steps * c->quantizer->dim;
  w->target = malloc(sizeof *w->target * LANES * w->weights);
  w->code = malloc(sizeof *w->code * LANES * w->steps);
  w->row_code = malloc(sizeof *w->row_code * LANES * w->weights);
  qp_status st = w->target && w->code && w->row_code
                     ? QP_OK
                     : qp_fail(err, QP_E_NOMEM, "no memory for the codes of 32 rows");
  if (!st && c->kind == QP_CODER_TRELLIS) st = qp_search_new(&c->trellis, &w->search, err);
  if (!st && c->kind == QP_CODER_FIELDS) st = qp_field_search_new(c->quantizer, &w->fields, err);
  if (st) {
    qp_coder_work_free(w);
    return st;
  }
  *out = w;
  return QP_OK;
}

void qp_coder_work_free(qp_coder_work *w) {
  if (!w) return;
  qp_search_free(w->search);
  qp_field_search_free(w->fields);
  free(w->target);
  free(w->code);
  free(w->row_code);
  free(w);
}

/* Row and column of weight i of a lane's stream. */
static void place(unsigned lane, size_t i, unsigned *row, size_t *column) {
  unsigned in_block;
  qp_layout_pair(lane, (unsigned)(i % BLOCK_WEIGHTS / 2), row, &in_block);
  *column = i / BLOCK_WEIGHTS * QP_BLOCK_COLUMNS + in_block + i % 2;
}

/* ---- Bits ---- */

/* One lane's codes to its words of all superblocks. */
static void pack_lane(const qp_stream *s, unsigned row_group, unsigned lane, const uint32_t *code,
                      uint32_t *codes) {
  const qp_quantizer *q = s->quantizer;
  const unsigned words = s->period.words, steps = s->period.steps;
  for (unsigned b = 0; b < s->superblocks; b++, code += steps) {
    uint32_t *to = codes + ((size_t)row_group * s->superblocks + b) * LANES * words;
    uint64_t bits = 0;
    unsigned held = 0, word = 0;
    if (q->planes) {
      for (unsigned i = 0; i < words; i++) to[qp_layout_word(words, lane, i)] = 0;
      for (unsigned i = 0; i < steps; i++) {
        for (unsigned p = 0; p < q->planes_read; p++) {
          const unsigned at = i / BLOCK_WEIGHTS * 2 * q->step + 2 * p + i % BLOCK_WEIGHTS / 32;
          const uint32_t bit = code[i] >> (q->planes_read - 1 - p) & 1;
          to[qp_layout_word(words, lane, at)] |= bit << (i % 32);
        }
      }
      continue;
    }
    for (unsigned i = 0; i < steps; i++) {
      bits |= (uint64_t)code[i] << held;
      for (held += q->step; held >= 32; held -= 32, bits >>= 32)
        to[qp_layout_word(words, lane, word++)] = (uint32_t)bits;
    }
  }
}

static void set_field(const qp_stream *s, const qp_coder_out *out, unsigned f, unsigned row,
                      unsigned column, uint32_t value) {
  const size_t at = qp_layout_field(s, row, column);
  uint8_t *to = out->field[f];
  switch (s->quantizer->field[f].type) {
  case QP_FIELD_F16:
    to[2 * at] = (uint8_t)value;
    to[2 * at + 1] = (uint8_t)(value >> 8);
    break;
  case QP_FIELD_U8: to[at] = (uint8_t)value; break;
  case QP_FIELD_U4:
    to[at / 2] = (uint8_t)((to[at / 2] & (at % 2 ? 0x0f : 0xf0)) | value << (4 * (at % 2)));
    break;
  }
}

/* ---- Lanes: trellises and vectors ---- */

static void gather(const qp_coder_work *w, const qp_stream *s, const float *targets) {
  for (unsigned lane = 0; lane < LANES; lane++) {
    float *to = w->target + lane * w->weights;
    for (size_t i = 0; i < w->weights; i++) {
      unsigned row;
      size_t column;
      place(lane, i, &row, &column);
      to[i] = column < s->columns ? targets[(size_t)row * s->columns + column] : 0;
    }
  }
}

static void search_lanes(const qp_coder *c, qp_coder_work *w) {
  const unsigned at_once = qp_trellis_sequences(&c->trellis);
  for (unsigned lane = 0; lane < LANES; lane += at_once) {
    const float *target[QP_TRELLIS_SEQUENCES] = {0};
    uint32_t *code[QP_TRELLIS_SEQUENCES], start[QP_TRELLIS_SEQUENCES];
    for (unsigned k = 0; k < at_once; k++) {
      target[k] = w->target + (lane + k) * w->weights;
      code[k] = w->code + (lane + k) * w->steps;
    }
    qp_trellis_search(&c->trellis, w->search, QP_ENDS_TIED, at_once, (unsigned)w->steps, target,
                      start, code);
  }
}

/* The group before a circular run's first step: what its last codes lead to, from anywhere. */
static uint32_t group_before(const qp_trellis *t, const uint32_t *code, size_t steps) {
  uint32_t group = 0;
  for (size_t k = (t->window + t->step - 1) / t->step; k > 0; k--) {
    const size_t back = k % steps, i = back ? steps - back : 0;
    group = (code[i] << (t->window - t->step) | group) >> t->step;
  }
  return group;
}

/* What a lane's codes decode to, back to rows. */
static void scatter(const qp_coder *c, const qp_coder_work *w, const qp_stream *s, unsigned lane,
                    float *values) {
  const unsigned dim = c->quantizer->dim;
  const uint32_t *code = w->code + lane * w->steps;
  const bool trellis = c->kind == QP_CODER_TRELLIS;
  uint32_t group = trellis ? group_before(&c->trellis, code, w->steps) : 0;
  for (size_t i = 0; i < w->steps; i++) {
    uint32_t state = code[i];
    if (trellis) {
      state = state << (c->trellis.window - c->trellis.step) | group;
      group = state >> c->trellis.step;
    }
    for (unsigned e = 0; e < dim; e++) {
      unsigned row;
      size_t column;
      place(lane, i * dim + e, &row, &column);
      if (column < s->columns)
        values[(size_t)row * s->columns + column] = c->values[(size_t)state * dim + e];
    }
  }
}

static void code_lanes(const qp_coder *c, qp_coder_work *w, const qp_stream *s, unsigned row_group,
                       const float *targets, const qp_coder_out *out, float *values) {
  gather(w, s, targets);
  if (c->kind == QP_CODER_TRELLIS)
    search_lanes(c, w);
  else
    qp_codewords_nearest(&c->words, LANES * w->steps, w->target, w->code);
  for (unsigned lane = 0; lane < LANES; lane++) {
    scatter(c, w, s, lane, values);
    pack_lane(s, row_group, lane, w->code + lane * w->steps, out->codes);
  }
}

/* ---- Rows: group fields, codebooks by row ---- */

/* Codes by row to lanes and words; 'per_row' codes a row. */
static void pack_rows(const qp_coder *c, const qp_coder_work *w, const qp_stream *s,
                      unsigned row_group, size_t per_row, const qp_coder_out *out) {
  const unsigned dim = c->quantizer->dim;
  for (unsigned lane = 0; lane < LANES; lane++) {
    uint32_t *code = w->code + lane * w->steps;
    for (size_t i = 0; i < w->steps; i++) {
      unsigned row;
      size_t column;
      place(lane, i * dim, &row, &column);
      code[i] = column < s->columns ? w->row_code[row * per_row + column / dim] : 0;
    }
    pack_lane(s, row_group, lane, code, out->codes);
  }
}

static qp_status code_fields(const qp_coder *c, qp_coder_work *w, const qp_stream *s,
                             unsigned row_group, const float *targets, const qp_coder_out *out,
                             float *values, qp_error *err) {
  const qp_quantizer *q = c->quantizer;
  const size_t per_row = (s->columns + q->dim - 1) / q->dim;
  uint32_t fields[QP_MAX_FIELDS] = {0};
  for (unsigned row = 0; row < LANES; row++) {
    for (unsigned g = 0; g < s->groups; g++) {
      const unsigned from = g * q->group;
      unsigned n = from >= s->columns ? 0 : s->columns - from;
      if (n > q->group) n = q->group;
      const size_t at = (size_t)row * s->columns + from;
      qp_status st =
          n ? qp_field_search_run(w->fields, n, targets + at, fields,
                                  w->row_code + row * per_row + from / q->dim, values + at, err)
            : QP_OK; /* padding keeps the fields of its neighbour */
      if (st) return st;
      for (unsigned f = 0; f < q->fields; f++)
        set_field(s, out, f, row_group * QP_GROUP_ROWS + row, from, fields[f]);
    }
  }
  pack_rows(c, w, s, row_group, per_row, out);
  return QP_OK;
}

/* Lloyd's rounds on one row from the codebook's defaults; ascending order is kept. */
static void fit_codebook(unsigned n, const float *target, unsigned entries, float *value,
                         uint32_t *code) {
  double sum[256], count[256];
  for (unsigned round = 0; round <= LLOYD_ROUNDS; round++) {
    bool moved = false;
    memset(sum, 0, sizeof *sum * entries);
    memset(count, 0, sizeof *count * entries);
    for (unsigned i = 0; i < n; i++) {
      unsigned e = 0; /* few entries: the edges are looked at in order */
      while (e + 1 < entries && target[i] > (value[e] + value[e + 1]) / 2) e++;
      moved |= code[i] != e || !round;
      code[i] = e;
      sum[e] += (double)target[i];
      count[e]++;
    }
    if (!moved || round == LLOYD_ROUNDS) return;
    for (unsigned e = 0; e < entries; e++)
      if (count[e] > 0) value[e] = qp_half_to_float(qp_double_to_half(sum[e] / count[e]));
  }
}

static bool rows_are_plain(const qp_quantizer *q) {
  if (q->dim != 1 || q->codebooks != 1 || q->codebook[0].entries > 256) return false;
  for (unsigned e = 1; e < q->codebook[0].entries; e++) {
    if (qp_half_to_float(q->codebook[0].data[e]) < qp_half_to_float(q->codebook[0].data[e - 1]))
      return false;
  }
  return true;
}

/* Where the code is the index of an ascending codebook the row's own is fitted; else the default
** serves. */
static void code_by_row(const qp_coder *c, qp_coder_work *w, const qp_stream *s, unsigned row_group,
                        const float *targets, const qp_coder_out *out, float *values) {
  const qp_quantizer *q = c->quantizer;
  const unsigned entries = q->codebook[0].entries;
  const size_t per_row = s->columns / q->dim;
  bool plain = rows_are_plain(q) && entries == c->states;
  for (unsigned e = 0; plain && e < entries; e++)
    plain = c->values[e] == qp_half_to_float(q->codebook[0].data[e]);
  for (unsigned row = 0; row < LANES; row++) {
    const float *target = targets + (size_t)row * s->columns;
    uint32_t *code = w->row_code + row * per_row;
    float *own = w->target; /* free here: [entries] */
    memcpy(own, c->values, sizeof *own * c->states * q->dim);
    if (plain)
      fit_codebook(s->columns, target, entries, own, code);
    else
      qp_codewords_nearest(&c->words, per_row, target, code);
    for (size_t i = 0; i < per_row * q->dim; i++)
      values[(size_t)row * s->columns + i] = own[code[i / q->dim] * q->dim + i % q->dim];
    for (unsigned b = 0; b < q->codebooks; b++) {
      const qp_codebook *book = &q->codebook[b];
      if (book->scope != QP_SCOPE_ROW) continue;
      uint16_t *to = out->codebook[b] + ((size_t)row_group * QP_GROUP_ROWS + row) * book->entries;
      for (unsigned e = 0; e < book->entries; e++)
        to[e] = plain ? qp_float_to_half(own[e]) : book->data[e];
    }
  }
  pack_rows(c, w, s, row_group, per_row, out);
}

qp_status qp_coder_rows(const qp_coder *c, qp_coder_work *w, const qp_stream *s, unsigned row_group,
                        const float *targets, const qp_coder_out *out, float *values,
                        qp_error *err) {
  switch (c->kind) {
  case QP_CODER_FIELDS: return code_fields(c, w, s, row_group, targets, out, values, err);
  case QP_CODER_ROWS: code_by_row(c, w, s, row_group, targets, out, values); break;
  default: code_lanes(c, w, s, row_group, targets, out, values);
  }
  return QP_OK;
}
