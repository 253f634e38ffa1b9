/* SPDX-License-Identifier: MIT */
/* A file's bytes in memory, read as they are touched. */
#include "runtime/map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

qp_status qp_map_open(const char *path, qp_map *out, qp_error *err) {
  int f = open(path, O_RDONLY | O_CLOEXEC);
  struct stat info;
  if (f < 0) return qp_fail(err, QP_E_IO, "%s: cannot be opened: %s", path, strerror(errno));
  if (fstat(f, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(f);
    return qp_fail(err, QP_E_IO, "%s: is no regular file", path);
  }
  qp_map m = {.bytes = (size_t)info.st_size};
  void *data = m.bytes ? mmap(NULL, m.bytes, PROT_READ, MAP_SHARED, f, 0) : NULL;
  const int why = errno;
  close(f);
  if (data == MAP_FAILED)
    return qp_fail(err, QP_E_IO, "%s: cannot be mapped: %s", path, strerror(why));
  m.data = data;
  *out = m;
  return QP_OK;
}

void qp_map_close(qp_map *m) {
  /* munmap takes what mmap gave, which was not const */
  if (m->data) munmap((void *)(uintptr_t)m->data, m->bytes);
  *m = (qp_map){0};
}

void qp_map_release(const qp_map *m, size_t offset, size_t bytes) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  if (!m->data || offset > m->bytes || bytes > m->bytes - offset) return;
  const size_t first = (offset + page - 1) / page * page, last = (offset + bytes) / page * page;
  if (first < last) madvise((void *)(uintptr_t)(m->data + first), last - first, MADV_DONTNEED);
}
