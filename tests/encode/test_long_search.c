/* SPDX-License-Identifier: MIT */
/* Runs of long windows, of whose paths some are followed: the same by every instruction set, on
** their ends, near the best, and closed where a circle's seam costs least. */
#include "gen/encode/long_search.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/sample.h"
#include "gen/encode/survivors_meet.h"
#include "gen/encode/trellis.h"

static qp_error err;

enum { DIM = 8, BITS = 13 };

/* Values of each state; by a hash of the state, of which there are 64, or 8192: rows of
   strips; such that rows move from strip to strip, or alternate. */
typedef enum sort { BY_STATE, LOOKED_UP, VARIED, UNEVEN, ALTERNATING } sort;

typedef struct kind {
  unsigned window, step, dim, width;
  sort sort;
} kind;

static float *values_of(const kind *k) {
  const size_t n = (size_t)k->dim << k->window;
  float *v = malloc(sizeof *v * n);
  float entry[64 * DIM];
  static float various[1 << BITS];
  qp_sample_gaussian(k->window + k->step, n, v);
  qp_sample_gaussian(k->window, 64 * k->dim, entry);
  qp_sample_gaussian(k->window, 1 << BITS, various);
  for (uint32_t s = 64; k->sort == LOOKED_UP && s < 1u << k->window; s++)
    for (unsigned e = 0; e < k->dim; e++)
      v[s * k->dim + e] = v[(s * 0x9e37u >> (k->window - 6) & 63) * k->dim + e];
  for (uint32_t s = 0; k->sort == VARIED && s < 1u << k->window; s++)
    v[s] = various[s * 0x9e37u >> (k->window - BITS) & ((1 << BITS) - 1)];
  for (uint32_t s = 1u << k->window; k->sort > VARIED && s-- > 0;) {
    const unsigned bits = k->window - k->step;
    const uint32_t code = s >> bits, low = s & ((1u << bits) - 1);
    const uint32_t at =
        k->sort == UNEVEN ? (low * 0xc7 + code * 510) >> 7 & 63 : s * 0x9e37u >> 9 & 63;
    for (unsigned e = 0; e < k->dim; e++)
      v[s * k->dim + e] =
          entry[at * k->dim + e] * (k->sort == ALTERNATING && code & 1 ? -1.F : 1.F);
  }
  return v;
}

static void make(const char *isa, const kind *k, const float *values, qp_trellis *t,
                 qp_search **search) {
  if (isa) setenv("QPAL_ISA", isa, 1);
  cr_assert_eq(qp_trellis_make_kept(t, k->window, k->step, k->dim, k->width, values, &err), QP_OK,
               "%s", err.text);
  cr_assert_eq(qp_search_new(t, search, &err), QP_OK);
  unsetenv("QPAL_ISA");
}

/* Sum of squares of codes from 'group' on; *end is the group that they lead to. */
static double cost_of(const qp_trellis *t, const float *values, const float *target, unsigned steps,
                      uint32_t group, const uint32_t *code, uint32_t *end) {
  double sum = 0;
  for (unsigned i = 0; i < steps; i++) {
    cr_assert_lt(code[i], t->fan);
    const uint32_t state = code[i] << (t->window - t->step) | group;
    for (unsigned e = 0; e < t->dim; e++) {
      const double d = (double)(target[i * t->dim + e] - values[state * t->dim + e]);
      sum += d * d;
    }
    group = state >> t->step;
  }
  *end = group;
  return sum;
}

/* Rows of one window and of several, of one, two and four vectors, of fewer codes than lanes; from
** strips and from a table; few paths, and all; with a step looked ahead, and without;
** of windows that are sifted. */
static const kind kinds[] = {
    {16, 4, 2, 256, LOOKED_UP},     {16, 5, 2, 128, LOOKED_UP}, {17, 6, 2, 200, LOOKED_UP},
    {16, 7, 2, 100, LOOKED_UP},     {16, 8, 1, 64, LOOKED_UP},  {14, 3, 1, 128, LOOKED_UP},
    {16, 4, 2, 256, BY_STATE},      {15, 6, 4, 64, BY_STATE},   {14, 2, 1, 200, BY_STATE},
    {12, 5, 2, 1 << 16, LOOKED_UP}, {13, 6, 8, 32, LOOKED_UP},  {18, 6, 2, 200, LOOKED_UP},
    {21, 7, 1, 300, LOOKED_UP},     {16, 7, 2, 100, UNEVEN},    {17, 8, 2, 64, ALTERNATING},
    {18, 9, 1, 100, VARIED},        {22, 9, 1, 300, VARIED}};

enum { RUN = 90, LEVELS = 3 };

/* Runs of one kind and one sort of ends, by each instruction set. */
static void expect_same(const kind *k, const qp_trellis *t, qp_search *const *s, qp_ends ends,
                        const float *values, const float *target) {
  uint32_t code[LEVELS][RUN], start[LEVELS], end = 1234 % t[0].groups, got;
  for (unsigned n = 0; n < LEVELS; n++) {
    uint32_t *to = code[n];
    start[n] = 5;
    qp_trellis_search(&t[n], s[n], ends, 1, RUN, ends == QP_ENDS_FROM ? 9 : 0, &target, &start[n],
                      ends == QP_ENDS_BETWEEN ? &end : NULL, &to);
    cr_expect_eq(start[0], start[n], "window %u, step %u, ends %u", k->window, k->step, ends);
    cr_expect_arr_eq(code[0], code[n], sizeof code[0], "window %u, step %u, ends %u", k->window,
                     k->step, ends);
  }
  cost_of(&t[0], values, target, RUN, start[0], code[0], &got);
  if (ends == QP_ENDS_BETWEEN) cr_expect_eq(got, end, "window %u, step %u", k->window, k->step);
  if (ends == QP_ENDS_TIED) cr_expect_eq(got, start[0], "window %u, step %u", k->window, k->step);
  if (ends == QP_ENDS_FROM) cr_expect_eq(start[0], 5);
}

