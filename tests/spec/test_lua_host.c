/* SPDX-License-Identifier: MIT */
/* The Lua sandbox: what it keeps out, its limits, its messages, reading and calling. */
#include "gen/spec/lua_host.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/spec/lua_state.h"

static qp_error error;

/* Run a chunk without a prelude in a small state; the caller closes *l. */
static qp_status run_with(qp_lua **l, const char *text, qp_lua_ref *v) {
  const qp_lua_limits limits = {.memory_bytes = 4 << 20, .instructions = 3000000};
  *v = 0;
  error.text[0] = 0;
  cr_assert_eq(qp_lua_open(&limits, l, &error), QP_OK);
  return qp_lua_run(*l, NULL, "my.lua", text, strlen(text), v, &error);
}

static qp_status run_only(const char *text) {
  qp_lua *l = NULL;
  qp_lua_ref v;
  const qp_status status = run_with(&l, text, &v);
  qp_lua_close(l);
  return status;
}

static void expect_error(const char *text, qp_status status, const char *message) {
  cr_expect_eq(run_only(text), status, "'%s' gives %s", text, error.text);
  cr_expect(strstr(error.text, message), "'%s' says '%s', not '%s'", text, error.text, message);
}

Test(lua_host, keeps_files_processes_modules_and_metatables_out) {
  static const char *const absent[] = {"io",
                                       "os",
                                       "require",
                                       "package",
                                       "debug",
                                       "dofile",
                                       "loadfile",
                                       "load",
                                       "collectgarbage",
                                       "coroutine",
                                       "pcall",
                                       "xpcall",
                                       "rawset",
                                       "setmetatable",
                                       "getmetatable",
                                       "print",
                                       "rawget",
                                       "string.dump",
                                       "warn",
                                       "math.random",
                                       "_G",
                                       "math.randomseed"};
  for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
    char text[128];
    snprintf(text, sizeof text, "if %s ~= nil then error('there') end", absent[i]);
    cr_expect_eq(run_only(text), QP_OK, "%s: %s", absent[i], error.text);
  }
}

Test(lua_host, keeps_the_useful_libraries) {
  cr_expect_eq(run_only("assert(string.format('%d', 3) == '3' and ('x'):rep(3) == 'xxx')\n"
                        "assert(table.concat({1, 2}, ',') == '1,2' and math.floor(2.5) == 2)\n"
                        "assert(utf8.char(228) == 'ä' and select('#', 1, 2) == 2)\n"
                        "local t = {3, 1, 2} table.sort(t) assert(t[1] == 1)\n"
                        "assert(('a-b'):match('(%a)-') == 'a' and next({}) == nil)\n"
                        "local f, r = ('tcq-3.5'):match('^([%w_-]+)%-(%d+%.?%d*)$')\n"
                        "assert(f == 'tcq' and r == '3.5')\n"
                        "assert(('a text of some length, to look into'):find('%s+into%s*$'))"),
               QP_OK, "%s", error.text);
}

Test(lua_host, refuses_bytecode) {
  const char text[] = "\x1bLuaT\0\x19\x93";
  qp_lua *l = NULL;
  qp_lua_ref v = 0;
  cr_assert_eq(qp_lua_open(NULL, &l, &error), QP_OK);
  cr_expect_eq(qp_lua_run(l, NULL, "my.lua", text, sizeof text, &v, &error), QP_E_ARG);
  cr_expect(strstr(error.text, "my.lua"), "%s", error.text);
  qp_lua_close(l);
}

