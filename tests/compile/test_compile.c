/* SPDX-License-Identifier: MIT */
/* The compiler with the real NVRTC, and its workers with backends that crash, hang and lie. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "gen/base/parallel.h"
#include "gen/base/process.h"
#include "gen/compile/compile_internal.h"

static const char copy_source[] =
    "extern \"C\" __global__ void copy(float *y, const float *x, int n) {\n"
    "  int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
    "  if (i < n) y[i] = x[i];\n"
    "}\n";

/* 64 values live across a loop, and room for 32 registers only. */
static const char spill_source[] =
    "extern \"C\" __global__ void __launch_bounds__(1024, 2) spill(float *p, const float *q) {\n"
    "  float a[64];\n"
    "#pragma unroll\n"
    "  for (int i = 0; i < 64; i++) a[i] = q[i * threadIdx.x];\n"
    "  for (int j = 0; j < p[0]; j++) {\n"
    "#pragma unroll\n"
    "    for (int i = 0; i < 64; i++) a[i] = a[i] * a[(i + 7) % 64] + q[i + j];\n"
    "  }\n"
    "  float t = 0;\n"
    "#pragma unroll\n"
    "  for (int i = 0; i < 64; i++) t += a[i];\n"
    "  p[threadIdx.x] = t;\n"
    "}\n";

static const char shared_source[] = "extern \"C\" __global__ void turn(float *p) {\n"
                                    "  __shared__ float s[100];\n"
                                    "  s[threadIdx.x] = p[threadIdx.x];\n"
                                    "  __syncthreads();\n"
                                    "  p[threadIdx.x] = s[99 - threadIdx.x];\n"
                                    "}\n";

static qp_compiler *open_compiler(const qp_compiler_options *opt) {
  qp_error err = {.text = ""};
  qp_compiler *c = NULL;
  cr_assert_eq(qp_compiler_open(opt, &c, &err), QP_OK, "%s", err.text);
  return c;
}

static qp_compile_job job_of(const char *name, const char *source, unsigned arch) {
  return (qp_compile_job){
      .name = name, .source = source, .arch = arch, .want_cubin = true, .want_ptx = true};
}

static qp_compiled compile(qp_compiler *c, qp_compile_job job) {
  qp_error err = {.text = ""};
  qp_compiled out = {0};
  cr_assert_eq(qp_compiler_run(c, &job, &out, &err), QP_OK, "%s", err.text);
  return out;
}

static const qp_compiler_options uncached = {.workers = 1, .cache_dir = ""};

/* 1300 of "NVRTC 13.0 (...)". */
static unsigned version_of(const qp_compiler *c) {
  unsigned major = 0, minor = 0;
  cr_assert_eq(sscanf(qp_compiler_version(c), "NVRTC %u.%u", &major, &minor), 2);
  return 100 * major + minor;
}

/* An architecture that is newer than NVRTC: the message says which NVRTC compiles for it. */
static void expect_refusal(qp_compiler *c, const qp_arch *row) {
  const qp_compile_job job = job_of("turn", shared_source, row->number);
  qp_compiled out = {0};
  qp_error err = {.text = ""};
  char first[32];
  snprintf(first, sizeof first, "NVRTC %u.%u is the first", row->nvrtc / 100, row->nvrtc % 100);
  cr_assert_eq(qp_compiler_run(c, &job, &out, &err), QP_E_COMPILE);
  cr_assert_not_null(strstr(err.text, first), "%s", err.text);
}

Test(compile, a_kernel_becomes_cubin_and_ptx_for_every_architecture) {
  qp_compiler *c = open_compiler(&uncached);
  cr_assert_eq(strncmp(qp_compiler_version(c), "NVRTC ", 6), 0);
  cr_assert_not_null(strstr(qp_compiler_version(c), "CL-"), "no build in the version");
  for (const qp_arch *row = qp_arch_table; row->number; row++) {
    const unsigned arch = row->number;
    if (row->nvrtc > version_of(c)) {
      expect_refusal(c, row);
      continue;
    }
    qp_compiled out = compile(c, job_of("turn", shared_source, arch));
    char target[32];
    snprintf(target, sizeof target, ".target sm_%u\n", arch);
    cr_assert_not_null(strstr(out.ptx, target));
    cr_assert_not_null(strstr(out.ptx, ".entry turn("));
    cr_assert_eq(strlen(out.ptx), out.ptx_bytes);
    cr_assert_eq(memcmp(out.cubin, "\177ELF", 4), 0);
    cr_assert_not(out.cached);
    cr_assert(out.seconds > 0);
    cr_assert(out.res.registers >= 4 && out.res.registers <= 32);
    cr_assert_eq(out.res.smem_static_bytes, 400, "sm_%u: %u", arch, out.res.smem_static_bytes);
    cr_assert_eq(out.res.barriers, 1);
    cr_assert_eq(out.res.stack_bytes, 0);
    cr_assert_eq(out.res.spill_store_bytes, 0);
    qp_compiled_free(&out);
  }
  qp_compiler_close(c);
}