Test(long_search, codes_are_the_same_by_every_instruction_set_whatever_the_ends) {
  static const qp_ends ends[] = {QP_ENDS_FREE, QP_ENDS_FROM, QP_ENDS_BETWEEN, QP_ENDS_TIED};
  static const char *const isa[LEVELS] = {"plain", "avx2", NULL};
  static float target[RUN * DIM];
  qp_sample_gaussian(3, RUN * DIM, target);
  for (unsigned i = 40; i < 44; i++) target[i] = 5; /* the limit is far beyond the last one */
  for (unsigned i = 80; i < 88; i++)
    target[i] = 1e30F; /* sums are clipped there: all of 8 weights' */
  for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    float *values = values_of(&kinds[i]);
    qp_trellis t[LEVELS];
    qp_search *s[LEVELS];
    for (unsigned n = 0; n < LEVELS; n++) make(isa[n], &kinds[i], values, &t[n], &s[n]);
    cr_assert(kinds[i].sort != VARIED ||
              (t[0].rows.near && t[0].rows.windows == QP_MEET_SIFTED && !t[0].ahead.size));
    for (unsigned e = 0; e < 4; e++) expect_same(&kinds[i], t, s, ends[e], values, target);
    for (unsigned n = 0; n < LEVELS; n++) {
      qp_search_free(s[n]);
      qp_trellis_free(&t[n]);
    }
    free(values);
  }
}

Test(long_search, a_circle_takes_up_the_path_through_its_seam_where_that_costs_least) {
  enum { STEPS = 200, CIRCLES = 12 };
  const kind k = {16, 4, 2, 128, LOOKED_UP}; /* a 32nd of the groups: a given one is seldom near */
  static float target[STEPS * 2];
  float *values = values_of(&k);
  qp_trellis t;
  qp_search *s;
  make(NULL, &k, values, &t, &s);
  double circle = 0, between = 0;
  for (unsigned i = 0; i < CIRCLES; i++) {
    uint32_t code[STEPS], *to = code, seam, end;
    const float *x = target;
    qp_sample_gaussian(50 + i, STEPS * 2, target);
    qp_trellis_search(&t, s, QP_ENDS_TIED, 1, STEPS, 0, &x, &seam, NULL, &to);
    circle += cost_of(&t, values, target, STEPS, seam, code, &end);
    cr_expect_eq(end, seam);
    qp_trellis_search(&t, s, QP_ENDS_BETWEEN, 1, STEPS, 0, &x, &seam, &end, &to);
    between += cost_of(&t, values, target, STEPS, seam, code, &end);
  }
  cr_expect_lt(circle, 0.99 * between, "%g joined, %g where its last codes are given", circle,
               between);
  qp_search_free(s);
  qp_trellis_free(&t);
  free(values);
}

Test(long_search, runs_longer_than_what_is_kept_lose_little) {
  enum { STEPS = 4000, GROUPS = 1 << 10 };
  const kind k = {12, 2, 1, GROUPS / 4, BY_STATE};
  static float target[STEPS];
  static uint32_t code[STEPS], all_code[STEPS];
  float *values = values_of(&k);
  qp_trellis few, all;
  qp_search *s, *of_all;
  kind every = k;
  every.width = GROUPS;
  make(NULL, &k, values, &few, &s);
  make(NULL, &every, values, &all, &of_all);
  qp_sample_gaussian(9, STEPS, target);
  uint32_t start = 7, *to = code, end;
  const float *x = target;
  qp_trellis_search(&few, s, QP_ENDS_FROM, 1, STEPS, 0, &x, &start, NULL, &to);
  to = all_code;
  qp_trellis_search(&all, of_all, QP_ENDS_FROM, 1, STEPS, 0, &x, &start, NULL, &to);
  cr_expect_eq(start, 7);
  const double cost = cost_of(&few, values, target, STEPS, 7, code, &end);
  const double least = cost_of(&all, values, target, STEPS, 7, all_code, &end);
  cr_expect_lt(cost, 1.03 * least, "%g of a quarter, %g of all", cost, least);
  qp_search_free(s);
  qp_search_free(of_all);
  qp_trellis_free(&few);
  qp_trellis_free(&all);
  free(values);
}

Test(long_search, the_shortest_circles_close) {
  const kind k = {16, 5, 2, 128, LOOKED_UP};
  static float target[2 * RUN];
  float *values = values_of(&k);
  qp_trellis t;
  qp_search *s;
  make(NULL, &k, values, &t, &s);
  qp_sample_gaussian(4, 2 * RUN, target);
  for (unsigned steps = 4; steps < RUN; steps++) {
    uint32_t code[RUN], *to = code, seam, end;
    const float *x = target;
    qp_trellis_search(&t, s, QP_ENDS_TIED, 1, steps, 0, &x, &seam, NULL, &to);
    const double cost = cost_of(&t, values, target, steps, seam, code, &end);
    cr_expect_eq(end, seam, "%u steps", steps);
    cr_expect_lt(cost, 3 + 0.25 * steps, "%u steps lose %g", steps, cost);
  }
  qp_search_free(s);
  qp_trellis_free(&t);
  free(values);
}
