/* SPDX-License-Identifier: MIT */
/* JSON read from front to back. */
#include <criterion/criterion.h>
#include <string.h>

#include "runtime/json_scan.h"

static qp_error err;

static qp_json_scan scan(const char *text) {
  qp_json_scan s;
  err.text[0] = 0;
  qp_json_scan_begin(&s, "t.json", text, strlen(text), &err);
  return s;
}

static qp_status skip_all(const char *text) {
  qp_json_scan s = scan(text);
  qp_status status = qp_json_scan_skip(&s, NULL, NULL);
  return status ? status : qp_json_scan_end(&s);
}

Test(json_scan, an_object_is_walked_member_by_member) {
  qp_json_scan s =
      scan(" {\"a\": [1, 22,18446744073709551615], \"b\":{\"c\":-1.5e2},\"d\":true}\n");
  char key[QP_JSON_SCAN_KEY];
  bool more, yes = false;
  uint64_t n[3], i = 0;
  double v = 0;
  cr_assert_eq(qp_json_scan_open(&s, '{'), QP_OK);
  cr_assert_eq(qp_json_scan_key(&s, key, &more), QP_OK);
  cr_assert(more);
  cr_assert_str_eq(key, "a");
  cr_assert_eq(qp_json_scan_open(&s, '['), QP_OK);
  while (!qp_json_scan_item(&s, &more) && more)
    cr_assert_eq(qp_json_scan_unsigned(&s, &n[i++]), QP_OK);
  cr_assert(i == 3 && n[0] == 1 && n[1] == 22 && n[2] == UINT64_MAX);
  cr_assert_eq(qp_json_scan_key(&s, key, &more), QP_OK);
  cr_assert_eq(qp_json_scan_open(&s, '{'), QP_OK);
  cr_assert_eq(qp_json_scan_key(&s, key, &more), QP_OK);
  cr_assert_str_eq(key, "c");
  cr_assert_eq(qp_json_scan_number(&s, &v), QP_OK);
  cr_assert_eq(v, -150.0);
  cr_assert_eq(qp_json_scan_key(&s, key, &more), QP_OK);
  cr_assert_not(more);
  cr_assert_eq(qp_json_scan_key(&s, key, &more), QP_OK);
  cr_assert_eq(qp_json_scan_boolean(&s, &yes), QP_OK);
  cr_assert(yes);
  cr_assert_eq(qp_json_scan_key(&s, key, &more), QP_OK);
  cr_assert_not(more);
  cr_assert_eq(qp_json_scan_end(&s), QP_OK);
}

Test(json_scan, escapes_become_utf8) {
  char text[64];
  qp_json_scan s = scan("\"a\\n\\\"\\/\\u00e9\\u20AC\\ud83d\\ude00\"");
  cr_assert_eq(qp_json_scan_text(&s, text, sizeof text), QP_OK, "%s", err.text);
  cr_assert_str_eq(text, "a\n\"/\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
}

Test(json_scan, a_string_that_does_not_fit_is_refused) {
  char text[4];
  qp_json_scan s = scan("\"abcd\"");
  cr_assert_eq(qp_json_scan_text(&s, text, sizeof text), QP_E_LIMIT);
  s = scan("\"abc\"");
  cr_assert_eq(qp_json_scan_text(&s, text, sizeof text), QP_OK);
  cr_assert_str_eq(text, "abc");
}

Test(json_scan, a_skipped_value_is_told_where_it_was) {
  const char *text = "[ {\"x\":[1,{}]} , 2]";
  qp_json_scan s = scan(text);
  bool more;
  size_t at, length;
  cr_assert_eq(qp_json_scan_open(&s, '['), QP_OK);
  cr_assert_eq(qp_json_scan_item(&s, &more), QP_OK);
  cr_assert_eq(qp_json_scan_skip(&s, &at, &length), QP_OK);
  cr_assert_eq(at, 2);
  cr_assert_eq(length, strlen("{\"x\":[1,{}]}"));
}

Test(json_scan, what_is_no_json_is_refused) {
  static const char *const wrong[] = {"",
                                      "{",
                                      "[1,]",
                                      "{\"a\":1,}",
                                      "{\"a\" 1}",
                                      "{a:1}",
                                      "[1 2]",
                                      "01",
                                      "1.",
                                      ".5",
                                      "-",
                                      "1e",
                                      "+1",
                                      "tru",
                                      "\"a",
                                      "\"\\x\"",
                                      "\"\\u12\"",
                                      "\"\\ud800\"",
                                      "\"\\ud800\\u0041\"",
                                      "\"\\u0000\"",
                                      "\"a\nb\"",
                                      "[1] 2",
                                      "nul",
                                      "[}",
                                      "{]",
                                      "nan",
                                      "+Infinity",
                                      "Infinit",
                                      "{\"a\":}",
                                      ",",
                                      "[,1]",
                                      "\"\\",
                                      "// c\n1"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    cr_assert_neq(skip_all(wrong[i]), QP_OK, "%s", wrong[i]);
    cr_assert(strncmp(err.text, "t.json:", 7) == 0, "%s: %s", wrong[i], err.text);
  }
}

Test(json_scan, what_is_json_is_taken) {
  static const char *const right[] = {"0",       "-0.5e+10",
                                      "[]",      "{}",
                                      "[[],{}]", "null",
                                      "\"\"",    " true ",
                                      "[0]",     "{\"\":{}}",
                                      "1E400",   "[1,\"a\",null,false,{\"k\":[2]}]",
                                      "NaN",     "[Infinity,-Infinity]"};
  for (size_t i = 0; i < sizeof right / sizeof *right; i++)
    cr_assert_eq(skip_all(right[i]), QP_OK, "%s: %s", right[i], err.text);
}

Test(json_scan, nesting_has_a_limit) {
  char text[2 * 40 + 1] = "";
  for (unsigned n = 32; n <= 33; n++) {
    memset(text, '[', n);
    memset(text + n, ']', n);
    text[2 * n] = 0;
    cr_assert_eq(skip_all(text), n == 32 ? QP_OK : QP_E_LIMIT);
  }
}

Test(json_scan, sizes_are_exact_or_refused) {
  static const char *const wrong[] = {"18446744073709551616", "-1", "1.0", "1e3", "\"1\"", "true"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    uint64_t v = 7;
    qp_json_scan s = scan(wrong[i]);
    cr_assert_eq(qp_json_scan_unsigned(&s, &v), QP_E_ARG, "%s", wrong[i]);
    cr_assert_eq(v, 7, "untouched");
  }
  double d;
  qp_json_scan s = scan("NaN");
  cr_assert_eq(qp_json_scan_number(&s, &d), QP_E_ARG);
  s = scan("1e999");
  cr_assert_eq(qp_json_scan_number(&s, &d), QP_E_ARG);
}

Test(json_scan, messages_name_line_and_column) {
  cr_assert_neq(skip_all("[1,\n  x]"), QP_OK);
  cr_assert(strstr(err.text, "t.json:2:3:"), "%s", err.text);
}