Test(lua_host, ends_what_runs_without_an_end) {
  expect_error("while true do end", QP_E_LIMIT, "my.lua:1: ran more than 3000000 instructions");
  expect_error("local t = {}\nfor i = 1, 1 << 40 do t[1] = i end", QP_E_LIMIT, "my.lua:2: ran");
  expect_error("while true do local s = ('x'):rep(100000) end", QP_E_LIMIT, "instructions");
  expect_error("table.move({}, 1, 1 << 50, 2)", QP_E_LIMIT, "instructions");
  expect_error("local s = ('a'):rep(3000)\nreturn s:find(('a*'):rep(20) .. 'b')", QP_E_LIMIT,
               "my.lua:2: ran");
  expect_error("local s = ('a'):rep(3000)\nreturn s:gsub('%b][' .. ('a-'):rep(9) .. 'b', '')",
               QP_E_LIMIT, "my.lua:2: ran");
  expect_error("local s = ('a'):rep(3000)\nreturn s:gsub('%b()' .. ('[%]*+]-'):rep(9), '')",
               QP_E_LIMIT, "my.lua:2: ran");
  expect_error("local t = {} for i = 1, 10000 do t[i] = i end\n"
               "while true do table.unpack(t) end",
               QP_E_LIMIT, "instructions");
  expect_error("local t = {} for i = 1, 10000 do t[i] = i end\n"
               "while true do table.sort(t) end",
               QP_E_LIMIT, "instructions");
}

Test(lua_host, ends_what_allocates_without_an_end) {
  expect_error("local t = {} while true do t[#t + 1] = {} end", QP_E_LIMIT, "4 MiB of memory");
  expect_error("return ('x'):rep(1 << 28)", QP_E_LIMIT, "my.lua: needs more than 4 MiB of memory");
  expect_error("local t, s = {}, ('x'):rep(1 << 19) while true do t[#t + 1] = s .. #t end",
               QP_E_LIMIT, "my.lua: needs more than 4 MiB of memory");
  expect_error("local s = 'x' while true do s = s .. s end", QP_E_LIMIT,
               "my.lua: makes a string longer than 1 MiB");
  cr_expect_eq(run_only("return ('x'):rep(1 << 20)"), QP_OK, "%s", error.text);
}

Test(lua_host, ends_what_recurses_without_an_end) {
  const char *text = "local function f() return 1 + f() end\nf()";
  expect_error(text, QP_E_LIMIT, "memory (last seen at line 1)");
  expect_error("local function f() return f() end f()", QP_E_LIMIT, "instructions");
  qp_lua *l = NULL;
  qp_lua_ref v = 0;
  cr_assert_eq(qp_lua_open(NULL, &l, &error), QP_OK);
  cr_expect_neq(qp_lua_run(l, NULL, "my.lua", text, strlen(text), &v, &error), QP_OK);
  cr_expect_eq(strncmp(error.text, "my.lua:", 7), 0, "%s", error.text);
  qp_lua_close(l);
}

/* Each line is over the limit by what the function does and far below it by what it is given. */
Test(lua_host, charges_what_comes_out_and_what_is_looped_over) {
  static const char *const work[] = {
      "for i = 1, 40 do (''):rep(100000) end",
      "for i = 1, 4000 do string.pack('c1000', '') end",
      "local f = ('b'):rep(10000) for i = 1, 400 do string.packsize(f) end",
      "local s = ('1'):rep(10000) for i = 1, 400 do tonumber(s, 10) end",
      "local s = ('1'):rep(10000) for i = 1, 400 do tonumber(s) end",
      "local s = ('x'):rep(10000) for i = 1, 400 do s:upper() end",
      "local s = ('x'):rep(10000) for i = 1, 400 do s:lower() end",
      "local s = ('x'):rep(10000) for i = 1, 400 do s:reverse() end",
      "local s = ('x'):rep(10000) for i = 1, 400 do utf8.codes(s) end",
      "local f = ('%d'):rep(9) for i = 1, 6000 do f:format(1, 2, 3, 4, 5, 6, 7, 8, 9) end",
      /* One chunk of two lines. NOLINTNEXTLINE(bugprone-suspicious-missing-comma) */
      "local t = {} for i = -9999, 0 do t[i] = '' end\n"
      "for i = 1, 400 do table.concat(t, '', -9999, 0) end",
      "local t, s = {}, ('x'):rep(10000) for i = 1, 100 do t[i] = s end\n"
      "table.sort(t) table.sort(t)",
      "return ('a'):rep(300):find('(a*)%1b')"};
  for (size_t i = 0; i < sizeof work / sizeof *work; i++)
    expect_error(work[i], QP_E_LIMIT, ": ran more than 3000000 instructions");
}

