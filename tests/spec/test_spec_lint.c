/* SPDX-License-Identifier: MIT */
/* Conditions on values in the text of decode functions. */
#include "gen/spec/spec_lint.h"

#include <criterion/criterion.h>

static int line;
static char found[64];

static bool find(const char *text) {
  line = -1;
  found[0] = 0;
  return qp_spec_find_condition(text, &line, found, sizeof found);
}

Test(spec_lint, finds_conditions_on_the_state_and_on_comparisons) {
  static const char *const conditions[][2] = {
      {"function (s)\n if lt(s, 3) then end end", "if lt(s, 3)"},
      {"decode = function (s)\n while eq(f(s), 3) do end end", "while eq(f(s), 3)"},
      {"function (s)\n return not lt(s, 3) end", "not lt(s, 3)"},
      {"function (s)\n return eq(s, (1 + 2)) == 1 end", "eq(s, (1 + 2)) == 1"},
      {"function (code, b)\n return code ~= 3 end", "code ~= 3"},
      {"function (code, b)\n return 3 == code end", "== code"},
      {"local function d(x)\n if x then end end", "if x"},
      {"function d(x)\n while x and y do end end", "while x"},
      {"function (s) local a = lt(s, 3)\n if a then end end", "if a"},
      {"function (s) local a, b = s >> 1, s & 1\n return b == 1 end", "b == 1"},
      {"function (s) local a = s + 1 local b = a * 2\n return not b and 1 end", "not b"},
      {"function (s, k) local a = k[0]\n if a ~= 1 then end end", "a ~= 1"},
      {"function (s, k, g) local z = g.zero - 8\n return 0 == z end", "== z"},
  };
  for (size_t i = 0; i < sizeof conditions / sizeof *conditions; i++) {
    cr_expect(find(conditions[i][0]), "%s", conditions[i][0]);
    cr_expect_str_eq(found, conditions[i][1]);
    cr_expect_eq(line, 1);
  }
}

Test(spec_lint, leaves_everything_else_alone) {
  static const char *const fine[] = {
      "function (s) -- if lt(s, 3) then\n return s end",
      "function (s) --[[ if lt(s, 3) then\n s == 3 ]] return s end",
      "function (s) local x = 's == 3' .. \"a\\\"s == 3\" .. [[s == 3]] return x end",
      "function (s) if t.s == 3 then return t:lt(3) == 1 end end",
      "function (s) for i = 1, 8 do if i == 3 then s = s + i end end end",
      "function (s) return select(lt(s, 3), eq(s, 1), s) end",
      "function (s) ss = 1 if ss == 1 or bits == 3 then return s end end",
      "function (s, k, g) if g then return s end end",
      "function (s, k) local n = #k if n == 3 then return s end end",
      "function (s) local a = 3 if a == 3 then return s end end",
      "function (s) local a = { s } if a == nil then return s end end",
      "function (s) local a = type(s) if a == 'word' then return s end end",
      "function (s) local a = s\n local a = 3 if a == 3 then return s end end",
      "function (s) local a = 3\n s = s + 1 if a == 3 then return s end end",
      "function () return lt end",
      "function (s",
      "function",
      "",
  };
  for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
    cr_expect_not(find(fine[i]), "%s: %s", fine[i], found);
  }
}

Test(spec_lint, cuts_what_is_long_and_ends_at_the_end) {
  char small[8];
  cr_expect(qp_spec_find_condition("function (s) return s == 12345678 end", &line, small, 8));
  cr_expect_str_eq(small, "s == 12");
  cr_expect_not(find("function (s) if lt(s, 3"));
  cr_expect_not(find("function (s) --[[ s == 3"));
  cr_expect_not(find("function (s) 's == 3"));
  cr_expect(find("function (s) s =="));
}

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
