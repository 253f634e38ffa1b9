/* SPDX-License-Identifier: MIT */
/* Shared libraries, each loaded and asked for its version in a process of its own. */
#include "tuner/base/library_probe.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gen/base/process.h"

enum { LIMIT_MS = 4000 };

/* ---- In the child: versions ---- */

static bool find_symbol(void *library, const char *name, void *function) {
  return !qp_dynlib_symbol(library, "", name, function, NULL);
}

static void ask_cuda(void *library, qp_library_find *f) {
  int (*init)(unsigned), (*version)(int *), (*name_of)(int, const char **), r, v = 0;
  if (!find_symbol(library, "cuInit", &init) ||
      !find_symbol(library, "cuDriverGetVersion", &version) ||
      !find_symbol(library, "cuGetErrorName", &name_of))
    return;
  const char *name = NULL;
  if (!version(&v)) snprintf(f->version, sizeof f->version, "CUDA %d.%d", v / 1000, v % 1000 / 10);
  if ((r = init(0)))
    snprintf(f->why, sizeof f->why, "cuInit: %s (%d)",
             !name_of(r, &name) && name ? name : "no reason given", r);
}

static void ask_nvrtc(void *library, qp_library_find *f) {
  const unsigned oldest = qp_dynlib_row(QP_DYNLIB_NVRTC)->oldest;
  int (*version)(int *, int *), major = 0, minor = 0;
  if (!find_symbol(library, "nvrtcVersion", &version) || version(&major, &minor)) return;
  f->number = (unsigned)(100 * major + minor);
  snprintf(f->version, sizeof f->version, "%d.%d", major, minor);
  f->usable = f->number >= oldest;
  if (!f->usable)
    snprintf(f->why, sizeof f->why, "NVRTC %s is too old; %u.%u or newer is needed", f->version,
             oldest / 100, oldest % 100);
}

/* Its own call may never return where there is no driver: the name of the file is asked then. */
static void ask_cupti(void *library, qp_library_find *f) {
  int (*version)(uint32_t *);
  uint32_t v = 0;
  void *driver;
  if (!qp_dynlib_open(QP_DYNLIB_CUDA, NULL, &driver, NULL) &&
      find_symbol(library, "cuptiGetVersion", &version) && !version(&v)) {
    if (v >= 100000)
      snprintf(f->version, sizeof f->version, "%u.%u", v / 10000, v / 100 % 100);
    else
      snprintf(f->version, sizeof f->version, "API %u", v);
    return;
  }
  const char *at = strstr(f->path, ".so.");
  if (at) snprintf(f->version, sizeof f->version, "%.40s", at + 4);
}

static void ask_nvml(void *library, qp_library_find *f) {
  int (*init)(void), (*driver)(char *, unsigned);
  if (!find_symbol(library, "nvmlInit_v2", &init) || init()) return;
  if (!find_symbol(library, "nvmlSystemGetDriverVersion", &driver) ||
      driver(f->version, sizeof f->version))
    f->version[0] = 0;
}

static void ask_cublas(void *library, qp_library_find *f) {
  int (*property)(int, int *), v[3] = {0};
  if (!find_symbol(library, "cublasGetProperty", &property)) return;
  for (int i = 0; i < 3; i++)
    if (property(i, &v[i])) return;
  snprintf(f->version, sizeof f->version, "%d.%d.%d", v[0], v[1], v[2]);
}

static void ask_blas(void *library, qp_library_find *f) {
  char *(*config)(void);
  if (!find_symbol(library, "openblas_get_config", &config)) return;
  const char *text = config();
  const char *second = text ? strchr(text, ' ') : NULL;
  const size_t n = second ? strcspn(second + 1, " ") + 1 : 0;
  if (second)
    snprintf(f->version, sizeof f->version, "%.*s", (int)((second - text) + (long)n), text);
}

static void (*const ask[QP_DYNLIB_COUNT])(void *library, qp_library_find *f) = {
    [QP_DYNLIB_CUDA] = ask_cuda, [QP_DYNLIB_NVRTC] = ask_nvrtc,   [QP_DYNLIB_CUPTI] = ask_cupti,
    [QP_DYNLIB_NVML] = ask_nvml, [QP_DYNLIB_CUBLAS] = ask_cublas, [QP_DYNLIB_BLAS] = ask_blas,
};

