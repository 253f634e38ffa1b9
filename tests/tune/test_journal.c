/* SPDX-License-Identifier: MIT */
/* Journals of tuning runs: what a run that was killed finds again. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tuner/tune/journal.h"

static qp_error err;
static char file[64];
static const qp_journal_stamp stamp = {.gpu = "Some GPU", .driver = "580", .timer = "CUPTI 13.0"};

static void begin(void) {
  snprintf(file, sizeof file, "/tmp/qpal_journal_%d/run.journal", (int)getpid());
}

static void end(void) {
  char folder[64];
  snprintf(folder, sizeof folder, "/tmp/qpal_journal_%d", (int)getpid());
  unlink(file);
  rmdir(folder);
}
TestSuite(journal, .init = begin, .fini = end);

static qp_record record_of(const char *kernel, const char *tunables, int64_t ps) {
  qp_record r = {.segments = 1,
                 .segment = {{.rows = 64, .quantizer = "q-3", .hash = "ab"}},
                 .columns = 64,
                 .batch = 1,
                 .arch = 90,
                 .sm_count = 132,
                 .ps = ps,
                 .samples = 20};
  snprintf(r.kernel, sizeof r.kernel, "%s", kernel);
  snprintf(r.tunables, sizeof r.tunables, "%s", tunables);
  snprintf(r.op, sizeof r.op, "gemm");
  snprintf(r.family, sizeof r.family, "gemm_tensor");
  snprintf(r.type, sizeof r.type, "f16");
  snprintf(r.out_type, sizeof r.out_type, "f16");
  snprintf(r.generator, sizeof r.generator, "00");
  snprintf(r.code, sizeof r.code, "12ab");
  snprintf(r.gpu, sizeof r.gpu, "Some GPU");
  snprintf(r.driver, sizeof r.driver, "580");
  snprintf(r.nvrtc, sizeof r.nvrtc, "13");
  snprintf(r.timer, sizeof r.timer, "CUPTI 13.0");
  snprintf(r.date, sizeof r.date, "2026-01-01T00:00:00Z");
  return r;
}

static qp_journal *open_it(void) {
  qp_journal *j = NULL;
  cr_assert_eq(qp_journal_open(file, &stamp, &j, &err), QP_OK, "%s", err.text);
  return j;
}

static void refuses(const char *part) {
  qp_journal *j = NULL;
  cr_assert_neq(qp_journal_open(file, &stamp, &j, &err), QP_OK);
  cr_assert_null(j);
  cr_assert(strstr(err.text, part), "'%s' is missing in: %s", part, err.text);
}

static void append(const char *text) {
  FILE *f = fopen(file, "ab");
  cr_assert(f);
  fputs(text, f);
  fclose(f);
}

static void keep(qp_journal *j, const qp_record *r) {
  cr_assert_eq(qp_journal_begin(j, r->kernel, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_journal_end(j, r, &err), QP_OK, "%s", err.text);
}

Test(journal, a_later_run_finds_what_an_earlier_one_measured) {
  const qp_record a = record_of("a", "warps=8", 100), b = record_of("b", "warps=8", 200);
  qp_journal *j = open_it();
  cr_assert_eq(qp_journal_count(j), 0);
  keep(j, &a);
  keep(j, &b);
  cr_assert_null(qp_journal_find(j, &a), "only of earlier runs");
  qp_journal_close(j, false);
  j = open_it();
  cr_assert_eq(qp_journal_count(j), 2);
  cr_assert_eq(qp_journal_find(j, &a)->ps, 100);
  cr_assert_str_eq(qp_journal_find(j, &b)->code, "12ab");
  cr_assert_eq(qp_journal_lost(j, "a"), 0);
  qp_record other = a;
  snprintf(other.generator, sizeof other.generator, "01");
  cr_assert_null(qp_journal_find(j, &other), "another source is another candidate");
  qp_journal_close(j, false);
}

Test(journal, candidates_that_have_one_kernel_are_kept_apart) {
  const qp_record a = record_of("a", "runs=0", 100);
  qp_record b = record_of("a", "runs=2", 0);
  b.outcome = QP_RECORD_DUPLICATE;
  qp_journal *j = open_it();
  keep(j, &a);
  keep(j, &b);
  qp_journal_close(j, false);
  j = open_it();
  cr_assert_eq(qp_journal_find(j, &a)->outcome, QP_RECORD_OK);
  cr_assert_eq(qp_journal_find(j, &b)->outcome, QP_RECORD_DUPLICATE);
  qp_journal_close(j, false);
}

Test(journal, of_several_records_of_a_candidate_the_last_counts) {
  const qp_record screened = record_of("a", "", 100), final = record_of("a", "", 90);
  qp_journal *j = open_it();
  keep(j, &screened);
  keep(j, &final);
  qp_journal_close(j, false);
  j = open_it();
  cr_assert_eq(qp_journal_find(j, &final)->ps, 90);
  qp_journal_close(j, false);
}

/* Another start of the machine: the journal's lines are from the one before. */
static void restart_machine(void) {
  char command[256];
  snprintf(command, sizeof command, "sed -i 's/\"boot\":\"[^\"]*/\"boot\":\"before/' '%s'", file);
  cr_assert_eq(system(command), 0);
}

