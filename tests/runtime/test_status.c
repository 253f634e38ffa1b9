/* SPDX-License-Identifier: MIT */
/* Messages, which carry names from files of others. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/printable.h"
#include "runtime/status.h"

static const char *plain(const char *text, size_t size) {
  static char out[64];
  memset(out, '#', sizeof out);
  memcpy(out, text, strlen(text) + 1);
  qp_text_plain(out, size);
  cr_assert_lt(strlen(out), size);
  return out;
}

Test(status, control_characters_of_names_are_shown_and_not_obeyed) {
  qp_error err = {{0}};
  cr_assert_str_eq(plain("a\x1b[2Jb\x07\x7f\r", 64), "a\\x1b[2Jb\\x07\\x7f\\x0d");
  cr_assert_str_eq(plain("\xc2\x9bm \xc3\xa9 \xe2\x82\xac\n\t", 64),
                   "\\x9bm \xc3\xa9 \xe2\x82\xac\n\t", "letters, newlines and tabs stay");
  qp_fail(&err, QP_E_ARG, "tensor '%s'", "x\x1by");
  cr_assert_str_eq(err.text, "tensor 'x\\x1by'");
  qp_fail_prefix(&err, QP_E_ARG, "%s", "f\x1b");
  cr_assert_str_eq(err.text, "f\\x1b: tensor 'x\\x1by'");
}

Test(status, names_are_one_line) {
  char name[32] = "a\nqpal: PASS\t\x1b \xc3\xa9";
  qp_printable(name, sizeof name, false);
  cr_assert_str_eq(name, "a\\x0aqpal: PASS\\x09\\x1b \xc3\xa9");
}

Test(status, a_text_that_grows_over_its_room_is_cut) {
  cr_assert_str_eq(plain("ab\x1b", 7), "ab\\x1b");
  cr_assert_str_eq(plain("ab\x1b", 6), "ab");
  cr_assert_str_eq(plain("ab\x1b"
                         "cdef",
                         9),
                   "ab\\x1b"
                   "cd");
  /* On purpose. NOLINTBEGIN(misc-misleading-bidirectional) */
  cr_assert_str_eq(plain("ab\xe2\x80\xae", 9), "ab\\u202e");
  cr_assert_str_eq(plain("ab\xe2\x80\xae", 8), "ab");
  /* NOLINTEND(misc-misleading-bidirectional) */
}

Test(status, characters_that_mislead_and_bytes_that_are_none_are_shown) {
  /* On purpose. NOLINTNEXTLINE(misc-misleading-bidirectional) */
  cr_assert_str_eq(plain("a\xe2\x80\xae"
                         "b\xe2\x81\xa6\xe2\x80\xa8\xef\xbb\xbf\xd8\x9c",
                         64),
                   "a\\u202eb\\u2066\\u2028\\ufeff\\u061c");
  cr_assert_str_eq(plain("\xc3\x9f \xe4\xb8\xad \xf0\x9f\x98\x80 \xe2\x80\x93", 64),
                   "\xc3\x9f \xe4\xb8\xad \xf0\x9f\x98\x80 \xe2\x80\x93", "letters stay");
  cr_assert_str_eq(plain("\x9b"
                         "a\xe9t\xe2\x82",
                         64),
                   "\\x9ba\\xe9t\\xe2\\x82", "no UTF-8");
  cr_assert_str_eq(plain("\xc0\x9b\xe0\x82\x9b\xed\xa0\x80", 64),
                   "\\xc0\\x9b\\xe0\\x82\\x9b\\xed\\xa0\\x80", "too long, half of a pair");
  cr_assert_str_eq(plain("\xc2", 2), "", "half a letter, and no room to show it");
}
