/* SPDX-License-Identifier: MIT */
/* The measuring process on the replay device: whatever a candidate does, the next is measured. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tuner/base/session.h"
#include "tuner/tune/measurer.h"

static qp_error err;
static qp_session session;
static qp_problem problem;
static char file[64], device[80];
static qp_measurer *measurer;

static void begin(void) {
  const qp_quantizer *q = NULL;
  cr_assert_eq(qp_session_open(&session, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_palette_find(session.palette, "nuq-4", &q, &err), QP_OK, "%s", err.text);
  problem = (qp_problem){.op = QP_OP_GEMM,
                         .segments = 1,
                         .segment = {{.quantizer = q, .rows = 4096}},
                         .columns = 4096,
                         .batch = 1,
                         .type = QP_F16,
                         .out_type = QP_F16,
                         .arch = 90,
                         .sm_count = 132};
  snprintf(file, sizeof file, "/tmp/qpal_measurer_%d.json", (int)getpid());
  snprintf(device, sizeof device, "replay:%s", file);
}

static void end(void) {
  qp_measurer_close(measurer);
  qp_session_close(&session);
  unlink(file);
}
TestSuite(measurer, .init = begin, .fini = end);

/* A replayed GPU of 1000 GB/s without launch cost; 'more' fields of its file. */
static void replay(const char *more) {
  FILE *f = fopen(file, "w");
  cr_assert(f);
  fprintf(f,
          "{\"gpu\":\"Replayed\",\"arch\":90,\"sm_count\":132,\"driver\":\"7\","
          "\"bandwidth_gbs\":1000,\"launch_ns\":0%s}",
          more);
  fclose(f);
  const qp_measurer_options opt = {
      .device = device, .families = session.families, .timeout_s = 1, .samples = 20, .rounds = 5};
  cr_assert_eq(qp_measurer_open(&opt, &measurer, &err), QP_OK, "%s", err.text);
}

static qp_measure_job job_of(unsigned warps) {
  qp_measure_job job = {.problem = problem, .seed = 1, .cubin = "cubin", .cubin_bytes = 5};
  char text[32];
  snprintf(text, sizeof text, "warps=%u", warps);
  qp_choice_default(qp_families_find(session.families, "gemm_tensor"), &job.choice);
  cr_assert_eq(qp_choice_set(&job.choice, text, &err), QP_OK);
  return job;
}

static qp_measured screen(unsigned warps) {
  const qp_measure_job job = job_of(warps);
  qp_measured m;
  cr_assert_eq(qp_measurer_screen(measurer, &job, &m, &err), QP_OK, "%s", err.text);
  return m;
}

/* Candidates of 8 warps have this fault; what becomes of one, and that the next is measured. */
static void has_fault(const char *fault, qp_record_outcome outcome, const char *why,
                      unsigned lost) {
  char rules[128];
  snprintf(rules, sizeof rules, ",\"rules\":[{\"match\":\"__w8\",\"fault\":\"%s\"}]", fault);
  replay(rules);
  cr_assert_eq(screen(16).outcome, QP_RECORD_OK);
  const qp_measured m = screen(8);
  cr_assert_eq(m.outcome, outcome, "%s, not %s: %s", qp_record_outcome_name(m.outcome),
               qp_record_outcome_name(outcome), m.why);
  cr_assert(strstr(m.why, why), "'%s' is missing in: %s", why, m.why);
  cr_assert_eq(m.timing.ps, 0);
  cr_assert_eq(qp_measurer_lost(measurer), lost);
  cr_assert_eq(screen(24).outcome, QP_RECORD_OK, "it goes on");
  cr_assert_eq(qp_measurer_lost(measurer), lost);
}

Test(measurer, it_tells_what_it_measures_on) {
  replay("");
  qp_meter_info info;
  cr_assert_eq(qp_measurer_info(measurer, &info, &err), QP_OK, "%s", err.text);
  cr_assert_str_eq(info.device.name, "Replayed");
  cr_assert_str_eq(info.driver, "7");
  cr_assert_str_eq(info.timer, "replay");
  cr_assert_eq(info.device.arch, 90);
  cr_assert_float_eq(info.read_gbs, 1000, 1e-9);
}

