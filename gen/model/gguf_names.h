/* SPDX-License-Identifier: MIT */
/* What GGUF files call things, as Hugging Face checkpoints call them. */
#ifndef QP_GGUF_NAMES_H
#define QP_GGUF_NAMES_H

#include <stdbool.h>

#include "gen/model/gguf.h"
#include "runtime/status.h"

/* How llama.cpp's convert_hf_to_gguf.py treats an architecture. */
typedef struct qp_gguf_architecture {
  const char *name;       /* general.architecture */
  const char *model_type; /* of config.json */
  unsigned names;         /* a bit: which rows of the table of names are its own (private) */
  /*
  ** Rows of q and k are reordered within each head of d rows, for RoPE on neighbouring pairs:
  ** row 2 i + j of the file is row j d/2 + i of the checkpoint (i < d/2, j < 2).
  */
  bool reorders;
  bool adds_one; /* to the weights of norms */
} qp_gguf_architecture;

/* The architecture of a file; QP_E_ARG names it and those that are known. */
qp_status qp_gguf_architecture_of(const qp_gguf *g, const char *file,
                                  const qp_gguf_architecture **out, qp_error *err);

/*
** Name in a Hugging Face checkpoint of the file's tensor 'name', written to out[size]; a name that
** is not known stays as it is.  False: it does not fit.
*/
bool qp_gguf_rename(const qp_gguf_architecture *a, const char *name, char *out, size_t size);

/*
** A config.json with what the metadata says of the model's sizes, malloc'ed.  QP_E_ARG: a key is
** missing (the message names it); QP_E_NOMEM.
*/
qp_status qp_gguf_config(const qp_gguf_architecture *a, const qp_gguf *g, const char *file,
                         char **out, qp_error *err);

#endif
