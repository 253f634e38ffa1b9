/* SPDX-License-Identifier: MIT */
/* Reach, demand, known bits; masks, indices, folding, bf16: what each pass makes of a small IR. */
#include "tests/ir/passes_kit.h"

/* ---- Reach, demand, known bits ---- */

Test(passes, reach_what_outputs_need) {
  bool need[8];
  NEW(ir);
  int s = n_state(ir), used = n_one(ir, QP_IR_NOT, s), idle = n_one(ir, QP_IR_POPC, s);
  n_output(ir, n_pair(ir, used));
  qp_pass_reach(ir, need);
  cr_assert(need[s] && need[used] && !need[idle]);
}

static uint32_t demanded(qp_ir *ir, int node) {
  uint32_t demand[64];
  qp_pass_demand(ir, ir->output, ir->outputs, -1, demand);
  return demand[node];
}

Test(passes, demand_goes_down_through_sums_and_along_shifts) {
  NEW(ir);
  int s = n_state(ir), t = n_input(ir, QP_IN_GROUP);
  int sum = n_two(ir, QP_IR_ADD, s, t);
  n_output(ir, n_pair(ir, n_bits(ir, sum, 6, 4)));
  cr_assert_eq(demanded(ir, sum), 0x3c0);
  cr_assert_eq(demanded(ir, s), 0x3ff, "carries come from below");
}

Test(passes, demand_of_a_product_knows_the_factors_zeros) {
  NEW(ir);
  int s = n_state(ir);
  n_output(ir, n_pair(ir, n_bits(ir, n_with(ir, QP_IR_MUL, s, 24), 0, 8)));
  cr_assert_eq(demanded(ir, s), 0x1f);
}

Test(passes, demand_of_a_dot_product_is_the_bytes_that_count) {
  NEW(ir);
  int s = n_state(ir), t = n_input(ir, QP_IN_GROUP);
  int h = n_three(ir, QP_IR_DP4A, s, n_word(ir, 0x00ff0001), t);
  n_output(ir, n_pair(ir, n_bits(ir, h, 7, 10)));
  cr_assert_eq(demanded(ir, s), 0x00ff00ff);
  cr_assert_eq(demanded(ir, t), ~0u);
}

Test(passes, demand_of_a_comparison_is_all) {
  NEW(ir);
  int s = n_state(ir), t = n_input(ir, QP_IN_GROUP);
  n_output(ir, n_pair(ir, n_with(ir, QP_IR_AND, n_two(ir, QP_IR_LT, s, t), 1)));
  cr_assert_eq(demanded(ir, s), ~0u);
}

Test(passes, demand_of_fp16_is_by_halves) {
  NEW(ir);
  int s = n_state(ir), p = n_pair(ir, s);
  n_output(ir, n_one(ir, QP_IR_HNEG, n_one(ir, QP_IR_LO, n_two(ir, QP_IR_PADD, p, p))));
  cr_assert_eq(demanded(ir, s), 0xffff);
}

Test(passes, demand_stops_where_it_is_told) {
  uint32_t demand[16];
  NEW(ir);
  int s = n_state(ir), x = n_bits(ir, s, 3, 4), y = n_pair(ir, n_one(ir, QP_IR_NOT, x));
  n_output(ir, y);
  const uint16_t root = (uint16_t)y;
  qp_pass_demand(ir, &root, 1, x, demand);
  cr_assert_eq(demand[x], ~0u);
  cr_assert_eq(demand[s], 0);
}

