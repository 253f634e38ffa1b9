/* SPDX-License-Identifier: MIT */
/* The trellis search in whole numbers: the same codes by every instruction set and however many
** sequences are in flight, also where differences and sums are clipped. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/sample.h"
#include "gen/encode/trellis.h"
#include "gen/encode/trellis_step.h"

enum { STEPS = 60, COUNT = 6, DIM = 8 };

static qp_error err;

typedef struct kind {
  unsigned window, step, dim;
} kind;

/* Rows and columns of every sort: fewer groups than lanes, fan 2, 4 and more, one column, few,
** many. */
static const kind kinds[] = {{12, 1, 1}, {12, 2, 1}, {13, 3, 2}, {12, 4, 2}, {12, 5, 4},
                             {11, 6, 2}, {12, 7, 3}, {12, 8, 2}, {11, 9, 2}, {12, 12, 8},
                             {6, 2, 1},  {7, 4, 2},  {5, 1, 1},  {12, 6, 1}, {13, 8, 1},
                             {14, 2, 2}, {13, 5, 5}};

/* Codes of all sequences by one instruction set, 'together' in flight at once. */
static void search(const char *isa, const kind *k, unsigned together, qp_ends ends, unsigned ahead,
                   const float *values, float (*target)[STEPS * DIM], uint32_t *start,
                   uint32_t (*code)[STEPS]) {
  qp_trellis t;
  qp_search *s;
  setenv("QPAL_ISA", isa, 1);
  cr_assert_eq(qp_trellis_make(&t, k->window, k->step, k->dim, values, &err), QP_OK, "%s",
               err.text);
  cr_assert_eq(qp_search_new(&t, &s, &err), QP_OK);
  for (unsigned first = 0; first < COUNT; first += together) {
    const float *targets[QP_TRELLIS_SEQUENCES];
    uint32_t *codes[QP_TRELLIS_SEQUENCES];
    for (unsigned i = 0; i < together; i++) {
      targets[i] = target[first + i];
      codes[i] = code[first + i];
      if (ends == QP_ENDS_FROM) start[first + i] = (first + i) % t.groups;
    }
    qp_trellis_search(&t, s, ends, together, STEPS, ahead, targets, start + first, NULL, codes);
  }
  unsetenv("QPAL_ISA");
  qp_search_free(s);
  qp_trellis_free(&t);
}

/* One sequence in seven has targets far beyond the table. */
static void make_targets(float (*target)[STEPS * DIM], float largest) {
  qp_sample_gaussian(4, (size_t)COUNT * STEPS * DIM, target[0]);
  for (unsigned n = 0; n < COUNT; n++)
    for (unsigned i = n; i < STEPS * DIM; i += 7) target[n][i] *= largest;
}

/* Values by a hash of the state, of which there are few: rows of strips. */
static void look_up(const kind *k, float *values) {
  for (uint32_t s = 0; s < 1u << k->window; s++)
    for (unsigned e = 0; s > 63 && e < k->dim; e++)
      values[s * k->dim + e] = values[(s * 0x9e37u >> (k->window - 6) & 63) * k->dim + e];
}

Test(trellis, codes_do_not_depend_on_the_instruction_set_nor_on_what_else_is_in_flight) {
  static const char *const isa[] = {"avx2", "avx512"};
  static float target[COUNT][STEPS * DIM];
  static uint32_t plain[COUNT][STEPS], code[COUNT][STEPS];
  uint32_t start[COUNT], other[COUNT];
  for (unsigned i = 0; i < 2 * sizeof kinds / sizeof *kinds; i++) {
    const kind *k = &kinds[i / 2];
    const qp_ends ends = i % 2 ? QP_ENDS_FROM : QP_ENDS_TIED;
    const unsigned ahead = i % 2 ? 12 : 0;
    const size_t n = (size_t)k->dim << k->window;
    float *values = malloc(sizeof *values * n);
    qp_sample_gaussian(i + 1, n, values);
    if (i % 4 > 1) look_up(k, values);
    make_targets(target, i % 3 ? 1 : 30);
    search("plain", k, 1, ends, ahead, values, target, start, plain);
    for (unsigned s = 0; s < 2; s++) {
      search(isa[s], k, s ? 6 : 3, ends, ahead, values, target, other, code);
      cr_expect_arr_eq(start, other, sizeof start, "%u %u %u %s", k->window, k->step, k->dim,
                       isa[s]);
      cr_expect_arr_eq(plain, code, sizeof code, "%u %u %u %s", k->window, k->step, k->dim, isa[s]);
    }
    free(values);
  }
}

