/* SPDX-License-Identifier: MIT */
/* What comes with the palette, so that no command has to find it first: whole, and what would be
** found. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/resource.h"
#include "gen/spec/codebook.h"
#include "gen/spec/quantizer.h"
#include "tests/base/home_kit.h"

static qp_error err;

static void edit(const char *sed) {
  char command[2048];
  snprintf(command, sizeof command, "sed -i '%s' '%s/home/lua/shipped/definitions.txt'", sed,
           folder);
  cr_assert_eq(system(command), 0);
}

Test(shipped, the_palette_opens_without_searching_for_anything) {
  qp_palette *palette;
  make_home();
  cr_assert_eq(qp_palette_open(&palette, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_palette_load(palette, &err), QP_OK, "%s", err.text);
  qp_palette_close(palette);
  cr_expect_not(exists("cache"), "tests/spec/ship was not run after the palette changed");
  drop_home();
}

/* Has every quantizer the hash that lua/quantizers/definitions.txt pins? */
static void compare_with_pins(void) {
  qp_palette *palette;
  const char *text;
  size_t bytes;
  cr_assert_eq(qp_palette_open(&palette, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_resource_read("lua/quantizers/definitions.txt", &text, &bytes, &err), QP_OK);
  cr_assert_eq(qp_palette_load(palette, &err), QP_OK, "%s", err.text);
  for (size_t i = 0; i < qp_palette_count(palette); i++) {
    const qp_quantizer *q = qp_palette_get(palette, i);
    cr_expect_not_null(strstr(text, q->hash), "%s: %s", q->name, q->hash);
  }
  qp_palette_close(palette);
}

Test(shipped, a_definition_with_a_changed_digit_is_found_again) {
  make_home();
  edit("1,2s/ [0-9a-f]\\{4\\}/ 0000/");
  compare_with_pins();
  cr_expect(exists("cache/definition"), "it was found anew, and kept");
  drop_home();
}

/* 'found' is what the function gives where nothing is shipped. */
static void compare(const char *name, const uint16_t *found, size_t n) {
  char path[512];
  unsigned char bytes[8192];
  snprintf(path, sizeof path, "%s/lua/shipped/codebook/%s", QP_SOURCE_DIR, name);
  FILE *f = fopen(path, "rb");
  cr_assert_not_null(f, "%s", path);
  const size_t got = fread(bytes, 1, sizeof bytes, f);
  fclose(f);
  cr_assert_gt(got, n * sizeof *found);
  cr_expect_eq(memcmp(bytes + got - n * sizeof *found, found, n * sizeof *found), 0, "%s", name);
}

Test(shipped, codebooks_are_those_that_would_be_found) {
  uint16_t found[512];
  char name[64], command[512];
  make_home();
  snprintf(command, sizeof command, "rm -r '%s/home/lua/shipped'", folder);
  cr_assert_eq(system(command), 0);
  for (unsigned entries = 4; entries <= 256; entries *= 2) {
    cr_assert_eq(qp_codebook_lloyd_max(entries, found, &err), QP_OK, "%s", err.text);
    snprintf(name, sizeof name, "lloyd-max-%ux1-0-4", entries);
    compare(name, found, entries);
  }
  for (unsigned entries = 8; entries <= 128; entries *= 2) {
    cr_assert_eq(qp_codebook_gaussian_kmeans(entries, 2, 1, found, &err), QP_OK, "%s", err.text);
    snprintf(name, sizeof name, "kmeans-%ux2-1-4", entries);
    compare(name, found, (size_t)2 * entries);
  }
  cr_expect(exists("cache/codebook"));
  drop_home();
}

/* In a home whose file of Lloyd-Max's four values has another value. */
Test(shipped, a_codebook_that_is_not_whole_is_found_again) {
  uint16_t want[4], found[4];
  char command[1024];
  cr_assert_eq(qp_codebook_lloyd_max(4, want, &err), QP_OK);
  make_home();
  snprintf(command, sizeof command,
           "printf 'x' | dd of='%s/home/lua/shipped/codebook/lloyd-max-4x1-0-4' bs=1 seek=41 "
           "conv=notrunc status=none",
           folder);
  cr_assert_eq(system(command), 0);
  cr_assert_eq(qp_codebook_lloyd_max(4, found, &err), QP_OK, "%s", err.text);
  cr_expect_arr_eq(want, found, sizeof want);
  cr_expect(exists("cache/codebook"));
  drop_home();
}
