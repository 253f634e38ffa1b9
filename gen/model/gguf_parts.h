/* SPDX-License-Identifier: MIT */
/* Opens a GGUF model that is one file or several (llama-gguf-split):  any part's path -> [all
   parts]. */
#ifndef QP_GGUF_PARTS_H
#define QP_GGUF_PARTS_H

#include "gen/model/gguf.h"

typedef struct qp_gguf_part {
  char *path;
  qp_gguf *file;
} qp_gguf_part;

/* Tensors are in all parts; metadata of the model is in the first. */
typedef struct qp_gguf_parts {
  unsigned count;
  qp_gguf_part *part;
} qp_gguf_parts;

/*
** Open a file and, where its split.count is over 1, those beside it whose names differ in the
** part's number alone, as in m-00001-of-00003.gguf.  Free with qp_gguf_parts_close.
** Errors of qp_gguf_open; QP_E_ARG: the name says nothing of parts, or a part says of itself that
** it is another or of another number of parts; QP_E_NOMEM.
*/
qp_status qp_gguf_parts_open(const char *path, qp_gguf_parts *out, qp_error *err);
void qp_gguf_parts_close(qp_gguf_parts *p);

/* Find a tensor in any of the parts; NULL means that none has it. */
const qp_gguf_tensor *qp_gguf_parts_find(const qp_gguf_parts *p, const char *name);

#endif
