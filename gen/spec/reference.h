/* SPDX-License-Identifier: MIT */
/* CPU reference:  packed weights -> W^, by the layout's definition and the quantizer's own
   decode. */
#ifndef QP_REFERENCE_H
#define QP_REFERENCE_H

#include <stdint.h>

#include "gen/spec/layout.h"
#include "runtime/status.h"

/* The packed weights of one stream in host memory; the caller owns the arrays. */
typedef struct qp_packed {
  const qp_stream *stream;
  const uint32_t *codes;                      /* [stream->code_words] */
  const uint8_t *field[QP_MAX_ARRAYS];        /* [stream->field_bytes[a]] */
  const uint16_t *codebook[QP_MAX_CODEBOOKS]; /* With tensor scope it is [entries][dim], with row
                                                 scope [32 row_groups][entries]; NULL: the
                                                 default. */
} qp_packed;

/* A store of the decode tables of the quantizers that were met; one thread uses it. */
typedef struct qp_reference qp_reference;
qp_reference *qp_reference_new(void);
void qp_reference_free(qp_reference *r);

/*
** Decode row group 'row_group': out[i * columns + c] is the fp16 bits of row 32 row_group + i,
** column c, for 32 rows (those at and beyond stream->rows are padding) and stream->columns columns.
*/
qp_status qp_reference_decode(qp_reference *r, const qp_packed *packed, unsigned row_group,
                              uint16_t *out, qp_error *err);

/* Read the raw bits of a group field at a row and column of the stream. */
uint32_t qp_reference_field(const qp_packed *packed, unsigned field, unsigned row, unsigned column);

#endif
