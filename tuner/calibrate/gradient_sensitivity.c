/* SPDX-License-Identifier: MIT */
/*
** Measures sensitivities by gradients.  Some whole sequences go through the model with the states
** before each block kept, and back; what each of them says is appended to a file, so that a stopped
** run loses little.
*/
#include "tuner/calibrate/gradient_sensitivity.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "gen/base/blas.h"
#include "gen/base/random.h"
#include "gen/model/backward.h"
#include "tuner/calibrate/hessian_files.h"

enum { RUN_TOKENS = 2048, ROWS = 64 /* rows of a gradient that a thread takes at once */ };

/* Some sequences that are run together; their tokens go from 'begin' on. */
typedef struct run {
  qp_forward *f;
  const qp_model *model;
  const qp_blas *blas;
  const qp_gradient_options *o;
  size_t units, begin, tokens;
  size_t end[RUN_TOKENS];
  qp_sequences s;
  float **into;    /* [layers + 1][tokens][hidden] */
  float *gradient; /* [tokens][hidden] */
  double *loss;    /* [sequences][units]: 1/2 sum_i |W_i|^2 / columns G_i C G_i^T */
  double *factor[QP_MODEL_GROUPS], mean[QP_MODEL_GROUPS]; /* The factors of the block's Hessians;
                                                             NULL: white. */
  qp_error *err;
} run;

/* ---- The loss ---- */

/* Logits become p - [the drawn token]. */
static void lose(void *arg, size_t row, float *logits, size_t vocab) {
  const run *r = arg;
  const uint64_t token = r->begin + row;
  const uint64_t bits = qp_random_mix(r->o->seed ^ (token + 1) * 0xd1342543de82ef95u);
  double sum = 0;
  float most = -INFINITY;
  size_t drawn = 0;
  for (size_t i = 0; i < vocab; i++) most = logits[i] > most ? logits[i] : most;
  for (size_t i = 0; i < vocab; i++) {
    logits[i] = expf(logits[i] - most);
    sum += (double)logits[i];
  }
  double left = sum * qp_random_unit(bits);
  while (drawn + 1 < vocab && left >= (double)logits[drawn]) left -= (double)logits[drawn++];
  for (size_t i = 0; i < vocab; i++) logits[i] = (float)((double)logits[i] / sum);
  logits[drawn] -= 1;
}

/* ---- One linear's gradients ---- */

/* Works on one sequence, whose tasks are ROWS rows of G. */
typedef struct gather {
  const run *r;
  const qp_gradient *g;
  const double *factor, *weight; /* weight [features]: |W_i|^2 / columns */
  double mean;
  size_t first, tokens;
  double *sum; /* [tasks] */
  _Atomic bool *failed;
} gather;

static void gather_rows(void *argument, size_t task, unsigned thread) {
  const gather *a = argument;
  const qp_gradient *g = a->g;
  const size_t row = task * ROWS, left = g->features - row;
  const int n = (int)(left < ROWS ? left : ROWS), k = (int)g->columns, t = (int)a->tokens;
  const int stride = (int)g->stride;
  const float one = 1, zero = 0;
  const double unit = 1;
  float *product = calloc((size_t)n * g->columns, sizeof *product);
  double *y = calloc((size_t)n * g->columns, sizeof *y), sum = 0;
  (void)thread;
  if (product && y) { /* column-major: G^T [columns][n] = X^T dY */
    a->r->blas->sgemm("N", "T", &k, &n, &t, &one, g->x + a->first * g->columns, &k,
                      g->g + a->first * g->stride + row, &stride, &zero, product, &k);
    for (size_t i = 0; i < (size_t)n * g->columns; i++) y[i] = (double)product[i];
    if (a->factor) a->r->blas->dtrsm("L", "L", "N", "N", &k, &n, &unit, a->factor, &k, y, &k);
    for (size_t i = 0; i < (size_t)n; i++) {
      double square = 0;
      for (size_t c = 0; c < g->columns; c++)
        square += y[i * g->columns + c] * y[i * g->columns + c];
      sum += a->weight[row + i] * square;
    }
  } else {
    atomic_store(a->failed, true);
  }
  free(product);
  free(y);
  a->sum[task] = sum * a->mean;
}

/* Compute |W_i|^2 / columns of each row. */
static qp_status weigh_rows(const run *r, unsigned block, unsigned linear, double *out) {
  const qp_model_linear *l = &r->model->linear[linear];
  float *w = malloc((size_t)l->rows * l->columns * sizeof *w);
  if (!w) return qp_fail(r->err, QP_E_NOMEM, "no memory for a linear's weights");
  qp_status status = qp_forward_weights(r->f, block, linear, w, r->err);
  for (size_t i = 0; i < l->rows && !status; i++) {
    out[i] = 0;
    for (size_t k = 0; k < l->columns; k++)
      out[i] += (double)w[i * l->columns + k] * (double)w[i * l->columns + k] / l->columns;
  }
  free(w);
  return status;
}

