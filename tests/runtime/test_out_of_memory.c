/* SPDX-License-Identifier: MIT */
/*
** The n-th allocation fails, for n = 1, 2, ...: in all that an engine calls, from opening a library
** to a launch, and in loading a file of quantizers; it alone, as Lua collects and asks again, or it
** and all that follow.  Each time an error and its message come back, or what was asked for, and
** nothing is lost.
*/
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>

#include "gen/base/file.h"
#include "gen/spec/spec.h"
#include "runtime/include/qpal.h"
#include "runtime/include/qpal_sim.h"
#include "tests/command/command_kit.h"
#include "tests/fuzz/fuzz_launch_kit.h"

/* ---- Allocation, counted ---- */

static _Atomic long live;              /* blocks */
static _Atomic long until;             /* allocations up to the one that fails; 0: none does */
static _Atomic bool has_failed, lasts; /* all that follow fail too */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { COUNTS = 0 }; /* sanitizers have an allocator of their own */
#else
enum { COUNTS = 1 };
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *block, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void *block);

static bool refuses(void) {
  if (!until || (--until && !has_failed)) return false;
  if (lasts) until = 1;
  has_failed = true;
  errno = ENOMEM;
  return true;
}

static void *made(void *block) {
  live += block != NULL;
  return block;
}

void *malloc(size_t bytes) { return refuses() ? NULL : made(__libc_malloc(bytes)); }
void *calloc(size_t n, size_t bytes) { return refuses() ? NULL : made(__libc_calloc(n, bytes)); }

void *realloc(void *block, size_t bytes) {
  if (bytes && refuses()) return NULL;
  void *now = __libc_realloc(block, bytes);
  live += (now != NULL && block == NULL) - (block != NULL && !bytes);
  return now;
}

void *aligned_alloc(size_t alignment, size_t bytes) {
  return refuses() ? NULL : made(__libc_memalign(alignment, bytes));
}

int posix_memalign(void **out, size_t alignment, size_t bytes) {
  if (refuses()) return ENOMEM;
  *out = made(__libc_memalign(alignment, bytes));
  return *out ? 0 : ENOMEM;
}

void free(void *block) {
  live -= block != NULL;
  __libc_free(block);
}
#endif

/* What is tried: true where it did all that it should, else 'why' says why not. */
typedef bool attempt(char *why, size_t size);

static long count_allocations(attempt *use) {
  char why[4096];
  until = LONG_MAX;
  use(why, sizeof why);
  const long count = LONG_MAX - until;
  until = 0;
  return count;
}

static long last; /* allocations before the end of which each is taken, too */

/* Every n up to 'all', then ever larger steps, until nothing fails any more; 'least' errors.  With
   $QPAL_ALL (tests/nightly) every n. */
static void fail_each(const char *what, attempt *use, bool with_all_after, long all, long least) {
  char why[4096] = "";
  long errors = 0;
  if (!COUNTS) cr_skip_test("a sanitizer has the allocator");
  if (getenv("QPAL_ALL")) all = LONG_MAX;
  lasts = with_all_after;
  cr_assert(use(why, sizeof why), "%s: %s", what, why); /* what stays until the end is made */
  const long before = live, end = count_allocations(use);
  for (long n = 1;; n += n < all || n > end - last ? 1 : 1 + n / 8) {
    *why = 0;
    has_failed = false;
    until = n;
    const bool done = use(why, sizeof why);
    until = 0;
    cr_assert(done || *why, "%s: allocation %ld failed, without a word", what, n);
    cr_assert_eq(live, before, "%s: allocation %ld failed: %ld blocks are lost: %s", what, n,
                 live - before, why);
    errors += !done;
    if (!has_failed) break;
    cr_assert(done || strstr(why, "memory"), "%s: allocation %ld failed: %s", what, n, why);
  }
  cr_assert(!*why, "%s: %s", what, why);
  cr_assert_geq(errors, least, "%s: only %ld errors", what, errors);
}

/* ---- What an engine calls ---- */

typedef struct engine {
  qpal_library *library;
  qpal_packed *packed;
  qpal_device *device;
  qpal_kernels *kernels;
  qpal_ptr x, y, w, workspace, counters, part[8];
  unsigned parts;
} engine;

static void open_all(void) {
  open_folder();
  char command[512];
  snprintf(command, sizeof command, "mkdir '%s/c' && perl '%s/tests/circle/checkpoint.pl' '%s/c'",
           folder, QP_SOURCE_DIR, folder);
  cr_assert_eq(system(command), 0);
  expect("plan --model c/config.json --quantizers nuq-2 --no-fusion -o p.json", 0, "");
  expect("quantize c --plan p.json --blocks 1 --keep lm_head -o packed", 0, "");
  expect("quantize c --quantizer nuq-2 --tp 2 --blocks 1 --keep lm_head -o ranks", 0, "");
  expect("export --plan p.json --gpu sm_90:4 --batch 1 --type f16 --workers 1 -o library", 0, "");
}

