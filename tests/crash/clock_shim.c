/* SPDX-License-Identifier: MIT */
/*
** Preloaded into a command: the wall clock goes back an hour each time it is asked.  Clocks that
** only run forwards (CLOCK_MONOTONIC, CPU time) are as they were; see beside.
*/
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static atomic_long hours;

int clock_gettime(clockid_t clock, struct timespec *now) {
  const long status = syscall(SYS_clock_gettime, clock, now);
  if (!status && clock == CLOCK_REALTIME) now->tv_sec -= 3600 * ++hours;
  return (int)status;
}

time_t time(time_t *seconds) {
  struct timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now)) return (time_t)-1;
  if (seconds) *seconds = now.tv_sec;
  return now.tv_sec;
}
