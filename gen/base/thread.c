/* SPDX-License-Identifier: MIT */
/* Starts and joins threads, and counts them. */
#include "gen/base/thread.h"

#include <stdatomic.h>

static _Atomic unsigned running;

bool qp_thread_start(pthread_t *out, void *(*run)(void *arg), void *arg) {
  atomic_fetch_add(&running, 1); /* before it runs: it may be the one that asks */
  if (!pthread_create(out, NULL, run, arg)) return true;
  atomic_fetch_sub(&running, 1);
  return false;
}

void qp_thread_join(pthread_t thread) {
  pthread_join(thread, NULL);
  atomic_fetch_sub(&running, 1);
}

unsigned qp_thread_count(void) { return atomic_load(&running); }
