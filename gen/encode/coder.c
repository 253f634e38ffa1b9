/* SPDX-License-Identifier: MIT */
/* Chooses the codes of one stream: it takes rows to lanes, runs the search that suits the
   quantizer, and puts the bits into words. */
#include "gen/encode/coder.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/books.h"
#include "gen/encode/lanes.h"
#include "gen/encode/nested.h"
#include "runtime/half.h"

enum {
  LANES = 32,
  LLOYD_ROUNDS = 32,
  ROW_ROUNDS = 12, /* of rows whose decode is a sum of entries */
  ROW_PROBES = 64, /* states that it is asked with whether it is one */
  MAX_ROW_ENTRIES = 256,
  MAX_CODE_BITS = 20, /* most bits of codes with one table */
  /*
  ** Columns of a trellis between which feedback passes, and what is looked at behind them, in the
  ** steps that a state remembers, but at most so many weights of a lane.  Of one layer of a
  ** language model at 3 bits (576 columns) the loss of outputs is, against 64 columns and as many
  ** ahead: .78 at 4 or 8 columns and 32 weights.  At 8 columns it is the same within its noise
  ** (1 %) for 4 memories ahead as for all 32 weights, at 3 and at 4 bits.
  */
  TRELLIS_GRAIN = QP_CODER_TRELLIS_GRAIN,
  AHEAD_MEMORIES = 4,
  AHEAD_WEIGHTS = 32,
  /* The seam of a circle is chosen before feedback moves the targets: a rough choice will do. */
  SEAM_MEMORIES = 4
};
/* ---- What all threads read ---- */

static qp_status make_values(qp_coder *c, qp_error *err) {
  const qp_quantizer *q = c->quantizer;
  const size_t all = (size_t)q->dim << q->window, used = (size_t)c->states * q->dim;
  uint16_t *halves = malloc(sizeof *halves * all);
  c->values = malloc(sizeof *c->values * used);
  qp_status status = QP_E_NOMEM;
  if (halves && c->values)
    status = qp_quantizer_table(q, NULL, NULL, halves, err);
  else
    qp_fail(err, status, "no memory for the decode table of %s", q->name);
  for (size_t i = 0; !status && i < used; i++) c->values[i] = qp_half_to_float(halves[i]);
  free(halves);
  return status;
}

static bool has_row_codebook(const qp_quantizer *q) {
  for (unsigned i = 0; i < q->codebooks; i++)
    if (q->codebook[i].scope == QP_SCOPE_ROW) return true;
  return false;
}

static qp_status make_stages(qp_coder *c, qp_error *err) {
  const qp_status status = qp_stages_make(&c->stages, c->quantizer, err);
  if (status || c->stages.count) return status;
  return qp_fail(
      err, QP_E_LIMIT,
      "codes of %u bits; up to %d can be encoded, more where decode adds up what runs of "
      "up to %d bits stand for",
      c->quantizer->window, MAX_CODE_BITS, QP_STAGE_BITS);
}

