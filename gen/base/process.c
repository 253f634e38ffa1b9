/* SPDX-License-Identifier: MIT */
/* What the system knows of a process. */
#include "gen/base/process.h"

#include <time.h>

double qp_process_seconds(pid_t pid) {
  clockid_t clock;
  struct timespec t;
  if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0) return 0;
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
