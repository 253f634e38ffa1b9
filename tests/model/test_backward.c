/* SPDX-License-Identifier: MIT */
/* Gradients, against differences of the loss: every linear of a block of every family. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gen/base/gaussian.h"
#include "gen/model/backward.h"
#include "tests/model/forward_kit.h"

enum { SEQUENCES = 2, BLOCK = 1 };

/* A model, two sequences, and a loss that is a fixed random sum of the logits. */
typedef struct bench {
  char folder[64];
  qp_models *models;
  qp_forward *f;
  const qp_model *model;
  uint32_t id[KIT_TOKENS];
  size_t end[SEQUENCES];
  qp_sequences all;
  size_t tokens;
  float *hidden[8]; /* what goes into each block, and what the last gives out */
  float *factor;    /* [tokens][vocab] */
  float *x[16];     /* [tokens][columns] of each group of BLOCK */
  size_t seen[16];
} bench;

static void fill(uint64_t seed, size_t n, float *out) {
  qp_random r = {.state = seed};
  for (size_t i = 0; i < n; i++)
    out[i] = (float)qp_gaussian_quantile(qp_random_uniform(&r, 0x1p-54, 1));
}

static float *room(size_t n) {
  float *x = calloc(n, sizeof *x);
  cr_assert(x != NULL);
  return x;
}

static qp_status keep_input(void *arg, unsigned block, unsigned group, const float *x, size_t rows,
                            unsigned columns, qp_error *err) {
  bench *b = arg;
  (void)err;
  if (block != BLOCK) return QP_OK;
  memcpy(b->x[group] + b->seen[group] * columns, x, rows * columns * sizeof *x);
  b->seen[group] += rows;
  return QP_OK;
}

