/* SPDX-License-Identifier: MIT */
/* Where records are found; see library.h. */
#include "tuner/tune/library.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/resource.h"

static bool ends_with(const char *s, const char *end) {
  size_t n = strlen(s), m = strlen(end);
  return n >= m && !strcmp(s + n - m, end);
}

typedef struct found {
  const char *wanted; /* as in file names; NULL: all */
  size_t count;
  char path[256], all[1024];
  qp_records *list;
  qp_status status;
  qp_error *err;
} found;

static void look(const char *path, void *arg) {
  found *f = arg;
  if (!ends_with(path, ".jsonl") || !strstr(path + strlen("tuned/"), f->wanted)) return;
  char name[160];
  snprintf(name, sizeof name, "%s.jsonl", f->wanted);
  if (!strcmp(path + strlen("tuned/"), name)) f->count = 0; /* the whole name beats parts */
  if (f->count++ == 0) snprintf(f->path, sizeof f->path, "%s", path);
  size_t n = strlen(f->all);
  snprintf(f->all + n, sizeof f->all - n, "%s%s", n ? ", " : "", path);
}

static qp_status read_resource(const char *path, unsigned policy, qp_records *out, qp_error *err) {
  const char *text;
  size_t bytes;
  qp_status st = qp_resource_read(path, &text, &bytes, err);
  return st ? st : qp_records_parse(path, text, bytes, policy, out, err);
}

qp_status qp_library_read(const char *gpu, unsigned policy, qp_records *out, char source[256],
                          qp_error *err) {
  char name[128];
  snprintf(source, 256, "%s", gpu);
  if (strchr(gpu, '/') || ends_with(gpu, ".jsonl")) return qp_records_read(gpu, policy, out, err);
  qp_records_file_name(gpu, name, sizeof name);
  found f = {.wanted = name};
  if (*name) qp_resource_each("tuned/", look, &f);
  if (f.count == 0)
    return qp_fail(
        err, QP_E_ARG,
        "'%s': there are no records of such a GPU in tuned/; name a .jsonl file, or make "
        "records with qpal tune",
        gpu);
  if (f.count > 1) return qp_fail(err, QP_E_ARG, "'%s': several files fit: %s", gpu, f.all);
  snprintf(source, 256, "%s", f.path);
  return read_resource(f.path, policy, out, err);
}

static void take(const char *path, void *arg) {
  found *f = arg;
  if (f->status || !ends_with(path, ".jsonl")) return;
  qp_records *more = realloc(f->list, (f->count + 1) * sizeof *more);
  if (!more) {
    f->status = qp_fail(f->err, QP_E_NOMEM, "no memory for records");
    return;
  }
  f->list = more;
  f->list[f->count] = (qp_records){0};
  f->status = read_resource(path, QP_RECORDS_MEASURED, &f->list[f->count], f->err);
  if (!f->status) f->count++;
}

qp_status qp_library_all(qp_records **out, size_t *count, qp_error *err) {
  found f = {.err = err};
  qp_resource_each("tuned/", take, &f);
  if (f.status) {
    for (size_t i = 0; i < f.count; i++) qp_records_free(&f.list[i]);
    free(f.list);
    return f.status;
  }
  *out = f.list;
  *count = f.count;
  return QP_OK;
}
