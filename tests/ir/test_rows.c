/* SPDX-License-Identifier: MIT */
/* Fields of two rows are bounded and scaled at once. */
#include "tests/ir/passes_kit.h"

/* pack(x, x) of x = (min(max(input & mask, low), high) - least) << k */
static qp_ir *scaled(uint32_t input, uint32_t mask, uint32_t low, uint32_t high, uint32_t least,
                     uint32_t k) {
  qp_ir *ir = qp_ir_new();
  int x = n_with(ir, QP_IR_AND, n_input(ir, input), mask);
  x = n_with(ir, QP_IR_MIN, n_with(ir, QP_IR_MAX, x, low), high);
  int half = n_one(ir, QP_IR_AS_HALF, n_with(ir, QP_IR_SHL, n_with(ir, QP_IR_SUB, x, least), k));
  n_output(ir, n_two(ir, QP_IR_PACK, half, half));
  return ir;
}

static qp_ir *scaled_field(uint32_t mask, uint32_t low, uint32_t high, uint32_t least, uint32_t k) {
  return scaled(QP_IN_GROUP + 2, mask, low, high, least, k);
}

Test(rows, two_rows_bound_and_scale_their_byte_fields_at_once) {
  OWNED qp_ir *ir = scaled_field(255, 113, 140, 112, 10);
  OWNED qp_ir *out = qp_pass_pair_rows(ir);
  cr_expect_eq(count_of(out, QP_IR_ROWS) + count_of(out, QP_IR_OWN), 2);
  cr_expect_eq(count_of(out, QP_IR_MIN2) + count_of(out, QP_IR_MAX2), 2);
  cr_expect_eq(count_of(out, QP_IR_INPUT), 0);
  for (uint32_t own = 0; own < 256; own++)
    for (uint32_t i = 0; i < 64; i++) {
      const qp_ir_env env = {
          .input = {[QP_IN_GROUP + 2] = own, [QP_IN_OTHER + 2] = 101 + i / 2, [QP_IN_ODD] = i}};
      uint32_t want, got;
      qp_ir_eval(ir, &env, &want);
      qp_ir_eval(out, &env, &got);
      cr_assert_eq(got, want, "%u, %u beside it: %08x, not %08x", own, i, got, want);
    }
  assert_equal_values(ir, out, 32);
}

Test(rows, fields_that_leave_their_half_or_are_no_bytes_are_a_row_s_own) {
  static const uint32_t fields[][5] = {{255, 113, 140, 114, 10},
                                       {255, 113, 177, 112, 10},
                                       {511, 113, 140, 112, 10},
                                       {255, 113, 300, 112, 10},
                                       {255, 113, 140, 112, 12}};
  for (unsigned i = 0; i < sizeof fields / sizeof *fields; i++) {
    const uint32_t *f = fields[i];
    OWNED qp_ir *ir = scaled_field(f[0], f[1], f[2], f[3], f[4]);
    OWNED qp_ir *out = qp_pass_pair_rows(ir);
    cr_expect_eq(count_of(out, QP_IR_ROWS), 0, "%u", i);
    assert_equal_values(ir, out, 32);
  }
}

/* Bounds that contradict each other: 50 - 60 wraps, 200 << 9 leaves its half; and 70,000 is more
   than a half holds. */
Test(rows, what_bounds_say_holds_in_the_order_in_which_they_stand) {
  static const struct {
    qp_ir_op first, second;
    uint32_t low, high, least, k;
  } of[] = {{QP_IR_MAX, QP_IR_MIN, 100, 50, 60, 3},
            {QP_IR_MIN, QP_IR_MAX, 10, 200, 0, 9},
            {QP_IR_MIN, QP_IR_MAX, 200, 70000, 70000, 2}};
  for (unsigned i = 0; i < sizeof of / sizeof *of; i++) {
    NEW(ir);
    int x = n_with(ir, QP_IR_AND, n_input(ir, QP_IN_GROUP + 2), 255);
    x = n_with(ir, of[i].second, n_with(ir, of[i].first, x, of[i].low), of[i].high);
    x = n_with(ir, QP_IR_SHL, n_with(ir, QP_IR_SUB, x, of[i].least), of[i].k);
    int half = n_one(ir, QP_IR_AS_HALF, x);
    n_output(ir, n_two(ir, QP_IR_PACK, half, half));
    OWNED qp_ir *out = qp_pass_pair_rows(ir);
    cr_expect_eq(count_of(out, QP_IR_ROWS), 0, "%u", i);
    assert_equal_values(ir, out, 32);
  }
}

Test(rows, a_field_beside_another_number_is_a_row_s_own) {
  NEW(ir);
  int x = n_with(ir, QP_IR_AND, n_input(ir, QP_IN_GROUP + 2), 255);
  int half = n_one(ir, QP_IR_AS_HALF, n_with(ir, QP_IR_SHL, x, 3));
  n_output(ir, n_two(ir, QP_IR_PACK, half, n_one(ir, QP_IR_AS_HALF, n_state(ir))));
  OWNED qp_ir *out = qp_pass_pair_rows(ir);
  cr_expect_eq(count_of(out, QP_IR_ROWS), 0);
  assert_equal_values(ir, out, 32);
}

Test(rows, what_is_no_field_of_a_group_is_a_row_s_own) {
  static const uint32_t inputs[] = {QP_IN_STATE, QP_IN_LANE};
  for (unsigned i = 0; i < sizeof inputs / sizeof *inputs; i++) {
    OWNED qp_ir *ir = scaled(inputs[i], 255, 113, 140, 112, 10);
    OWNED qp_ir *out = qp_pass_pair_rows(ir);
    cr_expect_eq(count_of(out, QP_IR_ROWS), 0);
    assert_equal_values(ir, out, 32);
  }
}

Test(rows, a_field_in_both_halves_is_taken_as_it_comes) {
  NEW(ir);
  int half = qp_ir_add(ir, QP_IR_INPUT_H, NULL, QP_IN_GROUP, 0);
  n_output(ir, n_two(ir, QP_IR_PACK, half, half));
  OWNED qp_ir *out = qp_pass_choose_halves(ir);
  cr_expect_eq(count_of(out, QP_IR_INPUT_P), 1);
  cr_expect_eq(count_of(out, QP_IR_PACK), 0);
  assert_equal_values(ir, out, 32);
}
