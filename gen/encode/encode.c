/* SPDX-License-Identifier: MIT */
/* Packs a linear's weights: rows are normalized, coded by all threads, and scaled back. */
#include "gen/encode/encode.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen/encode/book_fit.h"
#include "gen/encode/coder.h"
#include "gen/encode/coders.h"
#include "gen/encode/feedback.h"
#include "gen/encode/lanes.h"
#include "gen/encode/order.h"
#include "gen/encode/settle.h"
#include "gen/encode/sparse.h"
#include "runtime/half.h"

enum {
  MAX_THREADS = 256,
  SEARCHED_WEIGHTS = 1 << 24, /* weights that a searcher gets at once, at most */
  FED_COLUMNS = 64            /* with feedback: columns between two products with all of U before
                                 them */
};

#define SCALE_OF_ENTRIES 0x1p-8

struct desk;

unsigned qp_encode_threads(unsigned threads) {
  long cpus = sysconf(_SC_NPROCESSORS_ONLN);
  unsigned n = threads ? threads : cpus > 0 ? (unsigned)cpus : 1;
  return n < MAX_THREADS ? n : MAX_THREADS;
}

void qp_encoded_free(qp_encoded *e) {
  for (unsigned p = 0; p < e->parts; p++) {
    free(e->part[p].codes);
    for (unsigned f = 0; f < QP_MAX_ARRAYS; f++) free(e->part[p].field[f]);
    for (unsigned c = 0; c < QP_MAX_CODEBOOKS; c++) free(e->part[p].codebook[c]);
  }
  free(e->row_scale);
  free(e->row_distortion);
  *e = (qp_encoded){0};
}

qp_packed qp_encoded_packed(const qp_encoded *e, unsigned part) {
  qp_packed p = {.stream = &e->part[part].stream, .codes = e->part[part].codes};
  for (unsigned f = 0; f < QP_MAX_ARRAYS; f++) p.field[f] = e->part[part].field[f];
  for (unsigned c = 0; c < QP_MAX_CODEBOOKS; c++) p.codebook[c] = e->part[part].codebook[c];
  return p;
}

/* ---- The work ---- */

/* What all threads share; they take groups of 32 rows from 'next'. */
typedef struct job {
  const float *weights;
  const qp_encode_options *options;
  qp_encoded *out;
  qp_coders *coders;
  const qp_coder *coder[QP_MAX_RANGES];
  struct { /* where codebooks are the linear's: the quantizer with them, its coder */
    qp_quantizer view;
    qp_coder coder;
  } own[QP_MAX_RANGES];
  float *weight[QP_MAX_RANGES]; /* With feedback: the diagonal of the Hessian, [columns of the
                                   part]. */
  double input_scale;
  bool feeds;
  qp_feedback feedback;         /* of the Hessian in the order of the columns */
  bool again;                   /* codes are found in two passes */
  unsigned *order;              /* [columns] as they are coded; NULL: as they stand */
  float *ordered;               /* the Hessian in that order */
  unsigned *place;              /* [columns]: of each part, where its codes are in that order */
  double *lost, *power;         /* [rows]: sum (w - r w^)^2, sum w^2 */
  double *out_lost, *out_power; /* [rows]: the same through the Hessian */
  unsigned row_groups;
  _Atomic unsigned next;
  unsigned end; /* The row groups in hand end here. */
  qp_status (*work)(struct job *j, struct desk *d, unsigned row_group, qp_error *err);
  bool counts; /* in options->done */
  struct {     /* with a searcher: its sequences of the row groups in hand, from 'first' */
    float *target;
    uint32_t *code, *field;
    uint16_t *table; /* what the codes of each row decode to */
  } lanes[QP_MAX_RANGES];
  unsigned first;
  _Atomic bool stopped;
  pthread_mutex_t lock; /* guards status and error */
  qp_status status;
  qp_error error;
} job;

/* What one thread owns; arrays are [32][columns], rows brought to the input scale. */
typedef struct desk {
  qp_coder_work *work[QP_MAX_RANGES];
  float *x, *value;         /* The rows, and what their codes decode to. */
  float *target, *error;    /* with feedback */
  float *xh, *vh;           /* With feedback: x H and value H, of the rows when they are coded. */
  bool multiplied;          /* They stand. */
  float *part, *part_value; /* With a searcher: one part's columns, contiguous. */
  qp_reference *reference;  /* With a searcher it stands in place of 'work'. */
  uint16_t *half;
  uint32_t *lane_code;                   /* with a searcher: codes of 32 lanes */
  qp_sparse_entry *apart[QP_MAX_RANGES]; /* [32][sparse of the part]: stored apart, 0 in x */
  qp_sparse_entry *any;                  /* [columns] */
  double rms[QP_GROUP_ROWS];
} desk;

static qp_status check_weights(const float *w, unsigned rows, unsigned columns, qp_error *err) {
  for (size_t i = 0; i < (size_t)rows * columns; i++) {
    if (isfinite(w[i])) continue;
    return qp_fail(err, QP_E_ARG, "weight [%zu][%zu] is %g; weights should be finite", i / columns,
                   i % columns, (double)w[i]);
  }
  return QP_OK;
}

static void free_apart(desk *d) {
  for (unsigned p = 0; p < QP_MAX_RANGES; p++) free(d->apart[p]);
  free(d->any);
}