/* ---- Time ---- */

/* Stand-ins for functions of C that stay for long. */
static volatile bool forever = true;

static int stay(lua_State *L) {
  while (forever) continue;
  return lua_gettop(L);
}

static int stay_in_allocator(lua_State *L) {
  void *arg = NULL;
  const lua_Alloc allocate = lua_getallocf(L, &arg);
  for (size_t n = 1; forever; n = n % 100000 + 1) allocate(arg, allocate(arg, NULL, 0, n), n, 0);
  return 0;
}

static void *run_timed(void *text) {
  const qp_lua_limits limits = {.instructions = UINT64_MAX, .seconds = 0.02};
  qp_lua *l = NULL;
  qp_lua_ref v = 0, other = 0;
  error.text[0] = 0;
  cr_assert_eq(qp_lua_open(&limits, &l, &error), QP_OK);
  lua_register(l->L, "stay", stay);
  lua_register(l->L, "stay_in_allocator", stay_in_allocator);
  qp_status status = qp_lua_run(l, NULL, "my.lua", text, strlen(text), &v, &error);
  if (!status) status = qp_lua_call(l, v, NULL, 0, &other, NULL, &error);
  cr_expect_eq(status, QP_E_LIMIT);
  if (strstr(text, "stay")) {
    qp_error again = {""};
    cr_expect_eq(qp_lua_run(l, NULL, "b.lua", "", 0, &other, &again), QP_E_LIMIT);
    cr_expect_eq(qp_lua_type_of(l, v, ""), QP_LUA_NIL);
    qp_lua_release(l, v);
  }
  qp_lua_close(l);
  return NULL;
}

Test(lua_host, ends_what_overstays_in_lua) {
  run_timed("\nwhile true do end");
  cr_expect_str_eq(error.text, "my.lua:2: took more than 0.02 seconds");
}

Test(lua_host, ends_what_overstays_inside_one_function_of_c) {
  run_timed("stay()");
  cr_expect_str_eq(error.text, "my.lua: took more than 0.02 seconds in a function that has no end");
  run_timed("\nreturn function () stay() end");
  cr_expect_str_eq(error.text, "my.lua: took more than 0.02 seconds in a function that has no end "
                               "(last seen at line 2)");
  cr_expect_eq(run_only("return 1"), QP_OK, "%s", error.text);
}

Test(lua_host, leaves_the_heap_whole_when_it_ends_a_function) {
  run_timed("stay_in_allocator()");
  cr_expect(strstr(error.text, "my.lua: took more than 0.02 seconds in"), "%s", error.text);
  for (size_t n = 1; n < 200000; n += 999) free(malloc(n));
}

Test(lua_host, watches_the_thread_that_runs_the_spec) {
  pthread_t thread;
  cr_assert_eq(pthread_create(&thread, NULL, run_timed, "stay()"), 0);
  pthread_join(thread, NULL);
  cr_expect(strstr(error.text, "my.lua: took more"), "%s", error.text);
}

Test(lua_host, names_file_and_line_in_every_message) {
  expect_error("\n\nlocal x = nil + 1", QP_E_ARG, "my.lua:3: attempt to perform arithmetic");
  expect_error("\nx = = 1", QP_E_ARG, "my.lua:2: unexpected symbol");
  expect_error("error('no', 0)", QP_E_ARG, "my.lua:1: no");
  expect_error("error({})", QP_E_ARG, "my.lua:1: error without a message, but with a table");
  expect_error("error()", QP_E_ARG, "my.lua:1: error without a message");
  expect_error("assert(false, 'no')", QP_E_ARG, "my.lua:1: no");
  expect_error("\ntable.insert(1)", QP_E_ARG, "my.lua:2: ");
}

