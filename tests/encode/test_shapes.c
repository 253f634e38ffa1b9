/* SPDX-License-Identifier: MIT */
/* Vectors that group fields scale: fields near the best, weights that the codes decode to. */
#include "gen/encode/shapes.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/encode.h"
#include "gen/encode/sample.h"
#include "gen/encode/shape_table.h"
#include "runtime/half.h"

enum { GROUP = 8, GROUPS = 200, ROWS = 40, COLUMNS = 288 };

static qp_palette *palette;
static qp_error err;

static void open_palette(void) {
  cr_assert_eq(qp_palette_open(&palette, &err), QP_OK, "%s", err.text);
}
static void close_palette(void) { qp_palette_close(palette); }
TestSuite(shapes, .init = open_palette, .fini = close_palette);

static const qp_quantizer *find(const char *name) {
  const qp_quantizer *q = NULL;
  char path[512];
  snprintf(path, sizeof path, "%s/tests/encode/shapes.lua:%s", QP_SOURCE_DIR, name);
  cr_assert_eq(qp_palette_find(palette, path, &q, &err), QP_OK, "%s", err.text);
  return q;
}

/* The least sum of squares of a group's targets at a value of its one field. */
static double error_at(const qp_quantizer *q, uint32_t field, const float *x) {
  const uint32_t fields[QP_MAX_FIELDS] = {field};
  uint16_t table[16 * 4];
  double sum = 0;
  cr_assert_eq(qp_quantizer_table(q, fields, NULL, table, &err), QP_OK);
  for (unsigned i = 0; i < GROUP; i += 4) {
    double least = INFINITY;
    for (unsigned s = 0; s < 16; s++) {
      double square = 0;
      for (unsigned e = 0; e < 4; e++) {
        const double d = (double)x[i + e] - (double)qp_half_to_float(table[4 * s + e]);
        square += d * d;
      }
      least = fmin(least, square);
    }
    sum += least;
  }
  return sum;
}

Test(shapes, a_groups_number_is_near_the_best_of_all) {
  const qp_quantizer *q = find("whole");
  qp_shapes *s = NULL;
  float x[GROUPS * GROUP];
  double found = 0, best = 0;
  qp_sample_gaussian(3, GROUPS * GROUP, x);
  cr_assert_eq(qp_shapes_new(q, GROUP, GROUP, &s, &err), QP_OK, "%s", err.text);
  for (unsigned g = 0; g < GROUPS; g++) {
    uint32_t fields[1][QP_MAX_FIELDS];
    double least = INFINITY;
    qp_shapes_choose(s, GROUP, x + (size_t)g * GROUP, fields);
    found += error_at(q, fields[0][0], x + (size_t)g * GROUP);
    for (uint32_t v = 1; v < 64; v++) least = fmin(least, error_at(q, v, x + (size_t)g * GROUP));
    best += least;
  }
  cr_expect(found >= best * (1 - 1e-6) && found <= best * 1.08, "%g, the best is %g", found, best);
  qp_shapes_free(s);
}

/* A part of a row's last group, rows that no group of 32 has: what is stored is what was meant. */
Test(shapes, a_linear_decodes_to_what_its_figure_says) {
  static float w[ROWS * COLUMNS];
  static uint16_t half[32 * COLUMNS];
  qp_encoded e;
  double lost = 0, power = 0;
  qp_sample_gaussian(7, ROWS * COLUMNS, w);
  cr_assert_eq(qp_encode_linear(find("nested"), w, ROWS, COLUMNS, NULL, &e, &err), QP_OK, "%s",
               err.text);
  qp_reference *r = qp_reference_new();
  const qp_packed packed = qp_encoded_packed(&e, 0);
  for (unsigned g = 0; g < 2; g++) {
    cr_assert_eq(qp_reference_decode(r, &packed, g, half, &err), QP_OK);
    for (size_t i = 0; i < (size_t)32 * COLUMNS && g * 32 + i / COLUMNS < ROWS; i++) {
      const double x = (double)w[g * 32 * COLUMNS + i];
      const double d = x - (double)(qp_half_to_float(half[i]) * e.row_scale[g * 32 + i / COLUMNS]);
      lost += d * d;
      power += x * x;
    }
  }
  cr_expect(fabs(lost / power / e.distortion - 1) < 1e-3, "%g, and the figure is %g", lost / power,
            e.distortion);
  cr_expect(e.distortion < 0.36, "%g", e.distortion);
  qp_reference_free(r);
  qp_encoded_free(&e);
}

Test(shapes, a_decode_that_is_no_vector_times_a_number_is_refused) {
  qp_shapes *s = NULL;
  cr_expect_eq(qp_shapes_new(find("shifted"), 8, 8, &s, &err), QP_E_LIMIT);
  cr_expect(strstr(err.text, "a vector times a number"), "%s", err.text);
}

/* A kernel would not find what the CPU does. */
Test(shapes, weights_that_are_found_as_sums_have_no_table_for_kernels) {
  const qp_quantizer *q = NULL;
  qp_shape_table t;
  cr_assert_eq(qp_palette_find(palette, "tq1_0", &q, &err), QP_OK, "%s", err.text);
  cr_expect_eq(qp_shape_table_make(q, COLUMNS, false, &t, &err), QP_E_LIMIT);
  cr_expect(strstr(err.text, "tq1_0: weights that are sums"), "%s", err.text);
  cr_expect_eq(qp_shape_table_make(find("whole"), COLUMNS, false, &t, &err), QP_OK, "%s", err.text);
}
