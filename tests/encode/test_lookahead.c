/* SPDX-License-Identifier: MIT */
/* What the next step of a long window adds at least is what all codes behind a group say, and paths
** that are given up by it lose less. */
#include "gen/encode/lookahead.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/sample.h"
#include "gen/encode/survivors.h"
#include "gen/encode/trellis.h"

static qp_error err;
static qp_trellis t;
static float *values;

/* Values by a hash of the state that is linear, or by one that is not quite. */
static void make_of(unsigned window, unsigned step, unsigned dim, bool linear, unsigned width) {
  enum { VALUES = 128 };
  float value[VALUES * QP_TRELLIS_DIM];
  const size_t states = (size_t)1 << window;
  qp_sample_gaussian(window + step, (size_t)VALUES * dim, value);
  values = malloc(sizeof *values * dim * states);
  for (uint32_t s = 0; s < states; s++) {
    const uint32_t hash =
        linear ? s * 0x9e3779b1u : (s & 255) * 0x9e3779b1u + (s >> 8) * 0x3c6ef373u;
    memcpy(values + (size_t)s * dim, value + (hash >> 20 & (VALUES - 1)) * dim,
           sizeof *value * dim);
  }
  cr_assert_eq(qp_trellis_make_kept(&t, window, step, dim, width, values, &err), QP_OK, "%s",
               err.text);
}

static void make(unsigned window, unsigned step, bool linear, unsigned width) {
  make_of(window, step, 2, linear, width);
}

static void tear_down(void) {
  qp_trellis_free(&t);
  free(values);
}

TestSuite(lookahead, .fini = tear_down);

static unsigned least_behind(const qp_outlook *o, uint32_t group) {
  const unsigned apart = 1u << t.ahead.coarse, more = apart > 1 ? apart : 0;
  unsigned least = 65535;
  for (unsigned window = 0; window < t.rows.windows; window++) {
    const unsigned at = t.rows.offset[(size_t)group * t.rows.windows + window];
    for (unsigned i = at / apart * apart; i < at / apart * apart + t.rows.span + more; i++)
      if (o->square[i] < least) least = o->square[i];
  }
  return least;
}

/* One window of squares behind a group, and several, that begin anywhere and at multiples of a few;
** several blocks of a row, one, and part of one; by vectors, and without.  Is it at multiples? */
static bool expect_least(unsigned window, unsigned step, bool linear, const char *isa) {
  qp_outlook o;
  make(window, step, linear, 64);
  cr_assert_gt(t.ahead.size, 0, "window %u, step %u", window, step);
  if (isa) setenv("QPAL_ISA", isa, 1);
  cr_assert(qp_outlook_new(&o, &t.rows, &t.ahead));
  unsetenv("QPAL_ISA");
  for (unsigned i = 0; i < t.rows.size; i++)
    o.square[i] = (uint16_t)(i * UINT32_C(0x9e3779b1) >> 16);
  qp_outlook_find(&o, &t.rows, &t.ahead);
  const uint32_t rows = t.groups / t.fan;
  for (uint32_t row = 0; row < rows; row++)
    for (unsigned code = 0; code < t.fan; code++) {
      const size_t at = t.ahead.offset[(size_t)row * t.ahead.blocks + code / 16] + code % 16;
      cr_assert_eq(o.behind[at], least_behind(&o, code * rows + row),
                   "window %u, step %u, row %u, code %u", window, step, row, code);
    }
  const bool coarse = t.ahead.coarse > 0;
  qp_outlook_free(&o);
  tear_down();
  t = (qp_trellis){0};
  values = NULL;
  return coarse;
}

Test(lookahead, it_is_the_least_square_of_all_codes_behind_each_group) {
  static const struct {
    unsigned window, step;
    bool linear;
  } kinds[] = {{16, 3, true},  {17, 4, true}, {18, 5, true}, {18, 6, true},
               {18, 6, false}, {21, 7, true}, {20, 6, false}};
  const unsigned all = sizeof kinds / sizeof *kinds;
  unsigned coarse = 0;
  for (unsigned i = 0; i < all; i++) {
    coarse += expect_least(kinds[i].window, kinds[i].step, kinds[i].linear, NULL);
    expect_least(kinds[i].window, kinds[i].step, kinds[i].linear, "plain");
  }
  cr_expect(coarse > 0 && coarse < all, "%u of %u begin at multiples", coarse, all);
}

