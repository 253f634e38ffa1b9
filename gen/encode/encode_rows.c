/* SPDX-License-Identifier: MIT */
/* Codes groups of 32 rows of a linear, plainly or with error feedback. */
#include "gen/encode/encode_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/sparse.h"

enum {
  FED_COLUMNS = 64, /* with feedback: columns between two products with all of U before them, */
  NEAR_COLUMNS = 8  /* and those to which errors are passed on one by one */
};

typedef qp_encode_job job;
typedef qp_encode_desk desk;

void qp_encode_apart_free(desk *d) {
  for (unsigned p = 0; p < QP_MAX_RANGES; p++) free(d->apart[p]);
  free(d->any);
}

qp_status qp_encode_apart_make(const job *j, desk *d, qp_error *err) {
  const qp_encoded *e = j->out;
  bool ok = true;
  for (unsigned p = 0; p < e->parts; p++) {
    const unsigned n = e->part[p].stream.sparse;
    if (!n) continue;
    d->apart[p] = calloc((size_t)QP_GROUP_ROWS * n, sizeof *d->apart[p]);
    if (!d->any) d->any = malloc(sizeof *d->any * e->columns);
    ok = ok && d->apart[p] && d->any;
  }
  return ok ? QP_OK : qp_fail(err, QP_E_NOMEM, "no memory for sparse entries of 32 rows");
}

void qp_encode_desk_free(desk *d) {
  for (unsigned p = 0; p < QP_MAX_RANGES; p++) qp_coder_work_free(d->work[p]);
  qp_encode_apart_free(d);
  free(d->x);
  free(d->value);
  free(d->target);
  free(d->part);
  free(d->side);
  free(d->error);
  free(d->sum);
  free(d->x_root);
  free(d->e_root);
  free(d->part_value);
  free(d->half);
  free(d->lane_code);
  qp_reference_free(d->reference);
}

/* Count the codes of 32 lanes of the largest part. */
static size_t lane_codes(const qp_encoded *e) {
  size_t most = 1;
  for (unsigned p = 0; p < e->parts; p++) {
    const qp_stream *s = &e->part[p].stream;
    const size_t codes = (size_t)QP_GROUP_ROWS * s->superblocks * s->period.steps;
    if (codes > most) most = codes;
  }
  return most;
}

qp_status qp_encode_desk_make(const job *j, desk *d, qp_error *err) {
  const size_t cells = (size_t)QP_GROUP_ROWS * j->out->columns, fed = j->feeds ? cells : 1;
  *d = (desk){.x = malloc(sizeof(float) * cells),
              .value = malloc(sizeof(float) * cells),
              .part = malloc(sizeof(float) * cells),
              .part_value = malloc(sizeof(float) * cells),
              .target = malloc(sizeof(float) * fed),
              .side = malloc(sizeof(float) * fed),
              .error = malloc(sizeof(double) * fed),
              .sum = malloc(sizeof(double) * fed),
              .x_root = malloc(sizeof(float) * fed),
              .e_root = malloc(sizeof(float) * fed),
              .half = malloc(sizeof(uint16_t) * cells),
              .lane_code = malloc(sizeof(uint32_t) * (j->lanes[0].target ? lane_codes(j->out) : 1)),
              .reference = qp_reference_new()};
  const bool ok = d->x && d->value && d->part && d->part_value && d->target && d->side &&
                  d->error && d->sum && d->x_root && d->e_root && d->half && d->lane_code &&
                  d->reference;
  qp_status status =
      ok ? qp_encode_apart_make(j, d, err) : qp_fail(err, QP_E_NOMEM, "no memory for 32 rows");
  for (unsigned p = 0; !status && p < j->out->parts; p++)
    if (!j->lanes[0].target || j->lanes[p].table || j->order) /* else a searcher needs none */
      status = qp_coder_work_new(j->coder[p], &j->out->part[p].stream, &d->work[p], err);
  for (unsigned p = 0; !status && p < j->out->parts; p++) {
    if (!d->work[p]) continue;
    qp_coder_weigh(d->work[p], j->weight[p]);
    qp_coder_order(d->work[p], j->order ? j->place + j->out->part[p].column : NULL);
  }
  return status;
}

