/* SPDX-License-Identifier: MIT */
/* What a model is made of: its blocks, their linears, and the names of those in a checkpoint. */
#ifndef QP_MODEL_H
#define QP_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/status.h"

enum {
  QP_MODEL_LINEARS = 48, /* most linears in blocks of all kinds together */
  QP_MODEL_GROUP_LINEARS = 8,
  QP_MODEL_GROUPS = 40,
  QP_MODEL_KINDS = 32,
  QP_MODEL_PARTS = 4, /* linears whose rows are in one matrix */
  QP_MODEL_BESIDE = 24,
  QP_MODEL_LAYERS = 1024
};

/*
** Where a checkpoint holds the experts of a stack in one tensor: expert e's matrix is the part
** 'part' of 'parts' equal ones of its rows, parts one behind another or row by row in turn.
*/
typedef struct qp_model_stack {
  char tensor[96]; /* "mlp.experts.gate_up_proj", with or without ".weight"; "": there is none */
  unsigned part, parts;
  bool interleaved; /* row r is row r * parts + part of the whole */
  bool transposed;  /* the file has [E, in, out], not [E, out, in] */
} qp_model_stack;

/* A linear whose rows are in a matrix with those of others: of each of the matrix's turns those
   from 'begin' on. */
typedef struct qp_model_part {
  char role[16];
  unsigned rows, begin; /* of a turn */
  unsigned heads;       /* that all of its rows are; 0: those of the model, or none */
} qp_model_part;

/* Where a linear that was taken apart has its rows: row r is row begin + r / run * period + r % run
   of the matrix 'tensor'. */
typedef struct qp_model_rows {
  char tensor[96]; /* as qp_model_linear.tensor; "": the linear is a matrix of its own */
  unsigned begin, run, period;
} qp_model_rows;

/* One weight matrix of a block, or a stack of equal ones (experts), or the lm_head. */
typedef struct qp_model_linear {
  char role[16];          /* "q", "k", "v", "o", "up", "gate", "down", "lm_head"; "qkv" and
                             "gate_up" where the checkpoint stores them as one matrix */
  char tensor[96];        /* "self_attn.q_proj": see qp_model_tensor; of a stack with a '*' where
                             an expert's number stands: "mlp.experts.*.gate_proj" */
  unsigned group;         /* index into qp_model.group; unused for the lm_head */
  unsigned rows, columns; /* out_features M and in_features K; of a stack those of one expert */
  unsigned experts;       /* experts of a stack; 0: it is one matrix */
  unsigned active;        /* experts that a token goes through */
  bool bias;              /* the checkpoint holds a bias of M elements beside it (each expert) */
  qp_model_stack stack;   /* another way in which checkpoints hold a stack */
  unsigned parts, turns;  /* linears that a matrix holds the rows of, 0 or 1: one; how often these
                             take turns */
  qp_model_part part[QP_MODEL_PARTS]; /* in the order in which launches have them */
  qp_model_rows of;                   /* of a linear that was taken apart */
  unsigned head_count;                /* heads that its rows are where it was; 0: the model's */
} qp_model_linear;

/* What makes the input of a linear, by its role: it is the norm before attention, MLP or lm_head,
   the gated linear unit before "down", or something else (attention before "o"). */
typedef enum qp_model_producer {
  QP_PRODUCER_OTHER,
  QP_PRODUCER_NORM,
  QP_PRODUCER_GLU
} qp_model_producer;
enum { QP_PRODUCERS = QP_PRODUCER_GLU + 1 };
qp_model_producer qp_model_producer_of(const char *role);
/* Are linears of these roles up and gate of one gated linear unit ("shared_up", "shared_gate")? */
bool qp_model_gates(const char *up, const char *gate);

/* Linears of one block that read the same input: they can be fused into one launch. */
typedef struct qp_model_group {
  char name[32];                                  /* "qkv", "o", "up-gate", "down" */
  unsigned linears, rows[QP_MODEL_GROUP_LINEARS]; /* out_features of each, in order */
  unsigned columns;                               /* in_features of all */
  unsigned linear[QP_MODEL_GROUP_LINEARS];        /* indices into qp_model.linear */
} qp_model_group;

/* What a block cannot do without and is no linear: a norm, a router. */
typedef struct qp_model_beside {
  char tensor[64]; /* "input_layernorm", as qp_model_linear.tensor */
  char of[16];     /* role of a linear: only blocks that have it have this, too; "": all have;
                      "later": all but the first */
} qp_model_beside;

