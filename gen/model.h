/* SPDX-License-Identifier: MIT */
/* Models:  lua/models/x.lua -> the shapes of their linears. */
#ifndef QP_MODEL_H
#define QP_MODEL_H

#include <stddef.h>

#include "runtime/status.h"

/* Sizes of a decoder with grouped-query attention and a gated MLP (Llama and its kin). */
typedef struct qp_model {
  char name[64];
  unsigned hidden, intermediate, heads, kv_heads, head_dim, layers, vocab;
} qp_model;

/* Linears of one block that read the same input: they can be fused into one launch. */
typedef struct qp_model_group {
  const char *name;                   /* "qkv", "o", "up-gate", "down" */
  unsigned linears, rows[3], columns; /* out_features of each; in_features of all */
} qp_model_group;
enum { QP_MODEL_GROUPS = 4 };
void qp_model_groups(const qp_model *m, qp_model_group group[QP_MODEL_GROUPS]);

typedef struct qp_models qp_models;

/* Load every file of lua/models.  Errors name file, field and value. */
qp_status qp_models_open(qp_models **out, qp_error *err);
void qp_models_close(qp_models *m);
size_t qp_models_count(const qp_models *m);
const qp_model *qp_models_get(const qp_models *m, size_t i);
/* QP_E_ARG: there is none of this name. */
qp_status qp_models_find(const qp_models *m, const char *name, const qp_model **out, qp_error *err);

#endif
