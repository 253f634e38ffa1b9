/* SPDX-License-Identifier: MIT */
/*
** Preloaded into a command: appends the number of threads that the kernel counts in the process to
** the file $QPAL_FORKS, a line for each fork().  All count, also those that libraries have started.
*/
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int threads(void) {
  DIR *d = opendir("/proc/self/task");
  int n = 0;
  for (const struct dirent *e; d && (e = readdir(d));) n += e->d_name[0] != '.';
  if (d) closedir(d);
  return n;
}

pid_t fork(void) {
  const struct timespec pause = {.tv_nsec = 1000000};
  pid_t (*next)(void);
  void *found = dlsym(RTLD_NEXT, "fork");
  char line[16];
  int n = threads();
  /* one that was joined is counted until the kernel has taken it away */
  for (int i = 0; n > 1 && i < 200; i++, n = threads()) nanosleep(&pause, NULL);
  const char *file = getenv("QPAL_FORKS");
  const int to = file ? open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666) : -1;
  const int length = snprintf(line, sizeof line, "%d\n", n);
  if (to < 0 || write(to, line, (size_t)length) != length) abort();
  close(to);
  memcpy(&next, &found, sizeof next);
  return next();
}
