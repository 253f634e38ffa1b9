/* SPDX-License-Identifier: MIT */
/* Reads a checkpoint's tensors as numbers. */
#include "gen/model/checkpoint.h"
#include "gen/model/checkpoint_state.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/half.h"

static qp_status no_memory(const char *path, qp_error *err) {
  return qp_fail(err, QP_E_NOMEM, "%s: no memory", path);
}

uint64_t qp_checkpoint_viewed_row(const qp_source_tensor *t, uint64_t row) {
  return t->begin + row / t->run * t->period + row % t->run;
}

uint64_t qp_checkpoint_row(const qp_source_tensor *t, uint64_t row) {
  if (!t->heads) return row;
  const uint64_t d = t->rows / t->heads, in_head = row % d;
  return row - in_head + 2 * (in_head % (d / 2)) + in_head / (d / 2);
}

/* The block type that decodes a tensor's elements; NULL: they are no numbers that are read. */
static const qp_block_type *plain_type(const qp_source_tensor *t) {
  switch (t->plain->type) {
  case QP_TENSOR_F32: return qp_block_type_find(0);
  case QP_TENSOR_F16: return qp_block_type_find(1);
  case QP_TENSOR_BF16: return qp_block_type_find(30);
  default: return NULL;
  }
}

/* Read 'count' elements from element 'first' on. */
static qp_status read_plain(const qp_checkpoint *c, const qp_source_tensor *t, uint64_t first,
                            uint64_t count, float *out, qp_error *err) {
  const qp_block_type *type = plain_type(t);
  if (!type)
    return qp_fail(
        err, QP_E_ARG,
        "%s: tensor '%s' at offset %zu: %s is not read as weights; F32, F16 and BF16 are",
        qp_safetensors_shard_path(c->plain, t->plain->shard), t->name, t->plain->offset, t->type);
  type->decode(t->plain->data + (size_t)first * qp_tensor_type_bytes(t->plain->type), (size_t)count,
               out);
  return QP_OK;
}

/* Columns of [in, out], which are rows of the view: each of its columns is part of a row there. */
static qp_status read_turned(const qp_checkpoint *c, const qp_source_tensor *t, uint64_t first,
                             uint64_t count, float *out, qp_error *err) {
  const uint64_t begin = qp_checkpoint_viewed_row(t, first), wide = t->whole->columns;
  const uint64_t span = qp_checkpoint_viewed_row(t, first + count - 1) - begin + 1;
  const uint64_t from = t->turned_row * wide + begin;
  float *piece = malloc((size_t)(span > wide ? span : wide) * sizeof *piece);
  if (!piece) return no_memory(c->path, err);
  qp_status status = QP_OK;
  for (uint64_t k = 0; k < t->columns && !status; k++) {
    const float *part = piece;
    if (t->whole->plain) {
      status = read_plain(c, t->whole, from + k * wide, span, piece, err);
    } else { /* blocks are read by whole rows */
      status = qp_checkpoint_read(c, t->whole, t->turned_row + k, 1, piece, err);
      part += begin;
    }
    for (uint64_t r = 0; r < count && !status; r++)
      out[r * t->columns + k] = part[qp_checkpoint_viewed_row(t, first + r) - begin];
  }
  free(piece);
  return status;
}

static qp_status read_view(const qp_checkpoint *c, const qp_source_tensor *t, uint64_t first,
                           uint64_t count, float *out, qp_error *err) {
  if (t->turned) return read_turned(c, t, first, count, out, err);
  qp_status status = QP_OK;
  for (uint64_t r = 0, n; r < count && !status; r += n) { /* the rows of a run are neighbours */
    const uint64_t left = t->run - (first + r) % t->run;
    n = left < count - r ? left : count - r;
    status = qp_checkpoint_read(c, t->whole, qp_checkpoint_viewed_row(t, first + r), n,
                                out + (size_t)(r * t->columns), err);
  }
  return status;
}

qp_status qp_checkpoint_read(const qp_checkpoint *c, const qp_source_tensor *t, uint64_t first,
                             uint64_t count, float *out, qp_error *err) {
  if (first > t->rows || count > t->rows - first)
    return qp_fail(err, QP_E_ARG, "%s: tensor '%s' has %llu rows", c->path, t->name,
                   (unsigned long long)t->rows);
  if (!count || !t->columns) return QP_OK;
  if (t->whole) return read_view(c, t, first, count, out, err);
  if (t->packing) return qp_packing_read(t->packing, first, count, out), QP_OK;
  if (t->plain) return read_plain(c, t, first * t->columns, count * t->columns, out, err);
  const qp_block_type *type = t->packed->type;
  const size_t row_bytes = (size_t)(t->columns / type->elements) * type->bytes;
  for (uint64_t r = 0; r < count; r++) {
    float *to = out + (size_t)(r * t->columns);
    type->decode(t->packed->data + (size_t)qp_checkpoint_row(t, first + r) * row_bytes,
                 (size_t)t->columns, to);
    for (uint64_t i = 0; t->minus != 0 && i < t->columns; i++) to[i] -= t->minus;
  }
  return QP_OK;
}

/* Write fp32 numbers to 'out' as F16 or BF16. */
static void narrow(const float *from, size_t count, qp_tensor_type type, unsigned char *out) {
  for (size_t i = 0; i < count; i++) {
    const uint16_t h =
        type == QP_TENSOR_BF16 ? qp_float_to_bf16(from[i]) : qp_float_to_half(from[i]);
    memcpy(out + 2 * i, &h, sizeof h);
  }
}

qp_status qp_checkpoint_keep(const qp_checkpoint *c, const qp_source_tensor *t, uint64_t first,
                             uint64_t count, unsigned char *out, qp_error *err) {
  const size_t n = (size_t)(count * t->columns);
  if (t->plain) {
    const uint64_t before = qp_tensor_bytes(t->plain->type, first * t->columns);
    if (n) memcpy(out, t->plain->data + before, (size_t)qp_tensor_bytes(t->plain->type, n));
    return QP_OK;
  }
  float *values = malloc(n * sizeof *values + 1);
  if (!values) return no_memory(c->path, err);
  qp_status status = qp_checkpoint_read(c, t, first, count, values, err);
  if (!status && t->kept_type == QP_TENSOR_F32)
    memcpy(out, values, n * sizeof *values);
  else if (!status)
    narrow(values, n, t->kept_type, out);
  free(values);
  return status;
}

void qp_checkpoint_release(const qp_checkpoint *c, const qp_source_tensor *t) {
  if (t->whole) return; /* other experts lie in the same pages */
  for (unsigned i = 0; t->packing && i < QP_PACKING_PARTS; i++)
    if (t->packing->part[i]) qp_safetensors_release(c->plain, t->packing->part[i]);
  if (t->plain) qp_safetensors_release(c->plain, t->plain);
  if (t->packed) qp_gguf_release(t->file, t->packed->offset, t->packed->bytes);
}
