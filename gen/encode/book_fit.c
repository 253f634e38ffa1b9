/* SPDX-License-Identifier: MIT */
/* Runs Lloyd's algorithm on a linear's own codebooks: it codes, solves, and codes again. */
#include "gen/encode/book_fit.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/random.h"
#include "gen/base/thread.h"
#include "gen/encode/books.h"
#include "gen/encode/coder.h"
#include "runtime/half.h"

enum {
  ROUNDS = 40,
  LARGE = 4096, /* Of more entries a round takes long, and the first ones bring most. */
  LARGE_ROUNDS = 6,
  MAX_THREADS = 64
};
/* A round must bring the loss below this share of the loss before. */
#define WORTH_A_ROUND       0.9993
#define WORTH_A_LARGE_ROUND 0.99
/* Books that add up go further than to what was solved for, and by chance: */
#define BEYOND    1.8  /* of the way there (Lee, Baek, Sung 1997), */
#define SHAKEN    0.09 /* of their entries' root mean square, less and less (LSQ++, SR-C), */
#define CALM      0.1  /* of the rounds not at all. */
#define MOST_HALF 65504.0

bool qp_has_tensor_books(const qp_quantizer *q) {
  for (unsigned c = 0; c < q->codebooks; c++)
    if (q->codebook[c].scope == QP_SCOPE_TENSOR) return true;
  return false;
}

typedef struct fit {
  const qp_quantizer *quantizer;
  qp_quantizer view; /* The quantizer with 'now' as its codebooks. */
  const qp_stream *stream;
  const float *rows;
  const qp_book_fit_options *options;
  uint16_t *now[QP_MAX_CODEBOOKS], *before[QP_MAX_CODEBOOKS];
  qp_books *books;
  size_t steps;    /* of a lane */
  uint32_t *state; /* [row_groups][32][steps] */
  float *value;    /* [rows][columns] */
  qp_coder_out out;
  qp_coder coder;
  bool large;    /* A codebook that is fitted is. */
  bool additive; /* Codes are runs whose vectors add up. */
  unsigned end;  /* The row groups in hand end here. */
  _Atomic unsigned next;
  pthread_mutex_t lock;
  qp_status status;
  qp_error error;
} fit;

/* ---- Coding ---- */

static void *code_rows(void *argument) {
  fit *f = argument;
  const qp_stream *s = f->stream;
  const size_t group = (size_t)QP_GROUP_ROWS * s->columns;
  qp_coder_work *w = NULL;
  qp_error err = {{0}};
  qp_status status = qp_coder_work_new(&f->coder, s, &w, &err);
  for (unsigned g; !status && (g = atomic_fetch_add(&f->next, 1)) < f->end;) {
    status = qp_coder_rows(&f->coder, w, s, g, f->rows + g * group, &f->out, f->value + g * group,
                           s->columns, &err);
    for (unsigned lane = 0; lane < 32 && !status; lane++)
      qp_coder_states(&f->coder, w, lane, f->state + ((size_t)g * 32 + lane) * f->steps);
  }
  qp_coder_work_free(w);
  pthread_mutex_lock(&f->lock);
  if (status && !f->status) f->status = status, f->error = err;
  pthread_mutex_unlock(&f->lock);
  return NULL;
}

/* Code the first row groups with the codebooks as they stand. */
static qp_status code(fit *f, unsigned row_groups, qp_error *err) {
  qp_status status = qp_coder_make(&f->coder, &f->view, err);
  if (status) return status;
  if (f->options->beam) qp_trellis_set_width(&f->coder.trellis, f->options->beam);
  pthread_t thread[MAX_THREADS];
  unsigned started = 0, wanted = f->options->threads;
  if (wanted > row_groups) wanted = row_groups;
  if (wanted > MAX_THREADS) wanted = MAX_THREADS;
  f->end = row_groups;
  atomic_store(&f->next, 0);
  for (; started + 1 < wanted; started++)
    if (!qp_thread_start(&thread[started], code_rows, f)) break;
  code_rows(f);
  for (unsigned i = 0; i < started; i++) qp_thread_join(thread[i]);
  qp_coder_free(&f->coder);
  return f->status ? qp_fail(err, f->status, "%s", f->error.text) : QP_OK;
}

static double cost_of(const fit *f, unsigned column) {
  return f->options->column_weight ? (double)f->options->column_weight[column] : 1;
}

/* In one order, so that sums do not depend on the threads. */
static double loss_of(const fit *f, unsigned row_groups) {
  const qp_stream *s = f->stream;
  double lost = 0;
  for (size_t r = 0; r < (size_t)row_groups * QP_GROUP_ROWS && r < s->rows; r++)
    for (unsigned k = 0; k < s->columns; k++) {
      const double d = (double)(f->rows[r * s->columns + k] - f->value[r * s->columns + k]);
      lost += cost_of(f, k) * d * d;
    }
  return lost;
}

