/* SPDX-License-Identifier: MIT */
/* Decodes that fields scale and shift are seen, and no others. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "gen/encode/affine.h"
#include "runtime/half.h"

static qp_palette *palette;
static qp_error err;

static void open_palette(void) {
  cr_assert_eq(qp_palette_open(&palette, &err), QP_OK, "%s", err.text);
}
static void close_palette(void) { qp_palette_close(palette); }
TestSuite(affine, .init = open_palette, .fini = close_palette);

/* Of the palette, or of tests/encode/fields.lua. */
static qp_affine make(const char *name, bool own) {
  char path[512];
  const qp_quantizer *q = NULL;
  qp_affine f;
  snprintf(path, sizeof path, "%s%s", own ? QP_SOURCE_DIR "/tests/encode/fields.lua:" : "", name);
  cr_assert_eq(qp_palette_find(palette, path, &q, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_affine_make(&f, q, &err), QP_OK, "%s", err.text);
  return f;
}

Test(affine, what_fields_scale_and_shift_is_seen_and_nothing_else) {
  static const struct {
    const char *name;
    bool own, is;
    unsigned levels;
  } row[] = {
      {"int4-g128", false, true, 16},   {"nf4-g64", false, true, 16},
      {"mxfp4", false, true, 15},       {"affine-zero", true, true, 8},
      {"affine-words", true, true, 8},  {"affine-least", true, true, 8},
      {"affine-turned", true, true, 8}, {"affine-two", true, true, 8},
      {"either", true, false, 0},       {"squares", true, false, 0},
      {"two-units", true, false, 0},    {"swallowed", true, false, 0},
  };
  for (unsigned i = 0; i < sizeof row / sizeof *row; i++) {
    qp_affine f = make(row[i].name, row[i].own);
    cr_expect_eq(f.quantizer != NULL, row[i].is, "%s", row[i].name);
    cr_expect_eq(f.levels.count, row[i].levels, "%s: %u", row[i].name, f.levels.count);
    qp_affine_free(&f);
  }
}

Test(affine, a_and_b_are_those_of_the_definition) {
  const uint32_t scale = qp_float_to_half(0.25f);
  double a, b;
  qp_affine f = make("affine-zero", true);
  qp_affine_at(&f, (uint32_t[QP_MAX_FIELDS]){scale, 5}, &a, &b);
  cr_expect_float_eq(a, 0.25, 1e-12);
  cr_expect_float_eq(b, -1.25, 1e-12);
  qp_affine_free(&f);
  f = make("affine-turned", true); /* fields in the order of their names: least, scale */
  qp_affine_at(&f, (uint32_t[QP_MAX_FIELDS]){qp_float_to_half(1), scale ^ 0x8000}, &a, &b);
  cr_expect_float_eq(a, -0.25, 1e-12);
  cr_expect_float_eq(b, 2.25, 1e-12);
  qp_affine_free(&f);
}

Test(affine, tables_are_the_quantizers_own) {
  static const char *const names[] = {"affine-words", "affine-turned", "affine-two"};
  const uint32_t h = qp_float_to_half(0.37f), minus = h | 0x8000;
  const uint32_t fields[][QP_MAX_FIELDS] = {{h, 2}, {h, minus}, {h, h, 11, 3}};
  for (unsigned i = 0; i < 3; i++) {
    qp_affine f = make(names[i], true);
    uint16_t want[8];
    float is[8], levels[8];
    qp_affine_table(&f, fields[i], is);
    cr_assert_eq(qp_quantizer_table(f.quantizer, fields[i], NULL, want, &err), QP_OK);
    for (unsigned c = 0; c < 8; c++) cr_expect_eq(is[c], qp_half_to_float(want[c]), "%s", names[i]);
    qp_affine_rounded(&f, fields[i], levels);
    for (unsigned c = 0; c < 8; c++)
      cr_expect_eq(levels[c], is[is[7] < is[0] ? 7 - c : c], "%s, level %u", names[i], c);
    qp_affine_free(&f);
  }
}
