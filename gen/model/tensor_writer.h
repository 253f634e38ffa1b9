/* SPDX-License-Identifier: MIT */
/* Writes a .safetensors file as a whole or not at all:  declared tensors --> PATH.part --> PATH. */
#ifndef QP_TENSOR_WRITER_H
#define QP_TENSOR_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/safetensors.h"
#include "runtime/status.h"

typedef struct qp_tensor_writer qp_tensor_writer;

/*
** Declare all tensors and metadata, start, write every byte of each tensor (in any order and any
** pieces), finish.  Tensors lie by the size of their elements, largest first, those of one size in
** the order of their declaration; data begins at a multiple of 128 bytes of the file.  Strings are
** copied.  One thread uses it.
** QP_E_NOMEM; QP_E_IO names path and reason; QP_E_ARG: a name is declared twice, a piece is outside
** its tensor, bytes are missing at the end.  After an error only qp_tensor_writer_free is allowed.
*/
qp_status qp_tensor_writer_new(const char *path, qp_tensor_writer **out, qp_error *err);
/* '*id' numbers tensors from 0 in the order of their declaration; it may be NULL. */
qp_status qp_tensor_writer_declare(qp_tensor_writer *w, const char *name, qp_tensor_type type,
                                   unsigned dims, const uint64_t *shape, size_t *id, qp_error *err);
qp_status qp_tensor_writer_metadata(qp_tensor_writer *w, const char *key, const char *value,
                                    qp_error *err);
qp_status qp_tensor_writer_start(qp_tensor_writer *w, qp_error *err);
/* 'data' is read at once; each byte of a tensor is to be written once. */
qp_status qp_tensor_writer_write(qp_tensor_writer *w, size_t id, uint64_t offset, const void *data,
                                 size_t bytes, qp_error *err);
/* Flush to disk and give the file its name. */
qp_status qp_tensor_writer_finish(qp_tensor_writer *w, qp_error *err);
/* Free; removes PATH.part of a file that was not finished.  NULL is allowed. */
void qp_tensor_writer_free(qp_tensor_writer *w);

#endif
