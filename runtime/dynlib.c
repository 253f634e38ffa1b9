/* SPDX-License-Identifier: MIT */
/*
** Shared libraries opened at run time; see dynlib.h.  Rule: a variable that names a library is the
** only place; else the places of 'places' in order, each with every name of the library.
*/
#include "runtime/dynlib.h"

#include <dlfcn.h>
#include <glob.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#if defined(__aarch64__)
#define CPU_TOOLKIT "/targets/sbsa-linux/lib"
#define CPU_SYSTEM  "/usr/lib/aarch64-linux-gnu"
#else
#define CPU_TOOLKIT "/targets/x86_64-linux/lib"
#define CPU_SYSTEM  "/usr/lib/x86_64-linux-gnu"
#endif

/* The folder of the libraries whose headers this was built with. */
#ifndef QP_CUDA_LIBRARY_DIR
#define QP_CUDA_LIBRARY_DIR ""
#endif

#define TOOLKIT_ADVICE                                                                             \
  "install the CUDA Toolkit (12.8 or newer) or NVIDIA's Python wheel: pip install "

static const qp_dynlib rows[] = {
    [QP_DYNLIB_CUDA] = {.what = "the CUDA driver (libcuda)",
                        .variable = "QPAL_LIBCUDA",
                        .name = {"libcuda.so.1", "libcuda.so"},
                        .need = "running kernels on a GPU",
                        .advice = "install the NVIDIA driver of this GPU"},
    [QP_DYNLIB_NVRTC] = {.what = "NVRTC",
                         .variable = "QPAL_NVRTC",
                         .name = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"},
                         .toolkit = true,
                         .oldest = 1208, /* the first with sm_120 and cubins as gen/compile/cubin.c
                                            reads them */
                         .need = "compiling kernels",
                         .advice = TOOLKIT_ADVICE "nvidia-cuda-nvrtc"},
    [QP_DYNLIB_CUPTI] = {.what = "CUPTI (libcupti)",
                         .variable = "QPAL_CUPTI",
                         .name = {"libcupti.so.13", "libcupti.so.12", "libcupti.so"},
                         .toolkit = true,
                         .need = "timing single kernels (--timer events goes without)",
                         .advice = TOOLKIT_ADVICE "nvidia-cuda-cupti"},
    [QP_DYNLIB_NVML] = {.what = "NVML",
                        .variable = "QPAL_NVML",
                        .name = {"libnvidia-ml.so.1", "libnvidia-ml.so"},
                        .need = "clocks and throttle reasons in records",
                        .advice = "it comes with the NVIDIA driver"},
    [QP_DYNLIB_CUBLAS] = {.what = "cuBLAS (libcublas)",
                          .variable = "QPAL_CUBLAS",
                          .name = {"libcublas.so.13", "libcublas.so.12", "libcublas.so"},
                          .toolkit = true,
                          .need = "products of qpal evaluate and calibrate on a GPU, and "
                                  "fp16 beside our kernels in qpal bench",
                          .advice = TOOLKIT_ADVICE "nvidia-cublas"},
    [QP_DYNLIB_BLAS] = {.what = "BLAS and LAPACK",
                        .variable = "QPAL_BLAS",
                        .name = {"libopenblas.so.0", "libopenblas.so", "libmkl_rt.so.2",
                                 "libmkl_rt.so", "liblapack.so.3"},
                        .need = "Hessians and forward passes",
                        .advice = "Debian and Ubuntu: sudo apt-get install libopenblas0"},
};
_Static_assert(sizeof rows / sizeof *rows == QP_DYNLIB_COUNT, "a row for every library");

const qp_dynlib *qp_dynlib_row(qp_dynlib_id id) { return &rows[id]; }

/* ---- Where ---- */

enum { MOST_SEEN = 64 };

typedef struct search {
  const qp_dynlib *row;
  bool (*visit)(const char *path, const char *place, void *arg);
  void *arg;
  struct {
    dev_t device;
    ino_t inode;
  } seen[MOST_SEEN]; /* files that were visited */
  unsigned count;
} search;