/* No value ever has a bit that is said to be clear. */
Test(passes, known_bits_hold_on_random_inputs) {
  static const qp_ir_op ops[] = {QP_IR_ADD, QP_IR_MUL, QP_IR_AND, QP_IR_OR, QP_IR_XOR, QP_IR_SHL,
                                 QP_IR_SHR, QP_IR_MIN, QP_IR_MAX, QP_IR_EQ, QP_IR_LT,  QP_IR_SUB};
  uint64_t seed = 11;
  for (unsigned round = 0; round < 3000; round++) {
    uint32_t may[128], value;
    qp_ir_env env = {0};
    NEW(ir);
    int node[12] = {n_bits(ir, n_state(ir), random_word(&seed) % 20, 1 + random_word(&seed) % 11),
                    n_word(ir, random_word(&seed) >> random_word(&seed) % 32)};
    for (unsigned i = 2; i < 12; i++) {
      int a = node[random_word(&seed) % i], b = node[random_word(&seed) % i];
      unsigned which = random_word(&seed) % 15;
      node[i] = which == 12   ? n_one(ir, QP_IR_POPC, a)
                : which == 13 ? n_three(ir, QP_IR_SELECT, a, b, node[0])
                : which == 14 ? n_three(ir, QP_IR_DP4A, a, b, node[0])
                              : n_two(ir, ops[which], a, b);
    }
    qp_pass_known(ir, may);
    for (unsigned i = 0; i < 12; i++) {
      ir->outputs = 0;
      n_output(ir, node[i]);
      env.input[QP_IN_STATE] = random_word(&seed);
      qp_ir_eval(ir, &env, &value);
      cr_assert_eq(value & ~may[node[i]], 0, "%s: %08x has more than %08x",
                   qp_ir_op_row(ir->node[node[i]].op)->name, value, may[node[i]]);
    }
  }
}

/* ---- Masks ---- */

Test(passes, drops_masks_of_bits_that_nobody_demands) {
  NEW(ir);
  int low = n_with(ir, QP_IR_AND, n_state(ir), 0xffff);
  int h = n_two(ir, QP_IR_MUL, low, n_input(ir, QP_IN_GROUP));
  n_output(ir, n_one(ir, QP_IR_AS_HALF, h));
  OWNED qp_ir *out = qp_pass_drop_masks(ir);
  assert_prints(out, "%0 = input state\n"
                     "%1 = input group0\n"
                     "%2 = mul %0, %1\n"
                     "%3 = as_half %2\n"
                     "return %3\n");
  assert_equal_values(ir, out, 32);
}

Test(passes, drops_masks_of_bits_that_are_clear) {
  NEW(ir);
  int x = n_bits(ir, n_state(ir), 0, 4), y = n_bits(ir, n_state(ir), 8, 4);
  n_output(ir, n_pair(ir, n_with(ir, QP_IR_AND, n_two(ir, QP_IR_ADD, x, y), 31)));
  OWNED qp_ir *out = qp_pass_drop_masks(ir);
  assert_prints(out, "%0 = input state\n"
                     "%1 = const 0xf\n"
                     "%2 = and %0, %1\n"
                     "%3 = const 0x8\n"
                     "%4 = shr %0, %3\n"
                     "%5 = and %4, %1\n"
                     "%6 = add %2, %5\n"
                     "%7 = as_pair %6\n"
                     "return %7\n");
  assert_equal_values(ir, out, 32);
}

Test(passes, keeps_masks_that_clear_a_single_bit) {
  NEW(ir);
  int x = n_bits(ir, n_state(ir), 3, 4);
  n_output(ir, n_pair(ir, n_with(ir, QP_IR_AND, n_with(ir, QP_IR_MUL, x, 3), 0xfe)));
  OWNED qp_ir *out = qp_pass_drop_masks(ir);
  assert_equal_values(ir, out, 32);
}

Test(passes, keeps_masks_and_words_whose_upper_half_counts) {
  NEW(ir);
  int x = n_state(ir), y = n_input(ir, QP_IN_GROUP);
  n_output(ir, n_pair(ir, n_with(ir, QP_IR_AND, x, 0x1ffff)));
  n_output(ir, n_one(ir, QP_IR_HI, n_pair(ir, n_two(ir, QP_IR_XOR, x, y))));
  OWNED qp_ir *out = qp_pass_drop_masks(ir);
  cr_expect_eq(count_of(out, QP_IR_AND), 1);
  assert_equal_values(ir, out, 32);
}

