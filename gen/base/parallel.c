/* SPDX-License-Identifier: MIT */
/* Threads that wait for loops to share. */
#include "gen/base/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "gen/base/thread.h"

enum { MAX_THREADS = 256 };

struct qp_parallel {
  pthread_mutex_t lock;
  pthread_cond_t begun, ended;
  pthread_t thread[MAX_THREADS];
  unsigned threads; /* with the caller */
  /* the loop that is shared; all but 'next' are guarded by 'lock' */
  unsigned long loop; /* its number */
  unsigned busy;      /* threads that have not finished it */
  bool over;
  size_t count;
  qp_parallel_run *run;
  void *arg;
  _Atomic size_t next;
};

typedef struct start {
  qp_parallel *p;
  unsigned number;
} start;

static void take_turns(qp_parallel *p, unsigned number) {
  for (size_t i; (i = atomic_fetch_add(&p->next, 1)) < p->count;) p->run(p->arg, i, number);
}

static void *work(void *argument) {
  const start s = *(start *)argument;
  qp_parallel *p = s.p;
  unsigned long seen = 0;
  free(argument);
  pthread_mutex_lock(&p->lock);
  for (;;) {
    while (!p->over && p->loop == seen) pthread_cond_wait(&p->begun, &p->lock);
    if (p->over) break;
    seen = p->loop;
    pthread_mutex_unlock(&p->lock);
    take_turns(p, s.number);
    pthread_mutex_lock(&p->lock);
    if (--p->busy == 0) pthread_cond_signal(&p->ended);
  }
  pthread_mutex_unlock(&p->lock);
  return NULL;
}

static unsigned cpus(void) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  const int n = CPU_COUNT(&set);
  return n < 1 ? 1 : (unsigned)n;
}

qp_status qp_parallel_open(unsigned threads, qp_parallel **out, qp_error *err) {
  qp_parallel *p = calloc(1, sizeof *p);
  if (!p) return qp_fail(err, QP_E_NOMEM, "no memory for threads");
  pthread_mutex_init(&p->lock, NULL);
  pthread_cond_init(&p->begun, NULL);
  pthread_cond_init(&p->ended, NULL);
  if (!threads) threads = cpus();
  if (threads > MAX_THREADS) threads = MAX_THREADS;
  for (p->threads = 1; p->threads < threads; p->threads++) {
    start *s = malloc(sizeof *s);
    if (!s) break;
    *s = (start){p, p->threads};
    if (!qp_thread_start(&p->thread[p->threads], work, s)) {
      free(s);
      break;
    }
  }
  *out = p;
  return QP_OK;
}

void qp_parallel_close(qp_parallel *p) {
  if (!p) return;
  pthread_mutex_lock(&p->lock);
  p->over = true;
  pthread_cond_broadcast(&p->begun);
  pthread_mutex_unlock(&p->lock);
  for (unsigned i = 1; i < p->threads; i++) qp_thread_join(p->thread[i]);
  pthread_cond_destroy(&p->begun);
  pthread_cond_destroy(&p->ended);
  pthread_mutex_destroy(&p->lock);
  free(p);
}

unsigned qp_parallel_threads(const qp_parallel *p) { return p->threads; }

void qp_parallel_for(qp_parallel *p, size_t count, qp_parallel_run *run, void *arg) {
  if (p->threads == 1 || count < 2) {
    for (size_t i = 0; i < count; i++) run(arg, i, 0);
    return;
  }
  pthread_mutex_lock(&p->lock);
  p->count = count;
  p->run = run;
  p->arg = arg;
  atomic_store(&p->next, 0);
  p->busy = p->threads - 1;
  p->loop++;
  pthread_cond_broadcast(&p->begun);
  pthread_mutex_unlock(&p->lock);
  take_turns(p, 0);
  pthread_mutex_lock(&p->lock);
  while (p->busy) pthread_cond_wait(&p->ended, &p->lock);
  pthread_mutex_unlock(&p->lock);
}
