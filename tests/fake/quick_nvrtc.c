/* SPDX-License-Identifier: MIT */
/*
** The NVRTC of this machine, told to optimise little and to make PTX alone: for tests of what
** becomes of kernels, which do not look at their machine code.  Most of the CPU time of those tests
** is NVRTC's optimiser, and half as much ptxas.
**   qpal --QPAL_NVRTC--> this library --> the NVRTC that qpal would find by itself
** Whoever asks for a cubin gets one that names the kernel and has no machine code (plain_cubin.h);
** a second library, built with PTXAS defined, makes true ones.  A third, built with HASTY defined,
** optimises less still: for tests that compile many kernels and run few, as their code is several
** times as long.
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
#include "tests/fake/plain_cubin.h"

/* What is handed on as it is: name, parameters, arguments. */
#define FORWARDED(X)                                                                               \
  X(nvrtcVersion, (int *major, int *minor), (major, minor))                                        \
  X(nvrtcGetNumSupportedArchs, (int *count), (count))                                              \
  X(nvrtcGetSupportedArchs, (int *archs), (archs))                                                 \
  X(nvrtcCreateProgram,                                                                            \
    (nvrtcProgram * p, const char *source, const char *name, int headers,                          \
     const char *const *texts, const char *const *names),                                          \
    (p, source, name, headers, texts, names))                                                      \
  X(nvrtcGetProgramLogSize, (nvrtcProgram p, size_t * size), (p, size))                            \
  X(nvrtcGetProgramLog, (nvrtcProgram p, char *log), (p, log))                                     \
  X(nvrtcGetPTXSize, (nvrtcProgram p, size_t * size), (p, size))

#ifdef PTXAS
enum { WITH_PTXAS = 1 };
#define BUILD "QC"
#else
enum { WITH_PTXAS = 0 };
#ifdef HASTY
#define BUILD "QH"
#else
#define BUILD "QP"
#endif
#endif
#ifdef HASTY
#define LEVEL "max"
#else
#define LEVEL "mid"
#endif
enum { MOST = 16 }; /* options */

static struct {
  const char *(*error)(nvrtcResult);
  nvrtcResult (*compile)(nvrtcProgram, int, const char *const *);
  nvrtcResult (*ptx)(nvrtcProgram, char *);
  nvrtcResult (*cubin_size)(nvrtcProgram, size_t *);
  nvrtcResult (*cubin)(nvrtcProgram, char *);
  nvrtcResult (*destroy)(nvrtcProgram *);
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
  LOAD(cubin_size, "nvrtcGetCUBINSize")
  LOAD(cubin, "nvrtcGetCUBIN")
  LOAD(destroy, "nvrtcDestroyProgram")
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
static nvrtcResult compile_quickly(nvrtcProgram p, int count, const char *const *options) {
  static const char *const more[] = {"--Ofast-compile=" LEVEL, "--minimal"};
  enum { MORE = sizeof more / sizeof *more };
  const char *all[MOST + MORE];
  if (count > 0) memcpy(all, options, (size_t)count * sizeof *all);
  memcpy(all + count, more, sizeof more);
  const nvrtcResult result = behind.compile(p, count + MORE, all);
  return result != NVRTC_SUCCESS ? behind.compile(p, count, options) : result;
}

/* The cubin in place of the one that ptxas would make of the program's PTX; a worker compiles one
   program at a time. */
static struct {
  nvrtcProgram program;
  void *cubin;
  size_t bytes;
} plain;

static void make_plain(nvrtcProgram p) {
  size_t size = 0;
  char *ptx = behind.nvrtcGetPTXSize(p, &size) == NVRTC_SUCCESS ? calloc(size + 1, 1) : NULL;
  free(plain.cubin);
  plain.cubin = ptx && behind.ptx(p, ptx) == NVRTC_SUCCESS ? plain_cubin(ptx, &plain.bytes) : NULL;
  plain.program = p;
  free(ptx);
}

/* Of the options for sm_XX those that make the same PTX and no cubin. */
static int leave_out_ptxas(int count, const char *const *options, const char **out, char *arch,
                           size_t size) {
  static const char wanted[] = "--gpu-architecture=sm_", ptxas[] = "--ptxas-options";
  int kept = 0;
  for (int i = 0; i < count; i++) {
    if (!strncmp(options[i], ptxas, sizeof ptxas - 1)) continue;
    out[kept] = options[i];
    if (!strncmp(options[i], wanted, sizeof wanted - 1)) {
      snprintf(arch, size, "--gpu-architecture=compute_%s", options[i] + sizeof wanted - 1);
      out[kept] = arch;
    }
    kept++;
  }
  return kept;
}

/* What is no single kernel is compiled to a true cubin, and so is all by the library with PTXAS. */
nvrtcResult nvrtcCompileProgram(nvrtcProgram p, int count, const char *const *options) {
  const char *few[MOST];
  char arch[64] = "";
  if (count > MOST) return NVRTC_ERROR_INVALID_INPUT;
  const int kept = leave_out_ptxas(count, options, few, arch, sizeof arch);
  if (!*arch || WITH_PTXAS) return compile_quickly(p, count, options);
  const nvrtcResult result = compile_quickly(p, kept, few);
  if (result != NVRTC_SUCCESS) return result;
  make_plain(p);
  return plain.cubin ? result : compile_quickly(p, count, options);
}

nvrtcResult nvrtcDestroyProgram(nvrtcProgram *p) {
  if (plain.program == *p) {
    free(plain.cubin);
    plain.cubin = NULL;
    plain.program = NULL;
  }
  return behind.destroy(p);
}

nvrtcResult nvrtcGetCUBINSize(nvrtcProgram p, size_t *size) {
  if (!plain.cubin || plain.program != p) return behind.cubin_size(p, size);
  *size = plain.bytes;
  return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetCUBIN(nvrtcProgram p, char *cubin) {
  if (!plain.cubin || plain.program != p) return behind.cubin(p, cubin);
  memcpy(cubin, plain.cubin, plain.bytes);
  return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetPTX(nvrtcProgram p, char *ptx) {
  static const char label[] = "// Compiler Build ID: ";
  const nvrtcResult result = behind.ptx(p, ptx);
  char *build = result == NVRTC_SUCCESS ? strstr(ptx, label) : NULL;
  if (build) memcpy(build + sizeof label - 1, BUILD, 2); /* for the CL of CL-36424714 */
  return result;
}