static qpal_status put(engine *e, qpal_bytes b, qpal_ptr *out) {
  qpal_status status = qpal_alloc(e->device, b.bytes, out);
  if (status) return status;
  e->part[e->parts++] = *out;
  return qpal_upload(e->device, *out, b.data, b.bytes);
}

static qpal_status open_engine(engine *e) {
  qpal_status status = qpal_library_open(in_folder("library"), &e->library);
  if (!status) status = qpal_packed_open(in_folder("packed"), &e->packed);
  if (!status) status = qpal_packed_verify(e->packed);
  if (!status) status = qpal_sim_open(90, 4, &e->device);
  if (!status) status = qpal_kernels_load(e->library, e->device, NULL, &e->kernels);
  return status;
}

static qpal_status prepare(engine *e, const qpal_linear_info *l) {
  qpal_kernels_info k = {.size = sizeof k};
  qpal_status status = qpal_kernels_describe(e->kernels, &k);
  if (!status) status = qpal_alloc(e->device, k.workspace_bytes + 1, &e->workspace);
  if (!status) status = qpal_alloc(e->device, k.counter_bytes + 1, &e->counters);
  if (!status) status = qpal_zero(e->device, e->counters, k.counter_bytes + 1);
  if (!status) status = qpal_alloc(e->device, 2 * l->columns, &e->x);
  if (!status) status = qpal_zero(e->device, e->x, 2 * l->columns);
  if (!status) status = qpal_alloc(e->device, 2 * l->rows, &e->y);
  if (!status) status = qpal_alloc(e->device, 2ull * l->rows * l->columns, &e->w);
  return status;
}

static qpal_status launch(engine *e, unsigned group, const qpal_linear_info *l) {
  qpal_packed_linear p = {.size = sizeof p};
  qpal_weights weights = {0};
  qpal_ptr signs = 0;
  qpal_status status = qpal_packed_find_expert(e->packed, e->library, group, 0, 0, &p);
  cr_assert_eq(status, QPAL_E_ARG, "it is no stack");
  status = qpal_packed_find(e->packed, e->library, group, 0, &p);
  if (!status) status = put(e, p.signs, &signs);
  if (!status) status = put(e, p.scale, &weights.scale);
  if (!status) status = put(e, qpal_packed_part_of(&p, 0)->codes, &weights.part[0].codes);
  const qpal_segment segment = {.weights = &weights, .y = e->y};
  const qpal_rotate_args turn = {
      .size = sizeof turn, .columns = l->columns, .rows = 1, .x = e->x, .y = e->x, .signs = signs};
  const qpal_gemm_args args = {.size = sizeof args,
                               .group = group,
                               .rows = 1,
                               .x = e->x,
                               .workspace = e->workspace,
                               .counters = e->counters,
                               .segment = &segment};
  const qpal_dequant_args decode = {
      .size = sizeof decode, .group = group, .weights = &weights, .w = e->w};
  if (!status) status = qpal_rotate(e->kernels, &turn, NULL);
  if (!status) status = qpal_gemm(e->kernels, &args, NULL);
  if (!status) status = qpal_dequant(e->kernels, &decode, NULL);
  return status ? status : qpal_wait(e->device, NULL);
}

static void close_engine(engine *e) {
  const qpal_ptr own[] = {e->x, e->y, e->w, e->workspace, e->counters};
  for (unsigned i = 0; e->device && i < e->parts; i++) qpal_free(e->device, e->part[i]);
  for (unsigned i = 0; e->device && i < sizeof own / sizeof *own; i++) qpal_free(e->device, own[i]);
  qpal_kernels_close(e->kernels);
  qpal_device_close(e->device);
  qpal_packed_close(e->packed);
  qpal_library_close(e->library);
}

static bool use_engine(char *why, size_t size) {
  engine e = {0};
  unsigned group = 0, member = 0;
  qpal_linear_info l = {.size = sizeof l};
  qpal_status status = open_engine(&e);
  if (!status)
    status =
        qpal_library_find_linear(e.library, "model.layers.0.self_attn.o_proj", &group, &member);
  if (!status) status = qpal_library_linear(e.library, group, member, &l);
  if (!status) status = prepare(&e, &l);
  if (!status) status = launch(&e, group, &l);
  if (status) snprintf(why, size, "%s: %s", qpal_status_name(status), qpal_message());
  close_engine(&e);
  return !status;
}

