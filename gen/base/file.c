/* SPDX-License-Identifier: MIT */
/* Writes files as a whole or not at all. */
#include "gen/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

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

static bool put_file(const char *path, const void *data, size_t bytes, bool safely) {
  const int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file < 0) return false;
  const bool whole = qp_file_put(file, data, bytes) && (!safely || qp_file_sync(file));
  const int why = errno;
  if (close(file) != 0) return false;
  errno = why;
  return whole;
}

static qp_status write_beside(const char *path, const void *data, size_t bytes, bool safely,
                              qp_error *err) {
  const size_t n = strlen(path) + 32;
  if (!is_replaceable(path))
    return qp_fail(err, QP_E_IO, "%s: cannot be written: is no regular file", path);
  uint64_t mark = 0;
  if (getrandom(&mark, sizeof mark, 0) != (ssize_t)sizeof mark)
    return qp_fail(err, QP_E_IO, "%s: cannot be written: no random numbers: %s", path,
                   strerror(errno));
  char *temporary = malloc(n);
  if (!temporary) return qp_fail(err, QP_E_NOMEM, "%s: no memory", path);
  snprintf(temporary, n, "%s.%016" PRIx64 ".part", path, mark);
  qp_file_make_folders(temporary);
  const bool ok = put_file(temporary, data, bytes, safely) && rename(temporary, path) == 0;
  const int why = errno;
  if (!ok) unlink(temporary);
  free(temporary);
  return ok ? QP_OK : qp_fail(err, QP_E_IO, "%s: cannot be written: %s", path, strerror(why));
}

qp_status qp_file_write(const char *path, const void *data, size_t bytes, qp_error *err) {
  return write_beside(path, data, bytes, true, err);
}

qp_status qp_file_write_unsafely(const char *path, const void *data, size_t bytes, qp_error *err) {
  return write_beside(path, data, bytes, false, err);
}
