/* SPDX-License-Identifier: MIT */
/* Makes the input side of linears. */
#include "tuner/quantize/side.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/encode.h"
#include "gen/model/source_codes.h"
#include "runtime/half.h"
#include "runtime/input_side.h"
#include "tuner/quantize/hessian.h"
#include "tuner/quantize/packed_linear.h"

enum { STEPS = 16, SAMPLE_ROWS = 32, MOST_LINEARS = 16 };

/* What is being made. */
typedef struct making {
  const qp_job *j;
  const qp_job_linear *first;                /* of those that have the tensor */
  const qp_job_linear *linear[MOST_LINEARS]; /* All linears that have it, or some of a stack of
                                                experts. */
  size_t linears;
  unsigned columns, rotation;
  const _Atomic bool *cancel;
  double *moment; /* [columns] diagonal of E[x x^T], or NULL */
  double *square; /* [columns]: mean squares of W's columns, of all the linears. */
  unsigned char *side;
  qp_error *err;
} making;

static uint16_t *scales_of(const making *m) {
  return (uint16_t *)(void *)(m->side + qp_side_scale_at(m->columns, m->rotation));
}
static uint16_t *order_of(const making *m) {
  return (uint16_t *)(void *)(m->side + qp_side_order_at(m->columns));
}

/* ---- What is known of the columns ---- */

static qp_status read_moments(making *m) {
  const qp_job_linear *l = m->first;
  const size_t n = m->columns;
  qp_hessian h = {0};
  if (!m->j->hessian || !*l->hessian) return QP_OK;
  qp_status status = qp_hessian_open(m->j->hessian, l->hessian, l->rows, l->columns, &h, m->err);
  if (!status && h.groups && !(m->moment = calloc(n, sizeof *m->moment)))
    status = qp_fail(m->err, QP_E_NOMEM, "no memory for the moments of %zu columns", n);
  for (unsigned g = 0; g < h.groups && !status; g++)
    for (size_t k = 0; k < n; k++) {
      float v;
      memcpy(&v, h.tensor->data + ((g * n + k) * n + k) * sizeof v, sizeof v);
      m->moment[k] += (double)v;
    }
  double sum = 0;
  for (size_t k = 0; k < n && m->moment; k++) sum += m->moment[k];
  if (!(sum > 0)) { /* zeros count as none */
    free(m->moment);
    m->moment = NULL;
  }
  qp_hessian_close(&h);
  return status;
}

/* Linears count alike, however large their weights are. */
static qp_status add_squares(making *m, const qp_job_linear *l) {
  const size_t n = m->columns;
  float *row = malloc(QP_GROUP_ROWS * n * sizeof *row);
  double *own = calloc(n, sizeof *own), sum = 0;
  qp_status status =
      row && own ? QP_OK : qp_fail(m->err, QP_E_NOMEM, "no memory for 32 rows of weights");
  for (unsigned r = 0; r < l->rows && !status; r += QP_GROUP_ROWS) {
    const unsigned rows = l->rows - r < QP_GROUP_ROWS ? l->rows - r : QP_GROUP_ROWS;
    status = qp_job_read(m->j, l, r, rows, row, m->err);
    for (size_t i = 0; i < rows * n && !status; i++) {
      const double square = (double)row[i] * (double)row[i];
      own[i % n] += square;
      sum += square;
    }
  }
  qp_checkpoint_release(m->j->checkpoint, l->weight);
  for (size_t k = 0; k < n && !status && sum > 0; k++) m->square[k] += own[k] / sum;
  free(row);
  free(own);
  return status;
}

/* ---- Order ---- */

typedef struct place {
  double share;
  unsigned column;
} place;

static int by_share(const void *a, const void *b) {
  const place *x = a, *y = b;
  if (x->share != y->share) return x->share > y->share ? -1 : 1;
  return x->column < y->column ? -1 : 1;
}

static qp_status find_order(making *m) {
  uint16_t *order = order_of(m);
  if (m->j->keeps_codes) return qp_source_order(m->first->weight, order), QP_OK;
  place *list = malloc(m->columns * sizeof *list);
  if (!list) return qp_fail(m->err, QP_E_NOMEM, "no memory for an order of columns");
  for (unsigned k = 0; k < m->columns; k++) {
    const double d = qp_side_has_scale(m->rotation) ? (double)qp_half_to_float(scales_of(m)[k]) : 1;
    list[k] = (place){m->moment ? m->moment[k] * d * d : m->square[k] / (d * d), k};
  }
  qsort(list, m->columns, sizeof *list, by_share);
  for (unsigned i = 0; i < m->columns; i++) order[list[i].column] = (uint16_t)i;
  free(list);
  return QP_OK;
}

/* ---- Scales ---- */

