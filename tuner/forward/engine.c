/* SPDX-License-Identifier: MIT */
/* Runs forward passes on a device: it follows gen/model/forward_block.c step by step, with kernels.
   */
#include "tuner/forward/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/half.h"
#include "tuner/forward/model.h"

enum { RUN_ROWS = 2048 /* of whole sequences that are computed together */ };

struct qp_engine {
  qp_device *dev;
  qp_forward_kernels *kernels;
  qp_cublas *cublas; /* NULL: the kernels' product */
  char products[1024];
  uint64_t budget;
  qp_engine_model *models;
};

/* Whole sequences that are computed together. */
typedef struct run {
  qp_engine_model *m;
  unsigned block;
  const qp_forward_layer *layer;
  const qp_forward_hook *hook;
  const size_t *end; /* [sequences], of all: those of the run from 'before' on */
  size_t sequences, before, rows;
  qp_devptr hidden; /* [rows][hidden] */
  qp_error *err;
} run;

static const qp_model *model_of(const run *r) { return r->m->f->model; }
static const qp_computation *computation_of(const run *r) { return &r->m->f->computation; }

/* ---- Steps ---- */

/* A hook sees the fp16 that the products read. */
static qp_status tell(const run *r, unsigned group, qp_devptr x, unsigned columns) {
  const size_t all = r->rows * columns;
  if (!r->hook) return QP_OK;
  qp_status status = qp_engine_grow_host(r->m, all + all / 2 + 1, r->err);
  uint16_t *halves = (uint16_t *)(void *)(r->m->host + all);
  if (!status) status = qp_device_sync(r->m->dev, r->err);
  if (!status) status = qp_device_download(r->m->dev, halves, x, all * sizeof *halves, r->err);
  if (status) return status;
  for (size_t i = 0; i < all; i++) r->m->host[i] = qp_half_to_float(halves[i]);
  return r->hook->input(r->hook->arg, r->block, group, r->m->host, r->rows, columns, r->err);
}

static qp_status tell_linear(const run *r, int linear, qp_devptr x) {
  const qp_model_linear *l = &model_of(r)->linear[linear];
  return tell(r, l->group, x, l->columns);
}

static qp_status multiply(const qp_engine_model *m, const qp_product_args *a, qp_error *err) {
  if (!m->cublas) return qp_forward_kernels_product(m->kernels, *a, err);
  const qp_cublas_product p = {.x = a->x,
                               .w = a->w,
                               .y = a->y,
                               .y_stride = a->y_stride,
                               .rows = a->rows,
                               .features = a->features,
                               .columns = a->columns};
  return qp_cublas_multiply(m->cublas, &p, err);
}

/* x [rows][columns] --[linear]--> y + *column, where there is such a linear. */
static qp_status apply(const run *r, int linear, qp_devptr x, qp_devptr y, size_t y_stride,
                       size_t *column) {
  if (linear < 0) return QP_OK;
  const qp_model_linear *l = &model_of(r)->linear[linear];
  const float *bias = r->layer->linear[linear].bias;
  const qp_devptr to = y + *column * sizeof(float);
  qp_product_args a = {.x = x, .y = to, .y_stride = y_stride, .rows = (unsigned)r->rows};
  a.features = l->rows;
  a.columns = l->columns;
  *column += l->rows;
  qp_status status = qp_engine_weight(r->m, r->block, (unsigned)linear, &a.w, r->err);
  if (!status) status = multiply(r->m, &a, r->err);
  if (status || !bias) return status;
  qp_finish_args f = {.y = to, .y_stride = y_stride, .features = l->rows};
  status = qp_engine_vector(r->m, bias, l->rows, &f.bias, r->err);
  return status ? status : qp_forward_kernels_finish(r->m->kernels, f, r->rows, r->err);
}

static qp_status apply_one(const run *r, int linear, qp_devptr x, qp_devptr y) {
  size_t column = 0;
  return apply(r, linear, x, y, model_of(r)->linear[linear].rows, &column);
}

/* 'a' has where to and how; here comes the norm, if there is one. */
static qp_status norm_by(const run *r, const qp_forward_norm *norm, qp_norm_args a) {
  const qp_computation *c = computation_of(r);
  a.layer = c->norm_kind == QP_NORM_LAYER;
  a.eps = c->eps;
  a.offset = c->norm_offset;
  if (norm->weight) a.width = norm->width;
  qp_status status = qp_engine_vector(r->m, norm->weight, norm->width, &a.weight, r->err);
  if (!status) status = qp_engine_vector(r->m, norm->bias, norm->width, &a.bias, r->err);
  return status ? status : qp_forward_kernels_norm(r->m->kernels, &a, r->rows, r->err);
}

