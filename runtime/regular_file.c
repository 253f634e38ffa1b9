/* SPDX-License-Identifier: MIT */
/* Files that may be named by users: opened only if they are regular files. */
#include "runtime/regular_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

qp_status qp_regular_file_open(const char *path, int flags, int *file, qp_error *err) {
  const int f = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0666);
  struct stat info;
  if (f < 0 && errno != EISDIR && errno != ENXIO)
    return qp_fail(err, QP_E_IO, "%s: cannot be opened: %s", path, strerror(errno));
  if (f >= 0 && !fstat(f, &info) && S_ISREG(info.st_mode)) return *file = f, QP_OK;
  const char *is =
      f >= 0 && S_ISDIR(info.st_mode) ? "is a directory, no file" : "is no regular file";
  if (f >= 0) close(f);
  return qp_fail(err, QP_E_IO, "%s: %s", path, is);
}

bool qp_is_lfs_pointer(const void *data, size_t bytes) {
  static const char begin[] = "version https://git-lfs.github.com/spec/";
  return bytes >= sizeof begin - 1 && !memcmp(data, begin, sizeof begin - 1);
}
