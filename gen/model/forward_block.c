/* SPDX-License-Identifier: MIT */
/* Runs one block of a decoder:  x += post(o(attention(norm(x)))),  x += post(down(act(gate) up)).
   */
#include <math.h>
#include <string.h>

#include "gen/model/forward_state.h"
#include "gen/model/vector_math.h"

enum { RUN_ROWS = 2048, MLP_ROWS = 1024, ROWS_A_TURN = 16 };

/* Whole sequences that are computed together. */
typedef struct run {
  qp_forward *f;
  unsigned block, halves;
  const qp_layer_kind *kind;
  const qp_forward_layer *layer;
  const qp_forward_hook *hook;
  const size_t *end; /* [sequences] within the run */
  size_t sequences, rows;
  float *hidden; /* [rows][hidden] */
  qp_error *err;
} run;

static qp_status tell(const run *r, int linear, const float *x, size_t rows) {
  const qp_model_linear *l = &r->f->model->linear[linear];
  if (!r->hook) return QP_OK;
  return r->hook->input(r->hook->arg, r->block, l->group, x, rows, l->columns, r->err);
}

/* x [rows][columns] with rows 'x_stride' apart --[linear]--> out + column, where there is such a
   linear; the next column. */
static size_t apply_from(const run *r, int linear, const float *x, size_t x_stride, size_t rows,
                         float *out, size_t out_stride, size_t column) {
  if (linear < 0) return column;
  const qp_model_linear *l = &r->f->model->linear[linear];
  const qp_forward_weight *w = &r->layer->linear[linear];
  const qp_product p = {.x = x,
                        .w = w->override ? w->override : w->own,
                        .scale = w->scale,
                        .bias = w->bias,
                        .out = out + column,
                        .rows = rows,
                        .x_stride = x_stride,
                        .out_stride = out_stride,
                        .features = l->rows,
                        .columns = l->columns};
  qp_forward_product(r->f, &p);
  return column + l->rows;
}

static size_t apply(const run *r, int linear, const float *x, size_t rows, float *out,
                    size_t out_stride, size_t column) {
  const size_t columns = linear < 0 ? 0 : r->f->model->linear[linear].columns;
  return apply_from(r, linear, x, columns, rows, out, out_stride, column);
}

static void norm(const run *r, qp_norm_place place, const float *x, size_t rows, float *y) {
  const unsigned hidden = r->f->model->hidden;
  const qp_norm_rows n = {.norm = &r->layer->norm[place],
                          .x = x,
                          .y = y,
                          .rows = rows,
                          .x_stride = hidden,
                          .y_stride = hidden,
                          .count = 1};
  if (n.norm->weight)
    qp_forward_norm_rows(r->f, &n);
  else if (x != y)
    memcpy(y, x, rows * hidden * sizeof *y);
}

/* ---- Attention ---- */

static void norm_heads(const run *r, qp_norm_place place, float *x, unsigned heads, size_t stride) {
  const qp_forward_norm *norm = &r->layer->norm[place];
  if (!norm->weight) return;
  const qp_norm_rows n = {.norm = norm,
                          .x = x,
                          .y = x,
                          .rows = r->rows,
                          .x_stride = stride,
                          .y_stride = stride,
                          .count = heads * r->f->model->head_dim / norm->width};
  qp_forward_norm_rows(r->f, &n);
}

typedef struct turn_job {
  const run *r;
  size_t first, rows, stride; /* of a sequence */
} turn_job;

static void turn_some(void *argument, size_t i, unsigned thread) {
  const turn_job *j = argument;
  const qp_model *m = j->r->f->model;
  (void)thread;
  const size_t first = i * ROWS_A_TURN;
  const size_t end = j->rows - first < ROWS_A_TURN ? j->rows : first + ROWS_A_TURN;
  for (size_t t = first; t < end; t++) /* heads of k lie behind those of q */
    qp_rotary_apply(&j->r->f->rotary, j->r->kind->rotary, t, m->heads + m->kv_heads, m->head_dim,
                    j->r->f->qkv.data + (j->first + t) * j->stride);
}

