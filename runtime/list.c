/* SPDX-License-Identifier: MIT */
/* Lists that grow by doubling; see list.h. */
#include "runtime/list.h"

#include <stdlib.h>

enum { FIRST = 64 };

void *qp_list_grow(void *list, size_t *capacity, size_t element_bytes) {
  size_t more = FIRST, bytes;
  if (*capacity && __builtin_mul_overflow(*capacity, (size_t)2, &more)) return NULL;
  if (__builtin_mul_overflow(more, element_bytes, &bytes)) return NULL;
  void *larger = realloc(list, bytes);
  if (larger) *capacity = more;
  return larger;
}
