/* SPDX-License-Identifier: MIT */
/* Progress of work that counts what it has done, drawn by a thread of its own. */
#ifndef QP_WATCH_H
#define QP_WATCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct qp_watch {
  _Atomic size_t done; /* the work adds to it; from any thread */
  _Atomic bool over;
  size_t total;
  const char *what, *unit;
  pthread_t thread;
  bool runs;
} qp_watch;

/*
** Draw "what done of total, rate units/s" ten times a second until qp_watch_end.  Without a thread
** for it nothing is drawn.  'what' and 'unit' ("weights") are not copied.
*/
void qp_watch_begin(qp_watch *w, const char *what, const char *unit, size_t total);
void qp_watch_end(qp_watch *w);

#endif
