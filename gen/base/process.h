/* SPDX-License-Identifier: MIT */
/* This header declares what the system knows of a process. */
#ifndef QP_PROCESS_H
#define QP_PROCESS_H

#include <sys/types.h>

/* Get the processor time in seconds that all threads of a process have used; 0 where there is none
   of that number. On a machine with more to do than processors it is less than what has passed. */
double qp_process_seconds(pid_t pid);

#endif
