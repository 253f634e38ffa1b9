/* SPDX-License-Identifier: MIT */
/* Rows of states behind a group: from strips where a hash makes few of them, or from a table, each
** number is that of its state. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "gen/encode/code_rows.h"
#include "gen/encode/sample.h"

enum { WINDOW = 14, ENTRIES = 256 };

static qp_error err;
static float codebook[2 * ENTRIES], values[2 << WINDOW];

typedef uint32_t (*hash)(uint32_t state);

static uint32_t linear(uint32_t s) { return s * 0x9e37 >> 6 & (ENTRIES - 1); }
static uint32_t square(uint32_t s) { return (s * s + s) >> 6 & (ENTRIES - 1); }
/* Neighbours are 8 entries apart, or 7: no strips, but few windows. */
static uint32_t uneven(uint32_t s) {
  return ((s & 255) * 0xc7 + (s >> 8) * 0xff * 4) >> 7 & (ENTRIES - 1);
}

static qp_code_rows_of values_by(hash h, unsigned step, const qp_metric *metric) {
  qp_sample_gaussian(1, 2 * ENTRIES, codebook);
  for (uint32_t s = 0; s < 1u << WINDOW; s++)
    for (unsigned e = 0; e < 2; e++) values[2 * s + e] = codebook[2 * h(s) + e];
  return (qp_code_rows_of){WINDOW, step, 2, metric, values};
}

static void expect_rows(const qp_code_rows *r, const qp_code_rows_of *of) {
  const unsigned fan = 1u << of->step;
  cr_assert_eq(r->span * r->windows, fan);
  for (uint32_t s = 0; s < 1u << WINDOW; s++) {
    const uint32_t p = s & ((1u << (WINDOW - of->step)) - 1), code = s >> (WINDOW - of->step);
    const size_t at = (size_t)p * r->windows + code / r->span;
    for (unsigned e = 0; e < 2; e++) {
      const int v = qp_metric_value(of->metric, values[2 * s + e]);
      const int got = r->pool ? r->pool[e * r->size + r->offset[at] + code % r->span]
                              : r->table[(at * 2 + e) * QP_CODE_ROWS_LANES + code % r->span];
      cr_assert_eq(got, v, "group %u, code %u, step %u", p, code, of->step);
    }
  }
}

Test(code_rows, a_linear_hash_makes_long_strips) {
  for (unsigned step = 3; step <= 7; step++) {
    const qp_metric m = {.scale = 4096, .edge = 32767, .peak = 8191}; /* some are clipped */
    const qp_code_rows_of of = values_by(linear, step, &m);
    qp_code_rows r;
    cr_assert_eq(qp_code_rows_make_strips(&r, &of, 4096, &err), QP_OK);
    cr_assert(r.pool);
    cr_expect_eq(r.span, step < 6 ? 1u << step : QP_CODE_ROWS_CHUNK);
    cr_expect_leq(r.size, 2 * ENTRIES + 2 * QP_CODE_ROWS_SLACK + ENTRIES);
    expect_rows(&r, &of);
    qp_code_rows_free(&r);
  }
}

Test(code_rows, where_neighbours_vary_windows_overlap) {
  const qp_metric m = {.scale = 4096, .edge = 32767, .peak = 32767};
  const qp_code_rows_of of = values_by(uneven, 6, &m);
  qp_code_rows r;
  cr_assert_eq(qp_code_rows_make_strips(&r, &of, 1 << 16, &err), QP_OK);
  cr_assert(r.pool);
  cr_expect_eq(r.span, QP_CODE_ROWS_CHUNK);
  /* 16384 states; sums of the group's bytes are 704 different ones, of 4 to the unit of a code */
  cr_expect_leq(r.size, 8192, "%u", r.size);
  expect_rows(&r, &of);
  qp_code_rows_free(&r);
}

Test(code_rows, others_have_a_table) {
  const qp_metric m = {.scale = 4096, .edge = 32767, .peak = 32767};
  for (unsigned step = 3; step <= 7; step++) {
    const qp_code_rows_of of = values_by(square, step, &m);
    qp_code_rows r;
    cr_assert_eq(qp_code_rows_make_strips(&r, &of, 1000, &err), QP_OK);
    cr_expect(!r.pool && !r.offset);
    cr_assert_eq(qp_code_rows_make_table(&r, &of, &err), QP_OK);
    expect_rows(&r, &of);
    qp_code_rows_free(&r);
  }
}
