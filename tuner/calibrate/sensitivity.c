/* SPDX-License-Identifier: MIT */
/*
** Measures sensitivities of linears.  The states that go into the linear's block are given; so only
** that block, the later ones and the head are run again, twice for each probe.
*/
#include "tuner/calibrate/sensitivity.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/blas.h"
#include "gen/base/gaussian.h"
#include "gen/base/random.h"
#include "tuner/evaluate/divergence.h"

enum { LOGIT_ROWS = 256, LOGIT_FLOATS = 1 << 25, SHAPED_ROWS = 64 };
#define DAMPING 0.01 /* of a Hessian's mean diagonal, as the encoder adds it */

struct qp_probe {
  qp_forward *f;
  const qp_model *model;
  qp_sequences sequences;
  size_t tokens, rows; /* rows: logits computed at a time */
  float *state;        /* [tokens][hidden] of the noisy model */
  float *last;         /* [tokens][hidden] after the last block of the model itself. */
  float *kept;         /* [tokens][vocab]: the logits of the model itself, or NULL. */
  float *logits[2];    /* [rows][vocab] noisy, and its own where they are not kept */
  double *sum;         /* [tokens]: the divergences of one linear, summed over signs and probes. */
  double *now;         /* [tokens] of one run */
};

/* ---- Noise ---- */

typedef struct noise_job {
  uint64_t seed;
  double noise;
  const float *w;
  unsigned columns;
  float *out;
} noise_job;

/* A row of its own seed, scaled so that its square is exactly 'noise' times that of the weights. */
static void fill_row(void *argument, size_t i, unsigned thread) {
  const noise_job *j = argument;
  const float *w = j->w + i * j->columns;
  float *out = j->out + i * j->columns;
  qp_random random = {.state = j->seed ^ (i + 1) * 0xd1342543de82ef95u};
  double weight = 0, square = 0;
  (void)thread;
  for (unsigned c = 0; c < j->columns; c++) {
    const double z = qp_gaussian_quantile(qp_random_uniform(&random, 0x1p-54, 1));
    weight += (double)w[c] * (double)w[c];
    square += z * z;
    out[c] = (float)z;
  }
  const float scale = square > 0 ? (float)sqrt(j->noise * weight / square) : 0;
  for (unsigned c = 0; c < j->columns; c++) out[c] *= scale;
}

void qp_noise_fill(qp_parallel *p, uint64_t seed, double noise, const float *w, unsigned rows,
                   unsigned columns, float *out) {
  noise_job j = {.seed = seed, .noise = noise, .w = w, .columns = columns, .out = out};
  qp_parallel_for(p, rows, fill_row, &j);
}

/* ---- Noise as error feedback shapes it ---- */

typedef struct shaping {
  const qp_blas *blas;
  const double *factor; /* The L of H + damping = L L^T, [columns][columns] column by column. */
  double scale;
  unsigned rows, columns;
  float *noise;
  _Atomic bool failed;
} shaping;

/* Some rows N become  scale N L^-1. */
static void shape_rows(void *argument, size_t i, unsigned thread) {
  shaping *s = argument;
  const size_t first = i * SHAPED_ROWS, k = s->columns;
  const size_t rows = s->rows - first < SHAPED_ROWS ? s->rows - first : SHAPED_ROWS;
  const int n = (int)k, m = (int)rows;
  float *noise = s->noise + first * k;
  double *x = malloc(rows * k * sizeof *x);
  (void)thread;
  if (!x) {
    atomic_store(&s->failed, true);
    return;
  }
  for (size_t e = 0; e < rows * k; e++) x[e] = (double)noise[e];
  s->blas->dtrsm("L", "L", "T", "N", &n, &m, &s->scale, s->factor, &n, x, &n);
  for (size_t e = 0; e < rows * k; e++) noise[e] = (float)x[e];
  free(x);
}

