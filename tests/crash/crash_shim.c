/* SPDX-License-Identifier: MIT */
/*
** Preloaded into a command: ends it, and all processes of its group, at the n-th call that changes
** a file, or when it has done all; see run.
**   QPAL_CRASH_COUNT   file of zeros, QPAL_CRASH_LOG bytes: calls so far and what they were, shared
**                      by all processes of the command
**   QPAL_CRASH_AT      n, from 1; 0 or unset: only count
**   QPAL_CRASH_LOSES   "cut:FOLDER" or "zero:FOLDER": the end is one of the machine's power, which
**                      keeps names and loses bytes of files in FOLDER that were written since their
**                      last fsync: all of them, or their second half, which then reads as zeros
** Counted are calls on regular files alone: pipes and terminals do not outlive the processes.  A
** write that ends them has written half.  What stdio writes is not seen: nothing here uses it.
*/
#include <dlfcn.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { MOST_CALLS = 1 << 15 };

/* What was done to a file, by its number: it is empty, has more bytes, is safe up to a size. */
enum { NONE, EMPTY, MORE, SAFE };
typedef struct done {
  int what;
  ino_t file;
  off_t bytes;
} done;

typedef struct record {
  _Atomic uint64_t calls, dones;
  done done[MOST_CALLS];
} record;

static record *shared;
static uint64_t crash_at;
static const char *loses;

__attribute__((constructor)) static void start(void) {
  const char *file = getenv("QPAL_CRASH_COUNT"), *at = getenv("QPAL_CRASH_AT");
  const int f = file ? open(file, O_RDWR | O_CLOEXEC) : -1;
  struct stat info;
  if (f < 0) return;
  if (!fstat(f, &info) && info.st_size < (off_t)sizeof *shared) abort();
  void *map = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0);
  if (map != MAP_FAILED) shared = map;
  crash_at = at ? strtoull(at, NULL, 10) : 0;
  loses = getenv("QPAL_CRASH_LOSES");
  close(f);
}

/* The next function of this name, libc's. */
#define NEXT(name) ((__typeof__(&name))next(#name))
static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }

static void note(int what, int f) {
  struct stat info;
  if (!shared || fstat(f, &info)) return;
  const uint64_t n = atomic_fetch_add(&shared->dones, 1);
  if (n >= MOST_CALLS) abort();
  shared->done[n].file = info.st_ino;
  shared->done[n].bytes = info.st_size;
  shared->done[n].what = what;
}

/* What a loss of power does to one file. */
static int lose(const char *path, const struct stat *at, int kind, struct FTW *where) {
  static const char zeros[4096];
  bool unsafe = false;
  off_t safe = 0;
  (void)where;
  if (kind != FTW_F) return 0;
  for (uint64_t i = 0; i < atomic_load(&shared->dones); i++) {
    const done *d = &shared->done[i];
    if (d->file != at->st_ino) continue;
    unsafe = d->what != SAFE;
    if (d->what != MORE) safe = d->what == SAFE ? d->bytes : 0;
  }
  if (!unsafe || safe >= at->st_size) return 0;
  const int f = NEXT(open)(path, O_WRONLY);
  if (*loses == 'c' && NEXT(ftruncate)(f, safe)) abort();
  for (off_t i = safe + (at->st_size - safe) / 2; *loses == 'z' && i < at->st_size;) {
    const size_t left = (size_t)(at->st_size - i), n = left < sizeof zeros ? left : sizeof zeros;
    if (NEXT(pwrite)(f, zeros, n, i) != (ssize_t)n) abort();
    i += (off_t)n;
  }
  close(f);
  return 0;
}

/* Is it the call that nobody survives? */
static bool is_last(void) { return shared && atomic_fetch_add(&shared->calls, 1) + 1 == crash_at; }

static void crash(void) {
  if (loses && strchr(loses, ':')) nftw(strchr(loses, ':') + 1, lose, 8, FTW_PHYS);
  kill(0, SIGKILL);
  for (;;) pause();
}

/* A process that ends well has brought all to the disk. */
__attribute__((destructor)) static void end(void) {
  if (is_last()) crash();
}

static bool is_file(int f) {
  struct stat info;
  return !fstat(f, &info) && S_ISREG(info.st_mode);
}

ssize_t write(int f, const void *data, size_t bytes) {
  if (!is_file(f)) return NEXT(write)(f, data, bytes);
  const bool last = is_last();
  const ssize_t n = NEXT(write)(f, data, last ? bytes / 2 : bytes);
  note(MORE, f);
  if (last) crash();
  return n;
}

ssize_t pwrite(int f, const void *data, size_t bytes, off_t at) {
  const bool last = is_last();
  const ssize_t n = NEXT(pwrite)(f, data, last ? bytes / 2 : bytes, at);
  note(MORE, f);
  if (last) crash();
  return n;
}

int open(const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  if (flags & (O_CREAT | O_TRUNC) && is_last()) crash();
  const int f = NEXT(open)(path, flags, mode);
  struct stat info;
  if (f >= 0 && flags & (O_CREAT | O_TRUNC) && !fstat(f, &info) && !info.st_size) note(EMPTY, f);
  return f;
}

int rename(const char *from, const char *to) {
  if (is_last()) crash();
  return NEXT(rename)(from, to);
}

int unlink(const char *path) {
  if (is_last()) crash();
  return NEXT(unlink)(path);
}

int remove(const char *path) {
  if (is_last()) crash();
  return NEXT(remove)(path);
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
  const int failed = NEXT(ftruncate)(f, bytes);
  note(MORE, f);
  return failed;
}

int fsync(int f) {
  if (is_last()) crash();
  const int failed = NEXT(fsync)(f);
  if (!failed) note(SAFE, f);
  return failed;
}

int fdatasync(int f) {
  if (is_last()) crash();
  const int failed = NEXT(fdatasync)(f);
  if (!failed) note(SAFE, f);
  return failed;
}
