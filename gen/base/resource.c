/* SPDX-License-Identifier: MIT */
/* Finds the files that the generator reads:  lua/ templates/ tuned/ -> [resource] -> Lua host,
   expander */
#include "gen/base/resource.h"

#include <assert.h>
#include <errno.h>
#include <fts.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gen/base/file.h"
#include "gen/base/resource_data.h"

static const char *const folders[] = {"lua", "templates", "tuned"};
enum { FOLDERS = sizeof folders / sizeof folders[0], MOST_BYTES = 64 << 20 };

/* A file read from $QPAL_HOME, kept until exit because callers hold its text. */
typedef struct loaded_file {
  struct loaded_file *next;
  char *name; /* with the directory */
  char *text;
  size_t bytes;
} loaded_file;

static loaded_file *loaded;
static pthread_mutex_t loaded_lock = PTHREAD_MUTEX_INITIALIZER;

/* The directory to read from instead of the table, or NULL. */
static const char *home_directory(void) {
  const char *home = getenv("QPAL_HOME");
  return home != NULL && home[0] != '\0' ? home : NULL;
}

static qp_status no_such_resource(qp_error *err, const char *path, const char *where) {
  return qp_fail(err, QP_E_IO,
                 "%s: no such resource in %s; resources are files of lua/, templates/ and tuned/",
                 path, where);
}

/* ---- The table in the binary ---- */

static int compare_entry(const void *key, const void *entry) {
  return strcmp(key, ((const qp_resource_entry *)entry)->path);
}

static const qp_resource_entry *find_embedded(const char *path) {
  return bsearch(path, qp_resource_table, qp_resource_count, sizeof(qp_resource_entry),
                 compare_entry);
}

static qp_status read_embedded(const char *path, const char **text, size_t *bytes, qp_error *err) {
  const qp_resource_entry *entry = find_embedded(path);
  if (entry == NULL) return no_such_resource(err, path, "this binary");
  *text = entry->text;
  *bytes = entry->bytes;
  return QP_OK;
}

/* ---- $QPAL_HOME ---- */

/* Is 'path' below one of the folders, and without a way out ("..")? */
static bool is_resource_path(const char *path) {
  size_t folder = 0;
  for (; folder < FOLDERS; folder++) {
    size_t n = strlen(folders[folder]);
    if (strncmp(path, folders[folder], n) == 0 && path[n] == '/') break;
  }
  if (folder == FOLDERS) return false;
  for (const char *part = path; part != NULL; part = strchr(part, '/')) {
    if (*part == '/') part++;
    if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || part[2] == '\0')) return false;
  }
  return true;
}

static qp_status check_home(const char *home, qp_error *err) {
  struct stat st;
  if (stat(home, &st) != 0)
    return qp_fail(err, QP_E_IO,
                   "QPAL_HOME=%s: %s; it should be a directory with lua/, "
                   "templates/ and tuned/, or not be set",
                   home, strerror(errno));
  if (!S_ISDIR(st.st_mode))
    return qp_fail(err, QP_E_IO,
                   "QPAL_HOME=%s: not a directory; it should be one with lua/, "
                   "templates/ and tuned/, or not be set",
                   home);
  return QP_OK;
}

qp_status qp_resource_check(qp_error *err) {
  const char *home = home_directory();
  if (!home) return QP_OK;
  char *folder = NULL;
  qp_status status = check_home(home, err);
  if (!status && asprintf(&folder, "%s/lua", home) < 0)
    return qp_fail(err, QP_E_NOMEM, "out of memory");
  if (!status && access(folder, X_OK) != 0)
    status = qp_fail(err, QP_E_IO,
                     "QPAL_HOME=%s: there is no lua/ in it; it should be a directory with lua/, "
                     "templates/ and tuned/, or not be set",
                     home);
  free(folder);
  return status;
}

static void loaded_file_free(loaded_file *file) {
  if (file == NULL) return;
  free(file->name);
  free(file->text);
  free(file);
}

/* Read 'name' (taken over) into a new loaded_file. */
static qp_status load_file(char *name, loaded_file **out, qp_error *err) {
  loaded_file *file = calloc(1, sizeof *file);
  if (file == NULL) {
    free(name);
    return qp_fail(err, QP_E_NOMEM, "out of memory");
  }
  file->name = name;
  const qp_status status = qp_file_read(name, MOST_BYTES, &file->text, &file->bytes, err);
  if (status) {
    loaded_file_free(file);
    return status;
  }
  *out = file;
  return QP_OK;
}

