/* SPDX-License-Identifier: MIT */
/* Error feedback: sums are exact, so that no order of them matters. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/feedback.h"
#include "gen/encode/rows_product.h"
#include "gen/encode/sample.h"

enum { ROWS = 32, COLUMNS = 192, GRAIN = 8, BLOCKS = COLUMNS / GRAIN };

static qp_error err;
static qp_feedback feedback;
static float hessian[COLUMNS * COLUMNS], x[ROWS * COLUMNS], value[ROWS * COLUMNS];
static double errors[ROWS * COLUMNS], sums[ROWS * COLUMNS];

/* Of few directions and columns of very different sizes, so that U has large and small numbers. */
static void make_hessian(void) {
  enum { DIRECTIONS = 48 };
  static float u[DIRECTIONS * COLUMNS], size[COLUMNS];
  qp_sample_gaussian(7, DIRECTIONS * COLUMNS, u);
  qp_sample_gaussian(8, COLUMNS, size);
  for (unsigned i = 0; i < COLUMNS; i++)
    for (unsigned j = 0; j <= i; j++) {
      float sum = i == j ? 2 : 0;
      for (unsigned m = 0; m < DIRECTIONS; m++) sum += u[m * COLUMNS + i] * u[m * COLUMNS + j];
      hessian[i * COLUMNS + j] = hessian[j * COLUMNS + i] = sum * expf(2 * (size[i] + size[j]));
    }
}

static void set_up(void) {
  unsigned *edge = malloc(sizeof *edge * (BLOCKS + 1));
  for (unsigned k = 0; k <= BLOCKS; k++) edge[k] = k * GRAIN;
  make_hessian();
  const qp_status status = qp_feedback_make(&feedback, COLUMNS, hessian, 0.01, edge, BLOCKS, &err);
  if (status == QP_E_MISSING) cr_skip_test("%s", err.text);
  cr_assert_eq(status, QP_OK, "%s", err.text);
  qp_sample_gaussian(9, ROWS * COLUMNS, x);
  qp_sample_gaussian(10, ROWS * COLUMNS, value);
  for (unsigned i = 0; i < ROWS * COLUMNS; i++) {
    value[i] = x[i] + 3 * value[i];
    errors[i] = qp_feedback_error(value[i], x[i]);
  }
}
static void tear_down(void) { qp_feedback_free(&feedback); }
TestSuite(feedback, .init = set_up, .fini = tear_down);

/* The sum of row r and column k over errors of columns [0, end), last ones first. */
static long long backwards(unsigned r, unsigned k, unsigned end) {
  long long sum = 0;
  for (unsigned i = end; i-- > 0;)
    sum += (long long)errors[r * COLUMNS + i] * (long long)feedback.unit[i * COLUMNS + k];
  return sum;
}

Test(feedback, sums_are_those_of_whole_numbers_in_any_order) {
  enum { HALF = COLUMNS / 2 };
  qp_feedback_sum(&feedback, HALF, HALF, COLUMNS, errors, sums);
  for (unsigned at = HALF; at + GRAIN < COLUMNS; at += GRAIN)
    qp_feedback_pass(&feedback, at, at + GRAIN, at + GRAIN, COLUMNS, errors, sums);
  for (unsigned r = 0; r < ROWS; r++)
    for (unsigned k = HALF; k < COLUMNS; k++)
      cr_assert_eq((long long)sums[r * COLUMNS + k], backwards(r, k, k / GRAIN * GRAIN),
                   "row %u, column %u", r, k);
}

Test(feedback, each_factor_has_a_number_of_its_own) {
  unsigned *edge = malloc(sizeof *edge * 2);
  qp_feedback other;
  edge[0] = 0, edge[1] = COLUMNS;
  cr_assert_eq(qp_feedback_make(&other, COLUMNS, hessian, 0.01, edge, 1, &err), QP_OK);
  cr_expect(feedback.serial && other.serial && other.serial != feedback.serial);
  qp_feedback_free(&other);
}

