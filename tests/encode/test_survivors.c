/* SPDX-License-Identifier: MIT */
/* Paths of a long window that are followed: how many, near an end, too, and that their sums are
** those of the codes that are told. */
#include "gen/encode/survivors.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "gen/encode/sample.h"
#include "gen/encode/survivors_meet.h"
#include "gen/encode/trellis.h"

enum { MOST_WINDOW = 22, MOST_STEPS = 1100 };

static qp_error err;
static qp_trellis t;
static qp_survivors *s;
static float values[1 << MOST_WINDOW], target[MOST_STEPS];
static uint32_t codes[MOST_STEPS];

static void make(unsigned window, unsigned step, unsigned width) {
  cr_assert_eq(qp_trellis_make_kept(&t, window, step, 1, width, values, &err), QP_OK, "%s",
               err.text);
  cr_assert_eq(qp_survivors_new(&t, &s, &err), QP_OK);
}

static void set_up(void) {
  qp_sample_gaussian(1, 1 << MOST_WINDOW, values);
  qp_sample_gaussian(2, MOST_STEPS, target);
}

static void tear_down(void) {
  qp_survivors_free(s);
  qp_trellis_free(&t);
}

TestSuite(survivors, .init = set_up, .fini = tear_down);

Test(survivors, as_many_are_followed_as_the_width_says_and_a_quarter_where_a_run_but_looks_ahead) {
  enum { WIDTH = 128, STEPS = 40, AHEAD = 10 };
  make(14, 4, WIDTH);
  const qp_survivors_run run = {.target = target,
                                .circle = STEPS,
                                .steps = STEPS,
                                .ahead = AHEAD,
                                .start = 5,
                                .end = QP_ANY_GROUP,
                                .codes = codes};
  qp_survivors_progress p = {.t = &t, .s = s, .run = &run};
  qp_survivors_begin(&p);
  cr_expect_eq(qp_survivors_count(&p), 1);
  while (p.at < STEPS) {
    qp_survivors_advance(&p);
    const unsigned n = qp_survivors_count(&p), wanted = p.at > STEPS - AHEAD ? WIDTH / 4 : WIDTH;
    cr_expect(p.at < 2 || (n >= wanted && n <= wanted + wanted / 8), "%u before position %u", n,
              p.at);
  }
}

Test(survivors, a_given_end_leaves_as_many_whose_newest_code_begins_as_it_does) {
  enum { WIDTH = 128, STEPS = 40, PARTED = STEPS - 2, BITS = 10 };
  make(14, 4, WIDTH);
  for (uint32_t end = 776; end < 780;
       end++) { /* its lowest 2 bits are of the code that is parted */
    const qp_survivors_run run = {
        .target = target, .circle = STEPS, .steps = STEPS, .start = 5, .end = end, .codes = codes};
    qp_survivors_progress p = {.t = &t, .s = s, .run = &run};
    qp_survivors_begin(&p);
    while (p.at < PARTED) qp_survivors_advance(&p);
    cr_expect(qp_survivors_count(&p) > WIDTH * 3 / 4 && qp_survivors_count(&p) < WIDTH * 5 / 4,
              "%u of %u", qp_survivors_count(&p), WIDTH);
    cr_expect_eq(qp_survivors_best(&p) >> (BITS - 2), end & 3);
  }
}

Test(survivors, too_many_below_a_limit_cost_few_of_them) {
  enum { WIDTH = 64, STEPS = 400 };
  make(16, 3, WIDTH); /* an eighth of the rows says where the limit is, and is often wrong */
  const qp_survivors_run run = {.target = target,
                                .circle = STEPS,
                                .steps = STEPS,
                                .start = 5,
                                .end = QP_ANY_GROUP,
                                .codes = codes};
  qp_survivors_progress p = {.t = &t, .s = s, .run = &run};
  double sum = 0;
  qp_survivors_begin(&p);
  while (p.at < STEPS) {
    qp_survivors_advance(&p);
    cr_expect_leq(qp_survivors_count(&p), WIDTH + WIDTH / 4);
    sum += qp_survivors_count(&p);
  }
  cr_expect_gt(sum / STEPS, 0.9 * WIDTH, "%g are followed, a position", sum / STEPS);
}

/* The sum of all codes before a position, from the group before the first. */
static uint64_t sum_of(const qp_survivors_progress *p, unsigned steps) {
  uint32_t group = p->origin;
  uint64_t sum = 0;
  for (unsigned i = 0; i < steps; i++) {
    sum += qp_survivors_square(&t, p->run, i, group, codes[i]);
    group = (codes[i] << (t.window - t.step) | group) >> t.step;
  }
  return sum;
}

/* Values of states of 9 bits that move on by 4: paths of even codes, and those of odd ones,
** have the same, and others are far off; but for 6, which is one family's. */
static void make_families(unsigned favoured) {
  enum { NOW = 1 << 5, BEFORE = 1 << 1, STATES = 1 << 9 };
  for (unsigned v = 0; v < STATES; v++) {
    const unsigned alike = v & ~(unsigned)(NOW | BEFORE), odd = (v & NOW) != 0;
    if (odd != ((v & BEFORE) != 0))
      values[v] = 100;
    else if (v & (NOW | BEFORE))
      values[v] = values[alike];
    else
      values[v] = fmaxf(-2, fminf(2, values[v]));
    if (alike == (STATES - 1 - NOW - BEFORE) && odd == favoured && values[v] < 100) values[v] = 6;
  }
  make(9, 4, STATES);
}

