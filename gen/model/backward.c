/* SPDX-License-Identifier: MIT */
/* Back through the head, and through a block's sequences, some at a time. */
#include "gen/model/backward.h"

#include <stdlib.h>
#include <string.h>

#include "gen/model/backward_block.h"
#include "gen/model/backward_parts.h"
#include "gen/model/vector_math.h"

enum { RUN_ROWS = 2048, LOGIT_ROWS = 1024, LOGIT_FLOATS = 1 << 25 };

/* A pass that an engine computes may be without it. */
static qp_status check_blas(const qp_forward *f, qp_error *err) {
  if (f->blas) return QP_OK;
  return qp_fail(err, QP_E_MISSING, "gradients are computed on the CPU, and no BLAS was opened");
}

/* ---- Head ---- */

typedef struct loss_job {
  const qp_forward *f;
  const qp_loss *loss;
  size_t first;
  float *logits;
} loss_job;

/* From logits = cap tanh(z / cap) follows dL/dz = dL/dlogits (1 - (logits / cap)^2). */
static void lose_row(void *argument, size_t i, unsigned thread) {
  const loss_job *j = argument;
  const size_t vocab = j->f->model->vocab;
  const float cap = j->f->computation.softcap;
  float *row = j->logits + 2 * i * vocab, *before = row + vocab;
  (void)thread;
  if (cap > 0) memcpy(before, row, vocab * sizeof *row);
  j->loss->row(j->loss->arg, j->first + i, row, vocab);
  for (size_t k = 0; k < vocab && cap > 0; k++) row[k] *= 1 - before[k] / cap * (before[k] / cap);
}

/* Some rows: logits [rows][2][vocab], the second half is room for a cap's slope. */
static qp_status head_rows(qp_forward *f, const float *hidden, size_t first, size_t rows,
                           const qp_loss *loss, const qp_backward_hook *hook, float *logits,
                           float *gradient, qp_error *err) {
  const qp_model *m = f->model;
  const size_t vocab = m->vocab, width = m->hidden;
  const float *x = hidden + first * width;
  qp_status status = qp_forward_head(f, x, rows, NULL, logits, err);
  if (!status) status = qp_forward_need_head(f, err);
  if (status) return status;
  for (size_t r = rows; r-- > 1;) /* apart, to make room */
    memcpy(logits + 2 * r * vocab, logits + r * vocab, vocab * sizeof *logits);
  loss_job j = {f, loss, first, logits};
  qp_parallel_for(f->parallel, rows, lose_row, &j);
  const qp_product_back p = {.dy = logits,
                             .w = f->head.override ? f->head.override : f->head.own,
                             .dx = gradient + first * width,
                             .rows = rows,
                             .dy_stride = 2 * vocab,
                             .dx_stride = width,
                             .features = (unsigned)vocab,
                             .columns = (unsigned)width};
  qp_product_back_run(f, &p);
  const qp_norm_rows n = {
      .norm = &f->final, .x = x, .rows = rows, .x_stride = width, .y_stride = width, .count = 1};
  const qp_norm_back b = {.n = n, .dy = p.dx, .dx = p.dx};
  status = qp_norm_tell(f, hook, m->layers, 0, &n, p.dx, err);
  qp_norm_back_run(f, &b);
  return status;
}

qp_status qp_backward_head(qp_forward *f, const float *hidden, size_t rows, const qp_loss *loss,
                           const qp_backward_hook *hook, float *gradient, qp_error *err) {
  const size_t vocab = f->model->vocab, fits = LOGIT_FLOATS / vocab;
  const size_t some = fits < 1 ? 1 : fits > LOGIT_ROWS ? LOGIT_ROWS : fits;
  float *logits = malloc(some * 2 * vocab * sizeof *logits);
  if (!logits) return qp_fail(err, QP_E_NOMEM, "no memory for the logits of %zu tokens", some);
  qp_status status = check_blas(f, err);
  for (size_t at = 0; at < rows && !status; at += some)
    status = head_rows(f, hidden, at, rows - at < some ? rows - at : some, loss, hook, logits,
                       gradient, err);
  free(logits);
  return status;
}

/* ---- Blocks ---- */

/* Take the next whole sequences of 's' from number *i on, about RUN_ROWS tokens of them; end
   [RUN_ROWS], as a sequence has a token at least. */
static qp_backward_run next_run(const qp_sequences *s, size_t *i, size_t *end) {
  const size_t begin = *i ? s->end[*i - 1] : 0;
  qp_backward_run run = {.first = begin, .end = end};
  do {
    run.rows = s->end[(*i)++] - begin;
    end[run.sequences++] = run.rows;
  } while (*i < s->count && s->end[*i] - begin <= RUN_ROWS);
  return run;
}