Test(journal, what_a_machine_went_down_with_is_counted) {
  const qp_record a = record_of("a", "", 100);
  for (unsigned times = 0; times < 3; times++) {
    qp_journal *j = open_it();
    cr_assert_eq(qp_journal_lost(j, "a"), times ? 1 : 0, "the lines are of one start by now");
    cr_assert_eq(qp_journal_begin(j, "a", &err), QP_OK);
    qp_journal_close(j, false);
    restart_machine();
  }
  qp_journal *j = open_it();
  keep(j, &a);
  qp_journal_close(j, false);
  j = open_it();
  cr_assert_eq(qp_journal_lost(j, "a"), 0, "it ended at last");
  qp_journal_close(j, false);
}

Test(journal, a_kernel_that_several_starts_of_the_machine_ended_with_counts_each) {
  qp_journal *j = open_it();
  cr_assert_eq(qp_journal_begin(j, "a", &err), QP_OK);
  qp_journal_close(j, false);
  restart_machine();
  j = open_it();
  cr_assert_eq(qp_journal_begin(j, "a", &err), QP_OK);
  qp_journal_close(j, false);
  FILE *f = fopen(file, "a");
  fputs("{\"begin\":\"a\",\"boot\":\"between\"}\n", f);
  fclose(f);
  j = open_it();
  cr_assert_eq(qp_journal_lost(j, "a"), 3);
  qp_journal_close(j, false);
}

/* The best candidate was given up that way, once. */
Test(journal, runs_that_were_stopped_or_killed_say_nothing_about_the_candidate) {
  for (unsigned times = 0; times < 4; times++) {
    qp_journal *j = open_it();
    cr_assert_eq(qp_journal_lost(j, "a"), 0);
    cr_assert_eq(qp_journal_begin(j, "a", &err), QP_OK);
    qp_journal_close(j, false);
  }
  FILE *f = fopen(file, "a");
  fputs("{\"begin\":\"b\"}\n{\"begin\":\"b\"}\n", f);
  fclose(f);
  qp_journal *j = open_it();
  cr_assert_eq(qp_journal_lost(j, "b"), 0, "of a version that did not say");
  qp_journal_close(j, false);
}

