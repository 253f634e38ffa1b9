/* SPDX-License-Identifier: MIT */
/*
** Takes gradients back through a block:  x1 = x + post(o(attention(norm(x)))),  y = x1 +
** post(down(act(gate) up)).  What lies between is computed from x as forward_block.c does it, kept,
** and walked back.
*/
#include "gen/model/backward_block.h"

#include <stdlib.h>
#include <string.h>

#include "gen/model/attention_back.h"
#include "gen/model/backward_parts.h"
#include "gen/model/vector_math.h"

/* Arrays of [rows][...]; all lie in 'memory'. */
typedef struct qp_backward_desk {
  qp_backward_run run;
  const qp_backward_run *r; /* that */
  const qp_layer_kind *kind;
  const qp_forward_layer *layer;
  size_t hidden, q, kv, stride, inner, wide; /* The stride is that of qkv, 'wide' that of gate |
                                                up. */
  bool gated;
  float *memory;
  float *norm;       /* [hidden] what the linears of a group read */
  float *raw, *qkv;  /* [stride] before and behind norms and turns */
  float *mixed;      /* [q] */
  float *from_o;     /* [hidden] what o gives out, before its norm */
  float *middle;     /* [hidden] x1 */
  float *gate, *act; /* [wide], [inner] */
  float *from_down;  /* [hidden] */
  float *pre;        /* [wide]: gate | up before the activation, which gradients of factors need. */
  float *scaled;     /* [most features]: dL/dy times the scales of the rows. */
  float *side;       /* [hidden] gradient of what a norm gives out, or of what it takes */
} desk;

static const float *weights(const desk *d, int linear) {
  const qp_forward_weight *w = &d->layer->linear[linear];
  return w->override ? w->override : w->own;
}

/* Are gradients of factors asked for? */
static bool asks(const desk *d) { return d->r->hook && d->r->hook->factor; }

/* ---- Forward, as forward_block.c ---- */

static qp_norm_rows norm_rows(const desk *d, qp_norm_place place, const float *x, float *y) {
  return (qp_norm_rows){.norm = &d->layer->norm[place],
                        .x = x,
                        .y = y,
                        .rows = d->r->rows,
                        .x_stride = d->hidden,
                        .y_stride = d->hidden,
                        .count = 1};
}

static void norm(const desk *d, qp_norm_place place, const float *x, float *y) {
  const qp_norm_rows n = norm_rows(d, place, x, y);
  if (n.norm->weight)
    qp_forward_norm_rows(d->r->f, &n);
  else if (x != y)
    memcpy(y, x, d->r->rows * d->hidden * sizeof *y);
}

static size_t apply(const desk *d, int linear, const float *x, float *out, size_t out_stride,
                    size_t column) {
  if (linear < 0) return column;
  const qp_model_linear *l = &d->r->f->model->linear[linear];
  const qp_product p = {.x = x,
                        .w = weights(d, linear),
                        .scale = d->layer->linear[linear].scale,
                        .bias = d->layer->linear[linear].bias,
                        .out = out + column,
                        .rows = d->r->rows,
                        .x_stride = l->columns,
                        .out_stride = out_stride,
                        .features = l->rows,
                        .columns = l->columns};
  qp_forward_product(d->r->f, &p);
  return column + l->rows;
}

/* Describe the norm of the heads of q or k: x --> y, both with rows 'stride' apart. */
static qp_norm_rows head_rows(const desk *d, qp_norm_place place, const float *x, float *y) {
  const qp_forward_norm *n = &d->layer->norm[place];
  const size_t width = place == QP_NORM_Q ? d->q : d->kv;
  return (qp_norm_rows){.norm = n,
                        .x = x,
                        .y = y,
                        .rows = d->r->rows,
                        .x_stride = d->stride,
                        .y_stride = d->stride,
                        .count = n->weight ? (unsigned)(width / n->width) : 0};
}