Test(measurer, a_candidate_is_verified_and_timed) {
  replay("");
  const qp_measured m = screen(16);
  cr_assert_eq(m.outcome, QP_RECORD_OK, "%s", m.why);
  /* 8 MiB at 1000 GB/s take 8.4 us; the replay device makes it up to twice that. */
  cr_assert(m.timing.ps >= 8388608 && m.timing.ps < 2 * 8388608, "%lld", (long long)m.timing.ps);
  cr_assert_eq(m.timing.spread_ps, 0);
  cr_assert_eq(m.timing.samples, 20);
  cr_assert(m.error > 0 && m.error < 2e-3);
  cr_assert_eq(m.state.clock_mhz, 1980);
}

Test(measurer, a_hang_ends_at_the_time_limit) {
  has_fault("hang", QP_RECORD_HANG, "did not end within 1 s", 1);
}
Test(measurer, a_crash_names_its_signal) { has_fault("crash", QP_RECORD_CRASH, "signal 9", 1); }
Test(measurer, a_wrong_result_is_never_timed) {
  has_fault("wrong", QP_RECORD_WRONG, "relative L2 error", 0);
}
Test(measurer, a_failed_driver_call_costs_the_process_its_context) {
  has_fault("device", QP_RECORD_DEVICE, "CUDA_ERROR_ILLEGAL_ADDRESS", 1);
}
Test(measurer, a_zero_timestamp_is_refused) {
  has_fault("timer", QP_RECORD_TIMER, "no duration", 0);
}
Test(measurer, a_dropped_timestamp_is_refused) {
  has_fault("drop", QP_RECORD_TIMER, "timestamps", 0);
}

Test(measurer, throttling_is_kept_with_the_time) {
  replay(",\"rules\":[{\"match\":\"__w8\",\"fault\":\"throttle\"}]");
  const qp_measured m = screen(8), free_run = screen(16);
  cr_assert_eq(m.outcome, QP_RECORD_OK);
  cr_assert_str_eq(m.state.throttle, "sw_power_cap");
  cr_assert_lt(m.state.clock_mhz, free_run.state.clock_mhz);
  cr_assert_str_eq(free_run.state.throttle, "");
}

Test(measurer, noise_widens_the_spread_and_depends_on_the_candidate_alone) {
  replay(",\"noise\":0.05");
  const qp_measured a = screen(16), b = screen(8), again = screen(16);
  cr_assert_gt(a.timing.spread_ps, a.timing.ps / 200);
  cr_assert_lt(a.timing.spread_ps, a.timing.ps / 5);
  cr_assert_eq(a.timing.ps, again.timing.ps);
  cr_assert_neq(a.timing.ps, b.timing.ps);
}

Test(measurer, finalists_are_timed_together_and_their_chains_too) {
  replay("");
  const qp_measure_job job[] = {job_of(16), job_of(24)};
  qp_measured m[2] = {{.error = 1e-4}, {.error = 2e-4}};
  cr_assert_eq(qp_measurer_final(measurer, job, 2, m, &err), QP_OK, "%s", err.text);
  for (unsigned i = 0; i < 2; i++) {
    cr_assert_eq(m[i].outcome, QP_RECORD_OK, "%s", m[i].why);
    cr_assert_eq(m[i].timing.samples, 100);
    cr_assert_gt(m[i].chain_ps, 0);
    cr_assert_eq(m[i].chain_pdl_ps, 0, "these kernels are not made for it");
  }
  cr_assert_float_eq(m[1].error, 2e-4, 1e-12, "what verification found stays");
}

Test(measurer, a_finalist_that_fails_takes_none_with_it) {
  static const char *const faults[] = {"device", "timer"};
  static const qp_record_outcome outcomes[] = {QP_RECORD_DEVICE, QP_RECORD_TIMER};
  for (unsigned f = 0; f < 2; f++) {
    char rules[128];
    snprintf(rules, sizeof rules, ",\"rules\":[{\"match\":\"__w8\",\"fault\":\"%s\"}]", faults[f]);
    replay(rules);
    const qp_measure_job job[] = {job_of(16), job_of(8), job_of(24)};
    qp_measured m[3] = {{.error = 0}};
    cr_assert_eq(qp_measurer_final(measurer, job, 3, m, &err), QP_OK, "%s", err.text);
    cr_assert_eq(m[0].outcome, QP_RECORD_OK);
    cr_assert_eq(m[1].outcome, outcomes[f]);
    cr_assert_eq(m[2].outcome, QP_RECORD_OK);
    cr_assert_gt(m[2].timing.ps, 0);
    qp_measurer_close(measurer);
    measurer = NULL;
  }
}