/*
** A decoder (or an encoder such as BERT): 'layers' blocks of linears between an embedding and the
** lm_head.  Blocks may be of several kinds (dense and sparse, of attention and of a state space):
** 'linear' and 'group' then list those of all kinds, and a block has some of them (qp_model_has).
** The linears of all blocks are numbered block by block (qp_model_number), the lm_head last.
** Sizes that a config.json names are kept as they are there.
*/
typedef struct qp_model {
  char name[64];
  char type[32]; /* model_type of config.json */
  unsigned hidden, intermediate, heads, kv_heads, head_dim, layers, vocab;
  bool tied;     /* the lm_head is the embedding's matrix */
  bool headless; /* there is no lm_head: a checkpoint of another task, or of the blocks alone */
  unsigned linears, groups;
  qp_model_linear linear[QP_MODEL_LINEARS + 1]; /* linears of a block; linear[linears] is the
                                                   lm_head */
  qp_model_group group[QP_MODEL_GROUPS];        /* groups of a block; the lm_head is in none */
  unsigned kinds;                               /* kinds of blocks; 0: all have all linears */
  uint64_t has[QP_MODEL_KINDS];                 /* bit i: blocks of this kind have linear[i] */
  unsigned char kind[QP_MODEL_LAYERS];          /* kind of each block */
  unsigned besides;
  qp_model_beside beside[QP_MODEL_BESIDE];
  char last[128];           /* "model.norm", the norm behind the blocks; "": there is none */
  char prefix[64];          /* "model.": begins the names of tensors of blocks ... */
  char blocks[32];          /* "layers": ... before ".N." */
  char embedding[96];       /* "model.embed_tokens" */
  unsigned slices;          /* a rank's experts are one of so many equal slices; 0: all */
  uint64_t linear_weights;  /* weights of all blocks' linears, of all experts ... */
  uint64_t active_weights;  /* weights of the blocks that one token goes through: of linears, norms,
                               routers */
  uint64_t head_weights;    /* weights of the lm_head */
  uint64_t embedding_bytes; /* bytes of the embedding in 16 bits */
  uint64_t other_bytes;     /* bytes of norms, biases, routers and the like in 16 bits */
  uint64_t passed_bytes;    /* bytes in 16 bits of what is no part of the decoder: a vision tower,
                               heads that predict further tokens */
  char passed[160];         /* what that is: "vision tower and projector", or "" */
  bool surveyed;            /* its family is not described: it is what its tensors are called */
  char lacks[320];          /* of a checkpoint, the first of linears, embedding, lm_head, norms and
                               routers that is not there, or of another shape than its config says,
                               and how many are so; or "" */
  char exceeds[200];    /* of a checkpoint, a tensor of blocks or experts behind the last that its
                               config counts, and both numbers of them; or "" */
  char quantized[64];   /* quantization_config's method, of a checkpoint that has one, or "" */
  bool packing_is_read; /* it is one of those that gen/packings reads */
} qp_model;

/* Does a block have linear[linear], or group[group]? */
bool qp_model_has(const qp_model *m, unsigned block, unsigned linear);
bool qp_model_has_group(const qp_model *m, unsigned block, unsigned group);
/* Count the linears in all blocks, where a stack is one; this is also the number of the lm_head. */
unsigned qp_model_count(const qp_model *m);
/* Number a linear that the block has, counting block by block; block == layers is the lm_head. */
unsigned qp_model_number(const qp_model *m, unsigned block, unsigned linear);
/* Find block and linear of a number; the lm_head has block = layers and linear = m->linears. */
void qp_model_place(const qp_model *m, unsigned number, unsigned *block, unsigned *linear);
/* Number of blocks that have a linear, a group. */
unsigned qp_model_copies(const qp_model *m, unsigned linear);
unsigned qp_model_group_copies(const qp_model *m, unsigned group);
/* Count the weights of a linear; of a stack, those of all its experts. */
uint64_t qp_model_weights(const qp_model_linear *l);

/*
** Name in the checkpoint of the weights of linear 'linear' (0 .. linears) in block 'block' (ignored
** for the lm_head, linear == linears), without ".weight": "model.layers.3.self_attn.q_proj",
** "lm_head", or for a tied lm_head "model.embed_tokens".  Append ".weight" or ".bias".  A stack's
** has a '*', which qp_model_expert replaces by the number of an expert.
*/
enum { QP_MODEL_NAME = 208 }; /* prefix, blocks, ten digits, tensor */
void qp_model_tensor(const qp_model *m, unsigned linear, unsigned block, char out[QP_MODEL_NAME]);
void qp_model_expert(const char *tensor, unsigned expert, char out[QP_MODEL_NAME]);
/* The same of the matrix in which a checkpoint has the linear: another one where it was taken apart
   (qp_model_take_apart).  What is measured of the input is called so. */
void qp_model_matrix(const qp_model *m, unsigned linear, unsigned block, char out[QP_MODEL_NAME]);

/* Is row 'row' of a linear that was taken apart: number of the row in its matrix. */
uint64_t qp_model_row(const qp_model_rows *of, uint64_t row);

/*
** '*out' is the model with a linear for each part of a matrix that holds several, in that one's
** group: "self_attn.qkv_proj" becomes "self_attn.qkv_proj.q", ".k" and ".v".  'out' may be 'm'.
** QP_E_LIMIT: these are more linears than a model can have, or a name is too long.
*/
qp_status qp_model_take_apart(const qp_model *m, qp_model *out, qp_error *err);

/* The lm_head is not there, or is the embedding's matrix, whatever config.json says. */
void qp_model_drop_head(qp_model *m);
void qp_model_tie_head(qp_model *m);

#endif
