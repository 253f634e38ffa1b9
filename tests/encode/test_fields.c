/* SPDX-License-Identifier: MIT */
/* Group fields are found with the codes of their group, each as good as can be. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

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

/* The least error of a group over a grid of fields: scales with 6 bits of fraction, zeros. */
static double least_error(const qp_quantizer *q, unsigned n, const float *x, unsigned zeros) {
  double best = INFINITY;
  uint16_t table[16];
  const unsigned codes = 1u << q->window;
  for (uint32_t scale = 0x1400; scale < 0x4800; scale += 16) {
    for (uint32_t zero = 0; zero < zeros; zero++) {
      double sum = 0;
      cr_assert_eq(qp_quantizer_table(q, (uint32_t[QP_MAX_FIELDS]){scale, zero}, NULL, table, &err),
                   QP_OK);
      for (unsigned i = 0; i < n && sum < best; i++) {
        double least = INFINITY;
        for (unsigned c = 0; c < codes; c++)
          least = fmin(least, pow((double)(x[i] - qp_half_to_float(table[c])), 2));
        sum += least;
      }
      best = fmin(best, sum);
    }
  }
  return best;
}

static double found_error(qp_field_search *search, unsigned n, const float *x) {
  qp_field_choice choice = {.value = NULL};
  uint32_t code[128];
  float value[128];
  double sum = 0;
  cr_assert_eq(qp_field_search_run(search, n, x, &choice, &err), QP_OK, "%s", err.text);
  qp_field_choice_codes(&choice, n, x, code, value);
  for (unsigned i = 0; i < n; i++) sum += pow((double)(x[i] - value[i]), 2);
  qp_field_choice_free(&choice);
  return sum;
}

Test(fields, groups_lose_no_more_than_by_the_best_scale_and_zero_of_a_grid) {
  static const struct {
    const char *name;
    unsigned size, groups, zeros;
  } row[] = {
      {"nf4-g64", 64, 40, 1},
      {QP_SOURCE_DIR "/tests/encode/fields.lua:affine-zero", 64, 12, 8},
  };
  float weights[40 * 64];
  qp_sample_gaussian(6, 40 * 64, weights);
  for (unsigned k = 0; k < sizeof row / sizeof *row; k++) {
    const qp_quantizer *q = find(row[k].name);
    qp_field_search *search;
    double found = 0, possible = 0;
    cr_assert_eq(qp_field_search_new(q, &search, &err), QP_OK, "%s", err.text);
    for (unsigned g = 0; g < row[k].groups; g++) {
      const float *x = weights + (size_t)g * row[k].size;
      const double is = found_error(search, row[k].size, x);
      const double least = least_error(q, row[k].size, x, row[k].zeros);
      cr_expect_leq(is, least * 1.005, "%s, group %u: %g, possible %g", q->name, g, is, least);
      found += is;
      possible += least;
    }
    cr_expect_leq(found, possible, "%s: %g, possible %g", q->name, found, possible);
    qp_field_search_free(search);
  }
}

Test(fields, outliers_and_one_sided_groups_keep_to_the_best_of_a_grid) {
  const qp_quantizer *q = find(QP_SOURCE_DIR "/tests/encode/fields.lua:affine-zero");
  qp_field_search *search;
  float x[64];
  cr_assert_eq(qp_field_search_new(q, &search, &err), QP_OK, "%s", err.text);
  for (unsigned g = 0; g < 6; g++) {
    qp_sample_gaussian(20 + g, 64, x);
    for (unsigned i = 0; i < 64 && g >= 3; i++) x[i] = fabsf(x[i]);
    if (g % 3) x[5] *= g % 3 == 1 ? 6 : -20;
    const double is = found_error(search, 64, x), least = least_error(q, 64, x, 8);
    cr_expect_leq(is, least * 1.005, "group %u: %g, possible %g", g, is, least);
  }
  memset(x, 0, sizeof x);
  cr_expect_eq(found_error(search, 64, x), 0);
  qp_field_search_free(search);
}

Test(fields, what_is_not_affine_is_searched_too) {
  /* Where the codebook of a group may be the one or the other, each is right for some. */
  const qp_quantizer *q = find(QP_SOURCE_DIR "/tests/encode/fields.lua:either");
  qp_field_search *search;
  float x[64];
  cr_assert_eq(qp_field_search_new(q, &search, &err), QP_OK, "%s", err.text);
  for (unsigned g = 0; g < 4; g++) {
    qp_sample_gaussian(30 + g, 64, x);
    for (unsigned i = 0; i < 64; i++) x[i] += g % 2 ? 0.4f : -0.4f;
    const double is = found_error(search, 64, x), least = least_error(q, 64, x, 2);
    cr_expect_leq(is, least * 1.001, "group %u: %g, possible %g", g, is, least);
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
  for (unsigned g = 0; g < GROUPS; g++)
    sum += found_error(search, GROUP, weights + (size_t)g * GROUP);
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
