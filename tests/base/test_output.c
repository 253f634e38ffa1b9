/* SPDX-License-Identifier: MIT */
/* Tables and JSON as the verbs print them. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tuner/base/output.h"

static const qp_column column[] = {{"name", false}, {"us", true}, {"note", false}, {NULL, false}};

/* Two rows printed, as they arrive on stdout. */
static const char *print(bool json) {
  static char text[2048];
  cr_redirect_stdout();
  qp_table_out *t = qp_table_new(column, json);
  qp_table_row(t);
  qp_table_text(t, "\xc2\xb5");
  qp_table_number(t, 12.345, "%.2f");
  qp_table_text(t, "quote \" it\n\x1b");
  qp_table_row(t);
  qp_table_text(t, "longer");
  qp_table_number(t, NAN, "%.2f");
  qp_table_text(t, "");
  qp_table_text(t, "one too many");
  qp_table_print(t);
  fflush(stdout);
  FILE *f = cr_get_redirected_stdout();
  text[fread(text, 1, sizeof text - 1, f)] = 0;
  return text;
}

Test(output, columns_are_aligned_by_characters_and_what_is_no_number_is_a_dash) {
  cr_assert_str_eq(print(false), "name       us  note\n"
                                 "\xc2\xb5       12.35  quote \" it\\x0a\\x1b\n"
                                 "longer      -  \n");
}

Test(output, json_has_an_object_a_row_and_null_for_what_is_no_number) {
  const char *text = print(true);
  cr_assert(text[0] == '[' && strstr(text, "\"us\":\t12.345") && strstr(text, "\"us\":\tnull") &&
                strstr(text, "quote \\\" it"),
            "%s", text);
  cr_assert_not(strstr(text, "too many"));
}

/* A log gets whole lines, seldom; a quick run none. */
Test(output, progress_without_a_terminal_is_a_line_now_and_then) {
  qp_progress p;
  char text[512];
  cr_redirect_stderr();
  qp_progress_begin(&p, "quantize", 200);
  qp_progress_show(&p, 10, "now");
  p.started -= 6; /* as if it had begun so long ago */
  qp_progress_show(&p, 0, "0 weights/s");
  p.drawn -= 11;
  qp_progress_show(&p, 50, "50 weights/s");
  qp_progress_show(&p, 60, "60 weights/s");
  p.drawn -= 11;
  setenv("QPAL_STEP", "[2/3] ", 1); /* as qpal make tells a step of its own */
  qp_progress_show(&p, 100, "70 weights/s");
  unsetenv("QPAL_STEP");
  p.drawn -= 11;
  p.total = 1000; /* what is not done is not 100 % */
  qp_progress_show(&p, 999, "1 weight/s");
  qp_progress_end(&p);
  fflush(stderr);
  FILE *f = cr_get_redirected_stderr();
  text[fread(text, 1, sizeof text - 1, f)] = 0;
  cr_assert_str_eq(text, "quantize: 0 %, begun 6 s ago\n"
                         "quantize: 25 %, 18 s left  50 weights/s\n"
                         "[2/3] quantize: 50 %, 6 s left  70 weights/s\n"
                         "quantize: 99 %, 0 s left  1 weight/s\n");
}