/* Turns all heads of q and k; back: dL/d(turned) becomes dL/d(not turned). */
static qp_status turn(const desk *d, bool back, float *qkv) {
  const qp_backward_run *r = d->r;
  const qp_model *m = r->f->model;
  for (size_t s = 0, begin = 0; s < r->sequences && d->kind->rotary; begin = r->end[s++]) {
    qp_status status =
        qp_rotary_prepare(&r->f->rotary, &r->f->computation, r->end[s] - begin, r->err);
    if (status) return status;
    for (size_t t = begin; t < r->end[s]; t++)
      (back ? qp_rotary_back : qp_rotary_apply)(&r->f->rotary, d->kind->rotary, t - begin,
                                                m->heads + m->kv_heads, m->head_dim,
                                                qkv + t * d->stride);
  }
  return QP_OK;
}

static qp_attention attention_of(const desk *d) {
  const qp_forward *f = d->r->f;
  return (qp_attention){.heads = f->model->heads,
                        .kv_heads = f->model->kv_heads,
                        .head_dim = f->model->head_dim,
                        .window = d->kind->window,
                        .scale = f->computation.scale,
                        .softcap = f->computation.attention_softcap};
}

static qp_attention_input input_of(const desk *d) {
  return (qp_attention_input){.q = d->qkv,
                              .k = d->qkv + d->q,
                              .v = d->qkv + d->q + d->kv,
                              .stride = d->stride,
                              .end = d->r->end,
                              .sequences = d->r->sequences};
}

static qp_status attend(const desk *d) {
  qp_forward *f = d->r->f;
  const qp_forward_roles *roles = &f->roles;
  const size_t bytes = d->r->rows * d->stride * sizeof(float);
  norm(d, QP_BEFORE_ATTENTION, d->r->hidden, d->norm);
  size_t column = apply(d, roles->qkv, d->norm, d->raw, d->stride, 0);
  column = apply(d, roles->q, d->norm, d->raw, d->stride, column);
  column = apply(d, roles->k, d->norm, d->raw, d->stride, column);
  apply(d, roles->v, d->norm, d->raw, d->stride, column);
  memcpy(d->qkv, d->raw, bytes);
  const qp_norm_rows q = head_rows(d, QP_NORM_Q, d->raw, d->qkv);
  const qp_norm_rows k = head_rows(d, QP_NORM_K, d->raw + d->q, d->qkv + d->q);
  if (q.count) qp_forward_norm_rows(f, &q);
  if (k.count) qp_forward_norm_rows(f, &k);
  qp_status status = turn(d, false, d->qkv);
  if (!status) status = qp_forward_grow(&f->tasks, 2 * (d->r->sequences + 1), d->r->err);
  if (status) return status;
  const qp_attention a = attention_of(d);
  const qp_attention_input in = input_of(d);
  qp_attention_run(&a, &in, f->blas, f->parallel, &f->attention, (size_t *)(void *)f->tasks.data,
                   d->mixed);
  apply(d, roles->o, d->mixed, d->from_o, d->hidden, 0);
  norm(d, QP_POST_ATTENTION, d->from_o, d->middle);
  qp_vector_add(d->middle, d->r->hidden, d->r->rows * d->hidden);
  return QP_OK;
}

/* Ends with gate | up as they are, before the activation; out [rows][hidden] may be NULL. */
static void run_mlp(const desk *d, float *out) {
  qp_forward *f = d->r->f;
  const qp_forward_roles *roles = &f->roles;
  norm(d, QP_BEFORE_MLP, d->middle, d->norm);
  size_t column = apply(d, roles->gate_up, d->norm, d->gate, d->wide, 0);
  column = apply(d, roles->gate, d->norm, d->gate, d->wide, column);
  apply(d, roles->up, d->norm, d->gate, d->wide, column);
  for (size_t r = 0; r < d->r->rows; r++) {
    float *act = d->act + r * d->inner;
    memcpy(act, d->gate + r * d->wide, d->inner * sizeof *act);
    qp_vector_activate(f->computation.activation, act,
                       d->gated ? d->gate + r * d->wide + d->inner : NULL, d->inner);
  }
  if (out || d->layer->norm[QP_POST_MLP].weight || asks(d)) /* else nobody asks for down's */
    apply(d, roles->down, d->act, d->from_down, d->hidden, 0);
  if (!out) return;
  norm(d, QP_POST_MLP, d->from_down, out);
  qp_vector_add(out, d->middle, d->r->rows * d->hidden);
}

