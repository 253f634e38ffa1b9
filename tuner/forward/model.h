/* SPDX-License-Identifier: MIT */
/* A model's arrays on a device: weights in fp16, vectors, and room for activations. */
#ifndef QP_ENGINE_MODEL_H
#define QP_ENGINE_MODEL_H

#include "gen/model/forward_state.h"
#include "tuner/base/cublas.h"
#include "tuner/forward/kernels.h"

typedef struct qp_device_buffer {
  qp_devptr at;
  size_t bytes;
} qp_device_buffer;

/* A vector of the model that is on the device too.  Those of a pass live as long as the pass. */
typedef struct qp_device_vector {
  const float *host;
  qp_devptr at;
} qp_device_vector;

typedef struct qp_engine_model {
  struct qp_engine_model *next;
  qp_forward *f;
  qp_forward_kernels *kernels;
  qp_cublas *cublas; /* NULL: products by the kernels */
  qp_device *dev;
  uint64_t *budget;  /* bytes that weights may still take, of all models */
  qp_devptr *weight; /* [weights = layers * linears + 1], the head last; 0: not there */
  size_t weights;
  qp_device_buffer passing; /* a weight that does not stay */
  qp_device_vector *vector; /* [vectors] */
  size_t vectors, vector_room;
  qp_device_buffer table[QP_MAX_TURNS]; /* The tables of cosines and sines ... */
  size_t table_length;                  /* ... for sequences of this length */
  qp_device_buffer hidden, x, qkv, attended, inner, active, y;
  float *host; /* room for weights, or what a hook is told, on their way */
  size_t host_floats;
} qp_engine_model;

/* Bring a linear's weights to the device; '*out' is valid until the next call.  They are
   [rows][columns] in fp16, with what the caller of the pass has put in their place.  linear ==
   linears: the head. */
qp_status qp_engine_weight(qp_engine_model *m, unsigned block, unsigned linear, qp_devptr *out,
                           qp_error *err);

/* Send host[n], a vector of the model; NULL gives 0. */
qp_status qp_engine_vector(qp_engine_model *m, const float *host, size_t n, qp_devptr *out,
                           qp_error *err);

/* The tables of turns for sequences of 'length' tokens, of which f->rotary has those of the CPU. */
qp_status qp_engine_turns(qp_engine_model *m, size_t length, qp_error *err);

/* Make room for at least 'bytes'; what was in it is lost. */
qp_status qp_engine_grow(qp_engine_model *m, qp_device_buffer *b, size_t bytes, qp_error *err);
qp_status qp_engine_grow_host(qp_engine_model *m, size_t floats, qp_error *err);

/* The pass may be closed already. */
void qp_engine_model_free(qp_engine_model *m);

#endif
