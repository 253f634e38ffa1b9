/* SPDX-License-Identifier: MIT */
/*
** A small process that starts and ends the compiler's workers.  It is forked early, while its
** parent has one thread (else qp_process_fork refuses), and stays single-threaded: workers forked
** from it later are sound, whatever threads the parent has by then, and it alone reaps them, so a
** pid is never another's.
*/
#ifndef QP_FORK_SERVER_H
#define QP_FORK_SERVER_H

#include <stdbool.h>
#include <sys/types.h>

#include "runtime/status.h"

typedef struct qp_fork_server qp_fork_server;

/*
** Fork the server.  Each worker runs serve(fd, arg) on its end of a stream socket and then exits;
** it inherits no other descriptor than standard error, ignores SIGINT (its parent decides) and is
** killed when the server or, above it, the calling thread is gone.  QP_E_NOMEM, or QP_E_LIMIT
** when the system gives no process or no descriptor, or threads run.
*/
qp_status qp_fork_server_open(void (*serve)(int fd, const void *arg), const void *arg,
                              qp_fork_server **out, qp_error *err);

/* Ends the server; workers that still run are killed. */
void qp_fork_server_close(qp_fork_server *server);

/* Start a worker: its pid, and our end of its socket (non-blocking, close-on-exec, ours to close).
   QP_E_LIMIT: no process or no descriptor, or the server itself is gone. */
qp_status qp_fork_server_spawn(qp_fork_server *server, int *fd, pid_t *pid, qp_error *err);

/* Kill a worker, reap it, and give its wait status: that of its own death if it came first.
   False if that is not known. */
bool qp_fork_server_end(qp_fork_server *server, pid_t pid, int *wait_status);

#endif
