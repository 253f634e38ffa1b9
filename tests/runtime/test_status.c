/* SPDX-License-Identifier: MIT */
/* Messages, which carry names from files of others. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

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

Test(status, a_text_that_grows_over_its_room_is_cut) {
  cr_assert_str_eq(plain("ab\x1b", 7), "ab\\x1b");
  cr_assert_str_eq(plain("ab\x1b", 6), "ab");
  cr_assert_str_eq(plain("ab\x1b"
                         "cdef",
                         9),
                   "ab\\x1b"
                   "cd");
  cr_assert_str_eq(plain("\xc2", 2), "\xc2", "half a letter");
}