/* d of the e-th step, each at least 2^-10 and at most 2^10, and the order that goes with them. */
static qp_status set_scales(making *m, const double *log_m, int step) {
  const double way =
      m->first->quantizer->scale == QP_SCALE_ACTIVATIONS ? -1.0 / STEPS : 1.0 / STEPS;
  uint16_t *scale = scales_of(m);
  for (unsigned k = 0; k < m->columns; k++) {
    const double e = way * step * log_m[k];
    scale[k] = qp_float_to_half((float)exp2(fmax(-10, fmin(10, e))));
  }
  return qp_side_has_order(m->rotation) ? find_order(m) : QP_OK;
}

/* Take log2 of m over its geometric mean; columns that are all but 0 are taken as a thousandth of
   the root of the mean square. */
static void take_logs(const making *m, double *log_m) {
  const double *square = m->first->quantizer->scale == QP_SCALE_ACTIVATIONS ? m->moment : m->square;
  double sum = 0, mean = 0;
  for (unsigned k = 0; k < m->columns; k++) sum += square[k] / m->columns;
  for (unsigned k = 0; k < m->columns; k++) {
    log_m[k] = sum > 0 ? 0.5 * log2(fmax(square[k], 1e-6 * sum)) : 0;
    mean += log_m[k] / m->columns;
  }
  for (unsigned k = 0; k < m->columns; k++) log_m[k] -= mean;
}

/* Read rows of a linear from all of its height. */
static qp_status read_sample(const making *m, const qp_job_linear *l, unsigned rows, float *out) {
  qp_status status = QP_OK;
  for (unsigned r = 0; r < rows && !status; r++)
    status =
        qp_job_read(m->j, l, (uint64_t)r * l->rows / rows, 1, out + (size_t)r * l->columns, m->err);
  qp_checkpoint_release(m->j->checkpoint, l->weight);
  return status;
}

/* What an encoded sample decodes to, in the basis of the checkpoint. */
static qp_status decode_sample(const making *m, const qp_encoded *e, const qp_input *in,
                               float *out) {
  const size_t n = e->columns, cells = QP_GROUP_ROWS * n;
  qp_linear_part part[QP_MAX_RANGES];
  qp_reference *reference = qp_reference_new();
  uint16_t *half = malloc(2 * cells * sizeof *half);
  for (unsigned p = 0; p < e->parts; p++) {
    part[p] = (qp_linear_part){.stream = e->part[p].stream, .column = e->part[p].column};
    part[p].packed = qp_encoded_packed(e, p);
  }
  qp_status status = reference && half ? qp_linear_decode(reference, part, e->parts, 0, e->columns,
                                                          half, half + cells, m->err)
                                       : qp_fail(m->err, QP_E_NOMEM, "no memory to decode 32 rows");
  for (size_t i = 0; i < e->rows * n && !status; i++)
    out[i] = e->row_scale[i / n] * qp_half_to_float(half[i]);
  free(half);
  qp_reference_free(reference);
  return status ? status
                : qp_rotate_rows_back(out, e->rows, in, qp_encode_threads(m->j->threads), m->err);
}

/* Error of a sample by the scales that are set, weighed by the moments, relative to its outputs. */
static qp_status add_error(const making *m, const qp_job_linear *l, const float *sample,
                           unsigned rows, float *work, double *error) {
  const size_t n = m->columns, count = rows * n;
  const qp_input in = qp_input_of(m->columns, m->rotation, m->side);
  const qp_encode_options options = {.threads = m->j->threads,
                                     .input_scale = qp_job_scale_of(m->j, l),
                                     .beam = m->j->beam,
                                     .coders = m->j->coders,
                                     .cancel = m->cancel};
  qp_encoded e = {0};
  double lost = 0, power = 0;
  memcpy(work, sample, count * sizeof *work);
  qp_status status = qp_rotate_rows(work, rows, &in, qp_encode_threads(m->j->threads), m->err);
  if (!status)
    status = qp_encode_linear(l->quantizer, work, rows, m->columns, &options, &e, m->err);
  if (!status) status = decode_sample(m, &e, &in, work);
  for (size_t i = 0; i < count && !status; i++) {
    const double weight = m->moment ? m->moment[i % n] : 1, w = (double)sample[i];
    lost += weight * (w - (double)work[i]) * (w - (double)work[i]);
    power += weight * w * w;
  }
  qp_encoded_free(&e);
  if (power > 0) *error += lost / power;
  return status;
}

/* Search the scales; 'sample' has the samples of all linears, one behind another, and 'work' room
   for one of them. */
