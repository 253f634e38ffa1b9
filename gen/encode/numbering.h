/* SPDX-License-Identifier: MIT */
/* Gives equal things equal numbers, in the order in which they come:  arrays of words -->
   numbers. */
#ifndef QP_NUMBERING_H
#define QP_NUMBERING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QP_NUMBER_NONE = 0x7fffffff };

/* A hash table of arrays of equal length, each known by a place where it stands. */
typedef struct qp_numbering {
  uint32_t *slot; /* [4 most and more]: number + 1, or 0 */
  size_t
      slots; /* of which so many are in use, a power of two: four times the numbers or more, so that
                     caches keep them */
  size_t *place; /* [most], of each number */
  uint32_t count, most;
} qp_numbering;

/* False: there is no memory; free it in any case. */
bool qp_numbering_new(qp_numbering *n, size_t most);
void qp_numbering_free(qp_numbering *n);

/* Find the number of the 'bytes' bytes, whole words, at base + place * bytes; QP_NUMBER_NONE: there
   are too many. */
uint32_t qp_number_of(qp_numbering *n, const void *base, size_t bytes, size_t place);
/* Number 'count' of them that follow each other: id[i] is that of place i.  False: there are too
   many. */
bool qp_number_all(qp_numbering *n, const void *base, size_t bytes, size_t count, uint32_t *id);

#endif
