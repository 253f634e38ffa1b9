/* SPDX-License-Identifier: MIT */
/* Options from a table: what is wrong is named with the option, the value and what would be
** right. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <stdio.h>
#include <string.h>

#include "tuner/base/options.h"

static const qp_verb_help help = {"try", "[options]", "Tries."};
static bool flag;
static const char *word = "plain";
static unsigned number = 3;
static double real;
static qp_shapes shapes;
static qp_repeats repeats;
static const qp_option table[] = {{"flag", QP_OPT_FLAG, &flag, NULL, "a flag", 0, 0},
                                  {"word", QP_OPT_STRING, &word, "WORD", "a word", 0, 0},
                                  {"number", QP_OPT_UNSIGNED, &number, "N", "a number", 1, 64},
                                  {"real", QP_OPT_REAL, &real, "S", "a real number", 0, 2},
                                  {"shape", QP_OPT_SHAPES, &shapes, "MxK,...", "shapes", 0, 0},
                                  {"again", QP_OPT_REPEATED, &repeats, "X", "may come again", 0, 0},
                                  {"o", QP_OPT_STRING, &word, "FILE", "a file", 0, 0},
                                  {0}};
static qp_words words;

/* Values point into what was parsed, so that is kept. */
static int parse(const char *a, const char *b) {
  static char verb[] = "try", kept[2][64];
  char *argv[] = {verb, kept[0], b ? kept[1] : NULL, NULL};
  snprintf(kept[0], sizeof kept[0], "%s", a);
  snprintf(kept[1], sizeof kept[1], "%s", b ? b : "");
  return qp_options_parse(&help, table, b ? 3 : 2, argv, &words);
}

Test(options, values_stand_behind_a_space_or_an_equals_sign) {
  cr_assert_eq(parse("--number", "64"), -1);
  cr_assert_eq(number, 64);
  cr_assert_eq(parse("--number=1", "--flag"), -1);
  cr_assert(number == 1 && flag);
  cr_assert_eq(parse("--real=0.25", NULL), -1);
  cr_assert_eq(real, 0.25);
  cr_assert_eq(parse("--word=a=b", "-o=c"), -1);
  cr_assert_str_eq(word, "c");
  cr_assert_eq(parse("--again=x", "--again=y"), -1);
  cr_assert(repeats.count == 2 && !strcmp(repeats.value[1], "y"));
  cr_assert_eq(words.count, 0);
}

Test(options, what_begins_without_a_dash_or_follows_two_is_a_word) {
  cr_assert_eq(parse("plain", "-"), -1);
  cr_assert_eq(parse("--", "--flag"), -1);
  cr_assert_not(flag);
  cr_assert_eq(words.count, 3);
  cr_assert_str_eq(words.word[2], "--flag");
}

/* Exit code 2, and on stderr every one of 'parts', separated by '|'. */
static void expect_wrong(const char *a, const char *b, const char *parts) {
  char list[256];
  cr_redirect_stderr();
  cr_assert_eq(parse(a, b), 2);
  fflush(stderr);
  FILE *f = cr_get_redirected_stderr();
  char text[1024];
  text[fread(text, 1, sizeof text - 1, f)] = 0;
  snprintf(list, sizeof list, "%s", parts);
  for (char *p = strtok(list, "|"); p; p = strtok(NULL, "|"))
    cr_assert(strstr(text, p), "'%s' is missing in: %s", p, text);
}

