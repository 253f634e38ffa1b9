/* SPDX-License-Identifier: MIT */
/* A tensor of a checkpoint, whatever file it comes in. */
#ifndef QP_SOURCE_TENSOR_H
#define QP_SOURCE_TENSOR_H

#include <stdint.h>

#include "gen/model/gguf.h"
#include "gen/packings/packing.h"
#include "runtime/safetensors.h"

/* A tensor under its Hugging Face name, in Hugging Face order, whatever the file has. */
typedef struct qp_source_tensor {
  char *name; /* "model.layers.0.self_attn.q_proj.weight" */
  unsigned dims;
  uint64_t shape[QP_TENSOR_DIMS]; /* row-major */
  uint64_t rows, columns;         /* Columns are the last dimension (1 of a scalar), rows all others
                                     together. */
  const char *type;               /* what the file calls its type: "BF16", "Q4_K" */
  qp_tensor_type kept_type;       /* as qp_checkpoint_keep gives it */
  /* private: */
  const qp_tensor *plain;
  const qp_packing *packing; /* where others packed it, in several tensors of a safetensors file */
  const qp_gguf_tensor *packed;
  const qp_gguf *file; /* the file that holds 'packed' */
  /* Of an expert, or a linear, that lies in a tensor with others: row r is row
     R = begin + r / run * period + r % run of 'whole', or if it is turned column R of the whole's
     rows from turned_row on, one for each column. */
  const struct qp_source_tensor *whole;
  uint64_t begin, run, period, turned_row;
  bool turned;
  unsigned views; /* of a tensor that holds these: how many are views of it */
  bool apart;     /* its views are linears (qp_model_take_apart), no experts */
  unsigned heads; /* > 0: rows are reordered within each of so many heads, see gguf_names.h */
  float minus;    /* subtracted from every element */
} qp_source_tensor;

#endif
