/* SPDX-License-Identifier: MIT */
/* Where records are found; see library.h. */
#include "tuner/tune/library.h"

#include <assert.h>
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>

#include "gen/base/json.h"
#include "gen/base/resource.h"
#include "tuner/base/session.h"

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
  assert(e);
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

/* Names in one line: "a, b". */
typedef struct names {
  char text[1024];
  size_t length, count;
} names;

static void add_name(names *n, const char *format, ...) {
  va_list args;
  va_start(args, format);
  if (n->count++ && n->length + 2 < sizeof n->text)
    n->length += (size_t)sprintf(n->text + n->length, ", ");
  const size_t room = sizeof n->text - n->length;
  const int more = vsnprintf(n->text + n->length, room, format, args);
  n->length += more < 0 ? 0 : (size_t)more < room ? (size_t)more : room - 1;
  va_end(args);
}

/* "rtx4090-published of llama-3.1-8b": a table of latencies that others published. */
static void note_published(const char *path, void *arg) {
  const char *text, *base = path + strlen(FOLDER);
  size_t bytes;
  cJSON *tree = NULL;
  if (!ends_with(path, ".json") || qp_resource_read(path, &text, &bytes, NULL) ||
      qp_json_parse(path, text, bytes, &tree, NULL))
    return;
  const char *model = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(tree, "model"));
  if (cJSON_IsString(cJSON_GetObjectItemCaseSensitive(tree, "gpu")))
    add_name(arg, "%.*s%s%s", (int)(strlen(base) - strlen(".json")), base, model ? " of " : "",
             model ? model : "");
  cJSON_Delete(tree);
}

/* What there is instead of records of this GPU. */
static qp_status no_records(const listing *l, const char *gpu, const char *known, qp_error *err) {
  names files = {.text = ""}, published = {.text = ""};
  for (size_t i = 0; i < l->count; i++) {
    const char *base = l->list[i].path + strlen(FOLDER);
    add_name(&files, "%.*s", (int)(strlen(base) - strlen(".jsonl")), base);
  }
  qp_resource_each(FOLDER, note_published, &published);
  return qp_fail(err, QP_E_ARG,
                 "'%s'%s%s%s: there are no records of such a GPU in tuned/ (it has those of %s): "
                 "qpal tune makes them on the GPU, or name a .jsonl file%s%s",
                 gpu, *known ? " (" : "", known, *known ? ")" : "",
                 files.count ? files.text : "no GPU",
                 published.count ? "; qpal plan and make also take latencies that others published "
                                   "(--gpu): "
                                 : "",
                 published.text);
}

/* The entry called 'wanted', else the one whose name has it in it.  'known': what the device 'gpu'
   is called, or "". */
static qp_status choose(const listing *l, const char *gpu, const char *known, const char *wanted,
                        const entry **out, qp_error *err) {
  char whole[PATH];
  names fits = {.text = ""};
  snprintf(whole, sizeof whole, FOLDER "%.200s.jsonl", wanted);
  for (size_t i = 0; i < l->count && *wanted; i++) {
    if (!strcmp(l->list[i].path, whole)) return *out = &l->list[i], QP_OK;
    if (!strstr(l->list[i].path + strlen(FOLDER), wanted)) continue;
    if (!fits.count) *out = &l->list[i];
    add_name(&fits, "%s", l->list[i].path);
  }
  if (fits.count == 1) return QP_OK;
  if (fits.count) return qp_fail(err, QP_E_ARG, "'%s': several files fit: %s", gpu, fits.text);
  return no_records(l, gpu, known, err);
}

qp_status qp_library_read(const char *gpu, unsigned policy, qp_records *out, char source[256],
                          qp_error *err) {
  char name[128];
  qp_device_info info = {.name = ""};
  const entry *e = NULL;
  listing l;
  snprintf(source, 256, "%s", gpu);
  if (strchr(gpu, '/') || ends_with(gpu, ".jsonl")) return qp_records_read(gpu, policy, out, err);
  const bool here = !strncmp(gpu, "cuda:", 5);
  qp_status status = here ? qp_session_probe(gpu, &info, err) : QP_OK;
  if (status)
    return qp_fail_prefix(err, status,
                          "'%s': the name of the GPU here, whose records are wanted, is not known; "
                          "say it as in qpal list gpus",
                          gpu);
  qp_records_file_name(here ? info.name : gpu, name, sizeof name);
  status = list_files(&l, err);
  if (status) return status;
  status = choose(&l, gpu, info.name, name, &e, err);
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
