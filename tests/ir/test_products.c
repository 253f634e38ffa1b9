/* SPDX-License-Identifier: MIT */
/* Two products of the halves of a pair at once. */
#include "tests/ir/passes_kit.h"

/* Three digits of base 3 of a byte, as ternary codes have them. */
static void three_digits(qp_ir *ir, int byte) {
  for (unsigned i = 0; i < 3; i++) {
    int p = n_with(ir, QP_IR_MUL, byte, 3);
    n_output(ir, n_pair(ir, n_with(ir, QP_IR_SHR, p, 8)));
    byte = n_with(ir, QP_IR_AND, p, 255);
  }
}

Test(products, chains_of_two_bytes_multiply_both_at_once) {
  NEW(ir);
  int x = n_state(ir);
  three_digits(ir, n_bits(ir, x, 0, 8));
  three_digits(ir, n_bits(ir, x, 8, 8));
  OWNED qp_ir *out = qp_pass_pair_products(ir);
  cr_expect_eq(count_of(ir, QP_IR_MUL), 6);
  cr_expect_eq(count_of(out, QP_IR_MUL), 3);
  cr_expect_eq(count_of(out, QP_IR_PRMT), 1);
  assert_equal_values(ir, out, 32);
}

Test(products, products_that_reach_the_other_half_or_differ_are_left_alone) {
  NEW(ir);
  int x = n_state(ir), low = n_bits(ir, x, 0, 8), high = n_bits(ir, x, 8, 8);
  n_output(ir, n_pair(ir, n_with(ir, QP_IR_MUL, low, 258))); /* 255 * 258 > 65535 */
  n_output(ir, n_pair(ir, n_with(ir, QP_IR_MUL, high, 258)));
  n_output(ir, n_pair(ir, n_with(ir, QP_IR_MUL, low, 3)));
  n_output(ir, n_pair(ir, n_with(ir, QP_IR_MUL, high, 5)));
  OWNED qp_ir *out = qp_pass_pair_products(ir);
  cr_expect_eq(count_of(out, QP_IR_MUL), 4);
  assert_equal_values(ir, out, 32);
}

Test(products, bytes_of_two_words_are_multiplied_each_by_itself) {
  NEW(ir);
  int x = n_state(ir), y = n_input(ir, QP_IN_GROUP);
  n_output(ir, n_pair(ir, n_with(ir, QP_IR_MUL, n_bits(ir, x, 0, 8), 3)));
  n_output(ir, n_pair(ir, n_with(ir, QP_IR_MUL, n_bits(ir, y, 8, 8), 3)));
  OWNED qp_ir *out = qp_pass_pair_products(ir);
  cr_expect_eq(count_of(out, QP_IR_MUL), 2);
  assert_equal_values(ir, out, 32);
}

/* Both by 7, once as a factor, once as a mask. */
Test(products, chains_of_other_operations_part_where_they_differ) {
  NEW(ir);
  int x = n_state(ir), low = n_with(ir, QP_IR_MUL, n_bits(ir, x, 0, 8), 3);
  int high = n_with(ir, QP_IR_MUL, n_bits(ir, x, 8, 8), 3);
  n_output(ir, n_pair(ir, n_with(ir, QP_IR_MUL, low, 7)));
  n_output(ir, n_pair(ir, n_with(ir, QP_IR_AND, high, 7)));
  OWNED qp_ir *out = qp_pass_pair_products(ir);
  assert_equal_values(ir, out, 32);
}

/* Bit 14 of a product, times 4, is the lowest bit of the other half; eight bits that begin within a
   byte are no byte. */
Test(products, a_product_of_just_two_bytes_and_bits_of_two_bytes_are_left_alone) {
  NEW(ir);
  int x = n_state(ir), y = n_input(ir, QP_IN_GROUP);
  for (unsigned i = 0; i < 2; i++) {
    int p = n_with(ir, QP_IR_MUL, n_bits(ir, x, 8 * i, 8), 200);
    n_output(ir, n_pair(ir, n_with(ir, QP_IR_MUL, n_with(ir, QP_IR_AND, p, 0x4000), 4)));
    n_output(ir, n_pair(ir, n_with(ir, QP_IR_MUL, n_bits(ir, y, 8 + 4 * i, 8), 7)));
  }
  OWNED qp_ir *out = qp_pass_pair_products(ir);
  cr_expect_eq(count_of(out, QP_IR_MUL), 5, "the products by 200 are one");
  assert_equal_values(ir, out, 32);
}

/* Digits of the upper byte lie in byte 3: the upper byte of their half is not looked at. */
Test(products, halves_of_the_uppermost_byte_are_packed_by_one_prmt_where_they_are_masked) {
  NEW(ir);
  int a = n_state(ir), b = n_input(ir, QP_IN_GROUP);
  int lo = n_one(ir, QP_IR_AS_HALF, n_with(ir, QP_IR_AND, n_with(ir, QP_IR_SHR, a, 24), 255));
  int hi = n_one(ir, QP_IR_AS_HALF, n_with(ir, QP_IR_AND, n_with(ir, QP_IR_SHR, b, 8), 255));
  n_output(ir, n_two(ir, QP_IR_PACK, lo, hi));
  OWNED qp_ir *out = qp_pass_choose_halves(ir);
  cr_expect_eq(count_of(out, QP_IR_PRMT), 1);
  cr_expect_eq(count_of(out, QP_IR_SHR), 0);
  assert_equal_values(ir, out, 32);
}

/* An upper byte that is looked at keeps its shift. */
Test(products, halves_of_the_uppermost_byte_that_are_looked_at_whole_are_shifted) {
  NEW(ir);
  int a = n_state(ir), b = n_input(ir, QP_IN_GROUP);
  int lo = n_one(ir, QP_IR_AS_HALF, n_with(ir, QP_IR_SHR, a, 24));
  int hi = n_one(ir, QP_IR_AS_HALF, n_with(ir, QP_IR_SHR, b, 8));
  n_output(ir, n_two(ir, QP_IR_PACK, lo, hi));
  lo = n_one(ir, QP_IR_AS_HALF, n_with(ir, QP_IR_AND, n_with(ir, QP_IR_SHR, a, 24), 0x1ff));
  hi = n_one(ir, QP_IR_AS_HALF, n_with(ir, QP_IR_AND, n_with(ir, QP_IR_SHR, b, 8), 0x1ff));
  n_output(ir, n_two(ir, QP_IR_PACK, lo, hi));
  OWNED qp_ir *out = qp_pass_choose_halves(ir);
  assert_equal_values(ir, out, 32);
}
