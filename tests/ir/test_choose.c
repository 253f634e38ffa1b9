/* SPDX-License-Identifier: MIT */
/* Shifts that become one, fp16 made of words, the choice of instructions. */
#include "tests/ir/passes_kit.h"

/* ---- Shifts ---- */

Test(choose, joins_shifts_and_masks) {
  NEW(ir);
  int bit = n_bits(ir, n_state(ir), 15, 1);
  n_output(ir, n_pair(ir, n_with(ir, QP_IR_SHL, bit, 15)));
  OWNED qp_ir *out = qp_pass_join_shifts(ir);
  assert_prints(out, "%0 = input state\n"
                     "%1 = const 0x8000\n"
                     "%2 = and %0, %1\n"
                     "%3 = as_pair %2\n"
                     "return %3\n");
  assert_equal_values(ir, out, 32);
}

Test(choose, joined_shifts_keep_their_values) {
  uint64_t seed = 21;
  for (unsigned i = 0; i < 300; i++) {
    NEW(ir);
    int x = n_state(ir);
    for (unsigned k = 0; k < 6; k++) {
      const uint32_t r = random_word(&seed), other = random_word(&seed);
      x = r & 1   ? n_with(ir, QP_IR_SHL, x, r >> 8 & 15)
          : r & 2 ? n_with(ir, QP_IR_SHR, x, r >> 8 & 15)
                  : n_with(ir, QP_IR_AND, x, random_word(&seed) | other);
    }
    n_output(ir, n_pair(ir, x));
    OWNED qp_ir *out = qp_pass_join_shifts(ir);
    cr_assert_leq(out->count, 6, "a shift and a mask are left");
    assert_equal_values(ir, out, 32);
  }
}

/* ---- fp16 numbers made of words ---- */

Test(choose, converts_small_integers_by_their_bits) {
  NEW(ir);
  int a = n_one(ir, QP_IR_HALF_OF_UINT, n_bits(ir, n_state(ir), 0, 4));
  int b = n_one(ir, QP_IR_HALF_OF_UINT, n_bits(ir, n_state(ir), 4, 4));
  n_output(ir, n_two(ir, QP_IR_PACK, a, b));
  OWNED qp_ir *out = qp_pass_choose_halves(ir);
  assert_prints(out, "%0 = input state\n"
                     "%1 = const 0x4\n"
                     "%2 = shr %0, %1\n"
                     "%3 = as_half %0\n"
                     "%4 = as_half %2\n"
                     "%5 = pack %3, %4\n"
                     "%6 = word_of_pair %5\n"
                     "%7 = const 0xf000f\n"
                     "%8 = and %6, %7\n"
                     "%9 = const 0x64006400\n"
                     "%10 = or %8, %9\n"
                     "%11 = as_pair %10\n"
                     "%12 = as_pair %9\n"
                     "%13 = sub.p %11, %12\n"
                     "return %13\n");
  assert_equal_values(ir, out, 32);
}

/* 1024 becomes part of a product as its addition: one multiply-add. */
Test(choose, adds_to_small_products_what_they_need) {
  NEW(ir);
  int product = n_with(ir, QP_IR_MUL, n_bits(ir, n_state(ir), 0, 8), 3);
  n_output(ir, n_one(ir, QP_IR_HALF_OF_UINT, product));
  OWNED qp_ir *out = qp_pass_choose_halves(ir);
  OWNED qp_ir *chosen = qp_pass_select(out);
  cr_expect_eq(count_of(chosen, QP_IR_MAD), 1);
  cr_expect_eq(count_of(chosen, QP_IR_OR), 0);
  assert_equal_values(ir, chosen, 32);
}

