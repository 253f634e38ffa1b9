/* SPDX-License-Identifier: MIT */
/* Sparse entries of packed weights:  an array of fields (LAYOUT.md) -> are they as kernels read
   them? */
#ifndef QP_SPARSE_ENTRIES_H
#define QP_SPARSE_ENTRIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The array that ends, for each row group, with the entries of its 32 rows, [entries][32] words. */
typedef struct qp_sparse_array {
  const void *data;
  uint64_t bytes;      /* of all row groups, each with as many */
  uint64_t row_groups; /* at least 1 */
  uint64_t entries;    /* of a row */
  uint64_t columns;    /* of the stream; an entry is of one of them */
} qp_sparse_array;

/*
** Do the columns of each row ascend, below 'columns', behind words of 0, and is each number finite?
** Kernels and the reference look for an entry in their own ways: where not, they would give
** different weights.  'why' says in 'size' bytes which row is wrong.
*/
bool qp_sparse_is_right(const qp_sparse_array *a, char *why, size_t size);

#endif
