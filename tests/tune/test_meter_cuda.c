/* SPDX-License-Identifier: MIT */
/* A GPU as a meter, against a driver, CUPTI and NVML that keep books (fake_cuda.c, fake_cupti.c,
** ...). */
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cuda_time.h"
#include "tests/fake/fake_cuda.h"
#include "tuner/base/session.h"
#include "tuner/tune/meter.h"

enum { POOL = 64 << 20, L2 = 8 << 20 }; /* of a GPU with the fake's L2 cache */

static const char fake[] = QP_BINARY_DIR "/libfake_cuda.so";
static qp_error err;
static qp_session session;
static qp_meter *meter;
static qp_kernel kernel;
static qp_compiled compiled = {.cubin = "cubin", .cubin_bytes = 5};
static qp_metered *metered;

static const fake_cuda_launch *last(void) {
  const fake_cuda_launch *(*get)(void);
  void *p = dlsym(dlopen(fake, RTLD_NOW | RTLD_LOCAL), "fake_cuda_last");
  memcpy(&get, &p, sizeof p);
  return get();
}

static int live(void) {
  int (*get)(void);
  void *p = dlsym(dlopen(fake, RTLD_NOW | RTLD_LOCAL), "fake_cuda_live");
  memcpy(&get, &p, sizeof p);
  return get();
}

static void begin(void) {
  setenv("QPAL_LIBCUDA", fake, 1);
  setenv("QPAL_CUPTI", fake, 1);
  setenv("QPAL_NVML", fake, 1);
}

static void end(void) {
  if (metered) meter->ops->unload(meter, metered);
  if (meter) meter->ops->close(meter);
  if (kernel.source) qp_kernel_free(&kernel);
  if (session.palette) qp_session_close(&session);
  cr_assert_eq(live(), 0, "everything of the GPU's is given back");
}
TestSuite(meter_cuda, .init = begin, .fini = end);

static void open_meter(bool events) {
  cr_assert_eq(qp_meter_open("cuda:0", events, &meter, &err), QP_OK, "%s", err.text);
}

