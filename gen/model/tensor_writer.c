/* SPDX-License-Identifier: MIT */
/* Writes .safetensors files. */
#include "gen/model/tensor_writer.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen/base/file.h"
#include "gen/base/writable.h"
#include "runtime/list.h"

enum { DATA_ALIGNMENT = 128 };

typedef struct declared {
  char *name;
  qp_tensor_type type;
  unsigned dims;
  uint64_t shape[QP_TENSOR_DIMS];
  uint64_t bytes, offset; /* in the data */
  uint64_t written;
} declared;

struct qp_tensor_writer {
  char *path, *part;
  int file; /* -1: not started */
  uint64_t data;
  size_t count, capacity;
  declared *tensor;
  cJSON *metadata;
};

static qp_status no_memory(const qp_tensor_writer *w, qp_error *err) {
  return qp_fail(err, QP_E_NOMEM, "%s: no memory to write it", w->path);
}

static qp_status cannot(const qp_tensor_writer *w, qp_error *err) {
  return qp_writable_fail(w->part, err);
}

qp_status qp_tensor_writer_new(const char *path, qp_tensor_writer **out, qp_error *err) {
  qp_tensor_writer *w = calloc(1, sizeof *w);
  const size_t size = strlen(path) + 6;
  if (!w) return qp_fail(err, QP_E_NOMEM, "%s: no memory to write it", path);
  *w = (qp_tensor_writer){
      .path = strdup(path), .part = malloc(size), .file = -1, .metadata = cJSON_CreateObject()};
  if (!w->path || !w->part || !w->metadata) {
    qp_tensor_writer_free(w);
    return qp_fail(err, QP_E_NOMEM, "%s: no memory to write it", path);
  }
  snprintf(w->part, size, "%s.part", path);
  *out = w;
  return QP_OK;
}

void qp_tensor_writer_free(qp_tensor_writer *w) {
  if (!w) return;
  if (w->file >= 0) {
    close(w->file);
    unlink(w->part);
  }
  for (size_t i = 0; i < w->count; i++) free(w->tensor[i].name);
  free(w->tensor);
  cJSON_Delete(w->metadata);
  free(w->path);
  free(w->part);
  free(w);
}

qp_status qp_tensor_writer_metadata(qp_tensor_writer *w, const char *key, const char *value,
                                    qp_error *err) {
  return cJSON_AddStringToObject(w->metadata, key, value) ? QP_OK : no_memory(w, err);
}

qp_status qp_tensor_writer_declare(qp_tensor_writer *w, const char *name, qp_tensor_type type,
                                   unsigned dims, const uint64_t *shape, size_t *id,
                                   qp_error *err) {
  declared t = {.type = type, .dims = dims};
  uint64_t bits = qp_tensor_type_bits(type);
  for (unsigned i = 0; i < dims && i < QP_TENSOR_DIMS; i++) t.shape[i] = shape[i];
  bool fits = dims <= QP_TENSOR_DIMS;
  for (unsigned i = 0; i < dims && fits; i++) fits = !__builtin_mul_overflow(bits, shape[i], &bits);
  if (!fits)
    return qp_fail(err, QP_E_ARG, "%s: tensor '%s' is too large, or has more than %d dimensions",
                   w->path, name, QP_TENSOR_DIMS);
  t.bytes = bits / 8 + (bits % 8 > 0);
  declared *larger = qp_list_room(w->tensor, w->count, &w->capacity, sizeof *larger);
  if (!larger) return no_memory(w, err);
  w->tensor = larger;
  if (!(t.name = strdup(name))) return no_memory(w, err);
  if (id) *id = w->count;
  w->tensor[w->count++] = t;
  return QP_OK;
}

/* ---- Header ---- */