/* hidden --> x in fp16 */
static qp_status norm_before(const run *r, const qp_forward_norm *norm) {
  const unsigned h = model_of(r)->hidden;
  const qp_norm_args a = {.x = r->hidden,
                          .out_half = r->m->x.at,
                          .x_stride = h,
                          .out_stride = h,
                          .width = h,
                          .count = 1};
  return norm_by(r, norm, a);
}

/* hidden += norm(y) */
static qp_status norm_after(const run *r, qp_norm_place place) {
  const unsigned h = model_of(r)->hidden;
  const qp_norm_args a = {.x = r->m->y.at,
                          .out = r->hidden,
                          .x_stride = h,
                          .out_stride = h,
                          .width = h,
                          .count = 1,
                          .add = 1};
  return norm_by(r, &r->layer->norm[place], a);
}

/* ---- Attention ---- */

static qp_status norm_heads(const run *r, qp_norm_place place, size_t first, unsigned heads,
                            size_t stride) {
  const qp_forward_norm *norm = &r->layer->norm[place];
  if (!norm->weight) return QP_OK;
  const qp_devptr x = r->m->qkv.at + first * sizeof(float);
  const qp_norm_args a = {.x = x,
                          .out = x,
                          .x_stride = stride,
                          .out_stride = stride,
                          .count = heads * model_of(r)->head_dim / norm->width};
  return norm_by(r, norm, a);
}

/* Turns and attention of one sequence, whose first row is 'first' of the run. */
static qp_status attend_sequence(const run *r, size_t first, size_t rows, size_t stride) {
  const qp_model *m = model_of(r);
  const qp_computation *c = computation_of(r);
  const qp_layer_kind *kind = &c->layer[r->block];
  const size_t q = (size_t)m->heads * m->head_dim, kv = (size_t)m->kv_heads * m->head_dim;
  const qp_devptr x = r->m->qkv.at + first * stride * sizeof(float);
  qp_status status = kind->rotary ? qp_engine_turns(r->m, rows, r->err) : QP_OK;
  if (!status && kind->rotary > r->m->f->rotary.sets)
    status = qp_fail(r->err, QP_E_ARG,
                     "lua/architectures.lua: forward: layer %u has rotary %u, turns %u", r->block,
                     kind->rotary, r->m->f->rotary.sets);
  if (!status && kind->rotary) {
    const qp_turn_args t = {.x = x,
                            .table = r->m->table[kind->rotary - 1].at,
                            .stride = stride,
                            .heads = m->heads + m->kv_heads,
                            .head_dim = m->head_dim,
                            .pairs = r->m->f->rotary.set[kind->rotary - 1].turns.pairs};
    status = qp_forward_kernels_turn(r->m->kernels, t, rows, r->err);
  }
  const qp_attend_args a = {.q = x,
                            .k = x + q * sizeof(float),
                            .v = x + (q + kv) * sizeof(float),
                            .out = r->m->attended.at + first * q * sizeof(uint16_t),
                            .stride = stride,
                            .rows = (unsigned)rows,
                            .heads = m->heads,
                            .kv_heads = m->kv_heads,
                            .head_dim = m->head_dim,
                            .window = kind->window,
                            .scale = c->scale,
                            .softcap = c->attention_softcap};
  return status ? status : qp_forward_kernels_attend(r->m->kernels, &a, r->err);
}

static qp_status attention(const run *r) {
  const qp_model *m = model_of(r);
  const qp_forward_roles *roles = &r->m->f->roles;
  const size_t q = (size_t)m->heads * m->head_dim;
  const size_t stride = q + 2 * (size_t)m->kv_heads * m->head_dim;
  const int readers[] = {roles->qkv, roles->q, roles->k, roles->v};
  size_t column = 0;
  qp_status status = norm_before(r, &r->layer->norm[QP_BEFORE_ATTENTION]);
  if (!status) status = tell_linear(r, roles->qkv >= 0 ? roles->qkv : roles->q, r->m->x.at);
  for (unsigned i = 0; i < sizeof readers / sizeof *readers && !status; i++)
    status = apply(r, readers[i], r->m->x.at, r->m->qkv.at, stride, &column);
  if (!status) status = norm_heads(r, QP_NORM_Q, 0, m->heads, stride);
  if (!status) status = norm_heads(r, QP_NORM_K, q, m->kv_heads, stride);
  for (size_t i = 0, first = 0; i < r->sequences && !status; i++) {
    const size_t end = r->end[i] - r->before;
    status = attend_sequence(r, first, end - first, stride);
    first = end;
  }
  if (!status) status = tell_linear(r, roles->o, r->m->attended.at);
  if (!status) status = apply_one(r, roles->o, r->m->attended.at, r->m->y.at);
  return status ? status : norm_after(r, QP_POST_ATTENTION);
}

/* ---- MLP ---- */

