/* SPDX-License-Identifier: MIT */
/* A file's bytes in memory, read as they are touched. */
#ifndef QP_MAP_H
#define QP_MAP_H

#include <stddef.h>

#include "runtime/status.h"

typedef struct qp_map {
  const unsigned char *data; /* page-aligned; NULL for an empty file */
  size_t bytes;
} qp_map;

/*
** Map a regular file for reading.  The caller closes it with qp_map_close.  A file that another
** process cuts short while it is mapped, or whose disk fails, faults (SIGBUS) when its lost pages
** are touched: replace files by renaming, never in place.
** QP_E_IO: it cannot be opened, mapped, or is no regular file.  '*out' is untouched on error.
*/
qp_status qp_map_open(const char *path, qp_map *out, qp_error *err);
void qp_map_close(qp_map *m);

/* The file that is mapped at an address, as it was named, in characters that may be printed; NULL:
   none.  May be called by a handler of signals. */
const char *qp_map_file_at(const void *address);

/* Say that the pages inside [offset, offset + bytes) are not needed for now: they leave memory, and
   are read again if touched, so that a pass over a large file needs little memory. */
void qp_map_release(const qp_map *m, size_t offset, size_t bytes);

#endif