Test(passes, never_drops_both_of_two_masks_that_need_each_other) {
  NEW(ir);
  int inner = n_with(ir, QP_IR_AND, n_state(ir), 0xff);
  int x = n_two(ir, QP_IR_XOR, inner, n_bits(ir, n_input(ir, QP_IN_GROUP), 0, 8));
  n_output(ir, n_pair(ir, n_with(ir, QP_IR_AND, x, 0xff)));
  OWNED qp_ir *out = qp_pass_drop_masks(ir);
  cr_assert_lt(out->count, ir->count);
  assert_equal_values(ir, out, 32);
}

Test(passes, drops_loads_of_which_nothing_is_demanded) {
  NEW(ir);
  int lo = n_one(ir, QP_IR_AS_HALF, n_state(ir));
  int hi = n_lookup_h(ir, 1, n_with(ir, QP_IR_AND, n_state(ir), 7));
  int sum = n_two(ir, QP_IR_PADD, n_two(ir, QP_IR_PACK, lo, hi), n_pair(ir, n_state(ir)));
  n_output(ir, n_one(ir, QP_IR_LO, sum));
  OWNED qp_ir *out = qp_pass_drop_masks(ir);
  for (unsigned i = 0; i < out->count; i++) cr_assert_neq(out->node[i].op, QP_IR_LOOKUP_H);
  assert_equal_values(ir, out, 32);
}

Test(passes, masks_the_state_where_bits_above_the_window_count) {
  NEW(ir);
  int s = n_state(ir);
  n_output(ir, n_pair(ir, n_two(ir, QP_IR_MUL, s, s)));
  OWNED qp_ir *out = qp_pass_mask_state(ir, 16);
  assert_prints(out, "%0 = input state\n"
                     "%1 = const 0xffff\n"
                     "%2 = and %0, %1\n"
                     "%3 = mul %2, %2\n"
                     "%4 = as_pair %3\n"
                     "return %4\n");
  assert_equal_values(ir, out, 16);
}

Test(passes, masks_the_state_where_the_next_bit_alone_counts) {
  NEW(ir);
  n_output(ir, n_pair(ir, n_with(ir, QP_IR_AND, n_state(ir), 0x10000)));
  OWNED qp_ir *out = qp_pass_mask_state(ir, 16);
  assert_equal_values(ir, out, 16);
}

Test(passes, leaves_the_state_alone_where_they_do_not) {
  NEW(ir);
  int s = n_state(ir);
  n_output(ir, n_one(ir, QP_IR_AS_HALF, n_two(ir, QP_IR_MUL, s, s)));
  OWNED qp_ir *out = qp_pass_mask_state(ir, 16);
  cr_assert_eq(out->count, ir->count);
  assert_equal_values(ir, out, 16);
}

Test(passes, masks_small_fields) {
  const uint32_t masks[8] = {0xffff, 15, 255, ~0u};
  NEW(ir);
  int half = qp_ir_add(ir, QP_IR_INPUT_H, NULL, QP_IN_GROUP, 0);
  int zero = n_one(ir, QP_IR_HALF_OF_UINT, n_input(ir, QP_IN_GROUP + 1));
  n_output(ir, n_two(ir, QP_IR_HMUL, half, zero));
  OWNED qp_ir *out = qp_pass_mask_fields(ir, masks);
  assert_prints(out, "%0 = input.h group0\n"
                     "%1 = input group1\n"
                     "%2 = const 0xf\n"
                     "%3 = and %1, %2\n"
                     "%4 = half.of_uint %3\n"
                     "%5 = mul.h %0, %4\n"
                     "return %5\n");
}

/* ---- Indices ---- */