Test(trellis, paths_begin_and_close_where_they_should_whatever_the_targets) {
  static float target[COUNT][STEPS * DIM];
  static uint32_t code[COUNT][STEPS];
  uint32_t start[COUNT];
  for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    const kind *k = &kinds[i];
    const size_t n = (size_t)k->dim << k->window;
    float *values = malloc(sizeof *values * n);
    qp_sample_gaussian(i + 1, n, values);
    make_targets(target, i % 2 ? 1e30F : 100);
    for (unsigned e = 0; e < STEPS * DIM; e++) target[0][e] = 1e30F; /* all sums are clipped */
    search("avx512", k, COUNT, QP_ENDS_TIED, 0, values, target, start, code);
    for (unsigned s = 0; s < COUNT; s++) {
      uint32_t group = start[s];
      for (unsigned at = 0; at < STEPS; at++) {
        cr_assert_lt(code[s][at], 1u << k->step);
        group = (code[s][at] << (k->window - k->step) | group) >> k->step;
      }
      cr_expect_eq(group, start[s], "%u %u %u", k->window, k->step, k->dim);
    }
    free(values);
  }
}

/* What the path of 'codes' behind a group costs; *end: the group that it ends in. */
static unsigned cost_of(const qp_trellis *t, const float *values, const float *target,
                        unsigned steps, uint32_t group, const uint32_t *codes, uint32_t *end) {
  unsigned sum = 0;
  for (unsigned at = 0; at < steps; at++) {
    const uint32_t state = codes[at] << (t->window - t->step) | group;
    for (unsigned i = 0; i < t->dim; i++)
      sum += qp_metric_square(&t->metric, qp_metric_target(&t->metric, target[at * t->dim + i]),
                              qp_metric_value(&t->metric, values[state * t->dim + i]));
    group = state >> t->step;
  }
  *end = group;
  return sum;
}

Test(trellis, short_runs_from_a_group_are_the_best_of_all_paths) {
  enum { SHORT = 3 };
  static const kind small[] = {{6, 2, 1}, {8, 4, 2}, {5, 1, 1}, {8, 2, 2}, {6, 4, 1}, {9, 5, 2}};
  static float values[2 << 9], target[SHORT * 2];
  for (unsigned i = 0; i < 60; i++) {
    const kind *k = &small[i % 6];
    qp_trellis t;
    qp_search *s;
    qp_sample_gaussian(i + 1, (size_t)k->dim << k->window, values);
    qp_sample_gaussian(i + 100, (size_t)SHORT * k->dim, target);
    cr_assert_eq(qp_trellis_make(&t, k->window, k->step, k->dim, values, &err), QP_OK);
    cr_assert_eq(qp_search_new(&t, &s, &err), QP_OK);
    uint32_t start = i % t.groups, found[SHORT], *codes = found, tried[SHORT], end, last;
    const float *targets = target;
    unsigned least = ~0u, closed = ~0u;
    qp_trellis_search(&t, s, QP_ENDS_FROM, 1, SHORT, 0, &targets, &start, NULL, &codes);
    const unsigned got = cost_of(&t, values, target, SHORT, i % t.groups, found, &last);
    for (uint32_t n = 0; n < 1u << SHORT * k->step; n++) {
      for (unsigned at = 0; at < SHORT; at++) tried[at] = n >> at * k->step & (t.fan - 1);
      const unsigned sum = cost_of(&t, values, target, SHORT, i % t.groups, tried, &end);
      if (sum < least) least = sum;
      if (end == (i + 1) % t.groups && sum < closed) closed = sum;
    }
    cr_expect_eq(got, least, "%u %u %u: %u for %u", k->window, k->step, k->dim, got, least);
    if (closed != ~0u) {
      end = (i + 1) % t.groups;
      qp_trellis_search(&t, s, QP_ENDS_BETWEEN, 1, SHORT, 0, &targets, &start, &end, &codes);
      cr_expect_eq(cost_of(&t, values, target, SHORT, i % t.groups, found, &last), closed);
      cr_expect_eq(last, end);
    }
    qp_search_free(s);
    qp_trellis_free(&t);
  }
}

/* ---- Tables whose states s and ~s decode to the same ---- */

/* Many columns in each half, sixteen, four, one, fewer groups than choices. */
static const kind mirrored[] = {{12, 3, 2}, {14, 3, 2}, {14, 4, 2}, {12, 4, 2},
                                {12, 5, 2}, {12, 6, 2}, {13, 7, 2}};

static void mirror(const kind *k, float *values) {
  const size_t last = ((size_t)1 << k->window) - 1;
  for (size_t s = 0; s <= last / 2; s++)
    memcpy(values + (last - s) * k->dim, values + s * k->dim, sizeof *values * k->dim);
}

