/* SPDX-License-Identifier: MIT */
/* Mapped files that another process cuts short, or whose disk fails, while they are read. */
#ifndef QP_LOST_FILE_H
#define QP_LOST_FILE_H

/* From now on reading such a file ends the process with a message that names it, exit code 2; for
   the command alone, as engines have handlers of their own. */
void qp_lost_file_watch(void);

#endif