/* A file is told once, though several names and folders lead to it. */
static bool is_new(search *s, const struct stat *st) {
  for (unsigned i = 0; i < s->count; i++)
    if (s->seen[i].device == st->st_dev && s->seen[i].inode == st->st_ino) return false;
  if (s->count < MOST_SEEN) {
    s->seen[s->count].device = st->st_dev;
    s->seen[s->count++].inode = st->st_ino;
  }
  return true;
}

static bool try_file(search *s, const char *path, const char *place) {
  struct stat st;
  if (stat(path, &st) || !S_ISREG(st.st_mode) || !is_new(s, &st)) return false;
  return s->visit(path, place, s->arg);
}

static bool try_folder(search *s, const char *folder, const char *below, const char *place) {
  char path[PATH_MAX];
  for (unsigned i = 0; s->row->name[i]; i++) {
    const int n = snprintf(path, sizeof path, "%s%s/%s", folder, below, s->row->name[i]);
    if (n > 0 && (size_t)n < sizeof path && try_file(s, path, place)) return true;
  }
  return false;
}

/* The folders that a pattern gives, the last in the order of names first: the newest version. */
static bool try_pattern(search *s, const char *pattern, const char *place) {
  glob_t found = {0};
  bool done = false;
  if (!glob(pattern, 0, NULL, &found))
    for (size_t i = found.gl_pathc; i > 0 && !done; i--)
      done = try_folder(s, found.gl_pathv[i - 1], "", place);
  globfree(&found);
  return done;
}

static bool try_toolkit(search *s, const char *root, const char *place) {
  static const char *const below[] = {"/lib64", "/lib", CPU_TOOLKIT, "/extras/CUPTI/lib64"};
  for (size_t i = 0; i < sizeof below / sizeof *below; i++)
    if (try_folder(s, root, below[i], place)) return true;
  return false;
}

/* Try NVIDIA's wheels in a folder of Python packages: nvidia/cu13/lib, nvidia/cuda_nvrtc/lib,
   ... */
static bool try_packages(search *s, const char *folder, const char *place) {
  char pattern[PATH_MAX];
  if (try_folder(s, folder, "/nvidia/cu13/lib", place)) return true;
  const int n = snprintf(pattern, sizeof pattern, "%s/nvidia/*/lib", folder);
  return n > 0 && (size_t)n < sizeof pattern && try_pattern(s, pattern, place);
}

/* ---- Places, in order ---- */

/* Try by name alone, which finds LD_LIBRARY_PATH, ldconfig's cache and the system's folders. */
static bool try_loader(search *s) {
  for (unsigned i = 0; s->row->name[i]; i++)
    if (s->visit(s->row->name[i], "the loader's path", s->arg)) return true;
  return false;
}

static bool try_environment(search *s) {
  static const char *const variables[] = {"CUDA_HOME", "CUDA_PATH"};
  for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
    const char *root = getenv(variables[i]);
    if (root && *root && try_toolkit(s, root, i ? "$CUDA_PATH" : "$CUDA_HOME")) return true;
  }
  return false;
}

static bool try_built_with(search *s) {
  return *QP_CUDA_LIBRARY_DIR &&
         try_folder(s, QP_CUDA_LIBRARY_DIR, "", "the folder found when qpal was built");
}

static bool try_usual(search *s) {
  glob_t found = {0};
  bool done = try_toolkit(s, "/usr/local/cuda", "/usr/local/cuda");
  if (!glob("/usr/local/cuda-*", 0, NULL, &found))
    for (size_t i = found.gl_pathc; i > 0 && !done; i--)
      done = try_toolkit(s, found.gl_pathv[i - 1], "/usr/local/cuda-*");
  globfree(&found);
  return done || try_toolkit(s, "/opt/cuda", "/opt/cuda") ||
         try_folder(s, CPU_SYSTEM, "", "the system's folder");
}

bool qp_dynlib_each_package_folder(bool (*visit)(const char *folder, void *arg), void *arg) {
  char folder[PATH_MAX];
  bool done = false;
  /* A constant command. NOLINTNEXTLINE(cert-env33-c) */
  FILE *python = popen("python3 -c 'import sys; print(\"\\n\".join(p for p in sys.path if p))' "
                       "2>/dev/null </dev/null",
                       "r");
  while (python && fgets(folder, sizeof folder, python)) {
    folder[strcspn(folder, "\n")] = 0;
    if (!done && *folder == '/') done = visit(folder, arg);
  }
  if (python) pclose(python);
  return done;
}