Test(journal, a_process_that_is_killed_loses_the_candidate_in_flight_only) {
  const qp_record a = record_of("a", "", 100);
  const pid_t pid = fork();
  if (!pid) {
    qp_journal *j = NULL;
    if (qp_journal_open(file, &stamp, &j, &err)) _exit(1);
    if (qp_journal_begin(j, "a", &err) || qp_journal_end(j, &a, &err)) _exit(1);
    if (qp_journal_begin(j, "b", &err)) _exit(1);
    raise(SIGKILL);
  }
  int status;
  waitpid(pid, &status, 0);
  cr_assert(WIFSIGNALED(status));
  qp_journal *j = open_it();
  cr_assert_eq(qp_journal_count(j), 1);
  cr_assert_eq(qp_journal_find(j, &a)->ps, 100);
  cr_assert_eq(qp_journal_lost(j, "b"), 0, "a kill from outside says nothing about b");
  qp_journal_close(j, false);
  restart_machine();
  j = open_it();
  cr_assert_eq(qp_journal_lost(j, "b"), 1, "the machine went down with it");
  qp_journal_close(j, false);
}

Test(journal, a_torn_last_line_is_dropped_and_the_next_line_is_whole) {
  const qp_record a = record_of("a", "", 100), b = record_of("b", "", 200);
  qp_journal *j = open_it();
  keep(j, &a);
  qp_journal_close(j, false);
  append("{\"kernel\":\"b\",\"segm");
  j = open_it();
  cr_assert_eq(qp_journal_count(j), 1);
  keep(j, &b);
  qp_journal_close(j, false);
  j = open_it();
  cr_assert_eq(qp_journal_count(j), 2);
  cr_assert_eq(qp_journal_find(j, &b)->ps, 200);
  qp_journal_close(j, false);
}

Test(journal, a_first_line_that_is_torn_begins_again) {
  qp_journal_close(open_it(), false);
  cr_assert_eq(truncate(file, 10), 0);
  qp_journal *j = open_it();
  cr_assert_eq(qp_journal_count(j), 0);
  qp_journal_close(j, false);
  qp_journal_close(open_it(), false);
}

Test(journal, damage_before_the_last_line_is_named_with_its_line) {
  qp_journal_close(open_it(), false);
  append("{\"begin\":\"a\"}\nnonsense\n{\"begin\":\"b\"}\n");
  refuses("run.journal:3");
}

Test(journal, the_journal_of_another_gpu_driver_or_timer_is_refused) {
  static const qp_journal_stamp others[] = {{"Other GPU", "580", "CUPTI 13.0"},
                                            {"Some GPU", "570", "CUPTI 13.0"},
                                            {"Some GPU", "580", "events"}};
  static const char *const fields[] = {"'gpu'", "'driver'", "'timer'"};
  for (size_t i = 0; i < 3; i++) {
    qp_journal *j = NULL;
    cr_assert_eq(qp_journal_open(file, &others[i], &j, &err), QP_OK, "%s", err.text);
    qp_journal_close(j, false);
    refuses(fields[i]);
    cr_assert_eq(access(file, F_OK), 0, "it is not touched");
    unlink(file);
  }
}

Test(journal, a_file_that_is_no_journal_is_refused_and_left_alone) {
  qp_journal_close(open_it(), true);
  append("{\"schema\":\"qpal-records\",\"version\":1,\"gpu\":\"Some GPU\"}\n");
  struct stat before, after;
  cr_assert_eq(stat(file, &before), 0);
  refuses("'journal'");
  cr_assert_eq(stat(file, &after), 0);
  cr_assert_eq(before.st_size, after.st_size);
}

Test(journal, one_run_at_a_time_holds_it) {
  qp_journal *j = open_it();
  refuses("another run holds it");
  qp_journal_close(j, false);
  qp_journal_close(open_it(), false);
}

Test(journal, a_run_that_is_done_removes_it) {
  qp_journal_close(open_it(), true);
  cr_assert_neq(access(file, F_OK), 0);
}

Test(journal, a_place_that_cannot_be_written_is_named) {
  qp_journal *j = NULL;
  cr_assert_eq(qp_journal_open("/proc/none/run.journal", &stamp, &j, &err), QP_E_IO);
  cr_assert(strstr(err.text, "/proc/none/run.journal"));
}