static qp_status turn(const run *r, size_t stride) {
  if (!r->kind->rotary) return QP_OK;
  for (size_t s = 0, begin = 0; s < r->sequences; begin = r->end[s++]) {
    const size_t rows = r->end[s] - begin;
    turn_job j = {r, begin, rows, stride};
    qp_status status = qp_rotary_prepare(&r->f->rotary, &r->f->computation, rows, r->err);
    if (!status && r->kind->rotary > r->f->rotary.sets)
      status = qp_fail(r->err, QP_E_ARG,
                       "lua/architectures.lua: forward: layer %u has rotary %u, turns %u", r->block,
                       r->kind->rotary, r->f->rotary.sets);
    if (status) return status;
    qp_parallel_for(r->f->parallel, (rows + ROWS_A_TURN - 1) / ROWS_A_TURN, turn_some, &j);
  }
  return QP_OK;
}

/* Attend: q, k and v of the run --> out [rows][heads head_dim]. */
static void mix(const run *r, size_t stride, float *out) {
  qp_forward *f = r->f;
  const qp_model *m = f->model;
  const qp_attention a = {.heads = m->heads,
                          .kv_heads = m->kv_heads,
                          .head_dim = m->head_dim,
                          .window = r->kind->window,
                          .scale = f->computation.scale,
                          .softcap = f->computation.attention_softcap};
  const float *qkv = f->qkv.data;
  const size_t q = (size_t)m->heads * m->head_dim, kv = (size_t)m->kv_heads * m->head_dim;
  const qp_attention_input in = {.q = qkv,
                                 .k = qkv + q,
                                 .v = qkv + q + kv,
                                 .stride = stride,
                                 .end = r->end,
                                 .sequences = r->sequences};
  qp_attention_run(&a, &in, f->blas, f->parallel, &f->attention, (size_t *)(void *)f->tasks.data,
                   out);
}

static qp_status attention(const run *r) {
  qp_forward *f = r->f;
  const qp_model *m = f->model;
  const qp_forward_roles *roles = &f->roles;
  const size_t q = (size_t)m->heads * m->head_dim;
  const size_t stride = q + 2 * (size_t)m->kv_heads * m->head_dim;
  norm(r, QP_BEFORE_ATTENTION, r->hidden, r->rows, f->x.data);
  qp_status status = tell(r, roles->qkv >= 0 ? roles->qkv : roles->q, f->x.data, r->rows);
  if (status) return status;
  size_t column = apply(r, roles->qkv, f->x.data, r->rows, f->qkv.data, stride, 0);
  column = apply(r, roles->q, f->x.data, r->rows, f->qkv.data, stride, column);
  column = apply(r, roles->k, f->x.data, r->rows, f->qkv.data, stride, column);
  apply(r, roles->v, f->x.data, r->rows, f->qkv.data, stride, column);
  norm_heads(r, QP_NORM_Q, f->qkv.data, m->heads, stride);
  norm_heads(r, QP_NORM_K, f->qkv.data + q, m->kv_heads, stride);
  status = turn(r, stride);
  if (status) return status;
  mix(r, stride, f->mixed.data);
  status = tell(r, roles->o, f->mixed.data, r->rows);
  if (status) return status;
  apply(r, roles->o, f->mixed.data, r->rows, f->y.data, m->hidden, 0);
  norm(r, QP_POST_ATTENTION, f->y.data, r->rows, f->y.data);
  qp_vector_add(r->hidden, f->y.data, r->rows * m->hidden);
  return QP_OK;
}

/* ---- MLP ---- */

typedef struct activate_job {
  const run *r;
  size_t rows;
  unsigned inner; /* columns of down */
  bool gated;
} activate_job;

/* Activate gate [inner] | up [inner] of a row into its first 'inner' floats. */
static void activate_some(void *argument, size_t i, unsigned thread) {
  const activate_job *j = argument;
  (void)thread;
  const size_t first = i * ROWS_A_TURN;
  const size_t end = j->rows - first < ROWS_A_TURN ? j->rows : first + ROWS_A_TURN;
  for (size_t t = first; t < end; t++) {
    float *row = j->r->f->inner.data + t * j->inner * (j->gated ? 2 : 1);
    qp_vector_activate(j->r->f->computation.activation, row, j->gated ? row + j->inner : NULL,
                       j->inner);
  }
}

