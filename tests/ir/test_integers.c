/* SPDX-License-Identifier: MIT */
/* Two integers of a word become fp16 side by side. */
#include "tests/ir/passes_kit.h"

/* pack(half(x & m), half(x >> k & m)) */
static int two_integers(qp_ir *ir, int x, uint32_t k, uint32_t m) {
  int lo = n_one(ir, QP_IR_HALF_OF_UINT, n_with(ir, QP_IR_AND, x, m));
  int hi = n_with(ir, QP_IR_AND, n_with(ir, QP_IR_SHR, x, k), m);
  return n_two(ir, QP_IR_PACK, lo, n_one(ir, QP_IR_HALF_OF_UINT, hi));
}

Test(integers, two_small_integers_become_a_pair_by_one_multiply_add) {
  static const struct { uint32_t k, m; } fields[] = {{4, 15}, {3, 7}, {1, 1}, {9, 1}, {2, 255}};
  for (unsigned i = 0; i < sizeof fields / sizeof *fields; i++) {
    NEW(ir);
    n_output(ir, two_integers(ir, n_state(ir), fields[i].k, fields[i].m));
    OWNED qp_ir *out = qp_pass_pair_integers(ir);
    cr_expect_eq(count_of(out, QP_IR_PFMA), 1);
    cr_expect_eq(count_of(out, QP_IR_HALF_OF_UINT), 0);
    assert_equal_values(ir, out, 32);
  }
}

Test(integers, integers_that_fill_a_half_s_last_bits_or_lie_apart_are_converted) {
  NEW(ir);
  int x = n_state(ir), y = n_input(ir, QP_IN_GROUP);
  n_output(ir, two_integers(ir, x, 3, 255)); /* 255 << 3 > 1023 */
  n_output(ir, two_integers(ir, x, 1, 512)); /* 512 << 1 is the bit that 1024 has */
  n_output(ir, n_two(ir, QP_IR_PACK, n_one(ir, QP_IR_HALF_OF_UINT, n_with(ir, QP_IR_AND, x, 15)),
                     n_one(ir, QP_IR_HALF_OF_UINT, n_bits(ir, y, 4, 4))));
  OWNED qp_ir *out = qp_pass_pair_integers(ir);
  cr_expect_eq(count_of(out, QP_IR_PFMA), 0);
  assert_equal_values(ir, out, 32);
}

Test(integers, fields_of_other_masks_or_above_the_first_bit_are_converted) {
  NEW(ir);
  const int x = n_state(ir);
  int lo = n_one(ir, QP_IR_HALF_OF_UINT, n_with(ir, QP_IR_AND, x, 15));
  int hi = n_one(ir, QP_IR_HALF_OF_UINT, n_bits(ir, x, 4, 3));
  n_output(ir, n_two(ir, QP_IR_PACK, lo, hi)); /* four bits and three */
  lo = n_one(ir, QP_IR_HALF_OF_UINT, n_bits(ir, x, 2, 4));
  hi = n_one(ir, QP_IR_HALF_OF_UINT, n_bits(ir, x, 6, 4));
  n_output(ir, n_two(ir, QP_IR_PACK, lo, hi));
  OWNED qp_ir *out = qp_pass_pair_integers(ir);
  cr_expect_eq(count_of(out, QP_IR_PFMA), 0);
  assert_equal_values(ir, out, 32);
}

/* A zero of each half is part of the multiply-add; every code with every zero. */
Test(integers, a_zero_that_is_subtracted_joins_the_multiply_add) {
  NEW(ir);
  int zero = n_one(ir, QP_IR_HALF_OF_UINT, n_with(ir, QP_IR_AND, n_input(ir, QP_IN_GROUP), 15));
  n_output(ir, n_two(ir, QP_IR_PSUB, two_integers(ir, n_state(ir), 4, 15),
                     n_two(ir, QP_IR_PACK, zero, zero)));
  OWNED qp_ir *small = qp_pass_pair_integers(ir);
  OWNED qp_ir *out = qp_pass_choose_halves(small);
  cr_expect_eq(count_of(out, QP_IR_PFMA), 1);
  cr_expect_eq(count_of(out, QP_IR_PSUB), 1);
  for (uint32_t i = 0; i < 4096; i++) {
    uint32_t x, y;
    const qp_ir_env env = {.input = {[QP_IN_STATE] = i & 255, [QP_IN_GROUP] = i >> 8}};
    qp_ir_eval(ir, &env, &x);
    qp_ir_eval(out, &env, &y);
    cr_assert_eq(x, y, "code %02x, zero %x: %08x, not %08x", i & 255, i >> 8, y, x);
  }
}

/* (x - least) << k in both halves. */
static void scaled_twice(qp_ir *ir, int x, uint32_t least, uint32_t k) {
  int half = n_one(ir, QP_IR_AS_HALF, n_with(ir, QP_IR_SHL, n_with(ir, QP_IR_SUB, x, least), k));
  n_output(ir, n_two(ir, QP_IR_PACK, half, half));
}

/* (min(max(x, 113), 140) - least) << 10 in both halves. */
static qp_ir *exponents(uint32_t least) {
  qp_ir *ir = qp_ir_new();
  int e = n_with(ir, QP_IR_MIN, n_with(ir, QP_IR_MAX, n_state(ir), 113), 140);
  scaled_twice(ir, e, least, 10);
  return ir;
}

/* The second bound is beyond the first: 100 - 112 wraps, 200 << 9 leaves its half. */
Test(integers, a_bound_beyond_another_is_what_a_number_is) {
  NEW(ir);
  scaled_twice(ir, n_with(ir, QP_IR_MIN, n_with(ir, QP_IR_MAX, n_state(ir), 113), 100), 112, 10);
  scaled_twice(ir, n_with(ir, QP_IR_MAX, n_with(ir, QP_IR_MIN, n_state(ir), 100), 200), 0, 9);
  OWNED qp_ir *out = qp_pass_choose_halves(ir);
  cr_expect_eq(count_of(out, QP_IR_MUL), 0);
  assert_equal_values(ir, out, 32);
}

Test(integers, an_exponent_goes_into_both_halves_by_one_product_if_it_fits) {
  OWNED qp_ir *fits = exponents(112), *wraps = exponents(114), *large = exponents(70);
  OWNED qp_ir *one = qp_pass_choose_halves(fits), *two = qp_pass_choose_halves(wraps);
  OWNED qp_ir *three = qp_pass_choose_halves(large);
  cr_expect_eq(count_of(one, QP_IR_MUL), 1);
  cr_expect_eq(count_of(one, QP_IR_PACK), 0);
  cr_expect_eq(count_of(two, QP_IR_MUL) + count_of(three, QP_IR_MUL), 0);
  for (uint32_t x = 0; x < 256; x++) {
    const qp_ir_env env = {.input = {[QP_IN_STATE] = x}};
    uint32_t want, got;
    qp_ir_eval(fits, &env, &want);
    qp_ir_eval(one, &env, &got);
    cr_assert_eq(want, got);
  }
}