static qp_status search_scales(making *m, const double *log_m, const float *sample, float *work) {
  const size_t cells = (size_t)SAMPLE_ROWS * m->columns;
  double least = INFINITY;
  int best = 0;
  qp_status status = QP_OK;
  for (int step = 0; step <= STEPS && !status; step++) {
    double error = 0;
    status = set_scales(m, log_m, step);
    for (size_t i = 0; i < m->linears && !status; i++) {
      const qp_job_linear *l = m->linear[i];
      const unsigned rows = l->rows < SAMPLE_ROWS ? l->rows : SAMPLE_ROWS;
      status = add_error(m, l, sample + i * cells, rows, work, &error);
    }
    if (error < least) least = error, best = step;
  }
  return status ? status : set_scales(m, log_m, best);
}

static qp_status find_scales(making *m) {
  const size_t cells = (size_t)SAMPLE_ROWS * m->columns;
  if (m->first->quantizer->scale == QP_SCALE_ACTIVATIONS && !m->moment)
    return qp_fail(m->err, QP_E_ARG,
                   "quantizer %s scales columns by activations, of which nothing is known here: a "
                   "--calibration that has the Hessian of '%s' is needed",
                   m->first->quantizer->name, m->first->name);
  float *sample = malloc((m->linears + 1) * cells * sizeof *sample);
  double *log_m = calloc(m->columns, sizeof *log_m);
  qp_status status =
      sample && log_m ? QP_OK : qp_fail(m->err, QP_E_NOMEM, "no memory for rows of weights");
  for (size_t i = 0; i < m->linears && !status; i++) {
    const qp_job_linear *l = m->linear[i];
    const unsigned rows = l->rows < SAMPLE_ROWS ? l->rows : SAMPLE_ROWS;
    status = read_sample(m, l, rows, sample + i * cells);
  }
  if (!status) take_logs(m, log_m);
  if (!status) status = search_scales(m, log_m, sample, sample + m->linears * cells);
  free(sample);
  free(log_m);
  return status;
}

/* ---- All of it ---- */

static qp_status make(making *m) {
  const size_t bytes = qp_side_bytes(m->columns, m->rotation);
  m->side = calloc(1, bytes);
  m->square = calloc(m->columns, sizeof *m->square);
  if (!m->side || !m->square)
    return qp_fail(m->err, QP_E_NOMEM, "no memory for the input side of %u columns", m->columns);
  if (m->j->rotate && qp_side_block(m->rotation) != 1)
    qp_rotate_signs(m->first->signs, m->j->seed, m->columns, (uint32_t *)(void *)m->side);
  if (!(m->rotation & QP_SIDE_FLAGS)) return QP_OK;
  qp_status status = m->j->keeps_codes ? QP_OK : read_moments(m);
  for (size_t i = 0; i < m->linears && !status && !m->j->keeps_codes; i++)
    status = add_squares(m, m->linear[i]);
  if (status) return status;
  return qp_side_has_scale(m->rotation) ? find_scales(m) : find_order(m);
}

/* Find the linears that have the tensor, in the group of l; where there are many, evenly some. */
static void find_linears(making *m, const qp_job_linear *l) {
  const qp_job_linear *begin = l, *end = l + 1;
  size_t count = 0, taken = 0;
  while (begin > m->j->linear && !strcmp(begin[-1].group, l->group)) begin--;
  while (end < m->j->linear + m->j->linears && !strcmp(end->group, l->group)) end++;
  for (const qp_job_linear *o = begin; o < end; o++) count += !strcmp(o->signs, l->signs);
  m->linears = count < MOST_LINEARS ? count : MOST_LINEARS;
  for (const qp_job_linear *o = begin; o < end; o++) {
    if (strcmp(o->signs, l->signs) != 0) continue;
    const size_t at = taken++ * m->linears / count;
    if (!m->linear[at]) m->linear[at] = o;
  }
  m->first = m->linear[0];
}

static qp_status copy(const void *data, size_t bytes, void **out, qp_error *err) {
  if (!(*out = malloc(bytes))) return qp_fail(err, QP_E_NOMEM, "no memory for an input side");
  memcpy(*out, data, bytes);
  return QP_OK;
}

qp_status qp_side_make(const qp_job *j, const qp_job_linear *l, const _Atomic bool *cancel,
                       void **out, qp_error *err) {
  making m = {.j = j, .columns = l->columns, .rotation = l->rotation, .cancel = cancel, .err = err};
  const size_t bytes = qp_side_bytes(l->columns, l->rotation);
  *out = NULL;
  if (!*l->signs) return QP_OK;
  const void *known = qp_sides_find(j->sides, l->signs);
  if (known) return copy(known, bytes, out, err);
  find_linears(&m, l);
  qp_status status = make(&m);
  if (!status) status = copy(m.side, bytes, out, err);
  free(m.moment);
  free(m.square);
  if (status) return free(m.side), status;
  status = qp_sides_keep(j->sides, l->signs, m.side, err);
  if (!status || !*out) return status;
  free(*out);
  *out = NULL;
  return status;
}
