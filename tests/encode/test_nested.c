/* SPDX-License-Identifier: MIT */
/* Group fields of several sizes are found together, near the best that there are. */
#include "gen/encode/nested.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/encode.h"
#include "gen/encode/field_axis.h"
#include "gen/encode/sample.h"
#include "runtime/half.h"

enum { UNIT = 32, GROUP = 8, UNITS = 60 };

static qp_palette *palette;
static qp_error err;

static void open_palette(void) {
  cr_assert_eq(qp_palette_open(&palette, &err), QP_OK, "%s", err.text);
}
static void close_palette(void) { qp_palette_close(palette); }
TestSuite(nested, .init = open_palette, .fini = close_palette);

static const qp_quantizer *find(const char *name) {
  const qp_quantizer *q = NULL;
  char path[512];
  snprintf(path, sizeof path, "%s/tests/encode/nested.lua:%s", QP_SOURCE_DIR, name);
  cr_assert_eq(qp_palette_find(palette, path, &q, &err), QP_OK, "%s", err.text);
  return q;
}

/* The least sum of squared errors of a group's targets at these fields. */
static double error_at(const qp_quantizer *q, const uint32_t *fields, const float *x) {
  uint16_t table[8];
  double sum = 0;
  cr_assert_eq(qp_quantizer_table(q, fields, NULL, table, &err), QP_OK);
  for (unsigned i = 0; i < GROUP; i++) {
    double least = INFINITY;
    for (unsigned s = 0; s < 1u << q->window; s++)
      least = fmin(least, fabs((double)x[i] - (double)qp_half_to_float(table[s])));
    sum += least * least;
  }
  return sum;
}

/* All values of field 0 for the unit, all of field 1 for each group. */
static double exhaustive(const qp_quantizer *q, const qp_field_axis axis[2], const float *x) {
  double best = INFINITY;
  for (unsigned d = 0; d < axis[0].count; d++) {
    double sum = 0;
    for (unsigned g = 0; g < UNIT / GROUP && sum < best; g++) {
      double least = INFINITY;
      for (unsigned s = 0; s < axis[1].count; s++) {
        const uint32_t fields[QP_MAX_FIELDS] = {axis[0].value[d], axis[1].value[s]};
        least = fmin(least, error_at(q, fields, x + (size_t)g * GROUP));
      }
      sum += least;
    }
    best = fmin(best, sum);
  }
  return best;
}

static void expect_near_the_best(const char *name, double factor) {
  const qp_quantizer *q = find(name);
  qp_nested *n = NULL;
  qp_field_axis axis[2] = {{0}};
  float x[UNITS * UNIT];
  double found = 0, best = 0;
  qp_sample_gaussian(3, UNITS * UNIT, x);
  cr_assert_eq(qp_nested_new(q, 512, &n, &err), QP_OK, "%s", err.text);
  for (unsigned f = 0; f < 2; f++)
    cr_assert_eq(qp_field_axis_make(&axis[f], &q->field[f], QP_FRACTION_COARSE, &err), QP_OK);
  for (unsigned u = 0; u < UNITS; u++) {
    uint32_t fields[UNIT / GROUP][QP_MAX_FIELDS];
    cr_assert_eq(qp_nested_choose(n, UNIT, x + (size_t)u * UNIT, fields, &err), QP_OK);
    for (unsigned g = 0; g < UNIT / GROUP; g++) {
      cr_expect_eq(fields[g][0], fields[0][0], "one number for all of the larger group");
      found += error_at(q, fields[g], x + (size_t)u * UNIT + (size_t)g * GROUP);
    }
    best += exhaustive(q, axis, x + (size_t)u * UNIT);
  }
  cr_expect(found >= best * (1 - 1e-6) && found <= best * factor, "%s: %g, the best is %g", name,
            found, best);
  for (unsigned f = 0; f < 2; f++) qp_field_axis_free(&axis[f]);
  qp_nested_free(n);
}

Test(nested, a_scale_and_parts_of_it_are_near_the_best_of_all) {
  expect_near_the_best("two-levels", 1.01);
}

Test(nested, so_are_fields_of_a_decode_of_any_other_form) {
  expect_near_the_best("two-planes", 1.03);
}

Test(nested, a_range_of_numbers_is_searched_in_its_order_and_whole) {
  const qp_field fields[] = {{.type = QP_FIELD_S4, .lo = -3, .hi = 2},
                             {.type = QP_FIELD_E4M3, .lo = -1, .hi = 1},
                             {.type = QP_FIELD_F16, .lo = 1, .hi = 2},
                             {.type = QP_FIELD_BF16, .lo = -2, .hi = 2},
                             {.type = QP_FIELD_F32, .lo = 0.5, .hi = 4}};
  const unsigned counts[] = {6, 113, 65, 0, 193};
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    qp_field_axis a = {0};
    cr_assert_eq(qp_field_axis_make(&a, &fields[i], QP_FRACTION_COARSE, &err), QP_OK);
    if (counts[i]) cr_expect_eq(a.count, counts[i], "%zu: %u", i, a.count);
    cr_expect_eq(qp_field_number(fields[i].type, a.value[0]), fields[i].lo);
    cr_expect_eq(qp_field_number(fields[i].type, a.value[a.count - 1]), fields[i].hi);
    for (unsigned k = 1; k < a.count; k++)
      cr_assert_lt(qp_field_number(fields[i].type, a.value[k - 1]),
                   qp_field_number(fields[i].type, a.value[k]));
    qp_field_axis_free(&a);
  }
}

/* Through the whole encoder: what it says is lost is what its packed bits decode to. */
Test(nested, fields_of_rows_and_of_the_linear_are_stored_and_read_back) {
  enum { ROWS = 40, COLUMNS = 416 };
  const qp_quantizer *q = find("three-extents");
  float *w = malloc(sizeof *w * ROWS * COLUMNS);
  qp_encoded e = {0};
  cr_assert_not_null(w);
  qp_sample_gaussian(5, (size_t)ROWS * COLUMNS, w);
  cr_assert_eq(qp_encode_linear(q, w, ROWS, COLUMNS, NULL, &e, &err), QP_OK, "%s", err.text);
  cr_expect(e.distortion > 0.01 && e.distortion < 0.03, "%g", e.distortion);
  const qp_packed p = qp_encoded_packed(&e, 0);
  qp_reference *reference = qp_reference_new();
  uint16_t value[32 * COLUMNS];
  double lost = 0, power = 0;
  for (unsigned r = 0; r < ROWS; r++) {
    if (r % 32 == 0) cr_assert_eq(qp_reference_decode(reference, &p, r / 32, value, &err), QP_OK);
    cr_expect_eq(qp_reference_field(&p, 0, r, 0), qp_reference_field(&p, 0, 0, 0));
    for (unsigned c = 0; c < COLUMNS; c++) {
      const double x = (double)w[(size_t)r * COLUMNS + c];
      const double y = (double)qp_half_to_float(value[(r % 32) * COLUMNS + c]);
      lost += (x - (double)e.row_scale[r] * y) * (x - (double)e.row_scale[r] * y);
      power += x * x;
    }
  }
  cr_expect_float_eq(lost / power, e.distortion, 1e-6);
  qp_reference_free(reference);
  qp_encoded_free(&e);
  free(w);
}