Test(choose, converts_small_signed_integers_by_their_bits) {
  NEW(ir);
  int x = n_with(ir, QP_IR_SUB, n_bits(ir, n_state(ir), 3, 10), 1023);
  n_output(ir, n_one(ir, QP_IR_HALF_OF_INT, x));
  OWNED qp_ir *out = qp_pass_choose_halves(ir);
  for (unsigned i = 0; i < out->count; i++) cr_assert_neq(out->node[i].op, QP_IR_HALF_OF_INT);
  assert_equal_values(ir, out, 32);
}

Test(choose, subtracts_small_integers_without_their_1024) {
  int node[2];
  NEW(ir);
  for (unsigned i = 0; i < 2; i++) {
    int x = n_input(ir, QP_IN_GROUP + i);
    int lo = n_one(ir, QP_IR_HALF_OF_UINT, n_bits(ir, x, 0, 10));
    node[i] = n_two(ir, QP_IR_PACK, lo, n_one(ir, QP_IR_HALF_OF_UINT, n_bits(ir, x, 16, 10)));
  }
  n_output(ir, n_two(ir, QP_IR_PSUB, node[0], node[1]));
  OWNED qp_ir *out = qp_pass_choose_halves(ir);
  unsigned subtractions = 0;
  for (unsigned i = 0; i < out->count; i++) subtractions += out->node[i].op == QP_IR_PSUB;
  cr_assert_eq(subtractions, 1);
  assert_equal_values(ir, out, 32);
}

Test(choose, converts_large_integers_as_before) {
  NEW(ir);
  int x = n_bits(ir, n_state(ir), 3, 11);
  n_output(ir, n_one(ir, QP_IR_HALF_OF_UINT, x));
  n_output(ir, n_one(ir, QP_IR_HALF_OF_INT, n_with(ir, QP_IR_SUB, x, 1)));
  n_output(ir, n_one(ir, QP_IR_HALF_OF_INT, x));
  n_output(ir, n_one(ir, QP_IR_HALF_OF_INT, n_with(ir, QP_IR_SUB, n_bits(ir, x, 0, 8), 1500)));
  const int kilo = n_with(ir, QP_IR_AND, n_state(ir), 1024); /* the bit that 1024 has */
  n_output(ir, n_one(ir, QP_IR_HALF_OF_INT, n_with(ir, QP_IR_SUB, kilo, 1)));
  n_output(ir, n_one(ir, QP_IR_HALF_OF_INT, kilo));
  OWNED qp_ir *out = qp_pass_choose_halves(ir);
  cr_assert_eq(out->node[out->output[0]].op, QP_IR_HALF_OF_UINT);
  for (unsigned i = 1; i < 6; i++)
    cr_assert_eq(out->node[out->output[i]].op, QP_IR_HALF_OF_INT, "%u", i);
  assert_equal_values(ir, out, 32);
}

Test(choose, packs_halves_at_byte_boundaries_at_once) {
  NEW(ir);
  int a = n_state(ir), b = n_input(ir, QP_IN_GROUP);
  int lo[] = {n_one(ir, QP_IR_AS_HALF, n_with(ir, QP_IR_SHR, a, 8)),
              n_one(ir, QP_IR_HI, n_pair(ir, a)), n_one(ir, QP_IR_AS_HALF, a)};
  int hi[] = {n_one(ir, QP_IR_AS_HALF, n_with(ir, QP_IR_SHR, b, 16)),
              n_one(ir, QP_IR_LO, n_pair(ir, b)), n_one(ir, QP_IR_HI, n_pair(ir, b))};
  for (unsigned i = 0; i < 9; i++) n_output(ir, n_two(ir, QP_IR_PACK, lo[i / 3], hi[i % 3]));
  OWNED qp_ir *out = qp_pass_choose_halves(ir);
  unsigned prmt = 0, shifts = 0;
  for (unsigned i = 0; i < out->count; i++) {
    prmt += out->node[i].op == QP_IR_PRMT;
    shifts += out->node[i].op == QP_IR_SHR || out->node[i].op == QP_IR_HI;
  }
  cr_assert_eq(prmt, 5, "of nine, three twice, one a plain pack: %u", prmt);
  cr_assert_eq(shifts, 0);
  assert_equal_values(ir, out, 32);
}

