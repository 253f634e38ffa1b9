/* SPDX-License-Identifier: MIT */
/* Where records are found; see library.h. */
#include "tuner/tune/library.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/resource.h"

#define FOLDER "tuned/"
enum { PATH = 256 };

/* A file of tuned/, which is among the resources, in the current folder's own tuned/, or both. */
typedef struct entry {
  char path[PATH]; /* "tuned/x.jsonl" */
  bool inside, here;
} entry;

typedef struct listing {
  entry *list;
  size_t count;
  bool failed;
} listing;

static bool ends_with(const char *s, const char *end) {
  const size_t n = strlen(s), m = strlen(end);
  return n >= m && !strcmp(s + n - m, end);
}

static void note(listing *l, const char *path, bool here) {
  if (!ends_with(path, ".jsonl") || strlen(path) >= PATH) return;
  size_t i = 0;
  while (i < l->count && strcmp(l->list[i].path, path) != 0) i++;
  if (i == l->count) {
    entry *more = realloc(l->list, (i + 1) * sizeof *more);
    if (!more) {
      l->failed = true;
      return;
    }
    l->list = more;
    l->list[l->count++] = (entry){.inside = false};
    snprintf(l->list[i].path, PATH, "%s", path);
  }
  if (here)
    l->list[i].here = true;
  else
    l->list[i].inside = true;
}

static void note_resource(const char *path, void *arg) { note(arg, path, false); }

static int by_path(const void *a, const void *b) {
  return strcmp(((const entry *)a)->path, ((const entry *)b)->path);
}

static qp_status list_files(listing *l, qp_error *err) {
  *l = (listing){.list = NULL};
  qp_resource_each(FOLDER, note_resource, l);
  DIR *folder = opendir(FOLDER);
  for (const struct dirent *e; folder && (e = readdir(folder));) {
    char path[PATH + 64];
    snprintf(path, sizeof path, FOLDER "%s", e->d_name);
    if (e->d_name[0] != '.') note(l, path, true);
  }
  if (folder) closedir(folder);
  if (l->failed) return free(l->list), qp_fail(err, QP_E_NOMEM, "no memory for records");
  if (l->count) qsort(l->list, l->count, sizeof *l->list, by_path);
  return QP_OK;
}

/* Read both files of that name as one set; what the replay device made is refused. */
static qp_status read_entry(const entry *e, qp_records *out, qp_error *err) {
  const char *text;
  size_t bytes;
  qp_records got = {0};
  qp_status status = QP_OK;
  if (e->inside) {
    status = qp_resource_read(e->path, &text, &bytes, err);
    if (!status) status = qp_records_parse(e->path, text, bytes, QP_RECORDS_MEASURED, &got, err);
  }
  if (!status && e->here) status = qp_records_read(e->path, QP_RECORDS_MEASURED, &got, err);
  if (!status) status = qp_records_merge(out, &got, err);
  qp_records_free(&got);
  return status;
}

/* The entry called 'wanted', else the one whose name has it in it. */
static qp_status choose(const listing *l, const char *gpu, const char *wanted, const entry **out,
                        qp_error *err) {
  char whole[PATH], all[1024] = "";
  size_t fits = 0, n = 0;
  snprintf(whole, sizeof whole, FOLDER "%.200s.jsonl", wanted);
  for (size_t i = 0; i < l->count && *wanted; i++) {
    if (!strcmp(l->list[i].path, whole)) return *out = &l->list[i], QP_OK;
    if (!strstr(l->list[i].path + strlen(FOLDER), wanted)) continue;
    if (!fits++) *out = &l->list[i];
    if (n < sizeof all)
      n += (size_t)snprintf(all + n, sizeof all - n, "%s%s", n ? ", " : "", l->list[i].path);
  }
  if (fits == 1) return QP_OK;
  if (fits) return qp_fail(err, QP_E_ARG, "'%s': several files fit: %s", gpu, all);
  char table[PATH];
  const char *text;
  size_t bytes;
  const bool published = snprintf(table, sizeof table, FOLDER "%.200s.json", gpu) > 0 &&
                         !qp_resource_read(table, &text, &bytes, NULL);
  return qp_fail(err, QP_E_ARG,
                 "'%s': there are no records of such a GPU in tuned/; name a .jsonl file, or make "
                 "records with qpal tune%s%s",
                 gpu, published ? "; a published table of this name is for qpal plan alone: " : "",
                 published ? table : "");
}

qp_status qp_library_read(const char *gpu, unsigned policy, qp_records *out, char source[256],
                          qp_error *err) {
  char name[128];
  const entry *e = NULL;
  listing l;
  snprintf(source, 256, "%s", gpu);
  if (strchr(gpu, '/') || ends_with(gpu, ".jsonl")) return qp_records_read(gpu, policy, out, err);
  qp_records_file_name(gpu, name, sizeof name);
  qp_status status = list_files(&l, err);
  if (status) return status;
  status = choose(&l, gpu, name, &e, err);
  if (!status) snprintf(source, 256, "%s", e->path);
  if (!status) status = read_entry(e, out, err);
  free(l.list);
  return status;
}

qp_status qp_library_all(qp_records **out, size_t *count, qp_error *err) {
  listing l;
  qp_status status = list_files(&l, err);
  if (status) return status;
  qp_records *list = calloc(l.count + 1, sizeof *list);
  if (!list) status = qp_fail(err, QP_E_NOMEM, "no memory for records");
  for (size_t i = 0; !status && i < l.count; i++) status = read_entry(&l.list[i], &list[i], err);
  if (status) {
    for (size_t i = 0; list && i < l.count; i++) qp_records_free(&list[i]);
    free(list);
  } else {
    *out = list;
    *count = l.count;
  }
  free(l.list);
  return status;
}