Test(lua_host, does_not_cut_long_file_names) {
  const char file[] =
      "a/very/long/path/that/goes/on/and/on/and/on/until/it/is/longer/than/lua/likes/"
      "names/to/be/my.lua";
  qp_lua *l = NULL;
  qp_lua_ref v = 0;
  char expected[256];
  cr_assert_eq(qp_lua_open(NULL, &l, &error), QP_OK);
  snprintf(expected, sizeof expected, "%s:1: ", file);
  cr_expect_eq(qp_lua_run(l, NULL, file, "x = = 1", 7, &v, &error), QP_E_ARG);
  cr_expect_eq(strncmp(error.text, expected, strlen(expected)), 0, "%s", error.text);
  cr_expect_eq(qp_lua_run(l, NULL, file, "x = {} + 1", 10, &v, &error), QP_E_ARG);
  cr_expect_eq(strncmp(error.text, expected, strlen(expected)), 0, "%s", error.text);
  qp_lua_close(l);
}

Test(lua_host, reads_values_by_path) {
  qp_lua *l = NULL;
  qp_lua_ref v;
  cr_assert_eq(run_with(&l,
                        "return { n = 3, x = 2.5, yes = true, s = 'text', list = { 5, 6, 7 },\n"
                        "  deep = { { name = 'a' }, { name = 'b' } },\n  f = function ()\n  end }",
                        &v),
               QP_OK);
  int64_t n = 0;
  double x = 0;
  bool yes = false;
  cr_expect(qp_lua_get_integer(l, v, "n", &n) && n == 3);
  cr_expect(!qp_lua_get_integer(l, v, "x", &n) && n == 3);
  cr_expect(qp_lua_get_number(l, v, "x", &x) && x == 2.5);
  cr_expect(qp_lua_get_boolean(l, v, "yes", &yes) && yes);
  cr_expect_str_eq(qp_lua_get_string(l, v, "s"), "text");
  cr_expect_str_eq(qp_lua_get_string(l, v, "deep.2.name"), "b");
  cr_expect_null(qp_lua_get_string(l, v, "n"));
  cr_expect_null(qp_lua_get_string(l, v, "deep.3.name"));
  cr_expect_eq(qp_lua_length(l, v, "list"), 3);
  cr_expect(qp_lua_get_integer(l, v, "list.2", &n) && n == 6);
  cr_expect_eq(qp_lua_type_of(l, v, ""), QP_LUA_TABLE);
  cr_expect_eq(qp_lua_type_of(l, v, "no.such"), QP_LUA_NIL);
  cr_expect_eq(qp_lua_type_of(l, v, "f"), QP_LUA_FUNCTION);
  cr_expect_eq(qp_lua_type_of(l, 0, ""), QP_LUA_NIL);
  int first = 0, last = 0;
  cr_expect(qp_lua_get_lines(l, v, "f", &first, &last) && first == 3 && last == 4);
  cr_expect_not(qp_lua_get_lines(l, v, "n", &first, &last));
  qp_lua_close(l);
}

Test(lua_host, strings_live_as_long_as_the_state) {
  qp_lua *l = NULL;
  qp_lua_ref v, other;
  cr_assert_eq(run_with(&l, "return { s = 'kept ' .. 'alive' }", &v), QP_OK);
  const char *s = qp_lua_get_string(l, v, "s");
  qp_lua_release(l, v);
  const char *work = "local t = {} for i = 1, 20000 do t = { tostring(i) } end";
  cr_assert_eq(qp_lua_run(l, NULL, "x.lua", work, strlen(work), &other, &error), QP_OK);
  cr_expect_str_eq(s, "kept alive");
  qp_lua_close(l);
}

Test(lua_host, lists_keys_in_order) {
  qp_lua *l = NULL;
  qp_lua_ref v;
  const char **keys = NULL;
  cr_assert_eq(run_with(&l, "return { t = { b = 1, c = 2, a = 3, 9, 8 } }", &v), QP_OK);
  cr_assert_eq(qp_lua_keys(l, v, "t", &keys), 3);
  cr_expect_str_eq(keys[0], "a");
  cr_expect_str_eq(keys[2], "c");
  free(keys);
  cr_expect_eq(qp_lua_keys(l, v, "t.a", &keys), 0);
  cr_expect_null(keys);
  qp_lua_close(l);
}

