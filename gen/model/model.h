/* SPDX-License-Identifier: MIT */
/* Models:  lua/models/x.lua or a config.json, with lua/architectures.lua -> [linears]. */
#ifndef QP_MODEL_H
#define QP_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/spec/lua_host.h"
#include "runtime/status.h"

enum { QP_MODEL_LINEARS = 16, QP_MODEL_GROUP_LINEARS = 8, QP_MODEL_GROUPS = 8 };

/* One weight matrix of a block, or the lm_head. */
typedef struct qp_model_linear {
  char role[16];          /* "q", "k", "v", "o", "up", "gate", "down", "lm_head"; "qkv" and
                             "gate_up" where the checkpoint stores them as one matrix */
  char tensor[96];        /* "self_attn.q_proj": see qp_model_tensor */
  unsigned group;         /* index into qp_model.group; unused for the lm_head */
  unsigned rows, columns; /* out_features M, in_features K */
  bool bias;              /* the checkpoint holds a bias of M elements beside it */
} qp_model_linear;

/* Linears of one block that read the same input: they can be fused into one launch. */
typedef struct qp_model_group {
  char name[32];                                  /* "qkv", "o", "up-gate", "down" */
  unsigned linears, rows[QP_MODEL_GROUP_LINEARS]; /* out_features of each, in order */
  unsigned columns;                               /* in_features of all */
  unsigned linear[QP_MODEL_GROUP_LINEARS];        /* indices into qp_model.linear */
} qp_model_group;

/*
** A decoder (or an encoder such as BERT): 'layers' equal blocks of linears between an embedding and
** the lm_head.  Sizes that a config.json names are kept as they are there.
*/
typedef struct qp_model {
  char name[64];
  char type[32]; /* model_type of config.json */
  unsigned hidden, intermediate, heads, kv_heads, head_dim, layers, vocab;
  bool tied;     /* the lm_head is the embedding's matrix */
  bool headless; /* there is no lm_head: a checkpoint of another task, or of the blocks alone */
  unsigned linears, groups;
  qp_model_linear linear[QP_MODEL_LINEARS + 1]; /* of one block; linear[linears] is the lm_head */
  qp_model_group group[QP_MODEL_GROUPS];        /* of one block; the lm_head is in none */
  char prefix[64];          /* "model.": begins the names of tensors of blocks ... */
  char blocks[32];          /* "layers": ... before ".N." */
  char embedding[96];       /* "model.embed_tokens" */
  uint64_t block_weights;   /* weights of one block's linears */
  uint64_t head_weights;    /* weights of the lm_head */
  uint64_t embedding_bytes; /* of the embedding in 16 bits */
  uint64_t other_bytes;     /* of norms and biases of the whole model in 16 bits */
} qp_model;

/*
** Name in the checkpoint of the weights of linear 'linear' (0 .. linears) in block 'block' (ignored
** for the lm_head, linear == linears), without ".weight": "model.layers.3.self_attn.q_proj",
** "lm_head", or for a tied lm_head "model.embed_tokens".  Append ".weight" or ".bias".
*/
enum { QP_MODEL_NAME = 192 };
void qp_model_tensor(const qp_model *m, unsigned linear, unsigned block, char out[QP_MODEL_NAME]);

/* The lm_head is not there, or is the embedding's matrix, whatever config.json says. */
void qp_model_drop_head(qp_model *m);
void qp_model_tie_head(qp_model *m);

typedef struct qp_models qp_models;

/* Load lua/architectures.lua and every file of lua/models.  Errors name file, field and value. */
qp_status qp_models_open(qp_models **out, qp_error *err);
void qp_models_close(qp_models *m);
/* What lua/architectures.lua returned, a list, and the state that holds it. */
qp_lua *qp_models_lua(qp_models *m);
qp_lua_ref qp_models_architectures(const qp_models *m);

/* Models of lua/models, then those of config.json that were parsed. */
size_t qp_models_count(const qp_models *m);
/* What lua/architectures.lua says of a model_type under a name ("forward"), nil where nothing; the
   caller releases '*out'.  QP_E_ARG: the type is not known. */
qp_status qp_models_entry(qp_models *m, const char *type, const char *name, qp_lua_ref *out,
                          qp_error *err);
const qp_model *qp_models_get(const qp_models *m, size_t i);

/*
** By name, or by path of a Hugging Face config.json (contains '/', begins with '.' or ends in
** ".json"; a folder's path means the config.json in it); the model is then named after the folder.
** A checkpoint's path is found by qp_checkpoint_find_model (checkpoint.h).
** '*out' belongs to 'm'.
** QP_E_ARG: there is none of this name (with the nearest), or the config.json is wrong or of a
** model_type that lua/architectures.lua does not describe; QP_E_IO: it cannot be read; QP_E_LIMIT.
*/
qp_status qp_models_find(qp_models *m, const char *name, const qp_model **out, qp_error *err);

/* A copy of a model, owned by 'm'.  QP_E_LIMIT: there are too many. */
qp_status qp_models_add(qp_models *m, const qp_model *model, const qp_model **out, qp_error *err);

/*
** The same from a text in memory, which 'file' names in messages and (by its folder) the model.
** '*out' is copied to; it stays valid without 'm'.
*/
qp_status qp_models_parse(qp_models *m, const char *file, const char *text, size_t bytes,
                          qp_model *out, qp_error *err);

#endif