/* The least sum of all paths from group 'start' (>= groups: from any) to group 'end' (to any). */
static unsigned least_of_all(const qp_trellis *t, const float *values, const float *target,
                             uint32_t start, uint32_t end) {
  static unsigned sum[2][1 << 11];
  unsigned least = ~0u;
  for (uint32_t g = 0; g < t->groups; g++)
    sum[0][g] = start < t->groups && g != start ? 1u << 30 : 0;
  for (unsigned at = 0; at < STEPS; at++) {
    const unsigned *from = sum[at % 2];
    unsigned *to = sum[(at + 1) % 2];
    for (uint32_t g = 0; g < t->groups; g++) to[g] = 1u << 30;
    for (uint32_t s = 0; s < t->groups * t->fan; s++) {
      unsigned v = from[s & (t->groups - 1)];
      for (unsigned i = 0; i < t->dim; i++)
        v += qp_metric_square(&t->metric, qp_metric_target(&t->metric, target[at * t->dim + i]),
                              qp_metric_value(&t->metric, values[s * t->dim + i]));
      if (v < to[s >> t->step]) to[s >> t->step] = v;
    }
  }
  for (uint32_t g = 0; g < t->groups; g++)
    if ((end >= t->groups || g == end) && sum[STEPS % 2][g] < least) least = sum[STEPS % 2][g];
  return least;
}

/* Paths with these ends are the best ones, however vectors find them. */
static void expect_best(const kind *k, qp_ends ends, const float *values,
                        float (*target)[STEPS * DIM]) {
  static const char *const isa[] = {"plain", "avx2", "avx512"};
  uint32_t code[COUNT][STEPS], start[COUNT], end[COUNT], last;
  unsigned least[COUNT];
  for (unsigned n = 0; n < 3; n++) {
    qp_trellis t;
    qp_search *s;
    const float *targets[COUNT];
    uint32_t *codes[COUNT];
    setenv("QPAL_ISA", isa[n], 1);
    cr_assert_eq(qp_trellis_make(&t, k->window, k->step, k->dim, values, &err), QP_OK);
    cr_assert(t.mirrored, "%u %u", k->window, k->step);
    cr_assert_eq(qp_search_new(&t, &s, &err), QP_OK);
    for (unsigned i = 0; i < COUNT; i++) {
      targets[i] = target[i], codes[i] = code[i];
      start[i] = (7 * i + 1) * 977 % t.groups, end[i] = (5 * i + 3) * 661 % t.groups;
    }
    const bool free = ends == QP_ENDS_FREE, closed = ends == QP_ENDS_BETWEEN;
    qp_trellis_search(&t, s, ends, COUNT, STEPS, 0, targets, start, closed ? end : NULL, codes);
    for (unsigned i = 0; i < COUNT; i++) {
      const unsigned got = cost_of(&t, values, target[i], STEPS, start[i], code[i], &last);
      if (n == 0)
        least[i] = least_of_all(&t, values, target[i], free ? t.groups : start[i],
                                closed ? end[i] : t.groups);
      cr_expect_eq(got, least[i], "%u %u, ends %d, %s: %u for %u", k->window, k->step, ends, isa[n],
                   got, least[i]);
      if (closed) cr_expect_eq(last, end[i]);
    }
    unsetenv("QPAL_ISA");
    qp_search_free(s);
    qp_trellis_free(&t);
  }
}

Test(trellis, states_that_decode_alike_share_squares_and_lose_no_path) {
  static float target[COUNT][STEPS * DIM];
  for (unsigned i = 0; i < sizeof mirrored / sizeof *mirrored; i++) {
    const kind *k = &mirrored[i];
    float *values = malloc(sizeof *values * k->dim << k->window);
    qp_sample_gaussian(i + 1, (size_t)k->dim << k->window, values);
    mirror(k, values);
    make_targets(target, 1);
    expect_best(k, QP_ENDS_FREE, values, target);
    expect_best(k, QP_ENDS_FROM, values, target);
    expect_best(k, QP_ENDS_BETWEEN, values, target);
    free(values);
  }
}

/* Half of the groups stand for all of them where few are kept, of many rows, few and one. */
Test(trellis, states_that_decode_alike_are_looked_ahead_at_alike_by_all_instruction_sets) {
  static const kind kinds_ahead[] = {{16, 5, 2}, {14, 6, 2}, {14, 7, 2}};
  static const char *const isa[] = {"avx2", "avx512"};
  static float target[COUNT][STEPS * DIM];
  static uint32_t plain[COUNT][STEPS], code[COUNT][STEPS];
  uint32_t start[COUNT], other[COUNT];
  for (unsigned i = 0; i < sizeof kinds_ahead / sizeof *kinds_ahead; i++) {
    const kind *k = &kinds_ahead[i];
    float *values = malloc(sizeof *values * k->dim << k->window);
    qp_sample_gaussian(i + 1, (size_t)k->dim << k->window, values);
    mirror(k, values);
    make_targets(target, 1);
    search("plain", k, 2, QP_ENDS_FROM, 12, values, target, start, plain);
    for (unsigned s = 0; s < 2; s++) {
      search(isa[s], k, s ? 6 : 3, QP_ENDS_FROM, 12, values, target, other, code);
      cr_expect_arr_eq(plain, code, sizeof code, "%u %u %s", k->window, k->step, isa[s]);
    }
    free(values);
  }
}
