/* SPDX-License-Identifier: MIT */
/* Judges a model on a text. */
#include "tuner/evaluate/evaluate.h"

#include <stdlib.h>
#include <string.h>

enum { SPAN_TOKENS = 16384, LOGIT_ROWS = 256, LOGIT_FLOATS = 1 << 25, MAX_THREADS = 256 };

/* Whole sequences whose hidden states are in memory together. */
typedef struct span {
  qp_forward *forward[2]; /* the model, the source */
  float *hidden[2];       /* [tokens][hidden of it] */
  float *logits[2];       /* [rows][vocab] */
  unsigned models;
  qp_sequences sequences;
  size_t tokens;
  size_t *row; /* [predictions]: hidden states that predict, in order */
  _Atomic size_t *done;
  qp_error *err;
} span;

/* ---- Hidden states ---- */

static qp_status run_blocks(const span *s, unsigned model) {
  qp_forward *f = s->forward[model];
  const unsigned layers = qp_forward_model(f)->layers;
  qp_status status = qp_forward_embed(f, &s->sequences, s->hidden[model], s->err);
  for (unsigned b = 0; b < layers && !status; b++) {
    status = qp_forward_block(f, b, &s->sequences, NULL, s->hidden[model], s->err);
    if (s->done) atomic_fetch_add(s->done, s->tokens * (b + 1) / layers - s->tokens * b / layers);
  }
  return status;
}

/* Move the states that predict a token of the text to the front: all but each sequence's last.
   Gives their number. */
static size_t keep_predicting(const span *s) {
  size_t kept = 0;
  for (size_t i = 0, begin = 0; i < s->sequences.count; begin = s->sequences.end[i++])
    for (size_t t = begin; t + 1 < s->sequences.end[i]; t++) s->row[kept++] = t;
  for (unsigned m = 0; m < s->models; m++) {
    const size_t n = qp_forward_model(s->forward[m])->hidden;
    for (size_t i = 0; i < kept; i++)
      memmove(s->hidden[m] + i * n, s->hidden[m] + s->row[i] * n, n * sizeof(float));
  }
  return kept;
}

/* ---- Logits ---- */

typedef struct comparison {
  const span *s;
  size_t first, vocab;
  qp_divergence sums[MAX_THREADS];
} comparison;

static void compare_row(void *argument, size_t i, unsigned thread) {
  comparison *c = argument;
  const span *s = c->s;
  const uint32_t next = s->sequences.token[s->row[c->first + i] + 1];
  qp_divergence_row(s->logits[0] + i * c->vocab, s->models > 1 ? s->logits[1] + i * c->vocab : NULL,
                    c->vocab, next, &c->sums[thread]);
}

static qp_status compare_all(const span *s, size_t predictions, size_t rows, qp_divergence *out) {
  comparison c = {.s = s, .vocab = qp_forward_model(s->forward[0])->vocab};
  qp_parallel *p = qp_forward_parallel(s->forward[0]);
  qp_status status = QP_OK;
  for (; c.first < predictions && !status; c.first += rows) {
    const size_t n = predictions - c.first < rows ? predictions - c.first : rows;
    for (unsigned m = 0; m < s->models && !status; m++) {
      const size_t hidden = qp_forward_model(s->forward[m])->hidden;
      status = qp_forward_head(s->forward[m], s->hidden[m] + c.first * hidden, n, NULL,
                               s->logits[m], s->err);
    }
    if (!status) qp_parallel_for(p, n, compare_row, &c);
  }
  for (unsigned i = 0; i < MAX_THREADS; i++) qp_divergence_add(out, &c.sums[i]);
  return status;
}

/* ---- Spans ---- */

static size_t logit_rows(size_t vocab) {
  const size_t rows = LOGIT_FLOATS / vocab;
  return rows < 1 ? 1 : rows > LOGIT_ROWS ? LOGIT_ROWS : rows;
}

static qp_status reserve(span *s, size_t tokens) {
  const size_t vocab = qp_forward_model(s->forward[0])->vocab;
  bool there = (s->row = malloc(tokens * sizeof *s->row)) != NULL;
  for (unsigned m = 0; m < s->models; m++) {
    const size_t hidden = qp_forward_model(s->forward[m])->hidden;
    s->hidden[m] = malloc(tokens * hidden * sizeof(float));
    s->logits[m] = malloc(logit_rows(vocab) * vocab * sizeof(float));
    there = there && s->hidden[m] && s->logits[m];
  }
  return there ? QP_OK : qp_fail(s->err, QP_E_NOMEM, "no memory for %zu hidden states", tokens);
}

static void release(span *s) {
  free(s->row);
  for (unsigned m = 0; m < s->models; m++) {
    free(s->hidden[m]);
    free(s->logits[m]);
  }
}

/* Choose the sequences from 'first' on that fit into a span, at least one.  Gives the number of the
   next. */
static size_t choose_span(const qp_tokens *t, size_t first, size_t *end, span *s) {
  const size_t begin = first ? t->end[first - 1] : 0;
  size_t i = first;
  do {
    end[i - first] = t->end[i] - begin;
    i++;
  } while (i < t->sequences && t->end[i] - begin <= SPAN_TOKENS);
  s->sequences = (qp_sequences){t->id + begin, end, i - first};
  s->tokens = end[i - first - 1];
  return i;
}

static size_t longest_span(const qp_tokens *t) {
  size_t longest = SPAN_TOKENS;
  for (size_t i = 0, begin = 0; i < t->sequences; begin = t->end[i++])
    if (t->end[i] - begin > longest) longest = t->end[i] - begin;
  const size_t all = t->end[t->sequences - 1];
  return all < longest ? all : longest;
}

static qp_status check(qp_forward *model, qp_forward *source, const qp_tokens *t, qp_error *err) {
  const unsigned vocab = qp_forward_model(model)->vocab;
  if (source && qp_forward_model(source)->vocab != vocab)
    return qp_fail(
        err, QP_E_ARG, "%s has %u tokens, %s has %u: their predictions cannot be compared",
        qp_forward_path(model), vocab, qp_forward_path(source), qp_forward_model(source)->vocab);
  if (!t->sequences || t->end[t->sequences - 1] == t->sequences)
    return qp_fail(err, QP_E_ARG, "every sequence is one token long: there is nothing to predict");
  return QP_OK;
}

qp_status qp_evaluate(qp_forward *model, qp_forward *source, const qp_tokens *tokens,
                      _Atomic size_t *done, qp_divergence *out, qp_error *err) {
  qp_divergence sums = {0};
  span s = {.forward = {model, source}, .models = source ? 2 : 1, .done = done, .err = err};
  qp_status status = check(model, source, tokens, err);
  if (status) return status;
  size_t *end = malloc(tokens->sequences * sizeof *end);
  status = end ? reserve(&s, longest_span(tokens)) : qp_fail(err, QP_E_NOMEM, "no memory");
  const size_t rows = logit_rows(qp_forward_model(model)->vocab);
  for (size_t i = 0; i < tokens->sequences && !status;) {
    i = choose_span(tokens, i, end, &s);
    for (unsigned m = 0; m < s.models && !status; m++) status = run_blocks(&s, m);
    if (!status) status = compare_all(&s, keep_predicting(&s), rows, &sums);
  }
  release(&s);
  free(end);
  if (!status) *out = sums;
  return status;
}