static qp_status make_search(qp_coder *c, qp_error *err) {
  const qp_quantizer *q = c->quantizer;
  if (!c->values) return make_stages(c, err);
  if (c->kind == QP_CODER_TRELLIS)
    /* It is kept in the coder. NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
    return qp_trellis_make(&c->trellis, q->window, q->step, q->dim, c->values, err);
  return qp_codewords_make(&c->words, c->states, q->dim, c->values, err);
}

static unsigned state_bits(const qp_quantizer *q) { return q->planes ? q->planes_read : q->window; }

qp_status qp_coder_make(qp_coder *out, const qp_quantizer *q, qp_error *err) {
  qp_coder c = {.quantizer = q};
  const unsigned bits = state_bits(q);
  c.states = bits <= QP_BEAM_WINDOW ? 1u << bits : 0;
  if (q->kind == QP_TRELLIS && q->window > QP_BEAM_WINDOW) {
    return qp_fail(err, QP_E_LIMIT, "%s: a window of %u bits; up to %d can be encoded", q->name,
                   q->window, QP_BEAM_WINDOW);
  }
  c.kind = q->kind == QP_TRELLIS ? QP_CODER_TRELLIS
           : qp_is_nested(q)     ? QP_CODER_NESTED
           : q->fields           ? QP_CODER_FIELDS
           : has_row_codebook(q) ? QP_CODER_ROWS
                                 : QP_CODER_CODES;
  qp_status status = QP_OK;
  if (q->kind == QP_TRELLIS && (q->fields || has_row_codebook(q))) {
    return qp_fail(err, QP_E_LIMIT,
                   "%s: a trellis with group fields or codebooks by row cannot be encoded",
                   q->name);
  }
  if (q->fields && q->window > MAX_CODE_BITS)
    return qp_fail(err, QP_E_LIMIT,
                   "%s: group fields with codes of %u bits; up to %d can be encoded", q->name,
                   q->window, MAX_CODE_BITS);
  const bool one_table = c.kind != QP_CODER_FIELDS && c.kind != QP_CODER_NESTED;
  if (one_table && (q->kind == QP_TRELLIS || q->window <= MAX_CODE_BITS))
    status = make_values(&c, err);
  if (!status && one_table) status = make_search(&c, err);
  if (status) {
    qp_coder_free(&c);
    return qp_fail_prefix(err, status, "%s", q->name);
  }
  *out = c;
  return QP_OK;
}

void qp_coder_free(qp_coder *c) {
  qp_stages_free(&c->stages);
  free(c->values);
  qp_trellis_free(&c->trellis);
  qp_codewords_free(&c->words);
  *c = (qp_coder){0};
}

size_t qp_coder_bytes(const qp_coder *c) {
  const size_t weights = (size_t)c->states * c->quantizer->dim;
  const size_t value = c->values ? sizeof *c->values : 0;
  switch (c->kind) {
  case QP_CODER_TRELLIS: /* The table of the trellis, by group, by tile or by row. */
    if (c->trellis.width)
      return weights * (value + (c->trellis.rows.table ? sizeof(int16_t) : 0)) +
             c->trellis.rows.windows * (size_t)c->trellis.groups * sizeof(uint32_t);
    return weights *
           (value + (c->trellis.table && c->trellis.rows.table ? 3 : 2) * sizeof(int16_t));
  case QP_CODER_FIELDS: return 0;
  default:
    if (!c->values) return qp_stages_bytes(&c->stages);
    return weights * value + (weights + c->states) * sizeof *c->words.table;
  }
}

/* ---- One thread ---- */

static qp_status make_row_books(const qp_coder *c, qp_books **out, qp_error *err);

struct qp_coder_work {
  qp_search *search;                  /* TRELLIS */
  qp_field_search *fields;            /* FIELDS */
  qp_nested *nested;                  /* NESTED */
  uint32_t (*chosen)[QP_MAX_FIELDS];  /* NESTED: [32][groups of a unit], for the unit in hand */
  float *scratch;                     /* CODES in stages */
  size_t weights, steps;              /* of a lane */
  float *target;                      /* [32][weights], in the order of the lanes' streams */
  uint32_t *code;                     /* [32][steps] */
  uint32_t *row_code;                 /* [32][codes of a row], where codes are found by row */
  float *row_value;                   /* [32][states], ROWS: codebooks of the rows */
  qp_codewords row_words[LANES];      /* ROWS */
  uint16_t *row_half;                 /* ROWS: [2^window][dim] */
  qp_books *books;                    /* ROWS */
  const float *weight;                /* ROWS: [columns], the caller's, or NULL */
  const unsigned *place;              /* CODES, ROWS: [codes of a row], the caller's, or NULL */
  qp_field_choice choice[LANES];      /* FIELDS: for each row's group in hand */
  uint32_t seam[LANES], group[LANES]; /* TRELLIS: where circles close, where each run stands */
};

static unsigned groups_of_unit(const qp_stream *s) {
  return qp_coder_group(s) / qp_nested_group(s->quantizer);
}

static qp_status make_nested(const qp_coder *c, const qp_stream *s, qp_coder_work *w,
                             qp_error *err) {
  w->chosen = malloc(sizeof *w->chosen * LANES * groups_of_unit(s));
  if (!w->chosen) return qp_fail(err, QP_E_NOMEM, "no memory for the group fields of 32 rows");
  return qp_nested_new(c->quantizer, s->columns, &w->nested, err);
}

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
  w->scratch = malloc(sizeof *w->scratch * (qp_stages_scratch(&c->stages) + 1));
  qp_status status = w->target && w->code && w->row_code && w->row_value && w->scratch
                         ? QP_OK
                         : qp_fail(err, QP_E_NOMEM, "no memory for the codes of 32 rows");
  if (!status && c->kind == QP_CODER_ROWS) {
    w->row_half = malloc(sizeof *w->row_half * c->quantizer->dim << c->quantizer->window);
    status = w->row_half ? make_row_books(c, &w->books, err)
                         : qp_fail(err, QP_E_NOMEM, "no memory for a row's codes");
  }
  if (!status && c->kind == QP_CODER_TRELLIS) status = qp_search_new(&c->trellis, &w->search, err);
  if (!status && c->kind == QP_CODER_FIELDS)
    status = qp_field_search_new(c->quantizer, &w->fields, err);
  if (!status && c->kind == QP_CODER_NESTED) status = make_nested(c, s, w, err);
  if (status) {
    qp_coder_work_free(w);
    return status;
  }
  *out = w;
  return QP_OK;
}