qp_status qp_backward_block(qp_forward *f, unsigned block, const qp_sequences *s,
                            const qp_backward_hook *hook, const float *hidden, float *gradient,
                            qp_error *err) {
  const size_t width = f->model->hidden;
  size_t end[RUN_ROWS];
  qp_status status = check_blas(f, err);
  if (!status) status = qp_forward_need(f, block, err);
  for (size_t i = 0; i < s->count && !status;) {
    qp_backward_run run = next_run(s, &i, end);
    qp_backward_desk *desk = NULL;
    run.f = f;
    run.block = block;
    run.hook = hook;
    run.hidden = hidden + run.first * width;
    run.err = err;
    status = qp_backward_run_forth(&run, NULL, &desk);
    if (!status) status = qp_backward_run_back(desk, gradient + run.first * width, err);
    qp_backward_desk_free(desk);
  }
  qp_forward_drop(f, block);
  return status;
}

/* ---- Blocks that were kept ---- */

struct qp_backward_kept {
  qp_forward *f;
  unsigned block;
  size_t runs, *first; /* [runs]: token of each run's first row */
  size_t *end;         /* of all runs, one behind another */
  qp_backward_desk **desk;
};

void qp_backward_kept_free(qp_backward_kept *kept) {
  if (!kept) return;
  for (size_t i = 0; kept->desk && i < kept->runs; i++) qp_backward_desk_free(kept->desk[i]);
  free(kept->first);
  free(kept->end);
  free(kept->desk);
  free(kept);
}

/* Room for as many runs as there are sequences. */
static qp_backward_kept *new_kept(qp_forward *f, unsigned block, size_t sequences) {
  qp_backward_kept *k = calloc(1, sizeof *k);
  if (!k) return NULL;
  k->f = f;
  k->block = block;
  k->first = malloc(sequences * sizeof *k->first);
  k->end = malloc(sequences * sizeof *k->end);
  k->desk = calloc(sequences, sizeof(qp_backward_desk *));
  if (k->first && k->end && k->desk) return k;
  return qp_backward_kept_free(k), NULL;
}

/* Bytes that all runs of the block take. */
static size_t bytes_of(qp_forward *f, unsigned block, const qp_sequences *s,
                       const qp_backward_hook *hook) {
  size_t end[RUN_ROWS], bytes = 0;
  for (size_t i = 0; i < s->count;) {
    qp_backward_run run = next_run(s, &i, end);
    run.f = f;
    run.block = block;
    run.hook = hook;
    bytes += qp_backward_desk_bytes(&run);
  }
  return bytes;
}

qp_status qp_backward_forth(qp_forward *f, unsigned block, const qp_sequences *s,
                            const qp_backward_hook *hook, const float *hidden, float *out,
                            size_t *room, qp_backward_kept **kept, qp_error *err) {
  const size_t width = f->model->hidden, bytes = bytes_of(f, block, s, hook);
  *kept = NULL;
  if (!s->count || bytes > *room) {
    if (s->count) memcpy(out, hidden, s->end[s->count - 1] * width * sizeof *out);
    return qp_forward_block(f, block, s, NULL, out, err);
  }
  qp_backward_kept *k = new_kept(f, block, s->count);
  qp_status status = k ? check_blas(f, err) : qp_fail(err, QP_E_NOMEM, "no memory for a block");
  if (!status) status = qp_forward_need(f, block, err);
  for (size_t i = 0; i < s->count && !status; k->runs++) {
    qp_backward_run run = next_run(s, &i, k->end + i);
    run.f = f;
    run.block = block;
    run.hook = hook;
    run.hidden = hidden + run.first * width;
    run.err = err;
    k->first[k->runs] = run.first;
    status = qp_backward_run_forth(&run, out + run.first * width, &k->desk[k->runs]);
  }
  qp_forward_drop(f, block);
  if (status) return qp_backward_kept_free(k), status;
  *room -= bytes;
  *kept = k;
  return QP_OK;
}

qp_status qp_backward_block_kept(qp_backward_kept *kept, float *gradient, qp_error *err) {
  qp_status status = qp_forward_need(kept->f, kept->block, err);
  for (size_t i = 0; i < kept->runs && !status; i++)
    status = qp_backward_run_back(kept->desk[i], gradient + kept->first[i] * kept->f->model->hidden,
                                  err);
  qp_forward_drop(kept->f, kept->block);
  return status;
}