Test(options, a_number_out_of_range_is_named_with_the_range) {
  expect_wrong("--number", "65", "--number|'65'|from 1 to 64");
}
Test(options, a_number_below_the_range_is_refused) {
  expect_wrong("--number=0", NULL, "--number|'0'|from 1 to 64");
}
Test(options, a_negative_number_is_not_a_large_one) {
  expect_wrong("--number", "-1", "--number|'-1'|from 1 to 64");
}
Test(options, a_number_with_a_tail_is_refused) {
  expect_wrong("--number", "8x", "--number|'8x'|a number");
}
Test(options, a_real_number_is_above_0_and_in_range) {
  expect_wrong("--real", "2.5", "--real|'2.5'|above 0 and at most 2");
}
Test(options, a_real_number_is_a_number) {
  expect_wrong("--real", "nan", "--real|'nan'|above 0 and at most 2");
}
Test(options, a_shape_without_two_sizes_is_named) {
  expect_wrong("--shape", "4096", "--shape|'4096'|MxK");
}
Test(options, linears_of_one_launch_have_one_k) {
  expect_wrong("--shape", "64x64,64x32", "--shape|64x64,64x32|K must be equal (64, 32)");
}
Test(options, a_missing_value_is_asked_for) { expect_wrong("--word", NULL, "--word|WORD"); }
Test(options, a_flag_takes_no_value) { expect_wrong("--flag=yes", NULL, "--flag|'yes'|no value"); }
Test(options, an_unknown_option_is_named_with_where_help_is) {
  expect_wrong("--nothing-like-it", NULL, "'--nothing-like-it' is not known|qpal try --help");
}
Test(options, a_mistyped_option_is_guessed) {
  expect_wrong("--wor=x", NULL, "'--wor=x'|did you mean '--word'?");
}
Test(options, an_option_with_a_letter_too_many_is_guessed) {
  expect_wrong("--flags", NULL, "'--flags'|did you mean '--flag'?");
}

Test(options, quantities_have_units_and_the_first_is_meant_where_none_is_written) {
  static const qp_unit units[] = {{"s", 1}, {"m", 60}, {NULL, 0}};
  double v = 0;
  qp_error err;
  cr_assert(!qp_quantity_parse("budget", "1.5m", units, &v, &err) && v > 89.9 && v < 90.1);
  cr_assert(!qp_quantity_parse("budget", "7", units, &v, &err) && v > 6.9 && v < 7.1);
  static const char *const wrong[] = {"0", "-1s", "1y", "soon", "", "inf", "nan"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    cr_assert_eq(qp_quantity_parse("budget", wrong[i], units, &v, &err), QP_E_ARG, "%s", wrong[i]);
    cr_assert(strstr(err.text, "--budget") && strstr(err.text, wrong[i]) &&
                  strstr(err.text, "s, m"),
              "%s", err.text);
  }
}

Test(options, a_status_is_an_exit_code) {
  cr_assert_eq(qp_exit_code(QP_OK), 0);
  cr_assert_eq(qp_exit_code(QP_E_WRONG), 1);
  cr_assert_eq(qp_exit_code(QP_E_ARG), 2);
  cr_assert_eq(qp_exit_code(QP_E_DEVICE), 3);
  cr_assert_eq(qp_exit_code(QP_E_MISSING), 3);
}

/* ---- A verb, from its arguments to its exit code ---- */

static qp_status act(void *options, const qp_words *given, int *code, qp_error *err) {
  char list[8];
  *code = *(const int *)options;
  return given->count > 1 ? qp_words_list(given, list, sizeof list, err)
                          : qp_words_none(given, err);
}

static int run_verb(const char *a, const char *b, int code) {
  static char verb[] = "try", kept[2][64];
  char *argv[] = {verb, kept[0], b ? kept[1] : NULL, NULL};
  snprintf(kept[0], sizeof kept[0], "%s", a);
  snprintf(kept[1], sizeof kept[1], "%s", b ? b : "");
  return qp_verb_run(&help, table, b ? 3 : 2, argv, act, &code);
}

Test(options, no_name_in_a_complaint_begins_a_line) {
  qp_error err;
  char text[256];
  cr_redirect_stderr();
  qp_fail(&err, QP_E_ARG, "there is no '%s'", "a\nqpal v: PASS");
  cr_assert_eq(qp_complain("v", QP_E_ARG, &err), 2);
  fflush(stderr);
  text[fread(text, 1, sizeof text - 1, cr_get_redirected_stderr())] = 0;
  cr_assert_str_eq(text, "qpal v: there is no 'a\n  qpal v: PASS'\n");
}

Test(options, a_verb_ends_with_the_code_of_its_body_or_of_its_error) {
  cr_redirect_stderr();
  cr_assert_eq(run_verb("--flag", NULL, 0), 0);
  cr_assert_eq(run_verb("--flag", NULL, 3), 3);
  cr_assert_eq(run_verb("--flog", NULL, 0), 2);
  cr_assert_eq(run_verb("word", NULL, 0), 2, "no words are taken");
  cr_assert_eq(run_verb("abc", "def", 1), 1, "a list of 7 characters fits into 8 bytes");
  cr_assert_eq(run_verb("abc", "defg", 1), 2, "one of 8 does not");
}