/* Rows of a group that the linear has; the others are padding. */
unsigned qp_encode_rows_of(const qp_encoded *e, unsigned row_group) {
  const unsigned left = e->rows - row_group * QP_GROUP_ROWS;
  return left < QP_GROUP_ROWS ? left : QP_GROUP_ROWS;
}

static double mean_square(const float *x, unsigned columns, unsigned counted) {
  double sum = 0;
  for (unsigned k = 0; k < columns; k++) sum += (double)x[k] * (double)x[k];
  return sum / counted;
}

/* Sparse entries leave the row; returns how many. */
static unsigned take_apart(const job *j, desk *d, unsigned r, float *row) {
  const qp_encoded *e = j->out;
  unsigned taken = 0;
  for (unsigned p = 0; p < e->parts; p++) {
    const qp_stream *s = &e->part[p].stream;
    if (!s->sparse) continue;
    qp_sparse_take(s->sparse, s->columns, j->weight[p], row + e->part[p].column, d->any,
                   d->apart[p] + (size_t)r * s->sparse);
    taken += s->sparse;
  }
  return taken;
}

/* A row that is not there has none: its entries lie behind all columns. */
static void take_none_apart(const job *j, desk *d, unsigned r) {
  for (unsigned p = 0; p < j->out->parts; p++) {
    const qp_stream *s = &j->out->part[p].stream;
    for (unsigned i = 0; i < s->sparse; i++)
      d->apart[p][(size_t)r * s->sparse + i] = (qp_sparse_entry){.column = s->columns};
  }
}

/* Rows in the order of columns, each brought to the input scale by the root mean square of what is
   coded. */
void qp_encode_load_rows(const job *j, desk *d, unsigned row_group) {
  const unsigned columns = j->out->columns, rows = qp_encode_rows_of(j->out, row_group);
  memset(d->x, 0, sizeof *d->x * QP_GROUP_ROWS * columns);
  for (unsigned r = 0; r < QP_GROUP_ROWS; r++) {
    const float *w = j->weights + ((size_t)row_group * QP_GROUP_ROWS + r) * columns;
    float *x = d->x + (size_t)r * columns;
    d->rms[r] = 0;
    if (r >= rows) {
      take_none_apart(j, d, r);
      continue;
    }
    for (unsigned k = 0; k < columns; k++) x[k] = w[j->order ? j->order[k] : k];
    const unsigned taken = take_apart(j, d, r, x);
    d->rms[r] = sqrt(mean_square(x, columns, columns - taken));
    if (!(d->rms[r] > 0)) d->rms[r] = sqrt(mean_square(w, columns, columns));
    if (!(d->rms[r] > 0)) continue;
    for (unsigned k = 0; k < columns; k++)
      x[k] = (float)((double)x[k] * (j->input_scale / d->rms[r]));
  }
}

/*
** Columns [column, end) of part p are coded: sparse entries keep what they were coded to, and their
** errors count as none.  With feedback they come to their targets, and so take up errors of columns
** before them.
*/
void qp_encode_set_apart(const job *j, desk *d, unsigned p, unsigned column, unsigned end) {
  const qp_encoded *e = j->out;
  const unsigned n = e->part[p].stream.sparse;
  for (size_t i = 0; i < (size_t)QP_GROUP_ROWS * n; i++) {
    qp_sparse_entry *a = &d->apart[p][i];
    const unsigned k = e->part[p].column + a->column;
    if (k < column || k >= end) continue;
    float *value = &d->value[i / n * e->columns + k];
    a->coded = *value;
    *value = j->feeds ? d->target[i / n * e->columns + k] : 0;
  }
}

