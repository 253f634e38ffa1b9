/* SPDX-License-Identifier: MIT */
/* Opens a packed linear:  a file with its tensors -> its parts. */
#include "tuner/quantize/packed_linear.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/half.h"

static qp_status find_tensor(const qp_safetensors *file, qp_tensor_type type, size_t bytes,
                             const void **out, qp_error *err, const char *format, ...)
    __attribute__((format(printf, 6, 7)));

static qp_status find_tensor(const qp_safetensors *file, qp_tensor_type type, size_t bytes,
                             const void **out, qp_error *err, const char *format, ...) {
  char name[QP_JOB_NAME];
  va_list list;
  va_start(list, format);
  vsnprintf(name, sizeof name, format, list);
  va_end(list);
  if (!bytes) return QP_OK; /* a part of a split that has no columns */
  const qp_tensor *t = qp_safetensors_find(file, name);
  if (!t)
    return qp_fail(err, QP_E_ARG, "%s: tensor '%s' is missing", qp_safetensors_shard_path(file, 0),
                   name);
  if (t->type != type || t->bytes != bytes || (uintptr_t)t->data % qp_tensor_type_bytes(type))
    return qp_fail(err, QP_E_ARG,
                   "%s: tensor '%s' at offset %zu: %zu bytes of %s; %zu of %s, aligned, are needed",
                   qp_safetensors_shard_path(file, t->shard), name, t->offset, t->bytes,
                   qp_tensor_type_name(t->type), bytes, qp_tensor_type_name(type));
  *out = t->data;
  return QP_OK;
}

/* Find stream r of the linear: its chunk of each of its part's tensors. */
static qp_status find_part(const qp_job_linear *l, const qp_safetensors *file, const qp_range *r,
                           qp_linear_part *out, qp_error *err) {
  const qp_quantizer *q = out->stream.quantizer;
  const unsigned pieces = qp_job_pieces(l), p = r->part, i = r->piece;
  qp_packed *k = &out->packed;
  const void *at = NULL;
  qp_status status = find_tensor(file, QP_TENSOR_U32, out->stream.code_words * 4 * pieces, &at, err,
                                 "%s.codes.%u", l->name, p);
  if (at) k->codes = (const uint32_t *)at + i * out->stream.code_words;
  for (unsigned f = 0; f < out->stream.arrays && !status; f++) {
    const bool half = qp_layout_array_is_half(q, f);
    status =
        find_tensor(file, half ? QP_TENSOR_F16 : QP_TENSOR_U8, out->stream.field_bytes[f] * pieces,
                    &at, err, "%s.field.%u.%u", l->name, p, f);
    if (at) k->field[f] = (const uint8_t *)at + i * out->stream.field_bytes[f];
  }
  for (unsigned c = 0; c < q->codebooks && !status; c++) {
    const qp_codebook *book = &q->codebook[c];
    if (book->scope == QP_SCOPE_SPEC) continue;
    const size_t rows =
        (book->scope == QP_SCOPE_ROW ? (size_t)out->stream.row_groups * QP_GROUP_ROWS : 1) *
        book->dim;
    status = find_tensor(file, QP_TENSOR_F16, 2 * rows * book->entries * pieces, &at, err,
                         "%s.codebook.%u.%u", l->name, p, c);
    if (at) k->codebook[c] = (const uint16_t *)at + i * rows * book->entries;
  }
  return status;
}

static qp_status find_scales(const qp_job_linear *l, const qp_safetensors *file, float **out,
                             qp_error *err) {
  char name[QP_JOB_NAME];
  snprintf(name, sizeof name, "%s.row_scales", l->name);
  const qp_tensor *t = qp_safetensors_find(file, name);
  const qp_tensor_type type = t && t->type == QP_TENSOR_F16 ? QP_TENSOR_F16 : QP_TENSOR_F32;
  const void *at = NULL;
  qp_status status =
      find_tensor(file, type, l->rows * qp_tensor_type_bytes(type), &at, err, "%s", name);
  if (status) return status;
  float *scales = malloc(sizeof *scales * l->rows);
  if (!scales) return qp_fail(err, QP_E_NOMEM, "no memory for %u row scales", l->rows);
  for (size_t i = 0; i < l->rows; i++)
    scales[i] = type == QP_TENSOR_F16 ? qp_half_to_float(((const uint16_t *)at)[i])
                                      : ((const float *)at)[i];
  *out = scales;
  return QP_OK;
}

qp_status qp_linear_find(const qp_job_linear *l, const qp_safetensors *file,
                         qp_linear_part part[QP_MAX_RANGES], float **scales, qp_error *err) {
  qp_status status = QP_OK;
  for (unsigned p = 0; p < qp_linear_streams(l) && !status; p++) {
    const qp_range r = qp_layout_range(l->quantizer, l->columns, qp_job_pieces(l), p);
    part[p] = (qp_linear_part){.column = r.column};
    status = qp_layout_stream(r.quantizer, l->rows, r.columns, &part[p].stream, err);
    if (!status) status = find_part(l, file, &r, &part[p], err);
    part[p].packed.stream = &part[p].stream;
  }
  return status ? status : find_scales(l, file, scales, err);
}

qp_status qp_linear_decode(qp_reference *r, const qp_linear_part *part, unsigned parts,
                           unsigned row_group, unsigned columns, uint16_t *out, uint16_t *piece,
                           qp_error *err) {
  for (unsigned p = 0; p < parts; p++) {
    const unsigned n = part[p].stream.columns;
    qp_packed packed = part[p].packed;
    packed.stream = &part[p].stream;
    if (!n) continue;
    qp_status status = qp_reference_decode(r, &packed, row_group, piece, err);
    if (status) return status;
    for (unsigned i = 0; i < QP_GROUP_ROWS; i++)
      memcpy(out + (size_t)i * columns + part[p].column, piece + (size_t)i * n, n * sizeof *out);
  }
  return QP_OK;
}
