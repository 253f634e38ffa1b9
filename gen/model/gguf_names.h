/* SPDX-License-Identifier: MIT */
/* What GGUF files call things, as Hugging Face checkpoints call them. */
#ifndef QP_GGUF_NAMES_H
#define QP_GGUF_NAMES_H

#include <stdbool.h>

#include "gen/model/gguf_parts.h"
#include "gen/model/models.h"
#include "runtime/status.h"

enum { QP_GGUF_NAMES = 64 };

/* How a tensor of an architecture is called: "attn_q" of each block is "self_attn.q_proj" of it. */
typedef struct qp_gguf_name {
  char there[32], here[96];
  bool block; /* Each block has such a tensor; else the whole model has one. */
  bool
      reorders; /* rows of each head of d are reordered, for RoPE on neighbouring pairs: row 2 i + j
                   of the file is row j d/2 + i of the checkpoint (i < d/2, j < 2) */
  bool of_kv_heads; /* such a head is one of the keys */
} qp_gguf_name;

/* How llama.cpp's convert_hf_to_gguf.py treats an architecture, as its entry in
   lua/architectures.lua says. */
typedef struct qp_gguf_architecture {
  char name[32];       /* general.architecture */
  char model_type[32]; /* model_type of config.json */
  char class[64];      /* "LlamaForCausalLM", of transformers; "": not known */
  char blocks[96];     /* "model.layers" */
  bool adds_one;       /* The file's weights of norms have 1 added to them. */
  unsigned names;
  qp_gguf_name tensor[QP_GGUF_NAMES];
} qp_gguf_architecture;

/*
** Find the architecture of a file.  QP_E_ARG means that no entry has its name (the message gives it
** and those that are known), that the entry is wrong, or that the model has experts where no entry
** of this name does.
*/
qp_status qp_gguf_architecture_of(qp_models *models, const qp_gguf *g, const char *file,
                                  qp_gguf_architecture *out, qp_error *err);

/*
** Name in a Hugging Face checkpoint of the file's tensor 'name', written to out[size]; a name that
** is not known stays as it is.  False: it does not fit.  '*entry' (or NULL) is the tensor's entry,
** NULL where it is not known.
*/
bool qp_gguf_rename(const qp_gguf_architecture *a, const char *name, char *out, size_t size,
                    const qp_gguf_name **entry);

/*
** A config.json with what the metadata says of the model's sizes, malloc'ed.  QP_E_ARG: a key is
** missing (the message names it); QP_E_NOMEM.
*/
qp_status qp_gguf_config(const qp_gguf_architecture *a, const qp_gguf_parts *parts, char **out,
                         qp_error *err);

#endif
