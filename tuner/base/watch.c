/* SPDX-License-Identifier: MIT */
/* Draws progress from a thread of its own, as watch.h describes. */
#include "tuner/base/watch.h"

#include <stdio.h>
#include <time.h>

#include "gen/base/thread.h"
#include "tuner/base/output.h"

static void *watch(void *argument) {
  qp_watch *w = argument;
  const struct timespec pause = {.tv_nsec = 100000000};
  qp_progress progress;
  char rate[64];
  qp_progress_begin(&progress, w->what, w->total);
  while (!atomic_load(&w->over)) {
    const size_t done = atomic_load(&w->done);
    const double seconds = qp_seconds() - progress.started;
    snprintf(rate, sizeof rate, "%.0f %s/s", seconds > 0 ? (double)done / seconds : 0, w->unit);
    qp_progress_show(&progress, done < w->total ? done : w->total, rate);
    nanosleep(&pause, NULL);
  }
  qp_progress_end(&progress);
  return NULL;
}

void qp_watch_begin(qp_watch *w, const char *what, const char *unit, size_t total) {
  *w = (qp_watch){.total = total, .what = what, .unit = unit};
  w->runs = qp_thread_start(&w->thread, watch, w);
}

void qp_watch_end(qp_watch *w) {
  atomic_store(&w->over, true);
  if (w->runs) qp_thread_join(w->thread);
}
