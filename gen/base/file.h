/* SPDX-License-Identifier: MIT */
/* Writes files so that they are there as a whole or not at all, and reads them. */
#ifndef QP_FILE_H
#define QP_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/status.h"

/* Make the folders of a path, up to its last '/'; what exists stays.  'path' is changed and put
   back. */
void qp_file_make_folders(char *path);

/*
** Write under a temporary name beside 'path', bring the bytes to the disk, then rename: others see
** all of the file or nothing of it, also after a loss of power.  Folders are made where they are
** missing.  The temporary name is random and not the process's number, which another container or
** machine that shares the folder may have as well.  What processes that were killed left beside
** 'path' under such names is removed.  QP_E_IO names path and reason.  It is also given
** where 'path' exists and is no regular file, which would be replaced.
*/
qp_status qp_file_write(const char *path, const void *data, size_t bytes, qp_error *err);

/* The same without waiting for the disk, for entries of a cache, whose readers know a checksum: a
   loss of power may leave a file of zeros, or an empty one. */
qp_status qp_file_write_unsafely(const char *path, const void *data, size_t bytes, qp_error *err);

/* Bring what was written to the disk; true also where the file system knows no such thing.  False:
   errno says why. */
bool qp_file_sync(int file);

/*
** Read a whole regular file of at most 'most' bytes.  The caller frees *text, which has a NUL
** behind its *bytes bytes.  QP_E_IO: it cannot be read, or is no regular file; QP_E_LIMIT: it is
** larger.
*/
qp_status qp_file_read(const char *path, size_t most, char **text, size_t *bytes, qp_error *err);

/* Write all bytes to an open descriptor; false: errno says why. */
bool qp_file_put(int file, const void *data, size_t bytes);

#endif
