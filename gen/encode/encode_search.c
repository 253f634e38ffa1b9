/* SPDX-License-Identifier: MIT */
/* Has a searcher find the codes of a linear: gathers its sequences, has them searched, packs. */
#include "gen/encode/encode_internal.h"

#include <stdlib.h>
#include <string.h>

#include "gen/encode/lanes.h"
#include "runtime/half.h"

typedef qp_encode_job job;
typedef qp_encode_desk desk;

/* Are codes of part p found row by row? */
static bool by_rows(const job *j, unsigned p) {
  const qp_coder *c = j->coder[p];
  return qp_coder_takes_rows(c) || (j->feeds && qp_coder_takes_orders(c));
}

/* Count the codes of 32 rows, as a searcher finds them: of lanes or of rows. */
static size_t searched_codes(const job *j, unsigned p) {
  const qp_stream *s = &j->out->part[p].stream;
  const size_t steps = (size_t)s->superblocks * s->period.steps, dim = s->quantizer->dim;
  return QP_GROUP_ROWS * (by_rows(j, p) ? s->columns / dim : steps);
}

/* Count the targets of 32 rows: where errors are fed, those of columns without padding. */
static size_t searched_targets(const job *j, unsigned p) {
  const qp_stream *s = &j->out->part[p].stream;
  if (j->feeds) return (size_t)QP_GROUP_ROWS * s->columns;
  return searched_codes(j, p) * s->quantizer->dim;
}

static size_t searched_fields(const job *j, unsigned p) {
  const qp_stream *s = &j->out->part[p].stream;
  if (!qp_coder_has_fields(j->coder[p])) return 0;
  return (size_t)QP_GROUP_ROWS * qp_field_groups(s) * s->quantizer->fields;
}

/* Count the numbers that the codes of 32 rows decode to, where each row has its own. */
static size_t searched_values(const job *j, unsigned p) {
  const qp_coder *c = j->coder[p];
  return c->kind == QP_CODER_ROWS ? (size_t)QP_GROUP_ROWS * c->states * c->quantizer->dim : 0;
}

/* Fit codebooks to 32 rows of part p, for the searcher. */
static qp_status fit_row_books(job *j, desk *d, unsigned row_group, unsigned p, qp_error *err) {
  const qp_coder_out out = qp_encode_out_of(j->out, p);
  const size_t n = searched_values(j, p);
  uint16_t *to = j->lanes[p].table + (row_group - j->first) * n;
  const qp_status status =
      qp_coder_begin(j->coder[p], d->work[p], &j->out->part[p].stream, row_group,
                     d->x + j->out->part[p].column, j->out->columns, &out, err);
  const float *value = qp_coder_row_values(d->work[p]);
  for (size_t i = 0; i < n && !status; i++) to[i] = qp_float_to_half(value[i]);
  return status;
}

static size_t apart_words(const qp_stream *s) { return (s->columns + 31) / 32; }

/* Say which weights of part p are stored apart. */
static void mark_apart(const job *j, const desk *d, unsigned row_group, unsigned p) {
  const qp_stream *s = &j->out->part[p].stream;
  const size_t words = apart_words(s);
  uint32_t *to = j->lanes[p].apart + (row_group - j->first) * QP_GROUP_ROWS * words;
  memset(to, 0, sizeof *to * QP_GROUP_ROWS * words);
  for (size_t i = 0; i < (size_t)QP_GROUP_ROWS * s->sparse; i++) {
    const unsigned k = d->apart[p][i].column;
    if (k < s->columns) to[i / s->sparse * words + k / 32] |= UINT32_C(1) << k % 32;
  }
}

/* The targets that they came to, by the errors before them. */
static void find_apart_targets(const job *j, desk *d, unsigned row_group, unsigned p) {
  const qp_feedback *f = &j->feedback;
  const unsigned n = j->out->part[p].stream.sparse, first = j->out->part[p].column;
  const size_t all = j->out->columns;
  const int32_t *error = j->errors + (row_group - j->first) * all * QP_GROUP_ROWS;
  for (size_t i = 0; i < (size_t)QP_GROUP_ROWS * n; i++) {
    const size_t k = first + d->apart[p][i].column, r = i / n;
    if (k >= all) continue;
    double sum = 0; /* exact, in any order */
    for (size_t c = 0; c < k; c++)
      sum += (double)error[c * QP_GROUP_ROWS + r] * (double)f->unit[c * all + k];
    d->target[r * all + k] = d->x[r * all + k] - (float)(sum * f->scale[k]);
  }
}

