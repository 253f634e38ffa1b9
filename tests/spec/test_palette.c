/* SPDX-License-Identifier: MIT */
/* The palette: files of lua/quantizers in a QPAL_HOME of the test's own. */
#include "gen/spec/pinned.h"
#include "gen/spec/quantizer.h"
#include "tests/base/folder_kit.h"

static qp_error error;
static qp_palette *palette;

static void set_up(void) {
  static const char *const files[] = {"lua/prelude.lua", NULL};
  open_home(files);
  error.text[0] = 0;
}

static void tear_down(void) {
  qp_palette_close(palette);
  close_folder();
}

TestSuite(palette, .init = set_up, .fini = tear_down);

#define FAMILY(name)                                                                               \
  "local list = {}\nfor _, bits in ipairs { 3, 1, 2 } do\n"                                        \
  "  list[#list + 1] = scalar { name = '" name "-' .. bits, bits = bits,\n"                        \
  "    decode = function (c) return half(c) end }\nend\n"

static void expect_failure(const char *message) {
  cr_expect_eq(qp_palette_open(&palette, &error), QP_E_ARG);
  cr_expect(strstr(error.text, message), "says '%s', not '%s'", error.text, message);
}

Test(palette, an_empty_folder_is_an_empty_palette) {
  cr_assert_eq(qp_palette_open(&palette, &error), QP_OK, "%s", error.text);
  cr_expect_eq(qp_palette_count(palette), 0);
  cr_expect_null(qp_palette_get(palette, 0));
}

Test(palette, orders_by_file_family_and_rate) {
  static const char *const expected[] = {"u-1", "u-1.5", "u-2", "u-3", "odd", "w-1", "w-2", "w-3"};
  write_file("lua/quantizers/a.lua", FAMILY("u") "list[4] = scalar { name = 'odd', bits = 1,\n"
                                                 "  decode = function (c) return half(c) end }\n"
                                                 "list[5] = split { name = 'u-1.5',\n"
                                                 "  parts = { { 'u-1', 3/4 }, { 'w-3', 1/4 } } }\n"
                                                 "return list\n");
  write_file("lua/quantizers/b.lua", FAMILY("w") "return list\n");
  write_file("lua/quantizers/notes.txt", "not Lua");
  cr_assert_eq(qp_palette_open(&palette, &error), QP_OK, "%s", error.text);
  cr_assert_eq(qp_palette_count(palette), 8);
  for (size_t i = 0; i < 8; i++) {
    cr_expect_str_eq(qp_palette_get(palette, i)->name, expected[i]);
  }
  const qp_quantizer *q = NULL;
  cr_assert_eq(qp_palette_find(palette, "u-1.5", &q, &error), QP_OK);
  cr_expect(q == qp_palette_get(palette, 1) && q->rate == 1.5);
  cr_expect_str_eq(q->part[1].quantizer->file, "lua/quantizers/b.lua");
}

Test(palette, suggests_names) {
  const qp_quantizer *q = NULL;
  write_file("lua/quantizers/a.lua", FAMILY("tcq") "return list\n");
  cr_assert_eq(qp_palette_open(&palette, &error), QP_OK, "%s", error.text);
  cr_expect_eq(qp_palette_find(palette, "tqc-2", &q, &error), QP_E_ARG);
  cr_expect(strstr(error.text, "there is no quantizer 'tqc-2'; did you mean 'tcq-"), "%s",
            error.text);
  cr_expect_null(q);
}

Test(palette, a_users_split_may_name_the_palettes_quantizers) {
  const qp_quantizer *q = NULL;
  char path[128];
  write_file("lua/quantizers/a.lua", FAMILY("tcq") "return list\n");
  write_file("my.lua",
             "return split { name = 'mine', parts = { { 'tcq-1', 1/2 }, { 'tcq-2', 1/2 } } }");
  cr_assert_eq(qp_palette_open(&palette, &error), QP_OK, "%s", error.text);
  snprintf(path, sizeof path, "%s/my.lua", folder);
  cr_assert_eq(qp_palette_find(palette, path, &q, &error), QP_OK, "%s", error.text);
  cr_expect_eq(q->rate, 1.5);
  const qp_quantizer *again = NULL;
  cr_assert_eq(qp_palette_find(palette, path, &again, &error), QP_OK);
  cr_expect_eq(q, again);
  cr_expect_eq(qp_palette_count(palette), 3);
}