bool qp_noise_factor(const qp_blas *blas, const float *h, unsigned columns, double *a,
                     double *mean) {
  const size_t k = columns;
  const int n = (int)columns;
  double diagonal = 0, logs = 0;
  int info = 0;
  for (size_t i = 0; i < k; i++) diagonal += (double)h[i * k + i] / (double)k;
  for (size_t i = 0; i < k * k; i++) a[i] = (double)h[i];
  for (size_t i = 0; i < k; i++) a[i * k + i] += DAMPING * diagonal;
  if (diagonal > 0) blas->dpotrf("L", &n, a, &n, &info);
  if (info || !(diagonal > 0)) return false;
  for (size_t i = 0; i < k; i++) logs += 2 * log(a[i * k + i]);
  *mean = exp(logs / (double)k);
  return true;
}

qp_status qp_noise_shape(qp_parallel *p, const float *hessian, unsigned rows, unsigned columns,
                         float *noise, qp_error *err) {
  shaping s = {.rows = rows, .columns = columns, .noise = noise};
  double mean = 0;
  qp_status status = qp_blas_open(&s.blas, err);
  if (status) return status;
  double *a = malloc((size_t)columns * columns * sizeof *a);
  if (!a) return qp_fail(err, QP_E_NOMEM, "no memory to factor a Hessian");
  if (qp_noise_factor(s.blas, hessian, columns, a, &mean)) {
    s.factor = a;
    s.scale = sqrt(mean);
    qp_parallel_for(p, (rows + SHAPED_ROWS - 1) / SHAPED_ROWS, shape_rows, &s);
  }
  free(a);
  return atomic_load(&s.failed) ? qp_fail(err, QP_E_NOMEM, "no memory to shape noise") : QP_OK;
}

/* ---- Opening ---- */

void qp_probe_close(qp_probe *p) {
  if (!p) return;
  free(p->state);
  free(p->last);
  free(p->kept);
  free(p->logits[0]);
  free(p->logits[1]);
  free(p->sum);
  free(p->now);
  free(p);
}

static bool reserve(qp_probe *p, uint64_t logit_bytes) {
  const size_t hidden = p->model->hidden, vocab = p->model->vocab;
  const bool keep = (uint64_t)p->tokens * vocab * sizeof(float) <= logit_bytes;
  const size_t fits = LOGIT_FLOATS / vocab;
  p->rows = fits < 1 ? 1 : fits > LOGIT_ROWS ? LOGIT_ROWS : fits;
  p->state = malloc(p->tokens * hidden * sizeof(float));
  p->last = malloc(p->tokens * hidden * sizeof(float));
  p->logits[0] = malloc(p->rows * vocab * sizeof(float));
  if (keep)
    p->kept = malloc(p->tokens * vocab * sizeof(float));
  else
    p->logits[1] = malloc(p->rows * vocab * sizeof(float));
  p->sum = malloc(p->tokens * sizeof *p->sum);
  p->now = malloc(p->tokens * sizeof *p->now);
  return p->state && p->last && p->logits[0] && (p->kept || p->logits[1]) && p->sum && p->now;
}

/* Make the model's own predictions. */
static qp_status run_source(qp_probe *p, qp_error *err) {
  const size_t hidden = p->model->hidden, vocab = p->model->vocab;
  qp_status status = qp_forward_embed(p->f, &p->sequences, p->last, err);
  for (unsigned b = 0; b < p->model->layers && !status; b++)
    status = qp_forward_block(p->f, b, &p->sequences, NULL, p->last, err);
  for (size_t at = 0; p->kept && at < p->tokens && !status; at += p->rows) {
    const size_t n = p->tokens - at < p->rows ? p->tokens - at : p->rows;
    status = qp_forward_head(p->f, p->last + at * hidden, n, NULL, p->kept + at * vocab, err);
  }
  return status;
}