static qp_status gather_row_group(job *j, desk *d, unsigned row_group, qp_error *err) {
  qp_status status = QP_OK;
  qp_encode_load_rows(j, d, row_group);
  for (unsigned p = 0; p < j->out->parts && !status; p++) {
    const qp_stream *s = &j->out->part[p].stream;
    const float *x = d->x + j->out->part[p].column;
    float *to = j->lanes[p].target + (row_group - j->first) * searched_targets(j, p);
    if (!s->columns) continue;
    if (searched_values(j, p)) status = fit_row_books(j, d, row_group, p, err);
    if (j->lanes[p].apart) mark_apart(j, d, row_group, p);
    if (qp_coder_takes_rows(j->coder[p]) || j->feeds) {
      qp_encode_copy_columns(to, s->columns, x, j->out->columns, s->columns);
      continue;
    }
    qp_encode_copy_columns(d->part, s->columns, x, j->out->columns, s->columns);
    qp_lanes_gather(s, d->part, to);
  }
  return status;
}

/* Put codes of part p, and its group fields, to where they are stored. */
static void pack_part(const job *j, desk *d, unsigned row_group, unsigned p) {
  const qp_encoded *e = j->out;
  const qp_stream *s = &e->part[p].stream;
  const size_t nth = row_group - j->first;
  const uint32_t *code = j->lanes[p].code + nth * searched_codes(j, p);
  if (qp_coder_has_fields(j->coder[p]))
    qp_field_groups_pack(s, row_group, j->lanes[p].field + nth * searched_fields(j, p),
                         e->part[p].field);
  if (by_rows(j, p)) {
    qp_lanes_of_rows(s, code, NULL, d->lane_code);
    code = d->lane_code;
  }
  qp_lanes_pack(s, row_group, code, e->part[p].codes);
}

/* Give the coder of part p what a searcher found for its columns in their order. */
static qp_status take_codes(const job *j, desk *d, unsigned row_group, unsigned p, qp_error *err) {
  const qp_encoded *e = j->out;
  const qp_stream *s = &e->part[p].stream;
  const size_t dim = s->quantizer->dim, per_row = s->columns / dim;
  const qp_coder_out out = qp_encode_out_of(e, p);
  const uint32_t *code = j->lanes[p].code + (row_group - j->first) * searched_codes(j, p);
  const qp_status status = qp_coder_begin(j->coder[p], d->work[p], s, row_group,
                                          d->x + e->part[p].column, e->columns, &out, err);
  if (status) return status;
  for (unsigned r = 0; r < QP_GROUP_ROWS; r++, code += per_row) {
    const qp_descent_row row = qp_coder_row(j->coder[p], d->work[p], s, r);
    float *value = d->value + (size_t)r * e->columns + e->part[p].column;
    memcpy(row.code, code, sizeof *code * per_row);
    for (size_t i = 0; i < per_row; i++)
      memcpy(value + i * dim, row.table + code[i] * dim, sizeof *value * dim);
  }
  return QP_OK;
}

/* Codes in an order of their own, which are then found again. */
static qp_status pack_ordered(job *j, desk *d, unsigned row_group, qp_error *err) {
  qp_status status = QP_OK;
  for (unsigned p = 0; p < j->out->parts && !status; p++)
    if (j->out->part[p].stream.columns) status = take_codes(j, d, row_group, p, err);
  return status ? status : qp_encode_end_ordered(j, d, row_group, err);
}

static qp_status pack_row_group(job *j, desk *d, unsigned row_group, qp_error *err) {
  const qp_encoded *e = j->out;
  qp_encode_load_rows(j, d, row_group);
  d->loses.known = false;
  if (j->order && j->feeds) return pack_ordered(j, d, row_group, err);
  for (unsigned p = 0; p < e->parts; p++) {
    const qp_stream *s = &e->part[p].stream;
    if (!s->columns) continue;
    pack_part(j, d, row_group, p);
    const qp_packed packed = qp_encoded_packed(e, p);
    qp_status status = qp_reference_decode(d->reference, &packed, row_group, d->half, err);
    if (status) return status;
    for (size_t i = 0; i < (size_t)QP_GROUP_ROWS * s->columns; i++)
      d->part_value[i] = qp_half_to_float(d->half[i]);
    qp_encode_copy_columns(d->value + e->part[p].column, e->columns, d->part_value, s->columns,
                           s->columns);
    if (j->lanes[p].apart) find_apart_targets(j, d, row_group, p);
    qp_encode_set_apart(j, d, p, e->part[p].column, e->part[p].column + s->columns);
  }
  return qp_encode_fit_scales(j, d, row_group, err);
}