void qp_encode_copy_columns(float *to, unsigned to_stride, const float *from, unsigned from_stride,
                            unsigned columns) {
  for (size_t r = 0; r < QP_GROUP_ROWS; r++)
    memcpy(to + r * to_stride, from + r * from_stride, sizeof *to * columns);
}

qp_coder_out qp_encode_out_of(const qp_encoded *e, unsigned p) {
  qp_coder_out out = {.codes = e->part[p].codes};
  memcpy(out.field, e->part[p].field, sizeof out.field);
  memcpy(out.codebook, e->part[p].codebook, sizeof out.codebook);
  return out;
}

static qp_status code_plainly(const job *j, desk *d, unsigned row_group, qp_error *err) {
  const qp_encoded *e = j->out;
  for (unsigned p = 0; p < e->parts; p++) {
    const qp_stream *s = &e->part[p].stream;
    const unsigned offset = e->part[p].column;
    if (!s->columns) continue; /* a split of few columns */
    const qp_coder_out out = qp_encode_out_of(e, p);
    qp_status status = qp_coder_rows(j->coder[p], d->work[p], s, row_group, d->x + offset, &out,
                                     d->value + offset, e->columns, err);
    if (status) return status;
    qp_encode_set_apart(j, d, p, offset, offset + s->columns);
  }
  return QP_OK;
}

/* Columns [column, end) of part p: codes, and their errors, for targets that stand in d->target. */
static qp_status code_block(const job *j, desk *d, unsigned row_group, unsigned p, unsigned column,
                            unsigned end, qp_error *err) {
  const qp_encoded *e = j->out;
  const unsigned offset = e->part[p].column, columns = e->columns;
  const qp_coder_out out = qp_encode_out_of(e, p);
  qp_status status =
      qp_coder_columns(j->coder[p], d->work[p], &e->part[p].stream, row_group, column - offset,
                       end - offset, d->target + offset, &out, d->value + offset, columns, err);
  qp_encode_set_apart(j, d, p, column, end);
  for (size_t r = 0; r < QP_GROUP_ROWS && !status; r++)
    for (size_t i = r * columns + column; i < r * columns + end; i++)
      d->error[i] = qp_feedback_error(d->value[i], d->x[i]);
  return status;
}

/* Say how far the coder of part p looks when it codes up to 'end': to the end of its group of
   fields, of a trellis ahead. */
static unsigned seen_from(const job *j, unsigned p, unsigned end) {
  const qp_encoded *e = j->out;
  const qp_stream *s = &e->part[p].stream;
  const unsigned group = s->quantizer->fields ? qp_coder_group(s) : 0;
  const unsigned at = end - e->part[p].column;
  unsigned seen = at + (j->coder[p]->kind == QP_CODER_TRELLIS ? QP_CODER_AHEAD : 0);
  if (group && seen < (at / group + 1) * group) seen = (at / group + 1) * group;
  return e->part[p].column + (seen < s->columns ? seen : s->columns);
}

/* Which columns' targets does the coder of part p read when it codes [column, end)?  Those that it
   sees, of group fields only where a group begins. */
static unsigned read_from(const job *j, unsigned p, unsigned column, unsigned end) {
  const qp_stream *s = &j->out->part[p].stream;
  const unsigned at = column - j->out->part[p].column;
  const bool within = s->quantizer->fields && at % qp_coder_group(s);
  return within ? end : seen_from(j, p, end);
}

/* What sums of errors know: those of [known, seen) began with a product of all before 'known'; from
   'near' on they have what came since up to 'passed', those before it have all. */
typedef struct fed {
  unsigned known, seen, near, passed;
} fed;

/* Pass errors of columns before 'at' on to all sums. */
static void pass_far(const job *j, const desk *d, fed *s, unsigned at) {
  const unsigned from = at < s->near ? s->near : at;
  if (s->passed < at && from < s->seen)
    qp_feedback_pass(&j->feedback, s->passed, at, from, s->seen, d->error, d->sum);
  s->passed = at;
  s->near = at + NEAR_COLUMNS < s->seen ? at + NEAR_COLUMNS : s->seen;
}

