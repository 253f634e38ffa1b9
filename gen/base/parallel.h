/* SPDX-License-Identifier: MIT */
/* Threads that wait for loops to share. */
#ifndef QP_PARALLEL_H
#define QP_PARALLEL_H

#include <stddef.h>

#include "runtime/status.h"

typedef struct qp_parallel qp_parallel;

/*
** Open a pool of 'threads' threads, of which the caller is one; 0 stands for as many as there are
** CPUs that this process may use.  A thread that cannot be started leaves its work to the others.
** QP_E_NOMEM.
*/
qp_status qp_parallel_open(unsigned threads, qp_parallel **out, qp_error *err);
void qp_parallel_close(qp_parallel *p); /* NULL is allowed */

unsigned qp_parallel_threads(const qp_parallel *p); /* at least 1 */

/*
** Call run(arg, i, thread) for i = 0 .. count - 1, each once, in any order and from any thread (0
** .. qp_parallel_threads - 1; the caller is 0), and return when all are done.  It must not be
** called from within 'run', and by one caller at a time only.
*/
typedef void qp_parallel_run(void *arg, size_t i, unsigned thread);
void qp_parallel_for(qp_parallel *p, size_t count, qp_parallel_run *run, void *arg);

#endif
