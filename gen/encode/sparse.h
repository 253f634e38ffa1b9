/* SPDX-License-Identifier: MIT */
/*
** Entries of a row that are stored apart in fp16:  row -> [the entries that matter most, the rest].
** The rest is coded as if the row were 0 there; an entry's number is what its weight lacks then
** (gen/spec/layout.h).
*/
#ifndef QP_SPARSE_H
#define QP_SPARSE_H

#include <stdint.h>

#include "gen/spec/layout.h"

typedef struct qp_sparse_entry {
  unsigned column; /* column of the stream */
  float weight;    /* it was this, ... */
  float coded;     /* ... and its code decodes to this */
} qp_sparse_entry;

/*
** Move the n entries of row x, [columns], with the largest column_weight x^2 (NULL: x^2) to 'out',
** by column; in x they become 0.  Of equal ones the first are taken. 'scratch' has room for
** 'columns' entries.
*/
void qp_sparse_take(unsigned n, unsigned columns, const float *column_weight, float *x,
                    qp_sparse_entry *scratch, qp_sparse_entry *out);

/*
** Store a row's entries: each gets the fp16 number that brings its weight nearest to wanted[i], in
** the codes' own units; wanted[i] becomes what the weight then is.
*/
void qp_sparse_store(const qp_stream *s, unsigned row, const qp_sparse_entry *entry, float *wanted,
                     uint8_t *array);

#endif