Test(feedback, the_largest_sums_fill_no_more_than_a_double_has) {
  double most = 0;
  for (size_t i = 0; i < COLUMNS * COLUMNS; i++) {
    const double unit = (double)feedback.unit[i];
    cr_assert_eq(unit, rint(unit));
    most = fmax(most, fabs(unit));
  }
  cr_expect(most * (1 << QP_FEEDBACK_ERROR_BITS) * COLUMNS <= 0x1p53, "%g", most);
  cr_expect(most >= 0x1p18, "%g", most);
}

Test(feedback, errors_are_rounded_to_even_and_brought_into_their_range) {
  cr_expect_eq(qp_feedback_error(0x1.8p-16f, 0), 2);
  cr_expect_eq(qp_feedback_error(0, 0x1.4p-15f), -2);
  cr_expect_eq(qp_feedback_error(1, -2), 3 << 16);
  cr_expect_eq(qp_feedback_error(1e9f, 0), 1 << 24);
  cr_expect_eq(qp_feedback_error(-1e9f, 0), -(1 << 24));
}

/* The targets that plain arithmetic gives, within what whole numbers round off. */
Test(feedback, targets_take_up_what_earlier_columns_lost) {
  qp_feedback_sum(&feedback, COLUMNS - GRAIN, COLUMNS - GRAIN, COLUMNS, errors, sums);
  float *target = malloc(sizeof x);
  qp_feedback_targets(&feedback, COLUMNS - GRAIN, COLUMNS, x, sums, target);
  for (unsigned r = 0; r < ROWS; r++)
    for (unsigned k = COLUMNS - GRAIN; k < COLUMNS; k++) {
      double sum = 0, size = 0;
      for (unsigned i = 0; i < COLUMNS - GRAIN; i++) {
        const double u = (double)feedback.unit[i * COLUMNS + k] * feedback.scale[k] * 0x1p16;
        const double part = ((double)value[r * COLUMNS + i] - (double)x[r * COLUMNS + i]) * u;
        sum += part;
        size += fabs(part);
      }
      const double wanted = (double)x[r * COLUMNS + k] - sum;
      cr_expect(fabs((double)target[r * COLUMNS + k] - wanted) <= 1e-5 * (1 + size),
                "row %u, column %u: %g, not %g", r, k, (double)target[r * COLUMNS + k], wanted);
    }
  free(target);
}

/* (H + added) of two columns. */
static double damped(unsigned i, unsigned k) {
  return (double)hessian[i * COLUMNS + k] + (i == k ? feedback.added : 0);
}

Test(feedback, twice_through_the_root_is_through_the_damped_hessian) {
  static float a[COLUMNS * ROWS], c[COLUMNS * ROWS], slopes[COLUMNS * ROWS], plain[COLUMNS * ROWS];
  qp_rows_gather(COLUMNS, x, a);
  qp_feedback_root(&feedback, a, c);
  qp_feedback_slopes(&feedback, c, slopes);
  qp_feedback_times(&feedback, a, plain);
  for (unsigned r = 0; r < ROWS; r++) {
    double loss = 0, squares = 0;
    for (unsigned k = 0; k < COLUMNS; k++) {
      double sum = 0, size = 0;
      for (unsigned i = 0; i < COLUMNS; i++) {
        const double part = (double)x[r * COLUMNS + i] * damped(i, k);
        sum += part;
        size += fabs(part);
      }
      cr_assert_float_eq(slopes[k * ROWS + r], sum, 1e-5 * size, "row %u, column %u", r, k);
      sum -= feedback.added * (double)x[r * COLUMNS + k];
      cr_assert_float_eq(plain[k * ROWS + r], sum, 1e-5 * size, "row %u, column %u", r, k);
      sum += feedback.added * (double)x[r * COLUMNS + k];
      loss += sum * (double)x[r * COLUMNS + k];
      squares += (double)c[k * ROWS + r] * (double)c[k * ROWS + r];
    }
    cr_expect_float_eq(squares / loss, 1, 1e-5, "row %u", r);
  }
}
