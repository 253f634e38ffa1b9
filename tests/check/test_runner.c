/* SPDX-License-Identifier: MIT */
/* Runs of a check against kernels that hang, that leave the device in an error, and against
** signals. */
#include "tuner/check/runner.h"

#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tuner/base/session.h"

enum { CASES = 5, CULPRIT = 2 };
static const char fake[] = QP_BINARY_DIR "/libfake_cuda.so";
static qp_session session;
static qp_cases cases;
static qp_result result[CASES];
static size_t order[CASES], heard;
static qp_error err;

/* Five dequants that differ in their rows, so that one can be named. */
static void set_up(void) {
  setenv("QPAL_LIBCUDA", fake, 1);
  cr_assert_eq(qp_session_open(&session, &err), QP_OK, "%s", err.text);
  const qp_family *f = qp_families_find(session.families, "dequant");
  const qp_quantizer *q = NULL;
  cr_assert_eq(qp_palette_find(session.palette, "nuq-4", &q, &err), QP_OK, "%s", err.text);
  cases.list = calloc(CASES, sizeof *cases.list);
  cases.count = CASES;
  for (unsigned i = 0; i < CASES; i++) {
    qp_case *c = &cases.list[i];
    c->problem = (qp_problem){
        .op = f->op, .segments = 1, .columns = 64, .batch = 1, .arch = 90, .sm_count = 2};
    c->problem.segment[0].quantizer = q;
    c->problem.segment[0].rows = 16 * (i + 1);
    qp_choice_default(f, &c->choice);
  }
}

static void tear_down(void) {
  qp_cases_free(&cases);
  qp_session_close(&session);
}

TestSuite(runner, .init = set_up, .fini = tear_down);

static void hear(void *user, const qp_result *r) {
  (void)user;
  order[heard++] = r->index;
}

static void run(const char *device, bool fail_fast) {
  const qp_run_options opt = {.device = device,
                              .processes = 1,
                              .seed = 1,
                              .timeout_s = 1,
                              .fail_fast = fail_fast,
                              .what = "test",
                              .each = hear};
  cr_assert_eq(qp_run_cases(session.families, &opt, &cases, NULL, result, NULL, &err), QP_OK, "%s",
               err.text);
}

/* The fake driver runs nothing, so that every other kernel fails too, but for what it left. */
static void expect_only_the_culprit(const char *why) {
  cr_assert_eq(heard, CASES);
  for (size_t i = 0; i < CASES; i++) {
    cr_expect_eq(result[i].outcome, QP_OUTCOME_FAIL);
    if (i == CULPRIT)
      cr_expect(strstr(result[i].why, why), "%s", result[i].why);
    else
      cr_expect(strstr(result[i].why, "never written"), "case %zu: %s", i, result[i].why);
  }
}

Test(runner, a_kernel_that_hangs_is_one_failure) {
  setenv("FAKE_CUDA_HANG", "__m48nuq", 1);
  run("cuda:0", false);
  expect_only_the_culprit("not done after 1 s: it hangs");
}

Test(runner, a_kernel_that_leaves_the_device_in_an_error_is_one_failure) {
  setenv("FAKE_CUDA_STICKY", "__m48nuq", 1);
  run("cuda:0", false);
  expect_only_the_culprit("CUDA_ERROR_ILLEGAL_ADDRESS");
}

Test(runner, a_device_that_is_gone_for_good_ends_the_run_with_reasons) {
  setenv("FAKE_CUDA_STICKY", "__m", 1); /* every kernel */
  run("cuda:0", false);
  for (size_t i = 0; i < CASES; i++)
    cr_expect(strstr(result[i].why, "CUDA_ERROR_ILLEGAL_ADDRESS"), "%s", result[i].why);
}

Test(runner, stops_at_the_first_failure_when_asked) {
  run("cuda:0", true);
  cr_expect_eq(heard, 1);
  cr_expect_eq(result[order[0]].outcome, QP_OUTCOME_FAIL);
  cr_expect_eq(result[CASES - 1].outcome, QP_OUTCOME_LOST);
}

