/* SPDX-License-Identifier: MIT */
/* What the parts of the forward pass share: forward.c reads weights, forward_block.c computes with
   them, and engines (tuner/forward) do so on a GPU. */
#ifndef QP_FORWARD_STATE_H
#define QP_FORWARD_STATE_H

#include "gen/base/blas.h"
#include "gen/base/parallel.h"
#include "gen/model/attention.h"
#include "gen/model/forward_engine.h"
#include "gen/model/forward_types.h"
#include "gen/model/rotary.h"
#include "gen/model/weights.h"

typedef struct qp_forward_norm {
  float *weight, *bias; /* [width]; NULL: none */
  unsigned width;
} qp_forward_norm;

typedef struct qp_forward_weight {
  float *own;            /* [rows][columns]; NULL: not read yet, or not kept */
  const float *override; /* the caller's, or NULL */
  const float *scale;    /* The caller's [rows], with which the rows are multiplied, or NULL. */
  float *bias;           /* [rows], or NULL */
} qp_forward_weight;

typedef struct qp_forward_layer {
  qp_forward_weight linear[QP_MODEL_LINEARS];
  qp_forward_norm norm[QP_NORM_PLACES];
} qp_forward_layer;

/* Where a block finds its linears, by role: -1 where there is none. */
typedef struct qp_forward_roles {
  int q, k, v, qkv, o, up, gate, gate_up, down;
} qp_forward_roles;

/* Arrays of a run; each grows as it is needed. */
typedef struct qp_forward_buffer {
  float *data;
  size_t floats;
} qp_forward_buffer;

struct qp_forward {
  qp_weights *weights;
  const qp_model *model;
  qp_computation computation;
  qp_forward_roles roles;
  const qp_blas *blas;
  qp_parallel *parallel;
  uint64_t budget, used;   /* bytes of weights that stay */
  bool same;               /* products are cut alike whatever the threads */
  qp_forward_layer *layer; /* [layers] */
  qp_forward_norm final;
  qp_forward_weight head;
  qp_rotary rotary;
  qp_attention_scratch attention;
  qp_forward_buffer x, qkv, mixed, y, inner; /* Scratch of the block that runs. */
  qp_forward_buffer tasks;                   /* The tasks of attention, as size_t. */
  qp_forward_engine engine;                  /* what computes the blocks; zeros: the CPU */
};

/* Make room for at least 'floats' numbers in a buffer, whose content is lost.  QP_E_NOMEM. */
qp_status qp_forward_grow(qp_forward_buffer *b, size_t floats, qp_error *err);

/* A product  out[i][j] = scale[j] sum_k x[i][k] w[j][k] + bias[j].  Rows of x and out begin
   x_stride and out_stride floats apart; scale and bias may be NULL. */
typedef struct qp_product {
  const float *x, *w, *scale, *bias;
  float *out;
  size_t rows, x_stride, out_stride;
  unsigned features, columns;
} qp_product;
void qp_forward_product(const qp_forward *f, const qp_product *p);

/* y[i] = norm(x[i]) over 'count' neighbouring pieces of norm->width, for each of 'rows'; may
   be in place. */
typedef struct qp_norm_rows {
  const qp_forward_norm *norm;
  const float *x;
  float *y;
  size_t rows, x_stride, y_stride;
  unsigned count;
} qp_norm_rows;
void qp_forward_norm_rows(const qp_forward *f, const qp_norm_rows *n);

/* See to it that the weights of all linears of a block are there.  Where memory is short they are
   until qp_forward_drop. */
qp_status qp_forward_need(qp_forward *f, unsigned block, qp_error *err);
void qp_forward_drop(qp_forward *f, unsigned block);
qp_status qp_forward_need_head(qp_forward *f, qp_error *err); /* Read the weights of the lm_head
                                                                 where they are not there yet. */

/* The halves of a block, which may be run by themselves. */
enum { QP_HALF_ATTENTION = 1, QP_HALF_MLP = 2, QP_BOTH_HALVES = 3 };

/* Run the block, or a half of it, on all sequences.  Its weights must be there. */
qp_status qp_forward_compute(qp_forward *f, unsigned block, unsigned halves, const qp_sequences *s,
                             const qp_forward_hook *hook, float *hidden, qp_error *err);

#endif
