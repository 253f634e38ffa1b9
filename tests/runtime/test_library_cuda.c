/* SPDX-License-Identifier: MIT */
/* Kernel libraries on CUDA, against a driver that keeps books (fake_cuda.c): what launches hand
** over. */
#include "tests/runtime/library_kit.h"

#include <dlfcn.h>

#include "gen/kernel/kernel.h"
#include "tests/fake/fake_cuda.h"

static const char fake[] = QP_BINARY_DIR "/libfake_cuda.so";
static void *file;
static size_t file_bytes;
static qpal_library *library;

static void make_of(qp_export_request *r, qp_export_gpu gpu, qp_export_ptx ptx) {
  r->gpu[0] = gpu;
  r->ptx = ptx;
  file = kit_export(r, &file_bytes);
  cr_assert_eq(qpal_library_from_memory(file, file_bytes, &library), QPAL_OK, "%s", qpal_message());
}

static void open_session(void) {
  setenv("QPAL_LIBCUDA", fake, 1);
  setenv("FAKE_CUDA_MULTIPROCESSORS", "2", 1);
  cr_assert_eq(qp_session_open(&kit_session, &kit_err), QP_OK, "%s", kit_err.text);
}

static void make_library(qp_export_gpu gpu, qp_export_ptx ptx) {
  qp_export_group g[3];
  open_session();
  kit_groups(g);
  qp_export_request r = kit_request(g);
  make_of(&r, gpu, ptx);
}

/* One gemm, which is all that it takes to see whether a GPU gets a kernel. */
static void make_small_library(qp_export_gpu gpu, qp_export_ptx ptx) {
  qp_export_group g[3];
  open_session();
  kit_groups(g);
  g[2].member[0].quantizer = kit_find("nuq-4");
  g[2].lookup = false;
  qp_export_request r = kit_request(&g[2]);
  r.groups = 1;
  r.batches = 1;
  r.dequant = r.rotate = r.inverse = r.norm = r.glu = false;
  make_of(&r, gpu, ptx);
}

static void tear_down(void) {
  qpal_library_close(library);
  free(file);
  qp_session_close(&kit_session);
}
TestSuite(library_cuda, .fini = tear_down);

/* So few multiprocessors that kernels are those of test_library.c, which are in the cache then. */
enum { MULTIPROCESSORS = 2 };
static const qp_export_gpu h100 = {.name = "Fake H100", .arch = 90, .sm_count = MULTIPROCESSORS};

/* A function of the fake driver itself. */
static void *ask(const char *name) {
  void *handle = dlopen(fake, RTLD_NOW | RTLD_LOCAL);
  cr_assert(handle, "%s", dlerror());
  void *(*f)(void);
  void *symbol = dlsym(handle, name);
  memcpy(&f, &symbol, sizeof f);
  return f();
}
static const fake_cuda_launch *last(void) { return ask("fake_cuda_last"); }
static void make_current(void *context) {
  void *handle = dlopen(fake, RTLD_NOW | RTLD_LOCAL);
  int (*set)(void *);
  void *symbol = dlsym(handle, "cuCtxSetCurrent");
  memcpy(&set, &symbol, sizeof set);
  set(context);
}
static int live(void) {
  void *handle = dlopen(fake, RTLD_NOW | RTLD_LOCAL);
  int (*get)(void);
  void *symbol = dlsym(handle, "fake_cuda_live");
  memcpy(&get, &symbol, sizeof get);
  return get();
}

