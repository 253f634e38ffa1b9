/* SPDX-License-Identifier: MIT */
/* Bits that change signs, or select one of two numbers, are moved there at once. */
#include "tests/ir/passes_kit.h"

/* w ^ (x << 14 & 0x8000) ^ (x << 29 & 2^31), of bits 1 and 2. */
static int two_flips(qp_ir *ir, int w, int x, unsigned a, unsigned b) {
  int first = n_with(ir, QP_IR_AND, n_with(ir, QP_IR_SHL, x, a), 0x8000);
  int second = n_with(ir, QP_IR_AND, n_with(ir, QP_IR_SHL, x, b), 0x80000000u);
  return n_two(ir, QP_IR_XOR, n_two(ir, QP_IR_XOR, w, first), second);
}

Test(signs, two_bits_of_a_word_are_moved_by_one_multiplication) {
  NEW(ir);
  int x = n_state(ir), w = n_input(ir, QP_IN_GROUP);
  n_output(ir, n_pair(ir, two_flips(ir, w, x, 14, 29)));
  n_output(ir, n_pair(ir, two_flips(ir, w, x, 12, 27)));
  OWNED qp_ir *out = qp_pass_move_bits(ir);
  assert_prints(out, "%0 = input state\n"
                     "%1 = input group0\n"
                     "%2 = const 0x1e\n"
                     "%3 = and %0, %2\n"
                     "%4 = const 0x20004000\n"
                     "%5 = mul %3, %4\n"
                     "%6 = const 0x80008000\n"
                     "%7 = and %5, %6\n"
                     "%8 = xor %1, %7\n"
                     "%9 = as_pair %8\n"
                     "%10 = const 0x8001000\n"
                     "%11 = mul %3, %10\n"
                     "%12 = and %11, %6\n"
                     "%13 = xor %1, %12\n"
                     "%14 = as_pair %13\n"
                     "return %9, %14\n");
  assert_equal_values(ir, out, 32);
}

/* Bit 0 goes to bit 15 and bit 1 to bit 31; read too are bits 14 and 15, which
   meet bits 0 and 1 in the sum of the products: it would carry. */
Test(signs, bits_whose_products_would_carry_stay_where_they_are) {
  NEW(ir);
  int x = n_state(ir), w = n_input(ir, QP_IN_GROUP);
  n_output(ir, n_pair(ir, two_flips(ir, w, x, 15, 30)));
  n_output(ir, n_pair(ir, two_flips(ir, w, x, 1, 16)));
  OWNED qp_ir *out = qp_pass_move_bits(ir);
  assert_equal_values(ir, out, 32);
  for (unsigned i = 0; i < out->count; i++) cr_expect_neq(out->node[i].op, QP_IR_MUL);
}

/* Bit 16, which is read too, would meet the parity at the top. */
Test(signs, a_parity_does_not_share_a_sum_with_a_bit_that_reaches_the_top) {
  NEW(ir);
  int x = n_state(ir), w = n_input(ir, QP_IN_GROUP);
  int bit = n_with(ir, QP_IR_AND, n_with(ir, QP_IR_SHL, x, 15), 0x8000);
  int top = n_with(ir, QP_IR_SHL, n_one(ir, QP_IR_POPC, x), 31);
  n_output(ir, n_pair(ir, n_two(ir, QP_IR_XOR, n_two(ir, QP_IR_XOR, w, bit), top)));
  n_output(ir, n_pair(ir, two_flips(ir, w, x, 2, 15)));
  OWNED qp_ir *out = qp_pass_move_bits(ir);
  assert_equal_values(ir, out, 32);
  for (unsigned i = 0; i < out->count; i++) cr_expect_neq(out->node[i].op, QP_IR_MAD);
}

/* Bit 2 of another word goes to the top, which leaves bits of it that would be added. */
Test(signs, a_bit_of_another_word_that_is_not_its_lowest_stays_where_it_is) {
  NEW(ir);
  int x = n_state(ir), y = n_input(ir, QP_IN_GROUP), w = n_input(ir, QP_IN_GROUP + 1);
  int bit = n_with(ir, QP_IR_AND, n_with(ir, QP_IR_SHL, x, 8), 0x8000);
  int top = n_with(ir, QP_IR_AND, n_with(ir, QP_IR_SHL, y, 29), 0x80000000u);
  n_output(ir, n_pair(ir, n_two(ir, QP_IR_XOR, n_two(ir, QP_IR_XOR, w, bit), top)));
  OWNED qp_ir *out = qp_pass_move_bits(ir);
  cr_expect_eq(count_of(out, QP_IR_MAD), 0);
  assert_equal_values(ir, out, 32);
}

