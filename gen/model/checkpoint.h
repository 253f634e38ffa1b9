/* SPDX-License-Identifier: MIT */
/* Opens a model's weights, whatever file they come in:  safetensors or GGUF -> [checkpoint]. */
#ifndef QP_CHECKPOINT_H
#define QP_CHECKPOINT_H

#include <stddef.h>
#include <stdint.h>

#include "gen/model/models.h"
#include "gen/model/source_tensor.h"
#include "runtime/status.h"

typedef struct qp_checkpoint qp_checkpoint;

/*
** Open a .gguf file (of a model in several, any of them); or a .safetensors file, an index.json
** or a folder of either, with a config.json beside it.  The model is described by 'models'
** (lua/architectures.lua), from config.json or from the GGUF's metadata; of a model_type that is
** not described there, by its tensors (tensor_survey.h).  Of a GGUF, rows of q and k that llama.cpp
** reorders for its RoPE and norms to which it adds 1 are put back when they are read.
** Errors as of qp_safetensors_open, qp_gguf_open, qp_models_parse; QP_E_ARG: no config.json, or a
** GGUF of an architecture that is not known.
*/
qp_status qp_checkpoint_open(const char *path, qp_models *models, qp_checkpoint **out,
                             qp_error *err);
void qp_checkpoint_close(qp_checkpoint *c);

/*
** What a user gives as a model: the path of a checkpoint (.gguf, .safetensors, an index.json, a
** folder that holds weights), whose tensors then tell what its config does not (a head that is tied
** or absent); else by qp_models_find.  '*out' belongs to 'models'; the checkpoint is closed again.
** Errors of qp_checkpoint_open and qp_models_find.
*/
qp_status qp_checkpoint_find_model(qp_models *models, const char *name, const qp_model **out,
                                   qp_error *err);

/*
** Take matrices that hold the rows of several linears apart: the model becomes that of
** qp_model_take_apart, and each of its linears has a tensor, and a bias, of its own, which are
** views of those of the file.  QP_E_ARG: a matrix has another shape than its linears; QP_E_LIMIT,
** QP_E_NOMEM.
*/
qp_status qp_checkpoint_take_apart(qp_checkpoint *c, qp_error *err);

/* The model and the path that were opened; they live as long as the checkpoint. */
const qp_model *qp_checkpoint_model(const qp_checkpoint *c);
const char *qp_checkpoint_path(const qp_checkpoint *c);
/* Give the text of config.json; of a GGUF it is one that says what the metadata says. */
const char *qp_checkpoint_config(const qp_checkpoint *c);
/* A hash of names, sizes and times of the files: another checkpoint has another. */
uint64_t qp_checkpoint_stamp(const qp_checkpoint *c);
/* A hash of what the model is: its config and every tensor's name and bytes, wherever they lie.
   It reads all of the files. */
uint64_t qp_checkpoint_digest(const qp_checkpoint *c);

/* Count, get or find tensors of the file, which are sorted by name. */
size_t qp_checkpoint_count(const qp_checkpoint *c);
const qp_source_tensor *qp_checkpoint_get(const qp_checkpoint *c, size_t i);
/*
** One of these, or an expert ("model.layers.0.mlp.experts.7.up_proj.weight") that lies in one of
** them with others; NULL: there is neither.
*/
const qp_source_tensor *qp_checkpoint_find(const qp_checkpoint *c, const char *name);
/* The tensor of the file that a tensor is, or lies in; and of how many experts that one is. */
const qp_source_tensor *qp_checkpoint_whole(const qp_source_tensor *t);
unsigned qp_checkpoint_experts(const qp_source_tensor *t);
/* Was the tensor taken apart into linears?  And the tensors that lie in others, sorted by name. */
bool qp_checkpoint_is_apart(const qp_source_tensor *t);
size_t qp_checkpoint_views(const qp_checkpoint *c);
const qp_source_tensor *qp_checkpoint_view(const qp_checkpoint *c, size_t i);

/*
** Read rows first .. first + count - 1 as fp32 into out[count][columns].  Any number of threads may
** do so at once.  QP_E_ARG means that the type is no real number (the message names tensor, type
** and file).
*/
qp_status qp_checkpoint_read(const qp_checkpoint *c, const qp_source_tensor *t, uint64_t first,
                             uint64_t count, float *out, qp_error *err);

/*
** Read rows in the type in which a tensor that is not quantized is kept, 'kept_type': it is that of
** a safetensors file, and F16 for the blocks of a GGUF.  out[count][columns] are elements of this
** type.
*/
qp_status qp_checkpoint_keep(const qp_checkpoint *c, const qp_source_tensor *t, uint64_t first,
                             uint64_t count, unsigned char *out, qp_error *err);

/* The tensor's pages are not needed for now. */
void qp_checkpoint_release(const qp_checkpoint *c, const qp_source_tensor *t);

#endif