Test(choose, packs_halves_that_lie_within_a_byte_or_differ_in_their_logic_one_by_one) {
  NEW(ir);
  int a = n_state(ir), b = n_input(ir, QP_IN_GROUP);
  int within = n_one(ir, QP_IR_AS_HALF, n_with(ir, QP_IR_SHR, a, 4));
  n_output(ir, n_two(ir, QP_IR_PACK, within, n_one(ir, QP_IR_HI, n_pair(ir, b))));
  int masked = n_one(ir, QP_IR_AS_HALF, n_with(ir, QP_IR_AND, a, 0x3fff0f));
  n_output(
      ir, n_two(ir, QP_IR_PACK, masked, n_one(ir, QP_IR_AS_HALF, n_with(ir, QP_IR_OR, b, 0x1234))));
  n_output(ir, n_two(ir, QP_IR_PACK, masked,
                     n_one(ir, QP_IR_AS_HALF, n_with(ir, QP_IR_AND, b, 0x00f0))));
  OWNED qp_ir *out = qp_pass_choose_halves(ir);
  assert_equal_values(ir, out, 32);
}

/* pack(half(x >> 8 & 255) - 1, ..) of both halves of x = (state & 0xff00ff) * factor */
static qp_ir *digits(uint32_t factor) {
  qp_ir *ir = qp_ir_new();
  int x = n_with(ir, QP_IR_MUL, n_with(ir, QP_IR_AND, n_state(ir), 0xff00ff), factor);
  int low = n_with(ir, QP_IR_AND, n_with(ir, QP_IR_SHR, x, 8), 255);
  int high = n_with(ir, QP_IR_AND, n_with(ir, QP_IR_SHR, x, 24), 255);
  int lo = n_one(ir, QP_IR_HALF_OF_INT, n_with(ir, QP_IR_SUB, low, 1));
  int hi = n_one(ir, QP_IR_HALF_OF_INT, n_with(ir, QP_IR_SUB, high, 1));
  n_output(ir, n_two(ir, QP_IR_PACK, lo, hi));
  return ir;
}

Test(choose, digits_become_numbers_where_they_lie_if_they_have_two_bits) {
  OWNED qp_ir *three = digits(3), *five = digits(5);
  OWNED qp_ir *in_place = qp_pass_choose_halves(three), *moved = qp_pass_choose_halves(five);
  cr_expect_eq(count_of(in_place, QP_IR_PFMA), 1);
  cr_expect_eq(count_of(in_place, QP_IR_PRMT), 0);
  cr_expect_eq(count_of(moved, QP_IR_PFMA), 0);
  cr_expect_eq(count_of(moved, QP_IR_PRMT), 1);
  assert_equal_values(three, in_place, 32);
  assert_equal_values(five, moved, 32);
}

Test(choose, packs_words_of_two_masks_by_both) {
  NEW(ir);
  int lo = n_one(ir, QP_IR_AS_HALF, n_with(ir, QP_IR_AND, n_state(ir), 0x00ff));
  int hi = n_one(ir, QP_IR_AS_HALF, n_with(ir, QP_IR_AND, n_input(ir, QP_IN_GROUP), 0xff0f));
  n_output(ir, n_two(ir, QP_IR_PACK, lo, hi));
  n_output(ir, n_two(ir, QP_IR_PACK, hi, lo));
  OWNED qp_ir *out = qp_pass_choose_halves(ir);
  assert_equal_values(ir, out, 32);
}

/* 1024 + x and 1024 + 16 y of two integers of a word, times (1, 1/16), or what 'by' says, and 'add'
   to each. */
static int kilos_by(qp_ir *ir, uint32_t by, uint32_t add) {
  int bits = n_with(ir, QP_IR_OR, n_with(ir, QP_IR_AND, n_state(ir), 0xf0000f), 0x64006400);
  return n_three(ir, QP_IR_PFMA, n_pair(ir, bits), qp_ir_add_constant(ir, QP_PAIR, by),
                 qp_ir_add_constant(ir, QP_PAIR, add));
}