/* Arguments full of different addresses, and the same for the generator's own layout. */
static void fill_arguments(qpal_weights *w, qpal_segment *segment, qpal_gemm_args *a,
                           qp_arguments *own) {
  uint64_t next = 0x10000;
  *a = (qpal_gemm_args){.size = sizeof *a, .rows = 1, .segment = segment};
  own->x = a->x = next += 256;
  own->workspace = a->workspace = next += 256;
  own->counters = a->counters = next += 256;
  unsigned stream = 0;
  for (unsigned m = 0; m < KIT_MEMBERS; m++) {
    const qp_quantizer *q = kit_find(kit_quantizers[m]);
    const unsigned parts = q->kind == QP_SPLIT ? q->parts : 1;
    segment[m] = (qpal_segment){.weights = &w[m]};
    own->segment[m].scale = w[m].scale = next += 256;
    own->segment[m].bias = segment[m].bias = next += 256;
    own->segment[m].residual = segment[m].residual = next += 256;
    own->segment[m].y = segment[m].y = next += 256;
    for (unsigned p = 0; p < parts; p++, stream++) {
      const qp_quantizer *leaf = q->kind == QP_SPLIT ? q->part[p].quantizer : q;
      own->stream[stream].codes = w[m].part[p].codes = next += 256;
      for (unsigned f = 0; f < leaf->fields; f++)
        own->stream[stream].field[f] = w[m].part[p].field[f] = next += 256;
      for (unsigned b = 0; b < leaf->codebooks; b++)
        if (leaf->codebook[b].scope != QP_SCOPE_SPEC)
          own->stream[stream].codebook[b] = w[m].part[p].codebook[b] = next += 256;
    }
  }
}

/* The kernel of the kit's first group, as the library has it. */
static void make_kernel_of_group(qp_kernel *k) {
  qp_export_group g[3];
  kit_groups(g);
  qp_problem p = {.op = QP_OP_GEMM,
                  .segments = KIT_MEMBERS,
                  .columns = KIT_K,
                  .batch = 1,
                  .arch = 90,
                  .sm_count = MULTIPROCESSORS};
  for (unsigned m = 0; m < KIT_MEMBERS; m++) {
    p.segment[m].quantizer = g[0].member[m].quantizer;
    p.segment[m].rows = g[0].member[m].rows;
  }
  qp_choice choice;
  qp_choice_default(qp_families_find(kit_session.families, "gemm_tensor"), &choice);
  qp_choice_put(&choice, "pdl", 1);
  cr_assert_eq(qp_kernel_make(kit_session.families, &p, &choice, k, &kit_err), QP_OK);
}

/* The library's own codebooks, found by their contents in the memory that it was given. */
static void find_codebooks(const qp_kernel *k, const char *memory, size_t bytes,
                           qp_arguments *own) {
  for (unsigned s = 0; s < k->streams; s++)
    for (unsigned b = 0; b < k->stream[s].stream.quantizer->codebooks; b++) {
      const qp_codebook *book = &k->stream[s].stream.quantizer->codebook[b];
      if (book->scope != QP_SCOPE_SPEC) continue;
      const size_t of_book = 2ul * book->entries * book->dim;
      for (size_t at = 0; at + of_book <= bytes && !own->stream[s].codebook[b]; at += 256)
        if (!memcmp(memory + at, book->data, of_book))
          own->stream[s].codebook[b] = (qp_devptr)(uintptr_t)(memory + at);
      cr_assert(own->stream[s].codebook[b]);
    }
}

/* The last launch is of this kernel, with the parameters that the generator lays out. */
static void expect_launch_of(const qp_kernel *k, const qp_arguments *own) {
  unsigned char params[QP_PARAMS_MAX];
  const size_t bytes = qp_kernel_params(k, own, params);
  cr_expect_eq(last()->params_bytes, bytes);
  cr_expect_arr_eq(last()->params, params, bytes);
  cr_expect_eq(last()->grid, k->grid);
  cr_expect_eq(last()->block, k->block);
  cr_expect_eq(last()->smem_bytes, k->smem_bytes);
}