Test(palette, refuses_a_name_that_two_files_define) {
  write_file("lua/quantizers/a.lua", FAMILY("x") "return list\n");
  write_file("lua/quantizers/b.lua", FAMILY("x") "return list\n");
  expect_failure("lua/quantizers/b.lua:3: field 'name': 'x-3' is taken by lua/quantizers/a.lua:3");
}

Test(palette, refuses_parts_that_are_not_there_or_splits) {
  write_file(
      "lua/quantizers/a.lua",
      FAMILY("x") "list[4] = split { name = 's', parts = { { 'x-1', 1/2 }, { 'x-9', 1/2 } } }\n"
                  "return list\n");
  expect_failure("s: field 'parts': there is no quantizer 'x-9'; did you mean 'x-3'?");
}

Test(palette, refuses_splits_of_splits) {
  write_file(
      "lua/quantizers/a.lua",
      FAMILY("x") "list[4] = split { name = 's', parts = { { 'x-1', 1/2 }, { 'x-2', 1/2 } } }\n"
                  "list[5] = split { name = 't', parts = { { 'x-1', 1/2 }, { 's', 1/2 } } }\n"
                  "return list\n");
  expect_failure("t: field 'parts': 's' is a split itself");
}

Test(palette, an_error_in_a_file_names_it) {
  write_file("lua/quantizers/a.lua", "return scalar { name = 'x', bits = 99 }");
  expect_failure("lua/quantizers/a.lua:1: x: field 'bits' should be an integer from 1 to 20");
}

/* ---- What the binary carries ---- */

static void open_carried(qp_palette **out) {
  unsetenv("QPAL_HOME");
  cr_assert_eq(qp_palette_open(out, &error), QP_OK, "%s", error.text);
}

Test(carried, each_quantizer_is_in_the_file_that_its_line_names) {
  char path[128];
  open_carried(&palette);
  cr_assert_eq(qp_palette_load(palette, &error), QP_OK, "%s", error.text);
  cr_assert_gt(qp_palette_count(palette), 100);
  for (size_t i = 0; i < qp_palette_count(palette); i++) {
    const qp_quantizer *q = qp_palette_get(palette, i);
    cr_assert(qp_pinned_file(q->name, path, sizeof path), "%s: qpal list --pins > " QP_PINNED,
              q->name);
    cr_expect_str_eq(path, q->file);
  }
  qp_palette_close(palette);
}

static void expect_alike(const qp_quantizer *a, const qp_quantizer *b) {
  cr_expect_str_eq(a->name, b->name);
  cr_expect_str_eq(a->file, b->file);
  cr_expect_str_eq(a->hash, b->hash);
  cr_expect(a->rate == b->rate && a->stored_rate == b->stored_rate && a->parts == b->parts);
  for (unsigned k = 0; k < a->parts; k++)
    cr_expect_str_eq(a->part[k].quantizer->hash, b->part[k].quantizer->hash);
}

Test(carried, files_loaded_one_by_one_give_what_all_at_once_give) {
  qp_palette *all;
  const qp_quantizer *found[512], *again;
  open_carried(&all);
  open_carried(&palette);
  cr_assert_eq(qp_palette_load(all, &error), QP_OK, "%s", error.text);
  const size_t n = qp_palette_count(all);
  cr_assert_lt(n, 512);
  for (size_t i = n; i-- > 0;) { /* backwards: the order of loading is not that of the list */
    const qp_quantizer *q = qp_palette_get(all, i);
    cr_assert_eq(qp_palette_find(palette, q->name, &found[i], &error), QP_OK, "%s", error.text);
    expect_alike(found[i], q);
  }
  cr_assert_eq(qp_palette_load(palette, &error), QP_OK, "%s", error.text);
  cr_assert_eq(qp_palette_count(palette), n);
  for (size_t i = 0; i < n; i++) {
    cr_expect_eq(qp_palette_get(palette, i), found[i]);
    cr_assert_eq(qp_palette_find(palette, found[i]->name, &again, &error), QP_OK);
    cr_expect_eq(again, found[i]);
  }
  qp_palette_close(all);
  qp_palette_close(palette);
}

Test(carried, a_name_that_is_not_there_has_neighbours_from_all_files) {
  const qp_quantizer *q = NULL;
  open_carried(&palette);
  cr_assert_eq(qp_palette_find(palette, "nuq-2", &q, &error), QP_OK, "%s", error.text);
  cr_expect_eq(qp_palette_find(palette, "mxpf4", &q, &error), QP_E_ARG);
  cr_expect(strstr(error.text, "did you mean 'mxfp4'"), "%s", error.text);
  qp_palette_close(palette);
}

