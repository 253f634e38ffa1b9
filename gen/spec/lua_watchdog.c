/* SPDX-License-Identifier: MIT */
/* A timer that ends code of a spec which stays inside one function of C, where no hook sees it. */
#include "gen/spec/lua_watchdog.h"

#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

typedef struct watch {
  qp_lua_meter *meter;
  sigjmp_buf back;
} watch;

static _Thread_local watch *volatile current;

static int signal_number(void) { return SIGRTMIN + 7; }

/* On the thread that runs the spec.  Inside the allocator it waits for the timer's next turn: the
   heap would stay locked. */
static void on_time(int number) {
  (void)number;
  watch *w = current;
  if (!w) return;
  if (!w->meter->overdue) {
    w->meter->overdue = 1;
  } else if (!w->meter->allocating) {
    current = NULL;
    siglongjmp(w->back, 1);
  }
}

/* A clock of this thread where there is one: waiting for a processor is not the spec's fault. */
static bool start_timer(double seconds, timer_t *timer) {
  struct sigaction action = {.sa_handler = on_time, .sa_flags = SA_RESTART | SA_NODEFER};
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = signal_number()};
  event.sigev_notify_thread_id = gettid();
  sigemptyset(&action.sa_mask);
  /* each time: who starts a process by fork sets signals back */
  if (sigaction(signal_number(), &action, NULL)) return false;
  if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, timer) &&
      timer_create(CLOCK_MONOTONIC, &event, timer))
    return false;
  const long ns = (long)(1e9 * (seconds < 0.001 ? 0.001 : seconds));
  const long again = ns / 4;
  const struct itimerspec times = {
      .it_value = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000},
      .it_interval = {.tv_sec = again / 1000000000, .tv_nsec = again % 1000000000}};
  return timer_settime(*timer, 0, &times, NULL) == 0;
}

bool qp_watchdog_run(qp_lua_meter *m, void (*f)(void *arg), void *arg) {
  m->overdue = m->allocating = 0;
  if (current) return f(arg), true;
  watch w = {.meter = m};
  timer_t timer = 0;
  /* without a timer (a user may have so many) the count of instructions holds alone */
  const bool timed = start_timer(m->seconds, &timer);
  volatile bool ended = true;
  if (sigsetjmp(w.back, 0) == 0) {
    current = &w;
    f(arg);
    current = NULL;
    ended = false;
  }
  if (timed) timer_delete(timer);
  return !ended;
}