Test(compile, registers_frame_and_spills_of_a_starved_kernel_are_reported) {
  qp_compiler *c = open_compiler(&uncached);
  for (size_t i = 0; i < 2; i++) {
    qp_compiled out = compile(c, job_of("spill", spill_source, i ? 90 : 80));
    cr_assert_eq(out.res.registers, 32);
    cr_assert(out.res.stack_bytes > 0);
    cr_assert(out.res.spill_store_bytes > 0);
    cr_assert(out.res.spill_load_bytes > 0);
    char said[128];
    snprintf(said, sizeof said, "%u bytes stack frame, %u bytes spill stores, %u bytes spill loads",
             out.res.stack_bytes, out.res.spill_store_bytes, out.res.spill_load_bytes);
    cr_assert_not_null(strstr(out.log, said), "%s is not in: %s", said, out.log);
    qp_compiled_free(&out);
  }
  qp_compiler_close(c);
}

Test(compile, only_what_is_wanted_is_given) {
  qp_compiler *c = open_compiler(&uncached);
  qp_compile_job job = job_of("copy", copy_source, 90);
  job.want_cubin = false;
  qp_compiled text = compile(c, job);
  cr_assert_null(text.cubin);
  cr_assert_eq(text.cubin_bytes, 0);
  cr_assert_eq(text.res.registers, 0);
  job.want_cubin = true;
  job.want_ptx = false;
  qp_compiled image = compile(c, job);
  cr_assert_null(image.ptx);
  cr_assert_not_null(image.cubin);
  job.want_ptx = true;
  qp_compiled both = compile(c, job);
  cr_assert_str_eq(both.ptx, text.ptx);
  qp_compiled_free(&text);
  qp_compiled_free(&image);
  qp_compiled_free(&both);
  qp_compiler_close(c);
}

Test(compile, an_error_names_the_line_of_the_template) {
  qp_compiler *c = open_compiler(&uncached);
  const qp_compile_job job = job_of("bad",
                                    "#line 41 \"templates/gemm.cu.in\"\n"
                                    "extern \"C\" __global__ void bad(int *p) {\n"
                                    "  *p = undeclared_name;\n"
                                    "}\n",
                                    90);
  qp_error err = {.text = ""};
  qp_compiled out = {0};
  cr_assert_eq(qp_compiler_run(c, &job, &out, &err), QP_E_COMPILE);
  cr_assert_not_null(strstr(err.text, "templates/gemm.cu.in(42)"), "%s", err.text);
  cr_assert_not_null(strstr(err.text, "undeclared_name"));
  cr_assert_null(out.log, "out is changed on failure");

  cr_assert_eq(qp_compiler_submit(c, &job, &err), QP_OK);
  cr_assert(qp_compiler_next(c, &out, NULL));
  cr_assert_eq(out.status, QP_E_COMPILE);
  cr_assert_not_null(strstr(out.log, "templates/gemm.cu.in(42)"));
  cr_assert_null(out.cubin);
  cr_assert_null(out.ptx);
  qp_compiled_free(&out);
  qp_compiler_close(c);
}

Test(compile, a_kernel_under_another_name_is_an_error_that_lists_those_there) {
  qp_compiler *c = open_compiler(&uncached);
  const qp_compile_job job = job_of("other", copy_source, 90);
  qp_error err = {.text = ""};
  qp_compiled out = {0};
  cr_assert_eq(qp_compiler_run(c, &job, &out, &err), QP_E_COMPILE);
  cr_assert_not_null(strstr(err.text, "'other'"));
  cr_assert_not_null(strstr(err.text, " copy"));
  qp_compiler_close(c);
}

