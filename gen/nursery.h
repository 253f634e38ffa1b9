/* SPDX-License-Identifier: MIT */
/*
** A small process that starts and ends the compiler's workers.  It is forked early, while its
** parent has one thread, and stays single-threaded: workers forked from it later are sound,
** whatever threads the parent has by then, and it alone reaps them, so a pid is never another's.
*/
#ifndef QP_NURSERY_H
#define QP_NURSERY_H

#include <stdbool.h>
#include <sys/types.h>

#include "runtime/status.h"

typedef struct qp_nursery qp_nursery;

/*
** Fork the nursery.  Each worker runs serve(fd, arg) on its end of a stream socket and then exits;
** it inherits no other descriptor than standard error, ignores SIGINT (its parent decides) and is
** killed when the nursery or, above it, the calling thread is gone.  QP_E_NOMEM, or QP_E_LIMIT
** when the system gives no process or no descriptor.
*/
qp_status qp_nursery_open(void (*serve)(int fd, const void *arg), const void *arg, qp_nursery **out,
                          qp_error *err);

/* Ends the nursery; workers that still run are killed. */
void qp_nursery_close(qp_nursery *nursery);

/* Start a worker: its pid, and our end of its socket (non-blocking, close-on-exec, ours to close).
** QP_E_LIMIT: no process or no descriptor, or the nursery itself is gone. */
qp_status qp_nursery_spawn(qp_nursery *nursery, int *fd, pid_t *pid, qp_error *err);

/* Kill a worker, reap it, and give its wait status: that of its own death if it came first.
** False if that is not known. */
bool qp_nursery_end(qp_nursery *nursery, pid_t pid, int *wait_status);

#endif
