/* SPDX-License-Identifier: MIT */
/*
** The NVRTC of this machine, told to optimise little: for tests of what becomes of kernels, which
** do not look at their machine code. Most of the CPU time of those tests is NVRTC's optimiser.
**   qpal --QPAL_NVRTC--> this library --> the NVRTC that qpal would find by itself
** The build in the head of its PTX says so: what it compiled is never found in a cache as the code
** of the true one.
*/
#include <dlfcn.h>
#include <limits.h>
#include <nvrtc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/dynlib.h"

/* What is handed on as it is: name, parameters, arguments. */
#define FORWARDED(X)                                                                               \
  X(nvrtcVersion, (int *major, int *minor), (major, minor))                                        \
  X(nvrtcGetNumSupportedArchs, (int *count), (count))                                              \
  X(nvrtcGetSupportedArchs, (int *archs), (archs))                                                 \
  X(nvrtcCreateProgram,                                                                            \
    (nvrtcProgram * p, const char *source, const char *name, int headers,                          \
     const char *const *texts, const char *const *names),                                          \
    (p, source, name, headers, texts, names))                                                      \
  X(nvrtcDestroyProgram, (nvrtcProgram * p), (p))                                                  \
  X(nvrtcGetProgramLogSize, (nvrtcProgram p, size_t * size), (p, size))                            \
  X(nvrtcGetProgramLog, (nvrtcProgram p, char *log), (p, log))                                     \
  X(nvrtcGetPTXSize, (nvrtcProgram p, size_t * size), (p, size))                                   \
  X(nvrtcGetCUBINSize, (nvrtcProgram p, size_t * size), (p, size))                                 \
  X(nvrtcGetCUBIN, (nvrtcProgram p, char *cubin), (p, cubin))

static struct {
  const char *(*error)(nvrtcResult);
  nvrtcResult (*compile)(nvrtcProgram, int, const char *const *);
  nvrtcResult (*ptx)(nvrtcProgram, char *);
#define FIELD(name, parameters, arguments) nvrtcResult(*name) parameters;
  FORWARDED(FIELD)
#undef FIELD
} behind;

/* NVRTC opens its builtins by name: loaded from beside it, they are found wherever it lies. */
static void load_builtins(void *library) {
  char origin[PATH_MAX], path[PATH_MAX + 64];
  int major = 0, minor = 0;
  if (dlinfo(library, RTLD_DI_ORIGIN, origin) != 0) return;
  if (behind.nvrtcVersion(&major, &minor) != NVRTC_SUCCESS) return;
  snprintf(path, sizeof path, "%s/libnvrtc-builtins.so.%d.%d", origin, major, minor);
  (void)dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

/* The variable names this library; without it the true one is found. */
static qp_status open_behind(void **library, qp_error *err) {
  const char *variable = qp_dynlib_row(QP_DYNLIB_NVRTC)->variable;
  const char *value = getenv(variable);
  char *mine = value ? strdup(value) : NULL;
  unsetenv(variable);
  const qp_status status = qp_dynlib_open(QP_DYNLIB_NVRTC, NULL, library, err);
  if (mine) setenv(variable, mine, 1);
  free(mine);
  return status;
}

__attribute__((constructor)) static void begin(void) {
  void *library = NULL;
  qp_error err = {.text = ""};
  qp_status status = open_behind(&library, &err);
#define LOAD(field, name)                                                                          \
  if (!status) status = qp_dynlib_symbol(library, "NVRTC", name, &behind.field, &err);
#define LOAD_SAME(name, parameters, arguments) LOAD(name, #name)
  FORWARDED(LOAD_SAME)
  LOAD(error, "nvrtcGetErrorString")
  LOAD(compile, "nvrtcCompileProgram")
  LOAD(ptx, "nvrtcGetPTX")
#undef LOAD_SAME
#undef LOAD
  if (status) {
    fprintf(stderr, "quick NVRTC: %s\n", err.text);
    abort();
  }
  load_builtins(library);
}

#define FORWARD(name, parameters, arguments)                                                       \
  nvrtcResult name parameters { return behind.name arguments; }
FORWARDED(FORWARD)
#undef FORWARD

const char *nvrtcGetErrorString(nvrtcResult result) { return behind.error(result); }

/* The second option leaves out declarations of CUDA that kernels do not use.  An NVRTC that does
   not know an option compiles without both, and so does one that fails with them: 13.5.37, told so,
   refuses __dp4a below sm_100 ("unsupported operation"). */
nvrtcResult nvrtcCompileProgram(nvrtcProgram p, int count, const char *const *options) {
  static const char *const more[] = {"--Ofast-compile=mid", "--minimal"};
  enum { MOST = 16, MORE = sizeof more / sizeof *more };
  const char *all[MOST + MORE];
  if (count > MOST) return NVRTC_ERROR_INVALID_INPUT;
  if (count > 0) memcpy(all, options, (size_t)count * sizeof *all);
  memcpy(all + count, more, sizeof more);
  const nvrtcResult result = behind.compile(p, count + MORE, all);
  return result != NVRTC_SUCCESS ? behind.compile(p, count, options) : result;
}

nvrtcResult nvrtcGetPTX(nvrtcProgram p, char *ptx) {
  static const char label[] = "// Compiler Build ID: ";
  const nvrtcResult result = behind.ptx(p, ptx);
  char *build = result == NVRTC_SUCCESS ? strstr(ptx, label) : NULL;
  if (build) memcpy(build + sizeof label - 1, "QK", 2); /* for the CL of CL-36424714 */
  return result;
}
