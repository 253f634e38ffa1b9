/* SPDX-License-Identifier: MIT */
/*
** Runs the tests of a program one after the other, each in a process of its own, in the place of
** Criterion's library: with the thread sanitizer that does not start, since the sanitizer has the
** addresses that its memory should have.  What these tests call is here, and no more.
*/
#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern struct criterion_test *const __start_cr_tst[], *const __stop_cr_tst[];
extern struct criterion_suite *const __start_cr_sts[] __attribute__((weak));
extern struct criterion_suite *const __stop_cr_sts[] __attribute__((weak));

struct criterion_options criterion_options;
static const struct criterion_test *test; /* that this process is */
static bool failed;

static const struct criterion_test_extra_data *suite_of(const struct criterion_test *t) {
  static const struct criterion_test_extra_data none;
  for (struct criterion_suite *const *s = __start_cr_sts; s != __stop_cr_sts; s++)
    if (!strcmp((*s)->name, t->category)) return (*s)->data;
  return &none;
}

/* ---- What the macros of a test call ---- */

void criterion_internal_test_setup(void) {
  const struct criterion_test_extra_data *suite = suite_of(test);
  if (suite->init) suite->init();
  if (test->data->init) test->data->init();
}

void criterion_internal_test_main(void (*run)(void)) { run(); }

void criterion_internal_test_teardown(void) {
  const struct criterion_test_extra_data *suite = suite_of(test);
  if (test->data->fini) test->data->fini();
  if (suite->fini) suite->fini();
}

static _Noreturn void end(void) {
  criterion_internal_test_teardown();
  fflush(NULL);
  exit(failed);
}

void criterion_send_assert(struct criterion_assert_stats *s) {
  if (s->passed) return;
  failed = true;
  printf("%s:%u: %s\n", s->file, s->line, s->message ? s->message : "");
}

void criterion_abort_test(void) { end(); }
void criterion_continue_test(void) {}
void cri_asserts_passed_incr(void) {}

void criterion_skip_test(const char *format, ...) {
  printf("skipped: %s\n", format);
  end();
}

int cr_asprintf(char **out, const char *format, ...) {
  va_list args;
  va_start(args, format);
  const int n = vasprintf(out, format, args);
  va_end(args);
  return n;
}

void cr_asprintf_free(char *text) { free(text); }

/* The condition comes after the number of its sentence. */
char *cr_translate_assert_msg(int sentence, ...) {
  va_list args;
  va_start(args, sentence);
  char *text = strdup(va_arg(args, const char *));
  va_end(args);
  return text;
}

/* ---- The runner ---- */

static bool passes(const struct criterion_test *t) {
  int status = 0;
  fflush(NULL);
  const pid_t child = fork();
  if (child == 0) {
    test = t;
    t->test();
    fflush(NULL);
    exit(failed);
  }
  if (child < 0 || waitpid(child, &status, 0) != child) return false;
  if (WIFSIGNALED(status)) return WTERMSIG(status) == t->data->signal;
  return !t->data->signal && WEXITSTATUS(status) == t->data->exit_code;
}

int main(void) {
  unsigned count = 0, bad = 0;
  for (struct criterion_test *const *t = __start_cr_tst; t != __stop_cr_tst; t++) {
    if (!*t || (*t)->data->disabled) continue;
    count++;
    if (passes(*t)) continue;
    bad++;
    printf("FAIL %s::%s\n", (*t)->category, (*t)->name);
  }
  printf("%u tests, %u failed\n", count, bad);
  return bad || !count;
}
