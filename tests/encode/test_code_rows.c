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
  return (qp_code_rows_of){
      .window = WINDOW, .step = step, .dim = 2, .metric = metric, .value = values};
}

static void expect_rows(const qp_code_rows *r, const qp_code_rows_of *of) {
  const unsigned fan = 1u << of->step;
  cr_assert_eq(r->span * r->windows, fan);
  for (uint32_t s = 0; s < 1u << WINDOW; s++) {
    const uint32_t p = s & ((1u << (WINDOW - of->step)) - 1), code = s >> (WINDOW - of->step);
    const size_t at = (size_t)p * r->windows + code / r->span;
    for (unsigned e = 0; e < 2; e++) {
      const int v = qp_metric_value(of->metric, values[2 * s + e]);
      const int got = r->pool ? r->pool[e * r->size + qp_code_rows_at(r, p, code)]
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

/* ---- Rows that alternate, or move from strip to strip ---- */

/* Neighbours are 4 entries apart, after 64 codes once 3. */
static uint32_t partly(uint32_t s) { return ((s & 127) * 0xc7 + (s >> 7) * 510) >> 7; }
/* The same, of which the ends of strips meet. */
static uint32_t nearly(uint32_t s) { return partly(s) & (ENTRIES - 1); }

Test(code_rows, rows_of_nearly_linear_hashes_move_from_strip_to_strip) {
  static const hash by[] = {nearly, partly};
  const qp_metric m = {.scale = 4096, .edge = 32767, .peak = 32767};
  for (unsigned i = 0; i < 2; i++) {
    qp_code_rows_of of = values_by(nearly, 7, &m);
    qp_code_rows r;
    for (uint32_t s = 0; s < 1u << WINDOW && by[i] == partly; s++)
      values[2 * s] = values[2 * s + 1] = (float)partly(s) / 1024;
    of.moves = true;
    cr_assert_eq(qp_code_rows_make_strips(&r, &of, 1 << 20, &err), QP_OK);
    cr_assert(r.pool && r.turn, "hash %u", i);
    cr_expect_eq(r.period, 64);
    cr_expect_leq(r.size, 8 * (ENTRIES + 128));
    expect_rows(&r, &of);
    qp_code_rows_free(&r);
  }
}

Test(code_rows, values_that_alternate_with_the_code_lie_in_strips_of_their_own) {
  const qp_metric m = {.scale = 4096, .edge = 32767, .peak = 32767};
  /* Each value once for each remainder of codes and each part that it comes with, and what windows
     reach beyond.  Windows that overlap are fewer numbers, but take many times as long to find. */
  static const unsigned size[3][2] = {{704, 1600}, {1344, 3136}, {1344, 3136}};
  for (unsigned sort = 0; sort < 3; sort++)
    for (unsigned parts = 0; parts < 2; parts++) {
      qp_code_rows_of of = values_by(linear, 8, &m);
      qp_code_rows r;
      for (uint32_t s = 0; s < 1u << WINDOW; s++) {
        const uint32_t code = s >> (WINDOW - 8);
        if (parts) values[2 * s] = 1; /* the same second ones are in each part */
        if (sort < 2 ? code >> sort & 1 : (code & 3) == 3) values[2 * s] = -values[2 * s];
        if (parts) values[2 * s + 1] = (float)(s * 0x9e37 >> 6 & 127) + (float)(code >> 6);
      }
      of.moves = true;
      cr_assert_eq(qp_code_rows_make_strips(&r, &of, 1 << 20, &err), QP_OK);
      cr_assert(r.pool);
      cr_expect_eq(r.span, QP_CODE_ROWS_CHUNK);
      cr_expect_eq(r.size, size[sort][parts], "sort %u, %u parts: %u", sort, parts, r.size);
      expect_rows(&r, &of);
      qp_code_rows_free(&r);
    }
}