static qp_status mlp(const run *r) {
  const qp_forward_roles *roles = &r->m->f->roles;
  const unsigned inner = model_of(r)->linear[roles->down].columns;
  const bool gated = roles->gate_up >= 0 || roles->gate >= 0;
  const size_t stride = (size_t)inner * (gated ? 2 : 1);
  const int readers[] = {roles->gate_up, roles->gate, roles->up};
  size_t column = 0;
  qp_status status = norm_before(r, &r->layer->norm[QP_BEFORE_MLP]);
  if (!status)
    status = tell_linear(r, roles->gate_up >= 0 ? roles->gate_up : roles->up, r->m->x.at);
  for (unsigned i = 0; i < sizeof readers / sizeof *readers && !status; i++)
    status = apply(r, readers[i], r->m->x.at, r->m->inner.at, stride, &column);
  const qp_gate_args a = {.gate = r->m->inner.at,
                          .up = gated ? r->m->inner.at + inner * sizeof(float) : 0,
                          .out = r->m->active.at,
                          .stride = stride,
                          .inner = inner,
                          .activation = computation_of(r)->activation};
  if (!status) status = qp_forward_kernels_gate(r->m->kernels, a, r->rows, r->err);
  if (!status) status = tell_linear(r, roles->down, r->m->active.at);
  if (!status) status = apply_one(r, roles->down, r->m->active.at, r->m->y.at);
  return status ? status : norm_after(r, QP_POST_MLP);
}

/* ---- Blocks ---- */

static qp_status reserve(const run *r) {
  const qp_model *m = model_of(r);
  const size_t q = (size_t)m->heads * m->head_dim, kv = (size_t)m->kv_heads * m->head_dim;
  const size_t inner = m->linear[r->m->f->roles.down].columns, n = r->rows;
  const struct {
    qp_device_buffer *buffer;
    size_t bytes;
  } all[] = {
      {&r->m->x, n * m->hidden * sizeof(uint16_t)},  {&r->m->qkv, n * (q + 2 * kv) * sizeof(float)},
      {&r->m->attended, n * q * sizeof(uint16_t)},   {&r->m->inner, n * 2 * inner * sizeof(float)},
      {&r->m->active, n * inner * sizeof(uint16_t)}, {&r->m->y, n * m->hidden * sizeof(float)}};
  qp_status status = QP_OK;
  for (size_t i = 0; i < sizeof all / sizeof *all && !status; i++)
    status = qp_engine_grow(r->m, all[i].buffer, all[i].bytes, r->err);
  return status;
}

static qp_status run_some(run *r) {
  qp_status status = reserve(r);
  if (!status) status = attention(r);
  return status ? status : mlp(r);
}

/* What fp16 has not becomes infinite, and NaN in the products behind it. */
static qp_status check_finite(const qp_engine_model *m, unsigned block, const float *x, size_t n,
                              qp_error *err) {
  float sum = 0;
  for (size_t i = 0; i < n; i++) sum += x[i] * 0.0f;
  if (sum == 0) return QP_OK;
  return qp_fail(
      err, QP_E_LIMIT,
      "%s: activations of block %u are beyond what fp16 has: compute on the CPU, without "
      "--device",
      qp_forward_path(m->f), block);
}

static qp_status engine_block(void *self, unsigned block, const qp_sequences *s,
                              const qp_forward_hook *hook, float *hidden, qp_error *err) {
  qp_engine_model *m = self;
  const size_t width = m->f->model->hidden * sizeof(float);
  const size_t tokens = s->count ? s->end[s->count - 1] : 0;
  qp_status status = qp_engine_grow(m, &m->hidden, tokens * width, err);
  if (!status) status = qp_device_upload(m->dev, m->hidden.at, hidden, tokens * width, err);
  for (size_t i = 0, begin = 0; i < s->count && !status; begin = s->end[i - 1]) {
    run r = {.m = m,
             .block = block,
             .layer = &m->f->layer[block],
             .hook = hook,
             .end = s->end + i,
             .before = begin,
             .hidden = m->hidden.at + begin * width,
             .err = err};
    do {
      r.rows = s->end[i++] - begin;
      r.sequences++;
    } while (i < s->count && s->end[i] - begin <= RUN_ROWS);
    status = run_some(&r);
  }
  if (!status) status = qp_device_sync(m->dev, err);
  if (!status) status = qp_device_download(m->dev, hidden, m->hidden.at, tokens * width, err);
  return status ? status : check_finite(m, block, hidden, tokens * m->f->model->hidden, err);
}

/* ---- Head ---- */

