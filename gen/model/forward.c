/* SPDX-License-Identifier: MIT */
/* The forward pass: a model's weights, kept or read again, and its steps. */
#include "gen/model/forward.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen/model/forward_state.h"
#include "gen/model/vector_math.h"

enum { HEAD_PIECE = 1 << 24 /* weights of the head that are read at once where it is not kept */ };

/* ---- Weights ---- */

static void linear_name(const qp_forward *f, unsigned block, unsigned linear, const char *end,
                        char out[QP_MODEL_NAME + 16]) {
  char name[QP_MODEL_NAME];
  qp_model_tensor(f->model, linear, block, name);
  snprintf(out, QP_MODEL_NAME + 16, "%s%s", name, end);
  if (linear != f->model->linears) return;
  /* a tied head that was packed by itself; one that is the packed embedding, by files alone */
  if (qp_weights_has(f->weights, "lm_head.weight"))
    snprintf(out, QP_MODEL_NAME + 16, "lm_head.weight");
  else if (!qp_weights_has(f->weights, out))
    snprintf(out, QP_MODEL_NAME + 16, "%s%s", f->model->embedding, end);
}

/* Read rows [first, first + count) of a linear. */
static qp_status read_rows(qp_forward *f, unsigned block, unsigned linear, uint64_t first,
                           uint64_t count, float *out, qp_error *err) {
  char name[QP_MODEL_NAME + 16];
  const qp_model_linear *l = &f->model->linear[linear];
  linear_name(f, block, linear, ".weight", name);
  return qp_weights_read(f->weights, name, l->rows, l->columns, first, count, f->parallel, out,
                         err);
}

static uint64_t weight_bytes(const qp_forward *f, unsigned linear) {
  const qp_model_linear *l = &f->model->linear[linear];
  return (uint64_t)l->rows * l->columns * sizeof(float);
}

/* The linear's weights, unless they are there. */
static qp_status need(qp_forward *f, unsigned block, unsigned linear, qp_forward_weight *w,
                      qp_error *err) {
  const uint64_t bytes = weight_bytes(f, linear);
  if (w->own || w->override) return QP_OK;
  float *own = malloc((size_t)bytes);
  if (!own)
    return qp_fail(err, QP_E_NOMEM, "no memory for %s of block %u", f->model->linear[linear].role,
                   block);
  qp_status status = read_rows(f, block, linear, 0, f->model->linear[linear].rows, own, err);
  if (status) return free(own), status;
  w->own = own;
  f->used += bytes;
  return QP_OK;
}

static void drop(qp_forward *f, unsigned linear, qp_forward_weight *w) {
  if (!w->own) return;
  free(w->own);
  w->own = NULL;
  f->used -= weight_bytes(f, linear);
}

qp_status qp_forward_need(qp_forward *f, unsigned block, qp_error *err) {
  qp_status status = QP_OK;
  for (unsigned i = 0; i < f->model->linears && !status; i++)
    status = need(f, block, i, &f->layer[block].linear[i], err);
  return status;
}

qp_status qp_forward_need_head(qp_forward *f, qp_error *err) {
  return need(f, 0, f->model->linears, &f->head, err);
}

void qp_forward_drop(qp_forward *f, unsigned block) {
  for (unsigned i = 0; i < f->model->linears && f->used > f->budget; i++)
    drop(f, i, &f->layer[block].linear[i]);
}

/* ---- Vectors, read when the model is opened ---- */

/* "NAME.weight" or ".bias"; optional where 'must' is false. */
static qp_status read_vector(qp_forward *f, const char *name, const char *end, uint64_t n,
                             bool must, float **out, qp_error *err) {
  char whole[QP_MODEL_NAME + QP_COMPUTATION_NAME + 16];
  snprintf(whole, sizeof whole, "%s%s", name, end);
  if (!must && !qp_weights_has(f->weights, whole)) return QP_OK;
  if (!(*out = malloc((size_t)n * sizeof **out)))
    return qp_fail(err, QP_E_NOMEM, "no memory for %s", whole);
  return qp_weights_read(f->weights, whole, n, 1, 0, n, f->parallel, *out, err);
}