Test(lua_host, reads_lists_of_numbers) {
  qp_lua *l = NULL;
  qp_lua_ref v;
  double *x = NULL;
  size_t n = 0;
  cr_assert_eq(run_with(&l, "return { good = { 1, 2.5, -3 }, bad = { 1, 'x' } }", &v), QP_OK);
  cr_assert_eq(qp_lua_get_numbers(l, v, "good", &x, &n, &error), QP_OK);
  cr_expect(n == 3 && x[0] == 1 && x[1] == 2.5 && x[2] == -3);
  free(x);
  cr_expect_eq(qp_lua_get_numbers(l, v, "bad", &x, &n, &error), QP_E_ARG);
  cr_expect_str_eq(error.text, "item 2 is no number");
  cr_expect_eq(qp_lua_get_numbers(l, v, "none", &x, &n, &error), QP_E_ARG);
  qp_lua_close(l);
}

Test(lua_host, calls_functions_with_tables) {
  qp_lua *l = NULL;
  qp_lua_ref v, yes = 0, why = 0;
  cr_assert_eq(run_with(&l,
                        "return function (p, t)\n  if t.warps > p.most then\n"
                        "    return false, 'too many warps for ' .. p.type end\n"
                        "  return math.type(t.warps) == 'integer' and t.half == 0.5\nend",
                        &v),
               QP_OK);
  const qp_lua_field problem[] = {{"most", NULL, 16}, {"type", "f16", 0}};
  qp_lua_field tunables[] = {{"warps", NULL, 32}, {"half", NULL, 0.5}};
  const qp_lua_table args[] = {{problem, 2}, {tunables, 2}};
  bool ok = true;
  cr_assert_eq(qp_lua_call(l, v, args, 2, &yes, &why, &error), QP_OK, "%s", error.text);
  cr_expect(qp_lua_get_boolean(l, yes, "", &ok) && !ok);
  cr_expect_str_eq(qp_lua_get_string(l, why, ""), "too many warps for f16");
  tunables[0].number = 8;
  cr_assert_eq(qp_lua_call(l, v, args, 2, &yes, NULL, &error), QP_OK);
  cr_expect(qp_lua_get_boolean(l, yes, "", &ok) && ok);
  cr_expect_eq(qp_lua_call(l, v, args, 1, &yes, NULL, &error), QP_E_ARG);
  cr_expect(strstr(error.text, "my.lua:2: attempt to index a nil value (local 't')"), "%s",
            error.text);
  qp_lua_close(l);
}

Test(lua_host, each_call_has_its_own_budget) {
  qp_lua *l = NULL;
  qp_lua_ref v, out = 0;
  cr_assert_eq(run_with(&l, "return function () for i = 1, 1000000 do end end", &v), QP_OK);
  for (int i = 0; i < 5; i++) {
    cr_expect_eq(qp_lua_call(l, v, NULL, 0, &out, NULL, &error), QP_OK, "%s", error.text);
  }
  qp_lua_close(l);
}

/* A state after the first takes the prelude as the first has compiled it. */
Test(lua_host, a_prelude_runs_and_complains_in_each_state_as_in_the_first) {
  static const char right[] = "return scalar { name = 'x', bits = 2 }";
  static const char wrong[] = "\nreturn scalar(3)";
  char first[sizeof error.text] = "";
  for (int i = 0; i < 3; i++) {
    qp_lua *l = NULL;
    qp_lua_ref v = 0;
    cr_assert_eq(qp_lua_open(NULL, &l, &error), QP_OK);
    cr_assert_eq(qp_lua_run(l, "lua/prelude.lua", "my.lua", right, strlen(right), &v, &error),
                 QP_OK, "%s", error.text);
    cr_expect_str_eq(qp_lua_get_string(l, v, "kind"), "scalar");
    qp_lua_release(l, v);
    cr_expect_eq(qp_lua_run(l, "lua/prelude.lua", "my.lua", wrong, strlen(wrong), &v, &error),
                 QP_E_ARG);
    if (!i) memcpy(first, error.text, sizeof first);
    cr_expect(!strncmp(first, "my.lua:2: ", 10), "%s", first);
    cr_expect_str_eq(error.text, first);
    qp_lua_close(l);
  }
}