Test(passes, clamps_indices_that_may_lie_beyond_the_codebook) {
  const uint32_t entries[] = {4, 8, 8, 8};
  NEW(ir);
  int far = n_bits(ir, n_state(ir), 0, 3), near = n_bits(ir, n_state(ir), 0, 2);
  int beyond = n_lookup_p(ir, 0, far, 0), within = n_lookup_p(ir, 0, near, 0);
  n_output(ir, n_two(ir, QP_IR_PADD, beyond, within));
  OWNED qp_ir *out = qp_pass_clamp_lookups(ir, entries);
  assert_prints(out, "%0 = input state\n"
                     "%1 = const 0x7\n"
                     "%2 = and %0, %1\n"
                     "%3 = const 0x3\n"
                     "%4 = and %0, %3\n"
                     "%5 = min %2, %3\n"
                     "%6 = lookup.p codebook0[%5].0\n"
                     "%7 = lookup.p codebook0[%4].0\n"
                     "%8 = add.p %6, %7\n"
                     "return %8\n");
  assert_equal_values(ir, out, 32);
}

Test(passes, clamps_an_index_that_may_be_just_the_number_of_entries) {
  const uint32_t entries[] = {4, 8, 8, 8};
  NEW(ir);
  n_output(ir, n_lookup_h(ir, 1, n_with(ir, QP_IR_AND, n_state(ir), 8)));
  OWNED qp_ir *out = qp_pass_clamp_lookups(ir, entries);
  cr_expect_eq(count_of(out, QP_IR_MIN), 1);
}

/* ---- Folding ---- */

Test(passes, folds_two_codes_into_one_step) {
  NEW(ir);
  int v = n_lookup_h(ir, 1, n_with(ir, QP_IR_AND, n_state(ir), 7));
  n_output(ir, n_two(ir, QP_IR_HMUL, v, n_half(ir, 0x3800)));
  OWNED qp_ir *out = qp_pass_fold(ir, 3);
  assert_prints(out, "%0 = input state\n"
                     "%1 = const 0x7\n"
                     "%2 = and %0, %1\n"
                     "%3 = lookup.h codebook1[%2].0\n"
                     "%4 = const 0x3\n"
                     "%5 = shr %0, %4\n"
                     "%6 = and %5, %1\n"
                     "%7 = lookup.h codebook1[%6].0\n"
                     "%8 = pack %3, %7\n"
                     "%9 = const 0x38003800\n"
                     "%10 = as_pair %9\n"
                     "%11 = mul.p %8, %10\n"
                     "return %11\n");
}

Test(passes, folds_an_odd_number_of_weights_across_codes) {
  NEW(ir);
  for (unsigned i = 0; i < 3; i++)
    n_output(ir, n_one(ir, QP_IR_AS_HALF, n_bits(ir, n_state(ir), 4 * i, 4)));
  OWNED qp_ir *out = qp_pass_fold(ir, 12);
  const qp_ir_env env = {.input = {0x654321}};
  uint32_t got[3];
  cr_assert_eq(out->outputs, 3);
  qp_ir_eval(out, &env, got);
  cr_assert_eq(got[0], 0x00020001);
  cr_assert_eq(got[1], 0x00040003);
  cr_assert_eq(got[2], 0x00060005);
}

/* ---- bf16 ---- */

Test(passes, converts_outputs_to_bf16) {
  NEW(ir);
  n_output(ir, n_two(ir, QP_IR_PADD, n_pair(ir, n_state(ir)), n_pair(ir, n_state(ir))));
  OWNED qp_ir *out = qp_pass_bf16(ir);
  assert_prints(out, "%0 = input state\n"
                     "%1 = as_pair %0\n"
                     "%2 = add.p %1, %1\n"
                     "%3 = bpair_of_pair %2\n"
                     "return %3\n");
}