Test(compile, jobs_come_back_with_their_user_pointer_whatever_the_order) {
  qp_compiler *c = open_compiler(&(qp_compiler_options){.workers = 2, .cache_dir = ""});
  enum { JOBS = 9 };
  int seen[JOBS] = {0};
  for (int i = 0; i < JOBS; i++) {
    char source[256];
    snprintf(source, sizeof source, "extern \"C\" __global__ void k(int *p) { *p = %d; }",
             7000 + i);
    qp_compile_job job = job_of("k", source, 89);
    job.user = &seen[i];
    qp_error err = {.text = ""};
    cr_assert_eq(qp_compiler_submit(c, &job, &err), QP_OK, "%s", err.text);
  }
  qp_compiled own = compile(c, job_of("copy", copy_source, 89)); /* in the middle of the others */
  qp_compiled_free(&own);
  qp_compiled out;
  void *user;
  while (qp_compiler_next(c, &out, &user)) {
    char value[16];
    snprintf(value, sizeof value, "%d", 7000 + (int)((int *)user - seen));
    cr_assert_eq(out.status, QP_OK, "%s", out.log);
    cr_assert_not_null(strstr(out.ptx, value));
    ++*(int *)user;
    qp_compiled_free(&out);
  }
  for (int i = 0; i < JOBS; i++) cr_assert_eq(seen[i], 1);
  cr_assert_not(qp_compiler_next(c, &out, &user));
  qp_compiler_close(c);
}

Test(compile, a_second_run_is_answered_from_the_cache) {
  char directory[] = "/tmp/qpal-compile-XXXXXX";
  cr_assert_not_null(mkdtemp(directory));
  const qp_compiler_options opt = {.workers = 1, .cache_dir = directory};
  qp_compiler *c = open_compiler(&opt);
  qp_compiled first = compile(c, job_of("spill", spill_source, 90));
  qp_compiler_close(c);
  c = open_compiler(&opt);
  qp_compiled second = compile(c, job_of("spill", spill_source, 90));
  cr_assert_not(first.cached);
  cr_assert(second.cached);
  cr_assert_eq(second.seconds, 0);
  cr_assert_eq(second.cubin_bytes, first.cubin_bytes);
  cr_assert_eq(memcmp(second.cubin, first.cubin, first.cubin_bytes), 0);
  cr_assert_str_eq(second.ptx, first.ptx);
  cr_assert_str_eq(second.log, first.log);
  cr_assert_eq(memcmp(&second.res, &first.res, sizeof first.res), 0);
  qp_compile_job text = job_of("spill", spill_source, 90);
  text.want_cubin = false;
  qp_compiled third = compile(c, text);
  cr_assert(third.cached, "PTX alone is in the whole result");
  cr_assert_null(third.cubin);
  qp_compiled other = compile(c, job_of("spill", spill_source, 80));
  cr_assert_not(other.cached, "another architecture is another key");
  qp_compiled_free(&first);
  qp_compiled_free(&second);
  qp_compiled_free(&third);
  qp_compiled_free(&other);
  qp_compiler_close(c);
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", directory);
  cr_assert_eq(system(command), 0);
}

Test(compile, two_processes_share_one_cache) {
  char directory[] = "/tmp/qpal-compile-XXXXXX";
  cr_assert_not_null(mkdtemp(directory));
  const qp_compiler_options opt = {.workers = 1, .cache_dir = directory};
  static const unsigned archs[] = {75, 80, 86, 90, 100, 120};
  pid_t pids[2];
  for (int p = 0; p < 2; p++) {
    pids[p] = fork();
    if (pids[p] != 0) continue;
    qp_compiler *c = NULL;
    qp_error err = {.text = ""};
    int failures = qp_compiler_open(&opt, &c, &err) != QP_OK;
    for (int i = 0; i < 12 && failures == 0; i++) {
      qp_compiled out = {0};
      const qp_compile_job job = job_of("copy", copy_source, archs[i % 6]);
      failures += qp_compiler_run(c, &job, &out, &err) != QP_OK || !out.cubin || !out.ptx;
      failures += i >= 6 && !out.cached;
      qp_compiled_free(&out);
    }
    qp_compiler_close(c);
    _exit(failures);
  }
  for (int p = 0; p < 2; p++) {
    int status = -1;
    cr_assert_eq(waitpid(pids[p], &status, 0), pids[p]);
    cr_assert_eq(status, 0);
  }
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", directory);
  cr_assert_eq(system(command), 0);
}

