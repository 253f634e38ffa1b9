/* SPDX-License-Identifier: MIT */
/* Each pass: what it makes of a small IR, and that values stay the same. */
#include <criterion/criterion.h>

#include "gen/ir/passes.h"
#include "tests/ir/decodes.h"

#define NEW(ir) qp_ir *ir __attribute__((cleanup(free_ir))) = qp_ir_new()
#define OWNED   __attribute__((cleanup(free_ir)))
static void free_ir(qp_ir **ir) { qp_ir_free(*ir); }

static void assert_prints(const qp_ir *ir, const char *want) {
  qp_error err = {0};
  cr_assert_eq(qp_ir_verify(ir, &err), QP_OK, "%s", err.text);
  char *text = qp_ir_dump(ir);
  cr_assert_str_eq(text, want, "\n%s", text);
  free(text);
}

static uint32_t random_word(uint64_t *seed) {
  *seed = *seed * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(*seed >> 32);
}

/* Both give the same on random inputs; of the state only bits below 'window' are set in 'a'. */
static void assert_equal_values(const qp_ir *a, const qp_ir *b, unsigned window) {
  uint64_t seed = 3;
  const uint16_t book[] = {0x3c00, 0x4000, 0x4200, 0xbc00, 0x1234, 0x9876, 0x0001, 0x7bff};
  for (unsigned i = 0; i < 2000; i++) {
    qp_ir_env env = {.codebook = {{book, 4, 2}, {book, 8, 1}}};
    uint32_t x[QP_IR_MAX_OUTPUTS], y[QP_IR_MAX_OUTPUTS];
    for (unsigned k = 0; k < QP_IN_COUNT; k++) env.input[k] = random_word(&seed);
    qp_ir_eval(b, &env, y);
    if (window < 32) env.input[QP_IN_STATE] &= (1u << window) - 1;
    qp_ir_eval(a, &env, x);
    cr_assert_eq(a->outputs, b->outputs);
    for (unsigned k = 0; k < a->outputs; k++)
      cr_assert_eq(x[k], y[k], "output %u of state %08x: %08x, not %08x", k, env.input[QP_IN_STATE],
                   y[k], x[k]);
  }
}

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
  NEW(ir);
  int v = n_one(ir, QP_IR_WORD_OF_PAIR, n_lookup_p(ir, 0, n_bits(ir, n_state(ir), 0, 2), 0));
  n_output(ir, n_pair(ir, n_two(ir, QP_IR_XOR, v, n_bits(ir, n_state(ir), 0, 4))));
  OWNED qp_ir *out = qp_pass_bf16(ir);
  cr_assert_eq(out->node[out->output[0]].op, QP_IR_BPAIR_OF_PAIR);
}

/* ---- Shifts ---- */

