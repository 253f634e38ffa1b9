/* SPDX-License-Identifier: MIT */
/* Lists that grow by doubling, for every folder.  Elements move when their list grows. */
#ifndef QP_LIST_H
#define QP_LIST_H

#include <stddef.h>

/* Double the capacity of a list, as qp_list_room does where it is full. */
void *qp_list_grow(void *list, size_t *capacity, size_t element_bytes);

/*
** Make room for one more element behind 'count' of them:
**   thing *larger = qp_list_room(l->thing, l->count, &l->capacity, sizeof *larger);
**   if (!larger) ...;
**   l->thing = larger;
** Returns the list, which is malloc'ed and may be NULL while the capacity is 0.  NULL: no memory;
** list and capacity are as they were.
*/
static inline void *qp_list_room(void *list, size_t count, size_t *capacity, size_t element_bytes) {
  return count < *capacity ? list : qp_list_grow(list, capacity, element_bytes);
}

#endif