static qp_status add_sequence(const gather *a, double *to) {
  const size_t tasks = (a->g->features + ROWS - 1) / ROWS;
  qp_parallel_for(qp_forward_parallel(a->r->f), tasks, gather_rows, (void *)(uintptr_t)a);
  if (atomic_load(a->failed))
    return qp_fail(a->r->err, QP_E_NOMEM, "no memory for rows of a gradient");
  *to = 0;
  for (size_t i = 0; i < tasks; i++) *to += a->sum[i] / 2;
  if (isfinite(*to)) return QP_OK;
  return qp_fail(a->r->err, QP_E_ARG, "block %u, %s: a gradient is not finite: the model overflows",
                 a->g->block, a->r->model->linear[a->g->linear].role);
}

static qp_status take(void *arg, const qp_gradient *g, qp_error *err) {
  const run *r = arg;
  const unsigned group = r->model->linear[g->linear].group;
  _Atomic bool failed = false;
  double *weight = malloc(g->features * sizeof *weight);
  double *sum = malloc((g->features + ROWS - 1) / ROWS * sizeof *sum);
  qp_status status = weight && sum ? weigh_rows(r, g->block, g->linear, weight)
                                   : qp_fail(err, QP_E_NOMEM, "no memory for a gradient");
  size_t sequence = 0; /* of the run, whose part the backward pass is at */
  while (!status && (sequence ? r->end[sequence - 1] : 0) < g->first) sequence++;
  for (size_t s = 0, first = 0; s < g->sequences && !status; first = g->end[s++]) {
    const gather a = {.r = r,
                      .g = g,
                      .factor = r->factor[group],
                      .weight = weight,
                      .mean = r->factor[group] ? r->mean[group] : 1,
                      .first = first,
                      .tokens = g->end[s] - first,
                      .sum = sum,
                      .failed = &failed};
    status = add_sequence(
        &a, &r->loss[(sequence + s) * r->units + (size_t)g->block * r->model->linears + g->linear]);
  }
  free(weight);
  free(sum);
  return status;
}

/* ---- One run ---- */

static qp_status factor_block(run *r, unsigned block) {
  const qp_model *m = r->model;
  qp_status status = QP_OK;
  for (unsigned l = 0; l < m->linears && r->o->hessians && !status; l++) {
    const unsigned group = m->linear[l].group;
    const size_t k = m->linear[l].columns;
    float *h = NULL;
    if (r->factor[group]) continue;
    status = qp_hessian_files_read(m, r->o->hessians, block, l, &h, r->err);
    if (!status && !(r->factor[group] = malloc(k * k * sizeof(double))))
      status = qp_fail(r->err, QP_E_NOMEM, "no memory to factor a Hessian");
    if (!status && !qp_noise_factor(r->blas, h, (unsigned)k, r->factor[group], &r->mean[group])) {
      free(r->factor[group]); /* such noise stays white */
      r->factor[group] = NULL;
    }
    free(h);
  }
  return status;
}

static void forget_block(run *r) {
  for (unsigned g = 0; g < QP_MODEL_GROUPS; g++) {
    free(r->factor[g]);
    r->factor[g] = NULL;
  }
}

/* Tell that so many sequences are 'work' further. */
static void advance(const run *r, size_t sequences, size_t work) {
  if (r->o->done) atomic_fetch_add(r->o->done, sequences * work);
}

static qp_status forth_and_back(run *r) {
  const unsigned layers = r->model->layers;
  const qp_loss loss = {lose, r};
  const qp_backward_hook hook = {.gradient = take, .arg = r};
  qp_status status = qp_forward_embed(r->f, &r->s, r->into[0], r->err);
  for (unsigned b = 0; b < layers && !status; b++) {
    memcpy(r->into[b + 1], r->into[b], r->tokens * r->model->hidden * sizeof(float));
    status = qp_forward_block(r->f, b, &r->s, NULL, r->into[b + 1], r->err);
    if (!status) advance(r, r->s.count, QP_GRADIENT_FORTH);
  }
  if (!status)
    status = qp_backward_head(r->f, r->into[layers], r->tokens, &loss, NULL, r->gradient, r->err);
  for (unsigned b = layers; b-- > 0 && !status;) {
    status = factor_block(r, b);
    if (!status) status = qp_backward_block(r->f, b, &r->s, &hook, r->into[b], r->gradient, r->err);
    forget_block(r);
    if (!status) advance(r, r->s.count, QP_GRADIENT_BACK);
  }
  return status;
}

static bool reserve(run *r) {
  const size_t n = r->tokens * r->model->hidden;
  r->gradient = malloc(n * sizeof *r->gradient);
  r->into = calloc(r->model->layers + 1, sizeof *r->into);
  for (unsigned b = 0; r->into && b <= r->model->layers; b++)
    if (!(r->into[b] = malloc(n * sizeof(float)))) return false;
  return r->gradient && r->into;
}

static void release(run *r) {
  for (unsigned b = 0; r->into && b <= r->model->layers; b++) free(r->into[b]);
  free(r->into);
  free(r->gradient);
  r->into = NULL;
  r->gradient = NULL;
}