static qp_status read_norm(qp_forward *f, const char *name, unsigned width, qp_forward_norm *out,
                           qp_error *err) {
  out->width = width;
  qp_status status = read_vector(f, name, ".weight", width, true, &out->weight, err);
  if (!status && f->computation.norm_kind == QP_NORM_LAYER)
    status = read_vector(f, name, ".bias", width, false, &out->bias, err);
  return status;
}

/* A norm of q or k is as long as one head, or as all of them. */
static unsigned norm_width(const qp_forward *f, const char *name, qp_norm_place place) {
  const qp_model *m = f->model;
  const unsigned heads = place == QP_NORM_Q ? m->heads : m->kv_heads;
  if (place != QP_NORM_Q && place != QP_NORM_K) return m->hidden;
  return qp_weights_elements(f->weights, name) == (uint64_t)heads * m->head_dim
             ? heads * m->head_dim
             : m->head_dim;
}

static qp_status read_layer(qp_forward *f, unsigned block, qp_error *err) {
  const qp_model *m = f->model;
  qp_forward_layer *layer = &f->layer[block];
  char name[QP_MODEL_NAME + QP_COMPUTATION_NAME];
  qp_status status = QP_OK;
  for (unsigned i = 0; i < QP_NORM_PLACES && !status; i++) {
    if (!*f->computation.norm[i]) continue;
    snprintf(name, sizeof name, "%s%s.%u.%s", m->prefix, m->blocks, block, f->computation.norm[i]);
    status = read_norm(f, name, norm_width(f, name, (qp_norm_place)i), &layer->norm[i], err);
  }
  for (unsigned i = 0; i < m->linears && !status; i++) {
    linear_name(f, block, i, ".weight", name);
    status = qp_weights_check(f->weights, name, m->linear[i].rows, m->linear[i].columns, err);
    if (status || !m->linear[i].bias) continue;
    qp_model_tensor(m, i, block, name);
    status = read_vector(f, name, ".bias", m->linear[i].rows, true, &layer->linear[i].bias, err);
  }
  return status;
}

/* ---- Roles ---- */

static int find_role(const qp_model *m, const char *role) {
  for (unsigned i = 0; i < m->linears; i++)
    if (!strcmp(m->linear[i].role, role)) return (int)i;
  return -1;
}

static bool has_shape(const qp_model *m, int linear, size_t rows, size_t columns) {
  return linear < 0 || (m->linear[linear].rows == rows && m->linear[linear].columns == columns);
}

/* The block computes with the linears that it knows, and has all that it needs. */
static qp_status find_roles(qp_forward *f, qp_error *err) {
  const qp_model *m = f->model;
  qp_forward_roles r = {
      .q = find_role(m, "q"),
      .k = find_role(m, "k"),
      .v = find_role(m, "v"),
      .qkv = find_role(m, "qkv"),
      .o = find_role(m, "o"),
      .up = find_role(m, "up"),
      .gate = find_role(m, "gate"),
      .gate_up = find_role(m, "gate_up"),
      .down = find_role(m, "down"),
  };
  const size_t q = (size_t)m->heads * m->head_dim, kv = (size_t)m->kv_heads * m->head_dim;
  const size_t h = m->hidden;
  const bool apart = r.q >= 0 && r.k >= 0 && r.v >= 0 && r.qkv < 0;
  const bool fused = r.qkv >= 0 && r.q < 0 && r.k < 0 && r.v < 0;
  const bool rest = r.o >= 0 && r.down >= 0 && (r.up >= 0) != (r.gate_up >= 0) &&
                    !(r.gate >= 0 && r.gate_up >= 0);
  const size_t inner = r.down >= 0 ? m->linear[r.down].columns : 0;
  if (!(apart || fused) || !rest || m->heads % m->kv_heads || !has_shape(m, r.q, q, h) ||
      !has_shape(m, r.k, kv, h) || !has_shape(m, r.v, kv, h) ||
      !has_shape(m, r.qkv, q + 2 * kv, h) || !has_shape(m, r.o, h, q) ||
      !has_shape(m, r.up, inner, h) || !has_shape(m, r.gate, inner, h) ||
      !has_shape(m, r.gate_up, 2 * inner, h) || !has_shape(m, r.down, h, inner))
    return qp_fail(err, QP_E_ARG,
                   "lua/architectures.lua: %s: the forward pass needs linears q, k, v (or qkv), o, "
                   "up (and gate, or gate_up), down that fit hidden, heads and head_dim",
                   m->type);
  f->roles = r;
  return QP_OK;
}