/* The slices of one of two ranks, and what is not packed. */
static bool use_rank(char *why, size_t size) {
  qpal_packed *p = NULL;
  qpal_tensor t = {.size = sizeof t};
  qpal_status status = qpal_packed_open_rank(in_folder("ranks"), 1, 2, &p);
  if (!status) status = qpal_packed_verify(p);
  if (!status) status = qpal_packed_tensor(p, "model.embed_tokens.weight", &t);
  if (status) snprintf(why, size, "%s: %s", qpal_status_name(status), qpal_message());
  qpal_packed_close(p);
  return !status;
}

/* A driver's memory. */
static bool use_driver(char *why, size_t size) {
  qpal_device *d = NULL;
  qpal_device_info info = {.size = sizeof info};
  qpal_ptr p = 0;
  uint32_t word = 7;
  qpal_status status = qpal_device_open(0, &d);
  if (!status) status = qpal_device_describe(d, &info);
  if (!status) status = qpal_alloc(d, 64, &p);
  if (!status) status = qpal_upload(d, p, &word, sizeof word);
  if (!status) status = qpal_download(d, &word, p, sizeof word);
  if (status) snprintf(why, size, "%s: %s", qpal_status_name(status), qpal_message());
  if (p) qpal_free(d, p);
  qpal_device_close(d);
  return !status;
}

TestSuite(out_of_memory, .fini = close_folder);

Test(out_of_memory, is_an_error_of_all_that_an_engine_calls, .init = open_all) {
  fail_each("libqpal", use_engine, false, 150, 6);
  fail_each("libqpal", use_engine, true, 50, 31);
  fail_each("a rank", use_rank, false, 500, 6);
  fail_each("a rank", use_rank, true, 500, 31);
}

/* ---- Every operation ---- */

static void *every_kernel;
static size_t every_kernel_bytes;
static bool on_driver; /* a stand-in for it, which computes nothing */

static qpal_status ask(const qpal_library *l, const qpal_kernels *ks) {
  qpal_library_info info = {.size = sizeof info};
  qpal_kernels_info loaded = {.size = sizeof loaded};
  unsigned group, member;
  qpal_status status = qpal_library_verify(l);
  if (!status) status = qpal_library_describe(l, &info);
  if (!status) status = qpal_kernels_describe(ks, &loaded);
  if (!status) status = qpal_library_find_group(l, "g2", &group);
  return status ? status : qpal_library_find_linear(l, "gate.weight", &group, &member);
}

/* Everything that tells of a library, its groups' launches too. */
static qpal_status ask_more(const qpal_library *l, const qpal_kernels *ks) {
  qpal_target_info target = {.size = sizeof target};
  qpal_quantizer_info quantizer = {.size = sizeof quantizer};
  qpal_group_info group = {.size = sizeof group};
  qpal_linear_info linear = {.size = sizeof linear};
  qpal_kernel_info kernel = {.size = sizeof kernel};
  qpal_gemm_info gemm = {.size = sizeof gemm};
  qpal_experts_info experts = {.size = sizeof experts};
  const qpal_gemm_args g = {.size = sizeof g, .group = KIT_FUSED, .rows = 1};
  const qpal_experts_args e = {.size = sizeof e, .group = KIT_STACKS, .tokens = 2};
  qpal_status status = qpal_library_target(l, 0, &target);
  if (!status) status = qpal_library_quantizer(l, 0, &quantizer);
  if (!status) status = qpal_library_group(l, KIT_FUSED, &group);
  if (!status) status = qpal_library_linear(l, KIT_FUSED, 1, &linear);
  if (!status) status = qpal_library_kernel(l, 0, &kernel);
  if (!status) status = qpal_gemm_query(ks, &g, &gemm);
  return status ? status : qpal_experts_query(ks, &e, &experts);
}

static bool launch_all(char *why, size_t size) {
  qpal_library *l = NULL;
  qpal_device *d = NULL;
  qpal_kernels *ks = NULL;
  qpal_ptr p = 0;
  qpal_status status = qpal_library_from_memory(every_kernel, every_kernel_bytes, &l);
  if (!status) status = on_driver ? qpal_device_open(0, &d) : qpal_sim_open(90, 4, &d);
  if (!status) status = qpal_kernels_load(l, d, NULL, &ks);
  if (!status) status = qpal_alloc(d, 1 << 16, &p);
  if (!status) status = ask(l, ks);
  if (!status) status = ask_more(l, ks);
  for (unsigned op = 0; op < KIT_CALLS && !status; op++) {
    kit_call c = kit_begin(op, p);
    status = kit_launch(ks, op, &c);
  }
  if (!status) status = qpal_wait(d, NULL);
  if (status) snprintf(why, size, "%s: %s", qpal_status_name(status), qpal_message());
  if (p) qpal_free(d, p);
  qpal_kernels_close(ks);
  qpal_device_close(d);
  qpal_library_close(l);
  return !status;
}

