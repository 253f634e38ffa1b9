/* SPDX-License-Identifier: MIT */
/* Files that may be named by users: opened only if they are regular files. */
#ifndef QP_REGULAR_FILE_H
#define QP_REGULAR_FILE_H

#include "runtime/status.h"

/*
** open(path, flags), which waits for nobody: a FIFO without a writer, a terminal, a device are
** refused like directories.  The caller closes *file.
** QP_E_IO: it cannot be opened, or is no regular file.  '*file' is untouched on error.
*/
qp_status qp_regular_file_open(const char *path, int flags, int *file, qp_error *err);

#endif
