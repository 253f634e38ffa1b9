/* SPDX-License-Identifier: MIT */
/* Can a file be written?  Asked before work that takes long and of which it is the end. */
#ifndef QP_WRITABLE_H
#define QP_WRITABLE_H

#include "runtime/status.h"

/*
** Say whether qp_file_write could replace or make 'path' (NULL: nothing is asked for): it is a
** regular file or is not there, and the last of its folders that is there is a folder that can be
** written to.  Nothing is made.  QP_E_IO names path and reason.
*/
qp_status qp_writable_check(const char *path, qp_error *err);

/* Say that writing 'path' failed, for the reason in errno; where that is a folder that is not
   there, since it could not be made, why it could not.  QP_E_IO. */
qp_status qp_writable_fail(const char *path, qp_error *err);

#endif