Test(compile, without_nvrtc_the_message_says_what_was_tried_and_what_to_do) {
  setenv("QPAL_NVRTC", "/nowhere/libnvrtc.so", 1);
  qp_error err = {.text = ""};
  qp_compiler *c = NULL;
  cr_assert_eq(qp_compiler_open(&uncached, &c, &err), QP_E_MISSING);
  cr_assert_null(c);
  cr_assert_not_null(strstr(err.text, "/nowhere/libnvrtc.so"));
  cr_assert_not_null(strstr(err.text, "pip install nvidia-cuda-nvrtc"));
  cr_assert_not_null(strstr(err.text, "QPAL_NVRTC"));
}

Test(compile, jobs_that_cannot_be_compiled_are_refused_with_the_field) {
  qp_compiler *c = open_compiler(&uncached);
  qp_error err = {.text = ""};
  qp_compile_job job = job_of("k", "", 91);
  cr_assert_eq(qp_compiler_submit(c, &job, &err), QP_E_ARG);
  cr_assert_not_null(strstr(err.text, "sm_91"));
  cr_assert_not_null(strstr(err.text, "120"));
  job = job_of("", "", 90);
  cr_assert_eq(qp_compiler_submit(c, &job, &err), QP_E_ARG);
  job = (qp_compile_job){.name = "k", .source = "", .arch = 90};
  cr_assert_eq(qp_compiler_submit(c, &job, &err), QP_E_ARG);
  qp_compiled out;
  cr_assert_not(qp_compiler_next(c, &out, NULL));
  qp_compiler_close(c);
}

/* ---- workers that misbehave: the backend does what a job's source says ---- */

static qp_status fake_open(void **self, qp_error *err) {
  (void)err;
  *self = NULL;
  return QP_OK;
}

static qp_status fake_describe(void *self, char *text, size_t size, qp_error *err) {
  (void)self, (void)err;
  snprintf(text, size, "fake 1.0");
  return QP_OK;
}

static void spend(double seconds) {
  const double end = qp_process_seconds(getpid()) + seconds;
  while (qp_process_seconds(getpid()) < end) {
  }
}

static void fake_compile(void *self, const qp_compile_job *job, qp_compiled *out) {
  (void)self;
  if (strcmp(job->source, "crash") == 0) raise(SIGSEGV);
  if (strcmp(job->source, "exit") == 0) _exit(7);
  if (strcmp(job->source, "hang") == 0) {
    for (;;) pause();
  }
  if (strcmp(job->source, "spin") == 0) spend(60);
  if (strcmp(job->source, "starve") == 0) { /* 0.01 s of work, in at least 0.9 s */
    for (int i = 0; i < 5; i++) {
      spend(0.002);
      nanosleep(&(struct timespec){.tv_nsec = 180000000}, NULL);
    }
  }
  if (strcmp(job->source, "lie") == 0) { /* not a reply's head, on whatever socket we have */
    for (int fd = 3; fd < 64; fd++) send(fd, "garbage garbage garbage garbage garbage", 40, 0);
    for (;;) pause();
  }
  out->log = strdup("");
  if (strcmp(job->source, "files") == 0) {
    char text[64];
    int count = 0;
    for (int fd = 3; fd < 1024; fd++) count += fcntl(fd, F_GETFD) >= 0;
    snprintf(text, sizeof text, "%d", count);
    out->ptx = strdup(text);
  } else {
    out->ptx = strdup(job->source);
  }
  out->ptx_bytes = strlen(out->ptx);
}

static const qp_compile_backend fake = {
    .open = fake_open, .describe = fake_describe, .compile = fake_compile};

static qp_compiler *open_fake(unsigned workers, double timeout_s) {
  qp_error err = {.text = ""};
  qp_compiler *c = NULL;
  const qp_compiler_options opt = {.workers = workers, .cache_dir = "", .timeout_s = timeout_s};
  cr_assert_eq(qp_compiler_open_with(&opt, &fake, &c, &err), QP_OK, "%s", err.text);
  return c;
}

static qp_compile_job ptx_job(const char *name, const char *source) {
  return (qp_compile_job){.name = name, .source = source, .arch = 90, .want_ptx = true};
}

static void expect_alive(qp_compiler *c) {
  qp_compiled out = compile(c, ptx_job("alive", "still here"));
  cr_assert_str_eq(out.ptx, "still here");
  qp_compiled_free(&out);
}

static void expect_failure(qp_compiler *c, const char *source, qp_status status, const char *says) {
  const qp_compile_job job = ptx_job("victim", source);
  qp_error err = {.text = ""};
  qp_compiled out;
  cr_assert_eq(qp_compiler_run(c, &job, &out, &err), status);
  cr_assert_not_null(strstr(err.text, says), "'%s' does not say '%s'", err.text, says);
  cr_assert_not_null(strstr(err.text, "victim"), "%s", err.text);
}

