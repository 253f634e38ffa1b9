/* SPDX-License-Identifier: MIT */
/* Trains factors, as refine.h describes. */
#include "tuner/refine/refine.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/random.h"
#include "gen/model/backward.h"
#include "gen/model/vector_math.h"
#include "tuner/base/output.h"
#include "tuner/evaluate/divergence.h"
#include "tuner/refine/training_file.h"

enum { HELD_OUT = 8, LOOKS = 4, LOGIT_ROWS = 256, LOGIT_FLOATS = 1 << 25 };

#define KEPT_BYTES ((size_t)2 << 30) /* of what blocks compute of a batch, for the way back */

static const double pi = 3.14159265358979323846;

/* Some whole sequences that are run together. */
typedef struct batch {
  uint32_t *id;
  size_t *end, sequences, tokens;
  size_t *from; /* [tokens]: number of each in the text */
} batch;

typedef struct trainer {
  qp_forward *model, *source;
  const qp_tokens *text;
  const qp_refine_options *o;
  qp_factors *x;
  size_t width, vocab, source_width, rows; /* rows: of logits at once */
  float *truth;                            /* [tokens][source_width]: last states of the source */
  float **into;                            /* [layers + 1][batch][width] */
  qp_backward_kept **kept;                 /* [layers]: of a step, NULL where there is no room */
  float *gradient;                         /* [batch][width] */
  float *logits, *target;                  /* [rows][vocab] */
  size_t room;                             /* tokens of the largest batch */
  unsigned steps;
  batch b;
  size_t *train, trains, *held, helds; /* sequences of the text */
  double *before, *now;                /* [held tokens]: divergences */
  double *mean, *square, *best;        /* [factors] of Adam; the best logarithms */
  uint64_t key;                        /* of the file of what is done so far */
  qp_error *err;
} trainer;

size_t qp_refine_work(const qp_tokens *tokens, const qp_refine_options *o) {
  const size_t all = tokens->end[tokens->sequences - 1];
  const size_t held = all / HELD_OUT < o->held ? all / HELD_OUT : o->held;
  const size_t steps = o->steps ? o->steps : (all - held) / o->batch;
  return all + (LOOKS + 1) * held + 3 * steps * o->batch;
}

static void count(const trainer *t, size_t tokens) {
  if (t->o->done) atomic_fetch_add(t->o->done, tokens);
}

/* ---- Batches ---- */

static size_t begin_of(const qp_tokens *t, size_t i) { return i ? t->end[i - 1] : 0; }

static void empty_batch(batch *b) { b->sequences = b->tokens = 0; }

static void add_sequence(trainer *t, size_t i) {
  batch *b = &t->b;
  for (size_t k = begin_of(t->text, i); k < t->text->end[i]; k++) {
    b->id[b->tokens] = t->text->id[k];
    b->from[b->tokens++] = k;
  }
  b->end[b->sequences++] = b->tokens;
}

static qp_sequences sequences_of(const batch *b) {
  return (qp_sequences){b->id, b->end, b->sequences};
}

/* Compute the states before each block of the batch, and behind the last.  Where a way back
   follows, what blocks compute is kept as far as 'room' bytes go. */
static qp_status run_forth(trainer *t, const qp_backward_hook *hook, size_t room) {
  const unsigned layers = qp_forward_model(t->model)->layers;
  const qp_sequences s = sequences_of(&t->b);
  qp_status status = qp_forward_embed(t->model, &s, t->into[0], t->err);
  for (unsigned b = 0; b < layers && !status; b++)
    status = qp_backward_forth(t->model, b, &s, hook, t->into[b], t->into[b + 1], &room,
                               &t->kept[b], t->err);
  return status;
}

static void forget(trainer *t) {
  for (unsigned b = 0; b < qp_forward_model(t->model)->layers; b++) {
    qp_backward_kept_free(t->kept[b]);
    t->kept[b] = NULL;
  }
}

