/* SPDX-License-Identifier: MIT */
/* Codebooks trained on the trellis (or code) that uses them. */
#include "gen/encode/train.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/thread.h"
#include "gen/encode/book_fit.h"
#include "gen/encode/encode.h"
#include "gen/encode/sample.h"
#include "runtime/half.h"

enum { DEFAULT_ROUNDS = 14, CHUNK_STEPS = 8192, MAX_THREADS = 64 };

/* The weights that chose a state in one round. */
typedef struct tally {
  double *count; /* [states] */
  double *sum;   /* [states][dim] */
  double power, lost;
} tally;

typedef struct trainer {
  const qp_quantizer *quantizer;
  const qp_train_options *options;
  uint16_t *codebook; /* [entries][dim], being trained */
  unsigned states, entries, dim, entry_dim;
  uint32_t *entry_of; /* [states] */
  uint32_t *order;    /* states sorted by entry */
  uint32_t *begin;    /* [entries + 1] */
  /* of the round */
  qp_coder coder;
  uint64_t seed;
  unsigned chunks;
  _Atomic unsigned next;
  pthread_mutex_t lock;
  tally total;
  qp_status status;
  qp_error error;
} trainer;

/* ---- Which entry a state looks up ---- */

static qp_status find_lookup(const qp_quantizer *q, unsigned *node, qp_error *err) {
  unsigned index = 0, found = 0;
  for (unsigned n = 0; q->kind != QP_SPLIT && n < q->decode->count; n++) {
    const qp_ir_node *at = &q->decode->node[n];
    if (!qp_ir_has(q->decode, n, QP_IR_LOOKS_UP)) continue;
    if (found && at->arg[0] != index) found = 2;
    if (!found) found = 1, index = at->arg[0], *node = n;
  }
  if (found == 1 && q->codebooks == 1 && !q->fields) return QP_OK;
  return qp_fail(err, QP_E_ARG,
                 "%s cannot be trained: its decode should look one codebook up at one place, "
                 "without group fields",
                 q->name);
}

/* The look-up itself, on a codebook whose entry i is the number i. */
static qp_status find_entries(trainer *t, unsigned node, qp_error *err) {
  const qp_quantizer *q = t->quantizer;
  qp_ir *ir = qp_ir_clone(q->decode);
  uint16_t *numbers = calloc((size_t)t->entries * t->entry_dim, sizeof *numbers);
  uint32_t out[QP_IR_MAX_OUTPUTS];
  if (!ir || !numbers) {
    qp_ir_free(ir);
    free(numbers);
    return qp_fail(err, QP_E_NOMEM, "out of memory");
  }
  for (unsigned e = 0; e < t->entries; e++) numbers[(size_t)e * t->entry_dim] = (uint16_t)e;
  ir->node[node].imm2 = 0;
  ir->count = node + 1;
  ir->outputs = 1;
  ir->output[0] = (uint16_t)node;
  qp_ir_env env = {.codebook[0] = {numbers, t->entries, t->entry_dim}};
  for (unsigned i = 0; i <= t->entries; i++) t->begin[i] = 0;
  for (unsigned s = 0; s < t->states; s++) {
    env.input[QP_IN_STATE] = s;
    qp_ir_eval(ir, &env, out);
    t->entry_of[s] = out[0] & 0xffff;
    t->begin[t->entry_of[s] + 1]++;
  }
  for (unsigned e = 0; e < t->entries; e++) t->begin[e + 1] += t->begin[e];
  for (unsigned s = 0; s < t->states; s++) t->order[t->begin[t->entry_of[s]]++] = s;
  for (unsigned e = t->entries; e > 0; e--) t->begin[e] = t->begin[e - 1];
  t->begin[0] = 0;
  qp_ir_free(ir);
  free(numbers);
  return QP_OK;
}

/* ---- One round: code, tally ---- */

static bool make_tally(tally *y, unsigned states, unsigned dim) {
  *y = (tally){.count = calloc(states, sizeof *y->count),
               .sum = calloc((size_t)states * dim, sizeof *y->sum)};
  return y->count && y->sum;
}

static void free_tally(tally *y) {
  free(y->count);
  free(y->sum);
}

static void add_tally(tally *to, const tally *y, unsigned states, unsigned dim) {
  for (unsigned s = 0; s < states; s++) to->count[s] += y->count[s];
  for (size_t i = 0; i < (size_t)states * dim; i++) to->sum[i] += y->sum[i];
  to->power += y->power;
  to->lost += y->lost;
}

static void count_chunk(const trainer *t, tally *y, const float *target, const uint32_t *state) {
  for (unsigned i = 0; i < CHUNK_STEPS; i++) {
    y->count[state[i]]++;
    for (unsigned e = 0; e < t->dim; e++) {
      const double x = (double)target[(size_t)i * t->dim + e];
      const double d = x - (double)t->coder.values[(size_t)state[i] * t->dim + e];
      y->sum[(size_t)state[i] * t->dim + e] += x;
      y->power += x * x;
      y->lost += d * d;
    }
  }
}

