/* SPDX-License-Identifier: MIT */
/* Can a file be written?  Asked before work that takes long and of which it is the end. */
#include "gen/base/writable.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Cut a path to the folder that its last part lies in. */
static void go_up(char *path) {
  char *slash = strrchr(path, '/');
  if (!slash)
    memcpy(path, ".", 2);
  else
    slash[slash == path] = 0;
}

qp_status qp_writable_check(const char *path, qp_error *err) {
  struct stat at;
  char folder[4096];
  if (!path) return QP_OK;
  if (strlen(path) >= sizeof folder || strlen(path) < 1)
    return qp_fail(err, QP_E_IO, "%s: cannot be written: %s", path,
                   *path ? "its path is too long" : "it has no name");
  if (stat(path, &at) == 0 && !S_ISREG(at.st_mode))
    return qp_fail(err, QP_E_IO, "%s: cannot be written: is no regular file", path);
  snprintf(folder, sizeof folder, "%s", path);
  do go_up(folder);
  while (stat(folder, &at) != 0 && (errno == ENOENT || errno == ENOTDIR) &&
         strcmp(folder, "/") != 0 && strcmp(folder, ".") != 0);
  if (access(folder, F_OK) == 0 && !S_ISDIR(at.st_mode))
    errno = ENOTDIR;
  else if (access(folder, W_OK | X_OK) == 0)
    return QP_OK;
  return qp_fail(err, QP_E_IO, "%s: cannot be written: %s: %s", path, folder, strerror(errno));
}

qp_status qp_writable_fail(const char *path, qp_error *err) {
  const int why = errno;
  if (why == ENOENT && qp_writable_check(path, err)) return QP_E_IO;
  return qp_fail(err, QP_E_IO, "%s: cannot be written: %s", path, strerror(why));
}