/* Compute the source's logits of some of the batch's tokens. */
static qp_status aim(trainer *t, size_t first, size_t rows) {
  float *state = malloc(rows * t->source_width * sizeof *state);
  if (!state) return qp_fail(t->err, QP_E_NOMEM, "no memory for %zu hidden states", rows);
  for (size_t r = 0; r < rows; r++)
    memcpy(state + r * t->source_width, t->truth + t->b.from[first + r] * t->source_width,
           t->source_width * sizeof *state);
  const qp_status status = qp_forward_head(t->source, state, rows, NULL, t->target, t->err);
  free(state);
  return status;
}

/* ---- The loss:  KL(p | q), p = softmax(target), q = softmax(logits) ---- */

/* Compute dKL/dlogits = q - p, over the tokens of the batch. */
static void lose(void *arg, size_t row, float *logits, size_t vocab) {
  const trainer *t = arg;
  float *target = t->target + row * vocab;
  const double p = (double)qp_vector_exp_sum(target, vocab, qp_vector_max(target, vocab));
  const double q = (double)qp_vector_exp_sum(logits, vocab, qp_vector_max(logits, vocab));
  const float a = (float)(1 / (q * (double)t->b.tokens));
  const float b = (float)(1 / (p * (double)t->b.tokens));
  for (size_t i = 0; i < vocab; i++) logits[i] = a * logits[i] - b * target[i];
}

/* ---- Held-out divergence ---- */

typedef struct comparison {
  const trainer *t;
  double *to;
} comparison;

static void compare_row(void *argument, size_t i, unsigned thread) {
  const comparison *c = argument;
  const trainer *t = c->t;
  qp_divergence d = {0};
  (void)thread;
  qp_divergence_row(t->logits + i * t->vocab, t->target + i * t->vocab, t->vocab, 0, &d);
  c->to[i] = d.kl;
}

/* Compute the divergences of the batch's tokens: out [tokens]. */
static qp_status compare(trainer *t, double *out) {
  const float *last = t->into[qp_forward_model(t->model)->layers];
  qp_status status = run_forth(t, NULL, 0);
  for (size_t at = 0; at < t->b.tokens && !status; at += t->rows) {
    const size_t rows = t->b.tokens - at < t->rows ? t->b.tokens - at : t->rows;
    const comparison c = {t, out + at};
    status = aim(t, at, rows);
    if (!status)
      status = qp_forward_head(t->model, last + at * t->width, rows, NULL, t->logits, t->err);
    if (!status)
      qp_parallel_for(qp_forward_parallel(t->model), rows, compare_row, (void *)(uintptr_t)&c);
  }
  return status;
}

/* Computes the divergence of all held-out tokens into out [held], and '*mean' over them. */
static qp_status look(trainer *t, double *out, double *mean) {
  qp_status status = QP_OK;
  size_t done = 0;
  double sum = 0;
  for (size_t i = 0; i < t->helds && !status; i++) {
    empty_batch(&t->b);
    add_sequence(t, t->held[i]);
    status = compare(t, out + done);
    done += t->b.tokens;
    count(t, t->b.tokens);
  }
  for (size_t i = 0; i < done && !status; i++) sum += out[i];
  *mean = sum / (double)done;
  if (!status && !isfinite(sum))
    return qp_fail(t->err, QP_E_ARG, "%s: its divergence from %s is not finite",
                   qp_forward_path(t->model), qp_forward_path(t->source));
  return status;
}

/* ---- Steps ---- */

static qp_status go_back(trainer *t, const qp_backward_hook *hook) {
  const unsigned layers = qp_forward_model(t->model)->layers;
  const qp_loss loss = {lose, t};
  const qp_sequences s = sequences_of(&t->b);
  qp_status status = QP_OK;
  memset(t->x->gradient, 0, t->x->count * sizeof *t->x->gradient);
  for (size_t at = 0; at < t->b.tokens && !status; at += t->rows) {
    const size_t rows = t->b.tokens - at < t->rows ? t->b.tokens - at : t->rows;
    status = aim(t, at, rows);
    if (!status)
      status = qp_backward_head(t->model, t->into[layers] + at * t->width, rows, &loss, hook,
                                t->gradient + at * t->width, t->err);
  }
  for (unsigned b = layers; b-- > 0 && !status;)
    status = t->kept[b] ? qp_backward_block_kept(t->kept[b], t->gradient, t->err)
                        : qp_backward_block(t->model, b, &s, hook, t->into[b], t->gradient, t->err);
  return status;
}