qp_status qp_probe_open(qp_forward *f, const qp_sequences *s, uint64_t logit_bytes, qp_probe **out,
                        qp_error *err) {
  qp_probe *p = calloc(1, sizeof *p);
  if (!p) return qp_fail(err, QP_E_NOMEM, "no memory to measure sensitivities");
  *p = (qp_probe){.f = f, .model = qp_forward_model(f), .sequences = *s};
  p->tokens = s->end[s->count - 1];
  qp_status status =
      reserve(p, logit_bytes)
          ? run_source(p, err)
          : qp_fail(err, QP_E_NOMEM, "no memory for the predictions of %zu tokens", p->tokens);
  if (status) return qp_probe_close(p), status;
  *out = p;
  return QP_OK;
}

/* ---- Comparing ---- */

typedef struct comparison {
  const qp_probe *p;
  const float *source, *noisy; /* [rows][vocab] */
  size_t first;
} comparison;

static void compare_row(void *argument, size_t i, unsigned thread) {
  const comparison *c = argument;
  const size_t vocab = c->p->model->vocab;
  qp_divergence d = {0};
  (void)thread;
  qp_divergence_row(c->noisy + i * vocab, c->source + i * vocab, vocab, 0, &d);
  c->p->now[c->first + i] = d.kl;
}

/* Put the divergences of the predictions from 'state' into p->now. */
static qp_status compare_all(qp_probe *p, const float *state, qp_error *err) {
  const size_t hidden = p->model->hidden, vocab = p->model->vocab;
  qp_status status = QP_OK;
  for (size_t at = 0; at < p->tokens && !status; at += p->rows) {
    const size_t n = p->tokens - at < p->rows ? p->tokens - at : p->rows;
    comparison c = {.p = p, .noisy = p->logits[0], .first = at};
    c.source = p->kept ? p->kept + at * vocab : p->logits[1];
    status = qp_forward_head(p->f, state + at * hidden, n, NULL, p->logits[0], err);
    if (!status) qp_parallel_for(qp_forward_parallel(p->f), n, compare_row, &c);
  }
  return status;
}

/* Compare without kept logits of the source: both heads run for each piece; the noisy one may be
   the head's own noise, so the source's is computed with the override taken away. */
static qp_status compare_again(qp_probe *p, const float *state, unsigned block, unsigned linear,
                               const float *w, qp_error *err) {
  const size_t hidden = p->model->hidden;
  qp_status status = QP_OK;
  for (size_t at = 0; at < p->tokens && !status; at += p->rows) {
    const size_t n = p->tokens - at < p->rows ? p->tokens - at : p->rows;
    comparison c = {.p = p, .noisy = p->logits[0], .source = p->logits[1], .first = at};
    status = qp_forward_head(p->f, state + at * hidden, n, NULL, p->logits[0], err);
    qp_forward_override(p->f, block, linear, NULL);
    if (!status) status = qp_forward_head(p->f, p->last + at * hidden, n, NULL, p->logits[1], err);
    qp_forward_override(p->f, block, linear, w);
    if (!status) qp_parallel_for(qp_forward_parallel(p->f), n, compare_row, &c);
  }
  return status;
}

/* Run the model from 'block' on with 'w' in place of the linear's weights; a tied head runs from
   the embedding on, which is the same matrix. */
static qp_status run_noisy(qp_probe *p, unsigned block, unsigned linear, const float *hidden,
                           const float *w, qp_error *err) {
  const bool head = linear == p->model->linears, whole = head && p->model->tied;
  qp_status status = QP_OK;
  qp_forward_override(p->f, block, linear, w);
  if (!head) memcpy(p->state, hidden, p->tokens * p->model->hidden * sizeof(float));
  if (whole) status = qp_forward_embed(p->f, &p->sequences, p->state, err);
  for (unsigned b = whole ? 0 : block; b < p->model->layers && !status; b++)
    status = qp_forward_block(p->f, b, &p->sequences, NULL, p->state, err);
  const float *state = head && !whole ? p->last : p->state;
  if (!status)
    status = p->kept ? compare_all(p, state, err) : compare_again(p, state, block, linear, w, err);
  qp_forward_override(p->f, block, linear, NULL);
  return status;
}

/* ---- Measuring ---- */