/* ---- Opening ---- */

static uint64_t half_of_memory(void) {
  const long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
  return pages > 0 && bytes > 0 ? (uint64_t)pages * (uint64_t)bytes / 2 : UINT64_MAX;
}

/* The embedding and the head have the shapes that they need. */
static qp_status check_ends(const qp_forward *f, qp_error *err) {
  const qp_model *m = f->model;
  char name[QP_MODEL_NAME + QP_COMPUTATION_NAME];
  linear_name(f, 0, m->linears, ".weight", name);
  qp_status status = qp_weights_check(f->weights, name, m->vocab, m->hidden, err);
  snprintf(name, sizeof name, "%s.weight", f->model->embedding);
  return status ? status : qp_weights_check(f->weights, name, m->vocab, m->hidden, err);
}

static qp_status open_model(qp_forward *f, qp_models *models, qp_error *err) {
  const char *path = qp_weights_path(f->weights);
  f->model = qp_weights_model(f->weights);
  if (f->model->headless)
    return qp_fail(err, QP_E_ARG, "%s: there is no lm_head: it predicts no tokens", path);
  qp_status status = qp_computation_open(models, f->model, path, qp_weights_config(f->weights),
                                         &f->computation, err);
  if (!status) status = find_roles(f, err);
  if (status) return status;
  if (!(f->layer = calloc(f->model->layers, sizeof *f->layer)))
    return qp_fail(err, QP_E_NOMEM, "%s: no memory", path);
  for (unsigned i = 0; i < f->model->layers && !status; i++) status = read_layer(f, i, err);
  if (!status) status = check_ends(f, err);
  if (!status) status = read_norm(f, f->computation.final, f->model->hidden, &f->final, err);
  return status;
}

qp_status qp_forward_open(const char *path, qp_models *models, const qp_forward_options *options,
                          qp_forward **out, qp_error *err) {
  qp_forward *f = calloc(1, sizeof *f);
  if (!f) return qp_fail(err, QP_E_NOMEM, "%s: no memory", path);
  f->budget = options->resident_bytes ? options->resident_bytes : half_of_memory();
  f->same = options->same;
  qp_status status = options->engine ? QP_OK : qp_blas_open(&f->blas, err);
  if (!status) status = qp_weights_open(path, models, options->palette, &f->weights, err);
  if (!status) status = qp_parallel_open(options->threads, &f->parallel, err);
  if (!status) status = open_model(f, models, err);
  if (!status) {
    const qp_attention a = {
        .heads = f->model->heads, .kv_heads = f->model->kv_heads, .head_dim = f->model->head_dim};
    status = qp_attention_open(&a, qp_parallel_threads(f->parallel), &f->attention, err);
  }
  if (status) return qp_forward_close(f), status;
  *out = f;
  return QP_OK;
}

static void free_norm(qp_forward_norm *n) {
  free(n->weight);
  free(n->bias);
}

void qp_forward_close(qp_forward *f) {
  if (!f) return;
  for (unsigned b = 0; f->layer && b < f->model->layers; b++) {
    for (unsigned i = 0; i < f->model->linears; i++) {
      free(f->layer[b].linear[i].own);
      free(f->layer[b].linear[i].bias);
    }
    for (unsigned i = 0; i < QP_NORM_PLACES; i++) free_norm(&f->layer[b].norm[i]);
  }
  free_norm(&f->final);
  free(f->head.own);
  free(f->layer);
  qp_rotary_free(&f->rotary);
  qp_attention_close(&f->attention);
  qp_forward_buffer *const buffers[] = {&f->x, &f->qkv, &f->mixed, &f->y, &f->inner, &f->tasks};
  for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) free(buffers[i]->data);
  qp_computation_close(&f->computation);
  qp_parallel_close(f->parallel);
  qp_weights_close(f->weights);
  free(f);
}

const qp_model *qp_forward_model(const qp_forward *f) { return f->model; }
const char *qp_forward_path(const qp_forward *f) { return qp_weights_path(f->weights); }
uint64_t qp_forward_digest(const qp_forward *f) { return qp_weights_digest(f->weights); }
qp_parallel *qp_forward_parallel(const qp_forward *f) { return f->parallel; }

