/* SPDX-License-Identifier: MIT */
/* Which problem a limited budget goes to, with made-up results. */
#include <criterion/criterion.h>

#include "tuner/tune/schedule.h"

Test(schedule, every_problem_is_tried_once_and_in_order_before_any_is_tried_twice) {
  qp_stake s[5] = {{.tried = 0}};
  for (size_t i = 0; i < 5; i++) {
    cr_assert_eq(qp_schedule_next(s, 5), i);
    s[i] = (qp_stake){.tried = 1, .best_ps = 1000 * (int64_t)(i + 1), .floor_ps = 900};
  }
  cr_assert_eq(qp_schedule_next(s, 5), 4, "then the one that is farthest from its floor");
}

Test(schedule, worth_is_what_all_launches_of_a_token_are_above_the_floor) {
  const qp_stake s = {.best_ps = 5000, .floor_ps = 2000, .launches = 32, .tried = 1};
  cr_assert_float_eq(qp_stake_worth(&s), 32 * 3000.0, 1e-9);
  const qp_stake head = {.best_ps = 90000, .floor_ps = 80000, .launches = 1, .tried = 1};
  cr_assert_lt(qp_stake_worth(&head), qp_stake_worth(&s), "10 us once are less than 3 us 32 times");
  const qp_stake lucky = {.best_ps = 1500, .floor_ps = 2000, .launches = 32, .tried = 1};
  cr_assert_eq(qp_stake_worth(&lucky), 0, "it cannot be negative");
}

Test(schedule, the_slower_of_two_paths_counts_for_less) {
  const qp_stake fast = {.best_ps = 4000, .rival_ps = 16000, .floor_ps = 2000, .tried = 1};
  const qp_stake slow = {.best_ps = 16000, .rival_ps = 4000, .floor_ps = 2000, .tried = 1};
  cr_assert_float_eq(qp_stake_worth(&fast), 2000, 1e-9);
  cr_assert_float_eq(qp_stake_worth(&slow), 2000 / 4.0, 1e-9);
}

Test(schedule, candidates_are_spread_in_proportion_to_worth) {
  qp_stake s[3];
  for (unsigned i = 0; i < 3; i++)
    s[i] = (qp_stake){.best_ps = 1000 + 1000 * (int64_t)(i + 1), .floor_ps = 1000, .tried = 1};
  for (unsigned n = 0; n < 597; n++) s[qp_schedule_next(s, 3)].tried++;
  for (unsigned i = 0; i < 3; i++) /* 600 in all, as 1 : 2 : 3 */
    cr_assert(s[i].tried >= 100 * (i + 1) - 3 && s[i].tried <= 100 * (i + 1) + 3, "%u: %u", i,
              s[i].tried);
}

Test(schedule, a_problem_without_a_result_comes_first_until_it_failed_too_often) {
  qp_stake s[2] = {{.best_ps = 9000, .floor_ps = 1000, .tried = 4}, {.tried = 1}};
  while (s[1].tried < QP_STAKE_FAILURES) {
    cr_assert_eq(qp_schedule_next(s, 2), 1, "%u failed", s[1].tried);
    s[1].tried++;
  }
  cr_assert_eq(qp_schedule_next(s, 2), 0);
}

Test(schedule, what_is_closed_is_passed_over_and_at_the_end_there_is_none) {
  qp_stake s[2] = {{.best_ps = 9000, .tried = 1, .closed = true}, {.best_ps = 10, .tried = 50}};
  cr_assert_eq(qp_schedule_next(s, 2), 1);
  s[1].closed = true;
  cr_assert_eq(qp_schedule_next(s, 2), 2);
  cr_assert_eq(qp_schedule_next(s, 0), 0);
}
