/* SPDX-License-Identifier: MIT */
/* The time of a worker's item: when it is spent, and when its process stands still. */
#include "gen/compile/compile_slot.h"

#include <criterion/criterion.h>

/* Of 10 s, begun at 100 by a process that had used 3 s before. */
static qp_slot begun(void) {
  return (qp_slot){
      .start = 100, .limit_s = 10, .time = {.began = 3, .at = 100, .used = 0, .next = 110}};
}

Test(compile_slot, is_not_looked_at_before_its_time_could_be_spent) {
  qp_slot s = begun();
  cr_expect_eq(qp_slot_judge(&s, 109.9, 50), QP_SLOT_GOES_ON);
  cr_expect_eq(qp_slot_judge(&s, 110, 13), QP_SLOT_SPENT);
}

Test(compile_slot, that_has_little_of_a_processor_goes_on_until_its_own_time_is_spent) {
  qp_slot s = begun();
  for (unsigned k = 1; k < 10; k++) {
    const double now = s.time.next;
    cr_expect_eq(qp_slot_judge(&s, now, 3 + k), QP_SLOT_GOES_ON, "%u s used", k);
    cr_expect_float_eq(s.time.next, now + 10 - k, 1e-9, "what is left of its time");
  }
  cr_expect_eq(qp_slot_judge(&s, s.time.next, 13), QP_SLOT_SPENT);
}

Test(compile_slot, stands_still_when_it_has_used_nothing_for_as_long_as_its_limit) {
  qp_slot s = begun();
  cr_expect_eq(qp_slot_judge(&s, 110, 3.0005), QP_SLOT_STANDS, "half a millisecond is nothing");
  s = begun();
  cr_expect_eq(qp_slot_judge(&s, 110, 7), QP_SLOT_GOES_ON);
  cr_expect_eq(qp_slot_judge(&s, 116, 7), QP_SLOT_GOES_ON, "for 6 s");
  cr_expect_eq(qp_slot_judge(&s, 119.9, 7), QP_SLOT_GOES_ON, "for 9.9 s");
  s.time.next = 120;
  cr_expect_eq(qp_slot_judge(&s, 120, 7), QP_SLOT_STANDS, "for 10 s");
}

Test(compile_slot, is_looked_at_once_a_second_at_most) {
  qp_slot s = begun();
  cr_expect_eq(qp_slot_judge(&s, 110, 12.99), QP_SLOT_GOES_ON);
  cr_expect_float_eq(s.time.next, 111, 1e-9);
}