static qp_status measure(run *r) {
  qp_status status =
      reserve(r) ? forth_and_back(r)
                 : qp_fail(r->err, QP_E_NOMEM, "no memory for the states of %zu tokens", r->tokens);
  release(r);
  return status;
}

/* ---- The file: of each run [sequences][units] doubles and their checksum ---- */

static qp_status fail_file(const run *r, const char *what) {
  return qp_fail(r->err, QP_E_IO, "%s: cannot %s: %s", r->o->file, what, strerror(errno));
}

/* Whole sequences from 'first' on that go together. */
static size_t choose(run *r, const qp_sequences *s, size_t first) {
  size_t n = 0;
  r->begin = first ? s->end[first - 1] : 0;
  do {
    r->end[n] = s->end[first + n] - r->begin;
    n++;
  } while (first + n < s->count && n < RUN_TOKENS && s->end[first + n] - r->begin <= RUN_TOKENS);
  r->tokens = r->end[n - 1];
  r->s = (qp_sequences){s->token + r->begin, r->end, n};
  return n;
}

/* Zeros where the disk was to have numbers are no sum of other runs either. */
static uint64_t checksum_of(const double *loss, size_t bytes, size_t first) {
  return XXH3_64bits_withSeed(loss, bytes, first + 1);
}

/* Whole runs that the file holds are read; one that is torn or damaged is cut off with all behind
   it, so that it is made again as it would have been. */
static qp_status read_done(run *r, const qp_sequences *s, FILE *file, double *loss, size_t *done) {
  const size_t bytes = r->units * sizeof *loss;
  uint64_t checksum;
  long at = 0;
  for (*done = 0; *done < s->count;) {
    double *to = loss + *done * r->units;
    const size_t n = choose(r, s, *done);
    if (fread(to, bytes, n, file) != n || fread(&checksum, sizeof checksum, 1, file) != 1) break;
    if (checksum != checksum_of(to, n * bytes, *done)) break;
    *done += n;
    at = ftell(file);
  }
  if (fseek(file, at, SEEK_SET) || ftruncate(fileno(file), at)) return fail_file(r, "cut");
  return QP_OK;
}

static qp_status measure_all(run *r, const qp_sequences *s, FILE *file, double *loss) {
  size_t done = 0;
  qp_status status = read_done(r, s, file, loss, &done);
  advance(r, done, (size_t)r->model->layers * (QP_GRADIENT_FORTH + QP_GRADIENT_BACK));
  while (done < s->count && !status) {
    if (r->o->stopped && atomic_load(r->o->stopped))
      return qp_fail(r->err, QP_E_LIMIT, "stopped; the same command goes on where it was");
    const size_t n = choose(r, s, done);
    r->loss = loss + done * r->units;
    status = measure(r);
    const size_t bytes = r->units * sizeof *loss;
    const uint64_t checksum = status ? 0 : checksum_of(r->loss, n * bytes, done);
    if (!status && (fwrite(r->loss, bytes, n, file) != n ||
                    fwrite(&checksum, sizeof checksum, 1, file) != 1 || fflush(file)))
      status = fail_file(r, "write");
    done += n;
  }
  return status;
}

/* Compute the mean of losses by tokens, and its error with sequences as independent. */
static qp_sensitivity mean_of(const qp_sequences *s, const double *loss, size_t units) {
  const double tokens = (double)s->end[s->count - 1], n = (double)s->count;
  qp_sensitivity out = {0};
  double squares = 0;
  for (size_t i = 0; i < s->count; i++) out.alpha += loss[i * units] / tokens;
  for (size_t i = 0; i < s->count; i++) {
    const double length = (double)(s->end[i] - (i ? s->end[i - 1] : 0));
    const double d = loss[i * units] - out.alpha * length;
    squares += d * d;
  }
  if (s->count > 1) out.error = sqrt(squares * n / (n - 1)) / tokens;
  return out;
}

qp_status qp_gradient_sensitivities(qp_forward *f, const qp_sequences *s,
                                    const qp_gradient_options *o, qp_sensitivity *out,
                                    qp_error *err) {
  const qp_model *m = qp_forward_model(f);
  run *r = calloc(1, sizeof *r);
  double *loss = r ? malloc((size_t)m->layers * m->linears * s->count * sizeof *loss) : NULL;
  if (!loss) {
    free(r);
    return qp_fail(err, QP_E_NOMEM, "no memory for the sensitivities of %zu sequences", s->count);
  }
  *r = (run){.f = f, .model = m, .o = o, .units = (size_t)m->layers * m->linears, .err = err};
  qp_status status = qp_blas_open(&r->blas, err);
  FILE *there = fopen(o->file, "a"); /* made where it is missing */
  if (there) fclose(there);
  FILE *file = there ? fopen(o->file, "r+") : NULL;
  if (!status) status = file ? measure_all(r, s, file, loss) : fail_file(r, "open");
  if (file && fclose(file) && !status) status = fail_file(r, "close");
  for (size_t u = 0; u < r->units && !status; u++) out[u] = mean_of(s, loss + u, r->units);
  free(loss);
  free(r);
  return status;
}
