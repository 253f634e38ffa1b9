/* SPDX-License-Identifier: MIT */
/* Fields that add up: recognised, fitted as well as a fine grid has them, codes the nearest. */
#include "gen/encode/field_sums.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "gen/encode/sample.h"
#include "gen/encode/sum_table.h"
#include "gen/spec/field.h"
#include "runtime/half.h"

enum { GROUP = 32, GROUPS = 30, GRID = 50, MOST_CODES = 1 << 13 };

static qp_palette *palette;
static qp_error err;

static void open_palette(void) {
  cr_assert_eq(qp_palette_open(&palette, &err), QP_OK, "%s", err.text);
}
static void close_palette(void) { qp_palette_close(palette); }
TestSuite(field_sums, .init = open_palette, .fini = close_palette);

static const qp_quantizer *find(const char *name) {
  const qp_quantizer *q = NULL;
  char path[512];
  snprintf(path, sizeof path, "%s/tests/encode/sums.lua:%s", QP_SOURCE_DIR, name);
  cr_assert_eq(qp_palette_find(palette, path, &q, &err), QP_OK, "%s", err.text);
  return q;
}

static qp_field_sums *sums_of(const char *name) {
  qp_field_sums *s = NULL;
  cr_assert_eq(qp_field_sums_new(find(name), &s, &err), QP_OK, "%s", err.text);
  return s;
}

Test(field_sums, are_seen_where_each_weight_adds_fields_up_for_itself) {
  static const struct {
    const char *name;
    bool seen;
  } row[] = {{"signs", true},  {"two", true},      {"shifted", true}, {"four", true},
             {"bound", false}, {"rounded", false}, {"square", false}, {"few-numbers", false}};
  for (unsigned i = 0; i < sizeof row / sizeof *row; i++) {
    qp_field_sums *s = sums_of(row[i].name);
    cr_expect_eq(s != NULL, row[i].seen, "%s", row[i].name);
    qp_field_sums_free(s);
  }
}

/* What kernels are told of a quantizer, or that the CPU finds its fields otherwise. */
Test(field_sums, have_a_table_for_kernels_where_the_cpu_finds_them) {
  qp_sum_table t;
  cr_assert_eq(qp_sum_table_make(find("shifted"), true, &t, &err), QP_OK, "%s", err.text);
  cr_expect_eq(t.classes, 4);
  cr_expect_eq(t.halves, 2); /* fields come by their names */
  cr_expect_eq(t.bf16, 1);
  for (unsigned i = 0; i < QP_SUM_TABLE_PARTS; i++) {
    uint32_t begin;
    memcpy(&begin, t.data + i * sizeof begin, sizeof begin);
    cr_expect(begin % 16 == 0 && begin <= t.bytes, "part %u", i);
  }
  qp_sum_table_free(&t);
  const qp_quantizer *line = NULL;
  cr_assert_eq(qp_palette_find(palette, "int4-g128", &line, &err), QP_OK, "%s", err.text);
  cr_expect(qp_is_sums(find("four")) && !qp_is_sums(find("rounded")) && !qp_is_sums(line));
  cr_expect_eq(qp_sum_table_make(line, true, &t, &err), QP_E_ARG);
  cr_expect(strstr(err.text, "int4-g128: weights are no sums"), "%s", err.text);
}

static void values_of(const qp_quantizer *q, const uint32_t *fields, float *out) {
  uint16_t half[16];
  for (uint32_t c = 0; c < 1u << q->window; c++) {
    qp_quantizer_decode(q, c, fields, NULL, half);
    for (unsigned e = 0; e < q->dim; e++) out[c * q->dim + e] = qp_half_to_float(half[e]);
  }
}

/* The least squared error of one code's weights. */
static double least_error(const qp_quantizer *q, const float *value, const float *x) {
  double least = INFINITY;
  for (uint32_t c = 0; c < 1u << q->window; c++) {
    double sum = 0;
    for (unsigned e = 0; e < q->dim; e++) sum += pow((double)(x[e] - value[c * q->dim + e]), 2);
    least = fmin(least, sum);
  }
  return least;
}

static double error_at(const qp_quantizer *q, const uint32_t *fields, const float *x) {
  static float value[MOST_CODES * 4];
  double sum = 0;
  values_of(q, fields, value);
  for (unsigned i = 0; i < GROUP; i += q->dim) sum += least_error(q, value, x + i);
  return sum;
}

/* Weights as they are, all alike, with an outlier, small, large. */
static void draw_group(unsigned i, float *x) {
  qp_sample_gaussian(i, GROUP, x);
  for (unsigned k = 0; k < GROUP; k++) {
    if (i % 5 == 1) x[k] = copysignf(1, x[k]);
    if (i % 5 == 2 && k == i % GROUP) x[k] *= 8;
    if (i % 5 == 3) x[k] *= 0.01F;
    if (i % 5 == 4) x[k] *= 2;
  }
}

/* The least error on a grid of both fields, 6 places an octave. */
static double grid_error(const qp_quantizer *q, const float *x) {
  uint32_t raw[QP_MAX_FIELDS] = {0};
  double least = INFINITY;
  for (unsigned i = 0; i < GRID; i++)
    for (unsigned k = 0; k < GRID; k++) {
      raw[0] = qp_field_raw(q->field[0].type, 3.5 * pow(2, -(double)i / 6));
      raw[1] = qp_field_raw(q->field[1].type, 3.5 * pow(2, -(double)k / 6));
      least = fmin(least, error_at(q, raw, x));
    }
  return least;
}