Test(passes, moves_the_conversion_above_changes_of_sign) {
  NEW(ir);
  int v = n_lookup_p(ir, 0, n_bits(ir, n_state(ir), 0, 2), 0);
  v = n_flip(ir, v, 1, n_bits(ir, n_state(ir), 2, 1));
  n_output(ir, n_one(ir, QP_IR_PNEG, n_flip(ir, v, 2, n_bits(ir, n_state(ir), 3, 1))));
  OWNED qp_ir *out = qp_pass_bf16(ir);
  char *text = qp_ir_dump(out);
  cr_assert(strstr(text, "= lookup.p codebook0[%2].0\n"), "%s", text);
  cr_assert(strstr(text, "= bpair_of_pair %3\n"), "the look-up is converted\n%s", text);
  cr_assert(!strstr(text, "neg.p"), "%s", text);
  free(text);
  NEW(late); /* converted last: the same bits */
  late->outputs = 0;
  OWNED qp_ir *plain = qp_pass_copy(ir, NULL, NULL);
  plain->output[0] = (uint16_t)n_one(plain, QP_IR_BPAIR_OF_PAIR, plain->output[0]);
  assert_equal_values(plain, out, 32);
}

Test(passes, leaves_what_is_no_change_of_sign_below_the_conversion) {
  static const uint32_t masks[] = {0xf, 0x4000, 0x40000000};
  for (unsigned i = 0; i < sizeof masks / sizeof *masks; i++) {
    NEW(ir);
    int v = n_one(ir, QP_IR_WORD_OF_PAIR, n_lookup_p(ir, 0, n_bits(ir, n_state(ir), 0, 2), 0));
    int flips = n_with(ir, QP_IR_AND, n_state(ir), masks[i]);
    n_output(ir, n_pair(ir, n_two(ir, QP_IR_XOR, v, flips)));
    OWNED qp_ir *out = qp_pass_bf16(ir);
    cr_assert_eq(out->node[out->output[0]].op, QP_IR_BPAIR_OF_PAIR, "%u", i);
  }
  for (unsigned i = 0; i < 2; i++) {
    NEW(ir);
    int v = n_one(ir, QP_IR_WORD_OF_PAIR, n_lookup_p(ir, 0, n_bits(ir, n_state(ir), 0, 2), 0));
    int sign = n_with(ir, QP_IR_AND, n_state(ir), 0x8000);
    int flips = i ? n_two(ir, QP_IR_OR, sign, n_with(ir, QP_IR_AND, n_state(ir), 4))
                  : n_with(ir, QP_IR_SHR, sign, 1);
    n_output(ir, n_pair(ir, n_two(ir, QP_IR_XOR, v, flips)));
    OWNED qp_ir *out = qp_pass_bf16(ir);
    cr_assert_eq(out->node[out->output[0]].op, QP_IR_BPAIR_OF_PAIR, "%u", i);
  }
}

/* ---- All of them on whole decodes ---- */

Test(passes, keep_the_values_of_every_decode) {
  static qp_ir *(*const passes[])(const qp_ir *) = {qp_pass_drop_masks, qp_pass_join_shifts,
                                                    qp_pass_choose_halves, qp_pass_move_bits,
                                                    qp_pass_pair_rows,     qp_pass_select};
  for (unsigned d = 0; d < D_COUNT; d++) {
    qp_quantizer q = d_all[d]();
    uint64_t seed = d;
    for (unsigned p = 0; p < sizeof passes / sizeof *passes; p++) {
      OWNED qp_ir *out = passes[p](q.decode);
      qp_error err = {0};
      cr_assert_eq(qp_ir_verify(out, &err), QP_OK, "%s: %s", q.name, err.text);
      for (unsigned i = 0; i < 500; i++) {
        qp_ir_env env = {0};
        uint32_t x[QP_IR_MAX_OUTPUTS], y[QP_IR_MAX_OUTPUTS];
        for (unsigned k = 0; k < QP_IN_COUNT; k++) env.input[k] = random_word(&seed);
        for (unsigned k = 0; k < q.codebooks; k++) {
          env.codebook[k].data = q.codebook[k].data;
          env.codebook[k].entries = q.codebook[k].entries;
          env.codebook[k].dim = q.codebook[k].dim;
        }
        qp_ir_eval(q.decode, &env, x);
        qp_ir_eval(out, &env, y);
        cr_assert_arr_eq(x, y, out->outputs * sizeof *x, "%s, pass %u", q.name, p);
      }
    }
    d_free(&q);
  }
}
