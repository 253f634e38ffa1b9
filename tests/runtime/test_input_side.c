/* SPDX-License-Identifier: MIT */
/* The tensor of an order and scales of columns, right and wrong. */
#include "runtime/input_side.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static char why[96];

/* An order that turns the columns about, and scales of 1. */
static unsigned char *made(unsigned columns, unsigned rotation) {
  unsigned char *side = calloc(1, qp_side_bytes(columns, rotation));
  uint16_t *order = (void *)(side + qp_side_order_at(columns));
  uint16_t *scale = (void *)(side + qp_side_scale_at(columns, rotation));
  for (unsigned k = 0; k < columns; k++) {
    if (qp_side_has_order(rotation)) order[k] = (uint16_t)(columns - 1 - k);
    if (qp_side_has_scale(rotation)) scale[k] = 0x3c00;
  }
  return side;
}

static void expect_wrong(unsigned rotation, unsigned column, uint16_t order, uint16_t scale,
                         const char *wanted) {
  unsigned char *side = made(48, rotation);
  memcpy(side + qp_side_order_at(48) + 2ul * column, &order, 2);
  memcpy(side + qp_side_scale_at(48, rotation) + 2ul * column, &scale, 2);
  *why = 0;
  cr_expect_not(qp_side_is_right(side, 48, rotation, why, sizeof why), "%s", wanted);
  cr_expect_str_eq(why, wanted);
  free(side);
}

Test(input_side, orders_and_scales_are_right) {
  static const unsigned rotations[] = {0, QP_SIDE_ORDER, QP_SIDE_SCALE, QP_SIDE_FLAGS | 1};
  static const unsigned columns[] = {48, 144, QP_SIDE_COLUMNS_MAX};
  for (unsigned i = 0; i < 12; i++) {
    unsigned char *side = made(columns[i / 4], rotations[i % 4]);
    cr_expect(qp_side_is_right(side, columns[i / 4], rotations[i % 4], why, sizeof why), "%s", why);
    free(side);
  }
}

Test(input_side, a_goal_that_is_no_column_or_another_ones_is_refused) {
  expect_wrong(QP_SIDE_FLAGS, 5, 48, 0x3c00, "column 5 goes to 48 of 48");
  expect_wrong(QP_SIDE_FLAGS, 5, 0xffff, 0x3c00, "column 5 goes to 65535 of 48");
  expect_wrong(QP_SIDE_FLAGS, 47, 47, 0x3c00, "column 47 goes to 47, where another goes");
}

Test(input_side, a_scale_that_is_no_number_or_0_is_refused) {
  expect_wrong(QP_SIDE_FLAGS, 3, 44, 0, "the scale of column 3 is 0");
  expect_wrong(QP_SIDE_FLAGS, 3, 44, 0x8000, "the scale of column 3 is -0");
  expect_wrong(QP_SIDE_FLAGS, 3, 44, 0x7c00, "the scale of column 3 is inf");
  expect_wrong(QP_SIDE_FLAGS, 3, 44, 0xfe00, "the scale of column 3 is -nan");
}