Test(lookahead, there_is_none_where_a_step_says_more_than_a_third_of_the_window) {
  make(16, 6, true, 64);
  cr_expect(t.rows.pool);
  cr_expect_eq(t.ahead.size, 0);
}

/* What a run loses, but for one step. */
static double lost_without(unsigned out, unsigned steps, const float *target) {
  uint32_t *code = malloc(sizeof *code * steps), start = 0;
  qp_search *s;
  double sum = 0;
  cr_assert_eq(qp_search_new(&t, &s, &err), QP_OK);
  qp_trellis_search(&t, s, QP_ENDS_FREE, 1, steps, 0, &target, &start, NULL, &code);
  for (unsigned i = 0; i < steps; i++) {
    const uint32_t state = code[i] << (t.window - t.step) | start;
    for (unsigned e = 0; e < t.dim && i != out; e++) {
      const double d = (double)(target[i * t.dim + e] - values[(size_t)state * t.dim + e]);
      sum += d * d;
    }
    start = state >> t.step;
  }
  qp_search_free(s);
  free(code);
  return sum;
}

static double lost(unsigned steps, const float *target) {
  return lost_without(steps, steps, target);
}

/* Do the same without looking ahead. */
static double lost_blind(unsigned out, unsigned steps, const float *target) {
  const qp_lookahead ahead = t.ahead;
  t.ahead = (qp_lookahead){0};
  const double sum = lost_without(out, steps, target);
  t.ahead = ahead;
  return sum;
}

Test(lookahead, fewer_paths_lose_less) {
  enum { STEPS = 2000 };
  static float target[2 * STEPS];
  qp_sample_gaussian(4, 2 * STEPS, target);
  make(18, 5, true, 256);
  const double without = lost_blind(STEPS, STEPS, target);
  qp_trellis_set_width(&t, 160);
  const double with = lost(STEPS, target);
  cr_expect_lt(with, without, "%g with 160 paths, %g without looking ahead with 256", with,
               without);
}

Test(lookahead, a_step_beyond_what_sums_hold_costs_no_path_before_it) {
  enum { STEPS = 60, FAR = 30, DIM = 8 };
  static float target[DIM * STEPS];
  qp_sample_gaussian(5, DIM * STEPS, target);
  for (unsigned i = 0; i < DIM; i++) target[FAR * DIM + i] = 1e30F;
  make_of(18, 5, DIM, true, 256);
  cr_assert_gt(t.ahead.size, 0);
  const double with = lost_without(FAR, STEPS, target), without = lost_blind(FAR, STEPS, target);
  cr_expect_lt(with, 1.02 * without, "%g, %g without looking ahead", with, without);
}

Test(lookahead, what_comes_behind_the_last_step_of_a_run_says_nothing) {
  enum { STEPS = 40, MORE = 10 };
  static float target[2 * (STEPS + MORE)];
  uint32_t codes[STEPS];
  unsigned count[2] = {0};
  qp_survivors *s;
  qp_sample_gaussian(6, 2 * (STEPS + MORE), target);
  make(18, 5, true, 256);
  cr_assert_eq(qp_survivors_new(&t, &s, &err), QP_OK);
  for (unsigned n = 0; n < 2; n++) {
    const qp_survivors_run run = {.target = target,
                                  .circle = STEPS + MORE,
                                  .steps = STEPS,
                                  .start = QP_ANY_GROUP,
                                  .end = QP_ANY_GROUP,
                                  .codes = codes};
    qp_survivors_progress p = {.t = &t, .s = s, .run = &run};
    qp_survivors_begin(&p);
    while (p.at < STEPS) qp_survivors_advance(&p);
    count[n] = qp_survivors_count(&p);
    for (unsigned i = 0; i < 2; i++) target[2 * STEPS + i] += 2;
  }
  cr_expect_eq(count[0], count[1]);
  qp_survivors_free(s);
}
