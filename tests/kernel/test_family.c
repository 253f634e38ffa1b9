/* SPDX-License-Identifier: MIT */
/* Kernel families: those of the product, and files of a QPAL_HOME of the test's own. */
#include "gen/kernel/family.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "gen/base/resource.h"

static char home[64];
static qp_error error;
static qp_families *families;

static void write_file(const char *name, const char *text) {
  char path[160];
  snprintf(path, sizeof path, "%s/%s", home, name);
  FILE *f = fopen(path, "w");
  cr_assert_not_null(f, "%s", path);
  cr_assert_eq(fwrite(text, 1, strlen(text), f), strlen(text));
  fclose(f);
}

static void make_folder(const char *name) {
  char path[160];
  snprintf(path, sizeof path, "%s/%s", home, name);
  cr_assert_eq(mkdir(path, 0700), 0);
}

static void use_home(void) {
  const char *prelude;
  size_t bytes;
  cr_assert_eq(qp_resource_read("lua/prelude.lua", &prelude, &bytes, &error), QP_OK);
  memcpy(home, "/tmp/qpal-test-XXXXXX", 22);
  cr_assert_not_null(mkdtemp(home));
  make_folder("lua");
  make_folder("lua/families");
  write_file("lua/prelude.lua", prelude);
  setenv("QPAL_HOME", home, 1);
}

static void set_up(void) { error.text[0] = 0; }

static void tear_down(void) {
  char command[128];
  qp_families_close(families);
  if (!home[0]) return;
  snprintf(command, sizeof command, "rm -r %s", home);
  cr_expect_eq(system(command), 0);
}

TestSuite(family, .init = set_up, .fini = tear_down, .timeout = 60);

static void open_families(void) {
  cr_assert_eq(qp_families_open(&families, &error), QP_OK, "%s", error.text);
}

/* Open a home whose only family is 'text'. */
static void open_only(const char *text) {
  use_home();
  write_file("lua/families/f.lua", text);
  open_families();
}

static void expect_refused(const char *text, const char *message) {
  use_home();
  write_file("lua/families/f.lua", text);
  cr_expect_eq(qp_families_open(&families, &error), QP_E_ARG);
  cr_expect(strstr(error.text, message), "says '%s', not '%s'", error.text, message);
  cr_expect_null(families, "set in spite of an error");
}

static const qp_problem problem = {
    .op = QP_OP_ROTATE, .columns = 4096, .type = QP_F16, .arch = 80, .sm_count = 108};

#define HEAD  "name = 'f', op = 'rotate', template = 'templates/f.cu.in', help = 'for a test',\n"
#define WARPS "{ name = 'warps', tag = 'w', values = { 16, 8, 32 }, help = 'warps' }"

Test(family, every_operation_has_one) {
  static const qp_op ops[] = {QP_OP_GEMM, QP_OP_ROTATE, QP_OP_DEQUANT, QP_OP_ENCODE};
  open_families();
  for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
    const qp_family *f = qp_families_for(families, ops[i], NULL);
    cr_assert_not_null(f);
    cr_expect_eq(f->op, ops[i]);
  }
  cr_expect_str_eq(qp_families_for(families, QP_OP_GEMM, "cuda")->name, "gemm_cuda");
  cr_expect_str_eq(qp_families_for(families, QP_OP_GEMM, "tensor")->name, "gemm_tensor");
  cr_expect_str_eq(qp_families_for(families, QP_OP_GEMM, "")->name, "gemm_tensor");
  cr_expect_null(qp_families_for(families, QP_OP_GEMM, "vector"));
}

Test(family, names_tags_and_templates_are_unique_and_there) {
  open_families();
  cr_expect_eq(qp_families_count(families), 6);
  for (size_t i = 0; i < qp_families_count(families); i++) {
    const qp_family *f = qp_families_get(families, i);
    const char *text;
    size_t bytes;
    cr_expect_eq(qp_families_find(families, f->name), f);
    cr_expect_eq(qp_resource_read(f->file, &text, &bytes, &error), QP_OK, "%s", error.text);
    cr_expect_eq(qp_resource_read(f->template_file, &text, &bytes, &error), QP_OK, "%s",
                 error.text);
    for (unsigned a = 0; a < f->tunables; a++)
      for (unsigned b = 0; b < a; b++) {
        cr_expect_str_neq(f->tunable[a].name, f->tunable[b].name);
        cr_expect_str_neq(f->tunable[a].tag, f->tunable[b].tag);
      }
  }
  cr_expect_null(qp_families_find(families, "gemm"));
}

