/* SPDX-License-Identifier: MIT */
/* Searches that keep some of the paths: exact where they keep every group, close to it where they
** do not, always on their ends. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/sample.h"
#include "gen/encode/trellis.h"
#include "runtime/half.h"

static qp_error err;

/* N(0,1) as fp16 numbers, one weight for each state. */
static float *random_values(uint64_t seed, unsigned window, unsigned dim) {
  const size_t n = (size_t)dim << window;
  float *v = malloc(sizeof *v * n);
  qp_sample_gaussian(seed, n, v);
  for (size_t i = 0; i < n; i++) v[i] = qp_half_to_float(qp_float_to_half(v[i]));
  return v;
}

typedef struct bench {
  float *values, *target;
  uint32_t *code;
  qp_trellis beam;
  qp_search *search;
} bench;

static bench make_bench(unsigned window, unsigned step, unsigned dim, unsigned width,
                        unsigned steps) {
  bench b = {.values = random_values(1, window, dim)};
  b.target = malloc(sizeof *b.target * steps * dim);
  b.code = malloc(sizeof *b.code * steps);
  qp_sample_gaussian(2, (size_t)steps * dim, b.target);
  cr_assert_eq(qp_trellis_make_kept(&b.beam, window, step, dim, width, b.values, &err), QP_OK, "%s",
               err.text);
  cr_assert_eq(qp_search_new(&b.beam, &b.search, &err), QP_OK);
  return b;
}

/* The codes of a run. */
static void search(bench *b, qp_ends ends, unsigned steps, uint32_t *start, const uint32_t *end) {
  const float *target = b->target;
  uint32_t *code = b->code;
  qp_trellis_search(&b->beam, b->search, ends, 1, steps, 0, &target, start, end, &code);
}

static void free_bench(bench *b) {
  qp_search_free(b->search);
  qp_trellis_free(&b->beam);
  free(b->values);
  free(b->target);
  free(b->code);
}

/* Sum of squares of a bench's codes from 'group' on; *end is the group that they lead to. */
static double cost_of(const bench *b, unsigned steps, uint32_t group, uint32_t *end) {
  const qp_trellis *t = &b->beam;
  double sum = 0;
  for (unsigned i = 0; i < steps; i++) {
    cr_assert_lt(b->code[i], t->fan);
    const uint32_t state = b->code[i] << (t->window - t->step) | group;
    for (unsigned e = 0; e < t->dim; e++) {
      const double d = (double)(b->target[i * t->dim + e] - b->values[state * t->dim + e]);
      sum += d * d;
    }
    group = state >> t->step;
  }
  *end = group;
  return sum;
}

/* Least sums of squares of all paths from a group (or any: >= groups) to each group. */
static void best_to_all(const bench *b, unsigned steps, uint32_t from, double *sum) {
  const qp_trellis *t = &b->beam;
  double *next = calloc(t->groups, sizeof *next);
  for (uint32_t g = 0; g < t->groups; g++) sum[g] = from >= t->groups || g == from ? 0 : INFINITY;
  for (unsigned i = 0; i < steps; i++) {
    for (uint32_t g = 0; g < t->groups; g++) next[g] = INFINITY;
    for (uint32_t s = 0; s < t->groups * t->fan; s++) {
      double c = sum[s & (t->groups - 1)];
      for (unsigned e = 0; e < t->dim; e++) {
        const double d = (double)(b->target[i * t->dim + e] - b->values[s * t->dim + e]);
        c += d * d;
      }
      if (c < next[s >> t->step]) next[s >> t->step] = c;
    }
    memcpy(sum, next, sizeof *sum * t->groups);
  }
  free(next);
}

static double least_of(const double *sum, uint32_t n) {
  double least = INFINITY;
  for (uint32_t i = 0; i < n; i++) least = sum[i] < least ? sum[i] : least;
  return least;
}

enum { ROUNDING = 1000 }; /* of sums in whole numbers: less than a part of so many */

Test(trellis_table, a_beam_of_all_groups_finds_the_best_path_for_its_ends) {
  static const struct {
    unsigned window, step, dim;
  } kinds[] = {{12, 3, 1}, {11, 4, 2}, {10, 2, 4}, {9, 1, 3}, {12, 5, 2}};
  enum { STEPS = 150 };
  double sum[1 << 10];
  for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    bench b = make_bench(kinds[i].window, kinds[i].step, kinds[i].dim, 1 << 16, STEPS);
    uint32_t start, end;
    const uint32_t last = 77 % b.beam.groups;
    best_to_all(&b, STEPS, b.beam.groups, sum);
    double best = least_of(sum, b.beam.groups);
    search(&b, QP_ENDS_FREE, STEPS, &start, NULL);
    cr_expect_float_eq(cost_of(&b, STEPS, start, &end), best, best / ROUNDING, "free, kind %u", i);
    start = 5;
    best_to_all(&b, STEPS, start, sum);
    best = least_of(sum, b.beam.groups);
    search(&b, QP_ENDS_FROM, STEPS, &start, NULL);
    cr_expect_float_eq(cost_of(&b, STEPS, start, &end), best, best / ROUNDING, "from, kind %u", i);
    for (unsigned steps = (kinds[i].window + kinds[i].step - 1) / kinds[i].step; steps <= STEPS;
         steps = steps * 3 / 2) {
      best_to_all(&b, steps, start, sum);
      search(&b, QP_ENDS_BETWEEN, steps, &start, &last);
      cr_expect_float_eq(cost_of(&b, steps, start, &end), sum[last], sum[last] / ROUNDING,
                         "between, kind %u, %u steps", i, steps);
      cr_expect_eq(end, last);
    }
    free_bench(&b);
  }
}

