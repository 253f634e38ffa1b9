/* SPDX-License-Identifier: MIT */
/* Kernel families: those of the product, and files of a QPAL_HOME of the test's own. */
#include "gen/kernel/family.h"

#include "tests/base/folder_kit.h"

static qp_error error;
static qp_families *families;

static void use_home(void) {
  static const char *const files[] = {"lua/tunables.lua", NULL};
  open_home(files);
}

static void set_up(void) { error.text[0] = 0; }

static void tear_down(void) {
  qp_families_close(families);
  close_folder();
}

TestSuite(family, .init = set_up, .fini = tear_down);

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
  open_families();
  for (unsigned op = 0; op < QP_OP_COUNT; op++) {
    const qp_family *f = qp_families_for(families, (qp_op)op, NULL);
    cr_assert_not_null(f);
    cr_expect_eq(f->op, (qp_op)op);
  }
  cr_expect_str_eq(qp_families_for(families, QP_OP_GEMM, "cuda")->name, "gemm_cuda");
  cr_expect_str_eq(qp_families_for(families, QP_OP_GEMM, "tensor")->name, "gemm_tensor");
  cr_expect_str_eq(qp_families_for(families, QP_OP_GEMM, "")->name, "gemm_tensor");
  cr_expect_null(qp_families_for(families, QP_OP_GEMM, "vector"));
}

typedef struct refusals {
  size_t served, refused;
} refusals;

/* A quantizer that no family encodes is told why: by what it is, not by what a family is for. */
static void expect_reason(const qp_quantizer *q, refusals *r) {
  const qp_problem p = {.op = QP_OP_ENCODE,
                        .segments = 1,
                        .segment[0] = {.quantizer = q, .rows = 32},
                        .columns = 1024,
                        .arch = 90,
                        .sm_count = 132};
  const qp_family *f = qp_families_serving(families, &p, NULL);
  cr_assert_not_null(f);
  if (!f->kernel->check(&p, f->name, &error)) {
    r->served++;
    return;
  }
  r->refused++;
  cr_expect(strstr(error.text, q->name) && !strstr(error.text, "family"), "%s: %s", q->name,
            error.text);
}

Test(family, what_no_family_encodes_is_told_why) {
  qp_palette *palette;
  refusals r = {0, 0};
  open_families();
  cr_assert_eq(qp_palette_open(&palette, &error), QP_OK, "%s", error.text);
  cr_assert_eq(qp_palette_load(palette, &error), QP_OK, "%s", error.text);
  for (size_t i = 0; i < qp_palette_count(palette); i++)
    expect_reason(qp_palette_get(palette, i), &r);
  cr_expect(r.served > 100 && r.refused > 20, "%zu are served, %zu refused", r.served, r.refused);
  qp_palette_close(palette);
}

