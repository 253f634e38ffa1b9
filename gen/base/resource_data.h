/* SPDX-License-Identifier: MIT */
/* The table that gen/embed.cmake writes when qpal is built:  lua/ templates/ tuned/ -> [this] ->
   resource.c */
#ifndef QP_RESOURCE_DATA_H
#define QP_RESOURCE_DATA_H

#include <stddef.h>

typedef struct qp_resource_entry {
  const char *path; /* path in the source tree: "lua/prelude.lua" */
  const char *text; /* 'bytes' bytes and a NUL */
  size_t bytes;
} qp_resource_entry;

/* Entries are sorted by path (strcmp) and each path stands once; an entry of NULLs follows the last
   one. */
extern const qp_resource_entry qp_resource_table[];
extern const size_t qp_resource_count; /* without the entry of NULLs */

#endif