Test(family, the_file_says_everything) {
  open_only("return { " HEAD "path = 'tensor', tunables = { " WARPS
            ", { name = 'pdl', tag = 'p', values = { 0 }, help = 'h' } } }");
  const qp_family *f = qp_families_find(families, "f");
  cr_assert_not_null(f);
  cr_expect_eq(f->op, QP_OP_ROTATE);
  cr_expect_str_eq(f->file, "lua/families/f.lua");
  cr_expect_str_eq(f->path, "tensor");
  cr_expect_str_eq(f->template_file, "templates/f.cu.in");
  cr_expect_str_eq(f->help, "for a test");
  cr_assert_eq(f->tunables, 2);
  cr_expect_str_eq(f->tunable[0].name, "warps");
  cr_expect_str_eq(f->tunable[0].tag, "w");
  cr_assert_eq(f->tunable[0].values, 3);
  cr_expect(f->tunable[0].value[0] == 16 && f->tunable[0].value[1] == 8 &&
            f->tunable[0].value[2] == 32);
  cr_expect_eq(f->tunable[1].values, 1);
}

Test(family, a_choice_begins_with_the_first_values) {
  open_only("return { " HEAD "tunables = { " WARPS " } }");
  qp_choice c;
  qp_choice_default(qp_families_get(families, 0), &c);
  cr_expect_eq(c.family, qp_families_get(families, 0));
  cr_expect_eq(qp_choice_get(&c, "warps"), 16);
  cr_expect_eq(qp_choice_get(&c, "warp"), 0, "a tunable that it does not have");
}

Test(family, a_choice_takes_the_values_that_the_family_lists) {
  static const char *const wrong[] = {"warps=9", "warps=", "warps=8x", "warps=-8",
                                      "warps=4294967304"};
  open_only("return { " HEAD "tunables = { " WARPS " } }");
  qp_choice c;
  qp_choice_default(qp_families_get(families, 0), &c);
  cr_expect_eq(qp_choice_set(&c, "warps=32", &error), QP_OK);
  cr_expect_eq(qp_choice_get(&c, "warps"), 32);
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    char message[96];
    snprintf(message, sizeof message, "tunable 'warps' of f: '%s' is not one of 16, 8, 32",
             wrong[i] + 6);
    cr_expect_eq(qp_choice_set(&c, wrong[i], &error), QP_E_ARG);
    cr_expect_str_eq(error.text, message);
    cr_expect_eq(qp_choice_get(&c, "warps"), 32, "changed by an error");
  }
  cr_expect_eq(qp_choice_set(&c, "blocks=1", &error), QP_E_ARG);
  cr_expect_str_eq(error.text, "family f has no tunable 'blocks'; it has warps");
  cr_expect_eq(qp_choice_set(&c, "warps", &error), QP_E_ARG);
  cr_expect_str_eq(error.text, "'warps': TUNABLE=VALUE is needed");
}

Test(family, without_a_constraint_everything_goes) {
  open_only("return { " HEAD "tunables = { " WARPS " } }");
  qp_choice c;
  qp_choice_default(qp_families_get(families, 0), &c);
  cr_expect_eq(qp_choice_check(families, &c, &problem, &error), QP_OK);
}

Test(family, a_constraint_refuses_with_its_reason) {
  open_only("return { " HEAD "tunables = { " WARPS " }, constraint = function (p, t)\n"
            "  if t.warps > 16 then return false, 'too many for K = ' .. p.k end\n"
            "  return t.warps == 16 end }");
  qp_choice c;
  qp_choice_default(qp_families_get(families, 0), &c);
  cr_expect_eq(qp_choice_check(families, &c, &problem, &error), QP_OK);
  cr_assert_eq(qp_choice_set(&c, "warps=32", &error), QP_OK);
  cr_expect_eq(qp_choice_check(families, &c, &problem, &error), QP_E_LIMIT);
  cr_expect(strstr(error.text, "f: too many for K = 4096"), "%s", error.text);
  cr_assert_eq(qp_choice_set(&c, "warps=8", &error), QP_OK);
  cr_expect_eq(qp_choice_check(families, &c, &problem, &error), QP_E_LIMIT);
  cr_expect_str_eq(error.text, "f: the constraint refuses these tunables");
}