/* Begin the sums of the next columns with one product of all errors so far. */
static void begin_sums(const job *j, const desk *d, fed *s, unsigned p, unsigned column,
                       unsigned next) {
  const unsigned fresh = column < s->seen ? s->seen : column;
  if (column < s->seen) pass_far(j, d, s, column);
  s->known = s->passed = column;
  s->seen = seen_from(j, p, next + FED_COLUMNS);
  s->near = column + NEAR_COLUMNS < s->seen ? column + NEAR_COLUMNS : s->seen;
  if (fresh < s->seen) qp_feedback_sum(&j->feedback, column, fresh, s->seen, d->error, d->sum);
}

/*
** Blocks of U in order.  Every FED_COLUMNS columns the sums of the next ones begin with one product
** of all errors so far; errors that come later pass on to the next few columns at once, and to
** others when there are some, or when these are read.
*/
static qp_status code_fed_part(const job *j, desk *d, unsigned row_group, unsigned p, unsigned *k,
                               qp_error *err) {
  const qp_encoded *e = j->out;
  const qp_feedback *f = &j->feedback;
  const unsigned begin = e->part[p].column, end = begin + e->part[p].stream.columns;
  fed s = {begin, begin, begin, begin};
  qp_status status = QP_OK;
  for (; !status && *k < f->blocks && f->edge[*k] < end; ++*k) {
    const unsigned column = f->edge[*k], next = f->edge[*k + 1];
    const unsigned read = read_from(j, p, column, next);
    if (column == begin || column >= s.known + FED_COLUMNS) begin_sums(j, d, &s, p, column, next);
    if (read > s.near && s.passed < column) pass_far(j, d, &s, column);
    qp_feedback_targets(f, column, read, d->x, d->sum, d->target);
    status = code_block(j, d, row_group, p, column, next, err);
    if (status) break;
    if (next < s.near)
      qp_feedback_pass(f, column, next, next, s.near, d->error, d->sum);
    else
      pass_far(j, d, &s, next);
  }
  return status;
}

static qp_status code_fed(const job *j, desk *d, unsigned row_group, qp_error *err) {
  const qp_encoded *e = j->out;
  qp_status status = QP_OK;
  for (unsigned p = 0, k = 0; p < e->parts && !status; p++) {
    const qp_stream *s = &e->part[p].stream;
    const qp_coder_out out = qp_encode_out_of(e, p);
    if (!s->columns) continue; /* a split of few columns */
    status = qp_coder_begin(j->coder[p], d->work[p], s, row_group, d->x + e->part[p].column,
                            e->columns, &out, err);
    if (!status) status = code_fed_part(j, d, row_group, p, &k, err);
  }
  return status;
}

static void end_fed(const job *j, const desk *d, unsigned row_group) {
  const qp_encoded *e = j->out;
  for (unsigned p = 0; p < e->parts; p++) {
    const qp_coder_out out = qp_encode_out_of(e, p);
    if (e->part[p].stream.columns)
      qp_coder_end(j->coder[p], d->work[p], &e->part[p].stream, row_group, &out);
  }
}

qp_status qp_encode_end_ordered(const job *j, desk *d, unsigned row_group, qp_error *err) {
  const qp_status status = j->again ? qp_encode_again(j, d, row_group, err) : QP_OK;
  if (status) return status;
  end_fed(j, d, row_group);
  return qp_encode_fit_scales(j, d, row_group, err);
}

qp_status qp_encode_row_group(job *j, desk *d, unsigned row_group, qp_error *err) {
  qp_encode_load_rows(j, d, row_group);
  d->loses.known = false;
  qp_status status = j->feeds ? code_fed(j, d, row_group, err) : code_plainly(j, d, row_group, err);
  if (!status && j->again) status = qp_encode_again(j, d, row_group, err);
  if (!status && j->feeds) end_fed(j, d, row_group);
  return status ? status : qp_encode_fit_scales(j, d, row_group, err);
}
