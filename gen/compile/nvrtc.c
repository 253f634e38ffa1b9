/* SPDX-License-Identifier: MIT */
/* The worker's side of  CUDA source -> cubin + PTX,  by NVRTC, which is opened by dlopen.  No other
   file knows nvrtc.h. */
#include "gen/compile/nvrtc.h"

#include <assert.h>
#include <dlfcn.h>
#include <limits.h>
#include <nvrtc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/compile/description_kept.h"
#include "runtime/arch.h"
#include "runtime/dynlib.h"

/* Every function of NVRTC that is used: the table's fields and what dlsym looks for. */
#define FUNCTIONS(X)                                                                               \
  X(nvrtcVersion)                                                                                  \
  X(nvrtcGetErrorString)                                                                           \
  X(nvrtcGetNumSupportedArchs)                                                                     \
  X(nvrtcGetSupportedArchs)                                                                        \
  X(nvrtcCreateProgram)                                                                            \
  X(nvrtcDestroyProgram)                                                                           \
  X(nvrtcCompileProgram)                                                                           \
  X(nvrtcGetProgramLogSize)                                                                        \
  X(nvrtcGetProgramLog)                                                                            \
  X(nvrtcGetPTXSize)                                                                               \
  X(nvrtcGetPTX)                                                                                   \
  X(nvrtcGetCUBINSize)                                                                             \
  X(nvrtcGetCUBIN)

typedef struct nvrtc {
  void *library;
#define FIELD(name) __typeof__(&name) name;
  FUNCTIONS(FIELD)
#undef FIELD
} nvrtc;

static_assert(sizeof(void *) == sizeof(__typeof__(&nvrtcVersion)), "dlsym gives functions too");

static qp_status judge(void *library, qp_error *err) {
  nvrtcResult (*version)(int *, int *);
  int major = 0, minor = 0;
  const int oldest = (int)qp_dynlib_row(QP_DYNLIB_NVRTC)->oldest;
  const qp_status status = qp_dynlib_symbol(library, "NVRTC", "nvrtcVersion", &version, err);
  if (status) return status;
  if (version(&major, &minor) == NVRTC_SUCCESS && 100 * major + minor >= oldest) return QP_OK;
  return qp_fail(err, QP_E_MISSING, "NVRTC %d.%d is too old; %d.%d or newer is needed", major,
                 minor, oldest / 100, oldest % 100);
}

/*
** NVRTC opens its builtins by name alone.  Where it was itself found by a path that the loader does
** not search (a toolkit without an entry for ldconfig, a wheel), they are loaded from beside it
** first; the loader then knows the name.  A failure is reported by the first compile.
*/
static void load_builtins(const nvrtc *rt) {
  char path[PATH_MAX + 64], origin[PATH_MAX];
  int major = 0, minor = 0;
  if (dlinfo(rt->library, RTLD_DI_ORIGIN, origin) != 0) return;
  if (rt->nvrtcVersion(&major, &minor) != NVRTC_SUCCESS) return;
  snprintf(path, sizeof path, "%s/libnvrtc-builtins.so.%d.%d", origin, major, minor);
  const char *why;
  (void)qp_dynlib_load(path, &why); /* kept until exit, as NVRTC would */
}

