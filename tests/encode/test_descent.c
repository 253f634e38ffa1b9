/* SPDX-License-Identifier: MIT */
/* A second pass on codes: no row loses more, and in the end no other code would lose less. */
#include "gen/encode/descent.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/sample.h"

enum { ROWS = 32, COLUMNS = 96, FIRST = 16, END = 80, STATES = 16, SAMPLES = 128, MOST = 60 };

static qp_error err;
static float x[ROWS * COLUMNS], value[ROWS * COLUMNS], slope[ROWS * COLUMNS];
static float hessian[COLUMNS * COLUMNS], table[2 * STATES];
static uint32_t code[ROWS * COLUMNS];

/* E[x x^T] of samples whose columns lean on their neighbours. */
static void make_hessian(void) {
  float *s = malloc(sizeof *s * SAMPLES * COLUMNS);
  qp_sample_gaussian(5, SAMPLES * COLUMNS, s);
  for (unsigned i = 0; i < SAMPLES; i++)
    for (unsigned k = 1; k < COLUMNS; k++) s[i * COLUMNS + k] += 0.9f * s[i * COLUMNS + k - 1];
  memset(hessian, 0, sizeof hessian);
  for (unsigned i = 0; i < SAMPLES; i++)
    for (unsigned k = 0; k < COLUMNS; k++)
      for (unsigned c = 0; c < COLUMNS; c++)
        hessian[k * COLUMNS + c] += s[i * COLUMNS + k] * s[i * COLUMNS + c] / SAMPLES;
  free(s);
}

/* e (H + added), of column k of a row. */
static double slope_of(const qp_feedback *f, unsigned row, unsigned k) {
  double sum = 0;
  for (unsigned i = 0; i < COLUMNS; i++) {
    const double e = (double)(value[row * COLUMNS + i] - x[row * COLUMNS + i]);
    sum += e * ((double)hessian[i * COLUMNS + k] + (i == k ? f->added : 0));
  }
  return sum;
}

/* e (H + added) e^T of a row. */
static double loss(const qp_feedback *f, unsigned row) {
  double sum = 0;
  for (unsigned i = 0; i < COLUMNS; i++) {
    const double e = (double)(value[row * COLUMNS + i] - x[row * COLUMNS + i]);
    sum += f->added * e * e;
    for (unsigned k = 0; k < COLUMNS; k++)
      sum += e * (double)hessian[i * COLUMNS + k] *
             (double)(value[row * COLUMNS + k] - x[row * COLUMNS + k]);
  }
  return sum;
}

static void set_code(unsigned row, unsigned column, unsigned dim, uint32_t to) {
  for (unsigned e = 0; e < dim; e++) value[row * COLUMNS + column + e] = table[to * dim + e];
}

/* Rows to be approached, codes that were chosen badly, and e (H + added). */
static void begin(const qp_feedback *f, unsigned dim) {
  qp_sample_gaussian(7, ROWS * COLUMNS, x);
  qp_sample_gaussian(8, dim * STATES, table);
  memcpy(value, x, sizeof value);
  for (unsigned r = 0; r < ROWS; r++)
    for (unsigned k = FIRST; k < END; k += dim) {
      code[r * COLUMNS + (k - FIRST) / dim] = (r + k / dim) % STATES;
      set_code(r, k, dim, (r + k / dim) % STATES);
    }
  for (unsigned i = 0; i < ROWS * COLUMNS; i++)
    slope[i] = (float)slope_of(f, i / COLUMNS, i % COLUMNS);
}

static void expect_consistent(const qp_feedback *f, unsigned dim) {
  for (unsigned i = 0; i < ROWS * COLUMNS; i++)
    cr_assert_float_eq(slope[i], slope_of(f, i / COLUMNS, i % COLUMNS), 2e-3, "slope %u", i);
  for (unsigned r = 0; r < ROWS; r++)
    for (unsigned k = 0; k < COLUMNS; k++) {
      const bool coded = k >= FIRST && k < END;
      const uint32_t c = coded ? code[r * COLUMNS + (k - FIRST) / dim] : 0;
      cr_assert_eq(value[r * COLUMNS + k],
                   coded ? table[c * dim + (k - FIRST) % dim] : x[r * COLUMNS + k]);
    }
}

