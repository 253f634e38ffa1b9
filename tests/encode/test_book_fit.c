/* SPDX-License-Identifier: MIT */
/* Codebooks that belong to a linear suit its weights. */
#include "gen/encode/book_fit.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/encode.h"
#include "gen/encode/sample.h"
#include "runtime/half.h"

enum { ROWS = 64, COLUMNS = 192 };

static qp_palette *palette;
static qp_error err;
static float weight[ROWS * COLUMNS];

/* Weights as N(0,1) has them not: most are small, neighbours are alike. */
static void set_up(void) {
  cr_assert_eq(qp_palette_open(&palette, &err), QP_OK, "%s", err.text);
  qp_sample_gaussian(5, ROWS * COLUMNS, weight);
  for (unsigned i = ROWS * COLUMNS - 1; i > 0; i--)
    weight[i] = weight[i] * fabsf(weight[i]) + 0.7F * weight[i - 1];
}
static void tear_down(void) { qp_palette_close(palette); }
TestSuite(book_fit, .init = set_up, .fini = tear_down, .timeout = 120);

static qp_encoded encode(const char *name, const float *hessian) {
  const qp_quantizer *q = NULL;
  char path[512];
  snprintf(path, sizeof path, "%s/tests/encode/books.lua:%s", QP_SOURCE_DIR, name);
  cr_assert_eq(qp_palette_find(palette, path, &q, &err), QP_OK, "%s", err.text);
  const qp_encode_options options = {.threads = 2, .input_scale = 1, .hessian = hessian};
  qp_encoded e;
  cr_assert_eq(qp_encode_linear(q, weight, ROWS, COLUMNS, &options, &e, &err), QP_OK, "%s",
               err.text);
  return e;
}

/* What is stored decodes to what the figure says. */
static void expect_figure(const qp_encoded *e) {
  qp_reference *r = qp_reference_new();
  const qp_packed packed = qp_encoded_packed(e, 0);
  static uint16_t half[32 * COLUMNS];
  double lost = 0, power = 0;
  for (unsigned g = 0; g < ROWS / 32; g++) {
    cr_assert_eq(qp_reference_decode(r, &packed, g, half, &err), QP_OK);
    for (size_t i = 0; i < (size_t)32 * COLUMNS; i++) {
      const double w = (double)weight[g * 32 * COLUMNS + i];
      const double v = (double)(qp_half_to_float(half[i]) * e->row_scale[g * 32 + i / COLUMNS]);
      lost += (w - v) * (w - v);
      power += w * w;
    }
  }
  qp_reference_free(r);
  cr_expect(fabs(lost / power / e->distortion - 1) < 1e-3, "%g, and the figure is %g", lost / power,
            e->distortion);
}

Test(book_fit, codebooks_of_a_linear_lose_less_than_those_of_the_file) {
  static const struct {
    const char *name;
    double most; /* of what those of the file lose */
  } expected[] = {{"additive", 0.85}, {"matrix", 0.95},    {"scaled", 0.95},
                  {"path", 0.85},     {"row-pairs", 0.85}, {"row-signs", 0.95}};
  for (unsigned i = 0; i < sizeof expected / sizeof *expected; i++) {
    char as_is[64];
    snprintf(as_is, sizeof as_is, "%s-as-is", expected[i].name);
    qp_encoded before = encode(as_is, NULL), after = encode(expected[i].name, NULL);
    cr_expect_str_eq(after.unfitted, "");
    cr_expect(after.distortion < expected[i].most * before.distortion, "%s: %g, and %g as it is",
              expected[i].name, after.distortion, before.distortion);
    expect_figure(&after);
    qp_encoded_free(&before);
    qp_encoded_free(&after);
  }
}

Test(book_fit, what_cannot_be_fitted_says_so_and_keeps_the_codebooks_of_the_file) {
  static const char *const names[][2] = {{"square-as-is", "square"},
                                         {"row-square-as-is", "row-square"}};
  for (unsigned i = 0; i < 2; i++) {
    qp_encoded before = encode(names[i][0], NULL), after = encode(names[i][1], NULL);
    cr_expect(strstr(after.unfitted, "square: its decode is no sum"), "%s", after.unfitted);
    cr_expect_eq(after.distortion, before.distortion);
    expect_figure(&after);
    qp_encoded_free(&before);
    qp_encoded_free(&after);
  }
}