Test(measurer, recorded_timings_are_served_where_there_are_any) {
  char records[80], more[128];
  snprintf(records, sizeof records, "%s.jsonl", file);
  replay("");
  const qp_measure_job job = job_of(16);
  qp_kernel k = {0};
  cr_assert_eq(qp_kernel_make(session.families, &job.problem, &job.choice, &k, &err), QP_OK);
  qp_record r;
  qp_record_begin(&k, &job.choice, &r);
  r.ps = 12345678;
  r.samples = 20;
  snprintf(r.gpu, sizeof r.gpu, "Some GPU");
  snprintf(r.driver, sizeof r.driver, "1");
  snprintf(r.nvrtc, sizeof r.nvrtc, "13");
  snprintf(r.timer, sizeof r.timer, "CUPTI 13.0");
  snprintf(r.date, sizeof r.date, "2026-01-01T00:00:00Z");
  qp_records all = {.gpu = "Some GPU"};
  cr_assert_eq(qp_records_add(&all, &r, &err), QP_OK);
  cr_assert_eq(qp_records_write(records, &all, &err), QP_OK, "%s", err.text);
  qp_measurer_close(measurer);
  snprintf(more, sizeof more, ",\"records\":\"%s\"", strrchr(records, '/') + 1);
  replay(more);
  cr_assert_eq(screen(16).timing.ps, 12345678);
  cr_assert_neq(screen(8).timing.ps, 12345678);
  unlink(records);
  qp_records_free(&all);
  qp_kernel_free(&k);
}

Test(measurer, a_device_that_cannot_be_had_is_told) {
  const qp_measurer_options opt = {.device = "replay:/nowhere.json", .families = session.families};
  qp_meter_info info;
  cr_assert_eq(qp_measurer_open(&opt, &measurer, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_measurer_info(measurer, &info, &err), QP_E_IO);
  cr_assert(strstr(err.text, "/nowhere.json"), "%s", err.text);
}

/* ---- Products of cuBLAS ---- */

static qp_measured time_product(qp_status expected) {
  const qp_measure_job job = {
      .problem = {
          .op = QP_OP_GEMM, .segments = 1, .segment = {{.rows = 64}}, .columns = 64, .batch = 2}};
  qp_measured m;
  cr_assert_eq(qp_measurer_cublas(measurer, &job, &m, &err), expected, "%s", err.text);
  return m;
}

static void open_fake(const char *cublas) {
  static const char fake[] = QP_BINARY_DIR "/libfake_cuda.so";
  const qp_measurer_options opt = {
      .device = "cuda:0", .events = true, .families = session.families, .timeout_s = 20};
  setenv("QPAL_LIBCUDA", fake, 1);
  setenv("QPAL_NVML", fake, 1);
  setenv("QPAL_CUBLAS", cublas ? cublas : fake, 1);
  cr_assert_eq(qp_measurer_open(&opt, &measurer, &err), QP_OK, "%s", err.text);
}

Test(measurer, a_product_of_cublas_is_timed_on_a_gpu_with_its_version) {
  open_fake(NULL);
  const qp_measured m = time_product(QP_OK);
  cr_expect_eq(m.outcome, QP_RECORD_OK, "%s", m.why);
  cr_expect_str_eq(m.by, "cuBLAS 13.1.0");
  cr_expect_gt(m.timing.ps, 0);
}

Test(measurer, a_missing_cublas_is_an_error_and_costs_no_worker) {
  open_fake("/nowhere/libcublas.so.13");
  time_product(QP_E_MISSING);
  cr_expect(strstr(err.text, "/nowhere/libcublas.so.13"), "%s", err.text);
  time_product(QP_E_MISSING);
  cr_expect_eq(qp_measurer_lost(measurer), 0);
}

Test(measurer, a_product_that_is_wrong_or_breaks_the_device_is_its_own_failure) {
  setenv("FAKE_CUBLAS_WRONG", "sum", 1);
  open_fake(NULL);
  cr_expect_eq(time_product(QP_OK).outcome, QP_RECORD_WRONG);
  qp_measurer_close(measurer);
  unsetenv("FAKE_CUBLAS_WRONG");
  setenv("FAKE_CUBLAS_FAIL", "cublasGemmEx", 1);
  open_fake(NULL);
  cr_expect_eq(time_product(QP_OK).outcome, QP_RECORD_DEVICE);
  cr_expect_eq(qp_measurer_lost(measurer), 1, "its process is replaced");
  cr_expect_eq(time_product(QP_OK).outcome, QP_RECORD_DEVICE);
}