static int scaled_kilos(qp_ir *ir, uint32_t add) { return kilos_by(ir, 0x2c003c00, add); }

/* Where the sum is rounded, or what is subtracted is no small integer, order counts. */
Test(choose, subtracts_from_sums_only_where_all_are_small_integers) {
  NEW(ir);
  const int word = n_with(ir, QP_IR_AND, n_input(ir, QP_IN_GROUP), 0xff00ff);
  const int small = n_two(ir, QP_IR_PSUB, n_pair(ir, n_with(ir, QP_IR_OR, word, 0x64006400)),
                          qp_ir_add_constant(ir, QP_PAIR, 0x64006400));
  const int any = n_two(ir, QP_IR_PSUB, n_pair(ir, n_input(ir, QP_IN_GROUP + 1)),
                        qp_ir_add_constant(ir, QP_PAIR, 0x64006400));
  n_output(ir, n_two(ir, QP_IR_PSUB, scaled_kilos(ir, 0x64006400), small));
  n_output(ir, n_two(ir, QP_IR_PSUB, scaled_kilos(ir, 0xd400e400), any));
  const int above = n_two(ir, QP_IR_PSUB, n_pair(ir, n_with(ir, QP_IR_OR, word, 0x64006400)),
                          qp_ir_add_constant(ir, QP_PAIR, 0x60006000)); /* 512 and more */
  n_output(ir, n_two(ir, QP_IR_PSUB, scaled_kilos(ir, 0xd400e400), above));
  n_output(ir, n_two(ir, QP_IR_PSUB, kilos_by(ir, 0x2c003c01, 0xd400e400), small));
  OWNED qp_ir *out = qp_pass_choose_halves(ir);
  assert_equal_values(ir, out, 32);
}

/* Another constant, another number, and bytes that do not lie at the top of their halves. */
Test(choose, leaves_differences_that_only_look_like_small_integers) {
  NEW(ir);
  const int kilo = qp_ir_add_constant(ir, QP_PAIR, 0x64006400);
  const int low = n_with(ir, QP_IR_AND, n_state(ir), 0x00ff00ff);
  const int a = n_two(ir, QP_IR_PSUB, n_pair(ir, n_with(ir, QP_IR_OR, low, 0x64006400)), kilo);
  const int other = n_with(ir, QP_IR_AND, n_input(ir, QP_IN_GROUP), 0x00ff00ff);
  const int b = n_pair(ir, n_with(ir, QP_IR_OR, other, 0x64006400));
  const int less = n_two(ir, QP_IR_PSUB, b, qp_ir_add_constant(ir, QP_PAIR, 0x60006000));
  const int any = n_two(ir, QP_IR_PSUB, n_pair(ir, n_input(ir, QP_IN_GROUP + 1)), kilo);
  const int x = n_with(ir, QP_IR_AND, n_state(ir), 0x03ff03ff);
  const int bytes = n_three(ir, QP_IR_PRMT, x, x, n_word(ir, 0x4240));
  const int n = n_with(ir, QP_IR_OR, n_with(ir, QP_IR_AND, bytes, 0x00ff00ff), 0x64006400);
  n_output(ir, n_two(ir, QP_IR_PSUB, a, less));
  n_output(ir, n_two(ir, QP_IR_PSUB, a, any));
  const int top = n_three(ir, QP_IR_PRMT, x, x, n_word(ir, 0x4341));
  const int even = n_with(ir, QP_IR_OR, n_with(ir, QP_IR_AND, top, 0x00fe00fe), 0x64006400);
  n_output(ir, n_two(ir, QP_IR_PSUB, n_pair(ir, n), kilo));
  n_output(ir, n_two(ir, QP_IR_PSUB, n_pair(ir, even), kilo));
  const int digit = n_three(ir, QP_IR_PRMT, n_with(ir, QP_IR_AND, n_state(ir), 0x03000300),
                            n_with(ir, QP_IR_AND, n_state(ir), 0x03000300), n_word(ir, 0x4341));
  const int third = n_with(ir, QP_IR_OR, n_with(ir, QP_IR_AND, digit, 0x00ff00ff), 0x54005400);
  n_output(ir, n_two(ir, QP_IR_PSUB, n_pair(ir, third), kilo));
  const int half = qp_ir_add_constant(ir, QP_PAIR, 0x38003800); /* 1024.5 is rounded */
  n_output(ir, n_two(ir, QP_IR_PSUB, n_two(ir, QP_IR_PSUB, ir->node[a].arg[0], half),
                     n_two(ir, QP_IR_PSUB, b, half)));
  OWNED qp_ir *out = qp_pass_choose_halves(ir);
  assert_equal_values(ir, out, 32);
}