/* Chunks are taken by number and their sums are whole numbers of the same floats, but added in the
   order in which threads end: results of two runs may differ in the last bits of a double. */
static void *run_chunks(void *argument) {
  trainer *t = argument;
  const size_t n = (size_t)CHUNK_STEPS * t->dim;
  tally y = {0};
  float *target = malloc(sizeof *target * n);
  uint32_t *state = malloc(sizeof *state * CHUNK_STEPS);
  qp_error err = {{0}};
  qp_status status = make_tally(&y, t->states, t->dim) && target && state
                         ? QP_OK
                         : qp_fail(&err, QP_E_NOMEM, "out of memory");
  while (!status) {
    const unsigned chunk = atomic_fetch_add(&t->next, 1);
    double cross, square;
    if (chunk >= t->chunks) break;
    qp_sample_gaussian(t->seed + chunk, n, target);
    status = qp_sample_code(&t->coder, n, target, 1, &cross, &square, state, &err);
    if (!status) count_chunk(t, &y, target, state);
  }
  pthread_mutex_lock(&t->lock);
  if (!status) add_tally(&t->total, &y, t->states, t->dim);
  if (status && !t->status) t->status = status, t->error = err;
  pthread_mutex_unlock(&t->lock);
  free_tally(&y);
  free(target);
  free(state);
  return NULL;
}

/* The coder of the codebook as it stands. */
static qp_status make_coder(trainer *t, qp_error *err) {
  qp_quantizer q = *t->quantizer;
  q.codebook[0].data = t->codebook; /* a view: the quantizer itself keeps its own */
  qp_status status = qp_coder_make(&t->coder, &q, err);
  t->coder.quantizer = t->quantizer;
  if (!status && t->options->beam) qp_trellis_set_width(&t->coder.trellis, t->options->beam);
  return status;
}

static qp_status run_round(trainer *t, unsigned round, unsigned rounds, qp_error *err) {
  const size_t all = t->options->weights ? t->options->weights : (size_t)1 << 20;
  const size_t weights = round * 2 < rounds ? all / 4 : all;
  t->chunks = (unsigned)(weights / ((size_t)CHUNK_STEPS * t->dim)) + 1;
  t->seed = (t->options->seed + 1) * 1000003 + (uint64_t)round * 65536;
  atomic_store(&t->next, 0);
  qp_status status = make_coder(t, err);
  if (status) return status;
  memset(t->total.count, 0, sizeof *t->total.count * t->states);
  memset(t->total.sum, 0, sizeof *t->total.sum * t->states * t->dim);
  t->total.power = t->total.lost = 0;
  pthread_t thread[MAX_THREADS];
  unsigned started = 0, wanted = qp_encode_threads(t->options->threads);
  if (wanted > MAX_THREADS) wanted = MAX_THREADS;
  for (; started + 1 < wanted; started++)
    if (!qp_thread_start(&thread[started], run_chunks, t)) break;
  run_chunks(t);
  for (unsigned i = 0; i < started; i++) qp_thread_join(thread[i]);
  qp_coder_free(&t->coder);
  return t->status ? qp_fail(err, t->status, "%s", t->error.text) : QP_OK;
}

/* ---- One round: better entries ---- */

/* Sum of squares of what chose the entry's states, less what no entry changes:
     sum over its states of  count |v|^2 - 2 v . sum */
static double cost_of(const trainer *t, unsigned entry) {
  const uint16_t *books[QP_MAX_CODEBOOKS] = {t->codebook};
  double cost = 0;
  for (unsigned i = t->begin[entry]; i < t->begin[entry + 1]; i++) {
    const uint32_t s = t->order[i];
    uint16_t out[16];
    if (t->total.count[s] == 0) continue;
    qp_quantizer_decode(t->quantizer, s, NULL, books, out);
    for (unsigned e = 0; e < t->dim; e++) {
      const double v = (double)qp_half_to_float(out[e]);
      cost += v * (t->total.count[s] * v - 2 * t->total.sum[(size_t)s * t->dim + e]);
    }
  }
  return isnan(cost) ? INFINITY : cost;
}

/* Move fp16 bits one step of 'by' along the ordered numbers; false: that leads beyond the finite
   ones. */
static bool step_half(uint16_t *h, int by) {
  int order = *h & 0x8000 ? -(int)(*h & 0x7fff) : *h;
  order += by;
  if (order <= -QP_HALF_INF || order >= QP_HALF_INF) return false;
  *h = (uint16_t)(order < 0 ? 0x8000 | -order : order);
  return true;
}

/* Walk one value of an entry up and down while that helps. */
static bool walk_value(trainer *t, unsigned entry, uint16_t *value, int by, double *cost) {
  bool better = false;
  for (int sign = -1; sign <= 1; sign += 2) {
    for (;;) {
      const uint16_t before = *value;
      if (!step_half(value, sign * by)) break;
      const double now = cost_of(t, entry);
      if (now < *cost) {
        *cost = now;
        better = true;
        continue;
      }
      *value = before;
      break;
    }
  }
  return better;
}

