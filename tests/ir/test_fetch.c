/* SPDX-License-Identifier: MIT */
/* Shifts and byte permutes of the state become part of its fetch. */
#include "tests/ir/passes_kit.h"

/* The same values, whatever the stream holds around the window. */
static qp_ir *fetched(const qp_ir *ir, unsigned window) {
  qp_ir *out = qp_pass_fetch(ir, window);
  assert_equal_values(ir, out, window);
  return out;
}

Test(fetch, shifts_of_the_state_become_part_of_its_fetch) {
  NEW(ir);
  int s = n_state(ir), scale = qp_ir_add(ir, QP_IR_SCALE, &s, 7, 0);
  n_output(ir, n_pair(ir, n_with(ir, QP_IR_AND, n_with(ir, QP_IR_SHL, s, 5), 0x1fe0)));
  n_output(ir, n_pair(ir, n_with(ir, QP_IR_AND, scale, 0x7f80)));
  n_output(ir, n_pair(ir, n_bits(ir, s, 3, 5)));
  OWNED qp_ir *out = fetched(ir, 8);
  cr_expect_eq(count_of(out, QP_IR_STATE_LEFT), 2);
  cr_expect_eq(count_of(out, QP_IR_STATE_RIGHT), 1);
  cr_expect_eq(count_of(out, QP_IR_INPUT), 0);
}

Test(fetch, shifts_whose_zeros_count_stay_shifts) {
  for (unsigned i = 0; i < 3; i++) {
    NEW(ir);
    int s = n_state(ir);
    n_output(ir, n_pair(ir, i == 0   ? n_with(ir, QP_IR_AND, n_with(ir, QP_IR_SHL, s, 5), 0x1ff0)
                            : i == 1 ? n_bits(ir, s, 4, 5)
                                     : n_with(ir, QP_IR_SHL, s, 5)));
    OWNED qp_ir *out = qp_pass_fetch(ir, 8);
    cr_expect_eq(count_of(out, QP_IR_STATE_LEFT) + count_of(out, QP_IR_STATE_RIGHT), 0, "%u", i);
    assert_equal_values(ir, out, 32);
  }
}

Test(fetch, a_state_that_is_read_as_it_is_too_is_fetched_once) {
  NEW(ir);
  int s = n_state(ir);
  int index = n_with(ir, QP_IR_AND, n_with(ir, QP_IR_SHL, s, 5), 0x1fe0);
  n_output(ir, n_pair(ir, n_two(ir, QP_IR_XOR, index, n_with(ir, QP_IR_AND, s, 0x80))));
  OWNED qp_ir *out = fetched(ir, 8);
  cr_expect_eq(count_of(out, QP_IR_STATE_LEFT), 0);
}

static qp_ir *halves_of(const qp_ir *ir, unsigned window) {
  qp_ir *out = qp_pass_fetch_halves(ir, window);
  assert_equal_values(ir, out, window);
  return out;
}

Test(fetch, sixteen_bits_of_the_state_are_a_fetch) {
  NEW(ir);
  int s = n_state(ir);
  n_output(ir, n_pair(ir, n_with(ir, QP_IR_MUL, n_with(ir, QP_IR_AND, s, 0xffff), 89226354)));
  n_output(ir, n_pair(ir, n_with(ir, QP_IR_MUL, n_bits(ir, s, 3, 16), 89226354)));
  OWNED qp_ir *out = halves_of(ir, 19);
  cr_expect_eq(count_of(out, QP_IR_STATE_HALF), 2);
  cr_expect_eq(count_of(out, QP_IR_INPUT) + count_of(out, QP_IR_AND), 0);
}

Test(fetch, sixteen_bits_beside_other_uses_of_the_state_are_not) {
  for (unsigned i = 0; i < 4; i++) {
    NEW(ir);
    int s = n_state(ir);
    n_output(ir, n_pair(ir, n_with(ir, QP_IR_MUL, n_with(ir, QP_IR_AND, s, 0xffff), 5)));
    n_output(ir, n_pair(ir, i == 0   ? n_bits(ir, s, 3, 15)
                            : i == 1 ? n_bits(ir, s, 4, 16) /* beyond the window */
                            : i == 2 ? n_with(ir, QP_IR_AND, s, 0xfffe)
                                     : n_one(ir, QP_IR_NOT, n_with(ir, QP_IR_SHR, s, 3))));
    OWNED qp_ir *out = qp_pass_fetch_halves(ir, 19);
    cr_expect_eq(count_of(out, QP_IR_STATE_HALF), 0, "%u", i);
    assert_equal_values(ir, out, 32);
  }
}

Test(fetch, more_or_fewer_than_sixteen_bits_are_not) {
  static const struct {
    uint32_t mask;
    unsigned window;
  } of[] = {{0x1ffff, 19}, {0xffff, 12}};
  for (unsigned i = 0; i < 2; i++) {
    NEW(ir);
    n_output(ir, n_pair(ir, n_with(ir, QP_IR_AND, n_state(ir), of[i].mask)));
    OWNED qp_ir *out = qp_pass_fetch_halves(ir, of[i].window);
    cr_expect_eq(count_of(out, QP_IR_STATE_HALF), 0, "%u", i);
    assert_equal_values(ir, out, 32);
  }
}

Test(fetch, a_state_beside_another_half_is_fetched_as_it_is) {
  NEW(ir);
  int half = n_one(ir, QP_IR_AS_HALF, n_state(ir));
  int other = n_one(ir, QP_IR_AS_HALF, n_input(ir, QP_IN_GROUP));
  n_output(ir, n_two(ir, QP_IR_PACK, half, other));
  OWNED qp_ir *out = fetched(ir, 16);
  cr_expect_eq(count_of(out, QP_IR_STATE_BYTES), 0);
}

Test(fetch, bytes_of_the_state_are_permuted_as_they_are_fetched) {
  NEW(ir);
  int s = n_state(ir), half = n_one(ir, QP_IR_AS_HALF, s);
  int both = n_one(ir, QP_IR_WORD_OF_PAIR, n_two(ir, QP_IR_PACK, half, half));
  const int args[] = {s, n_word(ir, 0x64646464), n_word(ir, 0x4140)};
  n_output(ir, n_pair(ir, n_with(ir, QP_IR_AND, both, 0xf0000f)));
  n_output(ir, n_pair(ir, qp_ir_add(ir, QP_IR_PRMT, args, 0, 0)));
  const int top[] = {s, args[1], n_word(ir, 0x4041)};
  int bit = n_with(ir, QP_IR_AND, qp_ir_add(ir, QP_IR_PRMT, top, 0, 0), 0x800080);
  n_output(ir, n_pair(ir, bit));
  OWNED qp_ir *out = fetched(ir, 16);
  cr_expect_eq(count_of(out, QP_IR_STATE_BYTES), 3);
  cr_expect_eq(count_of(out, QP_IR_INPUT), 0);
  for (unsigned i = 0; i < out->count; i++)
    if (out->node[i].op == QP_IR_STATE_BYTES && out->node[i].imm != 0x4140 &&
        out->node[i].imm != 0x4041)
      cr_expect_eq(out->node[i].imm, 0x4040, "bytes that nobody looks at are not the state's");
}
