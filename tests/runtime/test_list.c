/* SPDX-License-Identifier: MIT */
/* Lists that grow: elements stay, and a list that cannot grow is as it was. */
#include "runtime/list.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <stdlib.h>

Test(list, elements_stay_while_it_grows) {
  uint32_t *list = NULL;
  size_t capacity = 0, moves = 0;
  for (uint32_t i = 0; i < 5000; i++) {
    const size_t before = capacity;
    uint32_t *larger = qp_list_room(list, i, &capacity, sizeof *larger);
    cr_assert(larger);
    list = larger;
    list[i] = i;
    moves += capacity != before;
    cr_assert_gt(capacity, i);
  }
  for (uint32_t i = 0; i < 5000; i++) cr_assert_eq(list[i], i);
  cr_expect_leq(moves, 8, "it doubles: %zu", moves);
  free(list);
}

Test(list, what_has_room_does_not_move) {
  size_t capacity = 0;
  char *list = qp_list_room(NULL, 0, &capacity, 3);
  cr_assert(list && capacity);
  const size_t all = capacity;
  for (size_t i = 0; i < all; i++) cr_assert_eq(qp_list_room(list, i, &capacity, 3), list);
  cr_expect_eq(capacity, all);
  free(list);
}

Test(list, a_size_that_no_number_holds_changes_nothing) {
  char *list = malloc(1);
  size_t capacity = SIZE_MAX / 2 + 1;
  cr_expect_null(qp_list_room(list, capacity, &capacity, 1), "twice as many elements");
  cr_expect_eq(capacity, SIZE_MAX / 2 + 1);
  capacity = SIZE_MAX / 20 + 1;
  cr_expect_null(qp_list_room(list, capacity, &capacity, 10), "their bytes, 2^64 + 4");
  cr_expect_eq(capacity, SIZE_MAX / 20 + 1);
  capacity = SIZE_MAX / 4;
  cr_expect_null(qp_list_room(list, capacity, &capacity, 1), "more than there is");
  cr_expect_eq(capacity, SIZE_MAX / 4);
  free(list);
}
