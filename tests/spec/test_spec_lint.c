/* SPDX-License-Identifier: MIT */
/* Lines of fields in the text of specs. */
#include "gen/spec/spec_lint.h"

#include <criterion/criterion.h>

Test(spec_lint, finds_the_line_of_a_field) {
  static const char text[] = "-- bits = 1\n"
                             "local t = { bits = 2 }\n"
                             "return { scalar {\n"
                             "  name = 'bits = 3', -- bits = 4\n"
                             "  codebook = values {\n"
                             "    bits = 5,\n"
                             "    1, 2 },\n"
                             "  bits = 6,\n"
                             "  group = g, decode = function (c) bits = 7 end }, scalar {\n"
                             "  dim = 1,\n"
                             "  group = { a = { size = 1 },\n"
                             "    size = 2 } } }\n";
  static const struct {
    int from;
    const char *path;
    int line;
  } fields[] = {
      {1, "bits", 8},          {3, "bits", 8},     {3, "codebook.bits", 6}, {3, "codebook.dim", 5},
      {3, "group.size", 9},    {3, "dim", 0},      {9, "dim", 10},          {9, "group.size", 12},
      {9, "group.a.size", 11}, {9, "group.b", 11}, {12, "dim", 0},          {99, "dim", 0},
  };
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    cr_expect_eq(qp_spec_find_field(text, fields[i].from, fields[i].path), fields[i].line,
                 "%s from line %d: %d", fields[i].path, fields[i].from,
                 qp_spec_find_field(text, fields[i].from, fields[i].path));
  }
  cr_expect_eq(qp_spec_find_field("scalar { a = {", 1, "a.b"), 1);
  cr_expect_eq(qp_spec_find_field("", 1, "a"), 0);
}
