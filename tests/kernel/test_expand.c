/* SPDX-License-Identifier: MIT */
/* The template expander, with templates in a QPAL_HOME of the test's own. */
#include "gen/kernel/expand.h"

#include "gen/compile/compile.h"
#include "tests/base/folder_kit.h"

static qp_error error;
static char *text;

static void write_template(const char *name, const char *content) {
  char file[64];
  snprintf(file, sizeof file, "templates/%s", name);
  write_file(file, content);
}

static void set_up(void) {
  open_home(NULL);
  error.text[0] = 0;
  text = NULL;
}

static void tear_down(void) {
  free(text);
  close_folder();
}

TestSuite(expand, .init = set_up, .fini = tear_down);

static const qp_hole holes[] = {
    {"name", "f"}, {"body", "a;\nb;"}, {"ended", "c;\n"}, {"nothing", ""}, {"nested", "@{name}"}};

/* Once a test: a resource is read once. */
static qp_status expand(const char *content) {
  write_template("t.cu.in", content);
  return qp_expand("templates/t.cu.in", holes, sizeof holes / sizeof *holes, &text, &error);
}

static void expect_text(const char *content, const char *expected) {
  cr_assert_eq(expand(content), QP_OK, "%s", error.text);
  cr_expect_str_eq(text, expected);
}

static void expect_failure(const char *content, const char *message) {
  cr_expect_eq(expand(content), QP_E_ARG);
  cr_expect_str_eq(error.text, message);
  cr_expect_null(text, "set in spite of an error");
}

#define START "#line 1 \"templates/t.cu.in\"\n"

Test(expand, text_without_holes_stays_as_it_is) {
  expect_text("int a;\n\n  int b; // @ { } @x {y}\n", START "int a;\n\n  int b; // @ { } @x {y}\n");
}

Test(expand, an_empty_template_is_an_empty_source) { expect_text("", START); }

Test(expand, a_last_line_without_its_end_gets_one) { expect_text("int a;", START "int a;\n"); }

Test(expand, holes_in_a_line_take_their_values) {
  expect_text("void @{name}() { @{name}(); }@{nothing}\n", START "void f() { f(); }\n");
}

Test(expand, a_hole_alone_in_its_line_takes_lines_which_are_numbered_anew) {
  expect_text("x;\n@{body}\ny;\n",
              START "x;\n#line 1 \"<body>\"\na;\nb;\n#line 3 \"templates/t.cu.in\"\ny;\n");
}

Test(expand, a_value_that_ends_its_line_gets_no_other_end) {
  expect_text("@{ended}\ny;\n",
              START "#line 1 \"<ended>\"\nc;\n#line 2 \"templates/t.cu.in\"\ny;\n");
}

Test(expand, two_holes_make_a_line_of_text) { expect_text("@{name}@{name}\n", START "ff\n"); }

Test(expand, values_are_not_expanded_again) {
  expect_text("int @{nested};\n", START "int @{name};\n");
}

Test(expand, includes_bring_in_a_template_with_its_own_numbers_and_holes) {
  write_template("part.cuh.in", "p @{name};\nq;\n");
  expect_text("a;\n@{include:templates/part.cuh.in}\nb;\n",
              START "a;\n#line 1 \"templates/part.cuh.in\"\np f;\nq;\n"
                    "#line 3 \"templates/t.cu.in\"\nb;\n");
}

Test(expand, an_unknown_hole_in_a_line_is_named_with_file_and_line) {
  expect_failure("a;\nint @{size};\n", "templates/t.cu.in:2: hole '@{size}' is not known");
}

/* A hole's name is compared whole: "body" is not "bodies". */
Test(expand, an_unknown_hole_alone_in_its_line_is_named_with_file_and_line) {
  expect_failure("a;\nb;\n@{bodies}\n", "templates/t.cu.in:3: hole '@{bodies}' is not known");
}

Test(expand, a_hole_without_a_name_is_an_error) {
  expect_failure("@{}\n", "templates/t.cu.in:1: hole '@{}' is not known");
}

Test(expand, open_holes_are_named_with_file_and_line) {
  expect_failure("a;\nb @{name;\n} c;\n", "templates/t.cu.in:2: '@{' without '}'");
}

Test(expand, an_error_in_an_include_says_who_included_it) {
  write_template("part.cuh.in", "p;\nq @{size};\n");
  expect_failure("a;\n@{include:templates/part.cuh.in}\n",
                 "templates/t.cu.in:2: templates/part.cuh.in:2: hole '@{size}' is not known");
}

Test(expand, includes_that_go_round_end_with_an_error) {
  write_template("part.cuh.in", "@{include:templates/t.cu.in}\n");
  cr_expect_eq(expand("@{include:templates/part.cuh.in}\n"), QP_E_ARG);
  cr_expect(strstr(error.text, "included more than"), "%s", error.text);
  cr_expect_null(text);
}

Test(expand, a_template_that_is_missing_is_named) {
  cr_expect_eq(qp_expand("templates/none.cu.in", NULL, 0, &text, &error), QP_E_IO);
  cr_expect(strstr(error.text, "templates/none.cu.in"), "%s", error.text);
  cr_expect_eq(expand("a;\n@{include:templates/none.cuh.in}\n"), QP_E_IO);
  cr_expect(strstr(error.text, "templates/t.cu.in:2: "), "%s", error.text);
  cr_expect_null(text);
}

static void expect_compile_error(const char *content, const char *place) {
  qp_compiler *compiler = NULL;
  qp_compiled compiled = {0};
  cr_assert_eq(expand(content), QP_OK, "%s", error.text);
  const qp_compiler_options options = {.workers = 1, .cache_dir = ""};
  const qp_compile_job job = {.name = "f", .source = text, .arch = 80, .want_ptx = true};
  qp_status status = qp_compiler_open(&options, &compiler, &error);
  if (status == QP_E_MISSING) cr_skip_test("no NVRTC");
  cr_assert_eq(status, QP_OK, "%s", error.text);
  cr_expect_eq(qp_compiler_run(compiler, &job, &compiled, &error), QP_E_COMPILE);
  cr_expect(strstr(error.text, place), "names no %s: %s", place, error.text);
  qp_compiled_free(&compiled);
  qp_compiler_close(compiler);
}

Test(expand, a_compile_error_names_the_template_s_line) {
  write_template("p.cuh.in", "int h() { return 1; }\n\n\n\n");
  expect_compile_error("extern \"C\" __global__ void @{name}() {}\n@{include:templates/p.cuh.in}\n"
                       "\nint g() { return wrong; }\n",
                       "templates/t.cu.in(4)");
}

Test(expand, a_compile_error_names_the_hole_and_its_line) {
  expect_compile_error(
      "extern \"C\" __global__ void @{name}() {}\n\nvoid g() {\nint a = 0;\n@{body}\n}\n",
      "<body>(2)");
}