typedef struct matrices {
  float *own, *noise, *both; /* W, E, W + E or W - E */
  size_t elements;
} matrices;

static void free_matrices(matrices *m) {
  free(m->own);
  free(m->noise);
  free(m->both);
}

static qp_status new_matrices(size_t elements, matrices *m, qp_error *err) {
  *m = (matrices){.elements = elements};
  m->own = malloc(elements * sizeof(float));
  m->noise = malloc(elements * sizeof(float));
  m->both = malloc(elements * sizeof(float));
  if (m->own && m->noise && m->both) return QP_OK;
  free_matrices(m);
  return qp_fail(err, QP_E_NOMEM, "no memory for a linear of %zu weights", elements);
}

/* Run both signs of one probe and give its mean divergence; p->sum grows. */
static qp_status run_probe(qp_probe *p, const matrices *m, unsigned block, unsigned linear,
                           const float *hidden, double *mean, qp_error *err) {
  double sum = 0;
  for (int sign = 1; sign >= -1; sign -= 2) {
    for (size_t i = 0; i < m->elements; i++) m->both[i] = m->own[i] + (float)sign * m->noise[i];
    qp_status status = run_noisy(p, block, linear, hidden, m->both, err);
    if (status) return status;
    for (size_t t = 0; t < p->tokens; t++) {
      if (!isfinite(p->now[t]))
        return qp_fail(err, QP_E_ARG, "a divergence is %g: the model's activations overflow",
                       p->now[t]);
      p->sum[t] += p->now[t] / 2;
      sum += p->now[t] / 2;
    }
  }
  *mean = sum / (double)p->tokens;
  return QP_OK;
}

/* Compute the square of the standard error of the mean of x[n]. */
static double error_square(const double *x, size_t n, double scale) {
  double sum = 0, squares = 0;
  if (n < 2) return 0;
  for (size_t i = 0; i < n; i++) sum += x[i] * scale;
  for (size_t i = 0; i < n; i++) {
    const double d = x[i] * scale - sum / (double)n;
    squares += d * d;
  }
  return squares / (double)(n - 1) / (double)n;
}

static uint64_t seed_of(const qp_sensitivity_options *o, unsigned block, unsigned linear,
                        unsigned probe) {
  qp_random r = {.state = o->seed};
  r.state = qp_random_next(&r) ^ block;
  r.state = qp_random_next(&r) ^ linear;
  r.state = qp_random_next(&r) ^ probe;
  return qp_random_next(&r);
}

qp_status qp_probe_measure(qp_probe *p, const qp_sensitivity_options *o, unsigned block,
                           unsigned linear, const float *hidden, qp_sensitivity *out,
                           qp_error *err) {
  const qp_model_linear *l = &p->model->linear[linear];
  matrices m = {0};
  double *mean = malloc(o->probes * sizeof *mean), sum = 0;
  qp_status status = mean ? new_matrices((size_t)l->rows * l->columns, &m, err)
                          : qp_fail(err, QP_E_NOMEM, "no memory for %u probes", o->probes);
  if (status) return free(mean), status;
  memset(p->sum, 0, p->tokens * sizeof *p->sum);
  status = qp_forward_weights(p->f, block, linear, m.own, err);
  for (unsigned i = 0; i < o->probes && !status; i++) {
    qp_noise_fill(qp_forward_parallel(p->f), seed_of(o, block, linear, i), o->noise, m.own, l->rows,
                  l->columns, m.noise);
    if (o->hessian)
      status =
          qp_noise_shape(qp_forward_parallel(p->f), o->hessian, l->rows, l->columns, m.noise, err);
    if (status) break;
    status = run_probe(p, &m, block, linear, hidden, &mean[i], err);
    if (!status) sum += mean[i];
  }
  if (!status) {
    out->alpha = sum / o->probes / o->noise;
    out->error = sqrt(error_square(p->sum, p->tokens, 1 / (o->probes * o->noise)) +
                      error_square(mean, o->probes, 1 / o->noise));
  }
  free(mean);
  free_matrices(&m);
  return status;
}
