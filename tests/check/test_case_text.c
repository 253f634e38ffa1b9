/* SPDX-License-Identifier: MIT */
/* qpal check leaves out the rows that an earlier check wrote. */
#include "tests/command/command_kit.h"

TestSuite(case_text, .init = open_folder, .fini = close_folder);

static const char what[] = "check nuq-2 tcq-3 --few --device sim:sm_90";

/* One row of those. */
static const char one[] = "\"quantizer\":\"tcq-3\",\"family\":\"gemm_naive\"";

/* Write rows of 'what' as JSON, as if all had passed; in the one row 'from' has become 'to'. */
static void write_rows(const char *from, const char *to) {
  static const char listed[] = "not run";
  char arguments[256], *rows = calloc(1, sizeof text), *at = rows;
  snprintf(arguments, sizeof arguments, "%s --list --json", what);
  cr_assert_eq(run(arguments), 0, "%s", text);
  const char *row = strstr(text, one), *old = row ? strstr(row, from) : NULL;
  cr_assert(old && old < strchr(row, '\n'), "%s is not in a row of %s", from, one);
  for (const char *c = text; *c; c++) {
    const bool changed = c == old, passed = !changed && !strncmp(c, listed, sizeof listed - 1);
    if (changed || passed) {
      at += sprintf(at, "%s", changed ? to : "PASS");
      c += strlen(changed ? from : listed) - 1;
    } else {
      *at++ = *c;
    }
  }
  write_file("rows.json", rows);
  free(rows);
}

static void expect_left(unsigned rows) {
  char command[256];
  unsigned lines = 0;
  snprintf(command, sizeof command, "%s --list --json --without-rows rows.json", what);
  cr_assert_eq(run(command), 0, "%s", text);
  for (const char *c = text; (c = strstr(c, "\"quantizer\"")); c++) lines++;
  cr_expect_eq(lines, rows, "%u rows, not %u: %s", lines, rows, text);
  if (rows) cr_expect(strstr(text, one), "%s", text);
}

Test(case_text, what_failed_was_skipped_or_differs_in_one_thing_is_checked) {
  static const char *const changes[][2] = {{"not run", "FAIL"},
                                           {"not run", "SKIP"},
                                           {"\"batch\":", "\"batch\":6"},
                                           {"\"shape\":\"", "\"shape\":\"1"},
                                           {"\"type\":\"", "\"type\":\"b"},
                                           {"\"tunables\":\"", "\"tunables\":\"warps=8"},
                                           {"gemm_naive", "gemm_cuda"},
                                           {"tcq-3", "tcq-2"}};
  for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
    write_rows(changes[i][0], changes[i][1]);
    expect_left(1);
  }
}

/* Of a kernel that is run on other data each time all rows have to be there. */
Test(case_text, rows_that_look_alike_are_left_out_together) {
  static const char route[] = "check nuq-2 --op route --device sim:sm_90";
  char command[256];
  snprintf(command, sizeof command, "%s --list --json", route);
  cr_assert_eq(run(command), 0, "%s", text);
  char *one_less = strchr(text, '\n'), *second = strchr(one_less + 1, '\n');
  cr_assert(second && !strncmp(one_less, second, (size_t)(second - one_less)), "%s", text);
  write_file("all.json", text);
  memmove(one_less, second, strlen(second) + 1);
  write_file("rows.json", text);
  snprintf(command, sizeof command, "%s --list --json --without-rows rows.json", route);
  cr_assert_eq(run(command), 0, "%s", text);
  unsigned lines = 0;
  for (const char *c = text; (c = strstr(c, "\"quantizer\"")); c++) lines++;
  cr_expect_eq(lines, 4u, "%s", text);
  snprintf(command, sizeof command, "%s --without-rows all.json", route);
  expect(command, 0, "kernels are in all.json");
}

Test(case_text, what_passed_or_is_listed_is_left_out) {
  char command[256];
  snprintf(command, sizeof command, "%s --without-rows rows.json", what);
  write_rows("not run", "PASS");
  expect_left(0);
  write_rows("not run", "not run");
  expect(command, 0, "kernels are in rows.json"); /* none is left to be run */
}

Test(case_text, files_of_other_things_are_refused) {
  static const struct {
    const char *text, *says;
  } rows[] = {{"{}", "rows.json: should be an array of rows"},
              {"[3]", "rows.json: row 1: should be an object"},
              {"[{\"quantizer\":3}]", "rows.json: row 1: field 'quantizer' should be a text"},
              {"[{\"quantizer\":\"\",\"family\":\"\",\"shape\":\"\",\"type\":\"\","
               "\"tunables\":\"\",\"result\":\"PASS\",\"batch\":-1}]",
               "rows.json: row 1: field 'batch' is -1"},
              {"[", "rows.json"}};
  char command[256];
  snprintf(command, sizeof command, "%s --without-rows rows.json", what);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    write_file("rows.json", rows[i].text);
    expect(command, 2, rows[i].says);
  }
  cr_assert_eq(remove(in_folder("rows.json")), 0);
  expect(command, 2, "rows.json");
}
