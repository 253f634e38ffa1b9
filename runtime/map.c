/* SPDX-License-Identifier: MIT */
/* A file's bytes in memory, read as they are touched. */
#include "runtime/map.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/printable.h"
#include "runtime/regular_file.h"

/*
** Which files are mapped where.  Nodes are used again and never freed, and fields change in an
** order that lets a handler of signals read them at any time.
*/
typedef struct mapped {
  struct mapped *next;
  _Atomic(const unsigned char *) data; /* NULL: free */
  size_t bytes;
  char path[PATH_MAX];
} mapped;

static _Atomic(mapped *) all_mapped;
static pthread_mutex_t mapped_lock = PTHREAD_MUTEX_INITIALIZER;

static mapped *free_node(void) {
  mapped *m = atomic_load(&all_mapped);
  while (m && atomic_load(&m->data)) m = m->next;
  if (m || !(m = calloc(1, sizeof *m))) return m;
  m->next = atomic_load(&all_mapped);
  atomic_store(&all_mapped, m);
  return m;
}

/* Without memory a file has no name when it faults. */
static void note(const qp_map *map, const char *path) {
  if (!map->data) return;
  pthread_mutex_lock(&mapped_lock);
  mapped *m = free_node();
  if (m) {
    m->bytes = map->bytes;
    snprintf(m->path, sizeof m->path, "%s", path);
    qp_printable(m->path, sizeof m->path, false); /* a handler of signals cannot */
    atomic_store(&m->data, map->data);
  }
  pthread_mutex_unlock(&mapped_lock);
}

static void forget(const qp_map *map) {
  pthread_mutex_lock(&mapped_lock);
  for (mapped *m = atomic_load(&all_mapped); m; m = m->next)
    if (atomic_load(&m->data) == map->data) atomic_store(&m->data, NULL);
  pthread_mutex_unlock(&mapped_lock);
}

const char *qp_map_file_at(const void *address) {
  const uintptr_t at = (uintptr_t)address;
  for (const mapped *m = atomic_load(&all_mapped); m; m = m->next) {
    const uintptr_t first = (uintptr_t)atomic_load(&m->data);
    if (first && at >= first && at - first < m->bytes) return m->path;
  }
  return NULL;
}

qp_status qp_map_open(const char *path, qp_map *out, qp_error *err) {
  int f = -1;
  struct stat info;
  const qp_status status = qp_regular_file_open(path, O_RDONLY, &f, err);
  if (status) return status;
  qp_map m = {.bytes = fstat(f, &info) ? 0 : (size_t)info.st_size};
  void *data = m.bytes ? mmap(NULL, m.bytes, PROT_READ, MAP_SHARED, f, 0) : NULL;
  const int why = errno;
  close(f);
  if (data == MAP_FAILED)
    return qp_fail(err, QP_E_IO, "%s: cannot be mapped: %s", path, strerror(why));
  m.data = data;
  note(&m, path);
  *out = m;
  return QP_OK;
}

void qp_map_close(qp_map *m) {
  /* munmap takes what mmap gave, which was not const */
  if (m->data) {
    forget(m);
    munmap((void *)(uintptr_t)m->data, m->bytes);
  }
  *m = (qp_map){0};
}

void qp_map_release(const qp_map *m, size_t offset, size_t bytes) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  if (!m->data || offset > m->bytes || bytes > m->bytes - offset) return;
  const size_t first = (offset + page - 1) / page * page, last = (offset + bytes) / page * page;
  if (first < last) madvise((void *)(uintptr_t)(m->data + first), last - first, MADV_DONTNEED);
}