/* Part p of n row groups: its codes, and where errors are fed also these. */
static qp_status search_part(job *j, unsigned p, unsigned n) {
  const qp_encode_searcher *by = j->options->searcher;
  const qp_stream *s = &j->out->part[p].stream;
  if (!s->columns) return QP_OK; /* a split of few columns */
  if (j->feeds) {
    const qp_encode_feed in = {.feedback = &j->feedback,
                               .first = j->out->part[p].column,
                               .groups = n,
                               .targets = j->lanes[p].target,
                               .errors = j->errors,
                               .tables = j->lanes[p].table,
                               .apart = j->lanes[p].apart,
                               .codes = j->lanes[p].code,
                               .fields = j->lanes[p].field};
    return by->feed(by->context, j->coder[p], s, &in, &j->error);
  }
  const qp_encode_search in = {.sequences = (size_t)n * QP_GROUP_ROWS,
                               .targets = j->lanes[p].target,
                               .tables = j->lanes[p].table,
                               .codes = j->lanes[p].code,
                               .fields = j->lanes[p].field};
  return by->search(by->context, j->coder[p], s, &in, &j->error);
}

qp_status qp_encode_run_searched(job *j, unsigned at_once, qp_error *err) {
  qp_status status = QP_OK;
  for (j->first = 0; j->first < j->row_groups && !status; j->first += at_once) {
    const unsigned left = j->row_groups - j->first, n = left < at_once ? left : at_once;
    status = qp_encode_run_threads(j, j->first, j->first + n, false, gather_row_group);
    for (unsigned p = 0; p < j->out->parts && !status; p++) status = search_part(j, p, n);
    if (!status) status = qp_encode_run_threads(j, j->first, j->first + n, true, pack_row_group);
  }
  return status ? qp_fail(err, status, "%s", j->error.text) : QP_OK;
}

/* Can a searcher feed errors forward?  Of trellises whose columns come by eights, of group fields,
   of codes that stand alone by tables, and of vectors in several rows. */
static bool can_feed(const job *j) {
  if (!j->options->searcher->feed) return false;
  for (unsigned p = 0; p < j->out->parts; p++) {
    const qp_coder *c = j->coder[p];
    const bool fields = qp_coder_has_fields(c) && c->quantizer->dim != 2;
    const bool alone = qp_coder_takes_orders(c) && c->values;
    const bool lanes = qp_coder_feeds_few(c->quantizer) || qp_coder_feeds_vectors(c);
    if (!(fields || alone || lanes)) return false;
  }
  return true;
}

/* Is every part's code the outcome of a search alone? */
bool qp_encode_can_search(const job *j) {
  if (!j->options->searcher || (j->feeds && !can_feed(j))) return false;
  for (unsigned p = 0; p < j->out->parts; p++) {
    const qp_coder *c = j->coder[p];
    if (by_rows(j, p) && j->out->part[p].stream.columns % c->quantizer->dim) return false;
  }
  return true;
}

void qp_encode_lanes_free(job *j) {
  free(j->errors);
  j->errors = NULL;
  for (unsigned p = 0; p < j->out->parts; p++) {
    free(j->lanes[p].target);
    free(j->lanes[p].code);
    free(j->lanes[p].field);
    free(j->lanes[p].table);
    free(j->lanes[p].apart);
    j->lanes[p].target = NULL;
    j->lanes[p].table = NULL;
    j->lanes[p].apart = NULL;
    j->lanes[p].code = j->lanes[p].field = NULL;
  }
}

qp_status qp_encode_lanes_make(job *j, unsigned at_once, qp_error *err) {
  const size_t errors = (size_t)QP_GROUP_ROWS * j->out->columns * at_once;
  if (j->feeds && !(j->errors = malloc(sizeof *j->errors * errors)))
    return qp_fail(err, QP_E_NOMEM, "no memory for %zu errors", errors);
  for (unsigned p = 0; p < j->out->parts; p++) {
    const qp_stream *s = &j->out->part[p].stream;
    const size_t codes = at_once * searched_codes(j, p) + 1, fields = searched_fields(j, p);
    const size_t values = searched_values(j, p);
    j->lanes[p].target = malloc(sizeof(float) * codes * s->quantizer->dim);
    j->lanes[p].code = malloc(sizeof(uint32_t) * codes);
    if (fields) j->lanes[p].field = malloc(sizeof(uint32_t) * fields * at_once);
    if (values) j->lanes[p].table = malloc(sizeof(uint16_t) * values * at_once);
    const size_t apart = j->feeds && s->sparse ? apart_words(s) * QP_GROUP_ROWS : 0;
    if (apart) j->lanes[p].apart = malloc(sizeof(uint32_t) * apart * at_once);
    if (!j->lanes[p].target || !j->lanes[p].code || (fields && !j->lanes[p].field) ||
        (values && !j->lanes[p].table) || (apart && !j->lanes[p].apart))
      return qp_fail(err, QP_E_NOMEM, "no memory for %zu codes", codes);
  }
  return QP_OK;
}
