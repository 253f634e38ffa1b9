/* SPDX-License-Identifier: MIT */
/*
** Preloaded into a command: ends it, and all processes of its group, at the n-th call that changes
** a file; see run.
**   QPAL_CRASH_COUNT   file of 8 bytes: calls so far, shared by all processes of the command
**   QPAL_CRASH_AT      n, from 1; 0 or unset: only count
** Counted are calls on regular files alone: pipes and terminals do not outlive the processes.  A
** write that ends them has written half.
*/
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static _Atomic uint64_t *count;
static uint64_t crash_at;

__attribute__((constructor)) static void start(void) {
  const char *file = getenv("QPAL_CRASH_COUNT"), *at = getenv("QPAL_CRASH_AT");
  const int f = file ? open(file, O_RDWR | O_CLOEXEC) : -1;
  if (f < 0) return;
  void *shared = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0);
  if (shared != MAP_FAILED) count = shared;
  crash_at = at ? strtoull(at, NULL, 10) : 0;
  close(f);
}

/* Is it the call that nobody survives? */
static bool is_last(void) { return count && atomic_fetch_add(count, 1) + 1 == crash_at; }

static void crash(void) {
  kill(0, SIGKILL);
  for (;;) pause();
}

static bool is_file(int f) {
  struct stat info;
  return !fstat(f, &info) && S_ISREG(info.st_mode);
}

/* The next function of this name, libc's. */
#define NEXT(name) ((__typeof__(&name))next(#name))
static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }

ssize_t write(int f, const void *data, size_t bytes) {
  if (is_file(f) && is_last()) {
    if (NEXT(write)(f, data, bytes / 2) >= 0) fsync(f);
    crash();
  }
  return NEXT(write)(f, data, bytes);
}

ssize_t pwrite(int f, const void *data, size_t bytes, off_t at) {
  if (is_last()) {
    if (NEXT(pwrite)(f, data, bytes / 2, at) >= 0) fsync(f);
    crash();
  }
  return NEXT(pwrite)(f, data, bytes, at);
}

int open(const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  if (flags & (O_CREAT | O_TRUNC) && is_last()) crash();
  return NEXT(open)(path, flags, mode);
}

int rename(const char *from, const char *to) {
  if (is_last()) crash();
  return NEXT(rename)(from, to);
}

int unlink(const char *path) {
  if (is_last()) crash();
  return NEXT(unlink)(path);
}

int rmdir(const char *path) {
  if (is_last()) crash();
  return NEXT(rmdir)(path);
}

int mkdir(const char *path, mode_t mode) {
  if (is_last()) crash();
  return NEXT(mkdir)(path, mode);
}

int ftruncate(int f, off_t bytes) {
  if (is_last()) crash();
  return NEXT(ftruncate)(f, bytes);
}

int fsync(int f) {
  if (is_last()) crash();
  return NEXT(fsync)(f);
}

int fdatasync(int f) {
  if (is_last()) crash();
  return NEXT(fdatasync)(f);
}
