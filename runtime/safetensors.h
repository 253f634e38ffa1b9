/* SPDX-License-Identifier: MIT */
/* Reads the tensors of .safetensors files, single or sharded, in mapped memory. */
#ifndef QP_SAFETENSORS_H
#define QP_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/map.h"
#include "runtime/status.h"

/* Name in the file, bits an element: all that safetensors 0.8 knows. */
/* clang-format off */
#define QP_TENSOR_TYPES(X)                                                                         \
  X(BOOL, 8) X(U8, 8) X(I8, 8) X(F8_E4M3, 8) X(F8_E5M2, 8) X(U16, 16) X(I16, 16) X(F16, 16)        \
  X(BF16, 16) X(U32, 32) X(I32, 32) X(F32, 32) X(U64, 64) X(I64, 64) X(F64, 64)                    \
  X(F4, 4) X(F6_E2M3, 6) X(F6_E3M2, 6) X(F8_E8M0, 8) X(F8_E4M3FNUZ, 8) X(F8_E5M2FNUZ, 8) X(C64, 64)
/* clang-format on */

#define QP_TENSOR_ENUM(name, bits) QP_TENSOR_##name,
typedef enum qp_tensor_type { QP_TENSOR_TYPES(QP_TENSOR_ENUM) QP_TENSOR_TYPE_COUNT } qp_tensor_type;
#undef QP_TENSOR_ENUM

enum { QP_TENSOR_DIMS = 8 };

const char *qp_tensor_type_name(qp_tensor_type t); /* "F16" */
unsigned qp_tensor_type_bits(qp_tensor_type t);    /* bits of an element */
unsigned qp_tensor_type_bytes(qp_tensor_type t);   /* bytes of an element that stands alone, at
                                                      least 1 */
/* Tell how many bytes so many elements take one behind another; the last byte is filled up. */
uint64_t qp_tensor_bytes(qp_tensor_type t, uint64_t elements);

typedef struct qp_tensor {
  const char *name;
  qp_tensor_type type;
  unsigned dims;
  uint64_t shape[QP_TENSOR_DIMS]; /* row-major, the last varies fastest */
  uint64_t elements;              /* product of the shape, 1 for a scalar */
  const unsigned char *data;      /* [bytes]; not aligned to more than the file is */
  size_t bytes;
  unsigned shard; /* which file */
  size_t offset;  /* where 'data' begins in that file */
} qp_tensor;

typedef struct qp_safetensors qp_safetensors;

/*
** Open a .safetensors file, a model.safetensors.index.json (its shards are named relative to it),
** or a folder that holds one of those.  Every header is checked as a whole: sizes against the
** file before they are used, products against overflow, offsets against type and shape, against
** gaps and overlaps; fields that a tensor has beside dtype, shape and data_offsets are passed
** over, and __metadata__ may be null; names are unique over all shards and, of an index, just
** those that it lists.
** QP_E_ARG: wrong or truncated (the message names file, tensor, offset and reason); QP_E_IO: it
** cannot be read; QP_E_LIMIT: a header over 100 MB, more than 8 dimensions, 4096 shards;
** QP_E_NOMEM. '*out' is untouched on error.  After opening it may be read by any number of threads.
*/
qp_status qp_safetensors_open(const char *path, qp_safetensors **out, qp_error *err);

/* The same from one file's bytes, which must outlive it. */
qp_status qp_safetensors_parse(const char *file, const unsigned char *data, size_t bytes,
                               qp_safetensors **out, qp_error *err);
void qp_safetensors_close(qp_safetensors *s);

/* These give the tensors, sorted by name.  's' owns them, and their data is valid until it is
   closed. */
size_t qp_safetensors_count(const qp_safetensors *s);
const qp_tensor *qp_safetensors_get(const qp_safetensors *s, size_t i);
const qp_tensor *qp_safetensors_find(const qp_safetensors *s, const char *name); /* or NULL */

/* How many files there are, and an entry of a file's __metadata__ (NULL means that it has none of
   that name). */
unsigned qp_safetensors_shards(const qp_safetensors *s);
const char *qp_safetensors_shard_path(const qp_safetensors *s, unsigned shard);
const char *qp_safetensors_metadata(const qp_safetensors *s, unsigned shard, const char *key);

/* A tensor's pages are not needed for now; see qp_map_release. */
void qp_safetensors_release(const qp_safetensors *s, const qp_tensor *t);

#endif