/* ---- Instruction choice ---- */

static void assert_chosen(const qp_ir *ir, qp_ir_op op, unsigned nodes) {
  OWNED qp_ir *out = qp_pass_select(ir);
  unsigned n = 0;
  for (unsigned i = 0; i < out->count; i++) n += out->node[i].op == op;
  char *text = qp_ir_dump(out);
  cr_assert_eq(n, 1, "one %s expected\n%s", qp_ir_op_row(op)->name, text);
  cr_assert_eq(out->count, nodes, "%u nodes expected\n%s", nodes, text);
  free(text);
  assert_equal_values(ir, out, 32);
}

Test(choose, chooses_multiply_add) {
  NEW(ir);
  n_output(ir, n_pair(ir, d_hash(ir)));
  assert_chosen(ir, QP_IR_MAD, 3);
}

Test(choose, keeps_a_product_that_others_use) {
  NEW(ir);
  int m = n_two(ir, QP_IR_MUL, n_state(ir), n_input(ir, QP_IN_GROUP));
  n_output(ir, n_pair(ir, n_two(ir, QP_IR_ADD, m, n_state(ir))));
  n_output(ir, n_pair(ir, m));
  OWNED qp_ir *out = qp_pass_select(ir);
  for (unsigned i = 0; i < out->count; i++) cr_assert_neq(out->node[i].op, QP_IR_MAD);
  assert_equal_values(ir, out, 32);
}

Test(choose, chooses_a_byte_sum) {
  NEW(ir);
  int s = n_state(ir), sum = n_input(ir, QP_IN_GROUP);
  for (unsigned k = 0; k < 4; k++) sum = n_two(ir, QP_IR_ADD, sum, n_bits(ir, s, 8 * k, 8));
  n_output(ir, n_pair(ir, sum));
  assert_chosen(ir, QP_IR_DP4A, 5);
}

Test(choose, chooses_no_byte_sum_of_bytes_of_two_words) {
  NEW(ir);
  int sum = n_with(ir, QP_IR_AND, n_input(ir, QP_IN_GROUP), 255);
  for (unsigned k = 1; k < 4; k++)
    sum = n_two(ir, QP_IR_ADD, sum, n_bits(ir, n_state(ir), 8 * k, 8));
  n_output(ir, n_pair(ir, sum));
  OWNED qp_ir *out = qp_pass_select(ir);
  for (unsigned i = 0; i < out->count; i++) cr_assert_neq(out->node[i].op, QP_IR_DP4A);
  assert_equal_values(ir, out, 32);
}

