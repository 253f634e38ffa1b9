/* SPDX-License-Identifier: MIT */
/*
** Threads, counted: while one runs, qp_process_fork (gen/base/process.h) is refused.  No other file
** starts or joins threads; tests/includes/run sees to that.
*/
#ifndef QP_THREAD_H
#define QP_THREAD_H

#include <pthread.h>
#include <stdbool.h>

/* Start a thread, which the caller has to join; false: none can be had, *out is not to be used. */
bool qp_thread_start(pthread_t *out, void *(*run)(void *arg), void *arg);
void qp_thread_join(pthread_t thread);

/* Threads of this process that were started and are not joined; of a forked one 0. */
unsigned qp_thread_count(void);

#endif