static bool try_python_folder(const char *folder, void *arg) {
  return try_packages(arg, folder, "python3's packages");
}

static bool try_python(search *s) { return qp_dynlib_each_package_folder(try_python_folder, s); }

/* What the driver brings lies where the loader finds it, but for WSL and stripped containers. */
static bool try_driver(search *s) {
  return try_folder(s, "/usr/lib/wsl/lib", "", "WSL's folder") ||
         try_folder(s, CPU_SYSTEM, "", "the system's folder");
}

static bool try_given(search *s, const char *given) {
  struct stat st;
  char place[64];
  snprintf(place, sizeof place, "$%s", s->row->variable);
  if (stat(given, &st) || !S_ISDIR(st.st_mode)) return s->visit(given, place, s->arg);
  return try_folder(s, given, "", place) || try_packages(s, given, place);
}

bool qp_dynlib_each(qp_dynlib_id id, bool (*visit)(const char *path, const char *place, void *arg),
                    void *arg) {
  typedef bool (*place)(search *);
  static const place toolkit[] = {try_loader, try_environment, try_built_with,
                                  try_usual,  try_python,      NULL};
  static const place driver[] = {try_loader, try_driver, NULL};
  search s = {.row = &rows[id], .visit = visit, .arg = arg};
  const char *given = getenv(s.row->variable);
  if (given && *given) return try_given(&s, given);
  for (const place *p = s.row->toolkit ? toolkit : driver; *p; p++)
    if ((*p)(&s)) return true;
  return false;
}

/* ---- Opening ---- */

typedef struct opening {
  qp_dynlib_judge judge;
  void *handle;
  char refused[2048]; /* files that are there, and why they were not taken */
} opening;

void *qp_dynlib_load(const char *path, const char **why) {
  struct stat st;
  *why = "is no regular file";
  if (strchr(path, '/') && !stat(path, &st) && !S_ISREG(st.st_mode)) return NULL;
  void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  const char *reason = handle ? NULL : dlerror();
  *why = reason ? reason : "the loader gives no reason";
  return handle;
}

static void note_refused(opening *o, const char *path, const char *why) {
  const size_t n = strlen(o->refused);
  const char *name = strstr(why, path) ? "" : path; /* the loader names the file itself */
  snprintf(o->refused + n, sizeof o->refused - n, "\n  %s%s%s", name, *name ? ": " : "", why);
}

static bool try_open(const char *path, const char *place, void *arg) {
  opening *o = arg;
  qp_error why = {.text = ""};
  const char *reason;
  (void)place;
  void *handle = qp_dynlib_load(path, &reason);
  if (!handle) return note_refused(o, path, reason), false;
  if (o->judge && o->judge(handle, &why)) {
    note_refused(o, path, why.text);
    dlclose(handle);
    return false;
  }
  o->handle = handle;
  return true;
}

qp_status qp_dynlib_open(qp_dynlib_id id, qp_dynlib_judge judge, void **handle, qp_error *err) {
  const qp_dynlib *row = &rows[id];
  opening o = {.judge = judge};
  if (qp_dynlib_each(id, try_open, &o)) return *handle = o.handle, QP_OK;
  return qp_fail(err, QP_E_MISSING,
                 "%s cannot be opened, which is needed for %s; %s (or set %s to its path); `qpal "
                 "doctor` says where it is looked for. Tried:%s",
                 row->what, row->need, row->advice, row->variable,
                 *o.refused ? o.refused : " nothing, there is no such file");
}

qp_status qp_dynlib_symbol(void *handle, const char *what, const char *symbol, void *function,
                           qp_error *err) {
  void *address = dlsym(handle, symbol);
  if (!address) return qp_fail(err, QP_E_MISSING, "%s has no '%s': it is too old", what, symbol);
  memcpy(function, &address,
         sizeof address); /* ISO C has no cast from object to function pointer */
  return QP_OK;
}
