/* SPDX-License-Identifier: MIT */
/* Keeps a model's arrays on a device. */
#include "tuner/forward/model.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "gen/model/forward.h"
#include "runtime/half.h"

/* ---- Room ---- */

qp_status qp_engine_grow(qp_engine_model *m, qp_device_buffer *b, size_t bytes, qp_error *err) {
  if (b->bytes >= bytes) return QP_OK;
  qp_device_free(m->dev, b->at);
  *b = (qp_device_buffer){0};
  qp_status status = qp_device_alloc(m->dev, bytes, &b->at, err);
  if (!status) b->bytes = bytes;
  return status;
}

qp_status qp_engine_grow_host(qp_engine_model *m, size_t floats, qp_error *err) {
  if (m->host_floats >= floats) return QP_OK;
  free(m->host);
  m->host_floats = 0;
  if (!(m->host = malloc(floats * sizeof *m->host)))
    return qp_fail(err, QP_E_NOMEM, "no memory for %zu numbers on their way to a device", floats);
  m->host_floats = floats;
  return QP_OK;
}

/* ---- Weights ---- */

typedef struct halving {
  const float *from;
  uint16_t *to;
  unsigned columns;
  _Atomic size_t wrong; /* 1 + index of a weight that fp16 has not; 0: none */
} halving;

static void halve_row(void *argument, size_t i, unsigned thread) {
  halving *h = argument;
  const size_t first = i * h->columns;
  (void)thread;
  for (size_t k = first; k < first + h->columns; k++) {
    const uint16_t half = qp_float_to_half(h->from[k]);
    if ((half & 0x7c00) == 0x7c00) atomic_store(&h->wrong, k + 1);
    h->to[k] = half;
  }
}

/* Send fp32 numbers of the host to the device as fp16. */
static qp_status send_halves(qp_engine_model *m, const float *w, const qp_model_linear *l,
                             qp_devptr to, qp_error *err) {
  const size_t all = (size_t)l->rows * l->columns;
  halving h = {.from = w, .to = malloc(all * sizeof *h.to), .columns = l->columns};
  if (!h.to) return qp_fail(err, QP_E_NOMEM, "no memory for %s in fp16", l->role);
  qp_parallel_for(m->f->parallel, l->rows, halve_row, &h);
  const size_t wrong = atomic_load(&h.wrong);
  qp_status status =
      wrong ? qp_fail(err, QP_E_ARG,
                      "%s: weight [%zu][%zu] of a %s is %g, which fp16 has not: compute on the "
                      "CPU",
                      qp_forward_path(m->f), (wrong - 1) / l->columns, (wrong - 1) % l->columns,
                      l->role, (double)w[wrong - 1])
            : qp_device_upload(m->dev, to, h.to, all * sizeof *h.to, err);
  free(h.to);
  return status;
}

/* Where it is to lie: in memory of its own while the budget lasts, which ends when the device has
   no more. */
static qp_status place_weight(qp_engine_model *m, qp_devptr *own, size_t bytes, qp_devptr *out,
                              qp_error *err) {
  const bool stays = own && bytes <= *m->budget;
  if (stays) {
    const qp_status status = qp_device_alloc(m->dev, bytes, own, err);
    if (!status) *m->budget -= bytes;
    if (status != QP_E_NOMEM) return *out = *own, status;
    *m->budget = 0;
    if (err) *err = (qp_error){{0}};
  }
  qp_status status = qp_engine_grow(m, &m->passing, bytes, err);
  return *out = m->passing.at, status;
}

qp_status qp_engine_weight(qp_engine_model *m, unsigned block, unsigned linear, qp_devptr *out,
                           qp_error *err) {
  const qp_model *model = m->f->model;
  const bool head = linear == model->linears;
  const qp_model_linear *l = &model->linear[linear];
  const qp_forward_weight *w = head ? &m->f->head : &m->f->layer[block].linear[linear];
  const size_t all = (size_t)l->rows * l->columns;
  qp_devptr *own = &m->weight[head ? m->weights - 1 : (size_t)block * model->linears + linear];
  if (!w->override && *own) return *out = *own, QP_OK;
  qp_status status = place_weight(m, w->override ? NULL : own, all * sizeof(uint16_t), out, err);
  if (!status && !w->override) {
    status = qp_engine_grow_host(m, all, err);
    if (!status) status = qp_forward_weights(m->f, block, linear, m->host, err);
  }
  if (!status) status = send_halves(m, w->override ? w->override : m->host, l, *out, err);
  if (status && *out == *own && *own) { /* what is there is not the weight */
    qp_device_free(m->dev, *own);
    *own = 0;
    *m->budget += all * sizeof(uint16_t);
  }
  return status;
}

/* ---- Vectors ---- */

qp_status qp_engine_vector(qp_engine_model *m, const float *host, size_t n, qp_devptr *out,
                           qp_error *err) {
  *out = 0;
  if (!host) return QP_OK;
  for (size_t i = 0; i < m->vectors; i++)
    if (m->vector[i].host == host) return *out = m->vector[i].at, QP_OK;
  if (m->vectors == m->vector_room) {
    const size_t room = 2 * m->vector_room + 64;
    qp_device_vector *v = realloc(m->vector, room * sizeof *v);
    if (!v) return qp_fail(err, QP_E_NOMEM, "no memory for a model's vectors");
    m->vector = v;
    m->vector_room = room;
  }
  qp_device_vector v = {.host = host};
  qp_status status = qp_device_alloc(m->dev, n * sizeof *host, &v.at, err);
  if (!status) status = qp_device_upload(m->dev, v.at, host, n * sizeof *host, err);
  if (status) return qp_device_free(m->dev, v.at), status;
  m->vector[m->vectors++] = v;
  *out = v.at;
  return QP_OK;
}

/* ---- Turns ---- */

qp_status qp_engine_turns(qp_engine_model *m, size_t length, qp_error *err) {
  qp_rotary *r = &m->f->rotary;
  qp_status status = qp_rotary_prepare(r, &m->f->computation, length, err);
  if (m->table_length == length) return status;
  m->table_length = 0;
  for (unsigned i = 0; i < r->sets && !status; i++) {
    const size_t bytes = length * 2 * r->set[i].turns.pairs * sizeof(float);
    status = qp_engine_grow(m, &m->table[i], bytes, err);
    if (!status) status = qp_device_upload(m->dev, m->table[i].at, r->set[i].table, bytes, err);
  }
  if (!status) m->table_length = length;
  return status;
}

/* ---- The end ---- */

void qp_engine_model_free(qp_engine_model *m) {
  for (size_t i = 0; m->weight && i < m->weights; i++) qp_device_free(m->dev, m->weight[i]);
  for (size_t i = 0; i < m->vectors; i++) qp_device_free(m->dev, m->vector[i].at);
  for (unsigned i = 0; i < QP_MAX_TURNS; i++) qp_device_free(m->dev, m->table[i].at);
  qp_device_buffer *const all[] = {&m->passing,  &m->hidden, &m->x,      &m->qkv,
                                   &m->attended, &m->inner,  &m->active, &m->y};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) qp_device_free(m->dev, all[i]->at);
  free(m->weight);
  free(m->vector);
  free(m->host);
  free(m);
}