/* Compute the gradients of all factors. */
static qp_status forth_and_back(trainer *t) {
  const qp_backward_hook hook = qp_factors_hook(t->x);
  qp_status status = run_forth(t, &hook, KEPT_BYTES);
  if (!status) status = go_back(t, &hook);
  forget(t);
  return status;
}

/* Adam; the rate rises over the first twentieth of the steps and falls as a cosine. */
static void move(trainer *t, unsigned step) {
  const double beta1 = 0.9, beta2 = 0.95, tiny = 1e-12;
  const double steps = t->steps, n = step + 1, rise = n / (1 + steps / 20);
  const double rate = t->o->rate * (rise < 1 ? rise : 1) * (1 + cos(pi * step / steps)) / 2;
  for (size_t i = 0; i < t->x->count; i++) {
    const double g = t->x->gradient[i];
    t->mean[i] = beta1 * t->mean[i] + (1 - beta1) * g;
    t->square[i] = beta2 * t->square[i] + (1 - beta2) * g * g;
    const double m = t->mean[i] / (1 - pow(beta1, n)), v = t->square[i] / (1 - pow(beta2, n));
    t->x->log[i] -= rate * m / (sqrt(v) + tiny);
  }
  qp_factors_apply(t->x);
}

/* Sequences in an order that is drawn anew whenever all were used. */
static void choose(trainer *t, qp_random *r, size_t *next) {
  empty_batch(&t->b);
  while (t->b.tokens < t->o->batch) {
    for (size_t i = t->trains; *next == 0 && i > 1; i--) {
      const size_t k = (size_t)(qp_random_unit(qp_random_next(r)) * (double)i);
      const size_t swap = t->train[i - 1];
      t->train[i - 1] = t->train[k];
      t->train[k] = swap;
    }
    add_sequence(t, t->train[*next]);
    *next = (*next + 1) % t->trains;
  }
}

static qp_status check_stop(const trainer *t) {
  if (!t->o->stopped || !atomic_load(t->o->stopped)) return QP_OK;
  return qp_fail(t->err, QP_E_LIMIT, "stopped; the same command goes on where it was");
}

/* Where a training is; kept with the arrays that go with it. */
typedef struct place {
  qp_random random;
  size_t next;
  unsigned step;
  bool begun; /* what is held out was looked at */
  qp_refine_result result;
} place;

enum { PIECES = 7 };

static void pieces_of(trainer *t, place *p, qp_training_piece out[PIECES]) {
  const size_t bytes = t->x->count * sizeof(double);
  const qp_training_piece all[PIECES] = {{p, sizeof *p},
                                         {t->train, t->trains * sizeof *t->train},
                                         {t->before, p->result.held * sizeof *t->before},
                                         {t->x->log, bytes},
                                         {t->mean, bytes},
                                         {t->square, bytes},
                                         {t->best, bytes}};
  memcpy(out, all, sizeof all);
}

/* All that decides about the factors, the models by what their files hold. */
static uint64_t key_of(const trainer *t) {
  const qp_refine_options *o = t->o;
  uint64_t key = qp_forward_digest(t->model), rate;
  memcpy(&rate, &o->rate, sizeof rate);
  const uint64_t all[] = {
      qp_forward_digest(t->source), t->steps, o->seed, o->batch, o->held, rate, t->text->sequences};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) key = qp_random_mix(key ^ all[i]);
  for (size_t i = 0; i < t->text->sequences; i++) key = qp_random_mix(key ^ t->text->end[i]);
  for (size_t i = 0; i < t->text->end[t->text->sequences - 1]; i++)
    key = qp_random_mix(key ^ t->text->id[i]);
  return key;
}