Test(field_sums, fields_lose_no_more_than_the_best_of_a_grid) {
  static const char *const name[] = {"two", "shifted", "four"};
  for (unsigned n = 0; n < 3; n++) {
    const qp_quantizer *q = find(name[n]);
    qp_field_sums *s = sums_of(name[n]);
    double found = 0, grid = 0;
    for (unsigned i = 0; i < (q->dim > 1 ? 3 : GROUPS); i++) {
      float x[GROUP];
      uint32_t raw[QP_MAX_FIELDS] = {0};
      draw_group(i, x);
      qp_field_sums_choose(s, GROUP, x, raw);
      const double own = error_at(q, raw, x), other = grid_error(q, x);
      cr_expect(own <= 1.1 * other + 1e-6, "%s, group %u: %g, %g on a grid", name[n], i, own,
                other);
      found += own, grid += other;
    }
    cr_expect(found <= 1.01 * grid, "%s: %g, %g on a grid", name[n], found, grid);
    qp_field_sums_free(s);
  }
}

/* Of other shapes than those that the starts were chosen with: Laplace's, Student's t of 3, and a
   mixture of two sizes; 'i' says which. */
static void draw_other(unsigned i, float *x) {
  float normal[4][GROUP];
  for (unsigned k = 0; k < 4; k++) qp_sample_gaussian(1000 + 4 * i + k, GROUP, normal[k]);
  for (unsigned k = 0; k < GROUP; k++) {
    const float a = normal[1][k], b = normal[2][k], c = normal[3][k];
    const float size = i % 3 == 0   ? sqrtf((a * a + b * b) / 2)
                       : i % 3 == 1 ? 1 / sqrtf((a * a + b * b + c * c) / 3)
                       : a > 1      ? 2
                                    : 0.5F;
    x[k] = normal[0][k] * size;
  }
}

Test(field_sums, fields_lose_no_more_than_a_grid_on_other_shapes_than_normal) {
  static const char *const name[] = {"two", "shifted"};
  static const double most[] = {1, 0.93, 1}; /* of the grid's, which ends before t's outliers */
  for (unsigned n = 0; n < 2; n++) {
    const qp_quantizer *q = find(name[n]);
    qp_field_sums *s = sums_of(name[n]);
    for (unsigned shape = 0; shape < 3; shape++) {
      double found = 0, grid = 0;
      for (unsigned i = shape; i < 2 * GROUPS; i += 3) {
        float x[GROUP];
        uint32_t raw[QP_MAX_FIELDS] = {0};
        draw_other(i, x);
        qp_field_sums_choose(s, GROUP, x, raw);
        const double own = error_at(q, raw, x), other = grid_error(q, x);
        cr_expect(own <= 1.1 * other + 1e-6, "%s, group %u: %g, %g on a grid", name[n], i, own,
                  other);
        found += own, grid += other;
      }
      cr_expect(found <= most[shape] * grid, "%s, shape %u: %g, %g on a grid", name[n], shape,
                found, grid);
    }
    qp_field_sums_free(s);
  }
}

Test(field_sums, codes_are_the_nearest_and_values_are_what_they_decode_to) {
  static const char *const name[] = {"signs", "shifted", "four"};
  for (unsigned n = 0; n < 3; n++) {
    const qp_quantizer *q = find(name[n]);
    qp_field_sums *s = sums_of(name[n]);
    for (unsigned i = 0; i < GROUPS; i++) {
      static float table[MOST_CODES * 4];
      float x[GROUP], value[GROUP];
      uint32_t raw[QP_MAX_FIELDS] = {0}, code[GROUP];
      draw_group(i, x);
      qp_field_sums_choose(s, GROUP, x, raw);
      if (i % 3 == 0) raw[0] = qp_field_raw(q->field[0].type, 0.9), raw[1] = raw[0];
      values_of(q, raw, table);
      qp_field_sums_codes(s, raw, GROUP, x, code, value);
      for (unsigned k = 0; k < GROUP; k += q->dim) {
        double sum = 0;
        cr_assert_lt(code[k / q->dim], 1u << q->window);
        for (unsigned e = 0; e < q->dim; e++) {
          cr_expect_eq(value[k + e], table[code[k / q->dim] * q->dim + e]);
          sum += pow((double)(x[k + e] - value[k + e]), 2);
        }
        cr_expect(sum <= least_error(q, table, x + k) * (1 + 1e-6) + 1e-9, "%s, group %u", name[n],
                  i);
      }
    }
    qp_field_sums_free(s);
  }
}

Test(field_sums, zeros_have_the_least_fields) {
  const qp_quantizer *q = find("signs");
  qp_field_sums *s = sums_of("signs");
  const float x[GROUP] = {0};
  uint32_t raw[QP_MAX_FIELDS] = {0};
  qp_field_sums_choose(s, GROUP, x, raw);
  for (unsigned f = 0; f < 3; f++)
    cr_expect_eq(qp_field_number(q->field[f].type, raw[f]), q->field[f].lo);
  qp_field_sums_free(s);
}
