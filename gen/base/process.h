/* SPDX-License-Identifier: MIT */
/* This header declares what the system knows of a process, and how one is forked. */
#ifndef QP_PROCESS_H
#define QP_PROCESS_H

#include <sys/types.h>

#include "runtime/status.h"

/*
** Fork; '*pid' is the child's, in the child 0.  A child has one thread, and every lock that another
** thread held stays locked in it for ever: of an allocator, of a library, of ours.  So QP_E_LIMIT,
** always and not when luck runs out, while a thread of qp_thread_start runs: open what forks (a
** compiler, a measurer) before the first thread.  QP_E_LIMIT, too, where the system gives no
** process.  '*pid' is then -1.  No other file forks; tests/includes/run sees to that.  Who starts
** another program without more ado uses posix_spawn, which may be called beside threads.
*/
qp_status qp_process_fork(pid_t *pid, qp_error *err);

/* Get the processor time in seconds that all threads of a process have used; 0 where there is none
   of that number. On a machine with more to do than processors it is less than what has passed. */
double qp_process_seconds(pid_t pid);

#endif