Test(library_cuda, a_launch_hands_over_the_generators_parameters_on_the_callers_stream) {
  qpal_device *device = NULL;
  qpal_kernels *kernels = NULL;
  qpal_weights w[KIT_MEMBERS] = {0};
  qpal_segment segment[KIT_MEMBERS];
  qpal_gemm_args a;
  qp_arguments own = {.x = 0};
  static qp_kernel k;
  int stream;
  make_library(h100, QP_PTX_NONE);
  cr_assert_eq(qpal_device_open(0, &device), QPAL_OK, "%s", qpal_message());
  const size_t constants = (size_t)qpal_constants_bytes(library);
  char *memory = aligned_alloc(256, (constants + 255) / 256 * 256);
  const qpal_load_options o = {.size = sizeof o, .constants = (qpal_ptr)(uintptr_t)memory};
  cr_assert_eq(qpal_kernels_load(library, device, &o, &kernels), QPAL_OK, "%s", qpal_message());
  fill_arguments(w, segment, &a, &own);
  make_kernel_of_group(&k);
  find_codebooks(&k, memory, constants, &own);

  const unsigned waits = last()->waits;
  cr_assert_eq(qpal_gemm(kernels, &a, &stream), QPAL_OK, "%s", qpal_message());
  expect_launch_of(&k, &own);
  cr_expect_eq(last()->stream, &stream);
  cr_expect_not(last()->pdl, "only on request");
  cr_expect_eq(last()->waits, waits, "a launch does not wait");
  a.flags = QPAL_PDL;
  cr_assert_eq(qpal_gemm(kernels, &a, NULL), QPAL_OK, "%s", qpal_message());
  cr_expect(last()->pdl);
  cr_expect_null(last()->stream, "NULL is the default stream, not the device's own");
  qp_kernel_free(&k);
  qpal_kernels_close(kernels);
  qpal_device_close(device);
  free(memory);
  cr_expect_eq(live(), 0);
}

Test(library_cuda, calls_leave_the_callers_context_as_it_was) {
  qpal_device *device = NULL;
  qpal_kernels *kernels = NULL;
  qpal_ptr p = 0;
  make_library(h100, QP_PTX_NONE);
  void *other = ask("fake_cuda_other");
  make_current(other);
  cr_assert_eq(qpal_device_open(0, &device), QPAL_OK, "%s", qpal_message());
  cr_expect_eq(ask("fake_cuda_current"), other);
  cr_assert_eq(qpal_kernels_load(library, device, NULL, &kernels), QPAL_OK, "%s", qpal_message());
  cr_expect_eq(ask("fake_cuda_current"), other);
  cr_assert_eq(qpal_alloc(device, 4096, &p), QPAL_OK);
  const qpal_rotate_args a = {
      .size = sizeof a, .columns = KIT_K, .rows = 1, .x = p, .y = p, .signs = p};
  cr_assert_eq(qpal_rotate(kernels, &a, NULL), QPAL_OK, "%s", qpal_message());
  cr_expect_eq(ask("fake_cuda_current"), other);
  qpal_free(device, p);
  qpal_kernels_close(kernels);
  qpal_device_close(device);
  cr_expect_eq(ask("fake_cuda_current"), other);
  cr_expect_eq(live(), 0);
}

Test(library_cuda, the_current_context_is_taken_and_stays_the_callers) {
  qpal_device *device = NULL;
  make_library(h100, QP_PTX_NONE);
  make_current(NULL);
  cr_expect_eq(qpal_device_open(QPAL_CURRENT, &device), QPAL_E_MISSING);
  cr_expect(strstr(qpal_message(), "no CUDA context"), "%s", qpal_message());
  make_current(ask("fake_cuda_other"));
  cr_assert_eq(qpal_device_open(QPAL_CURRENT, &device), QPAL_OK, "%s", qpal_message());
  qpal_device_info info = {.size = sizeof info};
  cr_assert_eq(qpal_device_describe(device, &info), QPAL_OK);
  cr_expect_eq(info.arch, 90);
  cr_expect_eq(info.driver, 13000);
  qpal_device_close(device);
  cr_expect_eq(live(), 0, "a primary context was retained");
}

Test(library_cuda, an_older_driver_is_refused_with_what_it_knows_and_what_is_needed) {
  qpal_device *device = NULL;
  qpal_kernels *kernels = NULL;
  qpal_library_info made = {.size = sizeof made};
  char version[16], said[32];
  make_library(h100, QP_PTX_NONE);
  cr_assert_eq(qpal_library_describe(library, &made), QPAL_OK);
  snprintf(version, sizeof version, "%u", made.toolkit / 1000 * 1000 - 960); /* 12.4 before 13 */
  snprintf(said, sizeof said, "CUDA %u.4", made.toolkit / 1000 - 1);
  setenv("FAKE_CUDA_DRIVER", version, 1);
  cr_assert_eq(qpal_device_open(0, &device), QPAL_OK, "%s", qpal_message());
  cr_expect_eq(qpal_kernels_load(library, device, NULL, &kernels), QPAL_E_MISMATCH);
  cr_expect(strstr(qpal_message(), said) && strstr(qpal_message(), "update the driver"), "%s",
            qpal_message());
  qpal_device_close(device);
}