static void open_bench(const kit_family *family, bench *b) {
  qp_error err = {{0}};
  const qp_forward_options options = {.threads = 2};
  *b = (bench){.folder = "/tmp/qpal_backward_XXXXXX", .tokens = family->tokens};
  cr_assert(mkdtemp(b->folder) != NULL);
  cr_assert_eq(kit_write(b->folder, family->config, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_models_open(&b->models, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_forward_open(b->folder, b->models, &options, &b->f, &err), QP_OK, "%s", err.text);
  b->model = qp_forward_model(b->f);
  kit_tokens(family->tokens, b->id);
  b->end[0] = b->tokens / 3, b->end[1] = b->tokens;
  b->all = (qp_sequences){b->id, b->end, SEQUENCES};
  b->factor = room(b->tokens * KIT_VOCAB);
  fill(7, b->tokens * KIT_VOCAB, b->factor);
  for (unsigned g = 0; g < b->model->groups; g++)
    b->x[g] = room(b->tokens * b->model->group[g].columns);
  const qp_forward_hook hook = {keep_input, b};
  for (unsigned i = 0; i <= b->model->layers; i++) {
    b->hidden[i] = room(b->tokens * b->model->hidden);
    if (!i)
      cr_assert_eq(qp_forward_embed(b->f, &b->all, b->hidden[0], &err), QP_OK, "%s", err.text);
    if (!i) continue;
    memcpy(b->hidden[i], b->hidden[i - 1], b->tokens * b->model->hidden * sizeof(float));
    cr_assert_eq(qp_forward_block(b->f, i - 1, &b->all, &hook, b->hidden[i], &err), QP_OK, "%s",
                 err.text);
  }
}

static void close_bench(bench *b) {
  char path[128];
  qp_forward_close(b->f);
  qp_models_close(b->models);
  for (unsigned i = 0; i < 8; i++) free(b->hidden[i]);
  for (unsigned i = 0; i < 16; i++) free(b->x[i]);
  free(b->factor);
  snprintf(path, sizeof path, "%s/config.json", b->folder);
  unlink(path);
  snprintf(path, sizeof path, "%s/model.safetensors", b->folder);
  unlink(path);
  rmdir(b->folder);
}

/* The loss from 'block' on, of hidden states that go into it. */
static double loss_from(const bench *b, unsigned block, const float *hidden) {
  qp_error err = {{0}};
  const size_t n = b->tokens * b->model->hidden;
  float *state = room(n), *logits = room(b->tokens * KIT_VOCAB);
  double sum = 0;
  memcpy(state, hidden, n * sizeof *state);
  for (unsigned i = block; i < b->model->layers; i++)
    cr_assert_eq(qp_forward_block(b->f, i, &b->all, NULL, state, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_forward_head(b->f, state, b->tokens, NULL, logits, &err), QP_OK, "%s", err.text);
  for (size_t i = 0; i < b->tokens * KIT_VOCAB; i++)
    sum += (double)logits[i] * (double)b->factor[i];
  free(state);
  free(logits);
  return sum;
}

static void give_factor(void *arg, size_t row, float *logits, size_t vocab) {
  const bench *b = arg;
  memcpy(logits, b->factor + row * vocab, vocab * sizeof *logits);
}

/* What the hook sees of BLOCK: g [linear][tokens][features] */
typedef struct gradients {
  const bench *b;
  float *g[QP_MODEL_LINEARS];
} gradients;

static qp_status keep_gradient(void *arg, const qp_gradient *g, qp_error *err) {
  gradients *to = arg;
  (void)err;
  for (size_t r = 0; r < g->rows; r++)
    memcpy(to->g[g->linear] + (g->first + r) * g->features, g->g + r * g->stride,
           g->features * sizeof(float));
  const bench *b = to->b;
  const float *x = b->x[b->model->linear[g->linear].group] + g->first * g->columns;
  for (size_t i = 0; i < g->rows * g->columns; i++)
    cr_assert_float_eq(g->x[i], x[i], 1e-4F * (1 + fabsf(x[i])), "x[%zu] of %s", i,
                       b->model->linear[g->linear].role);
  cr_assert_eq(g->end[g->sequences - 1], g->rows);
  return QP_OK;
}

/* (f(+) - f(-)) / 2 is 'want' to first order: both as shares of 'scale'. */
static void compare(const char *family, const char *what, double plus, double minus, double want) {
  const double got = (plus - minus) / 2;
  cr_expect(fabs(got - want) <= 0.02 * fabs(want) + 2e-3, "%s: %s: the loss differs by %g, not %g",
            family, what, got, want);
}

static void check_linear(const kit_family *family, bench *b, unsigned linear, const float *g) {
  qp_error err = {{0}};
  const qp_model_linear *l = &b->model->linear[linear];
  const size_t n = (size_t)l->rows * l->columns;
  float *w = room(n), *e = room(n), *both = room(n);
  double loss[2], want = 0;
  const float *x = b->x[l->group];
  cr_assert_eq(qp_forward_weights(b->f, BLOCK, linear, w, &err), QP_OK, "%s", err.text);
  fill(linear + 1, n, e);
  for (size_t t = 0; t < b->tokens; t++)
    for (size_t i = 0; i < l->rows; i++)
      for (size_t k = 0; k < l->columns; k++)
        want += (double)g[t * l->rows + i] * (double)e[i * l->columns + k] *
                (double)x[t * l->columns + k];
  double step = 1e-3;
  if (fabs(step * want) > 0.5) step = 0.5 / fabs(want);
  for (int sign = 0; sign < 2; sign++) {
    for (size_t i = 0; i < n; i++) both[i] = w[i] + (float)((sign ? -step : step)) * e[i];
    qp_forward_override(b->f, BLOCK, linear, both);
    loss[sign] = loss_from(b, BLOCK, b->hidden[BLOCK]);
    qp_forward_override(b->f, BLOCK, linear, NULL);
  }
  compare(family->name, l->role, loss[0], loss[1], step * want);
  free(w);
  free(e);
  free(both);
}

static void check_state(const kit_family *family, bench *b, unsigned block, const float *gradient) {
  const size_t n = b->tokens * b->model->hidden;
  float *e = room(n), *both = room(n);
  double loss[2], want = 0;
  fill(100 + block, n, e);
  for (size_t i = 0; i < n; i++) want += (double)e[i] * (double)gradient[i];
  double step = 1e-3;
  if (fabs(step * want) > 0.5) step = 0.5 / fabs(want);
  for (int sign = 0; sign < 2; sign++) {
    for (size_t i = 0; i < n; i++)
      both[i] = b->hidden[block][i] + (float)((sign ? -step : step)) * e[i];
    loss[sign] = loss_from(b, block, both);
  }
  compare(family->name, "a state", loss[0], loss[1], step * want);
  free(e);
  free(both);
}

/* ---- Factors of rows and norms ---- */

/* Gradients of BLOCK and of the final norm: [linears + places + 1][count] */
typedef struct factors {
  double *g[QP_MODEL_LINEARS + QP_NORM_PLACES + 1];
  unsigned linears, layers;
} factors;

static qp_status add_factor(void *arg, const qp_factor_gradient *g, qp_error *err) {
  factors *x = arg;
  (void)err;
  if (g->block != BLOCK && g->block != x->layers) return QP_OK;
  const unsigned i = g->block == x->layers ? x->linears + QP_NORM_PLACES
                     : g->norm             ? x->linears + g->place
                                           : g->linear;
  for (unsigned k = 0; k < g->count; k++) x->g[i][k] += g->g[k];
  return QP_OK;
}

/* Factors exp(e) near those that a family computes with. */
static void check_row_factors(const kit_family *family, bench *b, unsigned linear, float *scale,
                              const double *g) {
  const unsigned n = b->model->linear[linear].rows;
  double loss[2], want = 0;
  float *e = room(n), *both = room(n);
  fill(linear + 31, n, e);
  for (unsigned i = 0; i < n; i++) want += (double)e[i] * g[i];
  const double step = fabs(1e-2 * want) > 0.5 ? 0.5 / fabs(want) : 1e-2;
  for (int sign = 0; sign < 2; sign++) {
    for (unsigned i = 0; i < n; i++) both[i] = scale[i] * expf((float)(sign ? -step : step) * e[i]);
    qp_forward_scale(b->f, BLOCK, linear, both);
    loss[sign] = loss_from(b, BLOCK, b->hidden[BLOCK]);
    qp_forward_scale(b->f, BLOCK, linear, scale);
  }
  compare(family->name, b->model->linear[linear].role, loss[0], loss[1], step * want);
  free(e);
  free(both);
}

static void check_norm_factors(const kit_family *family, bench *b, unsigned block,
                               qp_norm_place place, const double *g) {
  unsigned n = 0;
  float *weights = qp_forward_norm_weights(b->f, block, place, &n);
  char name[QP_FORWARD_NAME];
  qp_forward_norm_name(b->f, block, place, name);
  cr_expect_eq(weights != NULL, *name != 0);
  if (!weights) return;
  const float offset = qp_forward_norm_offset(b->f);
  double loss[2], want = 0;
  float *e = room(n), *own = room(n);
  memcpy(own, weights, n * sizeof *own);
  fill(place + 51, n, e);
  for (unsigned i = 0; i < n; i++) want += (double)e[i] * g[i];
  const double step = fabs(1e-2 * want) > 0.5 ? 0.5 / fabs(want) : 1e-2;
  for (int sign = 0; sign < 2; sign++) {
    for (unsigned i = 0; i < n; i++)
      weights[i] = (offset + own[i]) * expf((float)(sign ? -step : step) * e[i]) - offset;
    const unsigned from = block < b->model->layers ? block : b->model->layers;
    loss[sign] = loss_from(b, from, b->hidden[from]);
    memcpy(weights, own, n * sizeof *own);
  }
  compare(family->name, name, loss[0], loss[1], step * want);
  free(e);
  free(own);
}

/* The rows of BLOCK's linears have factors already, which the pass back must know of. */
static void set_scales(bench *b, float **scale) {
  qp_error err = {{0}};
  for (unsigned l = 0; l < b->model->linears; l++) {
    const unsigned n = b->model->linear[l].rows;
    scale[l] = room(n);
    fill(l + 11, n, scale[l]);
    for (unsigned i = 0; i < n; i++) scale[l][i] = expf(0.2F * scale[l][i]);
    qp_forward_scale(b->f, BLOCK, l, scale[l]);
  }
  for (unsigned i = BLOCK; i < b->model->layers; i++) {
    memcpy(b->hidden[i + 1], b->hidden[i], b->tokens * b->model->hidden * sizeof(float));
    cr_assert_eq(qp_forward_block(b->f, i, &b->all, NULL, b->hidden[i + 1], &err), QP_OK);
  }
}

static void check_factors(const kit_family *family) {
  qp_error err = {{0}};
  bench b;
  float *scale[QP_MODEL_LINEARS];
  open_bench(family, &b);
  factors x = {.linears = b.model->linears, .layers = b.model->layers};
  for (unsigned i = 0; i <= x.linears + QP_NORM_PLACES; i++)
    cr_assert_not_null(x.g[i] = calloc(4096, sizeof(double)));
  float *gradient = room(b.tokens * b.model->hidden);
  const qp_loss loss = {give_factor, &b};
  const qp_backward_hook hook = {.factor = add_factor, .arg = &x};
  set_scales(&b, scale);
  cr_assert_eq(qp_backward_head(b.f, b.hidden[x.layers], b.tokens, &loss, &hook, gradient, &err),
               QP_OK);
  for (unsigned i = x.layers; i-- > BLOCK;)
    cr_assert_eq(qp_backward_block(b.f, i, &b.all, &hook, b.hidden[i], gradient, &err), QP_OK);
  check_state(family, &b, BLOCK, gradient);
  for (unsigned l = 0; l < x.linears; l++) check_row_factors(family, &b, l, scale[l], x.g[l]);
  for (unsigned p = 0; p < QP_NORM_PLACES; p++)
    check_norm_factors(family, &b, BLOCK, (qp_norm_place)p, x.g[x.linears + p]);
  check_norm_factors(family, &b, x.layers, 0, x.g[x.linears + QP_NORM_PLACES]);
  for (unsigned i = 0; i <= x.linears + QP_NORM_PLACES; i++) free(x.g[i]);
  for (unsigned l = 0; l < x.linears; l++) free(scale[l]);
  free(gradient);
  close_bench(&b);
}

Test(backward, gradients_of_factors_are_the_differences_of_the_loss) {
  for (unsigned i = 0; i < KIT_FAMILIES; i++) check_factors(&kit_families[i]);
}

static void check_family(const kit_family *family) {
  qp_error err = {{0}};
  bench b;
  gradients g = {.b = &b};
  open_bench(family, &b);
  float *gradient = room(b.tokens * b.model->hidden);
  for (unsigned l = 0; l < b.model->linears; l++) g.g[l] = room(b.tokens * b.model->linear[l].rows);
  const qp_loss loss = {give_factor, &b};
  const qp_backward_hook hook = {.gradient = keep_gradient, .arg = &g};
  cr_assert_eq(
      qp_backward_head(b.f, b.hidden[b.model->layers], b.tokens, &loss, NULL, gradient, &err),
      QP_OK, "%s", err.text);
  check_state(family, &b, b.model->layers, gradient);
  for (unsigned i = b.model->layers; i-- > 0;) {
    cr_assert_eq(
        qp_backward_block(b.f, i, &b.all, i == BLOCK ? &hook : NULL, b.hidden[i], gradient, &err),
        QP_OK, "%s", err.text);
    check_state(family, &b, i, gradient);
  }
  for (unsigned l = 0; l < b.model->linears; l++) check_linear(family, &b, l, g.g[l]);
  for (unsigned l = 0; l < b.model->linears; l++) free(g.g[l]);
  free(gradient);
  close_bench(&b);
}

Test(backward, gradients_of_every_family_are_the_differences_of_the_loss) {
  for (unsigned i = 0; i < KIT_FAMILIES; i++) check_family(&kit_families[i]);
}

/* A block forth and back: what comes out, and its gradient. */
static void check_kept(const kit_family *family) {
  qp_error err = {{0}};
  bench b;
  factors x = {0};
  open_bench(family, &b);
  x.linears = b.model->linears, x.layers = b.model->layers;
  for (unsigned i = 0; i <= x.linears + QP_NORM_PLACES; i++)
    cr_assert_not_null(x.g[i] = calloc(4096, sizeof(double)));
  const size_t n = b.tokens * b.model->hidden;
  float *out = room(n), *gradient = room(n), *again = room(n);
  const qp_backward_hook hook = {.factor = add_factor, .arg = &x};
  qp_backward_kept *kept;
  size_t space = (size_t)1 << 30, none = 0;
  fill(9, n, gradient);
  memcpy(again, gradient, n * sizeof *again);
  cr_assert_eq(
      qp_backward_forth(b.f, BLOCK, &b.all, &hook, b.hidden[BLOCK], out, &none, &kept, &err),
      QP_OK);
  cr_expect_null(kept);
  cr_expect_arr_eq(out, b.hidden[BLOCK + 1], n * sizeof *out, "%s: without room", family->name);
  cr_assert_eq(
      qp_backward_forth(b.f, BLOCK, &b.all, &hook, b.hidden[BLOCK], out, &space, &kept, &err),
      QP_OK);
  cr_assert_not_null(kept);
  cr_expect_lt(space, ((size_t)1 << 30) - n * sizeof *out);
  cr_expect_arr_eq(out, b.hidden[BLOCK + 1], n * sizeof *out, "%s", family->name);
  cr_assert_eq(qp_backward_block_kept(kept, gradient, &err), QP_OK);
  cr_assert_eq(qp_backward_block(b.f, BLOCK, &b.all, &hook, b.hidden[BLOCK], again, &err), QP_OK);
  cr_expect_arr_eq(gradient, again, n * sizeof *again, "%s: gradient", family->name);
  qp_backward_kept_free(kept);
  for (unsigned i = 0; i <= x.linears + QP_NORM_PLACES; i++) free(x.g[i]);
  free(out);
  free(gradient);
  free(again);
  close_bench(&b);
}

Test(backward, what_a_block_kept_on_the_way_forth_gives_the_same_bits) {
  for (unsigned i = 0; i < KIT_FAMILIES; i++) check_kept(&kit_families[i]);
}

static qp_status refuse(void *arg, const qp_gradient *g, qp_error *err) {
  (void)arg, (void)g;
  return qp_fail(err, QP_E_LIMIT, "enough");
}

Test(backward, a_hook_may_end_the_pass) {
  qp_error err = {{0}};
  bench b;
  const qp_backward_hook hook = {.gradient = refuse};
  open_bench(&kit_families[0], &b);
  float *gradient = room(b.tokens * b.model->hidden);
  cr_expect_eq(qp_backward_block(b.f, 0, &b.all, &hook, b.hidden[0], gradient, &err), QP_E_LIMIT);
  cr_expect_str_eq(err.text, "enough");
  free(gradient);
  close_bench(&b);
}