static qp_status make_apart(const job *j, desk *d, qp_error *err) {
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

static void free_desk(desk *d) {
  for (unsigned p = 0; p < QP_MAX_RANGES; p++) qp_coder_work_free(d->work[p]);
  free_apart(d);
  free(d->x);
  free(d->value);
  free(d->target);
  free(d->part);
  free(d->error);
  free(d->xh);
  free(d->vh);
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

static qp_status make_desk(const job *j, desk *d, qp_error *err) {
  const size_t cells = (size_t)QP_GROUP_ROWS * j->out->columns, fed = j->feeds ? cells : 1;
  *d = (desk){.x = malloc(sizeof(float) * cells),
              .value = malloc(sizeof(float) * cells),
              .part = malloc(sizeof(float) * cells),
              .part_value = malloc(sizeof(float) * cells),
              .target = malloc(sizeof(float) * fed),
              .error = malloc(sizeof(float) * fed),
              .xh = malloc(sizeof(float) * fed),
              .vh = malloc(sizeof(float) * fed),
              .half = malloc(sizeof(uint16_t) * cells),
              .lane_code = malloc(sizeof(uint32_t) * (j->lanes[0].target ? lane_codes(j->out) : 1)),
              .reference = qp_reference_new()};
  const bool ok = d->x && d->value && d->part && d->part_value && d->target && d->error && d->xh &&
                  d->vh && d->half && d->lane_code && d->reference;
  qp_status status = ok ? make_apart(j, d, err) : qp_fail(err, QP_E_NOMEM, "no memory for 32 rows");
  for (unsigned p = 0; !status && p < j->out->parts; p++)
    if (!j->lanes[0].target || j->lanes[p].table) /* a searcher needs codebooks of rows alone */
      status = qp_coder_work_new(j->coder[p], &j->out->part[p].stream, &d->work[p], err);
  for (unsigned p = 0; !status && p < j->out->parts; p++) {
    if (!d->work[p]) continue;
    qp_coder_weigh(d->work[p], j->weight[p]);
    qp_coder_order(d->work[p], j->order ? j->place + j->out->part[p].column : NULL);
  }
  return status;
}

/* Rows of a group that the linear has; the others are padding. */
static unsigned rows_of(const qp_encoded *e, unsigned row_group) {
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

/* Rows in the order of columns, each brought to the input scale by the root mean square of what is
   coded. */
static void load_rows(const job *j, desk *d, unsigned row_group) {
  const unsigned columns = j->out->columns, rows = rows_of(j->out, row_group);
  memset(d->x, 0, sizeof *d->x * QP_GROUP_ROWS * columns);
  for (unsigned r = 0; r < QP_GROUP_ROWS; r++) {
    const float *w = j->weights + ((size_t)row_group * QP_GROUP_ROWS + r) * columns;
    float *x = d->x + (size_t)r * columns;
    d->rms[r] = 0;
    if (r >= rows) continue;
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
static void set_apart(const job *j, desk *d, unsigned p, unsigned column, unsigned end) {
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

/* Write the sparse entries of part p, by the scales of rows; x and what it is coded to have them
   again. */
static void store_apart(const job *j, desk *d, unsigned row_group, unsigned p) {
  const qp_encoded *e = j->out;
  const qp_stream *s = &e->part[p].stream;
  uint8_t *array = e->part[p].field[qp_layout_sparse_array(s->quantizer)];
  float wanted[QP_SPARSE_MOST];
  for (unsigned r = 0; r < rows_of(e, row_group); r++) {
    const unsigned row = row_group * QP_GROUP_ROWS + r;
    const qp_sparse_entry *a = d->apart[p] + (size_t)r * s->sparse;
    const size_t first = (size_t)r * e->columns + e->part[p].column;
    const double unit = d->rms[r] / j->input_scale, scale = (double)e->row_scale[row];
    if (!(unit > 0) || scale == 0) continue;
    for (unsigned i = 0; i < s->sparse; i++) {
      const double w = (double)a[i].weight + unit * (double)d->value[first + a[i].column];
      wanted[i] = (float)(w / scale);
    }
    qp_sparse_store(s, row, a, wanted, array);
    for (unsigned i = 0; i < s->sparse; i++) {
      d->x[first + a[i].column] = (float)((double)a[i].weight / unit);
      d->value[first + a[i].column] = wanted[i];
    }
  }
}

static void copy_columns(float *to, unsigned to_stride, const float *from, unsigned from_stride,
                         unsigned columns) {
  for (size_t r = 0; r < QP_GROUP_ROWS; r++)
    memcpy(to + r * to_stride, from + r * from_stride, sizeof *to * columns);
}

static qp_coder_out out_of(const qp_encoded *e, unsigned p) {
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
    const qp_coder_out out = out_of(e, p);
    qp_status status = qp_coder_rows(j->coder[p], d->work[p], s, row_group, d->x + offset, &out,
                                     d->value + offset, e->columns, err);
    if (status) return status;
    set_apart(j, d, p, offset, offset + s->columns);
  }
  return QP_OK;
}

/* Columns [column, end) of part p: codes, and their errors, for targets that stand in d->target. */
static qp_status code_block(const job *j, desk *d, unsigned row_group, unsigned p, unsigned column,
                            unsigned end, qp_error *err) {
  const qp_encoded *e = j->out;
  const unsigned offset = e->part[p].column, columns = e->columns;
  const qp_coder_out out = out_of(e, p);
  qp_status status =
      qp_coder_columns(j->coder[p], d->work[p], &e->part[p].stream, row_group, column - offset,
                       end - offset, d->target + offset, &out, d->value + offset, columns, err);
  set_apart(j, d, p, column, end);
  for (size_t r = 0; r < QP_GROUP_ROWS && !status; r++)
    for (size_t i = r * columns + column; i < r * columns + end; i++)
      d->error[i] = d->value[i] - d->x[i];
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

/*
** Blocks of U in order.  Every FED_COLUMNS columns the next ones get their targets by one product
** with all errors so far; errors that come later pass on to them block by block.
*/
static qp_status code_fed_part(const job *j, desk *d, unsigned row_group, unsigned p, unsigned *k,
                               qp_error *err) {
  const qp_encoded *e = j->out;
  const qp_feedback *f = &j->feedback;
  const unsigned begin = e->part[p].column, end = begin + e->part[p].stream.columns;
  unsigned known = begin, seen = begin; /* targets of [known, seen) know of all that is coded */
  qp_status status = QP_OK;
  for (; !status && *k < f->blocks && f->edge[*k] < end; ++*k) {
    const unsigned column = f->edge[*k], next = f->edge[*k + 1];
    if (column == begin || column >= known + FED_COLUMNS) {
      const unsigned fresh = column < seen ? seen : column;
      known = column;
      seen = seen_from(j, p, next + FED_COLUMNS);
      if (fresh < seen) qp_feedback_targets(f, column, fresh, seen, d->x, d->error, d->target);
    }
    status = code_block(j, d, row_group, p, column, next, err);
    if (!status) qp_feedback_pass(f, column, next, seen, d->error, d->target);
  }
  return status;
}

static qp_status code_fed(const job *j, desk *d, unsigned row_group, qp_error *err) {
  const qp_encoded *e = j->out;
  qp_status status = QP_OK;
  for (unsigned p = 0, k = 0; p < e->parts && !status; p++) {
    const qp_stream *s = &e->part[p].stream;
    const qp_coder_out out = out_of(e, p);
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
    const qp_coder_out out = out_of(e, p);
    if (e->part[p].stream.columns)
      qp_coder_end(j->coder[p], d->work[p], &e->part[p].stream, row_group, &out);
  }
}

/* out[r] = a_r . b_r */
static void dots(unsigned columns, const float *a, const float *b, double *out) {
  for (size_t r = 0; r < QP_GROUP_ROWS; r++) {
    out[r] = 0;
    for (size_t k = r * columns; k < (r + 1) * columns; k++) out[r] += (double)a[k] * (double)b[k];
  }
}

static void multiply(const job *j, desk *d) {
  qp_feedback_times(&j->feedback, d->x, d->xh);
  qp_feedback_times(&j->feedback, d->value, d->vh);
  d->multiplied = true;
}

/*
** A second pass: each code anew, given all others, for rows x / r, where r is the scale that the
** first pass's values want.  With e = v - x / r slopes are  e (H + damping);  what is left of them
** is the product of the new values.
*/
static void code_again(const job *j, desk *d, unsigned row_group) {
  const qp_encoded *e = j->out;
  const size_t columns = e->columns;
  const float added = (float)j->feedback.added;
  double cross[QP_GROUP_ROWS], square[QP_GROUP_ROWS];
  float size[QP_GROUP_ROWS], *slope = d->target;
  multiply(j, d);
  dots(e->columns, d->x, d->vh, cross);
  dots(e->columns, d->value, d->vh, square);
  for (size_t r = 0; r < QP_GROUP_ROWS; r++) {
    size[r] = cross[r] > 0 && square[r] > 0 ? (float)(square[r] / cross[r]) : 1;
    for (size_t i = r * columns; i < (r + 1) * columns; i++)
      slope[i] = d->vh[i] - size[r] * d->xh[i] + added * (d->value[i] - size[r] * d->x[i]);
  }
  for (unsigned p = 0; p < e->parts; p++) {
    const qp_stream *s = &e->part[p].stream;
    qp_descent_row row[QP_GROUP_ROWS] = {{0}};
    for (unsigned r = 0; r < rows_of(e, row_group) && s->columns; r++)
      row[r] = qp_coder_row(j->coder[p], d->work[p], s, r);
    qp_descend(&j->feedback, e->part[p].column, e->part[p].column + s->columns, s->quantizer->dim,
               j->coder[p]->states, row, d->value, slope, d->error);
  }
  for (size_t r = 0; r < QP_GROUP_ROWS; r++)
    for (size_t i = r * columns; i < (r + 1) * columns; i++)
      d->vh[i] = slope[i] + size[r] * d->xh[i] - added * (d->value[i] - size[r] * d->x[i]);
}

/* A scale as it is stored: rounded to fp16 where that keeps all of fp16's bits. */
static float stored_scale(double scale) {
  const double size = fabs(scale);
  if (size < 0x1p-14 || size > 65504) return (float)scale;
  return qp_half_to_float(qp_double_to_half(scale));
}

/* Sums over rows in the codes' units; o...: through the Hessian, where there is one. */
typedef struct row_sums {
  double cross[QP_GROUP_ROWS], square[QP_GROUP_ROWS], power[QP_GROUP_ROWS];
  double o_cross[QP_GROUP_ROWS], o_square[QP_GROUP_ROWS], o_power[QP_GROUP_ROWS];
} row_sums;

static void sum_rows(const job *j, desk *d, unsigned row_group, row_sums *s) {
  const size_t columns = j->out->columns;
  *s = (row_sums){0};
  if (j->feeds) {
    if (!d->multiplied) multiply(j, d);
    dots(j->out->columns, d->x, d->xh, s->o_power);
    dots(j->out->columns, d->value, d->xh, s->o_cross);
    dots(j->out->columns, d->value, d->vh, s->o_square);
  }
  for (unsigned r = 0; r < rows_of(j->out, row_group); r++)
    for (size_t i = r * columns; i < (r + 1) * columns; i++) {
      const double x = (double)d->x[i], v = (double)d->value[i];
      s->cross[r] += x * v;
      s->square[r] += v * v;
      s->power[r] += x * x;
    }
}

/* Each row's scale, fitted to what came out:  r = x.v / v.v,  through the Hessian if there is one.
   Of a row that is nothing but its sparse entries it is small: codes that are not 0 add little. */
static void choose_scales(const job *j, const desk *d, unsigned row_group, const row_sums *s) {
  for (unsigned r = 0; r < rows_of(j->out, row_group); r++) {
    double fit = s->square[r] > 0 ? s->cross[r] / s->square[r] : 0;
    if (j->feeds && s->o_square[r] > 0) fit = s->o_cross[r] / s->o_square[r];
    if (d->any && fit == 0) fit = SCALE_OF_ENTRIES;
    const double unit = d->rms[r] / j->input_scale; /* w = unit x */
    j->out->row_scale[(size_t)row_group * QP_GROUP_ROWS + r] = stored_scale(fit * unit);
  }
}

/* What rows lose with their scales. */
static void measure_rows(const job *j, const desk *d, unsigned row_group, const row_sums *s) {
  const qp_encoded *e = j->out;
  for (unsigned r = 0; r < rows_of(e, row_group); r++) {
    const size_t row = (size_t)row_group * QP_GROUP_ROWS + r;
    const double unit = d->rms[r] / j->input_scale, power = s->power[r];
    const double fit = unit > 0 ? (double)e->row_scale[row] / unit : 0;
    j->power[row] = unit * unit * power;
    j->lost[row] = unit * unit * (power - 2 * fit * s->cross[r] + fit * fit * s->square[r]);
    e->row_distortion[row] = power > 0 ? (float)(j->lost[row] / j->power[row]) : 0;
    if (!j->feeds) continue;
    j->out_power[row] = unit * unit * s->o_power[r];
    j->out_lost[row] =
        unit * unit * (s->o_power[r] - 2 * fit * s->o_cross[r] + fit * fit * s->o_square[r]);
  }
}

/* Scales of rows, then what is stored apart, by these. */
static void fit_scales(const job *j, desk *d, unsigned row_group) {
  row_sums sums;
  sum_rows(j, d, row_group, &sums);
  choose_scales(j, d, row_group, &sums);
  if (d->any) {
    for (unsigned p = 0; p < j->out->parts; p++)
      if (j->out->part[p].stream.sparse) store_apart(j, d, row_group, p);
    d->multiplied = false;
    sum_rows(j, d, row_group, &sums);
  }
  measure_rows(j, d, row_group, &sums);
}

static qp_status code_row_group(job *j, desk *d, unsigned row_group, qp_error *err) {
  load_rows(j, d, row_group);
  d->multiplied = false;
  qp_status status = j->feeds ? code_fed(j, d, row_group, err) : code_plainly(j, d, row_group, err);
  if (!status && j->again) code_again(j, d, row_group);
  if (!status && j->feeds) end_fed(j, d, row_group);
  if (!status) fit_scales(j, d, row_group);
  return status;
}

/* ---- Codes found by a searcher: gather lanes, have them searched, pack ---- */

/* Count the codes of 32 rows, as a searcher finds them: of lanes or of rows. */
static size_t searched_codes(const job *j, unsigned p) {
  const qp_stream *s = &j->out->part[p].stream;
  const size_t steps = (size_t)s->superblocks * s->period.steps, dim = s->quantizer->dim;
  return QP_GROUP_ROWS * (qp_coder_takes_rows(j->coder[p]) ? s->columns / dim : steps);
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
  const qp_coder_out out = out_of(j->out, p);
  const size_t n = searched_values(j, p);
  uint16_t *to = j->lanes[p].table + (row_group - j->first) * n;
  const qp_status status =
      qp_coder_begin(j->coder[p], d->work[p], &j->out->part[p].stream, row_group,
                     d->x + j->out->part[p].column, j->out->columns, &out, err);
  const float *value = qp_coder_row_values(d->work[p]);
  for (size_t i = 0; i < n && !status; i++) to[i] = qp_float_to_half(value[i]);
  return status;
}

static qp_status gather_row_group(job *j, desk *d, unsigned row_group, qp_error *err) {
  qp_status status = QP_OK;
  load_rows(j, d, row_group);
  for (unsigned p = 0; p < j->out->parts && !status; p++) {
    const qp_stream *s = &j->out->part[p].stream;
    const float *x = d->x + j->out->part[p].column;
    float *to =
        j->lanes[p].target + (row_group - j->first) * searched_codes(j, p) * s->quantizer->dim;
    if (!s->columns) continue;
    if (searched_values(j, p)) status = fit_row_books(j, d, row_group, p, err);
    if (qp_coder_takes_rows(j->coder[p])) {
      copy_columns(to, s->columns, x, j->out->columns, s->columns);
      continue;
    }
    copy_columns(d->part, s->columns, x, j->out->columns, s->columns);
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
  if (qp_coder_takes_rows(j->coder[p])) {
    qp_lanes_of_rows(s, code, NULL, d->lane_code);
    code = d->lane_code;
  }
  qp_lanes_pack(s, row_group, code, e->part[p].codes);
}

static qp_status pack_row_group(job *j, desk *d, unsigned row_group, qp_error *err) {
  const qp_encoded *e = j->out;
  load_rows(j, d, row_group);
  for (unsigned p = 0; p < e->parts; p++) {
    const qp_stream *s = &e->part[p].stream;
    if (!s->columns) continue;
    pack_part(j, d, row_group, p);
    const qp_packed packed = qp_encoded_packed(e, p);
    qp_status status = qp_reference_decode(d->reference, &packed, row_group, d->half, err);
    if (status) return status;
    for (size_t i = 0; i < (size_t)QP_GROUP_ROWS * s->columns; i++)
      d->part_value[i] = qp_half_to_float(d->half[i]);
    copy_columns(d->value + e->part[p].column, e->columns, d->part_value, s->columns, s->columns);
    set_apart(j, d, p, e->part[p].column, e->part[p].column + s->columns);
  }
  fit_scales(j, d, row_group);
  return QP_OK;
}

static void fail_job(job *j, qp_status status, const qp_error *err) {
  pthread_mutex_lock(&j->lock);
  if (!j->status) j->status = status, j->error = *err;
  pthread_mutex_unlock(&j->lock);
  atomic_store(&j->stopped, true);
}

static void *run_thread(void *argument) {
  job *j = argument;
  qp_error err = {{0}};
  desk d;
  qp_status status = make_desk(j, &d, &err);
  while (!status && !atomic_load(&j->stopped)) {
    unsigned row_group = atomic_fetch_add(&j->next, 1);
    if (row_group >= j->end) break;
    if (j->options->cancel && atomic_load(j->options->cancel)) {
      status = qp_fail(&err, QP_E_LIMIT, "stopped when asked to");
      break;
    }
    status = j->work(j, &d, row_group, &err);
    if (j->options->done && j->counts)
      atomic_fetch_add(j->options->done, (size_t)rows_of(j->out, row_group) * j->out->columns);
  }
  free_desk(&d);
  if (status) fail_job(j, status, &err);
  return NULL;
}

/* Run 'work' on the row groups [first, end), by all threads. */
static qp_status run_threads(job *j, unsigned first, unsigned end,
                             qp_status (*work)(job *j, desk *d, unsigned row_group,
                                               qp_error *err)) {
  pthread_t thread[MAX_THREADS];
  unsigned started = 0, wanted = qp_encode_threads(j->options->threads);
  if (wanted > end - first) wanted = end - first;
  atomic_store(&j->next, first);
  j->end = end;
  j->work = work;
  j->counts = work != gather_row_group;
  for (; started + 1 < wanted; started++)
    if (pthread_create(&thread[started], NULL, run_thread, j)) break; /* fewer will do */
  run_thread(j);
  for (unsigned i = 0; i < started; i++) pthread_join(thread[i], NULL);
  return j->status;
}

static qp_status run_searched(job *j, unsigned at_once, qp_error *err) {
  const qp_encode_searcher *by = j->options->searcher;
  qp_status status = QP_OK;
  for (j->first = 0; j->first < j->row_groups && !status; j->first += at_once) {
    const unsigned left = j->row_groups - j->first, n = left < at_once ? left : at_once;
    status = run_threads(j, j->first, j->first + n, gather_row_group);
    for (unsigned p = 0; p < j->out->parts && !status; p++) {
      const qp_encode_search in = {.sequences = (size_t)n * QP_GROUP_ROWS,
                                   .targets = j->lanes[p].target,
                                   .tables = j->lanes[p].table,
                                   .codes = j->lanes[p].code,
                                   .fields = j->lanes[p].field};
      if (j->out->part[p].stream.columns)
        status = by->search(by->context, j->coder[p], &j->out->part[p].stream, &in, &j->error);
    }
    if (!status) status = run_threads(j, j->first, j->first + n, pack_row_group);
  }
  return status ? qp_fail(err, status, "%s", j->error.text) : QP_OK;
}

/* Is every part's code the outcome of a search alone? */
static bool can_be_searched(const job *j) {
  if (!j->options->searcher || j->feeds) return false;
  for (unsigned p = 0; p < j->out->parts; p++) {
    const qp_coder *c = j->coder[p];
    if (c->stages.count) return false;
    if (qp_coder_takes_rows(c) && j->out->part[p].stream.columns % c->quantizer->dim) return false;
  }
  return true;
}

static void free_lanes(job *j) {
  for (unsigned p = 0; p < j->out->parts; p++) {
    free(j->lanes[p].target);
    free(j->lanes[p].code);
    free(j->lanes[p].field);
    free(j->lanes[p].table);
    j->lanes[p].target = NULL;
    j->lanes[p].table = NULL;
    j->lanes[p].code = j->lanes[p].field = NULL;
  }
}

static qp_status make_lanes(job *j, unsigned at_once, qp_error *err) {
  for (unsigned p = 0; p < j->out->parts; p++) {
    const qp_stream *s = &j->out->part[p].stream;
    const size_t codes = at_once * searched_codes(j, p) + 1, fields = searched_fields(j, p);
    const size_t values = searched_values(j, p);
    j->lanes[p].target = malloc(sizeof(float) * codes * s->quantizer->dim);
    j->lanes[p].code = malloc(sizeof(uint32_t) * codes);
    if (fields) j->lanes[p].field = malloc(sizeof(uint32_t) * fields * at_once);
    if (values) j->lanes[p].table = malloc(sizeof(uint16_t) * values * at_once);
    if (!j->lanes[p].target || !j->lanes[p].code || (fields && !j->lanes[p].field) ||
        (values && !j->lanes[p].table))
      return qp_fail(err, QP_E_NOMEM, "no memory for %zu codes", codes);
  }
  return QP_OK;
}

/* By the searcher where it can, else by the threads. */
static qp_status run(job *j, qp_error *err) {
  qp_status status = QP_E_MISSING;
  if (can_be_searched(j)) {
    const size_t group = (size_t)QP_GROUP_ROWS * j->out->columns;
    unsigned at_once = group < SEARCHED_WEIGHTS ? (unsigned)(SEARCHED_WEIGHTS / group) : 1;
    if (at_once > j->row_groups) at_once = j->row_groups;
    status = make_lanes(j, at_once, err);
    if (!status) status = run_searched(j, at_once, err);
    free_lanes(j);
  }
  if (status != QP_E_MISSING) return status;
  status = run_threads(j, 0, j->row_groups, code_row_group);
  return status ? qp_fail(err, status, "%s", j->error.text) : QP_OK;
}

/* ---- Codebooks of the linear's own ---- */

static float *sample_rows(job *j, unsigned p, qp_stream *s, qp_error *err) {
  const qp_encoded *e = j->out;
  const size_t cells = (size_t)QP_GROUP_ROWS * e->part[p].stream.columns;
  unsigned n = cells < QP_BOOK_FIT_WEIGHTS ? (unsigned)(QP_BOOK_FIT_WEIGHTS / cells) : 1;
  if (n > j->row_groups) n = j->row_groups;
  const unsigned rows = n < j->row_groups ? n * QP_GROUP_ROWS : e->rows;
  float *out = malloc(sizeof *out * cells * n);
  desk d = {.x = malloc(sizeof *d.x * QP_GROUP_ROWS * e->columns)};
  if (!out || !d.x || make_apart(j, &d, err) ||
      qp_layout_stream(e->part[p].stream.quantizer, rows, e->part[p].stream.columns, s, err)) {
    qp_fail(err, QP_E_NOMEM, "no memory for rows to fit codebooks to");
    free(out);
    out = NULL;
  }
  for (unsigned i = 0; out && i < n; i++) {
    load_rows(j, &d, (unsigned)((size_t)i * j->row_groups / n));
    copy_columns(out + i * cells, s->columns, d.x + e->part[p].column, e->columns, s->columns);
  }
  free(d.x);
  free_apart(&d);
  return out;
}

/* Give every part the diagonal of the Hessian for its columns. */
static qp_status weigh_columns(job *j, qp_error *err) {
  const size_t columns = j->out->columns;
  for (unsigned p = 0; p < j->out->parts && j->feeds; p++) {
    const unsigned from = j->out->part[p].column, n = j->out->part[p].stream.columns;
    float *w = j->weight[p] = malloc(sizeof *w * (n + 1));
    if (!w) return qp_fail(err, QP_E_NOMEM, "out of memory");
    for (size_t k = 0; k < n; k++) w[k] = j->feedback.hessian[(from + k) * columns + from + k];
  }
  return QP_OK;
}

static qp_status use_own_books(job *j, unsigned p, qp_error *err) {
  qp_quantizer *view = &j->own[p].view;
  *view = *j->coder[p]->quantizer;
  for (unsigned c = 0; c < view->codebooks; c++)
    if (view->codebook[c].scope == QP_SCOPE_TENSOR)
      view->codebook[c].data = j->out->part[p].codebook[c];
  const qp_status status = qp_coder_make(&j->own[p].coder, view, err);
  if (!status && j->options->beam) qp_trellis_set_width(&j->own[p].coder.trellis, j->options->beam);
  if (!status) j->coder[p] = &j->own[p].coder;
  return status;
}

/* What cannot be fitted keeps the spec's codebooks, and says so. */
static qp_status fit_books(job *j, unsigned p, qp_error *err) {
  qp_encoded *e = j->out;
  const qp_quantizer *q = e->part[p].stream.quantizer;
  if (!e->part[p].stream.columns) return QP_OK;
  qp_coder_fits_rows(j->coder[p], e->unfitted, sizeof e->unfitted);
  if (!qp_has_tensor_books(q)) return QP_OK;
  qp_stream s;
  float *rows = sample_rows(j, p, &s, err);
  const qp_book_fit_options options = {.threads = qp_encode_threads(j->options->threads),
                                       .beam = j->options->beam,
                                       .column_weight = j->weight[p]};
  uint16_t *book[QP_MAX_CODEBOOKS] = {0};
  for (unsigned c = 0; c < q->codebooks; c++)
    if (q->codebook[c].scope == QP_SCOPE_TENSOR) book[c] = e->part[p].codebook[c];
  qp_error why = {{0}};
  qp_status status =
      rows ? qp_book_fit(q, &s, rows, &options, book, e->unfitted, &why) : QP_E_NOMEM;
  free(rows);
  if (status == QP_E_ARG) {
    snprintf(e->unfitted, sizeof e->unfitted, "%.250s", why.text);
    return QP_OK;
  }
  if (status) return qp_fail(err, status, "%s", why.text);
  return use_own_books(j, p, err);
}

/* ---- One linear ---- */

static qp_status make_part(job *j, unsigned p, unsigned columns, qp_error *err) {
  qp_encoded *e = j->out;
  const qp_range r = qp_layout_range(e->quantizer, columns, j->options->pieces, p);
  const qp_quantizer *q = r.quantizer;
  qp_stream *s = &e->part[p].stream;
  e->part[p].column = r.column;
  qp_status status = qp_layout_stream(q, e->rows, r.columns, s, err);
  if (status) return status;
  bool ok = (e->part[p].codes = calloc(s->code_words, sizeof(uint32_t))) != NULL;
  for (unsigned f = 0; ok && f < s->arrays; f++)
    ok = (e->part[p].field[f] = calloc(1, s->field_bytes[f])) != NULL;
  for (unsigned c = 0; ok && c < q->codebooks; c++) {
    const qp_codebook *b = &q->codebook[c];
    if (b->scope == QP_SCOPE_SPEC) continue;
    const size_t one = (size_t)b->entries * b->dim;
    const size_t copies = b->scope == QP_SCOPE_ROW ? (size_t)QP_GROUP_ROWS * s->row_groups : 1;
    uint16_t *to = e->part[p].codebook[c] = malloc(sizeof *to * one * copies);
    ok = to != NULL;
    for (size_t i = 0; ok && i < copies; i++) memcpy(to + i * one, b->data, sizeof *to * one);
  }
  if (!ok) return qp_fail(err, QP_E_NOMEM, "no memory for %u x %u codes", e->rows, r.columns);
  return qp_coders_get(j->coders, q, j->options->beam, &j->coder[p], err);
}

/* Where feedback may pass: after every grain of each part's coder. */
static qp_status list_edges(const job *j, unsigned **out, unsigned *blocks, qp_error *err) {
  const qp_encoded *e = j->out;
  unsigned *edge = malloc(sizeof *edge * (e->columns + 1)), n = 0;
  if (!edge) return qp_fail(err, QP_E_NOMEM, "out of memory");
  for (unsigned p = 0; p < e->parts; p++) {
    const qp_stream *s = &e->part[p].stream;
    if (!s->columns) continue;
    const unsigned grain = qp_coder_grain(j->coder[p], s);
    for (unsigned at = 0; at < s->columns; at += grain) edge[n++] = e->part[p].column + at;
  }
  edge[n] = e->columns;
  *out = edge;
  *blocks = n;
  return QP_OK;
}

/* Parts whose codes may come in any order get the one that loses least. */
static qp_status make_order(job *j, qp_error *err) {
  const qp_encoded *e = j->out;
  bool ordered = true;
  j->again = true;
  for (unsigned p = 0; p < e->parts; p++) {
    ordered = ordered && qp_coder_takes_orders(j->coder[p]) && !e->part[p].stream.sparse;
    j->again = j->again && ordered && qp_coder_descends(j->coder[p]);
  }
  if (!ordered) return QP_OK;
  const size_t columns = e->columns;
  j->order = malloc(sizeof *j->order * columns);
  j->place = malloc(sizeof *j->place * columns);
  j->ordered = malloc(sizeof *j->ordered * columns * columns);
  bool ok = j->order && j->place && j->ordered;
  for (unsigned p = 0; p < e->parts && ok; p++) {
    const unsigned first = e->part[p].column, n = e->part[p].stream.columns;
    const unsigned dim = e->part[p].stream.quantizer->dim;
    ok = qp_order_columns(j->options->hessian, e->columns, first, n, dim, j->order);
    for (unsigned i = 0; i < n && ok; i += dim)
      j->place[first + (j->order[first + i] - first) / dim] = i / dim;
  }
  if (!ok) return qp_fail(err, QP_E_NOMEM, "no memory for an order of %zu columns", columns);
  qp_order_hessian(j->options->hessian, e->columns, j->order, j->ordered);
  return QP_OK;
}

static qp_status factor(job *j, double damping, qp_error *err) {
  unsigned *edge = NULL, blocks = 0;
  const qp_status status = list_edges(j, &edge, &blocks, err);
  if (status) return status;
  return qp_feedback_make(&j->feedback, j->out->columns,
                          j->ordered ? j->ordered : j->options->hessian, damping, edge, blocks,
                          err);
}

static qp_status make_feedback(job *j, qp_error *err) {
  const double damping =
      j->options->hessian_damping > 0 ? j->options->hessian_damping : QP_ENCODE_DAMPING;
  qp_status status = qp_feedback_check(j->out->columns, j->options->hessian, err);
  if (!status) status = make_order(j, err);
  if (!status) status = factor(j, damping, err);
  j->feeds = !status && j->feedback.unit;
  j->again = j->again && j->feeds;
  j->out->damping = j->feeds ? j->feedback.damping : 0;
  return status;
}

/* In the order of the rows, so that the sums do not depend on the threads. */
static void sum_up(const job *j) {
  double lost = 0, power = 0, out_lost = 0, out_power = 0;
  for (unsigned r = 0; r < j->out->rows; r++) {
    lost += j->lost[r];
    power += j->power[r];
    out_lost += j->out_lost[r];
    out_power += j->out_power[r];
  }
  j->out->distortion = power > 0 ? lost / power : 0;
  j->out->proxy = out_power > 0 ? out_lost / out_power : j->out->distortion;
}

static void free_job(job *j) {
  qp_feedback_free(&j->feedback);
  free(j->order);
  free(j->ordered);
  free(j->place);
  for (unsigned p = 0; p < j->out->parts; p++) {
    qp_coder_free(&j->own[p].coder);
    free(j->weight[p]);
  }
  free(j->lost);
  free(j->power);
  free(j->out_lost);
  free(j->out_power);
}

/* What rows lose that are coded with something else; 'context' is the job. */
static qp_status lose(void *context, const float *weights, unsigned rows, const qp_settled *with,
                      double *out, qp_error *err) {
  const job *j = context;
  qp_encode_options o = *j->options;
  qp_encoded e;
  o.settles_damping = o.settles_scale = false;
  o.coders = NULL; /* the job's are in use */
  o.done = NULL;
  o.hessian_damping = with->damping;
  o.input_scale = with->input_scale;
  const qp_status status =
      qp_encode_linear(j->out->quantizer, weights, rows, j->out->columns, &o, &e, err);
  if (status) return status;
  *out = e.proxy;
  qp_encoded_free(&e);
  return QP_OK;
}

static qp_status settle(job *j, qp_settled *other, qp_error *err) {
  const qp_settle_task task = {.weights = j->weights,
                               .rows = j->out->rows,
                               .columns = j->out->columns,
                               .rate = j->out->quantizer->rate,
                               .lost = j->out_lost,
                               .power = j->out_power,
                               .samples = j->options->hessian_samples,
                               .scale = j->options->settles_scale,
                               .damping = j->options->settles_damping,
                               .lose = lose,
                               .context = j};
  return qp_settle(&task, &j->feedback, other, err);
}

/* As the options say; 'other' gets what may lose less, or what was taken. */
static qp_status encode(const qp_quantizer *q, const float *weights, unsigned rows,
                        unsigned columns, const qp_encode_options *options, qp_encoded *out,
                        qp_settled *other, qp_error *err) {
  static const qp_encode_options usual;
  qp_status status = check_weights(weights, rows, columns, err);
  if (status) return status;
  qp_encoded e = {.quantizer = q,
                  .rows = rows,
                  .columns = columns,
                  .parts = qp_layout_ranges(q, options ? options->pieces : 1)};
  job j = {.weights = weights,
           .options = options ? options : &usual,
           .out = &e,
           .coders = options && options->coders ? options->coders : qp_coders_new(QP_CODERS_BYTES),
           .lost = malloc(sizeof *j.lost * rows),
           .power = malloc(sizeof *j.power * rows),
           .out_lost = calloc(rows, sizeof *j.out_lost),
           .out_power = calloc(rows, sizeof *j.out_power),
           .input_scale = options ? options->input_scale : 0,
           .row_groups = (rows + QP_GROUP_ROWS - 1) / QP_GROUP_ROWS,
           .lock = PTHREAD_MUTEX_INITIALIZER};
  e.row_scale = malloc(sizeof *e.row_scale * rows);
  e.row_distortion = malloc(sizeof *e.row_distortion * rows);
  if (!j.coders || !j.lost || !j.power || !j.out_lost || !j.out_power || !e.row_scale ||
      !e.row_distortion)
    status = qp_fail(err, QP_E_NOMEM, "out of memory");
  for (unsigned p = 0; !status && p < e.parts; p++) status = make_part(&j, p, columns, err);
  if (!status && !(j.input_scale > 0)) status = qp_encode_input_scale(q, &j.input_scale, err);
  if (!status && j.options->hessian) status = make_feedback(&j, err);
  if (!status) status = weigh_columns(&j, err);
  for (unsigned p = 0; !status && p < e.parts; p++) status = fit_books(&j, p, err);
  if (!status) status = run(&j, err);
  if (!status) sum_up(&j);
  e.input_scale = j.input_scale;
  *other = (qp_settled){e.damping, e.input_scale};
  if (!status && j.feeds) status = settle(&j, other, err);
  if (options && options->coders)
    qp_coders_trim(j.coders);
  else
    qp_coders_free(j.coders);
  free_job(&j);
  if (status)
    qp_encoded_free(&e);
  else
    *out = e;
  return status;
}

qp_status qp_encode_linear(const qp_quantizer *q, const float *weights, unsigned rows,
                           unsigned columns, const qp_encode_options *options, qp_encoded *out,
                           qp_error *err) {
  qp_encoded usual, settled;
  qp_settled other, none;
  qp_status status = encode(q, weights, rows, columns, options, &usual, &other, err);
  if (status) return status;
  if (other.damping == usual.damping && other.input_scale == usual.input_scale)
    return *out = usual, QP_OK;
  qp_encode_options again = *options;
  again.settles_damping = again.settles_scale = false;
  again.hessian_damping = other.damping;
  again.input_scale = other.input_scale;
  again.done = NULL;
  status = encode(q, weights, rows, columns, &again, &settled, &none, err);
  const bool better = !status && settled.proxy < usual.proxy;
  if (!status) *out = better ? settled : usual;
  if (status || better) qp_encoded_free(&usual);
  if (!status && !better) qp_encoded_free(&settled);
  return status;
}