Test(compile, a_worker_that_crashes_fails_its_job_only) {
  qp_compiler *c = open_fake(1, 0);
  expect_failure(c, "crash", QP_E_COMPILE, "signal 11");
  expect_alive(c);
  expect_failure(c, "exit", QP_E_COMPILE, "exit code 7");
  expect_alive(c);
  qp_compiler_close(c);
}

Test(compile, a_worker_that_hangs_is_ended_at_the_time_limit) {
  qp_compiler *c = open_fake(1, 0.2);
  expect_failure(c, "hang", QP_E_LIMIT, "stood still for 0.2 s");
  expect_alive(c);
  qp_compiler_close(c);
}

Test(compile, the_time_limit_is_of_processor_time) {
  qp_compiler *c = open_fake(1, 0.25);
  qp_compiled out = compile(c, ptx_job("patient", "starve"));
  cr_assert_eq(out.status, QP_OK);
  qp_compiled_free(&out);
  expect_failure(c, "spin", QP_E_LIMIT, "more processor time than 0.25 s");
  expect_alive(c);
  qp_compiler_close(c);
}

Test(compile, a_worker_that_answers_nonsense_is_replaced) {
  qp_compiler *c = open_fake(1, 0);
  expect_failure(c, "lie", QP_E_COMPILE, "process");
  expect_alive(c);
  qp_compiler_close(c);
}

/* Is it a zombie without threads?  A sanitizer has one, which may hold what the first had open. */
static bool has_ended(pid_t pid) {
  char path[64], line[512] = "", state = 0;
  int threads = 0;
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  FILE *f = fopen(path, "r");
  cr_assert_not_null(f);
  cr_assert(fgets(line, sizeof line, f) != NULL);
  fclose(f);
  const char *behind = strrchr(line, ')');
  cr_assert(behind && sscanf(behind,
                             ") %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s"
                             " %*s %*s %d",
                             &state, &threads) == 2);
  return state == 'Z' && threads <= 1;
}

Test(compile, a_worker_killed_while_idle_costs_no_job) {
  qp_compiler *c = open_fake(1, 0);
  for (int round = 0; round < 3; round++) {
    const pid_t pid = qp_compiler_worker_pid(c, 0);
    cr_assert(pid > 0);
    kill(pid, SIGKILL);
    while (!has_ended(pid)) continue; /* its end of the socket is closed then */
    expect_alive(c);
    cr_assert_neq(qp_compiler_worker_pid(c, 0), pid);
  }
  qp_compiler_close(c);
}

Test(compile, a_worker_killed_at_work_fails_that_job_and_the_others_go_on) {
  qp_compiler *c = open_fake(2, 0);
  qp_error err = {.text = ""};
  int victim = 0, others = 0;
  qp_compile_job hang = ptx_job("victim", "hang");
  hang.user = &victim;
  cr_assert_eq(qp_compiler_submit(c, &hang, &err), QP_OK);
  const pid_t pid = qp_compiler_worker_pid(c, 0); /* the first slot has been given the job */
  for (int i = 0; i < 20; i++) {
    qp_compile_job job = ptx_job("other", "text");
    job.user = &others;
    cr_assert_eq(qp_compiler_submit(c, &job, &err), QP_OK);
  }
  qp_compiled out;
  void *user;
  for (int i = 0; i < 20; i++) {
    cr_assert(qp_compiler_next(c, &out, &user));
    cr_assert_eq(user, &others);
    cr_assert_eq(out.status, QP_OK);
    qp_compiled_free(&out);
  }
  kill(pid, SIGKILL);
  cr_assert(qp_compiler_next(c, &out, &user));
  cr_assert_eq(user, &victim);
  cr_assert_eq(out.status, QP_E_COMPILE);
  cr_assert_not_null(strstr(out.log, "signal 9"), "%s", out.log);
  qp_compiled_free(&out);
  cr_assert_not(qp_compiler_next(c, &out, &user));
  qp_compiler_close(c);
}