static void load(qp_dynlib_id id, const char *path, qp_library_find *f) {
  const char *why;
  void *library = qp_dynlib_load(path, &why);
  struct link_map *map = NULL;
  char real[PATH_MAX];
  if (!library) {
    snprintf(f->why, sizeof f->why, "%s", why);
    return;
  }
  if (!dlinfo(library, RTLD_DI_LINKMAP, &map) && map && realpath(map->l_name, real))
    snprintf(f->path, sizeof f->path, "%.1000s", real);
  f->usable = true;
  ask[id](library, f);
}

/* ---- A child for each ---- */

/* Reads what the child writes; false means that it ended before, or took too long. */
static bool read_answer(int fd, qp_library_find *f, bool *late) {
  size_t got = 0;
  struct pollfd p = {.fd = fd, .events = POLLIN};
  *late = false;
  while (got < sizeof *f) {
    const int ready = poll(&p, 1, LIMIT_MS);
    *late = ready == 0;
    if (ready <= 0) return false;
    const ssize_t n = read(fd, (char *)f + got, sizeof *f - got);
    if (n <= 0) return false;
    got += (size_t)n;
  }
  return true;
}

static void in_child(qp_dynlib_id id, const char *path, int fd, qp_library_find *f) {
  load(id, path, f);
  const char *at = (const char *)f;
  for (size_t left = sizeof *f; left;) {
    const ssize_t n = write(fd, at, left);
    if (n <= 0) break;
    at += n;
    left -= (size_t)n;
  }
  _exit(0); /* Nothing of the library's own ending is to run. */
}

static void probe(qp_dynlib_id id, const char *path, const char *place, qp_library_find *f) {
  int fd[2];
  bool late;
  *f = (qp_library_find){.number = 0};
  snprintf(f->path, sizeof f->path, "%s", path);
  snprintf(f->place, sizeof f->place, "%s", place);
  fflush(NULL);
  if (pipe(fd)) return;
  pid_t pid;
  qp_error err = {.text = ""};
  if (qp_process_fork(&pid, &err))
    snprintf(f->why, sizeof f->why, "%.*s", (int)sizeof f->why - 1, err.text);
  if (pid == 0) in_child(id, path, fd[1], f);
  close(fd[1]);
  qp_library_find answer;
  if (pid > 0 && read_answer(fd[0], &answer, &late))
    *f = answer;
  else if (pid > 0)
    snprintf(f->why, sizeof f->why, "%s",
             late ? "it does not answer within 4 s" : "the process that loaded it ended");
  close(fd[0]);
  if (pid > 0) {
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
  }
}

typedef struct listing {
  qp_dynlib_id id;
  qp_library_find *list;
  size_t count;
} listing;

/* By name and by path the loader may give one file twice; a name that it does not know is no
   find. */
static bool add(const char *path, const char *place, void *arg) {
  listing *l = arg;
  qp_library_find *f = &l->list[l->count];
  probe(l->id, path, place, f);
  if (!f->usable && !strchr(path, '/') && !*f->version) return false;
  for (size_t i = 0; i < l->count; i++)
    if (!strcmp(l->list[i].path, f->path)) return false;
  return ++l->count == QP_FINDS_MAX;
}

size_t qp_library_finds(qp_dynlib_id id, qp_library_find out[QP_FINDS_MAX]) {
  listing l = {.id = id};
  l.list = out;
  qp_dynlib_each(id, add, &l);
  return l.count;
}

const qp_library_find *qp_library_chosen(const qp_library_find *list, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (list[i].usable) return &list[i];
  return NULL;
}

const qp_library_find *qp_library_newer(const qp_library_find *list, size_t count) {
  const qp_library_find *chosen = qp_library_chosen(list, count), *best = chosen;
  for (size_t i = 0; best && i < count; i++)
    if (list[i].usable && list[i].number > best->number) best = &list[i];
  return best == chosen ? NULL : best;
}

void qp_library_remark_nvrtc(const char *verb) {
  qp_library_find list[QP_FINDS_MAX];
  const size_t n = qp_library_finds(QP_DYNLIB_NVRTC, list);
  const qp_library_find *newer = qp_library_newer(list, n);
  if (newer)
    fprintf(stderr,
            "qpal %s: NVRTC %s is in use and %s is at hand; newer ones may make faster code: "
            "QPAL_NVRTC=%s\n",
            verb, qp_library_chosen(list, n)->version, newer->version, newer->path);
}