Test(passes, joins_shifts_and_masks) {
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

Test(passes, joined_shifts_keep_their_values) {
  uint64_t seed = 21;
  for (unsigned i = 0; i < 300; i++) {
    NEW(ir);
    int x = n_state(ir);
    for (unsigned k = 0; k < 6; k++) {
      uint32_t r = random_word(&seed);
      x = r & 1   ? n_with(ir, QP_IR_SHL, x, r >> 8 & 15)
          : r & 2 ? n_with(ir, QP_IR_SHR, x, r >> 8 & 15)
                  : n_with(ir, QP_IR_AND, x, random_word(&seed) | random_word(&seed));
    }
    n_output(ir, n_pair(ir, x));
    OWNED qp_ir *out = qp_pass_join_shifts(ir);
    cr_assert_leq(out->count, 6, "a shift and a mask are left");
    assert_equal_values(ir, out, 32);
  }
}

/* ---- fp16 numbers made of words ---- */

Test(passes, converts_small_integers_by_their_bits) {
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

Test(passes, converts_small_signed_integers_by_their_bits) {
  NEW(ir);
  int x = n_with(ir, QP_IR_SUB, n_bits(ir, n_state(ir), 3, 10), 1023);
  n_output(ir, n_one(ir, QP_IR_HALF_OF_INT, x));
  OWNED qp_ir *out = qp_pass_choose_halves(ir);
  for (unsigned i = 0; i < out->count; i++) cr_assert_neq(out->node[i].op, QP_IR_HALF_OF_INT);
  assert_equal_values(ir, out, 32);
}

Test(passes, subtracts_small_integers_without_their_1024) {
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

Test(passes, converts_large_integers_as_before) {
  NEW(ir);
  int x = n_bits(ir, n_state(ir), 3, 11);
  n_output(ir, n_one(ir, QP_IR_HALF_OF_UINT, x));
  n_output(ir, n_one(ir, QP_IR_HALF_OF_INT, n_with(ir, QP_IR_SUB, x, 1)));
  OWNED qp_ir *out = qp_pass_choose_halves(ir);
  cr_assert_eq(out->node[out->output[0]].op, QP_IR_HALF_OF_UINT);
  cr_assert_eq(out->node[out->output[1]].op, QP_IR_HALF_OF_INT);
  assert_equal_values(ir, out, 32);
}

Test(passes, packs_halves_at_byte_boundaries_at_once) {
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

Test(passes, chooses_multiply_add) {
  NEW(ir);
  n_output(ir, n_pair(ir, d_hash(ir)));
  assert_chosen(ir, QP_IR_MAD, 3);
}

Test(passes, keeps_a_product_that_others_use) {
  NEW(ir);
  int m = n_two(ir, QP_IR_MUL, n_state(ir), n_input(ir, QP_IN_GROUP));
  n_output(ir, n_pair(ir, n_two(ir, QP_IR_ADD, m, n_state(ir))));
  n_output(ir, n_pair(ir, m));
  OWNED qp_ir *out = qp_pass_select(ir);
  for (unsigned i = 0; i < out->count; i++) cr_assert_neq(out->node[i].op, QP_IR_MAD);
  assert_equal_values(ir, out, 32);
}

Test(passes, chooses_a_byte_sum) {
  NEW(ir);
  int s = n_state(ir), sum = n_input(ir, QP_IN_GROUP);
  for (unsigned k = 0; k < 4; k++) sum = n_two(ir, QP_IR_ADD, sum, n_bits(ir, s, 8 * k, 8));
  n_output(ir, n_pair(ir, sum));
  assert_chosen(ir, QP_IR_DP4A, 5);
}

Test(passes, chooses_no_byte_sum_of_bytes_of_two_words) {
  NEW(ir);
  int sum = n_with(ir, QP_IR_AND, n_input(ir, QP_IN_GROUP), 255);
  for (unsigned k = 1; k < 4; k++)
    sum = n_two(ir, QP_IR_ADD, sum, n_bits(ir, n_state(ir), 8 * k, 8));
  n_output(ir, n_pair(ir, sum));
  OWNED qp_ir *out = qp_pass_select(ir);
  for (unsigned i = 0; i < out->count; i++) cr_assert_neq(out->node[i].op, QP_IR_DP4A);
  assert_equal_values(ir, out, 32);
}

Test(passes, chooses_a_funnel_shift) {
  NEW(ir);
  int low = n_with(ir, QP_IR_SHR, n_state(ir), 11);
  int high = n_with(ir, QP_IR_SHL, n_input(ir, QP_IN_GROUP), 21);
  n_output(ir, n_pair(ir, n_two(ir, QP_IR_OR, high, low)));
  assert_chosen(ir, QP_IR_FUNNEL, 5);
}

Test(passes, chooses_a_byte) {
  NEW(ir);
  n_output(ir, n_pair(ir, n_bits(ir, n_state(ir), 16, 8)));
  assert_chosen(ir, QP_IR_PRMT, 5);
}

Test(passes, chooses_three_input_logic) {
  static const qp_ir_op ops[] = {QP_IR_AND, QP_IR_OR, QP_IR_XOR};
  for (unsigned i = 0; i < 9; i++) {
    NEW(ir);
    int a = n_two(ir, ops[i / 3], n_state(ir), n_input(ir, QP_IN_GROUP));
    n_output(ir, n_pair(ir, n_two(ir, ops[i % 3], a, n_input(ir, QP_IN_GROUP + 1))));
    assert_chosen(ir, QP_IR_LOP3, 5);
  }
}

Test(passes, gives_each_mask_its_logic) {
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

/* ---- Bits that change signs ---- */

/* w ^ (x << 14 & 0x8000) ^ (x << 29 & 2^31), of bits 1 and 2. */
static int two_flips(qp_ir *ir, int w, int x, unsigned a, unsigned b) {
  int first = n_with(ir, QP_IR_AND, n_with(ir, QP_IR_SHL, x, a), 0x8000);
  int second = n_with(ir, QP_IR_AND, n_with(ir, QP_IR_SHL, x, b), 0x80000000u);
  return n_two(ir, QP_IR_XOR, n_two(ir, QP_IR_XOR, w, first), second);
}

Test(passes, two_bits_of_a_word_are_moved_by_one_multiplication) {
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
Test(passes, bits_whose_products_would_carry_stay_where_they_are) {
  NEW(ir);
  int x = n_state(ir), w = n_input(ir, QP_IN_GROUP);
  n_output(ir, n_pair(ir, two_flips(ir, w, x, 15, 30)));
  n_output(ir, n_pair(ir, two_flips(ir, w, x, 1, 16)));
  OWNED qp_ir *out = qp_pass_move_bits(ir);
  assert_equal_values(ir, out, 32);
  for (unsigned i = 0; i < out->count; i++) cr_expect_neq(out->node[i].op, QP_IR_MUL);
}

/* Bit 16, which is read too, would meet the parity at the top. */
Test(passes, a_parity_does_not_share_a_sum_with_a_bit_that_reaches_the_top) {
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

Test(passes, a_parity_goes_to_the_top_with_another_bit_and_a_bit_selects_without_a_test) {
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

/* ---- Two products at once ---- */

/* Three digits of base 3 of a byte, as ternary codes have them. */
static void three_digits(qp_ir *ir, int byte) {
  for (unsigned i = 0; i < 3; i++) {
    int p = n_with(ir, QP_IR_MUL, byte, 3);
    n_output(ir, n_pair(ir, n_with(ir, QP_IR_SHR, p, 8)));
    byte = n_with(ir, QP_IR_AND, p, 255);
  }
}

static unsigned count_of(const qp_ir *ir, qp_ir_op op) {
  unsigned n = 0;
  for (unsigned i = 0; i < ir->count; i++) n += ir->node[i].op == op;
  return n;
}

Test(passes, chains_of_two_bytes_multiply_both_at_once) {
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

Test(passes, products_that_reach_the_other_half_or_differ_are_left_alone) {
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

/* Digits of the upper byte lie in byte 3: the upper byte of their half is not looked at. */
Test(passes, halves_of_the_uppermost_byte_are_packed_by_one_prmt_where_they_are_masked) {
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
Test(passes, halves_of_the_uppermost_byte_that_are_looked_at_whole_are_shifted) {
  NEW(ir);
  int a = n_state(ir), b = n_input(ir, QP_IN_GROUP);
  int lo = n_one(ir, QP_IR_AS_HALF, n_with(ir, QP_IR_SHR, a, 24));
  int hi = n_one(ir, QP_IR_AS_HALF, n_with(ir, QP_IR_SHR, b, 8));
  n_output(ir, n_two(ir, QP_IR_PACK, lo, hi));
  OWNED qp_ir *out = qp_pass_choose_halves(ir);
  assert_equal_values(ir, out, 32);
}

/* ---- Integers side by side ---- */

/* pack(half(x & m), half(x >> k & m)) */
static int two_integers(qp_ir *ir, int x, uint32_t k, uint32_t m) {
  int lo = n_one(ir, QP_IR_HALF_OF_UINT, n_with(ir, QP_IR_AND, x, m));
  int hi = n_with(ir, QP_IR_AND, n_with(ir, QP_IR_SHR, x, k), m);
  return n_two(ir, QP_IR_PACK, lo, n_one(ir, QP_IR_HALF_OF_UINT, hi));
}

Test(passes, two_small_integers_become_a_pair_by_one_multiply_add) {
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

Test(passes, integers_that_fill_a_half_s_last_bits_or_lie_apart_are_converted) {
  NEW(ir);
  int x = n_state(ir), y = n_input(ir, QP_IN_GROUP);
  n_output(ir, two_integers(ir, x, 3, 255)); /* 255 << 3 > 1023 */
  n_output(ir, n_two(ir, QP_IR_PACK, n_one(ir, QP_IR_HALF_OF_UINT, n_with(ir, QP_IR_AND, x, 15)),
                     n_one(ir, QP_IR_HALF_OF_UINT, n_bits(ir, y, 4, 4))));
  OWNED qp_ir *out = qp_pass_pair_integers(ir);
  cr_expect_eq(count_of(out, QP_IR_PFMA), 0);
  assert_equal_values(ir, out, 32);
}

/* A zero of each half is part of the multiply-add; every code with every zero. */
Test(passes, a_zero_that_is_subtracted_joins_the_multiply_add) {
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

/* (min(max(x, 113), 140) - least) << 10 in both halves. */
static qp_ir *exponents(uint32_t least) {
  qp_ir *ir = qp_ir_new();
  int e = n_with(ir, QP_IR_MIN, n_with(ir, QP_IR_MAX, n_state(ir), 113), 140);
  e = n_with(ir, QP_IR_SHL, n_with(ir, QP_IR_SUB, e, least), 10);
  int half = n_one(ir, QP_IR_AS_HALF, e);
  n_output(ir, n_two(ir, QP_IR_PACK, half, half));
  return ir;
}

Test(passes, an_exponent_goes_into_both_halves_by_one_product_if_it_fits) {
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

/* ---- Fetching ---- */

/* The same values, whatever the stream holds around the window. */
static qp_ir *fetched(const qp_ir *ir, unsigned window) {
  qp_ir *out = qp_pass_fetch(ir, window);
  assert_equal_values(ir, out, window);
  return out;
}

Test(passes, shifts_of_the_state_become_part_of_its_fetch) {
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

Test(passes, shifts_whose_zeros_count_stay_shifts) {
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

Test(passes, a_state_that_is_read_as_it_is_too_is_fetched_once) {
  NEW(ir);
  int s = n_state(ir);
  int index = n_with(ir, QP_IR_AND, n_with(ir, QP_IR_SHL, s, 5), 0x1fe0);
  n_output(ir, n_pair(ir, n_two(ir, QP_IR_XOR, index, n_with(ir, QP_IR_AND, s, 0x80))));
  OWNED qp_ir *out = fetched(ir, 8);
  cr_expect_eq(count_of(out, QP_IR_STATE_LEFT), 0);
}

Test(passes, bytes_of_the_state_are_permuted_as_they_are_fetched) {
  NEW(ir);
  int s = n_state(ir), half = n_one(ir, QP_IR_AS_HALF, s);
  int both = n_one(ir, QP_IR_WORD_OF_PAIR, n_two(ir, QP_IR_PACK, half, half));
  const int args[] = {s, n_word(ir, 0x64646464), n_word(ir, 0x4140)};
  n_output(ir, n_pair(ir, n_with(ir, QP_IR_AND, both, 0xf0000f)));
  n_output(ir, n_pair(ir, qp_ir_add(ir, QP_IR_PRMT, args, 0, 0)));
  OWNED qp_ir *out = fetched(ir, 16);
  cr_expect_eq(count_of(out, QP_IR_STATE_BYTES), 2);
  cr_expect_eq(count_of(out, QP_IR_INPUT), 0);
  for (unsigned i = 0; i < out->count; i++)
    if (out->node[i].op == QP_IR_STATE_BYTES && out->node[i].imm != 0x4140)
      cr_expect_eq(out->node[i].imm, 0x4040, "bytes that nobody looks at are not the state's");
}

/* ---- Two rows ---- */

/* pack(x, x) of x = (min(max(field & mask, low), high) - least) << k */
static qp_ir *scaled_field(uint32_t mask, uint32_t low, uint32_t high, uint32_t least, uint32_t k) {
  qp_ir *ir = qp_ir_new();
  int x = n_with(ir, QP_IR_AND, n_input(ir, QP_IN_GROUP + 2), mask);
  x = n_with(ir, QP_IR_MIN, n_with(ir, QP_IR_MAX, x, low), high);
  int half = n_one(ir, QP_IR_AS_HALF, n_with(ir, QP_IR_SHL, n_with(ir, QP_IR_SUB, x, least), k));
  n_output(ir, n_two(ir, QP_IR_PACK, half, half));
  return ir;
}

Test(passes, two_rows_bound_and_scale_their_byte_fields_at_once) {
  OWNED qp_ir *ir = scaled_field(255, 113, 140, 112, 10);
  OWNED qp_ir *out = qp_pass_pair_rows(ir);
  cr_expect_eq(count_of(out, QP_IR_ROWS) + count_of(out, QP_IR_OWN), 2);
  cr_expect_eq(count_of(out, QP_IR_MIN2) + count_of(out, QP_IR_MAX2), 2);
  cr_expect_eq(count_of(out, QP_IR_INPUT), 0);
  for (uint32_t own = 0; own < 256; own++)
    for (uint32_t i = 0; i < 64; i++) {
      const qp_ir_env env = {.input = {[QP_IN_GROUP + 2] = own,
                                       [QP_IN_OTHER + 2] = 101 + i / 2,
                                       [QP_IN_ODD] = i}};
      uint32_t want, got;
      qp_ir_eval(ir, &env, &want);
      qp_ir_eval(out, &env, &got);
      cr_assert_eq(got, want, "%u, %u beside it: %08x, not %08x", own, i, got, want);
    }
  assert_equal_values(ir, out, 32);
}

Test(passes, fields_that_leave_their_half_or_are_no_bytes_are_a_row_s_own) {
  static const uint32_t fields[][5] = {{255, 113, 140, 114, 10}, {255, 113, 177, 112, 10},
                                       {511, 113, 140, 112, 10}, {255, 113, 300, 112, 10},
                                       {255, 113, 140, 112, 12}};
  for (unsigned i = 0; i < sizeof fields / sizeof *fields; i++) {
    const uint32_t *f = fields[i];
    OWNED qp_ir *ir = scaled_field(f[0], f[1], f[2], f[3], f[4]);
    OWNED qp_ir *out = qp_pass_pair_rows(ir);
    cr_expect_eq(count_of(out, QP_IR_ROWS), 0, "%u", i);
    assert_equal_values(ir, out, 32);
  }
}

Test(passes, a_field_in_both_halves_is_taken_as_it_comes) {
  NEW(ir);
  int half = qp_ir_add(ir, QP_IR_INPUT_H, NULL, QP_IN_GROUP, 0);
  n_output(ir, n_two(ir, QP_IR_PACK, half, half));
  OWNED qp_ir *out = qp_pass_choose_halves(ir);
  cr_expect_eq(count_of(out, QP_IR_INPUT_P), 1);
  cr_expect_eq(count_of(out, QP_IR_PACK), 0);
  assert_equal_values(ir, out, 32);
}

/* ---- Bits of a pair ---- */

Test(passes, a_bit_that_selects_a_number_of_both_halves_is_a_factor) {
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

Test(passes, digits_become_numbers_where_they_lie_if_they_have_two_bits) {
  OWNED qp_ir *three = digits(3), *five = digits(5);
  OWNED qp_ir *in_place = qp_pass_choose_halves(three), *moved = qp_pass_choose_halves(five);
  cr_expect_eq(count_of(in_place, QP_IR_PFMA), 1);
  cr_expect_eq(count_of(in_place, QP_IR_PRMT), 0);
  cr_expect_eq(count_of(moved, QP_IR_PFMA), 0);
  cr_expect_eq(count_of(moved, QP_IR_PRMT), 1);
  assert_equal_values(three, in_place, 32);
  assert_equal_values(five, moved, 32);
}