/* What a hook sees has no gaps between rows. */
static void close_gaps(float *rows, size_t count, size_t inner) {
  for (size_t t = 1; t < count; t++)
    memmove(rows + t * inner, rows + t * 2 * inner, inner * sizeof *rows);
}

/* Run some rows of the MLP. */
static qp_status mlp(const run *r, float *hidden, size_t rows) {
  qp_forward *f = r->f;
  const qp_forward_roles *roles = &f->roles;
  const unsigned inner = f->model->linear[roles->down].columns;
  const bool gated = roles->gate_up >= 0 || roles->gate >= 0;
  const size_t stride = (size_t)inner * (gated ? 2 : 1);
  norm(r, QP_BEFORE_MLP, hidden, rows, f->x.data);
  qp_status status = tell(r, roles->gate_up >= 0 ? roles->gate_up : roles->up, f->x.data, rows);
  if (status) return status;
  size_t column = apply(r, roles->gate_up, f->x.data, rows, f->inner.data, stride, 0);
  column = apply(r, roles->gate, f->x.data, rows, f->inner.data, stride, column);
  apply(r, roles->up, f->x.data, rows, f->inner.data, stride, column);
  activate_job j = {r, rows, inner, gated};
  qp_parallel_for(f->parallel, (rows + ROWS_A_TURN - 1) / ROWS_A_TURN, activate_some, &j);
  const bool close = gated && r->hook;
  if (close) close_gaps(f->inner.data, rows, inner);
  status = tell(r, roles->down, f->inner.data, rows);
  if (status) return status;
  apply_from(r, roles->down, f->inner.data, close ? inner : stride, rows, f->y.data,
             f->model->hidden, 0);
  norm(r, QP_POST_MLP, f->y.data, rows, f->y.data);
  qp_vector_add(hidden, f->y.data, rows * f->model->hidden);
  return QP_OK;
}

/* ---- Runs ---- */

static qp_status reserve(const run *r) {
  qp_forward *f = r->f;
  const qp_model *m = f->model;
  const size_t q = (size_t)m->heads * m->head_dim, kv = (size_t)m->kv_heads * m->head_dim;
  const size_t rows = r->rows < MLP_ROWS ? r->rows : MLP_ROWS;
  qp_status status = qp_forward_grow(&f->x, r->rows * m->hidden, r->err);
  if (!status) status = qp_forward_grow(&f->qkv, r->rows * (q + 2 * kv), r->err);
  if (!status) status = qp_forward_grow(&f->mixed, r->rows * q, r->err);
  if (!status) status = qp_forward_grow(&f->y, r->rows * m->hidden, r->err);
  if (!status)
    status = qp_forward_grow(&f->inner, rows * 2 * m->linear[f->roles.down].columns, r->err);
  if (!status) status = qp_forward_grow(&f->tasks, 2 * (r->sequences + 1), r->err);
  return status;
}

static qp_status compute_run(const run *r) {
  const unsigned hidden = r->f->model->hidden;
  qp_status status = reserve(r);
  if (!status && r->halves & QP_HALF_ATTENTION) status = attention(r);
  const size_t end = r->halves & QP_HALF_MLP ? r->rows : 0;
  for (size_t row = 0; row < end && !status; row += MLP_ROWS)
    status = mlp(r, r->hidden + row * hidden, r->rows - row < MLP_ROWS ? r->rows - row : MLP_ROWS);
  return status;
}

qp_status qp_forward_compute(qp_forward *f, unsigned block, unsigned halves, const qp_sequences *s,
                             const qp_forward_hook *hook, float *hidden, qp_error *err) {
  qp_status status = QP_OK;
  size_t end[RUN_ROWS]; /* a sequence has a token at least */
  for (size_t i = 0, begin = 0; i < s->count && !status;) {
    run r = {.f = f,
             .block = block,
             .halves = halves,
             .kind = &f->computation.layer[block],
             .layer = &f->layer[block],
             .hook = hook,
             .end = end,
             .hidden = hidden + begin * f->model->hidden,
             .err = err};
    do {
      r.rows = s->end[i++] - begin;
      end[r.sequences++] = r.rows;
    } while (i < s->count && s->end[i] - begin <= RUN_ROWS);
    status = compute_run(&r);
    begin += r.rows;
  }
  return status;
}
