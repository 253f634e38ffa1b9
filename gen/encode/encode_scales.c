/* SPDX-License-Identifier: MIT */
/* What 32 rows lose, of weights and of outputs: codes anew by it, scales of rows, what is told of
   them. */
#include <math.h>
#include <string.h>

#include "gen/encode/encode_internal.h"
#include "gen/encode/rows_product.h"
#include "gen/encode/sparse.h"
#include "runtime/half.h"

#define SCALE_OF_ENTRIES 0x1p-8
#define LEAST_PART       0x1p-6 /* of a sum whose rest is known exactly, that floats tell well */

typedef qp_encode_job job;
typedef qp_encode_desk desk;

/* ---- Through the Hessian ---- */

/* Add a_r . b_r of 32 rows side by side to out[r]. */
static void add_dots(size_t columns, const float *a, const float *b, double *out) {
  for (size_t k = 0; k < columns; k++)
    for (unsigned r = 0; r < QP_GROUP_ROWS; r++)
      out[r] += (double)a[k * QP_GROUP_ROWS + r] * (double)b[k * QP_GROUP_ROWS + r];
}

/* What was added to the diagonal is taken off a sum through H + added; 'plain' is the same sum
   without either.  False: so little is left that floats say nothing of it. */
static bool take_added(const job *j, double plain, double *sum) {
  const double whole = *sum;
  *sum -= j->feedback.added * plain;
  return *sum >= LEAST_PART * whole;
}

/* Of rows side by side, x and e. */
static void add_losses(size_t columns, const float *x, const float *x_h, const float *e,
                       const float *e_h, qp_encode_loss *out) {
  *out = (qp_encode_loss){.known = true};
  add_dots(columns, x, x_h, out->x_x);
  add_dots(columns, x, e_h, out->x_e);
  add_dots(columns, e, e_h, out->e_e);
}

/* Rows side by side times C, or its transpose: by the searcher where it can. */
static qp_status multiply_root(const job *j, qp_rows_part part, const float *a, float *out,
                               qp_error *err) {
  const qp_encode_searcher *by = j->options->searcher;
  qp_status status = QP_E_MISSING;
  if (by && by->product) status = by->product(by->context, &j->feedback, part, a, out, err);
  if (status != QP_E_MISSING) return status;
  if (part == QP_ROWS_BEFORE)
    qp_feedback_root(&j->feedback, a, out);
  else
    qp_feedback_slopes(&j->feedback, a, out);
  return QP_OK;
}

/* Errors of rows as they are coded, e = v - x, and x, through C:  H + added = C C^T.  Where what
   was added is nearly all of a sum, through H. */
static qp_status multiply(const job *j, desk *d, qp_error *err) {
  const unsigned columns = j->out->columns;
  const qp_feedback *f = &j->feedback;
  float *x = d->side, *e = d->target; /* all are coded */
  qp_encode_loss plain, *l = &d->loses;
  qp_rows_gather(columns, d->x, x);
  qp_rows_gather(columns, d->value, e);
  for (size_t i = 0; i < (size_t)QP_GROUP_ROWS * columns; i++) e[i] -= x[i];
  qp_status status = multiply_root(j, QP_ROWS_BEFORE, x, d->x_root, err);
  if (!status) status = multiply_root(j, QP_ROWS_BEFORE, e, d->e_root, err);
  if (status) return status;
  add_losses(columns, x, x, e, e, &plain);
  add_losses(columns, d->x_root, d->x_root, d->e_root, d->e_root, l);
  bool enough = true;
  for (unsigned r = 0; r < QP_GROUP_ROWS; r++) {
    enough = take_added(j, plain.x_x[r], &l->x_x[r]) && enough;
    enough = take_added(j, plain.e_e[r], &l->e_e[r]) && enough;
    take_added(j, plain.x_e[r], &l->x_e[r]);
  }
  if (enough) return QP_OK;
  qp_feedback_times(f, x, d->part);
  qp_feedback_times(f, e, d->part_value);
  add_losses(columns, x, d->part, e, d->part_value, l);
  return QP_OK;
}

/* Sums of e = v - x, when codes are others, by the slopes of  e - (size - 1) x. */
static void sum_again(const job *j, desk *d, const float *size, const float *slope) {
  const size_t columns = j->out->columns;
  qp_encode_loss *l = &d->loses;
  for (size_t r = 0; r < QP_GROUP_ROWS; r++) {
    double x_e = 0, e_e = 0, xe = 0, ee = 0;
    const double more = (double)size[r] - 1;
    for (size_t i = r * columns; i < (r + 1) * columns; i++) {
      const double x = (double)d->x[i], e = (double)(d->value[i] - size[r] * d->x[i]);
      x_e += x * (double)slope[i];
      e_e += e * (double)slope[i];
      xe += x * e;
      ee += e * e;
    }
    take_added(j, xe, &x_e);
    l->known = take_added(j, ee, &e_e) && l->known;
    l->x_e[r] = x_e + more * l->x_x[r];
    l->e_e[r] = e_e + more * (2 * x_e + more * l->x_x[r]);
  }
}