Test(signs, a_parity_goes_to_the_top_with_another_bit_and_a_bit_selects_without_a_test) {
  NEW(ir);
  int x = n_state(ir), w = n_input(ir, QP_IN_GROUP);
  int bit = n_with(ir, QP_IR_AND, n_with(ir, QP_IR_SHL, x, 8), 0x8000);
  int top = n_with(ir, QP_IR_SHL, n_one(ir, QP_IR_POPC, x), 31);
  n_output(ir, n_pair(ir, n_two(ir, QP_IR_XOR, n_two(ir, QP_IR_XOR, w, bit), top)));
  n_output(ir, n_pair(ir, n_three(ir, QP_IR_SELECT, n_with(ir, QP_IR_AND, x, 1), n_word(ir, 0x3400),
                                  n_word(ir, 0xb400))));
  OWNED qp_ir *out = qp_pass_move_bits(ir);
  assert_equal_values(ir, out, 32);
  unsigned mads = 0;
  for (unsigned i = 0; i < out->count; i++) {
    mads += out->node[i].op == QP_IR_MAD;
    cr_expect_neq(out->node[i].op, QP_IR_SELECT);
  }
  cr_expect_eq(mads, 1);
}

/* x << 5 has no bit 2 and changes nothing, nor must bit 1 of x, which is read elsewhere. */
Test(signs, a_bit_below_what_was_shifted_changes_nothing) {
  NEW(ir);
  int x = n_state(ir), w = n_input(ir, QP_IN_GROUP);
  int never = n_with(ir, QP_IR_AND, n_with(ir, QP_IR_SHL, x, 5), 4);
  int flips = n_with(ir, QP_IR_AND, n_with(ir, QP_IR_SHL, x, 1), 8);
  n_output(ir, n_pair(ir, n_two(ir, QP_IR_XOR, n_two(ir, QP_IR_XOR, w, never), flips)));
  n_output(ir, n_pair(ir, two_flips(ir, w, x, 14, 29)));
  OWNED qp_ir *out = qp_pass_move_bits(ir);
  assert_equal_values(ir, out, 32);
}

Test(signs, a_selected_number_beside_another_stays_a_half_of_its_own) {
  NEW(ir);
  int bit = n_with(ir, QP_IR_AND, n_state(ir), 1);
  int number = n_three(ir, QP_IR_SELECT, bit, n_word(ir, 0x3400), n_word(ir, 0xb400));
  int half = n_one(ir, QP_IR_AS_HALF, number), other = n_one(ir, QP_IR_AS_HALF, n_state(ir));
  n_output(ir, n_two(ir, QP_IR_PACK, half, other));
  OWNED qp_ir *out = qp_pass_move_bits(ir);
  assert_equal_values(ir, out, 32);
}

Test(signs, a_bit_that_selects_a_number_of_both_halves_is_a_factor) {
  for (uint32_t one = 0; one < 2; one++) {
    NEW(ir);
    int bit = n_with(ir, QP_IR_AND, n_state(ir), 1);
    int number = n_three(ir, QP_IR_SELECT, bit, n_word(ir, one ? 0x3400 : 0xb400),
                         n_word(ir, one ? 0xb400 : 0x3400));
    int half = n_one(ir, QP_IR_AS_HALF, number);
    n_output(ir, n_two(ir, QP_IR_PACK, half, half));
    OWNED qp_ir *out = qp_pass_move_bits(ir);
    cr_expect_eq(count_of(out, QP_IR_MUL), 1);
    cr_expect_eq(count_of(out, QP_IR_SELECT) + count_of(out, QP_IR_PACK), 0);
    assert_equal_values(ir, out, 32);
  }
}

/* They differ in two bits, another bit selects, or they are more than halves. */
Test(signs, numbers_that_no_single_bit_tells_apart_are_no_products_of_it) {
  static const struct {
    uint32_t mask, one, zero;
  } of[] = {{1, 0x3403, 0x3400}, {2, 0x3400, 0xb400}, {3, 0x3400, 0xb400}, {1, 0x13400, 0x1b400}};
  for (unsigned i = 0; i < sizeof of / sizeof *of; i++) {
    NEW(ir);
    int bit = n_with(ir, QP_IR_AND, n_state(ir), of[i].mask);
    int number = n_three(ir, QP_IR_SELECT, bit, n_word(ir, of[i].one), n_word(ir, of[i].zero));
    int half = n_one(ir, QP_IR_AS_HALF, number);
    n_output(ir, n_two(ir, QP_IR_PACK, half, half));
    if (of[i].one < 0x10000) n_output(ir, n_pair(ir, number));
    OWNED qp_ir *out = qp_pass_move_bits(ir);
    cr_expect_eq(count_of(out, QP_IR_MUL), 0, "%u", i);
    cr_expect_eq(count_of(out, QP_IR_SELECT), of[i].one < 0x10000, "%u", i);
    assert_equal_values(ir, out, 32);
  }
}
