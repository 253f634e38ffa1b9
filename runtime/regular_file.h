/* SPDX-License-Identifier: MIT */
/* Files that may be named by users: opened only if they are regular files. */
#ifndef QP_REGULAR_FILE_H
#define QP_REGULAR_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/status.h"

/*
** open(path, flags), which waits for nobody: a FIFO without a writer, a terminal, a device are
** refused like directories.  The caller closes *file.
** QP_E_IO: it cannot be opened, or is no regular file.  '*file' is untouched on error.
*/
qp_status qp_regular_file_open(const char *path, int flags, int *file, qp_error *err);

/* Are these the bytes that Git LFS leaves in place of a file that it did not fetch? */
bool qp_is_lfs_pointer(const void *data, size_t bytes);
#define QP_LFS_POINTER                                                                             \
  "a pointer of Git LFS, not the file that it stands for: git lfs pull fetches it"

#endif