Test(trellis_table, a_beam_of_an_eighth_of_the_groups_loses_little_and_closes_its_circle) {
  enum { WINDOW = 14, STEP = 2, STEPS = 1500, GROUPS = 1 << (WINDOW - STEP) };
  static double sum[GROUPS];
  bench b = make_bench(WINDOW, STEP, 1, GROUPS / 8, STEPS);
  uint32_t start, end;
  search(&b, QP_ENDS_TIED, STEPS, &start, NULL);
  best_to_all(&b, STEPS, start, sum);
  const double circle = cost_of(&b, STEPS, start, &end);
  cr_expect_eq(end, start);
  cr_expect_geq(circle, sum[start] * (1 - 1e-6));
  cr_expect_leq(circle, sum[start] * 1.05, "%g, and %g is possible", circle, sum[start]);
  best_to_all(&b, STEPS, GROUPS, sum);
  const double best = least_of(sum, GROUPS); /* of runs free at both ends: no circle is better */
  cr_expect_leq(circle, best * 1.05, "%g, and %g without a circle", circle, best);
  free_bench(&b);
}

Test(trellis_table, codes_do_not_depend_on_the_instruction_set) {
  static const struct {
    unsigned window, step, dim;
  } kinds[] = {{16, 4, 2}, {14, 2, 1}, {16, 7, 2}, {12, 3, 4}, {12, 2, 5}};
  enum { STEPS = 300 };
  for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    uint32_t first[STEPS], start;
    bench b = make_bench(kinds[i].window, kinds[i].step, kinds[i].dim, 256, STEPS);
    search(&b, QP_ENDS_FREE, STEPS, &start, NULL);
    memcpy(first, b.code, sizeof first);
    free_bench(&b);
    setenv("QPAL_ISA", "plain", 1);
    b = make_bench(kinds[i].window, kinds[i].step, kinds[i].dim, 256, STEPS);
    uint32_t again;
    search(&b, QP_ENDS_FREE, STEPS, &again, NULL);
    unsetenv("QPAL_ISA");
    cr_expect_eq(again, start, "kind %u", i);
    cr_expect_arr_eq(b.code, first, sizeof first, "kind %u", i);
    free_bench(&b);
  }
}

Test(trellis_table, a_circle_closes_where_two_families_of_paths_never_meet) {
  /* States s and ~s decode to the same; the run is longer than the steps whose past is kept. */
  enum { WINDOW = 10, STEP = 2, STEPS = 30000, STATES = 1 << WINDOW };
  bench b = make_bench(WINDOW, STEP, 1, STATES, STEPS);
  qp_search_free(b.search);
  qp_trellis_free(&b.beam);
  for (unsigned s = 0; s < STATES / 2; s++) b.values[STATES - 1 - s] = b.values[s];
  cr_assert_eq(qp_trellis_make_kept(&b.beam, WINDOW, STEP, 1, STATES, b.values, &err), QP_OK);
  cr_assert_eq(qp_search_new(&b.beam, &b.search, &err), QP_OK);
  static double sum[STATES >> STEP];
  uint32_t start, end;
  search(&b, QP_ENDS_TIED, STEPS, &start, NULL);
  const double cost = cost_of(&b, STEPS, start, &end);
  best_to_all(&b, STEPS, start, sum);
  cr_expect_eq(end, start);
  /* which family is right shows at the end alone: a family given up costs a few steps there */
  cr_expect_leq(cost, sum[start] * 1.001, "%g, and %g is possible", cost, sum[start]);
  free_bench(&b);
}

Test(trellis_table, equal_sums_everywhere_are_no_trouble) {
  enum { WINDOW = 12, STEP = 2, STEPS = 200, STATES = 1 << WINDOW };
  float *values = calloc(STATES, sizeof *values);
  float target[STEPS];
  uint32_t code[STEPS], start = 3;
  qp_trellis beam;
  qp_search *work;
  const float *targets = target;
  uint32_t *codes = code;
  for (unsigned i = 0; i < STEPS; i++) target[i] = i % 7 ? 0 : 1;
  cr_assert_eq(qp_trellis_make_kept(&beam, WINDOW, STEP, 1, 64, values, &err), QP_OK);
  cr_assert_eq(qp_search_new(&beam, &work, &err), QP_OK);
  qp_trellis_search(&beam, work, QP_ENDS_BETWEEN, 1, STEPS, 0, &targets, &start, &start, &codes);
  uint32_t group = start;
  for (unsigned i = 0; i < STEPS; i++) group = (code[i] << (WINDOW - STEP) | group) >> STEP;
  cr_expect_eq(group, start);
  qp_search_free(work);
  qp_trellis_free(&beam);
  free(values);
}

Test(trellis_table, what_cannot_be_searched_is_refused) {
  qp_trellis b;
  const float value = 0;
  cr_expect_eq(qp_trellis_make(&b, 25, 4, 2, &value, &err), QP_E_LIMIT);
  cr_expect(strstr(err.text, "window 25") && strstr(err.text, "24"), "%s", err.text);
  cr_expect_eq(qp_trellis_make(&b, 22, 12, 2, &value, &err), QP_E_LIMIT);
  cr_expect_eq(qp_trellis_make(&b, 22, 4, 9, &value, &err), QP_E_LIMIT);
}
