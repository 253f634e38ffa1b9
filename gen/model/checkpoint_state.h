/* SPDX-License-Identifier: MIT */
/* What a checkpoint holds, shared by the files that open, name and read it. */
#ifndef QP_CHECKPOINT_STATE_H
#define QP_CHECKPOINT_STATE_H

#include "gen/model/gguf_parts.h"
#include "gen/model/models.h"
#include "gen/model/source_tensor.h"

typedef struct qp_checkpoint qp_checkpoint;
struct qp_checkpoint {
  char *path, *config;
  qp_safetensors *plain; /* Either this or 'packed' holds the tensors. */
  qp_packing *packing;   /* [packings]: what tensors of 'plain' hold together */
  size_t packings;
  qp_gguf_parts packed;
  qp_model model;
  uint64_t stamp;
  size_t count, views;
  qp_source_tensor *tensor, *view; /* Both are sorted by name. */
};

/* The file's row that holds row 'row' of a tensor that is no view. */
uint64_t qp_checkpoint_row(const qp_source_tensor *t, uint64_t row);

/* The row (of a turned view the column) of a view's whole that holds row 'row' of the view. */
uint64_t qp_checkpoint_viewed_row(const qp_source_tensor *t, uint64_t row);

/* Make room for so many more views; QP_E_NOMEM. */
qp_status qp_checkpoint_need_views(qp_checkpoint *c, unsigned count, qp_error *err);

/* Sort by name; QP_E_ARG: two are of one name. */
qp_status qp_checkpoint_sort(const char *path, qp_source_tensor *list, size_t count, qp_error *err);

/* Find a tensor of the file; NULL means that it has none of this name. */
const qp_source_tensor *qp_checkpoint_find_stored(const qp_checkpoint *c, const char *name);

/* Give tensors the names that they have in the whole model, which plans and packed files use. */
qp_status qp_checkpoint_use_names(qp_checkpoint *c, qp_error *err);
/* An embedding that is there by another name has that one. */
void qp_checkpoint_find_embedding(qp_checkpoint *c);
/* A head that is not there is the embedding, whatever config.json says. */
void qp_checkpoint_find_head(qp_checkpoint *c);

/* Say in the model what of it the checkpoint does not have as its config says, and whether it has
   blocks that its config does not count. */
void qp_checkpoint_compare(qp_checkpoint *c);

/*
** Experts that lie in one tensor become views, named as the stack's linears name them.
** QP_E_ARG: such a tensor has another shape than the model's experts; QP_E_NOMEM.
*/
qp_status qp_checkpoint_list_experts(qp_checkpoint *c, qp_error *err);

#endif
