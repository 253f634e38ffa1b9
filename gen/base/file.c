/* SPDX-License-Identifier: MIT */
/* Files written whole or not at all. */
#include "gen/base/file.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

qp_status qp_file_write(const char *path, const void *data, size_t bytes, qp_error *err) {
  size_t n = strlen(path) + 32;
  char *temporary = malloc(n);
  if (!temporary) return qp_fail(err, QP_E_NOMEM, "%s: no memory", path);
  snprintf(temporary, n, "%s.%ld.part", path, (long)getpid());
  qp_file_make_folders(temporary);
  FILE *f = fopen(temporary, "wb");
  bool ok = f != NULL;
  if (ok) ok = fwrite(data, 1, bytes, f) == bytes;
  if (f && fclose(f) != 0) ok = false;
  if (ok) ok = rename(temporary, path) == 0;
  int why = errno;
  if (!ok) unlink(temporary);
  free(temporary);
  return ok ? QP_OK : qp_fail(err, QP_E_IO, "%s: cannot be written: %s", path, strerror(why));
}