Test(family, names_tags_and_templates_are_unique_and_there) {
  open_families();
  cr_expect_eq(qp_families_count(families), 35);
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
  open_only("return { " HEAD "tunables = { " WARPS " }, constraint = function (p)\n"
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
  expect_refused("return { op = 'rotate' }",
                 "lua/families/f.lua: field 'name' is missing; it should be a string");
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

Test(family, a_tunable_that_its_kernels_need_may_not_be_missing) {
  expect_refused("return { " HEAD "tunables = {} }",
                 "lua/families/f.lua: field 'tunables': 'warps' is missing: rotate needs it");
}

Test(family, a_gemm_needs_blocks_too) {
  expect_refused("return { name = 'f', op = 'gemm', template = 't', help = 'h',\n"
                 "tunables = { " WARPS " } }",
                 "'blocks' is missing: gemm needs it (blocks a multiprocessor, 1 to 32)");
}

Test(family, a_value_that_no_kernel_can_have_is_refused) {
  expect_refused("return { " HEAD "tunables = { { name = 'warps', tag = 'w', help = 'h',\n"
                 "values = { 16, 64 } } } }",
                 "lua/families/f.lua: tunable 'warps': value 64; rotate takes 1 to 32");
}

Test(family, a_value_that_is_no_power_of_two_is_refused_where_it_must_be_one) {
  expect_refused(
      "return { name = 'f', op = 'dequant', template = 't', help = 'h', tunables = { " WARPS
      ",\n tunable('blocks', { 1 }), tunable('copies', { 3 }) } }",
      "tunable 'copies': value 3; dequant takes 0 or a power of two from 1 to 32");
}

Test(family, a_field_that_is_not_known_is_named_with_the_nearest) {
  expect_refused("return { " HEAD "tunables = { " WARPS " }, constrain = function () end }",
                 "has no field 'constrain'; did you mean 'constraint'?");
}

Test(family, a_form_that_is_not_known_is_named_with_those_there_are) {
  expect_refused("return { name = 'f', op = 'encode', template = 't', help = 'h' }",
                 "field 'form': encode needs one of trellis, codes");
}

Test(family, a_name_is_given_once) {
  use_home();
  write_file("lua/families/a.lua", "return { " HEAD "tunables = { " WARPS " } }");
  write_file("lua/families/b.lua", "return { " HEAD "tunables = { " WARPS " } }");
  cr_expect_eq(qp_families_open(&families, &error), QP_E_ARG);
  cr_expect_str_eq(error.text, "lua/families/b.lua: field 'name': 'f' is taken by "
                               "lua/families/a.lua; choose another");
}

Test(family, two_tunables_have_two_names_and_tags) {
  expect_refused("return { " HEAD "tunables = { " WARPS ",\n"
                 "{ name = 'wide', tag = 'w', values = { 1 }, help = 'h' } } }",
                 "tunable 'wide' has the name or the tag ('w') of tunable 'warps'");
}

#define GEMM(name, more)                                                                           \
  "return { name = '" name "', op = 'gemm', template = 't', help = 'h', " more                     \
  " tunables = { " WARPS ", tunable('blocks', { 1 }) } }"

Test(family, families_of_an_operation_stand_in_the_order_of_their_ranks) {
  const qp_family *list[QP_MAX_FAMILIES];
  const char *path[QP_MAX_PATHS];
  size_t usual;
  use_home();
  write_file("lua/families/1.lua", GEMM("late", "path = 'slow',"));
  write_file("lua/families/2.lua", GEMM("plain", "path = 'plain', reference = true, rank = 1,"));
  write_file("lua/families/3.lua", GEMM("second", "path = 'fast', rank = 3,"));
  write_file("lua/families/4.lua", GEMM("first", "path = 'fast', rank = 2,"));
  open_families();
  cr_expect_str_eq(qp_families_for(families, QP_OP_GEMM, "")->name, "first");
  cr_expect_eq(qp_families_of(families, QP_OP_GEMM, "fast", false, list), 2, "both compete");
  cr_expect_eq(qp_families_of(families, QP_OP_GEMM, NULL, false, list), 3);
  cr_expect_eq(qp_families_of(families, QP_OP_GEMM, NULL, true, list), 4);
  cr_expect_str_eq(list[3]->name, "plain", "a reference stands last");
  cr_expect_str_eq(qp_families_for(families, QP_OP_GEMM, "plain")->name, "plain");
  cr_assert_eq(qp_families_paths(families, QP_OP_GEMM, path, &usual), 3);
  cr_expect(!strcmp(path[0], "fast") && !strcmp(path[1], "slow") && !strcmp(path[2], "plain"));
  cr_expect_eq(usual, 2);
  cr_expect_eq(qp_families_check_path(families, QP_OP_GEMM, "plain", &error), QP_OK);
  cr_expect_eq(qp_families_check_path(families, QP_OP_GEMM, "best", &error), QP_E_ARG);
  cr_expect_str_eq(error.text, "'best': fast, slow or plain is needed");
}

Test(family, a_tunable_that_a_family_leaves_out_is_what_its_kernels_make_of_it) {
  qp_choice c;
  use_home();
  write_file("lua/families/1.lua", GEMM("f", ""));
  open_families();
  qp_choice_default(qp_families_get(families, 0), &c);
  cr_expect_eq(qp_choice_get(&c, "stages"), 1);
  cr_expect_eq(qp_choice_get(&c, "copies"), 1);
  cr_expect_eq(qp_choice_get(&c, "atomic"), 0);
}

Test(family, a_tunable_s_values_are_small_integers) {
  expect_refused("return { " HEAD "tunables = { { name = 'warps', tag = 'w', help = 'h',\n"
                 "values = { 1, 70000 } } } }",
                 "tunable 'warps': value 2 must be an integer 0..65535");
}

Test(family, a_constraint_is_a_function) {
  expect_refused("return { " HEAD "tunables = { " WARPS " }, constraint = 5 }",
                 "field 'constraint' must be a function(problem, tunables)");
}

Test(family, a_file_that_is_no_lua_is_named_with_its_line) {
  expect_refused("return {\n  name = = 'f' }", "lua/families/f.lua:2");
}