/* ---- Steps ---- */

qp_status qp_forward_embed(qp_forward *f, const qp_sequences *s, float *hidden, qp_error *err) {
  const qp_model *m = f->model;
  char name[QP_COMPUTATION_NAME + 16];
  const size_t tokens = s->count ? s->end[s->count - 1] : 0;
  snprintf(name, sizeof name, "%s.weight", f->model->embedding);
  for (size_t i = 0; i < tokens; i++) {
    if (s->token[i] >= m->vocab)
      return qp_fail(err, QP_E_ARG, "token %zu is %u; %s knows ids from 0 to %u", i, s->token[i],
                     qp_forward_path(f), m->vocab - 1);
    float *row = hidden + i * m->hidden;
    if (m->tied && f->head.override) { /* the caller's head is the caller's embedding */
      memcpy(row, f->head.override + (size_t)s->token[i] * m->hidden, m->hidden * sizeof *row);
    } else {
      const qp_status status = qp_weights_read(f->weights, name, m->vocab, m->hidden, s->token[i],
                                               1, f->parallel, row, err);
      if (status) return status;
    }
    if (f->computation.embedding_scale != 1)
      qp_vector_scale(row, m->hidden, f->computation.embedding_scale);
  }
  return QP_OK;
}

static qp_status no_engine(qp_error *err) {
  return qp_fail(err, QP_E_MISSING, "a forward pass for an engine, and none is there");
}

qp_status qp_forward_block(qp_forward *f, unsigned block, const qp_sequences *s,
                           const qp_forward_hook *hook, float *hidden, qp_error *err) {
  if (f->engine.block) return f->engine.block(f->engine.self, block, s, hook, hidden, err);
  if (!f->blas) return no_engine(err);
  qp_status status = qp_forward_need(f, block, err);
  if (!status) status = qp_forward_compute(f, block, QP_BOTH_HALVES, s, hook, hidden, err);
  qp_forward_drop(f, block);
  return status;
}

qp_status qp_forward_half(qp_forward *f, unsigned block, bool mlp, const qp_sequences *s,
                          const qp_forward_hook *hook, float *hidden, qp_error *err) {
  if (!f->blas) return qp_fail(err, QP_E_MISSING, "halves of blocks are computed on the CPU alone");
  const unsigned half = mlp ? QP_HALF_MLP : QP_HALF_ATTENTION;
  qp_status status = qp_forward_need(f, block, err);
  if (!status) status = qp_forward_compute(f, block, half, s, hook, hidden, err);
  qp_forward_drop(f, block);
  return status;
}

/* Compute features [first, first + count) of the head, with weights w [count][hidden]. */
static void head_piece(const qp_forward *f, const float *x, size_t rows, uint64_t first,
                       uint64_t count, const float *w, float *logits) {
  const qp_product p = {.x = x,
                        .w = w,
                        .out = logits + first,
                        .rows = rows,
                        .x_stride = f->model->hidden,
                        .out_stride = f->model->vocab,
                        .features = (unsigned)count,
                        .columns = f->model->hidden};
  qp_forward_product(f, &p);
}

static qp_status head_in_pieces(qp_forward *f, const float *x, size_t rows, float *logits,
                                qp_error *err) {
  const unsigned head = f->model->linears, vocab = f->model->vocab;
  uint64_t piece = HEAD_PIECE / f->model->hidden + 1;
  if (piece > vocab) piece = vocab;
  float *w = malloc((size_t)piece * f->model->hidden * sizeof *w);
  if (!w) return qp_fail(err, QP_E_NOMEM, "no memory for a piece of the head");
  qp_status status = QP_OK;
  for (uint64_t first = 0; first < vocab && !status; first += piece) {
    const uint64_t count = vocab - first < piece ? vocab - first : piece;
    status = read_rows(f, 0, head, first, count, w, err);
    if (!status) head_piece(f, x, rows, first, count, w, logits);
  }
  free(w);
  return status;
}

