/* SPDX-License-Identifier: MIT */
/* Opens a GGUF model that is one file or several, as gguf_parts.h describes. */
#include "gen/model/gguf_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PARTS = 1024 };

static qp_status no_memory(const char *path, qp_error *err) {
  return qp_fail(err, QP_E_NOMEM, "%s: no memory", path);
}

void qp_gguf_parts_close(qp_gguf_parts *p) {
  for (unsigned i = 0; i < p->count; i++) {
    qp_gguf_close(p->part[i].file);
    free(p->part[i].path);
  }
  free(p->part);
  *p = (qp_gguf_parts){0};
}

/* "m-00002-of-00003.gguf" -> the length of "m"; -1: the name does not end so. */
static int stem_of(const char *path, unsigned parts) {
  char end[48];
  const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
  for (unsigned i = 1; i <= parts; i++) {
    const int n = snprintf(end, sizeof end, "-%05u-of-%05u.gguf", i, parts);
    const size_t length = strlen(name);
    if (length > (size_t)n && !strcmp(name + length - (size_t)n, end))
      return (int)(strlen(path) - (size_t)n);
  }
  return -1;
}

/* Part 'index' of 'parts', whose metadata must say so. */
static qp_status open_part(const char *path, int stem, unsigned index, unsigned parts,
                           qp_gguf_part *out, qp_error *err) {
  const size_t size = (size_t)stem + 48;
  uint64_t number = 0, count = 0;
  if (!(out->path = malloc(size))) return no_memory(path, err);
  snprintf(out->path, size, "%.*s-%05u-of-%05u.gguf", stem, path, index + 1, parts);
  qp_status status = qp_gguf_open(out->path, &out->file, err);
  if (status) return qp_fail_prefix(err, status, "%s: part %u of %u", path, index + 1, parts);
  qp_gguf_unsigned(out->file, "split.no", &number);
  qp_gguf_unsigned(out->file, "split.count", &count);
  if (number == index && count == parts) return QP_OK;
  return qp_fail(
      err, QP_E_ARG,
      "%s: split.no is %llu of split.count %llu: by its name it is part %u, number %u, of "
      "%u",
      out->path, (unsigned long long)number, (unsigned long long)count, index + 1, index, parts);
}

static qp_status open_all(const char *path, unsigned parts, qp_gguf_parts *out, qp_error *err) {
  const int stem = stem_of(path, parts);
  if (stem < 0)
    return qp_fail(err, QP_E_ARG,
                   "%s: split.count is %u, and its name does not end in -00001-of-%05u.gguf, by "
                   "which the other parts would be found; llama-gguf-split --merge joins them",
                   path, parts, parts);
  if (!(out->part = calloc(parts, sizeof *out->part))) return no_memory(path, err);
  qp_status status = QP_OK;
  while (out->count < parts && !status) {
    out->count++; /* what was opened of it is closed */
    status = open_part(path, stem, out->count - 1, parts, &out->part[out->count - 1], err);
  }
  return status;
}

qp_status qp_gguf_parts_open(const char *path, qp_gguf_parts *out, qp_error *err) {
  qp_gguf_parts p = {0};
  qp_gguf *file;
  uint64_t parts = 0;
  qp_status status = qp_gguf_open(path, &file, err);
  if (status) return status;
  if (qp_gguf_unsigned(file, "split.count", &parts) && parts > 1) {
    qp_gguf_close(file);
    status = parts > MAX_PARTS
                 ? qp_fail(err, QP_E_LIMIT, "%s: split.count is %llu: at most %d parts are read",
                           path, (unsigned long long)parts, MAX_PARTS)
                 : open_all(path, (unsigned)parts, &p, err);
  } else {
    p.part = calloc(1, sizeof *p.part);
    char *copy = strdup(path);
    if (!p.part || !copy)
      return free(p.part), free(copy), qp_gguf_close(file), no_memory(path, err);
    p.part[p.count++] = (qp_gguf_part){copy, file};
    /* cppcheck-suppress memleak ; the part has the copy */
  }
  if (status) return qp_gguf_parts_close(&p), status;
  *out = p;
  return QP_OK;
}

const qp_gguf_tensor *qp_gguf_parts_find(const qp_gguf_parts *p, const char *name) {
  const qp_gguf_tensor *t = NULL;
  for (unsigned i = 0; i < p->count && !t; i++) t = qp_gguf_find(p->part[i].file, name);
  return t;
}