void qp_coder_weigh(qp_coder_work *w, const float *weight) { w->weight = weight; }

const float *qp_coder_row_values(const qp_coder_work *w) { return w->row_value; }

void qp_coder_work_free(qp_coder_work *w) {
  if (!w) return;
  for (unsigned row = 0; row < LANES; row++) {
    qp_codewords_free(&w->row_words[row]);
    qp_field_choice_free(&w->choice[row]);
  }
  qp_search_free(w->search);
  qp_field_search_free(w->fields);
  qp_nested_free(w->nested);
  free(w->chosen);
  free(w->target);
  free(w->code);
  free(w->row_code);
  free(w->row_value);
  free(w->row_half);
  qp_books_free(w->books);
  free(w->scratch);
  free(w);
}

/* ---- Lanes: trellises, and vectors whose codes cover several rows ---- */

/* Every 'apart'-th lane from 'lane' on, and steps of their streams; 'ahead' more are looked at. */
typedef struct stretch {
  unsigned lane, apart;
  size_t step, steps, ahead;
} stretch;

static void gather(const qp_coder_work *w, const qp_stream *s, const stretch *p,
                   const float *targets, unsigned stride) {
  const unsigned dim = s->quantizer->dim;
  for (unsigned lane = p->lane; lane < LANES; lane += p->apart) {
    float *to = w->target + lane * w->weights;
    for (size_t i = p->step * dim; i < (p->step + p->steps + p->ahead) * dim; i++) {
      unsigned row;
      size_t column;
      qp_layout_weight(s->quantizer, lane, i, &row, &column);
      to[i] = column < s->columns ? targets[(size_t)row * stride + column] : 0;
    }
  }
}

/* Lanes that are searched together: where their targets and codes of a stretch begin. */
typedef struct crew {
  unsigned count, lane[QP_TRELLIS_SEQUENCES];
  const float *target[QP_TRELLIS_SEQUENCES];
  uint32_t *code[QP_TRELLIS_SEQUENCES];
  uint32_t start[QP_TRELLIS_SEQUENCES], end[QP_TRELLIS_SEQUENCES];
} crew;

/* Give the sequences from 'lane' on. */
static crew make_crew(const qp_coder *c, const qp_coder_work *w, const stretch *p, unsigned lane) {
  crew k = {.count = 0};
  for (; lane < LANES && k.count < qp_trellis_sequences(&c->trellis); lane += p->apart) {
    k.lane[k.count] = lane;
    k.target[k.count] = w->target + lane * w->weights + p->step * c->quantizer->dim;
    k.code[k.count] = w->code + lane * w->steps + p->step;
    k.start[k.count] = w->group[lane];
    k.end[k.count++] = w->seam[lane];
  }
  return k;
}

static void search(const qp_coder *c, qp_coder_work *w, const stretch *p) {
  const bool all = p->steps == w->steps, last = p->step + p->steps + p->ahead == w->steps;
  const qp_ends ends = all ? QP_ENDS_TIED : last ? QP_ENDS_BETWEEN : QP_ENDS_FROM;
  for (unsigned lane = p->lane; lane < LANES;) {
    crew k = make_crew(c, w, p, lane);
    qp_trellis_search(&c->trellis, w->search, ends, k.count, (unsigned)(p->steps + p->ahead),
                      (unsigned)p->ahead, k.target, k.start, ends == QP_ENDS_BETWEEN ? k.end : NULL,
                      k.code);
    for (unsigned i = 0; i < k.count; i++) w->group[k.lane[i]] = k.start[i];
    lane += k.count * p->apart;
  }
}

/* Write what a lane's codes of a stretch decode to back to rows, and move the lane's group on. */
static void scatter(const qp_coder *c, qp_coder_work *w, const qp_stream *s, unsigned lane,
                    const stretch *p, float *values, unsigned stride) {
  const unsigned dim = c->quantizer->dim;
  const uint32_t *code = w->code + lane * w->steps;
  const qp_trellis *t = c->kind == QP_CODER_TRELLIS ? &c->trellis : NULL;
  uint32_t group = w->group[lane];
  for (size_t i = p->step; i < p->step + p->steps; i++) {
    const uint32_t state = t ? code[i] << (t->window - t->step) | group : code[i];
    if (t) group = state >> t->step;
    float own[QP_NEAREST_DIM];
    const float *value = qp_coder_value(c, state, own);
    for (unsigned e = 0; e < dim; e++) {
      unsigned row;
      size_t column;
      qp_layout_weight(s->quantizer, lane, i * dim + e, &row, &column);
      if (column < s->columns) values[(size_t)row * stride + column] = value[e];
    }
  }
  w->group[lane] = group;
}