/* ---- Back ---- */

static qp_status tell(const desk *d, int linear, const float *x, const float *g, size_t stride) {
  const qp_backward_run *r = d->r;
  if (!r->hook || !r->hook->gradient) return QP_OK;
  const qp_gradient of = {.block = r->block,
                          .linear = (unsigned)linear,
                          .features = r->f->model->linear[linear].rows,
                          .columns = r->f->model->linear[linear].columns,
                          .first = r->first,
                          .rows = r->rows,
                          .stride = stride,
                          .sequences = r->sequences,
                          .end = r->end,
                          .x = x,
                          .g = g};
  return r->hook->gradient(r->hook->arg, &of, r->err);
}

/* Tell the hook about y and dy [rows] of the linear's features, 'stride' floats apart. */
static qp_status tell_factor(const desk *d, int linear, const float *y, const float *dy,
                             size_t stride) {
  const qp_backward_run *r = d->r;
  const unsigned count = r->f->model->linear[linear].rows;
  if (!asks(d)) return QP_OK;
  double *g = malloc(count * sizeof *g);
  if (!g) return qp_fail(r->err, QP_E_NOMEM, "no memory for the gradients of %u rows", count);
  const qp_factor_back b = {.dy = dy,
                            .y = y,
                            .bias = d->layer->linear[linear].bias,
                            .rows = r->rows,
                            .dy_stride = stride,
                            .y_stride = stride,
                            .count = count,
                            .out = g};
  qp_factor_back_run(r->f, &b);
  const qp_factor_gradient of = {
      .block = r->block, .linear = (unsigned)linear, .count = count, .g = g};
  const qp_status status = r->hook->factor(r->hook->arg, &of, r->err);
  free(g);
  return status;
}

/* What a group's linears read and give out, y, with dL/dy in rows of the same stride. */
typedef struct way {
  const float *x, *y, *dy;
  size_t stride;
  float *dx;
} way;

/* dx (+)= dy W, and before the hook sees x, which dx may replace, y and dy; the columns of dy that
   come next. */
static size_t back(const desk *d, int linear, const way *w, size_t column, bool add,
                   qp_status *status) {
  if (linear < 0 || *status) return column;
  const qp_forward *f = d->r->f;
  const qp_model_linear *l = &f->model->linear[linear];
  const float *dy = w->dy + column, *scale = d->layer->linear[linear].scale;
  *status = tell(d, linear, w->x, dy, w->stride);
  if (!*status) *status = tell_factor(d, linear, w->y + column, dy, w->stride);
  if (scale) {
    const qp_scale_back s = {dy, scale, d->scaled, d->r->rows, w->stride, l->rows};
    qp_scale_back_run(f, &s);
  }
  const qp_product_back p = {.dy = scale ? d->scaled : dy,
                             .w = weights(d, linear),
                             .dx = w->dx,
                             .rows = d->r->rows,
                             .dy_stride = scale ? l->rows : w->stride,
                             .dx_stride = l->columns,
                             .features = l->rows,
                             .columns = l->columns,
                             .add = add};
  qp_product_back_run(f, &p);
  return column + l->rows;
}

/* Back through a norm, of which the hook hears before. */
static void run_norm(const desk *d, qp_norm_place place, const qp_norm_back *b, qp_status *status) {
  const qp_backward_run *r = d->r;
  if (!*status) *status = qp_norm_tell(r->f, r->hook, r->block, place, &b->n, b->dy, r->err);
  if (!*status) qp_norm_back_run(r->f, b);
}