qp_status qp_forward_head(qp_forward *f, const float *hidden, size_t rows,
                          const qp_forward_hook *hook, float *logits, qp_error *err) {
  const qp_model *m = f->model;
  const unsigned head = m->linears;
  if (f->engine.head) return f->engine.head(f->engine.self, hidden, rows, hook, logits, err);
  if (!f->blas) return no_engine(err);
  qp_status status = qp_forward_grow(&f->x, rows * m->hidden, err);
  if (status) return status;
  const qp_norm_rows n = {.norm = &f->final,
                          .x = hidden,
                          .y = f->x.data,
                          .rows = rows,
                          .x_stride = m->hidden,
                          .y_stride = m->hidden,
                          .count = 1};
  qp_forward_norm_rows(f, &n);
  if (hook) status = hook->input(hook->arg, m->layers, m->groups, f->x.data, rows, m->hidden, err);
  const bool keep = f->used + weight_bytes(f, head) <= f->budget;
  if (!status && keep) status = need(f, 0, head, &f->head, err);
  const float *w = f->head.override ? f->head.override : f->head.own;
  if (!status && w) head_piece(f, f->x.data, rows, 0, m->vocab, w, logits);
  if (!status && !w) status = head_in_pieces(f, f->x.data, rows, logits, err);
  for (size_t r = 0; r < rows && !status && f->computation.softcap > 0; r++)
    qp_vector_softcap(logits + r * m->vocab, m->vocab, f->computation.softcap);
  return status;
}

qp_status qp_forward_logits(qp_forward *f, const qp_sequences *s, const qp_forward_hook *hook,
                            float *logits, qp_error *err) {
  const size_t tokens = s->count ? s->end[s->count - 1] : 0;
  float *hidden = malloc(tokens * f->model->hidden * sizeof *hidden + 1);
  if (!hidden) return qp_fail(err, QP_E_NOMEM, "no memory for %zu hidden states", tokens);
  qp_status status = qp_forward_embed(f, s, hidden, err);
  for (unsigned b = 0; b < f->model->layers && !status; b++)
    status = qp_forward_block(f, b, s, hook, hidden, err);
  if (!status) status = qp_forward_head(f, hidden, tokens, hook, logits, err);
  free(hidden);
  return status;
}

void qp_forward_use(qp_forward *f, const qp_forward_engine *engine) {
  f->engine = engine ? *engine : (qp_forward_engine){0};
}

/* ---- Weights for the caller ---- */

bool qp_forward_norms_sums(const qp_forward *f) {
  const qp_forward_norm *n = f->layer[0].norm;
  return n[QP_POST_ATTENTION].weight || n[QP_POST_MLP].weight;
}

void qp_forward_override(qp_forward *f, unsigned block, unsigned linear, const float *w) {
  if (linear < f->model->linears)
    f->layer[block].linear[linear].override = w;
  else
    f->head.override = w;
}

void qp_forward_scale(qp_forward *f, unsigned block, unsigned linear, const float *scale) {
  f->layer[block].linear[linear].scale = scale;
}

float *qp_forward_norm_weights(qp_forward *f, unsigned block, qp_norm_place place,
                               unsigned *width) {
  const qp_forward_norm *n = block < f->model->layers ? &f->layer[block].norm[place] : &f->final;
  *width = n->width;
  return n->weight;
}

void qp_forward_norm_name(const qp_forward *f, unsigned block, qp_norm_place place,
                          char out[QP_FORWARD_NAME]) {
  const qp_model *m = f->model;
  const char *name = f->computation.norm[place];
  out[0] = 0;
  if (block == m->layers)
    snprintf(out, QP_FORWARD_NAME, "%s.weight", f->computation.final);
  else if (*name)
    snprintf(out, QP_FORWARD_NAME, "%s%s.%u.%s.weight", m->prefix, m->blocks, block, name);
}

float qp_forward_norm_offset(const qp_forward *f) { return f->computation.norm_offset; }

qp_status qp_forward_weights(qp_forward *f, unsigned block, unsigned linear, float *out,
                             qp_error *err) {
  const float *own = linear < f->model->linears ? f->layer[block].linear[linear].own : f->head.own;
  if (!own) return read_rows(f, block, linear, 0, f->model->linear[linear].rows, out, err);
  memcpy(out, own, (size_t)weight_bytes(f, linear));
  return QP_OK;
}