Test(runner, a_limit_of_the_family_is_skipped_with_the_reason) {
  qp_case *c = &cases.list[CULPRIT];
  c->problem.op = QP_OP_GEMM;
  c->problem.batch = 24;
  qp_choice_default(qp_families_find(session.families, "gemm_cuda"), &c->choice);
  run("cuda:0", false);
  cr_expect_eq(result[CULPRIT].outcome, QP_OUTCOME_SKIP, "%s", result[CULPRIT].why);
  cr_expect(strstr(result[CULPRIT].why, "at most 16 batch rows"), "%s", result[CULPRIT].why);
}

/* Nothing is proven wrong by it: the row says what was lacking, and the others are checked. */
Test(runner, a_kernel_beyond_the_device_s_memory_is_skipped_with_the_reason) {
  qp_case *c = &cases.list[CULPRIT];
  c->problem.segment[0].rows = 16384; /* W^ in fp16 alone takes 2 MiB */
  setenv("FAKE_CUDA_MEMORY", "1000000", 1);
  run("cuda:0", false);
  cr_expect_eq(result[CULPRIT].outcome, QP_OUTCOME_SKIP, "%s", result[CULPRIT].why);
  cr_expect(strstr(result[CULPRIT].why, "memory"), "%s", result[CULPRIT].why);
  for (size_t i = 0; i < CASES; i++)
    if (i != CULPRIT)
      cr_expect(strstr(result[i].why, "never written"), "case %zu: %s", i, result[i].why);
}

/* `qpal check --json` on the fake driver, where rotations hang; its standard output. */
static pid_t start_check(FILE **out) {
  int ends[2];
  cr_assert_eq(pipe(ends), 0);
  pid_t pid = fork();
  if (pid == 0) {
    setenv("FAKE_CUDA_HANG", "rotate", 1);
    dup2(ends[1], STDOUT_FILENO);
    close(ends[0]);
    close(ends[1]);
    if (!freopen("/dev/null", "w", stderr)) _exit(126);
    execl(QP_BINARY_DIR "/qpal", "qpal", "check", "nuq-4", "--few", "--device", "cuda:0", "--json",
          NULL);
    _exit(127);
  }
  close(ends[1]);
  *out = fdopen(ends[0], "r");
  return pid;
}

/* The first row, then the signal, then what else came. */
static size_t cut_after_a_row(int number, char *text, size_t size) {
  FILE *out;
  int status;
  const pid_t pid = start_check(&out);
  size_t n = 0;
  while (n + 2 < size && fgets(text + n, (int)(size - n), out)) {
    n += strlen(text + n);
    if (text[n - 1] == '\n' && strstr(text, "\"result\"")) break;
  }
  kill(pid, number);
  n += fread(text + n, 1, size - 1 - n, out);
  text[n] = 0;
  fclose(out);
  waitpid(pid, &status, 0);
  if (number != SIGKILL) cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 1);
  return n;
}

Test(runner, rows_are_kept_when_a_signal_cuts_the_run) {
  static char text[1 << 16];
  for (unsigned i = 0; i < 2; i++) {
    cut_after_a_row(i ? SIGTERM : SIGINT, text, sizeof text);
    cJSON *rows = cJSON_Parse(text);
    cr_assert(cJSON_IsArray(rows) && cJSON_GetArraySize(rows) >= 1, "%s", text);
    cJSON_Delete(rows);
  }
}

Test(runner, rows_are_kept_line_by_line_when_it_is_killed) {
  static char text[1 << 16];
  cut_after_a_row(SIGKILL, text, sizeof text);
  char *row = strstr(text, "\n{"), *end = strchr(row ? row + 1 : text, '\n');
  cr_assert(row && end, "%s", text);
  *end = 0;
  if (end[-1] == ',') end[-1] = 0;
  cJSON *object = cJSON_Parse(row + 1);
  cr_expect(cJSON_IsObject(object), "%s", row + 1);
  cJSON_Delete(object);
}