Test(survivors, of_paths_that_never_meet_those_of_the_best_stay_when_the_ring_is_full) {
  const unsigned room = 1024, steps = room + 8;
  for (unsigned i = 0; i < steps; i++)
    target[i] = i < room + 4 ? fmaxf(-2, fminf(2, target[i])) : 6;
  for (unsigned favoured = 0; favoured < 2; favoured++) {
    const qp_survivors_run run = {.target = target,
                                  .circle = steps,
                                  .steps = steps,
                                  .start = QP_ANY_GROUP,
                                  .end = QP_ANY_GROUP,
                                  .codes = codes};
    qp_survivors_progress p = {.t = &t, .run = &run};
    uint64_t least = UINT64_MAX;
    uint32_t group;
    make_families(favoured);
    p.s = s;
    cr_assert_eq(qp_survivors_room(s), room);
    qp_survivors_begin(&p);
    while (p.at < room) qp_survivors_advance(&p);
    const unsigned all = qp_survivors_count(&p);
    if (favoured) { /* as the next position would begin */
      qp_survivors_settle(&p, room / 2);
      cr_expect_eq(2 * qp_survivors_count(&p), all, "%u of %u", qp_survivors_count(&p), all);
    }
    while (p.at < steps) qp_survivors_advance(&p);
    cr_expect_eq(p.told, room / 2);
    cr_assert(qp_survivors_cheapest(&p, p.at, NULL, 0, &least, &group));
    qp_survivors_tell(&p, steps, group);
    cr_expect_eq(p.base + least, sum_of(&p, steps), "6 is of family %u", favoured);
    tear_down();
    s = NULL;
    t = (qp_trellis){0};
  }
}

static void expect_same_where_watched(unsigned given) {
  enum { STEPS = 60, GIVEN = 3 };
  const qp_survivors_run run = {.target = target,
                                .circle = STEPS,
                                .steps = STEPS,
                                .start = QP_ANY_GROUP,
                                .end = QP_ANY_GROUP,
                                .codes = codes};
  qp_survivors_progress p = {.t = &t, .s = s, .run = &run};
  qp_survivors_begin(&p);
  while (p.at + GIVEN < STEPS) {
    const uint32_t code[GIVEN] = {p.at % t.fan, p.at * 7 % t.fan, p.at * 11 % t.fan};
    uint64_t least = UINT64_MAX, seen, none;
    uint32_t group, same, other;
    cr_assert(qp_survivors_cheapest(&p, p.at, code, given, &least, &group));
    seen = least + 1;
    p.watched = code[0];
    qp_survivors_advance(&p);
    cr_assert(qp_survivors_cheapest(&p, p.at - 1, code, given, &seen, &same));
    cr_expect(seen == least && same == group, "before position %u", p.at);
    none = least;
    cr_expect_not(qp_survivors_cheapest(&p, p.at - 1, code, given, &none, &other));
  }
}

Test(survivors, the_cheapest_by_given_codes_is_the_same_where_the_first_one_was_watched) {
  make(14, 5, 128);
  expect_same_where_watched(3);
}

Test(survivors, it_is_so_where_not_all_sums_are_made) {
  for (uint32_t v = 64; v < 1 << 22; v++) values[v] = values[(v * 0x9e37u >> 16) & 63];
  make(22, 9, 128);
  cr_assert(t.rows.near && t.rows.windows == QP_MEET_SIFTED && !t.ahead.size);
  for (unsigned given = 1; given < 4; given++) expect_same_where_watched(given);
}

Test(survivors, it_is_so_where_paths_that_lead_nowhere_are_passed_over) {
  static float various[4096];
  qp_sample_gaussian(9, 4096, various);
  for (uint32_t v = 0; v < 1 << 17; v++) values[v] = various[(v * 0x9e37u >> 5) & 4095];
  make(17, 7, 128);
  cr_assert(t.rows.pool && !t.ahead.size);
  for (unsigned given = 1; given < 4; given++) expect_same_where_watched(given);
}

Test(survivors, paths_that_part_from_the_chosen_one_before_its_end_do_not_count) {
  enum { STEPS = 60, MORE = 4 };
  make(14, 4, 128);
  const qp_survivors_run run = {.target = target,
                                .circle = STEPS,
                                .steps = STEPS,
                                .start = QP_ANY_GROUP,
                                .end = QP_ANY_GROUP,
                                .codes = codes};
  unsigned others = 0;
  for (unsigned end = 5; end + MORE < STEPS; end++) {
    qp_survivors_progress p = {.t = &t, .s = s, .run = &run};
    uint32_t group, code[STEPS];
    qp_survivors_begin(&p);
    while (p.at < end + 1) qp_survivors_advance(&p);
    qp_survivors_choose(&p, end);
    cr_expect_eq(p.told, end);
    memcpy(code, codes, sizeof *code * end);
    for (unsigned i = 0; i < MORE; i++) {
      uint64_t least = UINT64_MAX;
      qp_survivors_advance(&p);
      if (!qp_survivors_cheapest(&p, p.at, NULL, 0, &least, &group)) break;
      others += group != qp_survivors_best(&p);
      p.told = 0; /* all codes of it, those before the end, too */
      qp_survivors_tell(&p, p.at, group);
      cr_expect_arr_eq(code, codes, sizeof *code * end, "of %u, before position %u", end, p.at);
    }
  }
  cr_expect_gt(others, 0, "the best path never parted");
}