/* Does what qp_resource_read does; it is called with the lock held. */
static qp_status read_from_home(const char *home, const char *path, const char **text,
                                size_t *bytes, qp_error *err) {
  qp_status status = check_home(home, err);
  if (status) return status;
  if (!is_resource_path(path)) return no_such_resource(err, path, home);
  char *name;
  if (asprintf(&name, "%s/%s", home, path) < 0) return qp_fail(err, QP_E_NOMEM, "out of memory");
  loaded_file *file = loaded;
  while (file != NULL && strcmp(file->name, name) != 0) file = file->next;
  if (file != NULL) {
    free(name);
  } else {
    status = load_file(name, &file, err);
    if (status) return status;
    file->next = loaded;
    loaded = file;
  }
  *text = file->text;
  *bytes = file->bytes;
  return QP_OK;
}

qp_status qp_resource_read(const char *path, const char **text, size_t *bytes, qp_error *err) {
  assert(path != NULL && text != NULL && bytes != NULL);
  const char *home = home_directory();
  if (home == NULL) return read_embedded(path, text, bytes, err);
  pthread_mutex_lock(&loaded_lock);
  qp_status status = read_from_home(home, path, text, bytes, err);
  pthread_mutex_unlock(&loaded_lock);
  return status;
}

/* ---- Enumeration ---- */

typedef struct path_list {
  char **path;
  size_t count, capacity;
} path_list;

static bool path_list_add(path_list *list, const char *path) {
  if (list->count == list->capacity) {
    size_t capacity = list->capacity == 0 ? 64 : 2 * list->capacity;
    char **grown = realloc(list->path, capacity * sizeof *grown);
    if (grown == NULL) return false;
    list->path = grown;
    list->capacity = capacity;
  }
  char *copy = strdup(path);
  if (copy == NULL) return false;
  list->path[list->count++] = copy;
  return true;
}

static void path_list_free(path_list *list) {
  for (size_t i = 0; i < list->count; i++) free(list->path[i]);
  free(list->path);
}

static int compare_path(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Files below the open walk; the same ones are left out as gen/embed.cmake leaves out. */
static void collect_walk(FTS *walk, size_t home_length, path_list *list) {
  for (FTSENT *at = fts_read(walk); at != NULL; at = fts_read(walk)) {
    bool hidden = at->fts_name[0] == '.';
    if (hidden && at->fts_info == FTS_D && at->fts_level > 0) fts_set(walk, at, FTS_SKIP);
    if (hidden || at->fts_info != FTS_F) continue;
    if (at->fts_name[at->fts_namelen - 1] == '~') continue;
    if (!path_list_add(list, at->fts_path + home_length + 1)) return;
  }
}

static void collect_home(const char *home, path_list *list) {
  char *roots[FOLDERS + 1] = {NULL};
  size_t made = 0;
  while (made < FOLDERS && asprintf(&roots[made], "%s/%s", home, folders[made]) >= 0) made++;
  roots[made] = NULL;
  FTS *walk = made == FOLDERS ? fts_open(roots, FTS_LOGICAL | FTS_NOCHDIR, NULL) : NULL;
  if (walk != NULL) {
    collect_walk(walk, strlen(home), list);
    fts_close(walk);
  }
  for (size_t i = 0; i < made; i++) free(roots[i]);
  if (list->count > 0) qsort(list->path, list->count, sizeof *list->path, compare_path);
}

void qp_resource_each(const char *prefix, void (*visit)(const char *path, void *arg), void *arg) {
  assert(prefix != NULL && visit != NULL);
  size_t length = strlen(prefix);
  const char *home = home_directory();
  if (home == NULL) {
    for (size_t i = 0; i < qp_resource_count; i++)
      if (strncmp(qp_resource_table[i].path, prefix, length) == 0)
        visit(qp_resource_table[i].path, arg);
    return;
  }
  path_list list = {0};
  collect_home(home, &list);
  for (size_t i = 0; i < list.count; i++)
    if (strncmp(list.path[i], prefix, length) == 0) visit(list.path[i], arg);
  path_list_free(&list);
}

/* ---- Comparing the two ---- */

typedef struct comparison {
  size_t alike;
  bool differs;
} comparison;

static void compare_embedded(const char *path, void *arg) {
  comparison *c = arg;
  const qp_resource_entry *entry = find_embedded(path);
  const char *text;
  size_t bytes;
  if (c->differs) return;
  c->differs = !entry || qp_resource_read(path, &text, &bytes, NULL) || bytes != entry->bytes ||
               memcmp(text, entry->text, bytes) != 0;
  c->alike += !c->differs;
}

bool qp_resource_is_carried(const char *prefix) {
  comparison c = {0};
  size_t carried = 0;
  if (home_directory() == NULL) return true;
  for (size_t i = 0; i < qp_resource_count; i++)
    carried += !strncmp(qp_resource_table[i].path, prefix, strlen(prefix));
  qp_resource_each(prefix, compare_embedded, &c);
  return !c.differs && c.alike == carried;
}
