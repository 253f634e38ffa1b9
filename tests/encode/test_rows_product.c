/* SPDX-License-Identifier: MIT */
/* Products of 32 rows with a triangle: those of plain arithmetic, the same bits with any vectors.*/
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/rows_product.h"
#include "gen/encode/sample.h"

enum { ROWS = QP_PRODUCT_ROWS, MOST = 300, STRIDE = MOST + 3 };

static float m[MOST * STRIDE], a[MOST * ROWS], out[MOST * ROWS], wanted[MOST * ROWS];

/* By what the header promises. */
static void by_hand(unsigned columns, qp_rows_part part) {
  for (unsigned j = 0; j < columns; j++)
    for (unsigned r = 0; r < ROWS; r++) {
      float sum = 0;
      const unsigned end = part == QP_ROWS_BEFORE ? j + 1 : columns;
      for (unsigned i = part == QP_ROWS_BEHIND ? j : 0; i < end; i++)
        sum = fmaf(m[j * STRIDE + i], a[i * ROWS + r], sum);
      wanted[j * ROWS + r] = sum;
    }
}

static void product_with(const char *isa, unsigned columns, qp_rows_part part) {
  for (unsigned i = 0; i < MOST * ROWS; i++) out[i] = NAN;
  setenv("QPAL_ISA", isa, 1);
  qp_rows_product(columns, m, STRIDE, part, a, out);
  unsetenv("QPAL_ISA");
}

/* Fewer columns than a tile has, no whole number of them, more than are summed up at once. */
Test(rows_product, every_sum_is_that_of_multiply_adds_in_order_with_any_vectors) {
  static const char *const isa[] = {"plain", "avx2", "avx512"};
  static const unsigned columns[] = {1, 5, 6, 12, 13, 64, 129, MOST};
  qp_sample_gaussian(1, MOST * STRIDE, m);
  qp_sample_gaussian(2, MOST * ROWS, a);
  for (unsigned n = 0; n < sizeof columns / sizeof *columns; n++)
    for (qp_rows_part part = QP_ROWS_BEFORE; part <= QP_ROWS_ALL; part++) {
      by_hand(columns[n], part);
      for (unsigned s = 0; s < sizeof isa / sizeof *isa; s++) {
        product_with(isa[s], columns[n], part);
        cr_expect_arr_eq(out, wanted, sizeof *out * columns[n] * ROWS, "%s, %u columns, part %d",
                         isa[s], columns[n], (int)part);
        for (unsigned i = columns[n] * ROWS; i < MOST * ROWS; i++)
          cr_assert(isnan(out[i]), "%s, %u columns: written behind the end", isa[s], columns[n]);
      }
    }
}

Test(rows_product, rows_come_side_by_side_and_back) {
  static float rows[ROWS * MOST], side[MOST * ROWS], back[ROWS * MOST];
  static const unsigned columns[] = {1, 16, 37, MOST};
  for (unsigned n = 0; n < sizeof columns / sizeof *columns; n++) {
    const size_t cells = (size_t)ROWS * columns[n];
    qp_sample_gaussian(3, cells, rows);
    qp_rows_gather(columns[n], rows, side);
    for (unsigned r = 0; r < ROWS; r++)
      for (unsigned k = 0; k < columns[n]; k++)
        cr_assert_eq(side[k * ROWS + r], rows[r * columns[n] + k]);
    qp_rows_scatter(columns[n], side, back);
    cr_expect_arr_eq(back, rows, sizeof *rows * cells);
  }
}