const float *qp_coder_value(const qp_coder *c, uint32_t state, float *own) {
  const unsigned dim = c->quantizer->dim;
  uint16_t half[QP_NEAREST_DIM];
  if (c->values) return c->values + (size_t)state * dim;
  qp_quantizer_decode(c->quantizer, state, NULL, NULL, half);
  for (unsigned e = 0; e < dim; e++) own[e] = qp_half_to_float(half[e]);
  return own;
}

static void nearest_codes(const qp_coder *c, qp_coder_work *w, size_t n, const float *targets,
                          uint32_t *codes) {
  if (c->stages.count)
    qp_stages_search(&c->stages, n, targets, w->scratch, codes);
  else
    qp_codewords_nearest(&c->words, n, targets, codes);
}

static void code_stretch(const qp_coder *c, qp_coder_work *w, const qp_stream *s, const stretch *p,
                         const float *targets, float *values, unsigned stride) {
  gather(w, s, p, targets, stride);
  if (c->kind == QP_CODER_TRELLIS) search(c, w, p);
  for (unsigned lane = p->lane; lane < LANES; lane += p->apart) {
    if (c->kind == QP_CODER_CODES)
      nearest_codes(c, w, p->steps, w->target + lane * w->weights + p->step * c->quantizer->dim,
                    w->code + lane * w->steps + p->step);
    scatter(c, w, s, lane, p, values, stride);
  }
}

static unsigned padded_columns(const qp_stream *s) {
  return s->superblocks * s->period.blocks * QP_BLOCK_COLUMNS;
}

/* Steps until a trellis has forgotten a state. */
static unsigned memory_of(const qp_quantizer *q) {
  return q->kind == QP_TRELLIS ? (q->window + q->step - 1) / q->step : 0;
}
static unsigned memory(const qp_coder *c) { return memory_of(c->quantizer); }

qp_coder_reach qp_coder_reach_of(const qp_quantizer *q) {
  const unsigned seam = SEAM_MEMORIES * memory_of(q), ahead = AHEAD_MEMORIES * memory_of(q);
  return (qp_coder_reach){seam, ahead < AHEAD_WEIGHTS / q->dim ? ahead : AHEAD_WEIGHTS / q->dim};
}

/*
** The lane's weights of the columns [column, column + grain):  8 neighbouring columns of 32 belong
** to every fourth lane, 16 weights for each 4 columns (gen/spec/layout.h).
*/
static stretch stretch_of(const qp_coder *c, const qp_coder_work *w, const qp_stream *s,
                          unsigned column, unsigned grain) {
  const unsigned dim = c->quantizer->dim;
  if (grain >= QP_BLOCK_COLUMNS)
    return (stretch){.apart = 1,
                     .step = (size_t)column / grain * s->period.steps,
                     .steps = s->period.steps,
                     .ahead = column + grain < padded_columns(s) ? s->period.steps : 0};
  const unsigned tile = column % 32 / 8;
  stretch p = {.lane = tile, .apart = 4};
  p.step = ((size_t)column / 32 * 32 + column % 8 / 4 * 16) / dim;
  p.steps = (size_t)grain / 4 * 16 / dim;
  p.ahead = qp_coder_reach_of(c->quantizer).ahead;
  if (p.step + p.steps + p.ahead > w->steps) p.ahead = w->steps - p.step - p.steps;
  return p;
}

static void code_lanes(const qp_coder *c, qp_coder_work *w, const qp_stream *s, unsigned column,
                       unsigned end, const float *targets, float *values, unsigned stride) {
  const unsigned grain = qp_coder_grain(c, s);
  if (!column && end == padded_columns(s)) {
    const stretch all = {.apart = 1, .steps = w->steps};
    code_stretch(c, w, s, &all, targets, values, stride);
    return;
  }
  for (; column < end; column += grain) {
    const stretch p = stretch_of(c, w, s, column, grain);
    code_stretch(c, w, s, &p, targets, values, stride);
  }
}

/* ---- Rows: scalars and pairs, group fields, codebooks by row ---- */

