/* SPDX-License-Identifier: MIT */
/* What the system knows of a process, and the one place that forks. */
#include "gen/base/process.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "gen/base/thread.h"

qp_status qp_process_fork(pid_t *pid, qp_error *err) {
  const unsigned threads = qp_thread_count();
  *pid = -1;
  if (threads)
    return qp_fail(
        err, QP_E_LIMIT,
        "no process is forked beside %u thread%s, whose locks it would wait for: a fault "
        "of qpal",
        threads, threads == 1 ? "" : "s");
  *pid = fork();
  return *pid < 0 ? qp_fail(err, QP_E_LIMIT, "no process to be had: %s", strerror(errno)) : QP_OK;
}

double qp_process_seconds(pid_t pid) {
  clockid_t clock;
  struct timespec t;
  if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0) return 0;
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