static void load(unsigned rows, unsigned columns, const char *tunables) {
  const qp_quantizer *q = NULL;
  qp_choice choice;
  cr_assert_eq(qp_session_open(&session, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_palette_find(session.palette, "nuq-4", &q, &err), QP_OK, "%s", err.text);
  const qp_problem problem = {.op = QP_OP_GEMM,
                              .segments = 1,
                              .segment = {{.quantizer = q, .rows = rows}},
                              .columns = columns,
                              .batch = 1,
                              .type = QP_F16,
                              .out_type = QP_F16,
                              .arch = 90,
                              .sm_count = 132};
  qp_choice_default(qp_families_find(session.families, "gemm_tensor"), &choice);
  if (tunables) cr_assert_eq(qp_choice_set(&choice, tunables, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_kernel_make(session.families, &problem, &choice, &kernel, &err), QP_OK, "%s",
               err.text);
  cr_assert_eq(meter->ops->load(meter, &kernel, &compiled, &metered, &err), QP_OK, "%s", err.text);
}

/* A stack of experts, of which tokens go to three each. */
static void load_stack(void) {
  const qp_quantizer *q = NULL;
  qp_choice choice;
  cr_assert_eq(qp_session_open(&session, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_palette_find(session.palette, "nuq-4", &q, &err), QP_OK, "%s", err.text);
  const qp_problem problem = {.op = QP_OP_EXPERTS,
                              .segments = 1,
                              .segment = {{.quantizer = q, .rows = 64}},
                              .columns = 128,
                              .batch = 4,
                              .experts = 40,
                              .top_k = 3,
                              .tile = 4,
                              .arch = 90,
                              .sm_count = 132};
  qp_choice_default(qp_families_find(session.families, "experts_tensor"), &choice);
  cr_assert_eq(qp_kernel_make(session.families, &problem, &choice, &kernel, &err), QP_OK, "%s",
               err.text);
  cr_assert_eq(meter->ops->load(meter, &kernel, &compiled, &metered, &err), QP_OK, "%s", err.text);
}

static qp_status sample(unsigned n, int64_t *ps) {
  return meter->ops->sample(meter, metered, n, ps, &err);
}

Test(meter_cuda, a_gpu_tells_its_driver_its_timer_and_its_read_bandwidth) {
  open_meter(false);
  cr_assert_str_eq(meter->info.device.name, "Fake H100");
  cr_assert_str_eq(meter->info.driver, "580.159");
  cr_assert_str_eq(meter->info.timer, "CUPTI 13.0");
  cr_assert(meter->info.chains);
  /* the fake's events are 2 ms apart, in which the pool was read 8 times */
  cr_assert_float_eq(meter->info.read_gbs, 8.0 * POOL / 2e-3 * 1e-9, 1e-6);
}

Test(meter_cuda, cupti_12_is_told_by_its_version) {
  setenv("FAKE_CUPTI_VERSION", "120400", 1);
  open_meter(false);
  cr_assert_str_eq(meter->info.timer, "CUPTI 12.4");
}

Test(meter_cuda, before_12_4_cupti_counted_otherwise) {
  setenv("FAKE_CUPTI_VERSION", "18", 1);
  open_meter(false);
  cr_assert_str_eq(meter->info.timer, "CUPTI API 18");
}

Test(meter_cuda, a_missing_cupti_is_named_with_how_to_get_it_and_how_to_do_without) {
  setenv("QPAL_CUPTI", "/nowhere/libcupti.so.13", 1);
  cr_assert_eq(qp_meter_open("cuda:0", false, &meter, &err), QP_E_MISSING);
  cr_assert(strstr(err.text, "/nowhere/libcupti.so.13") && strstr(err.text, "CUDA Toolkit") &&
                strstr(err.text, "--timer events"),
            "%s", err.text);
}

Test(meter_cuda, a_cupti_without_a_call_is_named_with_the_call) {
  setenv("QPAL_CUPTI", "libm.so.6", 1);
  cr_assert_eq(qp_meter_open("cuda:0", false, &meter, &err), QP_E_MISSING);
  cr_assert(strstr(err.text, "cupti") && strstr(err.text, "too old"), "%s", err.text);
}

Test(meter_cuda, a_cupti_that_another_tool_has_is_a_device_error_that_says_so) {
  setenv("FAKE_CUPTI_FAULT", "busy", 1);
  cr_assert_eq(qp_meter_open("cuda:0", false, &meter, &err), QP_E_DEVICE);
  cr_assert(strstr(err.text, "MULTIPLE_SUBSCRIBERS") && strstr(err.text, "profiler"), "%s",
            err.text);
}

Test(meter_cuda, events_need_no_cupti_and_say_so_in_records) {
  int64_t ps[2];
  setenv("QPAL_CUPTI", "/nowhere/libcupti.so.13", 1);
  open_meter(true);
  cr_assert_str_eq(meter->info.timer, "events");
  load(4096, 4096, NULL);
  cr_assert_eq(sample(2, ps), QP_OK, "%s", err.text);
  cr_assert_eq(ps[0], 41666667, "8 MiB each: 48 launches in the 2 ms between two events");
}

Test(meter_cuda, each_refusal_of_cupti_says_what_to_do_and_that_events_go_without) {
  static const struct {
    const char *code, *says;
  } cases[] = {{"35", "NVreg_RestrictProfilingToAdminUsers=0"},
               {"43", "MIG"},
               {"45", "WSL"},
               {"39", "profiler or sanitizer"},
               {"33", "vGPU"},
               {"40", "CAP_SYS_ADMIN"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    setenv("FAKE_CUPTI_REFUSES", cases[i].code, 1);
    cr_expect_eq(qp_meter_open("cuda:0", false, &meter, &err), QP_E_DEVICE);
    cr_expect(strstr(err.text, cases[i].says) && strstr(err.text, "--timer events"), "%s: %s",
              cases[i].code, err.text);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
      cr_expect(k == i || (i == 5 && k == 0) || !strstr(err.text, cases[k].says) ||
                    (!strcmp(cases[k].says, "CAP_SYS_ADMIN") && i == 0),
                "%s says what %s should: %s", cases[i].code, cases[k].code, err.text);
  }
}

Test(meter_cuda, a_machine_without_nvml_tells_no_clock) {
  qp_meter_state state;
  setenv("QPAL_NVML", "/nowhere/libnvidia-ml.so.1", 1);
  open_meter(false);
  meter->ops->state(meter, &state);
  cr_assert_eq(state.clock_mhz, 0);
  cr_assert_str_eq(state.throttle, "");
  cr_assert_str_eq(meter->info.driver, "CUDA 13.0", "what the driver itself says");
}

Test(meter_cuda, an_nvml_without_some_calls_gives_what_it_has) {
  qp_meter_state state;
  setenv("QPAL_NVML", QP_BINARY_DIR "/libfake_nvml_old.so", 1);
  setenv("FAKE_NVML_REASONS", "0x24", 1);
  open_meter(false);
  meter->ops->state(meter, &state);
  cr_expect_eq(state.clock_mhz, 1980);
  cr_expect_str_eq(state.throttle, "");
  cr_expect_str_eq(meter->info.driver, "CUDA 13.0", "the driver's own number");
}

Test(meter_cuda, clocks_and_reasons_to_throttle_come_from_nvml) {
  qp_meter_state state;
  open_meter(false);
  meter->ops->state(meter, &state);
  cr_assert_eq(state.clock_mhz, 1980);
  cr_assert_str_eq(state.throttle, "");
  setenv("FAKE_NVML_REASONS", "0x24", 1);
  meter->ops->state(meter, &state);
  cr_assert_str_eq(state.throttle, "sw_power_cap,sw_thermal");
  setenv("FAKE_NVML_REASONS", "0x1", 1);
  meter->ops->state(meter, &state);
  cr_assert_str_eq(state.throttle, "", "an idle GPU is no reason");
}

Test(meter_cuda, samples_are_the_kernels_own_durations_in_order) {
  int64_t ps[6];
  open_meter(false);
  load(4096, 4096, NULL);
  cr_assert_eq(sample(6, ps), QP_OK, "%s", err.text);
  const int64_t want[] = {7000000, 7001000, 7002000, 7000000, 7001000, 7002000};
  cr_assert_arr_eq(ps, want, sizeof want);
}

Test(meter_cuda, kernels_of_others_are_not_counted) {
  int64_t ps[4];
  setenv("FAKE_CUPTI_FAULT", "other", 1);
  open_meter(false);
  load(4096, 4096, NULL);
  cr_assert_eq(sample(4, ps), QP_OK, "%s", err.text);
  cr_assert_eq(ps[3], 7000000);
}

static void expect_refusal(const char *fault, const char *part) {
  int64_t ps[5];
  setenv("FAKE_CUPTI_FAULT", fault, 1);
  open_meter(false);
  load(4096, 4096, NULL);
  cr_assert_eq(sample(2, ps), QP_OK, "the first two are right: %s", err.text);
  cr_assert_eq(sample(5, ps), QP_E_WRONG, "%s", fault);
  cr_assert(strstr(err.text, part), "%s: %s", fault, err.text);
}

Test(meter_cuda, a_timestamp_of_zero_is_refused) { expect_refusal("zero", "no duration"); }
Test(meter_cuda, an_end_before_the_start_is_refused) { expect_refusal("backwards", "no duration"); }
Test(meter_cuda, dropped_records_are_refused) { expect_refusal("drop", "dropped 1"); }
Test(meter_cuda, a_record_that_never_comes_is_missed) { expect_refusal("lose", "4 records of 5"); }

/* Word 'i' of the parameters of 16 launches, one after the other. */
static unsigned distinct(const uint64_t word[16]) {
  unsigned n = 0;
  for (unsigned i = 0; i < 16; i++) {
    bool seen = false;
    for (unsigned j = 0; j < i; j++) seen |= word[j] == word[i];
    n += !seen;
  }
  return n;
}

Test(meter_cuda, every_launch_reads_weights_that_are_in_no_cache) {
  enum { WORDS = 4096 / 8, LAUNCHES = 16, COPY = 2 << 20 }; /* 4 bits x 1024 x 4096 */
  static uint64_t word[WORDS][LAUNCHES];
  int64_t ps;
  unsigned rotating = 0, alternating = 0;
  open_meter(false);
  load(1024, 4096, NULL);
  for (unsigned n = 0; n < LAUNCHES; n++) {
    cr_assert_eq(sample(1, &ps), QP_OK, "%s", err.text);
    for (size_t i = 0; i < last()->params_bytes / 8; i++)
      memcpy(&word[i][n], last()->params + 8 * i, 8);
  }
  for (size_t i = 0; i < last()->params_bytes / 8; i++) {
    const unsigned n = distinct(word[i]);
    alternating += n == 2; /* the outputs */
    rotating += n > 2;
    for (unsigned k = 1; k < LAUNCHES && n > 2; k++)
      cr_assert_eq(word[i][k] - word[i][k - 1], COPY, "launch %u", k);
  }
  cr_assert_eq(rotating, 1, "the codes, over 32 MiB in 16 launches: four times the L2 cache");
  cr_assert_eq(alternating, 1);
}

Test(meter_cuda, a_small_linear_is_rotated_over_the_whole_pool) {
  enum { COPY = 576 * 576 / 2, LAUNCHES = 400 };
  uint64_t before[512] = {0}, lowest = UINT64_MAX, highest = 0;
  int64_t ps;
  size_t at = 0; /* the parameter that rose by a copy of W most often: W */
  unsigned rises[512] = {0};
  open_meter(false);
  load(576, 576, NULL);
  for (unsigned n = 0; n < LAUNCHES; n++) {
    cr_assert_eq(sample(1, &ps), QP_OK, "%s", err.text);
    for (size_t i = 0; i < last()->params_bytes / 8 && n < 4; i++) {
      uint64_t v;
      memcpy(&v, last()->params + 8 * i, 8);
      rises[i] += n && v - before[i] >= COPY && v - before[i] < COPY + 65536;
      if (rises[i] > rises[at]) at = i;
      before[i] = v;
    }
    uint64_t v;
    memcpy(&v, last()->params + 8 * at, 8);
    if (n < 4) continue;
    lowest = v < lowest ? v : lowest;
    highest = v > highest ? v : highest;
  }
  cr_assert_gt(highest - lowest, 2 * (uint64_t)L2, "%llu bytes",
               (unsigned long long)(highest - lowest));
}

Test(meter_cuda, a_stack_of_experts_is_timed_with_many_routings_in_turn) {
  enum { ROUTINGS = 32, WORD = 1 /* of its parameters */ };
  uint64_t at[ROUTINGS + 1];
  int64_t ps;
  open_meter(false);
  load_stack();
  for (unsigned n = 0; n <= ROUTINGS; n++) {
    cr_assert_eq(sample(1, &ps), QP_OK, "%s", err.text);
    memcpy(&at[n], last()->params + 8 * WORD, 8);
    cr_expect_eq(at[n] % 16, 0);
  }
  cr_expect_eq(at[ROUTINGS], at[0]);
  for (unsigned n = 2; n < ROUTINGS; n++) cr_expect_eq(at[n] - at[n - 1], at[1] - at[0]);
  cr_expect_gt(at[1], at[0]);
}

/* What clears the cache by writing leaves it to be written back, which costs the work bandwidth. */
Test(meter_cuda, a_cache_is_cleared_only_before_what_does_not_clear_it_itself) {
  int64_t ps = 0;
  open_meter(false);
  load(256, 256, NULL);
  const unsigned fills = last()->fills, replays = last()->replays;
  cr_assert_eq(meter->ops->chain(meter, metered, false, &ps, &err), QP_OK, "%s", err.text);
  cr_assert_eq(last()->replays - replays, 3 + 15);
  cr_assert_eq(last()->fills - fills, 3 + 15, "512 launches of 32 KiB; L2 has 8 MiB");
  cr_assert_eq(qp_flush_before((size_t)32 << 20, (size_t)8 << 20), 0);
  cr_assert_eq(qp_flush_before(((size_t)32 << 20) - 1, (size_t)8 << 20), (size_t)16 << 20);
}

Test(meter_cuda, a_chain_is_a_graph_that_walks_through_the_pool) {
  int64_t ps = 0;
  open_meter(false);
  load(4096, 4096, "pdl=1");
  const unsigned fills = last()->fills, replays = last()->replays, launches = last()->launches;
  cr_assert_eq(meter->ops->chain(meter, metered, true, &ps, &err), QP_OK, "%s", err.text);
  cr_assert_eq(last()->replays - replays, 3 + 15);
  cr_assert_eq(last()->fills - fills, 0, "48 launches read 384 MiB, L2 has 8");
  cr_assert_eq(last()->launches - launches, 48, "8 MiB each: 8 fit the pool, 48 are captured");
  cr_assert(last()->pdl);
  cr_assert_eq(ps, 41666667, "2 ms for 48 launches");
  cr_assert_eq(meter->ops->chain(meter, metered, false, &ps, &err), QP_OK, "%s", err.text);
  cr_assert_not(last()->pdl);
}

Test(meter_cuda, records_of_a_chain_are_not_taken_and_samples_still_are) {
  int64_t ps[3];
  open_meter(false);
  load(4096, 4096, NULL);
  cr_assert_eq(meter->ops->chain(meter, metered, false, ps, &err), QP_OK, "%s", err.text);
  cr_assert_eq(sample(3, ps), QP_OK, "%s", err.text);
  cr_assert_eq(ps[2], 7002000);
}

Test(meter_cuda, where_a_pause_ends_the_records_there_are_no_more_pauses_and_records_say_so) {
  int64_t ps[3];
  setenv("FAKE_CUPTI_FAULT", "deaf", 1);
  open_meter(false);
  cr_assert_str_eq(meter->info.timer, "CUPTI 13.0, not paused");
  load(4096, 4096, NULL);
  for (unsigned i = 0; i < 2; i++) { /* a pause between the two would make the second one deaf */
    cr_assert_eq(meter->ops->chain(meter, metered, false, ps, &err), QP_OK, "%s", err.text);
    cr_assert_eq(sample(3, ps), QP_OK, "%s", err.text);
    cr_assert_eq(ps[2], 7002000);
  }
}

Test(meter_cuda, a_pause_that_nothing_heals_is_an_error_that_tells_how_to_go_without) {
  setenv("FAKE_CUPTI_FAULT", "stone", 1);
  cr_assert_eq(qp_meter_open("cuda:0", false, &meter, &err), QP_E_DEVICE);
  cr_assert(strstr(err.text, "QPAL_CUPTI_PAUSE=never"), "%s", err.text);
}

Test(meter_cuda, without_pauses_a_cupti_that_they_break_works) {
  int64_t ps[2];
  setenv("FAKE_CUPTI_FAULT", "stone", 1);
  setenv("QPAL_CUPTI_PAUSE", "never", 1);
  open_meter(false);
  cr_assert_str_eq(meter->info.timer, "CUPTI 13.0, not paused");
  load(4096, 4096, NULL);
  cr_assert_eq(meter->ops->chain(meter, metered, false, ps, &err), QP_OK, "%s", err.text);
  cr_assert_eq(sample(2, ps), QP_OK, "%s", err.text);
}

/* The loader reads LD_LIBRARY_PATH when a process starts: qpal itself is asked.  What hides a
** libcupti.so.13 of this machine's is no library. */
Test(meter_cuda, where_libcupti_13_cannot_be_loaded_its_predecessor_is_taken) {
  char folder[] = "/tmp/qpal-cupti-XXXXXX", command[1024], text[8192];
  cr_assert(mkdtemp(folder));
  snprintf(command, sizeof command,
           "cd %s && echo none >libcupti.so.13 && ln -s '%s' libcupti.so.12 && env -u QPAL_CUPTI "
           "FAKE_CUPTI_VERSION=120600 "
           "LD_LIBRARY_PATH=%s '%s/qpal' bench --model smollm2-135m --quantizers nuq-2 --batch 1 "
           "--json 2>&1; rm -r %s",
           folder, fake, folder, QP_BINARY_DIR, folder);
  FILE *f = popen(command, "r");
  cr_assert(f);
  text[fread(text, 1, sizeof text - 1, f)] = 0;
  pclose(f);
  cr_assert(strstr(text, "\"CUPTI 12.6\""), "%s", text);
}

Test(meter_cuda, a_pass_walks_over_all_candidates_in_turn) {
  qp_metered *list[3] = {0};
  bool pdl[3] = {false, false, false};
  int64_t ps = 0;
  open_meter(false);
  load(4096, 4096, NULL);
  for (unsigned i = 0; i < 3; i++) list[i] = metered;
  const unsigned launches = last()->launches;
  cr_assert_eq(meter->ops->pass(meter, list, pdl, 3, &ps, &err), QP_OK, "%s", err.text);
  cr_assert_eq(last()->launches - launches, 48);
  cr_assert_eq(ps, 2000000000 / 16, "16 passes of three launches in 2 ms");
  cr_assert_eq(meter->ops->pass(meter, list, pdl, 65, &ps, &err), QP_E_ARG);
}

Test(meter_cuda, a_kernel_that_writes_nothing_is_found_out) {
  qp_verdict v = {.pass = true};
  open_meter(false);
  load(64, 64, NULL);
  cr_assert_eq(meter->ops->verify(meter, &kernel, &compiled, 1, &v, &err), QP_OK, "%s", err.text);
  cr_assert_not(v.pass);
}

Test(meter_cuda, a_failed_launch_is_a_device_error) {
  int64_t ps[2];
  open_meter(false);
  load(4096, 4096, NULL);
  setenv("FAKE_CUDA_FAIL", "cuLaunchKernelEx", 1);
  cr_assert_eq(sample(2, ps), QP_E_DEVICE);
  cr_assert(strstr(err.text, "CUDA_ERROR_ILLEGAL_ADDRESS"), "%s", err.text);
}

Test(meter_cuda, a_gpu_times_cublas_and_says_when_there_is_none) {
  qp_meter_product got = {0};
  open_meter(true);
  setenv("QPAL_CUBLAS", "/nowhere/libcublas.so.13", 1);
  cr_assert_eq(meter->ops->cublas(meter, 64, 64, 2, &got, &err), QP_E_MISSING);
  cr_assert(strstr(err.text, "/nowhere/libcublas.so.13"), "%s", err.text);
  setenv("QPAL_CUBLAS", fake, 1);
  cr_assert_eq(meter->ops->cublas(meter, 64, 64, 2, &got, &err), QP_OK, "%s", err.text);
  cr_assert_str_eq(got.version, "cuBLAS 13.1.0");
  cr_assert(got.ps > 0 && got.error < 2e-3);
}