/* A byte that stands twice is what is added to the others, and a permute of zeros is no byte. */
Test(choose, counts_each_byte_of_a_sum_once) {
  NEW(ir);
  int x = n_state(ir), four = n_bits(ir, x, 0, 8), three = n_bits(ir, x, 0, 8);
  for (unsigned k = 1; k < 4; k++) four = n_two(ir, QP_IR_ADD, four, n_bits(ir, x, 8 * k, 8));
  for (unsigned k = 2; k < 4; k++) three = n_two(ir, QP_IR_ADD, three, n_bits(ir, x, 8 * k, 8));
  const int zeros = n_three(ir, QP_IR_PRMT, x, n_word(ir, 0), n_word(ir, 0x4445));
  n_output(ir, n_pair(ir, n_two(ir, QP_IR_ADD, four, n_bits(ir, x, 8, 8))));
  n_output(ir, n_pair(ir, n_two(ir, QP_IR_ADD, three, zeros)));
  OWNED qp_ir *out = qp_pass_select(ir);
  cr_expect_eq(count_of(out, QP_IR_DP4A), 1);
  assert_equal_values(ir, out, 32);
}

Test(choose, chooses_no_byte_sum_of_three_bytes) {
  NEW(ir);
  int sum = n_input(ir, QP_IN_GROUP);
  for (unsigned k = 0; k < 3; k++)
    sum = n_two(ir, QP_IR_ADD, sum, n_bits(ir, n_state(ir), 8 * k, 8));
  n_output(ir, n_pair(ir, sum));
  OWNED qp_ir *out = qp_pass_select(ir);
  cr_expect_eq(count_of(out, QP_IR_DP4A), 0);
  assert_equal_values(ir, out, 32);
}

Test(choose, chooses_no_funnel_of_shifts_that_do_not_meet) {
  NEW(ir);
  int low = n_with(ir, QP_IR_SHR, n_state(ir), 11);
  n_output(ir, n_pair(ir, n_two(ir, QP_IR_OR, n_with(ir, QP_IR_SHL, n_state(ir), 20), low)));
  OWNED qp_ir *out = qp_pass_select(ir);
  cr_expect_eq(count_of(out, QP_IR_FUNNEL), 0);
  assert_equal_values(ir, out, 32);
}

Test(choose, chooses_a_funnel_shift) {
  NEW(ir);
  int low = n_with(ir, QP_IR_SHR, n_state(ir), 11);
  int high = n_with(ir, QP_IR_SHL, n_input(ir, QP_IN_GROUP), 21);
  n_output(ir, n_pair(ir, n_two(ir, QP_IR_OR, high, low)));
  assert_chosen(ir, QP_IR_FUNNEL, 5);
}

Test(choose, chooses_a_byte) {
  NEW(ir);
  n_output(ir, n_pair(ir, n_bits(ir, n_state(ir), 16, 8)));
  assert_chosen(ir, QP_IR_PRMT, 5);
}

Test(choose, chooses_three_input_logic) {
  static const qp_ir_op ops[] = {QP_IR_AND, QP_IR_OR, QP_IR_XOR};
  for (unsigned i = 0; i < 9; i++) {
    NEW(ir);
    int a = n_two(ir, ops[i / 3], n_state(ir), n_input(ir, QP_IN_GROUP));
    n_output(ir, n_pair(ir, n_two(ir, ops[i % 3], a, n_input(ir, QP_IN_GROUP + 1))));
    assert_chosen(ir, QP_IR_LOP3, 5);
  }
}

Test(choose, gives_each_mask_its_logic) {
  NEW(ir);
  int x = n_one(ir, QP_IR_NOT, n_state(ir));
  for (uint32_t k = 0; k < 3; k++)
    x = n_two(ir, QP_IR_XOR, x, n_with(ir, QP_IR_AND, n_input(ir, QP_IN_GROUP + k), 0x8000));
  n_output(ir, n_pair(ir, x));
  OWNED qp_ir *out = qp_pass_select(ir);
  unsigned lop3 = 0;
  for (unsigned i = 0; i < out->count; i++) {
    lop3 += out->node[i].op == QP_IR_LOP3;
    cr_assert(out->node[i].op != QP_IR_AND && out->node[i].op != QP_IR_XOR);
  }
  cr_assert_eq(lop3, 3);
  assert_equal_values(ir, out, 32);
}
