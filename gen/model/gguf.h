/* SPDX-License-Identifier: MIT */
/* Reads GGUF files (llama.cpp) of versions 2 and 3 in mapped memory:  file -> [metadata, tensors].
   */
#ifndef QP_GGUF_H
#define QP_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/model/blocks.h"
#include "runtime/status.h"

enum { QP_GGUF_DIMS = 4 };

typedef struct qp_gguf_tensor {
  char name[96];             /* "blk.0.attn_q.weight" */
  uint32_t number;           /* number of its type */
  const qp_block_type *type; /* NULL: one that weights cannot be read from */
  unsigned dims;
  uint64_t shape[QP_GGUF_DIMS]; /* ggml's order: shape[0] varies fastest */
  const unsigned char *data;    /* NULL with type NULL */
  size_t bytes, offset;         /* offset in the file */
} qp_gguf_tensor;

typedef struct qp_gguf qp_gguf;

/*
** Open a file, or take its bytes, which must outlive the result.  Counts, lengths, offsets and
** sizes are checked against the file before they are used, products against overflow; names
** (of tensors and of metadata) are unique and tensors do not overlap.
** QP_E_ARG: wrong, truncated or of another version or byte order: the message names file, tensor or
** key, offset and reason; QP_E_IO; QP_E_LIMIT: over 65536 tensors or metadata, names of 96 or more
** characters, more than 4 dimensions; QP_E_NOMEM.  '*out' is untouched on error.
*/
qp_status qp_gguf_open(const char *path, qp_gguf **out, qp_error *err);
qp_status qp_gguf_parse(const char *file, const unsigned char *data, size_t bytes, qp_gguf **out,
                        qp_error *err);
void qp_gguf_close(qp_gguf *g);

/* Count, get or find tensors, which are sorted by name and owned by 'g'. */
size_t qp_gguf_count(const qp_gguf *g);
const qp_gguf_tensor *qp_gguf_get(const qp_gguf *g, size_t i);
const qp_gguf_tensor *qp_gguf_find(const qp_gguf *g, const char *name);

/* Metadata; false (and '*out' untouched) where there is no such key, or it is of another kind.
   _unsigned takes any integer type whose value is not negative; _text writes a NUL-ended copy of at
   most size - 1 bytes, false where it is longer; _length is the number of an array's items. */
bool qp_gguf_unsigned(const qp_gguf *g, const char *key, uint64_t *out);
bool qp_gguf_number(const qp_gguf *g, const char *key, double *out);
bool qp_gguf_text(const qp_gguf *g, const char *key, char *out, size_t size);
bool qp_gguf_length(const qp_gguf *g, const char *key, uint64_t *out);

/* Call 'visit' with the items of an array in order: these are numbers of any type, or strings (in
   the file, not NUL-ended).  Returns false, without a call, where there is no such key or its items
   are of another kind. */
typedef void qp_gguf_number_visit(void *arg, uint64_t i, double value);
typedef void qp_gguf_string_visit(void *arg, uint64_t i, const char *s, size_t bytes);
bool qp_gguf_each_number(const qp_gguf *g, const char *key, qp_gguf_number_visit *visit, void *arg);
bool qp_gguf_each_string(const qp_gguf *g, const char *key, qp_gguf_string_visit *visit, void *arg);

/* Pages are not needed for now; see qp_map_release. */
void qp_gguf_release(const qp_gguf *g, size_t offset, size_t bytes);

#endif