static qp_status engine_head(void *self, const float *hidden, size_t rows,
                             const qp_forward_hook *hook, float *logits, qp_error *err) {
  qp_engine_model *m = self;
  const qp_model *model = m->f->model;
  const size_t bytes = rows * model->hidden * sizeof(float);
  run r = {.m = m, .block = model->layers, .hook = hook, .rows = rows, .err = err};
  qp_product_args p = {.y_stride = model->vocab, .rows = (unsigned)rows};
  p.features = model->vocab;
  p.columns = model->hidden;
  qp_finish_args f = {.y_stride = model->vocab, .features = model->vocab};
  f.softcap = m->f->computation.softcap;
  qp_status status = qp_engine_grow(m, &m->hidden, bytes, err);
  if (!status) status = qp_engine_grow(m, &m->x, bytes / 2, err);
  if (!status) status = qp_device_upload(m->dev, m->hidden.at, hidden, bytes, err);
  r.hidden = m->hidden.at;
  if (!status) status = norm_before(&r, &m->f->final);
  if (!status) status = tell(&r, model->groups, m->x.at, model->hidden);
  if (!status) status = qp_engine_grow(m, &m->inner, rows * model->vocab * sizeof *logits, err);
  if (!status) status = qp_engine_weight(m, 0, model->linears, &p.w, err);
  p.x = m->x.at;
  f.y = p.y = m->inner.at;
  if (!status) status = multiply(m, &p, err);
  if (!status && f.softcap > 0) status = qp_forward_kernels_finish(m->kernels, f, rows, err);
  if (!status) status = qp_device_sync(m->dev, err);
  if (status) return status;
  return qp_device_download(m->dev, logits, p.y, rows * model->vocab * sizeof *logits, err);
}

/* ---- Opening ---- */

/* Without cuBLAS a GPU has the kernels' product, which is right and slow. */
static qp_status open_cublas(qp_engine *e, qp_error *err) {
  char version[64];
  qp_error why = {{0}};
  snprintf(e->products, sizeof e->products, "a plain kernel");
  if (e->dev->info.simulated) return QP_OK;
  const qp_status status = qp_cublas_open(e->dev, &e->cublas, version, sizeof version, &why);
  if (!status)
    snprintf(e->products, sizeof e->products, "%s", version);
  else if (status == QP_E_MISSING)
    snprintf(e->products, sizeof e->products, "a plain kernel: %.900s", why.text);
  else
    return qp_fail(err, status, "%s", why.text);
  return QP_OK;
}

const char *qp_engine_products(const qp_engine *e) { return e->products; }

qp_status qp_engine_open(const char *device, uint64_t weight_bytes, qp_engine **out,
                         qp_error *err) {
  qp_engine *e = calloc(1, sizeof *e);
  if (!e) return qp_fail(err, QP_E_NOMEM, "no memory for a device");
  qp_compiler *compiler = NULL; /* forks: before a driver is open */
  qp_status status = qp_compiler_open(&(qp_compiler_options){.workers = 1}, &compiler, err);
  if (!status) status = qp_device_open(device, &e->dev, err);
  if (!status) status = qp_forward_kernels_open(e->dev, compiler, &e->kernels, err);
  qp_compiler_close(compiler);
  if (!status) status = open_cublas(e, err);
  if (status) return qp_engine_close(e), status;
  e->budget = weight_bytes ? weight_bytes : e->dev->info.memory_bytes / 4 * 3;
  *out = e;
  return QP_OK;
}

void qp_engine_close(qp_engine *e) {
  if (!e) return;
  for (qp_engine_model *m = e->models, *next; m; m = next) {
    next = m->next;
    qp_engine_model_free(m);
  }
  qp_cublas_close(e->cublas);
  qp_forward_kernels_close(e->kernels);
  if (e->dev) qp_device_close(e->dev);
  free(e);
}

qp_status qp_engine_attach(qp_engine *e, qp_forward *f, qp_error *err) {
  if (f->model->head_dim > QP_FORWARD_HEAD_DIM)
    return qp_fail(err, QP_E_LIMIT, "%s: heads of %u elements: at most %d are computed on a device",
                   qp_forward_path(f), f->model->head_dim, QP_FORWARD_HEAD_DIM);
  qp_engine_model *m = calloc(1, sizeof *m);
  if (!m) return qp_fail(err, QP_E_NOMEM, "no memory for a model on a device");
  *m = (qp_engine_model){
      .f = f, .kernels = e->kernels, .cublas = e->cublas, .dev = e->dev, .budget = &e->budget};
  m->weights = (size_t)f->model->layers * f->model->linears + 1;
  m->weight = calloc(m->weights, sizeof *m->weight);
  if (!m->weight) return free(m), qp_fail(err, QP_E_NOMEM, "no memory for a model on a device");
  m->next = e->models;
  e->models = m;
  qp_forward_use(f, &(qp_forward_engine){.self = m, .block = engine_block, .head = engine_head});
  return QP_OK;
}