static int compare_names(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static qp_status check_names(const qp_tensor_writer *w, qp_error *err) {
  const char **name = malloc((w->count + 1) * sizeof *name);
  if (!name) return no_memory(w, err);
  for (size_t i = 0; i < w->count; i++) name[i] = w->tensor[i].name;
  if (w->count) qsort(name, w->count, sizeof *name, compare_names);
  qp_status status = QP_OK;
  for (size_t i = 1; i < w->count && !status; i++)
    if (!strcmp(name[i - 1], name[i]))
      status = qp_fail(err, QP_E_ARG, "%s: tensor '%s' is declared twice", w->path, name[i]);
  free(name);
  return status;
}

static void lay_out(qp_tensor_writer *w) {
  uint64_t at = 0;
  for (unsigned size = 8; size; size /= 2)
    for (size_t i = 0; i < w->count; i++) {
      if (qp_tensor_type_bytes(w->tensor[i].type) != size) continue;
      w->tensor[i].offset = at;
      at += w->tensor[i].bytes;
    }
}

static cJSON *entry_of(const declared *t) {
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "dtype", qp_tensor_type_name(t->type));
  cJSON *shape = cJSON_AddArrayToObject(o, "shape");
  for (unsigned i = 0; i < t->dims; i++)
    cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)t->shape[i]));
  cJSON *range = cJSON_AddArrayToObject(o, "data_offsets");
  cJSON_AddItemToArray(range, cJSON_CreateNumber((double)t->offset));
  cJSON_AddItemToArray(range, cJSON_CreateNumber((double)(t->offset + t->bytes)));
  return o;
}

/* The header as the file begins with it: length, JSON, spaces up to the alignment; malloc'ed. */
static char *header_of(qp_tensor_writer *w, size_t *bytes) {
  cJSON *o = cJSON_CreateObject();
  cJSON_AddItemToObject(o, "__metadata__", cJSON_Duplicate(w->metadata, true));
  for (size_t i = 0; i < w->count; i++)
    cJSON_AddItemToObject(o, w->tensor[i].name, entry_of(&w->tensor[i]));
  char *text = cJSON_PrintUnformatted(o), *header = NULL;
  cJSON_Delete(o);
  if (text) {
    const size_t n = strlen(text);
    *bytes = (8 + n + DATA_ALIGNMENT - 1) / DATA_ALIGNMENT * DATA_ALIGNMENT;
    header = malloc(*bytes);
    if (header) {
      memset(header, ' ', *bytes);
      /* Bytes, no string. NOLINTNEXTLINE(bugprone-not-null-terminated-result) */
      memcpy(header + 8, text, n);
      const uint64_t length = *bytes - 8;
      for (unsigned i = 0; i < 8; i++) header[i] = (char)(length >> (8 * i));
    }
  }
  cJSON_free(text);
  return header;
}

static bool write_at(int file, const void *data, size_t bytes, uint64_t at) {
  const char *p = data;
  while (bytes) {
    const ssize_t n = pwrite(file, p, bytes, (off_t)at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    p += n;
    at += (uint64_t)n;
    bytes -= (size_t)n;
  }
  return true;
}

qp_status qp_tensor_writer_start(qp_tensor_writer *w, qp_error *err) {
  qp_status status = check_names(w, err);
  if (status) return status;
  lay_out(w);
  size_t bytes = 0;
  char *header = header_of(w, &bytes);
  if (!header) return no_memory(w, err);
  qp_file_make_folders(w->part);
  w->file = open(w->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (w->file < 0 || !write_at(w->file, header, bytes, 0)) status = cannot(w, err);
  w->data = bytes;
  free(header);
  return status;
}

qp_status qp_tensor_writer_write(qp_tensor_writer *w, size_t id, uint64_t offset, const void *data,
                                 size_t bytes, qp_error *err) {
  declared *t = &w->tensor[id];
  if (offset > t->bytes || bytes > t->bytes - offset)
    return qp_fail(err, QP_E_ARG, "%s: tensor '%s' has %llu bytes, not %llu", w->path, t->name,
                   (unsigned long long)t->bytes, (unsigned long long)(offset + bytes));
  if (!write_at(w->file, data, bytes, w->data + t->offset + offset)) return cannot(w, err);
  t->written += bytes;
  return QP_OK;
}

qp_status qp_tensor_writer_finish(qp_tensor_writer *w, qp_error *err) {
  for (size_t i = 0; i < w->count; i++)
    if (w->tensor[i].written != w->tensor[i].bytes)
      return qp_fail(err, QP_E_ARG, "%s: %llu of %llu bytes of tensor '%s' were written", w->path,
                     (unsigned long long)w->tensor[i].written,
                     (unsigned long long)w->tensor[i].bytes, w->tensor[i].name);
  bool ok = qp_file_sync(w->file);
  ok = close(w->file) == 0 && ok;
  w->file = -1;
  if (ok) ok = rename(w->part, w->path) == 0;
  if (ok) return QP_OK;
  qp_status status = cannot(w, err);
  unlink(w->part);
  return status;
}