/*
** A second pass: each code anew, given all others, for rows x / r, where r is the scale that the
** first pass's values want.  With e = v - x / r slopes are  e (H + added).
*/
qp_status qp_encode_again(const job *j, desk *d, unsigned row_group, qp_error *err) {
  const qp_encoded *e = j->out;
  const size_t columns = e->columns;
  const qp_encode_loss *l = &d->loses;
  float size[QP_GROUP_ROWS], *slope = d->target;
  qp_status status = multiply(j, d, err);
  if (status) return status;
  for (unsigned r = 0; r < QP_GROUP_ROWS; r++) {
    const double cross = l->x_x[r] + l->x_e[r], square = cross + l->x_e[r] + l->e_e[r];
    size[r] = cross > 0 && square > 0 ? (float)(square / cross) : 1;
  }
  for (size_t k = 0; k < columns; k++)
    for (size_t r = 0; r < QP_GROUP_ROWS; r++)
      d->e_root[k * QP_GROUP_ROWS + r] += (1 - size[r]) * d->x_root[k * QP_GROUP_ROWS + r];
  status = multiply_root(j, QP_ROWS_BEHIND, d->e_root, d->side, err);
  if (status) return status;
  qp_rows_scatter(e->columns, d->side, slope);
  for (unsigned p = 0; p < e->parts; p++) {
    const qp_stream *s = &e->part[p].stream;
    qp_descent_row row[QP_GROUP_ROWS] = {{0}};
    for (unsigned r = 0; r < qp_encode_rows_of(e, row_group) && s->columns; r++)
      row[r] = qp_coder_row(j->coder[p], d->work[p], s, r);
    qp_descend(&j->feedback, e->part[p].column, e->part[p].column + s->columns, s->quantizer->dim,
               j->coder[p]->states, row, d->value, slope);
  }
  sum_again(j, d, size, slope);
  return QP_OK;
}

/* ---- Scales of rows ---- */

/* Write the sparse entries of part p, by the scales of rows; x and what it is coded to have them
   again. */
static void store_apart(const job *j, desk *d, unsigned row_group, unsigned p) {
  const qp_encoded *e = j->out;
  const qp_stream *s = &e->part[p].stream;
  uint8_t *array = e->part[p].field[qp_layout_sparse_array(s->quantizer)];
  float wanted[QP_SPARSE_MOST];
  for (unsigned r = 0; r < qp_encode_rows_of(e, row_group); r++) {
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

/* A scale as it is stored: rounded to fp16 where that keeps all of fp16's bits. */
static float stored_scale(double scale) {
  const double size = fabs(scale);
  if (size < 0x1p-14 || size > 65504) return (float)scale;
  return qp_half_to_float(qp_double_to_half(scale));
}

/* Sums over rows in the codes' units. */
typedef struct row_sums {
  double cross[QP_GROUP_ROWS], square[QP_GROUP_ROWS], power[QP_GROUP_ROWS];
} row_sums;

static qp_status sum_rows(const job *j, desk *d, unsigned row_group, row_sums *s, qp_error *err) {
  const size_t columns = j->out->columns;
  *s = (row_sums){0};
  const qp_status status = j->feeds && !d->loses.known ? multiply(j, d, err) : QP_OK;
  if (status) return status;
  for (unsigned r = 0; r < qp_encode_rows_of(j->out, row_group); r++)
    for (size_t i = r * columns; i < (r + 1) * columns; i++) {
      const double x = (double)d->x[i], v = (double)d->value[i];
      s->cross[r] += x * v;
      s->square[r] += v * v;
      s->power[r] += x * x;
    }
  return QP_OK;
}

/* Each row's scale, fitted to what came out:  r = x.v / v.v,  through the Hessian if there is one.
   Of a row that is nothing but its sparse entries it is small: codes that are not 0 add little. */
static void choose_scales(const job *j, const desk *d, unsigned row_group, const row_sums *s) {
  for (unsigned r = 0; r < qp_encode_rows_of(j->out, row_group); r++) {
    const qp_encode_loss *l = &d->loses;
    double fit = s->square[r] > 0 ? s->cross[r] / s->square[r] : 0;
    const double cross = l->x_x[r] + l->x_e[r], square = cross + l->x_e[r] + l->e_e[r];
    if (j->feeds && square > 0) fit = cross / square;
    if (d->any && fit == 0) fit = SCALE_OF_ENTRIES;
    const double unit = d->rms[r] / j->input_scale; /* w = unit x */
    j->out->row_scale[(size_t)row_group * QP_GROUP_ROWS + r] = stored_scale(fit * unit);
  }
}

/* What rows lose with their scales. */
static void measure_rows(const job *j, const desk *d, unsigned row_group, const row_sums *s) {
  const qp_encoded *e = j->out;
  for (unsigned r = 0; r < qp_encode_rows_of(e, row_group); r++) {
    const size_t row = (size_t)row_group * QP_GROUP_ROWS + r;
    const double unit = d->rms[r] / j->input_scale, power = s->power[r];
    const double fit = unit > 0 ? (double)e->row_scale[row] / unit : 0;
    j->power[row] = unit * unit * power;
    j->lost[row] = unit * unit * (power - 2 * fit * s->cross[r] + fit * fit * s->square[r]);
    e->row_distortion[row] = power > 0 ? (float)(j->lost[row] / j->power[row]) : 0;
    if (!j->feeds) continue;
    const qp_encode_loss *l = &d->loses; /* x - fit v = (1 - fit) x - fit e */
    const double left = 1 - fit;
    j->out_power[row] = unit * unit * l->x_x[r];
    j->out_lost[row] =
        unit * unit *
        (left * left * l->x_x[r] - 2 * left * fit * l->x_e[r] + fit * fit * l->e_e[r]);
  }
}

/* Scales of rows, then what is stored apart, by these. */
qp_status qp_encode_fit_scales(const job *j, desk *d, unsigned row_group, qp_error *err) {
  row_sums sums;
  qp_status status = sum_rows(j, d, row_group, &sums, err);
  if (status) return status;
  choose_scales(j, d, row_group, &sums);
  if (d->any) {
    for (unsigned p = 0; p < j->out->parts; p++)
      if (j->out->part[p].stream.sparse) store_apart(j, d, row_group, p);
    d->loses.known = false;
    status = sum_rows(j, d, row_group, &sums, err);
    if (status) return status;
  }
  measure_rows(j, d, row_group, &sums);
  return QP_OK;
}