/* Of the first rows, with every code in every place. */
static void expect_lowest(const qp_feedback *f, unsigned dim) {
  for (unsigned r = 0; r < 4; r++)
    for (unsigned k = FIRST; k < END; k += dim) {
      const uint32_t own = code[r * COLUMNS + (k - FIRST) / dim];
      const double least = loss(f, r);
      for (uint32_t c = 0; c < STATES; c++) {
        set_code(r, k, dim, c);
        cr_expect(loss(f, r) > least - 1e-3, "row %u, column %u: %u in place of %u", r, k, c, own);
      }
      set_code(r, k, dim, own);
    }
}

static void descend(unsigned dim) {
  unsigned *edge = malloc(sizeof *edge * (COLUMNS + 1));
  for (unsigned i = 0; i <= COLUMNS; i++) edge[i] = i;
  qp_feedback f;
  qp_codewords words;
  make_hessian();
  const qp_status status = qp_feedback_make(&f, COLUMNS, hessian, 0.05, edge, COLUMNS, &err);
  if (status == QP_E_MISSING) return; /* no BLAS here */
  cr_assert_eq(status, QP_OK, "%s", err.text);
  begin(&f, dim);
  cr_assert_eq(qp_codewords_make(&words, STATES, dim, table, &err), QP_OK, "%s", err.text);
  qp_descent_row row[ROWS] = {{0}};
  for (unsigned r = 0; r < ROWS - 1; r++)
    row[r] = (qp_descent_row){table, &words, code + r * COLUMNS};
  const double alone = loss(&f, ROWS - 1);
  uint32_t before[ROWS * COLUMNS];
  unsigned rounds = 0;
  do {
    double lost[ROWS], sum = 0, left = 0;
    for (unsigned r = 0; r < ROWS; r++) sum += lost[r] = loss(&f, r);
    memcpy(before, code, sizeof before);
    qp_descend(&f, FIRST, END, dim, STATES, row, value, slope);
    for (unsigned r = 0; r < ROWS; r++)
      cr_expect(loss(&f, r) <= lost[r] * (1 + 1e-5), "row %u: %g, %g", r, loss(&f, r), lost[r]);
    for (unsigned r = 0; r < ROWS; r++) left += loss(&f, r);
    if (!rounds) cr_expect(left < 0.75 * sum, "%g of %g", left, sum);
  } while (memcmp(before, code, sizeof before) != 0 && ++rounds < MOST);
  cr_expect(rounds < MOST);
  cr_expect_eq(loss(&f, ROWS - 1), alone, "a row without a table was touched");
  expect_consistent(&f, dim);
  expect_lowest(&f, dim);
  qp_codewords_free(&words);
  qp_feedback_free(&f);
}

Test(descent, scalars_end_where_no_other_code_loses_less) { descend(1); }

Test(descent, pairs_end_where_no_other_code_loses_less) { descend(2); }

/* Codes that are equal, some of them best, and as many as no whole number of vectors has. */
Test(descent, pairs_are_the_same_with_and_without_vectors_the_first_of_equals) {
  enum { FEW = STATES - 3 };
  static uint32_t found[2][ROWS * COLUMNS];
  unsigned *edge = malloc(sizeof *edge * (COLUMNS + 1));
  for (unsigned i = 0; i <= COLUMNS; i++) edge[i] = i;
  qp_feedback f;
  make_hessian();
  const qp_status status = qp_feedback_make(&f, COLUMNS, hessian, 0.05, edge, COLUMNS, &err);
  if (status == QP_E_MISSING) return; /* no BLAS here */
  cr_assert_eq(status, QP_OK, "%s", err.text);
  for (unsigned n = 0; n < 2; n++) {
    qp_descent_row row[ROWS] = {{0}};
    begin(&f, 2);
    memcpy(table + 2 * 4, table + 2 * 1, sizeof *table * 2 * 3); /* 1 to 3 come again */
    for (unsigned r = 0; r < ROWS; r++) {
      for (unsigned k = 0; k < (END - FIRST) / 2; k++) {
        code[r * COLUMNS + k] = 0;
        set_code(r, FIRST + 2 * k, 2, 0);
      }
      row[r] = (qp_descent_row){table, NULL, code + r * COLUMNS};
    }
    if (n) setenv("QPAL_ISA", "plain", 1);
    qp_descend(&f, FIRST, END, 2, FEW, row, value, slope);
    unsetenv("QPAL_ISA");
    for (unsigned r = 0; r < ROWS; r++)
      for (unsigned k = 0; k < (END - FIRST) / 2; k++) cr_assert_lt(code[r * COLUMNS + k], FEW);
    memcpy(found[n], code, sizeof code);
  }
  cr_expect_arr_eq(found[0], found[1], sizeof found[0]);
  qp_feedback_free(&f);
}
