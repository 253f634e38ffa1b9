/* SPDX-License-Identifier: MIT */
/* Suggestions for names that are not known. */
#include "gen/base/suggest.h"

#include <criterion/criterion.h>

static const char *const names[] = {"window", "dim", NULL, "step", "tcq-2.5", "tcq-3"};

static const char *nearest(const char *word) {
  return qp_suggest(word, names, sizeof names / sizeof *names);
}

Test(suggest, finds_a_name_with_a_slip) {
  cr_expect_str_eq(nearest("windw"), "window");
  cr_expect_str_eq(nearest("widnow"), "window");
  cr_expect_str_eq(nearest("stepp"), "step");
  cr_expect_str_eq(nearest("din"), "dim");
  cr_expect_str_eq(nearest("window"), "window");
}

Test(suggest, takes_the_nearest_and_of_equals_the_first) {
  cr_expect_str_eq(nearest("tcq-2"), "tcq-3");
  static const char *const equals[] = {"ab", "ac"};
  cr_expect_str_eq(qp_suggest("ad", equals, 2), "ab");
}

Test(suggest, says_nothing_where_nothing_is_near) {
  cr_expect_null(nearest("codebook"));
  cr_expect_null(nearest("xy"));
  cr_expect_null(nearest(""));
  cr_expect_null(qp_suggest("dim", names, 0));
  cr_expect_null(nearest("a word that is longer than any name could be, since names have less than "
                         "sixty-four letters"));
}