/* The PTX is as new as this machine's NVRTC: the driver is newer. */
static void know_any_ptx(void) { setenv("FAKE_CUDA_DRIVER", "19000", 1); }

Test(library_cuda, a_newer_gpu_gets_ptx_and_without_ptx_is_refused) {
  know_any_ptx();
  qpal_device *device = NULL;
  qpal_kernels *kernels = NULL;
  const qp_export_gpu a100 = {.name = "A100", .arch = 80, .sm_count = 108};
  make_small_library(a100, QP_PTX_NEWEST);
  cr_assert_eq(qpal_device_open(0, &device), QPAL_OK, "%s", qpal_message());
  cr_assert_eq(qpal_kernels_load(library, device, NULL, &kernels), QPAL_OK, "%s", qpal_message());
  qpal_kernels_info info = {.size = sizeof info};
  cr_assert_eq(qpal_kernels_describe(kernels, &info), QPAL_OK);
  cr_expect_eq(info.match, QPAL_MATCH_PTX);
  qpal_kernels_close(kernels), kernels = NULL;
  qpal_library_close(library);
  free(file);
  qp_session_close(&kit_session);
  make_small_library(a100, QP_PTX_NONE);
  cr_expect_eq(qpal_kernels_load(library, device, NULL, &kernels), QPAL_E_MISMATCH);
  cr_expect(strstr(qpal_message(), "sm_90") && strstr(qpal_message(), "sm_80"), "%s",
            qpal_message());
  qpal_device_close(device);
}

Test(library_cuda, a_desktop_cubin_is_not_taken_for_a_tegra_of_the_same_major_version) {
  know_any_ptx();
  qpal_device *device = NULL;
  qpal_kernels *kernels = NULL;
  const qp_export_gpu a6000 = {.name = "RTX A6000", .arch = 86, .sm_count = 84};
  static const struct {
    const char *capability;
    unsigned match;
  } cases[] = {{"87", QPAL_MATCH_PTX}, {"89", QPAL_MATCH_COMPATIBLE}, {"132", QPAL_MATCH_PTX}};
  make_small_library(a6000, QP_PTX_NEWEST);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    qpal_kernels_info info = {.size = sizeof info};
    setenv("FAKE_CUDA_CAPABILITY", cases[i].capability, 1);
    cr_assert_eq(qpal_device_open(0, &device), QPAL_OK, "%s", qpal_message());
    cr_assert_eq(qpal_kernels_load(library, device, NULL, &kernels), QPAL_OK, "%s", qpal_message());
    cr_assert_eq(qpal_kernels_describe(kernels, &info), QPAL_OK);
    cr_expect_eq(info.match, cases[i].match, "capability %s", cases[i].capability);
    qpal_kernels_close(kernels), kernels = NULL;
    qpal_device_close(device);
  }
}

Test(library_cuda, a_call_that_the_driver_refuses_is_told_with_the_kernels_name) {
  qpal_device *device = NULL;
  qpal_kernels *kernels = NULL;
  qpal_ptr p = 0;
  make_library(h100, QP_PTX_NONE);
  cr_assert_eq(qpal_device_open(0, &device), QPAL_OK, "%s", qpal_message());
  cr_assert_eq(qpal_kernels_load(library, device, NULL, &kernels), QPAL_OK, "%s", qpal_message());
  cr_assert_eq(qpal_alloc(device, 4096, &p), QPAL_OK);
  const qpal_rotate_args a = {
      .size = sizeof a, .columns = KIT_K, .rows = 1, .x = p, .y = p, .signs = p};
  setenv("FAKE_CUDA_FAIL", "cuLaunchKernelEx", 1);
  cr_expect_eq(qpal_rotate(kernels, &a, NULL), QPAL_E_DEVICE);
  cr_expect(strstr(qpal_message(), "rotate_tensor__k192") &&
                strstr(qpal_message(), "ILLEGAL_ADDRESS"),
            "%s", qpal_message());
  unsetenv("FAKE_CUDA_FAIL");
  qpal_free(device, p);
  qpal_kernels_close(kernels);
  qpal_device_close(device);
}
