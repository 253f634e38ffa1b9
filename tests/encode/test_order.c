/* SPDX-License-Identifier: MIT */
/* The order in which columns are coded: the largest of the Hessian's diagonal first. */
#include "gen/encode/order.h"

#include <criterion/criterion.h>
#include <string.h>

enum { COLUMNS = 8 };

static float hessian[COLUMNS * COLUMNS];

static void fill(void) {
  static const float diagonal[COLUMNS] = {1, 5, 2, 2, 9, 3, 3, 8};
  for (unsigned i = 0; i < COLUMNS * COLUMNS; i++) hessian[i] = (float)i / 100;
  for (unsigned i = 0; i < COLUMNS; i++) hessian[i * COLUMNS + i] = diagonal[i];
}
TestSuite(order, .init = fill);

static void expect(const unsigned *order, const unsigned *wanted, unsigned n) {
  for (unsigned i = 0; i < n; i++)
    cr_expect_eq(order[i], wanted[i], "place %u: column %u, not %u", i, order[i], wanted[i]);
}

Test(order, columns_go_by_the_diagonal_and_equal_ones_as_they_stand) {
  static const unsigned wanted[COLUMNS] = {4, 7, 1, 5, 6, 2, 3, 0};
  unsigned order[COLUMNS];
  cr_assert(qp_order_columns(hessian, COLUMNS, 0, COLUMNS, 1, order));
  expect(order, wanted, COLUMNS);
}

Test(order, pairs_stay_together_and_go_by_their_sum) {
  static const unsigned wanted[COLUMNS] = {4, 5, 6, 7, 0, 1, 2, 3};
  unsigned order[COLUMNS];
  cr_assert(qp_order_columns(hessian, COLUMNS, 0, COLUMNS, 2, order));
  expect(order, wanted, COLUMNS);
}

Test(order, of_a_part_no_other_column_is_touched) {
  static const unsigned wanted[COLUMNS] = {77, 77, 4, 5, 2, 3, 77, 77};
  unsigned order[COLUMNS];
  for (unsigned i = 0; i < COLUMNS; i++) order[i] = 77;
  cr_assert(qp_order_columns(hessian, COLUMNS, 2, 4, 2, order));
  expect(order, wanted, COLUMNS);
}

Test(order, a_hessian_is_ordered_by_rows_and_columns) {
  static const unsigned order[COLUMNS] = {4, 7, 1, 5, 6, 2, 3, 0};
  float out[COLUMNS * COLUMNS];
  qp_order_hessian(hessian, COLUMNS, order, out);
  for (unsigned i = 0; i < COLUMNS; i++)
    for (unsigned k = 0; k < COLUMNS; k++)
      cr_expect_eq(out[i * COLUMNS + k], hessian[order[i] * COLUMNS + order[k]]);
}