Test(family, a_constraint_sees_the_problem) {
  open_only("return { " HEAD "tunables = {}, constraint = function (p)\n"
            "  return p.k == 4096 and p.arch == 80 and p.sm_count == 108 and p.segments == 0\n"
            "    and p.smem_bytes == 166912 and p.type == 'f16' end }");
  qp_choice c;
  qp_choice_default(qp_families_get(families, 0), &c);
  cr_expect_eq(qp_choice_check(families, &c, &problem, &error), QP_OK, "%s", error.text);
  qp_problem other = problem;
  other.type = QP_BF16;
  cr_expect_eq(qp_choice_check(families, &c, &other, &error), QP_E_LIMIT);
}

Test(family, a_constraint_that_fails_or_says_nothing_is_an_error_of_its_file) {
  open_only("return { " HEAD "tunables = { " WARPS " }, constraint = function (p, t)\n"
            "  if t.warps == 8 then return p.none.k end\nend }");
  qp_choice c;
  qp_choice_default(qp_families_get(families, 0), &c);
  cr_expect_eq(qp_choice_check(families, &c, &problem, &error), QP_E_ARG);
  cr_expect(strstr(error.text, "lua/families/f.lua: constraint must return true"), "%s",
            error.text);
  cr_assert_eq(qp_choice_set(&c, "warps=8", &error), QP_OK);
  cr_expect_eq(qp_choice_check(families, &c, &problem, &error), QP_E_ARG);
  cr_expect(strstr(error.text, "lua/families/f.lua:3"), "%s", error.text);
}

Test(family, the_product_s_constraints_know_their_limits) {
  open_families();
  qp_choice c;
  qp_choice_default(qp_families_find(families, "gemm_tensor"), &c);
  qp_problem p = problem;
  p.op = QP_OP_GEMM, p.batch = 1, p.out_type = QP_F16;
  cr_expect_eq(qp_choice_check(families, &c, &p, &error), QP_OK, "%s", error.text);
  cr_assert_eq(qp_choice_set(&c, "pdl=1", &error), QP_OK);
  cr_expect_eq(qp_choice_check(families, &c, &p, &error), QP_E_LIMIT);
  p.arch = 90;
  cr_expect_eq(qp_choice_check(families, &c, &p, &error), QP_OK, "%s", error.text);
  cr_assert_eq(qp_choice_set(&c, "atomic=1", &error), QP_OK);
  cr_expect_eq(qp_choice_check(families, &c, &p, &error), QP_E_LIMIT);
  p.out_type = QP_F32;
  cr_expect_eq(qp_choice_check(families, &c, &p, &error), QP_OK, "%s", error.text);
}

Test(family, a_field_that_is_missing_is_named) {
  expect_refused("return { op = 'rotate' }", "lua/families/f.lua: field 'name': a string");
}

Test(family, a_field_that_is_too_long_is_named) {
  expect_refused("return { name = ('x'):rep(40), op = 'rotate' }",
                 "lua/families/f.lua: field 'name': 'xxxx");
}

Test(family, an_unknown_operation_is_named) {
  expect_refused("return { name = 'f', op = 'sort', template = 't', help = 'h' }",
                 "lua/families/f.lua: field 'op': operation 'sort' is not known");
}

Test(family, a_tunable_without_values_is_named) {
  expect_refused("return { " HEAD "tunables = { { name = 'warps', tag = 'w', values = {}, "
                 "help = 'h' } } }",
                 "tunable 'warps': 0 values; 1 to 16");
}

Test(family, a_tunable_s_values_are_small_integers) {
  expect_refused("return { " HEAD "tunables = { { name = 'warps', tag = 'w', help = 'h',\n"
                 "values = { 1, 70000 } } } }",
                 "tunable 'warps': value 2 must be an integer 0..65535");
}

Test(family, a_constraint_is_a_function) {
  expect_refused("return { " HEAD "tunables = {}, constraint = 5 }",
                 "field 'constraint' must be a function(problem, tunables)");
}

Test(family, a_file_that_is_no_lua_is_named_with_its_line) {
  expect_refused("return {\n  name = = 'f' }", "lua/families/f.lua:2");
}
