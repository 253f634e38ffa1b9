/* SPDX-License-Identifier: MIT */
/* A linear's weights --> packed weights: rows are normalized, coded by all threads, scaled back. */
#include "gen/encode/encode.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen/encode/coder.h"

enum { MAX_THREADS = 256 };

unsigned qp_encode_threads(unsigned threads) {
  long cpus = sysconf(_SC_NPROCESSORS_ONLN);
  unsigned n = threads ? threads : cpus > 0 ? (unsigned)cpus : 1;
  return n < MAX_THREADS ? n : MAX_THREADS;
}

void qp_encoded_free(qp_encoded *e) {
  for (unsigned p = 0; p < e->parts; p++) {
    free(e->part[p].codes);
    for (unsigned f = 0; f < QP_MAX_FIELDS; f++) free(e->part[p].field[f]);
    for (unsigned c = 0; c < QP_MAX_CODEBOOKS; c++) free(e->part[p].codebook[c]);
  }
  free(e->row_scale);
  free(e->row_distortion);
  *e = (qp_encoded){0};
}

qp_packed qp_encoded_packed(const qp_encoded *e, unsigned part) {
  qp_packed p = {.stream = &e->part[part].stream, .codes = e->part[part].codes};
  for (unsigned f = 0; f < QP_MAX_FIELDS; f++) p.field[f] = e->part[part].field[f];
  for (unsigned c = 0; c < QP_MAX_CODEBOOKS; c++) p.codebook[c] = e->part[part].codebook[c];
  return p;
}

/* ---- The work ---- */

/* What all threads share; they take groups of 32 rows from 'next'. */
typedef struct job {
  const float *weights;
  const qp_encode_options *options;
  qp_encoded *out;
  qp_coder coder[QP_MAX_PARTS];
  double input_scale[QP_MAX_PARTS];
  double *lost, *power; /* [rows]: sum (w - r w^)^2, sum w^2 */
  unsigned row_groups;
  _Atomic unsigned next;
  _Atomic bool stopped;
  pthread_mutex_t lock; /* of status and error */
  qp_status status;
  qp_error error;
} job;

/* What one thread owns. */
typedef struct desk {
  qp_coder_work *work[QP_MAX_PARTS];
  float *target, *value; /* [32][columns of a part] */
} desk;

static qp_status check_weights(const float *w, unsigned rows, unsigned columns, qp_error *err) {
  for (size_t i = 0; i < (size_t)rows * columns; i++) {
    if (isfinite(w[i])) continue;
    return qp_fail(err, QP_E_ARG, "weight [%zu][%zu] is %g; weights should be finite", i / columns,
                   i % columns, (double)w[i]);
  }
  return QP_OK;
}

static void free_desk(desk *d) {
  for (unsigned p = 0; p < QP_MAX_PARTS; p++) qp_coder_work_free(d->work[p]);
  free(d->target);
  free(d->value);
}

static qp_status make_desk(const job *j, desk *d, qp_error *err) {
  const size_t cells = (size_t)QP_GROUP_ROWS * j->out->columns;
  *d = (desk){.target = malloc(sizeof *d->target * cells),
              .value = malloc(sizeof *d->value * cells)};
  qp_status st = d->target && d->value ? QP_OK : qp_fail(err, QP_E_NOMEM, "no memory for 32 rows");
  for (unsigned p = 0; !st && p < j->out->parts; p++)
    st = qp_coder_work_new(&j->coder[p], &j->out->part[p].stream, &d->work[p], err);
  return st;
}

/* Root mean square of a row; 0 for a row of zeros. */
static double row_rms(const float *w, unsigned n) {
  double sum = 0;
  for (unsigned i = 0; i < n; i++) sum += (double)w[i] * (double)w[i];
  return sqrt(sum / n);
}

