/* SPDX-License-Identifier: MIT */
/* Group fields are found with the codes of their group, each as good as can be. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>

#include "gen/encode/coder.h"
#include "gen/encode/sample.h"
#include "runtime/half.h"

static qp_palette *palette;
static qp_error err;

static void open_palette(void) {
  cr_assert_eq(qp_palette_open(&palette, &err), QP_OK, "%s", err.text);
}
static void close_palette(void) { qp_palette_close(palette); }
TestSuite(fields, .init = open_palette, .fini = close_palette);

static const qp_quantizer *find(const char *name) {
  const qp_quantizer *q = NULL;
  cr_assert_eq(qp_palette_find(palette, name, &q, &err), QP_OK, "%s", err.text);
  return q;
}

Test(fields, the_scale_of_a_group_is_the_best_of_those_that_are_tried) {
  /* nf4-g64: fp16 scales with 6 bits of fraction, all of which can be tried. */
  float weights[40 * 64];
  qp_sample_gaussian(6, 40 * 64, weights);
  const qp_quantizer *q = find("nf4-g64");
  qp_field_search *search;
  cr_assert_eq(qp_field_search_new(q, &search, &err), QP_OK, "%s", err.text);
  for (unsigned g = 0; g < 40; g++) {
    uint32_t fields[QP_MAX_FIELDS], at[QP_MAX_FIELDS], code[64];
    float value[64], *x = weights + (size_t)g * 64;
    uint16_t table[16];
    double found = 0, best = INFINITY;
    cr_assert_eq(qp_field_search_run(search, 64, x, fields, at, &err), QP_OK);
    cr_assert_eq(qp_field_search_codes(search, at, 64, x, code, value, &err), QP_OK);
    for (unsigned i = 0; i < 64; i++) found += pow((double)(x[i] - value[i]), 2);
    for (uint32_t scale = 0x1400; scale <= 0x4800; scale += 16) {
      double sum = 0;
      cr_assert_eq(qp_quantizer_table(q, (uint32_t[QP_MAX_FIELDS]){scale}, NULL, table, &err),
                   QP_OK);
      for (unsigned i = 0; i < 64; i++) {
        double least = INFINITY;
        for (unsigned c = 0; c < 16; c++)
          least = fmin(least, pow((double)(x[i] - qp_half_to_float(table[c])), 2));
        sum += least;
      }
      best = fmin(best, sum);
    }
    cr_expect_leq(found, best * (1 + 1e-4), "group %u: %g found, %g possible", g, found, best);
  }
  qp_field_search_free(search);
}

enum { GROUPS = 12, GROUP = 128 };

/* The sum of squared errors of groups of a quantizer of tests/encode/int8.lua. */
static double error_of(const char *name, const float *weights) {
  char path[512];
  snprintf(path, sizeof path, "%s/tests/encode/int8.lua:%s", QP_SOURCE_DIR, name);
  qp_field_search *search;
  double sum = 0;
  cr_assert_eq(qp_field_search_new(find(path), &search, &err), QP_OK, "%s", err.text);
  for (unsigned g = 0; g < GROUPS; g++) {
    const float *x = weights + (size_t)g * GROUP;
    uint32_t fields[QP_MAX_FIELDS], at[QP_MAX_FIELDS], code[GROUP];
    float value[GROUP];
    cr_assert_eq(qp_field_search_run(search, GROUP, x, fields, at, &err), QP_OK);
    cr_assert_eq(qp_field_search_codes(search, at, GROUP, x, code, value, &err), QP_OK);
    for (unsigned i = 0; i < GROUP; i++) sum += pow((double)(x[i] - value[i]), 2);
  }
  qp_field_search_free(search);
  return sum;
}

Test(fields, a_zero_beside_the_scale_is_never_worse_than_none) {
  float weights[GROUPS * GROUP];
  qp_sample_gaussian(7, GROUPS * GROUP, weights);
  const double symmetric = error_of("symmetric", weights), zero = error_of("zero", weights);
  cr_expect_leq(zero, symmetric, "%g with a zero, %g without", zero, symmetric);
  for (unsigned i = 0; i < GROUPS * GROUP; i++) weights[i] = fabsf(weights[i]);
  const double one_sided = error_of("zero", weights);
  cr_expect_lt(one_sided, 0.5 * error_of("symmetric", weights), "one side: %g", one_sided);
}
