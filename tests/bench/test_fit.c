/* SPDX-License-Identifier: MIT */
/* Lines through the rows of a bench. */
#include "tuner/bench/fit.h"

#include <criterion/criterion.h>
#include <math.h>

static qp_quantizer one, other;

static qp_bench_row row(const qp_quantizer *q, uint64_t bytes, double tb_s, double launch_us) {
  const double ps = (double)bytes / tb_s + launch_us * 1e6;
  return (qp_bench_row){.quantizer = q,
                        .batch = 1,
                        .outcome = QP_BENCH_PASS,
                        .bytes = bytes,
                        .chain_ps = llround(ps)};
}

Test(bench_fit, slope_and_intercept_are_those_of_the_rows) {
  qp_bench_row rows[] = {row(&one, 1000000, 2.5, 1.5), row(&one, 9000000, 2.5, 1.5),
                         row(&one, 44000000, 2.5, 1.5), row(&other, 5000000, 1, 9)};
  const qp_bench b = {.row = rows, .rows = 4};
  qp_bench_fit f;
  cr_assert(qp_bench_fit_rows(&b, &one, 1, &f));
  cr_expect_float_eq(f.tb_s, 2.5, 1e-3);
  cr_expect_float_eq(f.launch_us, 1.5, 1e-3);
  cr_expect_eq(f.rows, 3);
  cr_expect_lt(f.worst, 1e-4);
}

Test(bench_fit, a_row_off_the_line_is_told) {
  qp_bench_row rows[] = {row(&one, 1000000, 2.5, 1.5), row(&one, 9000000, 2.5, 1.5),
                         row(&one, 44000000, 2.5, 9), row(&one, 20000000, 2.5, 1.5)};
  const qp_bench b = {.row = rows, .rows = 4};
  qp_bench_fit f;
  cr_assert(qp_bench_fit_rows(&b, &one, 1, &f));
  cr_expect_gt(f.worst, 0.05);
}

Test(bench_fit, too_few_rows_or_failed_ones_give_no_line) {
  qp_bench_row rows[] = {row(&one, 1000000, 2.5, 1.5), row(&one, 9000000, 2.5, 1.5),
                         row(&one, 9000000, 2.5, 1.5), row(&one, 44000000, 2.5, 1.5)};
  rows[3].outcome = QP_BENCH_FAIL;
  qp_bench b = {.row = rows, .rows = 2};
  qp_bench_fit f;
  cr_expect_not(qp_bench_fit_rows(&b, &one, 1, &f));
  cr_expect_not(qp_bench_fit_rows(&b, &one, 8, &f));
  b.rows = 4;
  cr_expect(qp_bench_fit_rows(&b, &one, 1, &f));
  cr_expect_eq(f.rows, 3);
  rows[1].bytes = rows[2].bytes = rows[0].bytes;
  cr_expect_not(qp_bench_fit_rows(&b, &one, 1, &f), "all of one size");
}
