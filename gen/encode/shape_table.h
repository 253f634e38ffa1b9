/* SPDX-License-Identifier: MIT */
/* Writes down what a search of fields that scale vectors knows of a quantizer, for the encode
   kernel: shapes.c --> sizes that become constants, a table of bytes. */
#ifndef QP_SHAPE_TABLE_H
#define QP_SHAPE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/spec/quantizer.h"
#include "runtime/status.h"

/* What each word of the header counts: bytes from the table's beginning to an array. */
typedef enum qp_shape_table_part {
  QP_SHAPE_TABLE_SQUARES, /* float [states]: |u|^2 */
  QP_SHAPE_TABLE_TWICE,   /* float [states][dim]: -2 u */
  QP_SHAPE_TABLE_NUMBERS, /* double [owns + 2]: what combinations of whole numbers multiply a scale
                             by; the least and the largest scale */
  QP_SHAPE_TABLE_RAWS,    /* uint32 [owns][fields]: the combinations */
  QP_SHAPE_TABLE_BOOKS,   /* fp16 [entries][dim] of each codebook, 4 words */
  QP_SHAPE_TABLE_PARTS = QP_SHAPE_TABLE_BOOKS + 4
} qp_shape_table_part;

typedef struct qp_shape_table {
  unsigned states, owns, group, unit;
  unsigned scale; /* the field of a floating point type; 'fields' of the quantizer: there is none */
  size_t bytes;
  unsigned char *data; /* malloc'ed, begins with the header */
} qp_shape_table;

/*
** Write the table of a quantizer for rows of 'columns'; 'data' stays NULL where 'with_data' is
** false.  Free with qp_shape_table_free.  QP_E_LIMIT: the kernel cannot search its fields, and why;
** QP_E_NOMEM.
*/
qp_status qp_shape_table_make(const qp_quantizer *q, unsigned columns, bool with_data,
                              qp_shape_table *out, qp_error *err);
void qp_shape_table_free(qp_shape_table *t);

#endif