/* The fields of the groups that begin in these columns, for the targets of whole groups. */
static qp_status choose_fields(const qp_coder *c, qp_coder_work *w, const qp_stream *s,
                               unsigned row_group, unsigned row, unsigned from,
                               const float *targets, unsigned stride, const qp_coder_out *out,
                               qp_error *err) {
  const qp_quantizer *q = c->quantizer;
  qp_field_choice *choice = &w->choice[row];
  const unsigned left = s->columns - from, n = left < q->group ? left : q->group;
  const unsigned end = from + n == s->columns ? s->groups * q->group : from + n;
  qp_status status =
      qp_field_search_run(w->fields, n, targets + (size_t)row * stride + from, choice, err);
  for (unsigned at = from; !status && at < end; at += q->group) /* padding has its neighbour's */
    for (unsigned f = 0; f < q->fields; f++)
      qp_layout_set_field(s, f, row_group * QP_GROUP_ROWS + row, at, out->field[qp_layout_array(f)],
                          choice->field[f]);
  return status;
}

static qp_status code_fields(const qp_coder *c, qp_coder_work *w, const qp_stream *s,
                             unsigned row_group, unsigned column, unsigned end,
                             const float *targets, const qp_coder_out *out, float *values,
                             unsigned stride, qp_error *err) {
  const qp_quantizer *q = c->quantizer;
  const size_t per_row = (s->columns + q->dim - 1) / q->dim;
  qp_status status = QP_OK;
  for (unsigned row = 0; row < LANES; row++) {
    for (unsigned from = column, to; from < end && !status; from = to) {
      to = (from / q->group + 1) * q->group;
      if (to > end) to = end;
      const size_t at = (size_t)row * stride + from;
      if (from % q->group == 0)
        status = choose_fields(c, w, s, row_group, row, from, targets, stride, out, err);
      if (!status)
        qp_field_choice_codes(&w->choice[row], to - from, targets + at,
                              w->row_code + row * per_row + from / q->dim, values + at);
    }
  }
  return status;
}

/* The fields of a row's unit that begins in this column, the padding's its neighbour's. */
static qp_status choose_nested(qp_coder_work *w, const qp_stream *s, unsigned row_group,
                               unsigned row, unsigned from, const float *targets,
                               const qp_coder_out *out, qp_error *err) {
  const qp_quantizer *q = s->quantizer;
  const unsigned unit = qp_coder_group(s), group = qp_nested_group(q), left = s->columns - from;
  const unsigned padded = s->superblocks * s->period.blocks * QP_BLOCK_COLUMNS;
  const unsigned n = left < unit ? left : unit, end = left > unit ? from + unit : padded;
  uint32_t(*chosen)[QP_MAX_FIELDS] = w->chosen + (size_t)row * groups_of_unit(s);
  const qp_status status = qp_nested_choose(w->nested, n, targets, chosen, err);
  for (unsigned at = from; at < end && !status; at += group) {
    const unsigned i = ((at < from + n ? at : from + n - 1) - from) / group;
    for (unsigned f = 0; f < q->fields; f++)
      qp_layout_set_field(s, f, row_group * QP_GROUP_ROWS + row, at, out->field[qp_layout_array(f)],
                          chosen[i][f]);
  }
  return status;
}

static qp_status code_nested(qp_coder_work *w, const qp_stream *s, unsigned row_group,
                             unsigned column, unsigned end, const float *targets,
                             const qp_coder_out *out, float *values, unsigned stride,
                             qp_error *err) {
  const unsigned unit = qp_coder_group(s), group = qp_nested_group(s->quantizer);
  const unsigned dim = s->quantizer->dim;
  const size_t per_row = (s->columns + dim - 1) / dim;
  qp_status status = QP_OK;
  for (unsigned row = 0; row < LANES; row++) {
    for (unsigned from = column, to; from < end && !status; from = to) {
      to = (from / group + 1) * group < end ? (from / group + 1) * group : end;
      const size_t at = (size_t)row * stride + from;
      if (from % unit == 0)
        status = choose_nested(w, s, row_group, row, from, targets + at, out, err);
      const size_t i = (size_t)row * groups_of_unit(s) + from % unit / group;
      if (!status)
        status = qp_nested_codes(w->nested, w->chosen[i], to - from, targets + at,
                                 w->row_code + row * per_row + from / dim, values + at, err);
    }
  }
  return status;
}

/* One code of each row, by the table that all rows have. */
static void code_column(const qp_coder *c, qp_coder_work *w, const qp_stream *s, unsigned column,
                        const float *targets, float *values, unsigned stride) {
  const unsigned dim = c->quantizer->dim;
  const size_t per_row = (s->columns + dim - 1) / dim;
  float target[LANES * QP_NEAREST_DIM], decoded[QP_NEAREST_DIM];
  uint32_t code[LANES];
  for (size_t row = 0; row < LANES; row++)
    memcpy(target + row * dim, targets + row * stride + column, sizeof *target * dim);
  nearest_codes(c, w, LANES, target, code);
  for (size_t row = 0; row < LANES; row++) {
    w->row_code[row * per_row + column / dim] = code[row];
    memcpy(values + row * stride + column, qp_coder_value(c, code[row], decoded),
           sizeof *values * dim);
  }
}

