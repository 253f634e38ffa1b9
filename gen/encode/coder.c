/* SPDX-License-Identifier: MIT */
/* Codes for one stream:  rows <-> lanes, the search that suits the quantizer, bits into words. */
#include "gen/encode/coder.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/half.h"

enum { LANES = 32, BLOCK_WEIGHTS = 64, LLOYD_ROUNDS = 32, MAX_ROW_ENTRIES = 256 };

/* ---- What all threads read ---- */

static qp_status make_values(qp_coder *c, qp_error *err) {
  const qp_quantizer *q = c->quantizer;
  const size_t all = (size_t)q->dim << q->window, used = (size_t)c->states * q->dim;
  uint16_t *halves = malloc(sizeof *halves * all);
  c->values = malloc(sizeof *c->values * used);
  qp_status st = QP_E_NOMEM;
  if (halves && c->values)
    st = qp_quantizer_table(q, NULL, NULL, halves, err);
  else
    qp_fail(err, st, "no memory for the decode table of %s", q->name);
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
    /* It is kept in the coder. NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
    return qp_trellis_make(&c->trellis, q->window, q->step, q->dim, c->values, err);
  return qp_codewords_make(&c->words, c->states, q->dim, c->values, err);
}

qp_status qp_coder_make(qp_coder *out, const qp_quantizer *q, qp_error *err) {
  qp_coder c = {.quantizer = q};
  c.states = 1u << (q->planes ? q->planes_read : q->window);
  if (q->window > QP_BEAM_WINDOW) {
    return qp_fail(err, QP_E_LIMIT, "%s: a window of %u bits; up to %d can be encoded", q->name,
                   q->window, QP_BEAM_WINDOW);
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
  qp_search *search;                  /* TRELLIS */
  qp_field_search *fields;            /* FIELDS */
  size_t weights, steps;              /* of a lane */
  float *target;                      /* [32][weights], in the order of the lanes' streams */
  uint32_t *code;                     /* [32][steps] */
  uint32_t *row_code;                 /* [32][weights of a row], FIELDS and ROWS */
  float *row_value;                   /* [32][states], ROWS: codebooks of the rows */
  uint32_t seam[LANES], group[LANES]; /* TRELLIS: where circles close, where each run stands */
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
  const size_t own = c->kind == QP_CODER_ROWS ? (size_t)c->states * c->quantizer->dim : 1;
  w->row_value = malloc(sizeof *w->row_value * LANES * own);
  qp_status st = w->target && w->code && w->row_code && w->row_value
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
  free(w->row_value);
  free(w);
}

/* Row and column of weight i of a lane's stream. */
static void place(unsigned lane, size_t i, unsigned *row, size_t *column) {
  unsigned in_block;
  qp_layout_pair(lane, (unsigned)(i % BLOCK_WEIGHTS / 2), row, &in_block);
  *column = i / BLOCK_WEIGHTS * QP_BLOCK_COLUMNS + in_block + i % 2;
}

/* ---- Bits ---- */

/* One lane's codes of superblock b to its words. */
static void pack_superblock(const qp_stream *s, unsigned row_group, unsigned lane, unsigned b,
                            const uint32_t *code, uint32_t *codes) {
  const qp_quantizer *q = s->quantizer;
  const unsigned words = s->period.words, steps = s->period.steps;
  uint32_t *to = codes + ((size_t)row_group * s->superblocks + b) * LANES * words;
  uint64_t bits = 0;
  unsigned held = 0, word = 0;
  for (unsigned i = 0; i < steps && !q->planes; i++) {
    bits |= (uint64_t)code[i] << held;
    for (held += q->step; held >= 32; held -= 32, bits >>= 32)
      to[qp_layout_word(words, lane, word++)] = (uint32_t)bits;
  }
  if (!q->planes) return;
  for (unsigned i = 0; i < words; i++) to[qp_layout_word(words, lane, i)] = 0;
  for (unsigned i = 0; i < steps; i++) {
    for (unsigned p = 0; p < q->planes_read; p++) {
      const unsigned at = i / BLOCK_WEIGHTS * 2 * q->step + 2 * p + i % BLOCK_WEIGHTS / 32;
      const uint32_t bit = code[i] >> (q->planes_read - 1 - p) & 1;
      to[qp_layout_word(words, lane, at)] |= bit << (i % 32);
    }
  }
}

