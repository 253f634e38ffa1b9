/* SPDX-License-Identifier: MIT */
/* Packs a linear's weights: rows are normalized, coded by all threads, and scaled back. */
#include "gen/encode/encode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen/base/thread.h"
#include "gen/encode/coder.h"
#include "gen/encode/coders.h"
#include "gen/encode/encode_internal.h"
#include "gen/encode/feedback.h"
#include "gen/encode/order.h"
#include "gen/encode/settle.h"

enum {
  MAX_THREADS = 256,
  SEARCHED_WEIGHTS = 1 << 24 /* weights that a searcher gets at once, at most */
};

typedef qp_encode_job job;
typedef qp_encode_desk desk;

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

static qp_status check_weights(const float *w, unsigned rows, unsigned columns, qp_error *err) {
  for (size_t i = 0; i < (size_t)rows * columns; i++) {
    if (isfinite(w[i])) continue;
    return qp_fail(err, QP_E_ARG, "weight [%zu][%zu] is %g; weights should be finite", i / columns,
                   i % columns, (double)w[i]);
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
  qp_status status = qp_encode_desk_make(j, &d, &err);
  while (!status && !atomic_load(&j->stopped)) {
    unsigned row_group = atomic_fetch_add(&j->next, 1);
    if (row_group >= j->end) break;
    if (j->options->cancel && atomic_load(j->options->cancel)) {
      status = qp_fail(&err, QP_E_LIMIT, "stopped when asked to");
      break;
    }
    status = j->work(j, &d, row_group, &err);
    if (j->options->done && j->counts)
      atomic_fetch_add(j->options->done,
                       (size_t)qp_encode_rows_of(j->out, row_group) * j->out->columns);
  }
  qp_encode_desk_free(&d);
  if (status) fail_job(j, status, &err);
  return NULL;
}

qp_status qp_encode_run_threads(job *j, unsigned first, unsigned end, bool counts,
                                qp_status (*work)(job *j, desk *d, unsigned row_group,
                                                  qp_error *err)) {
  pthread_t thread[MAX_THREADS];
  unsigned started = 0, wanted = qp_encode_threads(j->options->threads);
  if (wanted > end - first) wanted = end - first;
  atomic_store(&j->next, first);
  j->end = end;
  j->work = work;
  j->counts = counts;
  for (; started + 1 < wanted; started++)
    if (!qp_thread_start(&thread[started], run_thread, j)) break; /* fewer will do */
  run_thread(j);
  for (unsigned i = 0; i < started; i++) qp_thread_join(thread[i]);
  return j->status;
}

/* By the searcher where it can, else by the threads. */
static qp_status run(job *j, qp_error *err) {
  qp_status status = QP_E_MISSING;
  if (qp_encode_can_search(j)) {
    const size_t group = (size_t)QP_GROUP_ROWS * j->out->columns;
    unsigned at_once = group < SEARCHED_WEIGHTS ? (unsigned)(SEARCHED_WEIGHTS / group) : 1;
    if (at_once > j->row_groups) at_once = j->row_groups;
    status = qp_encode_lanes_make(j, at_once, err);
    if (!status) status = qp_encode_run_searched(j, at_once, err);
    qp_encode_lanes_free(j);
  }
  if (status != QP_E_MISSING) return status;
  status = qp_encode_run_threads(j, 0, j->row_groups, true, qp_encode_row_group);
  return status ? qp_fail(err, status, "%s", j->error.text) : QP_OK;
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
  if (!status) status = qp_encode_weigh_columns(&j, err);
  for (unsigned p = 0; !status && p < e.parts; p++) status = qp_encode_fit_books(&j, p, err);
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