/* dL/d(what the norm takes) of dy [rows][hidden], where there is one; else dy. */
static const float *norm_back(const desk *d, qp_norm_place place, const float *x, const float *dy,
                              qp_status *status) {
  const qp_norm_back b = {.n = norm_rows(d, place, x, NULL), .dy = dy, .dx = d->side};
  if (!b.n.norm->weight) return dy;
  run_norm(d, place, &b, status);
  return d->side;
}

/* gradient += dL/d(what the norm takes) of d->side = dL/d(what it gives out) */
static void join(const desk *d, qp_norm_place place, const float *x, qp_status *status) {
  const qp_norm_back b = {
      .n = norm_rows(d, place, x, NULL), .dy = d->side, .dx = d->r->gradient, .add = true};
  if (b.n.norm->weight)
    run_norm(d, place, &b, status);
  else
    qp_vector_add(d->r->gradient, d->side, d->r->rows * d->hidden);
}

/* Make d->r->gradient, which is that of y, that of x1. */
static qp_status mlp_back(const desk *d) {
  const qp_forward *f = d->r->f;
  const qp_forward_roles *roles = &f->roles;
  qp_status status = QP_OK;
  const float *dy = norm_back(d, QP_POST_MLP, d->from_down, d->r->gradient, &status);
  const way down = {d->act, d->from_down, dy, d->hidden, d->act};
  back(d, roles->down, &down, 0, false, &status);
  if (asks(d)) memcpy(d->pre, d->gate, d->r->rows * d->wide * sizeof *d->pre);
  const qp_activation_back a = {
      .gate = d->gate, .dy = d->act, .rows = d->r->rows, .inner = d->inner, .gated = d->gated};
  qp_activation_back_run(f, &a);
  const way in = {d->norm, d->pre, d->gate, d->wide, d->side};
  size_t column = back(d, roles->gate_up, &in, 0, false, &status);
  column = back(d, roles->gate, &in, column, false, &status);
  back(d, roles->up, &in, column, column > 0, &status);
  join(d, QP_BEFORE_MLP, d->middle, &status);
  return status;
}

/* dL/d(q, k, v) as the linears give them out, in 'g' [rows][stride]. */
static qp_status heads_back(const desk *d, float *g) {
  qp_forward *f = d->r->f;
  const qp_attention a = attention_of(d);
  const qp_attention_input in = input_of(d);
  qp_status status = qp_attention_back(&a, &in, f->blas, f->parallel, d->mixed, g, g + d->q,
                                       g + d->q + d->kv, d->r->err);
  if (!status) status = turn(d, true, g);
  const qp_norm_back q = {.n = head_rows(d, QP_NORM_Q, d->raw, NULL), .dy = g, .dx = g};
  const qp_norm_back k = {
      .n = head_rows(d, QP_NORM_K, d->raw + d->q, NULL), .dy = g + d->q, .dx = g + d->q};
  if (q.n.count) run_norm(d, QP_NORM_Q, &q, &status);
  if (k.n.count) run_norm(d, QP_NORM_K, &k, &status);
  return status;
}

/* Make d->r->gradient, which is that of x1, that of x. */
static qp_status attention_back(const desk *d, float *g) {
  const qp_forward_roles *roles = &d->r->f->roles;
  qp_status status = QP_OK;
  const float *dy = norm_back(d, QP_POST_ATTENTION, d->from_o, d->r->gradient, &status);
  const way out = {d->mixed, d->from_o, dy, d->hidden, d->mixed};
  back(d, roles->o, &out, 0, false, &status);
  if (!status) status = heads_back(d, g);
  norm(d, QP_BEFORE_ATTENTION, d->r->hidden, d->norm);
  const way in = {d->norm, d->raw, g, d->stride, d->side};
  size_t column = back(d, roles->qkv, &in, 0, false, &status);
  column = back(d, roles->q, &in, column, false, &status);
  column = back(d, roles->k, &in, column, true, &status);
  back(d, roles->v, &in, column, true, &status);
  join(d, QP_BEFORE_ATTENTION, d->r->hidden, &status);
  return status;
}