Test(compile, sources_larger_than_a_socket_buffer_pass_whole) {
  qp_compiler *c = open_fake(1, 0);
  const size_t bytes = (size_t)5 << 20;
  char *source = malloc(bytes + 1);
  cr_assert_not_null(source);
  for (size_t i = 0; i < bytes; i++) source[i] = (char)('a' + i * 31 % 26);
  source[bytes] = 0;
  qp_compiled out = compile(c, ptx_job("large", source));
  cr_assert_eq(out.ptx_bytes, bytes);
  cr_assert_str_eq(out.ptx, source);
  qp_compiled_free(&out);
  free(source);
  qp_compiler_close(c);
}

Test(compile, workers_hold_no_descriptor_of_their_parent) {
  int pipes[2];
  cr_assert_eq(pipe(pipes), 0);
  qp_compiler *c = open_fake(1, 0);
  qp_compiled out = compile(c, ptx_job("files", "files"));
  cr_assert(atoi(out.ptx) <= 2, "%s descriptors", out.ptx); /* its socket and /dev/null */
  qp_compiled_free(&out);
  qp_compiler_close(c);
}

Test(compile, a_run_is_answered_while_many_results_wait) {
  qp_compiler *c = open_fake(2, 0);
  qp_error err = {.text = ""};
  enum { JOBS = 300 };
  for (int i = 0; i < JOBS; i++) {
    const qp_compile_job job = ptx_job("waiting", "text");
    cr_assert_eq(qp_compiler_submit(c, &job, &err), QP_OK);
    if (i % 100 == 99) expect_alive(c);
  }
  qp_compiled out;
  int count = 0;
  for (; qp_compiler_next(c, &out, NULL); count++) qp_compiled_free(&out);
  cr_assert_eq(count, JOBS);
  qp_compiler_close(c);
}

Test(compile, closing_does_not_wait_for_processes_forked_meanwhile) {
  int pipes[2];
  cr_assert_eq(pipe(pipes), 0);
  qp_compiler *c = open_fake(1, 0);
  expect_alive(c);
  const pid_t child = fork(); /* has all our descriptors, until the pipe is closed */
  if (child == 0) {
    char end;
    close(pipes[1]);
    _exit(read(pipes[0], &end, 1) == 0 ? 0 : 1);
  }
  qp_compiler_close(c);
  close(pipes[1]);
  int status = -1;
  cr_assert_eq(waitpid(child, &status, 0), child);
  cr_assert_eq(status, 0);
}

Test(compile, workers_end_when_their_parent_is_killed) {
  int pipes[2];
  cr_assert_eq(pipe(pipes), 0);
  const pid_t parent = fork();
  if (parent == 0) {
    qp_compiler *c = open_fake(2, 0);
    qp_error err = {.text = ""};
    const qp_compile_job job = ptx_job("k", "hang");
    if (qp_compiler_submit(c, &job, &err) != QP_OK) _exit(1);
    const pid_t pid = qp_compiler_worker_pid(c, 0);
    if (write(pipes[1], &pid, sizeof pid) != (ssize_t)sizeof pid) _exit(1);
    for (;;) pause();
  }
  pid_t worker = 0;
  cr_assert_eq(read(pipes[0], &worker, sizeof worker), (ssize_t)sizeof worker);
  cr_assert(worker > 0);
  cr_assert_eq(kill(worker, 0), 0);
  kill(parent, SIGKILL);
  cr_assert_eq(waitpid(parent, NULL, 0), parent);
  char path[64], state[512];
  snprintf(path, sizeof path, "/proc/%d/stat", (int)worker);
  for (;;) { /* gone, or a zombie that nobody has fetched yet */
    FILE *f = fopen(path, "r");
    if (!f) break;
    const char *line = fgets(state, sizeof state, f);
    fclose(f);
    if (!line || strstr(state, ") Z")) break;
    usleep(1000);
  }
}

Test(compile, is_not_opened_beside_threads) {
  qp_error err = {.text = ""};
  qp_compiler *c = NULL;
  qp_parallel *pool = NULL;
  cr_assert_eq(qp_parallel_open(2, &pool, &err), QP_OK);
  cr_expect_eq(qp_compiler_open(&uncached, &c, &err), QP_E_LIMIT);
  cr_expect_null(c);
  cr_expect(strstr(err.text, "beside 1 thread,"), "%s", err.text);
  qp_parallel_close(pool);
  c = open_compiler(&uncached);
  cr_assert_eq(qp_parallel_open(2, &pool, &err), QP_OK);
  qp_compiled r = compile(c, job_of("copy", copy_source, 90)); /* workers may come later */
  cr_expect_gt(r.cubin_bytes, 0);
  qp_compiled_free(&r);
  qp_parallel_close(pool);
  qp_compiler_close(c);
}