static double power_of(const fit *f, unsigned row_groups) {
  const qp_stream *s = f->stream;
  double power = 0;
  for (size_t r = 0; r < (size_t)row_groups * QP_GROUP_ROWS && r < s->rows; r++)
    for (unsigned k = 0; k < s->columns; k++) {
      const double x = (double)f->rows[r * s->columns + k];
      power += cost_of(f, k) * x * x;
    }
  return power > 0 ? power : 1;
}

/* ---- Solving ---- */

/* Add a lane's code i: its targets, what they cost, its fields. */
static qp_status add_code(fit *f, unsigned row_group, unsigned lane, size_t i, qp_error *err) {
  const qp_stream *s = f->stream;
  const qp_quantizer *q = f->quantizer;
  float target[16] = {0}, weight[16] = {0};
  uint32_t fields[QP_MAX_FIELDS] = {0};
  for (unsigned e = 0; e < q->dim; e++) {
    unsigned row;
    size_t column;
    qp_layout_weight(q, lane, i * q->dim + e, &row, &column);
    row += row_group * QP_GROUP_ROWS;
    if (column >= s->columns || row >= s->rows) continue;
    target[e] = f->rows[(size_t)row * s->columns + column];
    weight[e] = (float)cost_of(f, (unsigned)column);
    for (unsigned k = 0; e == 0 && k < q->fields; k++)
      fields[k] =
          qp_layout_get_field(s, k, row, (unsigned)column, f->out.field[qp_layout_array(k)]);
  }
  const uint32_t state = f->state[((size_t)row_group * 32 + lane) * f->steps + i];
  return qp_books_add(f->books, state, fields, target, weight, err);
}

static qp_status solve(fit *f, unsigned row_groups, qp_error *err) {
  qp_books_clear(f->books);
  qp_status status = QP_OK;
  for (unsigned g = 0; g < row_groups; g++)
    for (unsigned lane = 0; lane < 32; lane++)
      for (size_t i = 0; i < f->steps && !status; i++) status = add_code(f, g, lane, i, err);
  return status ? status : qp_books_solve(f->books, f->now, err);
}

static size_t numbers(const qp_codebook *b) { return (size_t)b->entries * b->dim; }

static void copy_books(const fit *f, uint16_t *const *from, uint16_t *const *to) {
  for (unsigned c = 0; c < f->quantizer->codebooks; c++)
    if (from[c] && to[c])
      memcpy(to[c], from[c], sizeof *to[c] * numbers(&f->quantizer->codebook[c]));
}

static double rms_of(const uint16_t *entry, size_t n) {
  double power = 0;
  for (size_t i = 0; i < n; i++) {
    const double v = (double)qp_half_to_float(entry[i]);
    power += v * v / (double)n;
  }
  return sqrt(power);
}

/* Entries were 'before' and are solved for: move on, of so many rounds. */
static void overstep(fit *f, uint16_t *const *before, unsigned round, unsigned rounds) {
  if (round + 1 >= rounds) return;
  const double left = 1 - (round + 1) / ((1 - CALM) * rounds);
  const double far = left > 0 ? SHAKEN * sqrt(3 * left) : 0;
  qp_random random = {.state = round};
  for (unsigned c = 0; c < f->quantizer->codebooks; c++) {
    if (!f->now[c]) continue;
    const size_t n = numbers(&f->quantizer->codebook[c]);
    const double size = far * rms_of(f->now[c], n);
    for (size_t i = 0; i < n; i++) {
      const double was = (double)qp_half_to_float(before[c][i]);
      const double to = (double)qp_half_to_float(f->now[c][i]);
      const double by = size * qp_random_uniform(&random, -1, 1);
      const double next = was + BEYOND * (to - was) + by;
      f->now[c][i] = qp_double_to_half(fmin(fmax(next, -MOST_HALF), MOST_HALF));
    }
  }
}

/* Have better entries for the codes of a round. */
static qp_status improve(fit *f, unsigned round, unsigned rounds, qp_error *err) {
  if (f->additive) copy_books(f, f->now, f->before);
  const qp_status status = solve(f, f->stream->row_groups, err);
  if (!status && f->additive) overstep(f, f->before, round, rounds);
  return status;
}