/* ---- All ---- */

/* The widest linear whose rows are scaled; 0: none. */
static size_t widest_scaled(const desk *d) {
  const qp_model *m = d->r->f->model;
  size_t most = 0;
  for (unsigned i = 0; i < m->linears; i++)
    if (d->layer->linear[i].scale && m->linear[i].rows > most) most = m->linear[i].rows;
  return most;
}

enum { ARRAYS = 12 };

/* Count the sizes and the floats a row of each array. */
static void measure(desk *d, size_t width[ARRAYS]) {
  const qp_model *m = d->r->f->model;
  const qp_forward_roles *roles = &d->r->f->roles;
  d->hidden = m->hidden;
  d->q = (size_t)m->heads * m->head_dim;
  d->kv = (size_t)m->kv_heads * m->head_dim;
  d->stride = d->q + 2 * d->kv;
  d->gated = roles->gate_up >= 0 || roles->gate >= 0;
  d->inner = m->linear[roles->down].columns;
  d->wide = d->inner * (d->gated ? 2 : 1);
  const size_t all[ARRAYS] = {d->hidden,
                              d->stride,
                              d->stride,
                              d->q,
                              d->hidden,
                              d->hidden,
                              d->wide,
                              d->inner,
                              d->hidden,
                              d->hidden,
                              asks(d) ? d->wide : 0,
                              widest_scaled(d)};
  memcpy(width, all, sizeof all);
}

static void begin(desk *d, const qp_backward_run *r) {
  *d = (desk){
      .run = *r, .kind = &r->f->computation.layer[r->block], .layer = &r->f->layer[r->block]};
  d->r = &d->run;
}

size_t qp_backward_desk_bytes(const qp_backward_run *r) {
  size_t width[ARRAYS], all = 0;
  desk d;
  begin(&d, r);
  measure(&d, width);
  for (size_t i = 0; i < ARRAYS; i++) all += width[i];
  return r->rows * all * sizeof(float) + sizeof d;
}

static qp_status make_desk(desk *d) {
  float **const array[ARRAYS] = {&d->norm,      &d->raw,    &d->qkv,  &d->mixed,
                                 &d->from_o,    &d->middle, &d->gate, &d->act,
                                 &d->from_down, &d->side,   &d->pre,  &d->scaled};
  size_t width[ARRAYS];
  measure(d, width);
  d->memory = malloc(qp_backward_desk_bytes(d->r));
  if (!d->memory)
    return qp_fail(d->r->err, QP_E_NOMEM, "no memory for the gradients of %zu tokens", d->r->rows);
  float *at = d->memory;
  for (size_t i = 0; i < ARRAYS; at += d->r->rows * width[i++]) *array[i] = at;
  return QP_OK;
}

void qp_backward_desk_free(qp_backward_desk *kept) {
  if (!kept) return;
  free(kept->memory);
  free(kept);
}

qp_status qp_backward_run_forth(const qp_backward_run *r, float *out, qp_backward_desk **kept) {
  desk *d = malloc(sizeof *d);
  if (!d) return qp_fail(r->err, QP_E_NOMEM, "no memory for a block");
  begin(d, r);
  qp_status status = make_desk(d);
  if (!status) status = attend(d);
  if (status) return qp_backward_desk_free(d), status;
  run_mlp(d, out);
  *kept = d;
  return QP_OK;
}

qp_status qp_backward_run_back(qp_backward_desk *kept, float *gradient, qp_error *err) {
  desk *d = kept;
  d->run.gradient = gradient;
  d->run.err = err;
  float *g = malloc(d->r->rows * d->stride * sizeof *g + 1);
  if (!g) return qp_fail(err, QP_E_NOMEM, "no memory for the gradients of %zu tokens", d->r->rows);
  qp_status status = mlp_back(d);
  if (!status) status = attention_back(d, g);
  free(g);
  return status;
}