Test(out_of_memory, is_an_error_of_a_launch_of_every_operation) {
  every_kernel = make_library(&every_kernel_bytes);
  fail_each("launches", launch_all, false, 2000, 6);
  fail_each("launches", launch_all, true, 500, 31);
  free(every_kernel);
}

static void open_driver(void) { setenv("QPAL_LIBCUDA", QP_BINARY_DIR "/libfake_cuda.so", 1); }

Test(out_of_memory, is_an_error_of_a_device_with_a_driver, .init = open_driver) {
  fail_each("a driver", use_driver, false, 2000, 3);
  fail_each("a driver", use_driver, true, 500, 3);
  on_driver = true;
  every_kernel = make_library(&every_kernel_bytes);
  fail_each("a driver's launches", launch_all, false, 2000, 6);
  fail_each("a driver's launches", launch_all, true, 500, 31);
  free(every_kernel);
}

/* So that what is added to qpal.h is added here, or to the calls that are fuzzed. */
Test(out_of_memory, is_tried_of_every_function_of_the_header) {
  static const char *const none[] = {"qpal_version", "qpal_abi", "qpal_linear_part",
                                     "qpal_constants_bytes"};
  static const char *const files[] = {"runtime/include/qpal.h",
                                      "tests/runtime/test_out_of_memory.c",
                                      "tests/fuzz/fuzz_launch_kit.h"};
  char *source[3], path[512], call[64];
  unsigned functions = 0;
  qp_error err;
  for (unsigned i = 0; i < 3; i++) {
    size_t bytes;
    snprintf(path, sizeof path, "%s/%s", QP_SOURCE_DIR, files[i]);
    cr_assert_eq(qp_file_read(path, 1 << 20, &source[i], &bytes, &err), QP_OK, "%s", err.text);
  }
  for (const char *at = source[0]; (at = strstr(at, "qpal_")) != NULL; at += 5) {
    const size_t n = strspn(at, "abcdefghijklmnopqrstuvwxyz_");
    bool allocates = true;
    if (at[n] != '(' || (at[-1] != ' ' && at[-1] != '*') || n + 2 > sizeof call) continue;
    snprintf(call, sizeof call, "%.*s(", (int)n, at);
    for (unsigned i = 0; i < sizeof none / sizeof *none; i++)
      allocates = allocates && strncmp(none[i], at, n) != 0;
    if (!allocates) continue;
    functions++;
    cr_expect(strstr(source[1], call) || strstr(source[2], call), "%s) is called nowhere", call);
  }
  cr_expect_gt(functions, 40);
  for (unsigned i = 0; i < 3; i++) free(source[i]);
}

/* ---- Loading of specs ---- */

static char *spec_text;
static size_t spec_bytes;
static char spec_hash[64]; /* of the first quantizer, where there was memory */

static bool load_spec(char *why, size_t size) {
  qp_spec **specs = NULL;
  size_t count = 0;
  qp_error err = {.text = ""};
  const qp_status status = qp_spec_load("my.lua", spec_text, spec_bytes, &specs, &count, &err);
  if (status) snprintf(why, size, "%s", err.text);
  if (!status && !*spec_hash) snprintf(spec_hash, sizeof spec_hash, "%s", specs[0]->quantizer.hash);
  if (!status) cr_assert_str_eq(specs[0]->quantizer.hash, spec_hash);
  for (size_t i = 0; !status && i < count; i++) qp_spec_free(specs[i]);
  if (!status) free(specs);
  return !status;
}

Test(out_of_memory, is_an_error_of_loading_a_spec) {
  static const char *const names[] = {"group", "sizes", "split", "trellis", "words"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char path[512];
    qp_error err;
    snprintf(path, sizeof path, "%s/tests/fuzz/corpus/spec/%s.lua", QP_SOURCE_DIR, names[i]);
    cr_assert_eq(qp_file_read(path, 1 << 20, &spec_text, &spec_bytes, &err), QP_OK);
    *spec_hash = 0;
    last = i ? 0 : 250; /* its values are read after the prelude has run */
    fail_each(names[i], load_spec, false, 50, 6);
    last = 0;
    fail_each(names[i], load_spec, true, 150, 31);
    free(spec_text);
  }
}