/* 'best' gets the codebooks with the least loss. */
static qp_status run_rounds(fit *f, unsigned rounds, uint16_t *const *best, qp_error *err) {
  const unsigned row_groups = f->stream->row_groups;
  double least = INFINITY;
  for (unsigned round = 0;; round++) {
    qp_status status = code(f, row_groups, err);
    if (status) return status;
    const double lost = loss_of(f, row_groups);
    const bool worth = lost < (f->large ? WORTH_A_LARGE_ROUND : WORTH_A_ROUND) * least;
    if (lost < least) {
      copy_books(f, f->now, best);
      least = lost;
    }
    if (f->options->progress && round < rounds)
      f->options->progress(f->options->arg, round, rounds, lost / power_of(f, row_groups));
    if (round == rounds || !(worth || f->additive)) return QP_OK;
    status = improve(f, round, rounds, err);
    if (status) return status;
  }
}

static void close_fit(fit *f, uint16_t *const *best) {
  qp_books_free(f->books);
  for (unsigned c = 0; c < QP_MAX_CODEBOOKS; c++) {
    free(f->now[c]);
    free(f->before[c]);
    free(best[c]);
  }
  for (unsigned a = 0; a < QP_MAX_ARRAYS; a++) free(f->out.field[a]);
  free(f->out.codes);
  free(f->state);
  free(f->value);
}

static qp_status find_runs(const fit *f, qp_books_runs *runs, qp_error *err) {
  qp_stages s;
  const qp_status status = qp_stages_make(&s, &f->view, err);
  if (status) return status;
  runs->count = s.count;
  for (unsigned k = 0; k < s.count; k++)
    runs->run[k].shift = s.stage[k].shift, runs->run[k].bits = s.stage[k].bits;
  qp_stages_free(&s);
  return QP_OK;
}

static qp_status open_fit(fit *f, uint16_t *const *book, uint16_t **best, qp_error *err) {
  const qp_quantizer *q = f->quantizer;
  const qp_stream *s = f->stream;
  bool unknown[QP_MAX_CODEBOOKS] = {0}, ok = true;
  f->view = *q;
  f->steps = (size_t)s->superblocks * s->period.steps;
  for (unsigned c = 0; c < q->codebooks; c++) {
    const qp_codebook *b = &q->codebook[c];
    const size_t codes = (size_t)s->rows * s->columns / q->dim;
    f->view.codebook[c].scope = QP_SCOPE_SPEC; /* of rows: as it is, until rows are fitted */
    if (b->scope != QP_SCOPE_TENSOR && !f->options->all) continue;
    unknown[c] = codes >= (size_t)f->options->least_codes * b->entries;
    if (!unknown[c]) {
      qp_fail(&f->error, QP_E_ARG,
              "%s: codebook '%s' has %u entries, and %zu codes are too few, %u an entry are needed",
              q->name, b->name, b->entries, codes, f->options->least_codes);
      continue;
    }
    f->large = f->large || b->entries > LARGE;
    const size_t bytes = sizeof(uint16_t) * numbers(&q->codebook[c]);
    f->view.codebook[c].data = f->now[c] = malloc(bytes);
    f->before[c] = malloc(bytes);
    best[c] = malloc(bytes);
    ok = ok && f->now[c] && f->before[c] && best[c];
    if (f->now[c]) memcpy(f->now[c], book[c], bytes);
  }
  for (unsigned a = 0; a < s->arrays; a++)
    ok = (f->out.field[a] = calloc(1, s->field_bytes[a])) != NULL && ok;
  f->out.codes = calloc(s->code_words, sizeof *f->out.codes);
  f->state = malloc(sizeof *f->state * 32 * s->row_groups * f->steps);
  f->value = calloc((size_t)s->row_groups * QP_GROUP_ROWS * s->columns, sizeof *f->value);
  if (!ok || !f->out.codes || !f->state || !f->value)
    return qp_fail(err, QP_E_NOMEM, "no memory to fit codebooks");
  qp_books_runs runs;
  const qp_status status = find_runs(f, &runs, err);
  f->additive = !status && runs.count > 1 && !f->large;
  return status ? status : qp_books_new(q, unknown, &runs, &f->books, err);
}

qp_status qp_book_fit(const qp_quantizer *q, const qp_stream *s, const float *rows,
                      const qp_book_fit_options *options, uint16_t *const *book, char *left_out,
                      qp_error *err) {
  fit f = {.quantizer = q,
           .stream = s,
           .rows = rows,
           .options = options,
           .lock = PTHREAD_MUTEX_INITIALIZER};
  uint16_t *best[QP_MAX_CODEBOOKS] = {0};
  qp_status status = open_fit(&f, book, best, err);
  const unsigned usual = f.large ? LARGE_ROUNDS : ROUNDS;
  if (!status) status = run_rounds(&f, options->rounds ? options->rounds : usual, best, err);
  if (!status) copy_books(&f, best, book);
  if (!status) snprintf(left_out, QP_BOOK_FIT_TEXT, "%.*s", QP_BOOK_FIT_TEXT - 1, f.error.text);
  close_fit(&f, best);
  return status;
}
