/* SPDX-License-Identifier: MIT */
/* Calls around what decides in the text of specs. */
#include "gen/spec/spec_guard.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/resource.h"

#define HEAD "local _condition, _equal, _unequal = _guards() "

static void expect_text(const char *text, const char *wanted) {
  char *got = qp_spec_guard(text);
  cr_assert_not_null(got);
  cr_expect_str_eq(got, wanted);
  free(got);
}

Test(spec_guard, conditions_and_comparisons_become_calls) {
  static const char *const cases[][2] = {
      {"if lt(s, 3) then end", "if _condition(lt(s, 3),\"if lt(s, 3)\") then end"},
      {"if a then elseif b[1] then else end",
       "if _condition(a,\"if a\") then elseif _condition(b[1],\"elseif b[1]\") then else end"},
      {"while f() do end", "while _condition(f(),\"while f()\") do end"},
      {"repeat local x <const> = 1 until x",
       "repeat local x <const> = 1 until _condition(x,\"until x\")"},
      {"return not -x ^ 2", "return not _condition(-x ^ 2,\"not -x ^ 2\")"},
      {"return s>>3==1 and -1 or 1",
       "return _condition(_equal(s>>3,1,\"s>>3==1\"),\"s>>3==1 and\") and -1 or 1"},
      {"return 1 == a + b * c", "return _equal(1 , a + b * c,\"1 == a + b * c\")"},
      {"return a ~= b == c", "return _equal(_unequal(a , b,\"a ~= b\") , c,\"a ~= b == c\")"},
      {"f { x = a == 1, [b == 2] = 3; \"c\" }",
       "f { x = _equal(a , 1,\"a == 1\"), [_equal(b , 2,\"b == 2\")] = 3; \"c\" }"},
      {"local function f(a, ...) return a.b:c 'x' == [[\n\"]] end",
       "local function f(a, ...) return _equal(a.b:c 'x' , [[\n\"]],\"a.b:c 'x' == [[ \\\"]]\") "
       "end"},
      {"for i = 1, 3 do t[i] = i == 2 end", "for i = 1, 3 do t[i] = _equal(i , 2,\"i == 2\") end"},
      {"function m.f:g() goto e ::e:: ; return end x = 0x.8p+1 .. 3e-2 == y",
       "function m.f:g() goto e ::e:: ; return end "
       "x = _equal(0x.8p+1 .. 3e-2 , y,\"0x.8p+1 .. 3e-2 == y\")"},
  };
  char wanted[512];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    snprintf(wanted, sizeof wanted, HEAD "%s", cases[i][1]);
    expect_text(cases[i][0], wanted);
  }
}

Test(spec_guard, what_is_long_is_cut_and_lines_stay) {
  expect_text("return a ==\n  bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
              HEAD "return _equal(a ,\n  "
                   "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb,"
                   "\"a == bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb...\")");
}

Test(spec_guard, everything_else_stays_as_it_is) {
  static const char *const same[] = {
      "return a or b",
      "x = y -- if a == b then",
      "--[==[ a == b ]==] f '== \\' =='",
      "",
      "-- only",
      "if a then" /* no Lua: Lua says why */,
      "return a == )",
      "a == b",
      "return 1 = 2",
      "x = ((((",
      "local function = 3",
  };
  for (size_t i = 0; i < sizeof same / sizeof *same; i++) expect_text(same[i], same[i]);
}

Test(spec_guard, depth_is_limited) {
  char text[4096] = "return 1 == ";
  memset(text + strlen(text), '(', 2000);
  expect_text(text, text);
}

static void expect_read(const char *path, void *count) {
  const char *text, *end = strrchr(path, '.');
  size_t bytes;
  qp_error err;
  if (!end || strcmp(end, ".lua") != 0) return;
  cr_assert_eq(qp_resource_read(path, &text, &bytes, &err), QP_OK, "%s", err.text);
  const size_t size = bytes + 64;
  char *with = malloc(size);
  snprintf(with, size, "local _ = 1 == 2 %.*s", (int)bytes, text);
  char *got = qp_spec_guard(with);
  cr_expect(got && strstr(got, "_equal(1 , 2,"), "%s", path);
  free(got);
  free(with);
  ++*(unsigned *)count;
}

Test(spec_guard, reads_all_files_of_the_palette) {
  unsigned count = 0;
  qp_resource_each("lua/quantizers/", expect_read, &count);
  qp_resource_each("lua/families/", expect_read, &count);
  cr_expect_gt(count, 40);
}