static void code_by_row(const qp_coder *c, qp_coder_work *w, const qp_stream *s, unsigned column,
                        unsigned end, const float *targets, float *values, unsigned stride) {
  const unsigned dim = c->quantizer->dim, n = (end - column) / dim;
  if (n == 1 && c->kind == QP_CODER_CODES) {
    code_column(c, w, s, column, targets, values, stride);
    return;
  }
  const size_t per_row = (s->columns + dim - 1) / dim;
  for (unsigned row = 0; row < LANES; row++) {
    const size_t at = (size_t)row * stride + column;
    const bool own = c->kind == QP_CODER_ROWS;
    const float *rows = own ? w->row_value + (size_t)row * c->states * dim : NULL;
    uint32_t *code = w->row_code + row * per_row + column / dim;
    if (own)
      qp_codewords_nearest(&w->row_words[row], n, targets + at, code);
    else
      nearest_codes(c, w, n, targets + at, code);
    for (size_t i = 0; i < n; i++) {
      float decoded[QP_NEAREST_DIM];
      const float *v = rows ? rows + (size_t)code[i] * dim : qp_coder_value(c, code[i], decoded);
      memcpy(values + at + i * dim, v, sizeof *v * dim);
    }
  }
}

/* Lloyd's rounds on one row from the codebook's defaults, by what errors of the columns cost ([n],
   or NULL); ascending order is kept. */