static qp_status nvrtc_open(void **self, qp_error *err) {
  nvrtc *rt = calloc(1, sizeof *rt);
  if (!rt) return qp_fail(err, QP_E_NOMEM, "out of memory opening NVRTC");
  qp_status status = qp_dynlib_open(QP_DYNLIB_NVRTC, judge, &rt->library, err);
#define LOAD(name)                                                                                 \
  if (!status) status = qp_dynlib_symbol(rt->library, "NVRTC", #name, &rt->name, err);
  FUNCTIONS(LOAD)
#undef LOAD
  if (status) return free(rt), status;
  load_builtins(rt);
  *self = rt;
  return QP_OK;
}

qp_nvrtc_options qp_nvrtc_options_of(unsigned arch, bool cubin) {
  qp_nvrtc_options o = {.count = cubin ? 4 : 3};
  snprintf(o.text[0], sizeof o.text[0], "--gpu-architecture=%s_%u", cubin ? "sm" : "compute", arch);
  snprintf(o.text[1], sizeof o.text[1], "--std=c++20");
  snprintf(o.text[2], sizeof o.text[2], "--device-as-default-execution-space");
  if (cubin) snprintf(o.text[3], sizeof o.text[3], "--ptxas-options=-v"); /* spills, in the log */
  return o;
}

/* Sizes that NVRTC gives include the NUL of a text; the copy of a cubin gets one to spare. */
typedef nvrtcResult (*size_function)(nvrtcProgram, size_t *);
typedef nvrtcResult (*copy_function)(nvrtcProgram, char *);

static nvrtcResult fetch(nvrtcProgram p, size_function size, copy_function copy, char **out,
                         size_t *bytes) {
  size_t n = 0;
  nvrtcResult r = size(p, &n);
  if (r != NVRTC_SUCCESS) return r;
  char *text = calloc(n + 1, 1);
  if (!text) return NVRTC_ERROR_OUT_OF_MEMORY;
  r = copy(p, text);
  if (r != NVRTC_SUCCESS) {
    free(text);
    return r;
  }
  *out = text;
  *bytes = n;
  return NVRTC_SUCCESS;
}

static nvrtcResult compile_program(const nvrtc *rt, nvrtcProgram p, const qp_compile_job *job,
                                   qp_compiled *out) {
  const qp_nvrtc_options o = qp_nvrtc_options_of(job->arch, job->want_cubin);
  const char *text[QP_NVRTC_OPTIONS];
  for (unsigned i = 0; i < o.count; i++) text[i] = o.text[i];
  nvrtcResult r = rt->nvrtcCompileProgram(p, (int)o.count, text);
  size_t bytes;
  const nvrtcResult logged =
      fetch(p, rt->nvrtcGetProgramLogSize, rt->nvrtcGetProgramLog, &out->log, &bytes);
  if (r == NVRTC_SUCCESS) r = logged;
  if (r == NVRTC_SUCCESS) {
    r = fetch(p, rt->nvrtcGetPTXSize, rt->nvrtcGetPTX, &out->ptx, &out->ptx_bytes);
    if (out->ptx) out->ptx_bytes = strlen(out->ptx);
  }
  if (r == NVRTC_SUCCESS && job->want_cubin) {
    char *cubin = NULL;
    r = fetch(p, rt->nvrtcGetCUBINSize, rt->nvrtcGetCUBIN, &cubin, &out->cubin_bytes);
    out->cubin = cubin;
  }
  return r;
}

/* Whether this NVRTC compiles for an architecture; where it does not say so, it is asked to try. */
static bool knows_arch(const nvrtc *rt, unsigned arch) {
  enum { MOST = 256 };
  int count = 0, known[MOST];
  if (rt->nvrtcGetNumSupportedArchs(&count) != NVRTC_SUCCESS || count < 1 || count > MOST ||
      rt->nvrtcGetSupportedArchs(known) != NVRTC_SUCCESS)
    return true;
  for (int i = 0; i < count; i++)
    if ((unsigned)known[i] == arch) return true;
  return false;
}

/* That it does not, and which NVRTC does. */
static void refuse_arch(const nvrtc *rt, const qp_compile_job *job, qp_compiled *out) {
  int major = 0, minor = 0;
  qp_error why = {.text = ""};
  const qp_arch *a = qp_arch_find(job->arch);
  const unsigned first = a ? a->nvrtc : 0;
  rt->nvrtcVersion(&major, &minor);
  out->status = qp_fail(&why, QP_E_COMPILE,
                        "%s: NVRTC %d.%d does not compile for sm_%u, NVRTC %u.%u is the first that "
                        "does; `qpal doctor` "
                        "says which are here",
                        job->name, major, minor, job->arch, first / 100, first % 100);
  out->log = strdup(why.text);
}

static void nvrtc_compile(void *self, const qp_compile_job *job, qp_compiled *out) {
  const nvrtc *rt = self;
  if (!knows_arch(rt, job->arch)) {
    refuse_arch(rt, job, out);
    return;
  }
  nvrtcProgram p = NULL;
  nvrtcResult r = rt->nvrtcCreateProgram(&p, job->source, job->name, 0, NULL, NULL);
  if (r == NVRTC_SUCCESS) r = compile_program(rt, p, job, out);
  if (p) rt->nvrtcDestroyProgram(&p);
  if (r == NVRTC_SUCCESS) return;
  free(out->cubin);
  free(out->ptx);
  out->cubin = NULL;
  out->ptx = NULL;
  out->cubin_bytes = out->ptx_bytes = 0;
  out->status = r == NVRTC_ERROR_OUT_OF_MEMORY ? QP_E_NOMEM : QP_E_COMPILE;
  if (!out->log || !*out->log) {
    free(out->log);
    out->log = strdup(rt->nvrtcGetErrorString(r));
  }
}

/* Copy the rest of the line after 'label' in 'text'; empty where there is no such line. */
static void line_after(const char *text, const char *label, char *out, size_t size) {
  const char *at = strstr(text, label);
  if (!at) {
    *out = 0;
    return;
  }
  at += strlen(label);
  snprintf(out, size, "%.*s", (int)strcspn(at, "\n"), at);
}

/* The build is not in NVRTC's API; it stands in the head of every PTX text. */
static qp_status nvrtc_describe(void *self, char *text, size_t size, qp_error *err) {
  const nvrtc *rt = self;
  int major = 0, minor = 0;
  if (rt->nvrtcVersion(&major, &minor) != NVRTC_SUCCESS) {
    return qp_fail(err, QP_E_MISSING, "NVRTC does not tell its version; install it again");
  }
  if (qp_description_is_kept(text, size)) return QP_OK;
  const qp_compile_job probe = {.name = "qpal_probe",
                                .source = "extern \"C\" __global__ void qpal_probe() {}\n",
                                .arch = 80,
                                .want_ptx = true};
  qp_compiled out = {0};
  nvrtc_compile(self, &probe, &out);
  if (out.status != QP_OK) {
    const qp_status status =
        qp_fail(err, QP_E_MISSING,
                "NVRTC %d.%d cannot compile an empty kernel (is libnvrtc-builtins "
                "beside it?): %s",
                major, minor, out.log ? out.log : "no reason given");
    qp_compiled_free(&out);
    return status;
  }
  char build[96], tools[96], release[64];
  snprintf(release, sizeof release, "// Cuda compilation tools, release %d.%d, ", major, minor);
  line_after(out.ptx, "// Compiler Build ID: ", build, sizeof build);
  line_after(out.ptx, release, tools, sizeof tools);
  snprintf(text, size, "NVRTC %d.%d (%s, %s)", major, minor, tools, build);
  qp_compiled_free(&out);
  qp_description_keep(text);
  return QP_OK;
}

const qp_compile_backend qp_nvrtc_backend = {
    .open = nvrtc_open, .describe = nvrtc_describe, .compile = nvrtc_compile};