/* Superblocks, and the steps and columns that they hold. */
typedef struct span {
  unsigned first, count;     /* superblocks */
  size_t step, steps;        /* of a lane */
  size_t column, column_end; /* within the stream's columns */
} span;

static span make_span(const qp_stream *s, unsigned first, unsigned count) {
  const size_t width = (size_t)s->period.blocks * QP_BLOCK_COLUMNS;
  span p = {.first = first, .count = count};
  p.step = (size_t)first * s->period.steps;
  p.steps = (size_t)count * s->period.steps;
  p.column = first * width;
  p.column_end = (first + count) * width;
  if (p.column > s->columns) p.column = s->columns;
  if (p.column_end > s->columns) p.column_end = s->columns;
  return p;
}

static void pack_lane(const qp_coder_work *w, const qp_stream *s, unsigned row_group, unsigned lane,
                      const span *p, uint32_t *codes) {
  const uint32_t *code = w->code + lane * w->steps;
  for (unsigned b = p->first; b < p->first + p->count; b++)
    pack_superblock(s, row_group, lane, b, code + (size_t)b * s->period.steps, codes);
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

static void gather(const qp_coder_work *w, const qp_stream *s, const span *p,
                   const float *targets) {
  const unsigned dim = s->quantizer->dim;
  for (unsigned lane = 0; lane < LANES; lane++) {
    float *to = w->target + lane * w->weights;
    for (size_t i = p->step * dim; i < (p->step + p->steps) * dim; i++) {
      unsigned row;
      size_t column;
      place(lane, i, &row, &column);
      to[i] = column < s->columns ? targets[(size_t)row * s->columns + column] : 0;
    }
  }
}

/* Lanes that are searched together: where their targets and codes of a span begin. */
typedef struct crew {
  unsigned first, count;
  const float *target[QP_TRELLIS_SEQUENCES];
  uint32_t *code[QP_TRELLIS_SEQUENCES];
} crew;

static crew make_crew(const qp_coder *c, const qp_coder_work *w, unsigned lane, size_t step) {
  crew k = {.first = lane, .count = qp_trellis_sequences(&c->trellis)};
  for (unsigned i = 0; i < k.count; i++) {
    k.target[i] = w->target + (lane + i) * w->weights + step * c->quantizer->dim;
    k.code[i] = w->code + (lane + i) * w->steps + step;
  }
  return k;
}

/* The group that a lane's codes lead to, from the one that it stood at. */
static uint32_t follow(const qp_trellis *t, const uint32_t *code, size_t steps, uint32_t group) {
  for (size_t i = 0; i < steps; i++) group = (code[i] << (t->window - t->step) | group) >> t->step;
  return group;
}

/* All of each lane's circle at once. */
static void search_circles(const qp_coder *c, qp_coder_work *w) {
  for (unsigned lane = 0; lane < LANES;) {
    const crew k = make_crew(c, w, lane, 0);
    qp_trellis_search(&c->trellis, w->search, QP_ENDS_TIED, k.count, (unsigned)w->steps, k.target,
                      w->group + lane, NULL, k.code);
    lane += k.count;
  }
}

/* A part of each lane's circle; 'ahead' steps behind it are looked at and left open. */
static void search_part(const qp_coder *c, qp_coder_work *w, const span *p, size_t ahead) {
  const bool last = p->step + p->steps + ahead == w->steps;
  for (unsigned lane = 0; lane < LANES;) {
    const crew k = make_crew(c, w, lane, p->step);
    qp_trellis_search(&c->trellis, w->search, last ? QP_ENDS_BETWEEN : QP_ENDS_FROM, k.count,
                      (unsigned)(p->steps + ahead), k.target, w->group + lane,
                      last ? w->seam + lane : NULL, k.code);
    lane += k.count;
  }
}

/* What a lane's codes of a span decode to, back to rows; the lane's group moves on. */
static void scatter(const qp_coder *c, qp_coder_work *w, const qp_stream *s, unsigned lane,
                    const span *p, float *values) {
  const unsigned dim = c->quantizer->dim;
  const uint32_t *code = w->code + lane * w->steps;
  const qp_trellis *t = c->kind == QP_CODER_TRELLIS ? &c->trellis : NULL;
  uint32_t group = w->group[lane];
  for (size_t i = p->step; i < p->step + p->steps; i++) {
    const uint32_t state = t ? code[i] << (t->window - t->step) | group : code[i];
    if (t) group = state >> t->step;
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
                       const span *p, const float *targets, const qp_coder_out *out,
                       float *values) {
  const unsigned left = s->superblocks - p->first - p->count;
  const span seen = make_span(s, p->first, p->count + (left ? 1 : 0));
  gather(w, s, &seen, targets);
  if (c->kind == QP_CODER_CODES) {
    for (unsigned lane = 0; lane < LANES; lane++)
      qp_codewords_nearest(&c->words, p->steps,
                           w->target + lane * w->weights + p->step * c->quantizer->dim,
                           w->code + lane * w->steps + p->step);
  } else if (p->steps == w->steps) {
    search_circles(c, w);
  } else {
    search_part(c, w, p, seen.steps - p->steps);
  }
  for (unsigned lane = 0; lane < LANES; lane++) {
    scatter(c, w, s, lane, p, values);
    pack_lane(w, s, row_group, lane, p, out->codes);
    if (c->kind == QP_CODER_TRELLIS) {
      const uint32_t *code = w->code + lane * w->steps + p->step;
      w->group[lane] = follow(&c->trellis, code, p->steps, w->group[lane]);
    }
  }
}

/* ---- Rows: group fields, codebooks by row ---- */

/* Codes by row to lanes and words; 'per_row' codes a row. */
static void pack_rows(const qp_coder *c, const qp_coder_work *w, const qp_stream *s,
                      unsigned row_group, size_t per_row, const span *p, const qp_coder_out *out) {
  const unsigned dim = c->quantizer->dim;
  for (unsigned lane = 0; lane < LANES; lane++) {
    uint32_t *code = w->code + lane * w->steps;
    for (size_t i = p->step; i < p->step + p->steps; i++) {
      unsigned row;
      size_t column;
      place(lane, i * dim, &row, &column);
      code[i] = column < s->columns ? w->row_code[row * per_row + column / dim] : 0;
    }
    pack_lane(w, s, row_group, lane, p, out->codes);
  }
}

static qp_status code_fields(const qp_coder *c, qp_coder_work *w, const qp_stream *s,
                             unsigned row_group, const span *p, const float *targets,
                             const qp_coder_out *out, float *values, qp_error *err) {
  const qp_quantizer *q = c->quantizer;
  const size_t per_row = (s->columns + q->dim - 1) / q->dim;
  const bool last = p->first + p->count == s->superblocks;
  uint32_t fields[QP_MAX_FIELDS] = {0};
  for (unsigned row = 0; row < LANES; row++) {
    for (unsigned g = (unsigned)p->column / q->group; g < s->groups; g++) {
      const unsigned from = g * q->group;
      if (from >= p->column_end && !last) break;
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
  pack_rows(c, w, s, row_group, per_row, p, out);
  return QP_OK;
}

/* Lloyd's rounds on one row from the codebook's defaults; ascending order is kept. */
static void fit_codebook(unsigned n, const float *target, unsigned entries, float *value) {
  double sum[MAX_ROW_ENTRIES] = {0}, count[MAX_ROW_ENTRIES] = {0}, before = INFINITY;
  for (unsigned round = 0; round < LLOYD_ROUNDS; round++) {
    double lost = 0;
    memset(sum, 0, sizeof *sum * entries);
    memset(count, 0, sizeof *count * entries);
    for (unsigned i = 0; i < n; i++) {
      unsigned e = 0; /* few entries: the edges are looked at in order */
      while (e + 1 < entries && target[i] > (value[e] + value[e + 1]) / 2) e++;
      const double d = (double)(target[i] - value[e]);
      lost += d * d;
      sum[e] += (double)target[i];
      count[e]++;
    }
    if (!(lost < before)) return;
    before = lost;
    for (unsigned e = 0; e < entries; e++)
      if (count[e] > 0) value[e] = qp_half_to_float(qp_double_to_half(sum[e] / count[e]));
  }
}

/* May each row have a codebook of its own fit?  Where the code is the index of an ascending one. */
static bool rows_can_be_fitted(const qp_coder *c) {
  const qp_quantizer *q = c->quantizer;
  const unsigned entries = q->codebook[0].entries;
  if (q->dim != 1 || q->codebooks != 1 || entries != c->states || entries > MAX_ROW_ENTRIES)
    return false;
  for (unsigned e = 0; e < entries; e++) {
    if (c->values[e] != qp_half_to_float(q->codebook[0].data[e])) return false;
    if (e && c->values[e] < c->values[e - 1]) return false;
  }
  return true;
}

static void fit_rows(const qp_coder *c, qp_coder_work *w, const qp_stream *s, unsigned row_group,
                     const float *targets, const qp_coder_out *out) {
  const qp_quantizer *q = c->quantizer;
  const bool fit = rows_can_be_fitted(c);
  for (unsigned row = 0; row < LANES; row++) {
    float *own = w->row_value + (size_t)row * c->states * q->dim;
    memcpy(own, c->values, sizeof *own * c->states * q->dim);
    if (fit) fit_codebook(s->columns, targets + (size_t)row * s->columns, c->states, own);
    for (unsigned b = 0; b < q->codebooks; b++) {
      const qp_codebook *book = &q->codebook[b];
      if (book->scope != QP_SCOPE_ROW) continue;
      uint16_t *to = out->codebook[b] + ((size_t)row_group * QP_GROUP_ROWS + row) * book->entries;
      for (unsigned e = 0; e < book->entries; e++)
        to[e] = fit ? qp_float_to_half(own[e]) : book->data[e];
    }
  }
}

static qp_status code_by_row(const qp_coder *c, qp_coder_work *w, const qp_stream *s,
                             unsigned row_group, const span *p, const float *targets,
                             const qp_coder_out *out, float *values, qp_error *err) {
  const unsigned dim = c->quantizer->dim;
  const size_t per_row = s->columns / dim, n = (p->column_end - p->column) / dim;
  for (unsigned row = 0; row < LANES; row++) {
    const size_t at = (size_t)row * s->columns + p->column;
    const float *own = w->row_value + (size_t)row * c->states * dim;
    uint32_t *code = w->row_code + row * per_row + p->column / dim;
    qp_codewords words;
    qp_status st = qp_codewords_make(&words, c->states, dim, own, err);
    if (st) return st;
    qp_codewords_nearest(&words, n, targets + at, code);
    qp_codewords_free(&words);
    for (size_t i = 0; i < n * dim; i++) values[at + i] = own[code[i / dim] * dim + i % dim];
  }
  pack_rows(c, w, s, row_group, per_row, p, out);
  return QP_OK;
}

/* ---- Both ---- */

void qp_coder_begin(const qp_coder *c, qp_coder_work *w, const qp_stream *s, unsigned row_group,
                    const float *targets, const qp_coder_out *out) {
  if (c->kind == QP_CODER_ROWS) fit_rows(c, w, s, row_group, targets, out);
  if (c->kind != QP_CODER_TRELLIS) return;
  const span all = make_span(s, 0, s->superblocks);
  gather(w, s, &all, targets);
  for (unsigned lane = 0; lane < LANES;) {
    const crew k = make_crew(c, w, lane, 0);
    qp_trellis_seams(&c->trellis, w->search, k.count, (unsigned)w->steps, k.target, w->seam + lane);
    lane += k.count;
  }
  memcpy(w->group, w->seam, sizeof w->group);
}

qp_status qp_coder_blocks(const qp_coder *c, qp_coder_work *w, const qp_stream *s,
                          unsigned row_group, unsigned first, unsigned count, const float *targets,
                          const qp_coder_out *out, float *values, qp_error *err) {
  const span p = make_span(s, first, count);
  switch (c->kind) {
  case QP_CODER_FIELDS: return code_fields(c, w, s, row_group, &p, targets, out, values, err);
  case QP_CODER_ROWS: return code_by_row(c, w, s, row_group, &p, targets, out, values, err);
  default: code_lanes(c, w, s, row_group, &p, targets, out, values); return QP_OK;
  }
}

qp_status qp_coder_rows(const qp_coder *c, qp_coder_work *w, const qp_stream *s, unsigned row_group,
                        const float *targets, const qp_coder_out *out, float *values,
                        qp_error *err) {
  if (c->kind == QP_CODER_ROWS) fit_rows(c, w, s, row_group, targets, out);
  return qp_coder_blocks(c, w, s, row_group, 0, s->superblocks, targets, out, values, err);
}
