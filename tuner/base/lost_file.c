/* SPDX-License-Identifier: MIT */
/* Mapped files that another process cuts short, or whose disk fails, while they are read. */
#include "tuner/base/lost_file.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "runtime/map.h"

static char line[PATH_MAX + 128];

static size_t append(size_t n, const char *text) {
  while (*text && n < sizeof line) line[n++] = *text++;
  return n;
}

/* Calls only what a handler may call.  Other faults of the bus end as they always do: the access is
   repeated. */
static void on_fault(int number, siginfo_t *info, void *context) {
  (void)context;
  const char *file = qp_map_file_at(info->si_addr);
  if (!file) {
    signal(number, SIG_DFL);
    return;
  }
  size_t n = append(append(0, "qpal: "), file);
  n = append(n, ": became shorter, or its disk failed, while it was read\n");
  while (write(STDERR_FILENO, line, n) < 0 && errno == EINTR) continue;
  _exit(2);
}

void qp_lost_file_watch(void) {
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, NULL);
}