static void fit_codebook(unsigned n, const float *target, const float *weight, unsigned entries,
                         float *value) {
  double sum[MAX_ROW_ENTRIES] = {0}, count[MAX_ROW_ENTRIES] = {0}, before = INFINITY;
  for (unsigned round = 0; round < LLOYD_ROUNDS; round++) {
    double lost = 0;
    memset(sum, 0, sizeof *sum * entries);
    memset(count, 0, sizeof *count * entries);
    for (unsigned i = 0; i < n; i++) {
      unsigned e = 0; /* few entries: the edges are looked at in order */
      while (e + 1 < entries && target[i] > (value[e] + value[e + 1]) / 2) e++;
      const double d = (double)(target[i] - value[e]), w = weight ? (double)weight[i] : 1;
      lost += w * d * d;
      sum[e] += w * (double)target[i];
      count[e] += w;
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

/* Codebooks of one row by least squares, as those of a linear (gen/encode/books.h); 'own' gets what
   codes decode to with them. */
static qp_status solve_row(const qp_coder *c, qp_coder_work *w, unsigned n, const float *target,
                           uint16_t *const *book, float *own, qp_error *err) {
  const qp_quantizer *q = c->quantizer;
  const unsigned dim = q->dim, codes = n / dim;
  static const float one[QP_NEAREST_DIM] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  const uint16_t *books[QP_MAX_CODEBOOKS];
  double before = INFINITY;
  for (unsigned b = 0; b < QP_MAX_CODEBOOKS; b++) books[b] = book[b];
  for (unsigned round = 0;; round++) {
    qp_codewords words = {0};
    double lost = 0;
    qp_status status = qp_quantizer_table(q, NULL, books, w->row_half, err);
    for (size_t i = 0; i < (size_t)c->states * dim; i++) own[i] = qp_half_to_float(w->row_half[i]);
    if (!status) status = qp_codewords_make(&words, c->states, dim, own, err);
    if (status || round == ROW_ROUNDS) return qp_codewords_free(&words), status;
    qp_codewords_nearest(&words, codes, target, w->row_code);
    qp_codewords_free(&words);
    qp_books_clear(w->books);
    for (unsigned i = 0; i < codes && !status; i++) {
      for (unsigned e = 0; e < dim; e++) {
        const double d = (double)(target[i * dim + e] - own[(size_t)w->row_code[i] * dim + e]);
        lost += (w->weight ? (double)w->weight[i * dim + e] : 1) * d * d;
      }
      status = qp_books_add(w->books, w->row_code[i], NULL, target + (size_t)i * dim,
                            w->weight ? w->weight + (size_t)i * dim : one, err);
    }
    if (!status && !(lost < before)) return QP_OK;
    before = lost;
    if (!status) status = qp_books_solve(w->books, book, err);
    if (status) return status;
  }
}

/* As solve_row; a decode that is no sum keeps the defaults (qp_coder_fits_rows says so). */
static qp_status fit_row(const qp_coder *c, qp_coder_work *w, unsigned n, const float *target,
                         uint16_t *const *book, float *own, qp_error *err) {
  const qp_quantizer *q = c->quantizer;
  memcpy(own, c->values, sizeof *own * c->states * q->dim);
  if (rows_can_be_fitted(c)) {
    assert(book[0]); /* the only codebook, so it is the rows' */
    fit_codebook(n, target, w->weight, c->states, own);
    for (unsigned e = 0; e < c->states; e++) book[0][e] = qp_float_to_half(own[e]);
    return QP_OK;
  }
  const qp_status status = solve_row(c, w, n, target, book, own, err);
  if (status != QP_E_ARG) return status;
  memcpy(own, c->values, sizeof *own * c->states * q->dim);
  return QP_OK;
}

static qp_status fit_rows(const qp_coder *c, qp_coder_work *w, const qp_stream *s,
                          unsigned row_group, const float *targets, unsigned stride,
                          const qp_coder_out *out, qp_error *err) {
  const qp_quantizer *q = c->quantizer;
  for (unsigned row = 0; row < LANES; row++) {
    float *own = w->row_value + (size_t)row * c->states * q->dim;
    uint16_t *book[QP_MAX_CODEBOOKS] = {0};
    for (unsigned b = 0; b < q->codebooks; b++) {
      const size_t numbers = (size_t)q->codebook[b].entries * q->codebook[b].dim;
      if (q->codebook[b].scope != QP_SCOPE_ROW) continue;
      book[b] = out->codebook[b] + ((size_t)row_group * QP_GROUP_ROWS + row) * numbers;
      memcpy(book[b], q->codebook[b].data, sizeof *book[b] * numbers); /* where the fit begins */
    }
    qp_status status = fit_row(c, w, s->columns, targets + (size_t)row * stride, book, own, err);
    qp_codewords_free(&w->row_words[row]);
    if (!status) status = qp_codewords_make(&w->row_words[row], c->states, q->dim, own, err);
    if (status) return status;
  }
  return QP_OK;
}

static qp_status make_row_books(const qp_coder *c, qp_books **out, qp_error *err) {
  bool unknown[QP_MAX_CODEBOOKS] = {0};
  for (unsigned b = 0; b < c->quantizer->codebooks; b++)
    unknown[b] = c->quantizer->codebook[b].scope == QP_SCOPE_ROW;
  return qp_books_new(c->quantizer, unknown, NULL, out, err);
}

bool qp_coder_fits_rows(const qp_coder *c, char *why, size_t size) {
  static const float none[QP_NEAREST_DIM];
  qp_error err = {{0}};
  qp_books *books = NULL;
  if (!has_row_codebook(c->quantizer)) return true;
  if (c->kind != QP_CODER_ROWS)
    return snprintf(why, size, "%s: codebooks by row with group fields are not fitted",
                    c->quantizer->name),
           false;
  qp_status status = rows_can_be_fitted(c) ? QP_OK : make_row_books(c, &books, &err);
  for (uint32_t s = 0; books && s < c->states && s < ROW_PROBES && !status; s++)
    status = qp_books_add(books, s, NULL, none, none, &err);
  qp_books_free(books);
  if (status) snprintf(why, size, "%s", err.text);
  return !status;
}

/* ---- All of them ---- */

unsigned qp_coder_group(const qp_stream *s) {
  return qp_is_nested(s->quantizer) ? qp_nested_unit(s->quantizer, s->columns)
                                    : s->quantizer->group;
}

/* Codes that lie within one row, so that feedback may pass from each to the next. */
static bool within_rows(const qp_coder *c) {
  if (c->kind == QP_CODER_CODES) return c->quantizer->dim <= 2;
  return c->kind != QP_CODER_TRELLIS;
}

bool qp_coder_takes_orders(const qp_coder *c) {
  return within_rows(c) && (c->kind == QP_CODER_CODES || c->kind == QP_CODER_ROWS);
}

void qp_coder_order(qp_coder_work *w, const unsigned *place) { w->place = place; }

bool qp_coder_descends(const qp_coder *c) {
  return qp_coder_takes_orders(c) && c->values && !c->stages.count &&
         (c->quantizer->dim == 1 || c->states <= QP_DESCENT_PAIRS);
}

qp_descent_row qp_coder_row(const qp_coder *c, qp_coder_work *w, const qp_stream *s, unsigned row) {
  const unsigned dim = c->quantizer->dim, per_row = (s->columns + dim - 1) / dim;
  const bool own = c->kind == QP_CODER_ROWS;
  return (qp_descent_row){.table = own ? w->row_value + (size_t)row * c->states * dim : c->values,
                          .nearest = own ? &w->row_words[row] : &c->words,
                          .code = w->row_code + (size_t)row * per_row};
}

/* The last steps of a circle are to hold a window. */
bool qp_coder_feeds_few(const qp_quantizer *q) {
  return q->kind == QP_TRELLIS && 16 % q->dim == 0 && 16 / q->dim * q->step >= q->window;
}

bool qp_coder_feeds_vectors(const qp_coder *c) {
  return c->kind == QP_CODER_CODES && !within_rows(c);
}

unsigned qp_coder_grain(const qp_coder *c, const qp_stream *s) {
  const unsigned dim = c->quantizer->dim;
  if (within_rows(c)) return dim;
  if (16 % dim) return s->period.blocks * QP_BLOCK_COLUMNS;
  if (c->kind == QP_CODER_CODES) return 4;
  return qp_coder_feeds_few(c->quantizer) ? TRELLIS_GRAIN : QP_BLOCK_COLUMNS;
}

qp_status qp_coder_begin(const qp_coder *c, qp_coder_work *w, const qp_stream *s,
                         unsigned row_group, const float *targets, unsigned stride,
                         const qp_coder_out *out, qp_error *err) {
  if (c->kind == QP_CODER_ROWS) return fit_rows(c, w, s, row_group, targets, stride, out, err);
  if (c->kind != QP_CODER_TRELLIS) return QP_OK;
  const stretch all = {.apart = 1, .steps = w->steps};
  const unsigned wanted = qp_coder_reach_of(c->quantizer).seam;
  const unsigned around = wanted < w->steps ? wanted : (unsigned)w->steps;
  gather(w, s, &all, targets, stride);
  for (unsigned lane = 0; lane < LANES;) {
    crew k = make_crew(c, w, &all, lane);
    qp_trellis_seams(&c->trellis, w->search, k.count, (unsigned)w->steps, around, k.target,
                     k.start);
    for (unsigned i = 0; i < k.count; i++) w->seam[lane + i] = w->group[lane + i] = k.start[i];
    lane += k.count;
  }
  return QP_OK;
}

qp_status qp_coder_columns(const qp_coder *c, qp_coder_work *w, const qp_stream *s,
                           unsigned row_group, unsigned column, unsigned end, const float *targets,
                           const qp_coder_out *out, float *values, unsigned stride, qp_error *err) {
  if (c->kind == QP_CODER_FIELDS)
    return code_fields(c, w, s, row_group, column, end, targets, out, values, stride, err);
  if (c->kind == QP_CODER_NESTED)
    return code_nested(w, s, row_group, column, end, targets, out, values, stride, err);
  if (within_rows(c))
    code_by_row(c, w, s, column, end, targets, values, stride);
  else
    code_lanes(c, w, s, column, end == s->columns ? padded_columns(s) : end, targets, values,
               stride);
  return QP_OK;
}

void qp_coder_end(const qp_coder *c, qp_coder_work *w, const qp_stream *s, unsigned row_group,
                  const qp_coder_out *out) {
  if (within_rows(c)) qp_lanes_of_rows(s, w->row_code, w->place, w->code);
  qp_lanes_pack(s, row_group, w->code, out->codes);
}

void qp_coder_states(const qp_coder *c, const qp_coder_work *w, unsigned lane, uint32_t *states) {
  const uint32_t *code = w->code + lane * w->steps;
  const qp_quantizer *q = c->quantizer;
  uint32_t group = 0; /* of a trellis: what the last steps of the circle leave to the first */
  for (size_t n = 0; n < w->steps + memory(c); n++) {
    const size_t i = (n + w->steps - memory(c) % w->steps) % w->steps;
    states[i] = q->kind == QP_TRELLIS ? code[i] << (q->window - q->step) | group : code[i];
    group = states[i] >> q->step;
  }
}

qp_status qp_coder_rows(const qp_coder *c, qp_coder_work *w, const qp_stream *s, unsigned row_group,
                        const float *targets, const qp_coder_out *out, float *values,
                        unsigned stride, qp_error *err) {
  qp_status status = QP_OK; /* a trellis finds its seams when it searches the whole circle */
  if (c->kind == QP_CODER_ROWS) status = fit_rows(c, w, s, row_group, targets, stride, out, err);
  if (!status)
    status = qp_coder_columns(c, w, s, row_group, 0, s->columns, targets, out, values, stride, err);
  if (!status) qp_coder_end(c, w, s, row_group, out);
  return status;
}