/* Code 32 rows of each part, fit each row's scale to what came out: r = w.w^ / w^.w^. */
static qp_status code_row_group(job *j, desk *d, unsigned row_group, qp_error *err) {
  const qp_encoded *e = j->out;
  const unsigned first = row_group * QP_GROUP_ROWS;
  const unsigned rows = e->rows - first < QP_GROUP_ROWS ? e->rows - first : QP_GROUP_ROWS;
  double rms[QP_GROUP_ROWS] = {0}, cross[QP_GROUP_ROWS] = {0}, square[QP_GROUP_ROWS] = {0};
  for (unsigned r = 0; r < rows; r++)
    rms[r] = row_rms(j->weights + (size_t)(first + r) * e->columns, e->columns);
  for (unsigned p = 0; p < e->parts; p++) {
    const qp_stream *s = &e->part[p].stream;
    if (!s->columns) continue; /* a split of few columns */
    memset(d->target, 0, sizeof *d->target * QP_GROUP_ROWS * s->columns);
    for (unsigned r = 0; r < rows; r++) {
      const float *w = j->weights + (size_t)(first + r) * e->columns + e->part[p].column;
      const float scale = rms[r] > 0 ? (float)(j->input_scale[p] / rms[r]) : 0;
      for (unsigned k = 0; k < s->columns; k++)
        d->target[(size_t)r * s->columns + k] = w[k] * scale;
    }
    qp_coder_out out = {.codes = e->part[p].codes};
    memcpy(out.field, e->part[p].field, sizeof out.field);
    memcpy(out.codebook, e->part[p].codebook, sizeof out.codebook);
    qp_status st =
        qp_coder_rows(&j->coder[p], d->work[p], s, row_group, d->target, &out, d->value, err);
    if (st) return st;
    for (unsigned r = 0; r < rows; r++) {
      const float *w = j->weights + (size_t)(first + r) * e->columns + e->part[p].column;
      for (unsigned k = 0; k < s->columns; k++) {
        const double v = (double)d->value[(size_t)r * s->columns + k];
        cross[r] += (double)w[k] * v;
        square[r] += v * v;
      }
    }
  }
  for (unsigned r = 0; r < rows; r++) {
    const double power = rms[r] * rms[r] * e->columns;
    const float scale = square[r] > 0 ? (float)(cross[r] / square[r]) : 0;
    e->row_scale[first + r] = scale;
    j->power[first + r] = power;
    j->lost[first + r] =
        power - 2 * (double)scale * cross[r] + (double)scale * (double)scale * square[r];
    e->row_distortion[first + r] = power > 0 ? (float)(j->lost[first + r] / power) : 0;
  }
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
  qp_status st = make_desk(j, &d, &err);
  while (!st && !atomic_load(&j->stopped)) {
    unsigned row_group = atomic_fetch_add(&j->next, 1);
    if (row_group >= j->row_groups) break;
    if (j->options->cancel && atomic_load(j->options->cancel)) {
      st = qp_fail(&err, QP_E_LIMIT, "stopped when asked to");
      break;
    }
    st = code_row_group(j, &d, row_group, &err);
    unsigned rows = j->out->rows - row_group * QP_GROUP_ROWS;
    if (rows > QP_GROUP_ROWS) rows = QP_GROUP_ROWS;
    if (j->options->done) atomic_fetch_add(j->options->done, (size_t)rows * j->out->columns);
  }
  free_desk(&d);
  if (st) fail_job(j, st, &err);
  return NULL;
}

static qp_status run_threads(job *j) {
  pthread_t thread[MAX_THREADS];
  unsigned started = 0, wanted = qp_encode_threads(j->options->threads);
  if (wanted > j->row_groups) wanted = j->row_groups;
  for (; started + 1 < wanted; started++)
    if (pthread_create(&thread[started], NULL, run_thread, j)) break; /* fewer will do */
  run_thread(j);
  for (unsigned i = 0; i < started; i++) pthread_join(thread[i], NULL);
  return j->status;
}

/* ---- One linear ---- */

static const qp_quantizer *part_of(const qp_quantizer *q, unsigned part) {
  return q->kind == QP_SPLIT ? q->part[part].quantizer : q;
}

static qp_status make_part(job *j, unsigned p, unsigned columns, qp_error *err) {
  qp_encoded *e = j->out;
  const qp_quantizer *q = part_of(e->quantizer, p);
  qp_stream *s = &e->part[p].stream;
  e->part[p].column = qp_layout_part_column(e->quantizer, columns, p);
  unsigned width = qp_layout_part_column(e->quantizer, columns, p + 1) - e->part[p].column;
  qp_status st = qp_layout_stream(q, e->rows, width, s, err);
  if (st) return st;
  bool ok = (e->part[p].codes = calloc(s->code_words, sizeof(uint32_t))) != NULL;
  for (unsigned f = 0; ok && f < q->fields; f++)
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
  if (!ok) return qp_fail(err, QP_E_NOMEM, "no memory for %u x %u codes", e->rows, width);
  j->input_scale[p] = j->options->input_scale;
  if (!(j->input_scale[p] > 0)) st = qp_encode_input_scale(q, &j->input_scale[p], err);
  return st ? st : qp_coder_make(&j->coder[p], q, err);
}

qp_status qp_encode_linear(const qp_quantizer *q, const float *weights, unsigned rows,
                           unsigned columns, const qp_encode_options *options, qp_encoded *out,
                           qp_error *err) {
  static const qp_encode_options usual;
  qp_status st = check_weights(weights, rows, columns, err);
  if (st) return st;
  qp_encoded e = {.quantizer = q,
                  .rows = rows,
                  .columns = columns,
                  .parts = q->kind == QP_SPLIT ? q->parts : 1};
  job j = {.weights = weights,
           .options = options ? options : &usual,
           .out = &e,
           .lost = malloc(sizeof *j.lost * rows),
           .power = malloc(sizeof *j.power * rows),
           .row_groups = (rows + QP_GROUP_ROWS - 1) / QP_GROUP_ROWS,
           .lock = PTHREAD_MUTEX_INITIALIZER};
  e.row_scale = malloc(sizeof *e.row_scale * rows);
  e.row_distortion = malloc(sizeof *e.row_distortion * rows);
  if (!j.lost || !j.power || !e.row_scale || !e.row_distortion) st = qp_fail(err, QP_E_NOMEM, "out of memory");
  for (unsigned p = 0; !st && p < e.parts; p++) st = make_part(&j, p, columns, err);
  if (!st && (st = run_threads(&j))) qp_fail(err, st, "%s", j.error.text);
  double lost = 0, power = 0;
  for (unsigned r = 0; !st && r < rows; r++) lost += j.lost[r], power += j.power[r];
  e.distortion = power > 0 ? lost / power : 0;
  e.proxy = e.distortion;
  for (unsigned p = 0; p < e.parts; p++) qp_coder_free(&j.coder[p]);
  free(j.lost);
  free(j.power);
  if (st)
    qp_encoded_free(&e);
  else
    *out = e;
  return st;
}
