/* SPDX-License-Identifier: MIT */
/* NVRTC by dlopen: the worker's side of  CUDA source -> cubin + PTX.  No other file knows nvrtc.h.
 */
#include "gen/compile/nvrtc.h"

#include <assert.h>
#include <dlfcn.h>
#include <glob.h>
#include <limits.h>
#include <nvrtc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "runtime/arch.h"

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

static const char *const sonames[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"};
enum { SONAMES = sizeof sonames / sizeof *sonames };

/* A search in progress: the library once found, and the directories where it was not. */
typedef struct search {
  void *library;
  char tried[2048];
  char reason[512]; /* of the last file that was there and did not load */
} search;

static void note_tried(search *s, const char *where) {
  const size_t n = strlen(s->tried);
  snprintf(s->tried + n, sizeof s->tried - n, "%s%s", n ? ", " : "", where);
}

static bool try_file(search *s, const char *path) {
  s->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (s->library) return true;
  const char *why = dlerror();
  struct stat st;
  if (why && stat(path, &st) == 0) snprintf(s->reason, sizeof s->reason, "; %s", why);
  return false;
}

static bool try_directory(search *s, const char *directory, const char *below) {
  char where[PATH_MAX];
  snprintf(where, sizeof where, "%s%s", directory, below);
  for (size_t i = 0; i < SONAMES; i++) {
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/%s", where, sonames[i]);
    if (try_file(s, path)) return true;
  }
  note_tried(s, where);
  return false;
}

static bool try_environment(search *s, const char *variable, const char *const *below) {
  const char *directory = getenv(variable);
  if (!directory || !*directory) return false;
  for (; *below; below++) {
    if (try_directory(s, directory, *below)) return true;
  }
  return false;
}

static bool try_loader(search *s) {
  for (size_t i = 0; i < SONAMES; i++) {
    if (try_file(s, sonames[i])) return true;
  }
  note_tried(s, "the loader's path");
  return false;
}

/* Newest toolkit first: glob sorts by name and the versions of interest have two digits. */
static bool try_toolkits(search *s) {
  glob_t found = {0};
  bool ok = false;
  if (glob("/usr/local/cuda-*/lib64", 0, NULL, &found) == 0) {
    for (size_t i = found.gl_pathc; i > 0 && !ok; i--) {
      ok = try_directory(s, found.gl_pathv[i - 1], "");
    }
  } else {
    note_tried(s, "/usr/local/cuda-*/lib64");
  }
  globfree(&found);
  return ok;
}

#if defined(__aarch64__)
#define CPU_TARGET "/usr/local/cuda/targets/sbsa-linux/lib"
#define CPU_SYSTEM "/usr/lib/aarch64-linux-gnu"
#else
#define CPU_TARGET "/usr/local/cuda/targets/x86_64-linux/lib"
#define CPU_SYSTEM "/usr/lib/x86_64-linux-gnu"
#endif

static bool find_library(search *s) {
  const char *given = getenv("QPAL_NVRTC");
  if (given && *given) {
    struct stat st;
    if (stat(given, &st) == 0 && S_ISDIR(st.st_mode)) return try_directory(s, given, "");
    note_tried(s, given);
    return try_file(s, given);
  }
  static const char *const wheel[] = {"", "/nvidia/cuda_nvrtc/lib", "/nvidia/cu13/lib", NULL};
  static const char *const toolkit[] = {"/lib64", NULL};
  if (try_environment(s, "QPAL_NVRTC_DIR", wheel) || try_loader(s) ||
      try_environment(s, "CUDA_HOME", toolkit) || try_environment(s, "CUDA_PATH", toolkit)) {
    return true;
  }
  static const char *const usual[] = {"/usr/local/cuda/lib64", CPU_TARGET, CPU_SYSTEM,
                                      "/opt/cuda/lib64"};
  if (try_directory(s, usual[0], "") || try_toolkits(s)) return true;
  for (size_t i = 1; i < sizeof usual / sizeof *usual; i++) {
    if (try_directory(s, usual[i], "")) return true;
  }
  return false;
}

static qp_status missing(const search *s, qp_error *err) {
  return qp_fail(err, QP_E_MISSING,
                 "NVRTC not found: tried libnvrtc.so.13, libnvrtc.so.12 and libnvrtc.so in %s%s.  "
                 "Install the CUDA toolkit (12.8 or newer; package cuda-nvrtc-13-0, or 'pip "
                 "install nvidia-cuda-nvrtc') and, if it is elsewhere, set QPAL_NVRTC to the "
                 "library",
                 s->tried, s->reason);
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
  (void)dlopen(path, RTLD_NOW | RTLD_LOCAL); /* kept until exit, as NVRTC would */
}

static qp_status nvrtc_open(void **self, qp_error *err) {
  search s = {0};
  if (!find_library(&s)) return missing(&s, err);
  nvrtc *rt = calloc(1, sizeof *rt);
  if (!rt) {
    dlclose(s.library);
    return qp_fail(err, QP_E_NOMEM, "out of memory opening NVRTC");
  }
  rt->library = s.library;
  const char *absent = NULL;
#define LOAD(name)                                                                                 \
  {                                                                                                \
    void *symbol = dlsym(s.library, #name);                                                        \
    if (!symbol) absent = #name;                                                                   \
    memcpy(&rt->name, &symbol, sizeof symbol);                                                     \
  }
  FUNCTIONS(LOAD)
#undef LOAD
  if (absent) {
    dlclose(s.library);
    free(rt);
    return qp_fail(err, QP_E_MISSING,
                   "NVRTC is too old: it has no %s; install the CUDA toolkit 12.8 or newer",
                   absent);
  }
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
  const qp_compile_job probe = {.name = "qpal_probe",
                                .source = "extern \"C\" __global__ void qpal_probe() {}\n",
                                .arch = 80,
                                .want_ptx = true};
  qp_compiled out = {0};
  nvrtc_compile(self, &probe, &out);
  if (out.status != QP_OK) {
    const qp_status s = qp_fail(err, QP_E_MISSING,
                                "NVRTC %d.%d cannot compile an empty kernel (is libnvrtc-builtins "
                                "beside it?): %s",
                                major, minor, out.log ? out.log : "no reason given");
    qp_compiled_free(&out);
    return s;
  }
  char build[96], tools[96], release[64];
  snprintf(release, sizeof release, "// Cuda compilation tools, release %d.%d, ", major, minor);
  line_after(out.ptx, "// Compiler Build ID: ", build, sizeof build);
  line_after(out.ptx, release, tools, sizeof tools);
  snprintf(text, size, "NVRTC %d.%d (%s, %s)", major, minor, tools, build);
  qp_compiled_free(&out);
  return QP_OK;
}

const qp_compile_backend qp_nvrtc_backend = {
    .open = nvrtc_open, .describe = nvrtc_describe, .compile = nvrtc_compile};