Test(carried, a_users_split_finds_its_parts_and_their_neighbours, .init = open_folder,
     .fini = close_folder) {
  const qp_quantizer *q = NULL, *part = NULL;
  write_file("my.lua",
             "return { split { name = 'mine', parts = { { 'tcq-3', 1/2 }, { 'nuq-2', 1/2 } "
             "} },\n  split { name = 'wrong', parts = { { 'tcq-3', 1/2 }, { 'nuq-22', 1/2 "
             "} } } }");
  open_carried(&palette);
  char name[64];
  snprintf(name, sizeof name, "%s:mine", in_folder("my.lua"));
  cr_assert_eq(qp_palette_find(palette, name, &q, &error), QP_OK, "%s", error.text);
  cr_expect_eq(q->rate, 2.5);
  cr_assert_eq(qp_palette_find(palette, "nuq-2", &part, &error), QP_OK, "%s", error.text);
  cr_expect_eq(q->part[1].quantizer, part);
  snprintf(name, sizeof name, "%s:wrong", in_folder("my.lua"));
  cr_expect_eq(qp_palette_find(palette, name, &q, &error), QP_E_ARG);
  cr_expect(strstr(error.text, "there is no quantizer 'nuq-22'; did you mean 'nuq-2'?"), "%s",
            error.text);
  qp_palette_close(palette);
}

/* ---- Families ---- */

typedef struct names {
  size_t count;
  char name[64][64];
} names;

static qp_status note(const qp_quantizer *q, void *arg, qp_error *err) {
  names *n = arg;
  if (n->count == 64) return qp_fail(err, QP_E_LIMIT, "more than 64");
  snprintf(n->name[n->count++], sizeof n->name[0], "%s", q->name);
  return QP_OK;
}

/* What a word means in a palette of which nothing is loaded, and in one that is. */
static void expect_family(const char *word, qp_palette *all) {
  const size_t length = strlen(word);
  names got = {0}, whole = {0};
  open_carried(&palette);
  cr_expect_eq(qp_palette_each(palette, word, note, &got, &error), QP_OK, "%s", error.text);
  cr_expect_eq(qp_palette_each(all, word, note, &whole, &error), QP_OK, "%s", error.text);
  qp_palette_close(palette);
  cr_assert_eq(got.count, whole.count, "%s: %zu, %zu", word, got.count, whole.count);
  size_t k = 0;
  for (size_t i = 0; i < qp_palette_count(all); i++) {
    const char *name = qp_palette_get(all, i)->name;
    if (strncmp(name, word, length) != 0 || name[length] != '-') continue;
    cr_assert_lt(k, got.count);
    cr_expect_str_eq(got.name[k], name);
    cr_expect_str_eq(whole.name[k++], name);
  }
  cr_expect_eq(k, got.count);
}

Test(carried, a_family_is_what_it_is_where_all_are_loaded) {
  static const char *const families[] = {"tcq", "nuq", "int4", "vq2", "exl2", "anyprec", "no-such"};
  qp_palette *all;
  open_carried(&all);
  cr_assert_eq(qp_palette_load(all, &error), QP_OK, "%s", error.text);
  for (size_t i = 0; i < sizeof families / sizeof *families; i++) expect_family(families[i], all);
  qp_palette_close(all);
}

Test(carried, a_name_without_a_family_is_one) {
  names got = {0};
  open_carried(&palette);
  cr_expect_eq(qp_palette_each(palette, "mxfp4", note, &got, &error), QP_OK, "%s", error.text);
  qp_palette_close(palette);
  cr_assert_eq(got.count, 1);
  cr_expect_str_eq(got.name[0], "mxfp4");
}

Test(palette, a_whole_name_beats_a_family) {
  names got = {0};
  write_file("lua/quantizers/a.lua",
             FAMILY("x") "list[4] = scalar { name = 'x', bits = 1,\n"
                         "  decode = function (c) return half(c) end }\nreturn list\n");
  cr_assert_eq(qp_palette_open(&palette, &error), QP_OK, "%s", error.text);
  cr_expect_eq(qp_palette_each(palette, "x", note, &got, &error), QP_OK, "%s", error.text);
  cr_assert_eq(got.count, 1);
  cr_expect_str_eq(got.name[0], "x");
}
