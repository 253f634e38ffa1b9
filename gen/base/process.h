/* SPDX-License-Identifier: MIT */
/* What the system knows of a process. */
#ifndef QP_PROCESS_H
#define QP_PROCESS_H

#include <sys/types.h>

/* Processor time in seconds that all threads of a process have used; 0 where there is none of that
   number. On a machine with more to do than processors it is less than the time that has passed. */
double qp_process_seconds(pid_t pid);

#endif