/* After some steps: is it the best so far? */
static qp_status judge(trainer *t, place *p, double started) {
  qp_refine_result *out = &p->result;
  double kl = 0, squares = 0;
  qp_status status = look(t, p->begun ? t->now : t->before, &kl);
  if (status) return status;
  if (t->o->tell) t->o->tell(t->o->arg, p->step, kl, qp_seconds() - started);
  for (size_t i = 0; i < out->held && p->begun; i++) {
    const double d = t->now[i] - t->before[i] - (kl - out->before);
    squares += d * d;
  }
  if (!p->begun) out->before = kl;
  if (!p->begun || kl < out->after) {
    out->step = p->step;
    out->after = kl;
    out->error = sqrt(squares) / (double)out->held;
    memcpy(t->best, t->x->log, t->x->count * sizeof *t->best);
  }
  p->begun = true;
  return QP_OK;
}

/* The same, and all of it is kept. */
static qp_status judge_and_keep(trainer *t, place *p, double started) {
  qp_training_piece piece[PIECES];
  qp_status status = judge(t, p, started);
  pieces_of(t, p, piece);
  if (!status && t->o->file)
    status = qp_training_file_write(t->o->file, t->key, piece, PIECES, t->err);
  return status;
}

static void go_on(trainer *t, place *p) {
  qp_training_piece piece[PIECES];
  pieces_of(t, p, piece);
  if (!t->o->file || !qp_training_file_read(t->o->file, t->key, piece, PIECES)) return;
  qp_factors_apply(t->x);
  count(t, 3 * p->step * t->o->batch);
}

static qp_status train(trainer *t, qp_refine_result *out) {
  const unsigned pause = (t->steps + LOOKS - 1) / LOOKS;
  const double started = qp_seconds();
  place p;
  memset(&p, 0, sizeof p); /* its gaps, too, are kept */
  p.random.state = t->o->seed;
  p.result = *out;
  if (t->o->file) t->key = key_of(t);
  go_on(t, &p);
  qp_status status = p.begun ? QP_OK : judge_and_keep(t, &p, started);
  while (p.step < t->steps && !status) {
    status = check_stop(t);
    choose(t, &p.random, &p.next);
    if (!status) status = forth_and_back(t);
    if (status) break;
    move(t, p.step++);
    count(t, 3 * t->b.tokens);
    if (p.step % pause == 0 || p.step == t->steps) status = judge_and_keep(t, &p, started);
  }
  if (!status) memcpy(t->x->log, t->best, t->x->count * sizeof *t->best);
  qp_factors_apply(t->x);
  *out = p.result;
  return status;
}

/* ---- The source ---- */

/* Compute the source's last hidden states, some sequences at a time. */
static qp_status run_source(trainer *t) {
  const qp_tokens *x = t->text;
  const unsigned layers = qp_forward_model(t->source)->layers;
  qp_status status = QP_OK;
  for (size_t i = 0; i < x->sequences && !status; i++) {
    const size_t begin = begin_of(x, i), end = x->end[i] - begin;
    const qp_sequences s = {x->id + begin, &end, 1};
    float *state = t->truth + begin * t->source_width;
    status = check_stop(t);
    if (!status) status = qp_forward_embed(t->source, &s, state, t->err);
    for (unsigned b = 0; b < layers && !status; b++)
      status = qp_forward_block(t->source, b, &s, NULL, state, t->err);
    count(t, end);
  }
  return status;
}

/* ---- All ---- */

static qp_status check(const trainer *t) {
  const unsigned a = qp_forward_model(t->model)->vocab, b = qp_forward_model(t->source)->vocab;
  if (a != b)
    return qp_fail(t->err, QP_E_ARG, "%s has %u tokens, %s has %u: it was not made from that model",
                   qp_forward_path(t->model), a, qp_forward_path(t->source), b);
  if (t->text->sequences < 2)
    return qp_fail(t->err, QP_E_ARG,
                   "the text is one piece: two are needed, one is held out; a smaller --context "
                   "cuts it");
  return QP_OK;
}

/* Hold out every HELD_OUT-th sequence, or the last; the longest of all gives the room of a
   batch. */
