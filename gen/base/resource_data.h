/* SPDX-License-Identifier: MIT */
/* The table that gen/embed.cmake writes at build time:  lua/ templates/ tuned/ -> [this] ->
   resource.c */
#ifndef QP_RESOURCE_DATA_H
#define QP_RESOURCE_DATA_H

#include <stddef.h>

typedef struct qp_resource_entry {
  const char *path; /* in the source tree: "lua/prelude.lua" */
  const char *text; /* 'bytes' bytes and a NUL */
  size_t bytes;
} qp_resource_entry;

/* Sorted by path (strcmp), each path once; one entry of NULLs follows the last. */
extern const qp_resource_entry qp_resource_table[];
extern const size_t qp_resource_count; /* without the entry of NULLs */

#endif
