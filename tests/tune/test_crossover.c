/* SPDX-License-Identifier: MIT */
/* From which number of rows decoding wins, by hand-made sides; and their records. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tuner/tune/crossover.h"

/* Kernels of batch 1 and 8 that take 10 and 16, decoding 30, cuBLAS 20 at one row and 60 at 101. */
static qp_crossover_sides usual(void) {
  qp_crossover_sides s = {.batches = 2, .batch = {1, 8}, .gemm_ps = {10, 16}, .dequant_ps = 30};
  qp_crossover_add(&s, 101, 60, NULL);
  qp_crossover_add(&s, 1, 20, NULL);
  return s;
}

Test(crossover, many_rows_are_several_launches_of_the_largest_kernel) {
  const qp_crossover_sides s = usual();
  static const struct {
    unsigned rows;
    int64_t ps;
  } cases[] = {{1, 10}, {2, 16}, {8, 16}, {9, 26}, {10, 32}, {16, 32}, {17, 42}, {24, 48}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    cr_expect_eq(qp_crossover_fused_ps(&s, cases[i].rows), cases[i].ps, "%u rows", cases[i].rows);
}

Test(crossover, between_two_points_cublas_is_on_the_line_through_them_and_outside_unknown) {
  const qp_crossover_sides s = usual();
  cr_expect_eq(qp_crossover_decoded_ps(&s, 1), 50);
  cr_expect_eq(qp_crossover_decoded_ps(&s, 51), 70);
  cr_expect_eq(qp_crossover_decoded_ps(&s, 101), 90);
  cr_expect_eq(qp_crossover_decoded_ps(&s, 102), 0);
  cr_expect_eq(qp_crossover_decoded_ps(&s, 0), 0);
}

/* At 25 rows the kernels take 58, decoding 59.6; at 26 they take 64 and from there on more. */
Test(crossover, it_is_the_first_row_from_which_on_decoding_always_wins) {
  qp_crossover_sides s = usual();
  cr_expect_eq(qp_crossover_rows(&s), 26);
  qp_crossover_add(&s, 60, 130, NULL); /* a slow product in between: 160 against 128 */
  cr_expect_eq(qp_crossover_rows(&s), 70, "%u", qp_crossover_rows(&s));
}

Test(crossover, it_may_be_at_once_or_never_or_not_known) {
  qp_crossover_sides s = usual();
  s.gemm_ps[0] = s.gemm_ps[1] = 1000;
  cr_expect_eq(qp_crossover_rows(&s), 1);
  s.gemm_ps[0] = s.gemm_ps[1] = 1;
  cr_expect_eq(qp_crossover_rows(&s), QP_CROSSOVER_NEVER);
  s = usual();
  s.dequant_ps = 0;
  cr_expect_eq(qp_crossover_rows(&s), 0, "decoding was not timed");
  s = usual();
  s.batches = 0;
  cr_expect_eq(qp_crossover_rows(&s), 0, "no kernel was timed");
  s = usual();
  s.points = 0;
  cr_expect_eq(qp_crossover_rows(&s), 0, "cuBLAS was not timed");
  s = usual();
  s.point[0].rows = 90; /* nothing is known below, and decoding wins there */
  cr_expect_eq(qp_crossover_rows(&s), 0);
}

static qp_record product(unsigned rows, int64_t ps, const char *date) {
  const qp_problem launch = {.op = QP_OP_GEMM,
                             .segments = 2,
                             .segment = {{.rows = 64}, {.rows = 32}},
                             .columns = 128,
                             .arch = 90,
                             .sm_count = 132};
  qp_record r;
  qp_cublas_record_begin(&launch, rows, &r);
  r.outcome = QP_RECORD_OK;
  r.ps = r.chain_ps = ps;
  r.samples = 1;
  snprintf(r.date, sizeof r.date, "%s", date);
  return r;
}

Test(crossover, of_two_records_of_cuBLAS_at_one_point_the_newer_counts_whichever_comes_first) {
  const qp_problem launch = {.op = QP_OP_GEMM,
                             .segments = 1,
                             .segment = {{.rows = 96}},
                             .columns = 128,
                             .arch = 90,
                             .sm_count = 132};
  qp_record list[] = {product(8, 100, "2026-02-01"), product(8, 70, "2026-03-01"),
                      product(8, 60, "2026-01-01"), product(4, 50, "2026-01-01"),
                      product(2, 10, "2026-01-01")};
  list[4].columns = 256; /* another shape */
  const qp_records records = {.count = 5, .list = list};
  qp_crossover_sides s = {0};
  qp_crossover_add_records(&records, &launch, &s);
  cr_assert_eq(s.points, 2);
  cr_expect(s.point[0].rows == 4 && s.point[0].ps == 50);
  cr_expect(s.point[1].rows == 8 && s.point[1].ps == 70, "%ld", (long)s.point[1].ps);
}

Test(crossover, the_batches_of_gemms_are_listed_once_and_rising) {
  static const unsigned of[] = {8, 1, 8, 4, 1};
  qp_record list[6] = {0};
  unsigned batch[QP_MAX_BATCHES] = {0};
  for (size_t i = 0; i < 5; i++) {
    snprintf(list[i].op, sizeof list[i].op, "gemm");
    list[i].batch = of[i];
  }
  list[5] = product(2, 10, "2026-01-01"); /* cuBLAS is no kernel of ours */
  const qp_records records = {.count = 6, .list = list};
  cr_assert_eq(qp_crossover_batches(&records, batch), 3);
  cr_expect(batch[0] == 1 && batch[1] == 4 && batch[2] == 8, "%u %u %u", batch[0], batch[1],
            batch[2]);
}

Test(crossover, a_record_of_cuBLAS_is_read_as_it_was_written) {
  qp_error err = {0};
  qp_record r = product(8, 100, "2026-02-01T00:00:00Z"), got;
  snprintf(r.gpu, sizeof r.gpu, "GPU");
  snprintf(r.driver, sizeof r.driver, "1");
  snprintf(r.timer, sizeof r.timer, "replay");
  snprintf(r.generator, sizeof r.generator, "cuBLAS 13.1.0");
  char *line = qp_record_print(&r);
  cr_assert_eq(qp_record_parse("line", line, strlen(line), &got, &err), QP_OK, "%s", err.text);
  cr_expect_eq(memcmp(&r, &got, sizeof r), 0);
  free(line);
}