static void improve_entry(trainer *t, unsigned entry) {
  uint16_t *value = t->codebook + (size_t)entry * t->entry_dim;
  double weight = 0;
  for (unsigned i = t->begin[entry]; i < t->begin[entry + 1]; i++)
    weight += t->total.count[t->order[i]];
  if (weight == 0) return; /* nothing chose it: it stays where it is */
  double cost = cost_of(t, entry);
  for (int by = 512; by; by /= 4) {
    bool better = true;
    while (better) {
      better = false;
      for (unsigned e = 0; e < t->entry_dim; e++)
        better |= walk_value(t, entry, &value[e], by, &cost);
    }
  }
}

static void tell(const trainer *t, unsigned round, unsigned rounds) {
  if (t->options->progress)
    t->options->progress(t->options->arg, round, rounds, t->total.lost / t->total.power);
}

qp_status qp_train_codebook(const qp_quantizer *q, const qp_train_options *options,
                            uint16_t *codebook, qp_error *err) {
  unsigned node = 0;
  qp_status status = find_lookup(q, &node, err);
  if (status) return status;
  if (q->kind != QP_TRELLIS && q->window > 20)
    return qp_fail(err, QP_E_LIMIT, "%s: codes of %u bits; those of up to 20 can be trained",
                   q->name, q->window);
  const unsigned states = 1u << (q->planes ? q->planes_read : q->window);
  const size_t values = (size_t)q->codebook[0].entries * q->codebook[0].dim;
  trainer t = {.quantizer = q,
               .options = options,
               .codebook = malloc(sizeof *t.codebook * values),
               .states = states,
               .entries = q->codebook[0].entries,
               .dim = q->dim,
               .entry_dim = q->codebook[0].dim,
               .entry_of = malloc(sizeof *t.entry_of * states),
               .order = malloc(sizeof *t.order * states),
               .begin = malloc(sizeof *t.begin * (q->codebook[0].entries + 1)),
               .lock = PTHREAD_MUTEX_INITIALIZER};
  const unsigned rounds = options->rounds ? options->rounds : DEFAULT_ROUNDS;
  if (!t.codebook || !t.entry_of || !t.order || !t.begin || !make_tally(&t.total, states, q->dim))
    status = qp_fail(err, QP_E_NOMEM, "out of memory");
  if (!status) memcpy(t.codebook, codebook, sizeof *codebook * values);
  if (!status) status = find_entries(&t, node, err);
  for (unsigned round = 0; !status && round < rounds; round++) {
    status = run_round(&t, round, rounds, err);
    if (status) break;
    for (unsigned e = 0; e < t.entries; e++) improve_entry(&t, e);
    tell(&t, round, rounds);
  }
  if (!status) memcpy(codebook, t.codebook, sizeof *codebook * values);
  free_tally(&t.total);
  free(t.codebook);
  free(t.entry_of);
  free(t.order);
  free(t.begin);
  return status;
}

/* ---- Several codebooks, group fields ---- */

enum { COLUMNS = 512 };

static qp_status fit_sample(const qp_quantizer *q, const qp_train_options *options,
                            uint16_t *const *codebook, qp_error *err) {
  const size_t wanted = options->weights ? options->weights : QP_BOOK_FIT_WEIGHTS;
  const unsigned rows = (unsigned)((wanted + QP_GROUP_ROWS * COLUMNS - 1) /
                                   (QP_GROUP_ROWS * COLUMNS) * QP_GROUP_ROWS);
  const qp_book_fit_options how = {.threads = qp_encode_threads(options->threads),
                                   .beam = options->beam,
                                   .least_codes = QP_BOOK_FIT_LEAST,
                                   .all = true,
                                   .rounds = options->rounds ? options->rounds : DEFAULT_ROUNDS,
                                   .progress = options->progress,
                                   .arg = options->arg};
  char left_out[QP_BOOK_FIT_TEXT] = "";
  qp_stream s;
  qp_status status = qp_layout_stream(q, rows, COLUMNS, &s, err);
  float *x = status ? NULL : malloc(sizeof *x * rows * COLUMNS);
  if (!status && !x)
    return qp_fail(err, QP_E_NOMEM, "no memory for %u x %d weights", rows, COLUMNS);
  if (!status) qp_sample_gaussian(options->seed + 1, (size_t)rows * COLUMNS, x);
  if (!status) status = qp_book_fit(q, &s, x, &how, codebook, left_out, err);
  free(x);
  return !status && *left_out ? qp_fail(err, QP_E_ARG, "%s; --weights", left_out) : status;
}

qp_status qp_train_codebooks(const qp_quantizer *q, const qp_train_options *options,
                             uint16_t *const *codebook, qp_error *err) {
  unsigned node;
  qp_error why;
  if (q->kind == QP_SPLIT || !q->codebooks)
    return qp_fail(err, QP_E_ARG, "%s has no codebook that could be trained", q->name);
  if (!find_lookup(q, &node, &why)) return qp_train_codebook(q, options, codebook[0], err);
  return fit_sample(q, options, codebook, err);
}
