/* SPDX-License-Identifier: MIT */
/* Writes files as a whole or not at all. */
#include "gen/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gen/base/writable.h"
#include "runtime/regular_file.h"

void qp_file_make_folders(char *path) {
  if (!*path) return;
  for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    mkdir(path, 0777);
    *slash = '/';
  }
}

bool qp_file_put(int file, const void *data, size_t bytes) {
  const char *at = data;
  while (bytes) {
    const ssize_t n = write(file, at, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    bytes -= (size_t)n;
  }
  return true;
}

/* Read what is there, at most 'most' bytes; false: errno says why. */
static bool get(int file, char *text, size_t most, size_t *bytes) {
  *bytes = 0;
  while (*bytes < most) {
    const ssize_t n = read(file, text + *bytes, most - *bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    if (n == 0) break;
    *bytes += (size_t)n;
  }
  return true;
}

static qp_status too_large(const char *path, size_t most, qp_error *err) {
  return most >> 20 ? qp_fail(err, QP_E_LIMIT, "%s: larger than %zu MiB", path, most >> 20)
                    : qp_fail(err, QP_E_LIMIT, "%s: larger than %zu bytes", path, most);
}

qp_status qp_file_read(const char *path, size_t most, char **text, size_t *bytes, qp_error *err) {
  int file = -1;
  struct stat info;
  qp_status status = qp_regular_file_open(path, O_RDONLY, &file, err);
  if (status) return status;
  /* its size is no promise: files of the kernel say 0, others may grow */
  const size_t size = fstat(file, &info) ? 0 : (size_t)info.st_size;
  const size_t room = (size ? size : most) + 1;
  size_t n = 0;
  char *all = size > most ? NULL : malloc(room + 1);
  if (size > most) {
    status = too_large(path, most, err);
  } else if (!all) {
    status = qp_fail(err, QP_E_NOMEM, "%s: no memory to read it", path);
  } else if (!get(file, all, room, &n)) {
    status = qp_fail(err, QP_E_IO, "%s: cannot be read: %s", path, strerror(errno));
  } else if (n == room) {
    status = n > most ? too_large(path, most, err)
                      : qp_fail(err, QP_E_IO, "%s: grows while it is read", path);
  }
  close(file);
  if (status) return free(all), status;
  all[n] = 0;
  *text = all;
  *bytes = n;
  return QP_OK;
}

/* Nothing, or a regular file: what a rename may replace. */
static bool is_replaceable(const char *path) {
  struct stat info;
  return stat(path, &info) != 0 || S_ISREG(info.st_mode);
}

bool qp_file_sync(int file) { return fsync(file) == 0 || errno == EINVAL || errno == ENOSYS; }

/* ---- Temporary files ----
**
** PATH.<16 hexadecimal digits>.part, locked while its process writes it.  One that nobody holds
** was left by a process that was killed; whoever writes PATH next removes it.  Where a file system
** knows no locks none is removed.
*/

enum { MARK_DIGITS = 16, TRIES = 3 };
static const char part_end[] = ".part";

/* A new temporary file of 'path', its name in 'name'; -1: errno says why. */
static int make_temporary(const char *path, char *name, size_t size) {
  uint64_t mark = 0;
  if (getrandom(&mark, sizeof mark, 0) != (ssize_t)sizeof mark) return -1;
  snprintf(name, size, "%s.%016" PRIx64 "%s", path, mark, part_end);
  return open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
}

/* Whether a file that was just made is ours: who looks for files that were left may have taken
   its lock or its name before us. */
static bool hold(int file) {
  struct stat info;
  if (flock(file, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) return false;
  return fstat(file, &info) == 0 && info.st_nlink > 0;
}

/* Whether 'name' is one of a temporary file of the file 'base' of the same folder. */
static bool is_temporary_of(const char *name, const char *base) {
  const size_t n = strlen(base);
  if (strncmp(name, base, n) != 0 || name[n] != '.') return false;
  const char *mark = name + n + 1;
  return strspn(mark, "0123456789abcdef") == MARK_DIGITS && !strcmp(mark + MARK_DIGITS, part_end);
}

/* Remove the temporary files of 'path' that nobody holds. */
static void remove_left(const char *path) {
  const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
  char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
  DIR *d = folder ? opendir(folder) : NULL;
  free(folder);
  if (!d) return;
  for (const struct dirent *e; (e = readdir(d));) {
    if (!is_temporary_of(e->d_name, base)) continue;
    const int file = openat(dirfd(d), e->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0) continue;
    if (flock(file, LOCK_EX | LOCK_NB) == 0) unlinkat(dirfd(d), e->d_name, 0);
    close(file);
  }
  closedir(d);
}

/* One attempt; false with errno ENOENT: the temporary file was taken away, another may go well. */
static bool put_and_rename(const char *path, char *name, size_t size, const void *data,
                           size_t bytes, bool safely) {
  const int file = make_temporary(path, name, size);
  if (file < 0) return false;
  bool ok = !safely || hold(file);
  if (!ok) errno = ENOENT;
  ok = ok && qp_file_put(file, data, bytes) && (!safely || qp_file_sync(file)) &&
       rename(name, path) == 0;
  const int why = errno;
  if (!ok) unlink(name);
  const bool closed = close(file) == 0; /* after the rename, so that it is held until then */
  if (!ok) errno = why;
  return ok && closed;
}

static qp_status write_beside(const char *path, const void *data, size_t bytes, bool safely,
                              qp_error *err) {
  const size_t n = strlen(path) + 32;
  if (!is_replaceable(path))
    return qp_fail(err, QP_E_IO, "%s: cannot be written: is no regular file", path);
  char *name = malloc(n);
  if (!name) return qp_fail(err, QP_E_NOMEM, "%s: no memory", path);
  snprintf(name, n, "%s", path);
  qp_file_make_folders(name);
  if (safely) remove_left(path);
  bool ok = false;
  for (unsigned i = 0; i < TRIES && !ok; i++) {
    ok = put_and_rename(path, name, n, data, bytes, safely);
    if (errno != ENOENT) break;
  }
  const int why = errno;
  free(name);
  errno = why;
  return ok ? QP_OK : qp_writable_fail(path, err);
}

qp_status qp_file_write(const char *path, const void *data, size_t bytes, qp_error *err) {
  return write_beside(path, data, bytes, true, err);
}

qp_status qp_file_write_unsafely(const char *path, const void *data, size_t bytes, qp_error *err) {
  return write_beside(path, data, bytes, false, err);
}