static qp_status split(trainer *t, qp_refine_result *out) {
  const qp_tokens *x = t->text;
  size_t longest = 0;
  t->train = malloc(x->sequences * sizeof *t->train);
  t->held = malloc(x->sequences * sizeof *t->held);
  if (!t->train || !t->held) return qp_fail(t->err, QP_E_NOMEM, "no memory for the text");
  for (size_t i = 0; i < x->sequences; i++) {
    const size_t n = x->end[i] - begin_of(x, i);
    const bool wanted = i % HELD_OUT == HELD_OUT - 1 || (i + 1 == x->sequences && !t->helds);
    const bool hold = wanted && (!t->helds || out->held + n <= t->o->held);
    if (n > longest) longest = n;
    *(hold ? &out->held : &out->trained) += n;
    if (hold)
      t->held[t->helds++] = i;
    else
      t->train[t->trains++] = i;
  }
  const size_t once = (out->trained + t->o->batch - 1) / t->o->batch;
  t->steps = out->steps = t->o->steps ? t->o->steps : once < UINT_MAX ? (unsigned)once : UINT_MAX;
  t->room = t->o->batch + longest;
  return QP_OK;
}

static bool reserve(trainer *t, size_t held) {
  const unsigned layers = qp_forward_model(t->model)->layers;
  const size_t n = t->x->count, tokens = t->text->end[t->text->sequences - 1];
  t->rows = LOGIT_FLOATS / t->vocab;
  t->rows = t->rows < 1 ? 1 : t->rows > LOGIT_ROWS ? LOGIT_ROWS : t->rows;
  t->truth = malloc(tokens * t->source_width * sizeof *t->truth);
  t->gradient = malloc(t->room * t->width * sizeof *t->gradient);
  t->logits = malloc(t->rows * t->vocab * sizeof *t->logits);
  t->target = malloc(t->rows * t->vocab * sizeof *t->target);
  t->b.id = malloc(t->room * sizeof *t->b.id);
  t->b.end = malloc(t->room * sizeof *t->b.end);
  t->b.from = malloc(t->room * sizeof *t->b.from);
  t->before = malloc(held * sizeof *t->before);
  t->now = malloc(held * sizeof *t->now);
  t->mean = calloc(n + 1, sizeof *t->mean);
  t->square = calloc(n + 1, sizeof *t->square);
  t->best = calloc(n + 1, sizeof *t->best);
  t->into = calloc(layers + 1, sizeof *t->into);
  t->kept = calloc(layers + 1, sizeof(qp_backward_kept *));
  for (unsigned b = 0; t->into && b <= layers; b++)
    if (!(t->into[b] = malloc(t->room * t->width * sizeof(float)))) return false;
  return t->truth && t->gradient && t->logits && t->target && t->b.id && t->b.end && t->b.from &&
         t->before && t->now && t->mean && t->square && t->best && t->into && t->kept;
}

static void release(trainer *t) {
  for (unsigned b = 0; t->into && b <= qp_forward_model(t->model)->layers; b++) free(t->into[b]);
  void *const all[] = {t->truth, t->into,   t->gradient, t->logits, t->target, t->b.id,
                       t->b.end, t->b.from, t->before,   t->now,    t->mean,   t->square,
                       t->best,  t->train,  t->held,     t->kept};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

qp_status qp_refine(qp_forward *model, qp_forward *source, const qp_tokens *tokens,
                    const qp_refine_options *o, qp_factors *x, qp_refine_result *out,
                    qp_error *err) {
  qp_refine_result result = {0};
  trainer t = {.model = model,
               .source = source,
               .text = tokens,
               .o = o,
               .x = x,
               .width = qp_forward_model(model)->hidden,
               .vocab = qp_forward_model(model)->vocab,
               .source_width = qp_forward_model(source)->hidden,
               .err = err};
  qp_status status = check(&t);
  if (!status) status = split(&t, &result);
  if (!status && !reserve(&t, result.held))
    status = qp_fail(err, QP_E_NOMEM, "no memory for the states of %zu tokens",
                     tokens->end[tokens->sequences - 1]);
  if (!status) status = run_source(&t);
  if (!status) status = train(&t, &result);
  release(&t);
  if (!status) *out = result;
  return status;
}
