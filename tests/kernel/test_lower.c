/* SPDX-License-Identifier: MIT */
/* Lowering: what a kernel decodes is what the quantizer's decode says, in every form. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "gen/base/resource.h"
#include "gen/base/text.h"
#include "gen/compile/compile.h"
#include "gen/inspect/instruction_mix.h"
#include "gen/kernel/lower.h"
#include "runtime/half.h"
#include "tests/ir/decodes.h"

static const qp_lower_options usual = {.form = QP_TABLE_PLAIN,
                                       .table_bytes_max = 180 * 1024,
                                       .unfold_bits_max = 12,
                                       .shift_by_multiply = true};

static uint32_t random_word(uint64_t *seed) {
  *seed = *seed * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(*seed >> 32);
}

static qp_lowered lowered(const qp_quantizer *q, const qp_lower_options *opt) {
  qp_lowered l = {0};
  qp_error err = {0};
  cr_assert_eq(qp_lower(q, opt, &l, &err), QP_OK, "%s", err.text);
  return l;
}

/* ---- The same bits as the decode itself ---- */

static void draw_fields(const qp_quantizer *q, uint64_t *seed, uint32_t *fields) {
  for (unsigned f = 0; f < QP_MAX_FIELDS; f++) {
    uint32_t r = random_word(seed);
    const qp_field *field = &q->field[f];
    fields[f] = qp_field_raw(field->type, field->lo + (field->hi - field->lo) * (r / 0x1p32));
  }
}

/* The weights of one step by the decode itself: of two codes where dim is odd. */
static void expect(const qp_lowered *l, const qp_ir_env *bound, uint32_t state,
                   const uint32_t *fields, uint32_t *out) {
  const qp_quantizer *q = l->quantizer;
  unsigned step = q->planes ? q->planes_read : q->step;
  unsigned window = q->planes ? q->planes_read : q->window;
  qp_ir_env env = *bound;
  uint32_t v[2 * QP_IR_MAX_OUTPUTS];
  for (unsigned f = 0; f < QP_MAX_FIELDS; f++) env.input[QP_IN_GROUP + f] = fields[f];
  for (unsigned code = 0; code < 1 + q->dim % 2; code++) {
    env.input[QP_IN_STATE] = state >> code * step & (uint32_t)(((uint64_t)1 << window) - 1);
    qp_ir_eval(q->decode, &env, v + code * q->decode->outputs);
  }
  for (unsigned p = 0; p < l->pairs; p++) {
    out[p] = q->dim % 2 ? v[2 * p] | v[2 * p + 1] << 16 : v[p];
    if (l->options.bf16)
      out[p] = qp_float_to_bf16(qp_half_to_float((uint16_t)out[p])) |
               (uint32_t)qp_float_to_bf16(qp_half_to_float((uint16_t)(out[p] >> 16))) << 16;
  }
}

/* Equal bits; a NaN's sign may differ in bf16, as it is changed before or after conversion. */
static bool same(const qp_lowered *l, uint32_t a, uint32_t b) {
  if (!l->options.bf16) return a == b;
  for (unsigned i = 0; i < 32; i += 16) {
    uint32_t x = a >> i & 0xffff, y = b >> i & 0xffff;
    if (x != y && ((x & y & 0x7fff) != QP_HALF_NAN)) return false;
  }
  return true;
}

static void compare(const qp_lowered *l, qp_ir_env *env, uint32_t state, uint64_t *seed) {
  uint32_t fields[QP_MAX_FIELDS], want[QP_IR_MAX_OUTPUTS], got[QP_IR_MAX_OUTPUTS];
  unsigned lane = random_word(seed) & 31;
  draw_fields(l->quantizer, seed, fields);
  if (l->window < 32) state &= (1u << l->window) - 1;
  expect(l, env, state, fields, want);
  if (l->window < 32) state |= random_word(seed) << l->window; /* what comes next in the stream */
  for (unsigned i = QP_IN_AROUND; i < QP_IN_COUNT; i++) env->input[i] = random_word(seed);
  qp_lowered_eval(l, env, state, lane, fields, got);
  for (unsigned p = 0; p < l->pairs; p++)
    cr_assert(same(l, got[p], want[p]),
              "%s, form %d, bf16 %d, copies %u, state %08x, pair %u: %08x, not %08x",
              l->quantizer->name, (int)l->options.form, l->options.bf16, l->options.copies, state,
              p, got[p], want[p]);
}

/* All 65536 values of the window's low bits and of its high bits, in steps. */
static void compare_states(const qp_quantizer *q, const qp_lower_options *opt, uint32_t by) {
  uint64_t seed = 5;
  qp_ir_env env;
  qp_error err = {0};
  qp_lowered l = lowered(q, opt);
  cr_assert_eq(qp_lowered_bind(&l, NULL, &env, &err), QP_OK);
  for (uint32_t s = 0; s < 0x10000; s += by) {
    compare(&l, &env, random_word(&seed) << 16 | s, &seed);
    if (l.window > 16) compare(&l, &env, s << (l.window - 16) | (random_word(&seed) >> 16), &seed);
  }
  qp_lowered_unbind(&env);
  qp_lowered_free(&l);
}

/* Windows of more than 16 bits: all states of up to 24, 2^24 random ones of more. */
static void compare_long(const qp_quantizer *q, const qp_lower_options *opt) {
  uint64_t seed = 7;
  qp_ir_env env;
  qp_error err = {0};
  qp_lowered l = lowered(q, opt);
  cr_assert_eq(qp_lowered_bind(&l, NULL, &env, &err), QP_OK);
  const uint32_t states = l.window > 16 ? 1u << (l.window < 24 ? l.window : 24) : 0;
  for (uint32_t i = 0; i < states; i++)
    compare(&l, &env, l.window > 24 ? random_word(&seed) : i, &seed);
  qp_lowered_unbind(&env);
  qp_lowered_free(&l);
}

Test(lower, decodes_every_state_as_the_spec_does) {
  for (unsigned d = 0; d < D_COUNT; d++) {
    qp_quantizer q = d_all[d]();
    qp_lower_options opt = usual;
    for (unsigned o = 0; o < 4; o++) {
      opt.form = o & 1 ? QP_TABLE_UNFOLDED : QP_TABLE_PLAIN;
      opt.bf16 = o & 2;
      compare_states(&q, &opt, 1);
    }
    d_free(&q);
  }
}

Test(lower, decodes_the_same_with_any_copies_and_any_shifts) {
  for (unsigned d = 0; d < D_COUNT; d++) {
    qp_quantizer q = d_all[d]();
    qp_lower_options opt = usual;
    for (unsigned o = 0; o < 24; o++) {
      opt.form = o & 1 ? QP_TABLE_UNFOLDED : QP_TABLE_PLAIN;
      opt.shift_by_multiply = o & 2;
      opt.copies = 1u << o / 4;
      opt.table_bytes_max = 1u << 20;
      compare_states(&q, &opt, 61);
    }
    d_free(&q);
  }
}

/* With $QPAL_ALL (tests/nightly) all states of windows of up to 24 bits, 2^24 of longer ones. */
Test(lower, decodes_the_whole_palette_as_its_specs_do) {
  const bool all = getenv("QPAL_ALL") != NULL;
  qp_palette *palette;
  qp_error err = {0};
  cr_assert_eq(qp_palette_open(&palette, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_palette_load(palette, &err), QP_OK, "%s", err.text);
  for (size_t i = 0; i < qp_palette_count(palette); i++) {
    const qp_quantizer *q = qp_palette_get(palette, i);
    qp_lower_options opt = usual;
    for (unsigned o = 0; o < 4 && q->kind != QP_SPLIT; o++) {
      opt.form = o & 1 ? QP_TABLE_UNFOLDED : QP_TABLE_PLAIN;
      opt.bf16 = o & 2;
      compare_states(q, &opt, all ? 1 : 31);
      if (all) compare_long(q, &opt);
    }
  }
  qp_palette_close(palette);
}

/* ---- Random specs ---- */

typedef struct random_spec {
  qp_ir *ir;
  uint64_t seed;
  int word[24], pair[24];
  unsigned words, pairs;
} random_spec;

static unsigned draw(random_spec *r, unsigned n) { return random_word(&r->seed) % n; }
static int any_word(random_spec *r) { return r->word[draw(r, r->words)]; }
static int any_pair(random_spec *r) { return r->pair[draw(r, r->pairs)]; }
static int any_bits(random_spec *r, unsigned width) {
  return n_bits(r->ir, any_word(r), draw(r, 20), width);
}

static int draw_word(random_spec *r) {
  static const qp_ir_op ops[] = {QP_IR_ADD, QP_IR_SUB, QP_IR_MUL, QP_IR_AND, QP_IR_OR,  QP_IR_XOR,
                                 QP_IR_MIN, QP_IR_MAX, QP_IR_EQ,  QP_IR_LT,  QP_IR_ADD, QP_IR_XOR};
  int a = any_word(r), b = any_word(r), c = any_word(r);
  switch (draw(r, 10)) {
  case 0: return n_bits(r->ir, a, draw(r, 24), 1 + draw(r, 8));
  case 1: return n_with(r->ir, QP_IR_SHL, a, draw(r, 33));
  case 2: return n_with(r->ir, QP_IR_SHR, a, draw(r, 33));
  case 3: return n_with(r->ir, ops[draw(r, 6)], a, random_word(&r->seed) >> draw(r, 32));
  case 4: return n_three(r->ir, QP_IR_SELECT, a, b, c);
  case 5: return n_three(r->ir, QP_IR_DP4A, a, b, c);
  case 6: return n_one(r->ir, draw(r, 2) ? QP_IR_POPC : QP_IR_NOT, a);
  case 7: return n_with(r->ir, QP_IR_AND, a, 0xff);
  default: return n_two(r->ir, ops[draw(r, 12)], a, b);
  }
}

static int draw_half(random_spec *r) {
  int p = any_pair(r);
  switch (draw(r, 8)) {
  case 0: return n_one(r->ir, QP_IR_LO, p);
  case 1: return n_one(r->ir, QP_IR_HI, p);
  case 2: return n_one(r->ir, QP_IR_HALF_OF_UINT, any_bits(r, 1 + draw(r, 12)));
  case 3:
    return n_one(r->ir, QP_IR_HALF_OF_INT,
                 n_with(r->ir, QP_IR_SUB, any_bits(r, 1 + draw(r, 11)), draw(r, 2000)));
  case 4: return n_one(r->ir, QP_IR_AS_HALF, n_with(r->ir, QP_IR_AND, any_word(r), 0xbfff));
  case 5: return qp_ir_add(r->ir, QP_IR_INPUT_H, NULL, QP_IN_GROUP + 1, 0);
  case 6: return n_two(r->ir, QP_IR_HMUL, n_one(r->ir, QP_IR_LO, p), n_half(r->ir, 0x3400));
  default: return n_lookup_h(r->ir, 1, any_word(r));
  }
}

static int draw_pair(random_spec *r) {
  int a = any_pair(r), b = any_pair(r);
  switch (draw(r, 10)) {
  case 0: return n_lookup_p(r->ir, 0, any_bits(r, 1 + draw(r, 6)), draw(r, 2));
  case 1: return n_lookup_p(r->ir, 0, any_word(r), draw(r, 2));
  case 2: return n_flip(r->ir, a, 1 + draw(r, 2), any_word(r));
  case 3: return n_two(r->ir, QP_IR_PADD, a, b);
  case 4: return n_two(r->ir, QP_IR_PSUB, a, b);
  case 5: return n_one(r->ir, QP_IR_PNEG, a);
  case 6: {
    int scale = n_pair(r->ir, n_word(r->ir, 0x34003000));
    return n_three(r->ir, QP_IR_PFMA, a, scale, b);
  }
  default: {
    int lo = draw_half(r), hi = draw_half(r);
    return n_two(r->ir, QP_IR_PACK, lo, hi);
  }
  }
}

static qp_quantizer random_quantizer(unsigned seed) {
  unsigned dim = 1 + (seed & 1);
  qp_quantizer q = d_new("random", QP_TRELLIS, 10 + seed % 7, dim, 3 + seed % 5);
  random_spec r = {.ir = q.decode, .seed = seed * 77 + 5};
  d_codebook(&q, 40 + seed % 25, 4, seed % 3 ? QP_SCOPE_SPEC : QP_SCOPE_TENSOR);
  d_codebook(&q, 13, 1, seed % 5 ? QP_SCOPE_SPEC : QP_SCOPE_ROW);
  d_field(&q, QP_FIELD_U4, 0, 15);
  d_field(&q, QP_FIELD_F16, 0.001, 4);
  r.word[r.words++] = n_state(r.ir);
  r.pair[r.pairs++] = n_lookup_p(r.ir, 0, n_bits(r.ir, n_state(r.ir), 2, 5), 0);
  for (unsigned i = 0; i < 6 + seed % 8; i++) {
    int word = i == 3 ? n_input(r.ir, QP_IN_GROUP) : draw_word(&r), pair = draw_pair(&r);
    r.word[r.words++] = word;
    r.pair[r.pairs++] = pair;
  }
  int last = r.pair[r.pairs - 1];
  n_output(r.ir, dim == 1 ? n_one(r.ir, QP_IR_LO, last) : last);
  return q;
}

Test(lower, decodes_random_specs_as_they_are_written) {
  for (unsigned seed = 0; seed < 3000; seed++) {
    qp_quantizer q = random_quantizer(seed);
    qp_lower_options opt = usual;
    opt.form = seed & 2 ? QP_TABLE_UNFOLDED : QP_TABLE_PLAIN;
    opt.bf16 = seed & 4;
    opt.shift_by_multiply = seed & 8;
    compare_states(&q, &opt, 1999);
    d_free(&q);
  }
}

/* ---- Where tables go ---- */

Test(lower, takes_as_many_copies_as_fit) {
  qp_quantizer q = d_vq2(); /* 256 entries of one word */
  qp_lower_options opt = usual;
  for (unsigned copies = 1; copies <= 32; copies *= 2) {
    opt.table_bytes_max = 1024 * copies;
    qp_lowered l = lowered(&q, &opt);
    cr_assert_eq(l.table[0].copies, copies);
    cr_assert_eq(l.table[0].stride, 4 * copies);
    cr_assert_eq(l.table_bytes, 1024 * copies);
    qp_lowered_free(&l);
  }
  d_free(&q);
}

Test(lower, never_takes_more_copies_than_banks) {
  qp_quantizer q = d_aqlm();
  qp_lower_options opt = usual;
  opt.table_bytes_max = 1u << 20;
  qp_lowered l = lowered(&q, &opt);
  cr_assert_eq(l.tables, 2);
  for (unsigned t = 0; t < 2; t++) {
    cr_assert_eq(l.table[t].words, 4);
    cr_assert_eq(l.table[t].copies, 8);
    cr_assert_eq(l.table[t].stride, 128);
  }
  cr_assert_eq(l.table[1].offset, 256 * 128);
  qp_lowered_free(&l);
  d_free(&q);
}

Test(lower, shares_room_among_tables) {
  qp_quantizer q = d_aqlm();
  qp_lower_options opt = usual;
  opt.table_bytes_max = 3 * 16384;
  qp_lowered l = lowered(&q, &opt);
  cr_assert_leq(l.table_bytes, opt.table_bytes_max);
  cr_assert_eq(l.table[0].copies + l.table[1].copies, 4 + 8);
  qp_lowered_free(&l);
  d_free(&q);
}

Test(lower, says_by_how_much_a_table_is_too_large) {
  qp_quantizer q = d_lin(); /* 4096 bytes */
  qp_lower_options opt = usual;
  qp_lowered l;
  qp_error err = {0};
  opt.table_bytes_max = 4000;
  cr_assert_eq(qp_lower(&q, &opt, &l, &err), QP_E_LIMIT);
  cr_assert(strstr(err.text, "lin-3") && strstr(err.text, "96 more"), "%s", err.text);
  opt.table_bytes_max = 100000;
  opt.copies = 32;
  cr_assert_eq(qp_lower(&q, &opt, &l, &err), QP_E_LIMIT);
  cr_assert(strstr(err.text, "131072 bytes") && strstr(err.text, "fewer copies"), "%s", err.text);
  d_free(&q);
}

Test(lower, refuses_copies_that_are_no_power_of_two) {
  qp_quantizer q = d_lin();
  qp_lower_options opt = usual;
  qp_lowered l;
  qp_error err = {0};
  for (unsigned copies = 3; copies <= 64; copies += 61) {
    opt.copies = copies;
    cr_assert_eq(qp_lower(&q, &opt, &l, &err), QP_E_ARG);
  }
  d_free(&q);
}

Test(lower, refuses_two_codes_wider_than_a_word) {
  qp_quantizer q = d_1mad();
  qp_lowered l;
  qp_error err = {0};
  q.window = 20;
  q.step = 13;
  cr_assert_eq(qp_lower(&q, &usual, &l, &err), QP_E_LIMIT);
  cr_assert(strstr(err.text, "33 bits"), "%s", err.text);
  d_free(&q);
}

Test(lower, folds_odd_dims_into_two_codes_a_step) {
  qp_quantizer trellis = d_1mad(), scalar = d_nuq(), five = d_ternary(), planes = d_planes2();
  qp_lowered l = lowered(&trellis, &usual);
  cr_assert(l.window == 18 && l.step == 4 && l.pairs == 1);
  qp_lowered_free(&l);
  l = lowered(&scalar, &usual);
  cr_assert(l.window == 8 && l.step == 8 && l.pairs == 1);
  qp_lowered_free(&l);
  l = lowered(&five, &usual);
  cr_assert(l.window == 16 && l.step == 16 && l.pairs == 5);
  qp_lowered_free(&l);
  l = lowered(&planes, &usual);
  cr_assert(l.window == 4 && l.step == 4 && l.pairs == 1);
  qp_lowered_free(&l);
  d_free(&trellis);
  d_free(&scalar);
  d_free(&five);
  d_free(&planes);
}

Test(lower, reads_codebooks_of_rows_through_a_pointer) {
  qp_quantizer row = d_planes3(), tensor = d_nuq8();
  for (unsigned form = 0; form < 2; form++) {
    qp_lower_options opt = usual;
    opt.form = (qp_table_form)form;
    qp_lowered l = lowered(&row, &opt);
    cr_assert(l.row_lookup && l.tables == 0 && l.table_bytes == 0);
    qp_lowered_free(&l);
    l = lowered(&tensor, &opt);
    cr_assert(!l.row_lookup && l.tables == 1);
    qp_lowered_free(&l);
  }
  d_free(&row);
  d_free(&tensor);
}

Test(lower, takes_codebooks_of_tensors_from_the_caller) {
  qp_quantizer q = d_nuq8();
  uint16_t other[256];
  const uint16_t *const books[] = {other, NULL, NULL, NULL};
  for (unsigned i = 0; i < 256; i++) other[i] = (uint16_t)(0x3c00 + i);
  qp_lowered l = lowered(&q, &usual);
  qp_ir_env env;
  uint32_t got;
  cr_assert_eq(qp_lowered_bind(&l, books, &env, NULL), QP_OK);
  qp_lowered_eval(&l, &env, 0x1234, 0, NULL, &got);
  cr_assert_eq(got, 0x3c123c34, "%08x", got);
  qp_lowered_unbind(&env);
  qp_lowered_free(&l);
  d_free(&q);
}

/* ---- Unfolded tables ---- */

static void assert_table(d_builder build, unsigned entries, unsigned words) {
  qp_quantizer q = build();
  qp_lower_options opt = usual;
  opt.form = QP_TABLE_UNFOLDED;
  qp_lowered l = lowered(&q, &opt);
  cr_assert_eq(l.tables, 1);
  cr_assert_eq(l.table[0].entries, entries, "%s: %u entries", q.name, l.table[0].entries);
  cr_assert_eq(l.table[0].words, words, "%s: %u words", q.name, l.table[0].words);
  qp_lowered_free(&l);
  d_free(&q);
}

Test(lower, unfolds_what_follows_the_narrowest_cut) {
  assert_table(d_tcq, 1024, 1); /* the sign is part of it */
  assert_table(d_lin, 1024, 1); /* as it was */
  assert_table(d_nuq, 256, 1);  /* two codes at once */
  assert_table(d_nf3, 64, 1);   /* the scale stays outside */
  assert_table(d_mxfp4, 256, 1);
  assert_table(d_vq2, 256, 1);
}

Test(lower, keeps_plain_tables_where_a_cut_is_too_wide) {
  qp_quantizer q = d_quad();
  qp_lower_options opt = usual;
  opt.form = QP_TABLE_UNFOLDED;
  qp_lowered l = lowered(&q, &opt);
  cr_assert_eq(l.table[0].entries, 1024);
  cr_assert_eq(l.table[0].words, 2);
  qp_lowered_free(&l);
  d_free(&q);
}

/* ---- What a step costs ---- */

/* Names of the operations that become instructions, in order. */
static const char *operations(const qp_ir *ir, char *text, size_t size) {
  size_t at = 0;
  text[0] = 0;
  for (unsigned i = 0; i < ir->count; i++) {
    switch (ir->node[i].op) {
    case QP_IR_CONST:
    case QP_IR_HALF_CONST:
    case QP_IR_INPUT:
    case QP_IR_INPUT_H:
    case QP_IR_INPUT_P:
    case QP_IR_AS_HALF:
    case QP_IR_AS_PAIR:
    case QP_IR_AS_BPAIR:
    case QP_IR_WORD_OF_PAIR:
    case QP_IR_WORD_OF_BPAIR:
    case QP_IR_LO: continue;
    default:
      at += (size_t)snprintf(text + at, size - at, "%s%s", at ? " " : "",
                             qp_ir_op_row(ir->node[i].op)->name);
    }
  }
  return text;
}

static void assert_cost(d_builder build, qp_table_form form, bool bf16, const char *want) {
  char text[512];
  qp_quantizer q = build();
  qp_lower_options opt = usual;
  opt.form = form;
  opt.bf16 = bf16;
  qp_lowered l = lowered(&q, &opt);
  operations(l.main, text, sizeof text);
  cr_expect_str_eq(text, want, "%s, form %d, bf16 %d: %s", q.name, (int)form, bf16, text);
  qp_lowered_free(&l);
  d_free(&q);
}

Test(lower, trellis_steps_cost_what_was_counted) {
  assert_cost(d_tcq, QP_TABLE_UNFOLDED, false, "mad scale lop3 load");
  assert_cost(d_tcq, QP_TABLE_UNFOLDED, true, "mad scale lop3 load.b");
  assert_cost(d_tcq, QP_TABLE_PLAIN, false, "mad scale lop3 load lop3");
  assert_cost(d_tcq, QP_TABLE_PLAIN, true, "mad scale lop3 load.b lop3");
  assert_cost(d_lin, QP_TABLE_PLAIN, false, "mad lop3 load");
  assert_cost(d_lin, QP_TABLE_UNFOLDED, true, "mad lop3 load.b");
  assert_cost(d_fine, QP_TABLE_PLAIN, false,
              "mad mul scale lop3 load lop3 shr lop3 shl lop3 sub.p fma.p");
  assert_cost(d_high, QP_TABLE_PLAIN, false, "and mul shr lop3 load");
  assert_cost(d_dots, QP_TABLE_PLAIN, false, "dp4a lop3 load lop3");
  assert_cost(d_quad, QP_TABLE_PLAIN, false, "mad mul lop3 load and mul lop3 load lop3 shl lop3");
}

Test(lower, computed_codes_cost_what_was_counted) {
  assert_cost(d_1mad, QP_TABLE_PLAIN, false, "state.half mad dp4a state.half mad dp4a pack fma.p");
  assert_cost(d_mul1, QP_TABLE_PLAIN, false, "state.half mul dp4a state.half mul dp4a pack fma.p");
  assert_cost(d_3inst, QP_TABLE_PLAIN, false,
              "state.half mad lop3 state.half mad lop3 prmt pack add.p");
}

Test(lower, look_ups_cost_what_was_counted) {
  assert_cost(d_vq2, QP_TABLE_PLAIN, false, "state.left lop3 load");
  assert_cost(d_vq2, QP_TABLE_PLAIN, true, "state.left lop3 load.b");
  assert_cost(d_nuq, QP_TABLE_PLAIN, false, "state.left lop3 load state.left lop3 load pack");
  assert_cost(d_nuq, QP_TABLE_UNFOLDED, false, "state.left lop3 load");
  assert_cost(d_nuq, QP_TABLE_UNFOLDED, true, "state.left lop3 load.b");
  assert_cost(d_sum, QP_TABLE_UNFOLDED, false, "state.left lop3 load");
  assert_cost(d_aqlm, QP_TABLE_PLAIN, false,
              "state.right lop3 load mul.p state.left lop3 load add.p load mul.p load add.p load "
              "mul.p load add.p load mul.p load add.p"); /* of each table, one load of four words */
  assert_cost(d_planes3, QP_TABLE_PLAIN, false, "and lookup.h shr and lookup.h pack");
}

Test(lower, scaled_groups_cost_what_was_counted) {
  /* what depends on the group alone (packing scales, converting zeros) is done once a group: of a
  ** step of int4 four operations are left, its fetch among them, and no table is worth it */
  assert_cost(d_int4, QP_TABLE_PLAIN, false, "state.bytes lop3 pack lop3 sub.p fma.p mul.p");
  assert_cost(d_int4, QP_TABLE_UNFOLDED, false, "state.bytes lop3 pack lop3 sub.p fma.p mul.p");
  assert_cost(d_nf3, QP_TABLE_UNFOLDED, false, "state.left lop3 load mul.p");
  assert_cost(d_mxfp4, QP_TABLE_UNFOLDED, false,
              "rows max2 min2 mad own state.left lop3 load mul.p");
}

/* ---- CUDA text ---- */

static void add_struct(qp_text *t, d_builder build, const qp_lower_options *opt, const char *name) {
  qp_quantizer q = build();
  qp_lowered l = lowered(&q, opt);
  char *text = qp_lowered_cuda(&l, name);
  cr_assert_not_null(text);
  qp_text_add(t, "%s", text);
  free(text);
  qp_lowered_free(&l);
  d_free(&q);
}

static void add_prelude(qp_text *t) {
  const char *prelude;
  size_t bytes;
  qp_error err = {0};
  cr_assert_eq(qp_resource_read("templates/prelude.cuh.in", &prelude, &bytes, &err), QP_OK, "%s",
               err.text);
  qp_text_append(t, prelude, bytes);
}

static qp_compiler *open_compiler(void) {
  qp_compiler *c = NULL;
  qp_error err = {0};
  cr_assert_eq(qp_compiler_open(NULL, &c, &err), QP_OK, "%s", err.text);
  return c;
}

static qp_compiled compile(const char *source, bool cubin) {
  qp_compiler *c = open_compiler();
  qp_compiled out = {0};
  qp_error err = {0};
  const qp_compile_job job = {
      .name = "k", .source = source, .arch = 90, .want_ptx = true, .want_cubin = cubin};
  cr_assert_eq(qp_compiler_run(c, &job, &out, &err), QP_OK, "%s", err.text);
  qp_compiler_close(c);
  return out;
}

/* A kernel that fills each struct's tables' words and decodes a step of each. */
Test(lower, writes_cuda_that_compiles) {
  qp_text t = {0};
  add_prelude(&t);
  for (unsigned d = 0; d < D_COUNT; d++)
    for (unsigned o = 0; o < 8; o++) {
      char name[32];
      qp_lower_options opt = usual;
      opt.form = o & 1 ? QP_TABLE_UNFOLDED : QP_TABLE_PLAIN;
      opt.bf16 = o & 2;
      opt.shift_by_multiply = o & 4;
      snprintf(name, sizeof name, "L%u_%u", d, o);
      add_struct(&t, d_all[d], &opt, name);
    }
  qp_text_add(
      &t, "template <class L> __device__ void use(unsigned *p, const unsigned short *const *row,\n"
          "    const unsigned short *const *cb, const unsigned *pow2) {\n"
          "  unsigned out[L::PAIRS + 4], lane[4] = {p[0], p[1], p[2], p[3]};\n"
          "  L::decode(Whole(p[4], {p + 5, true}), p + 5, row, lane, p[9], pow2, out);\n"
          "  for (unsigned i = 0; i < L::PAIRS; i++) p[i] += out[i];\n"
          "  if constexpr (L::TABLES > 0) {\n"
          "    L::template entry<0>(p[10], cb, out);\n"
          "    for (unsigned i = 0; i < L::template words<0>(); i++) p[i] ^= out[i];\n"
          "  }\n"
          "}\n"
          "extern \"C\" __global__ void k(unsigned *p, const unsigned short *const *row,\n"
          "    const unsigned short *const *cb, const unsigned *pow2) {\n");
  for (unsigned d = 0; d < D_COUNT; d++)
    for (unsigned o = 0; o < 8; o++) qp_text_add(&t, "  use<L%u_%u>(p, row, cb, pow2);\n", d, o);
  qp_text_add(&t, "}\n");
  char *source = qp_text_take(&t);
  qp_compiled out = compile(source, false);
  qp_compiled_free(&out);
  free(source);
}

/* 32 steps of tcq-3 in a loop: per step SHF, IMAD, IMAD, LOP3, LDS, and the sum that uses it. */
Test(lower, a_step_of_tcq_is_five_instructions) {
  qp_text t = {0};
  qp_lower_options opt = usual;
  qp_instruction_mix mix;
  qp_error err = {0};
  opt.form = QP_TABLE_UNFOLDED;
  add_prelude(&t);
  add_struct(&t, d_tcq, &opt, "L");
  qp_text_add(&t, "struct Args { const unsigned *codes; unsigned *sum; unsigned pow2[16]; };\n"
                  "extern \"C\" __global__ void k(const __grid_constant__ Args a) {\n"
                  "  extern __shared__ unsigned char smem[];\n"
                  "  unsigned lane, sum = 0, w[7], pair, lanes[4];\n"
                  "  asm volatile(\"mov.u32 %%0, %%%%laneid;\" : \"=r\"(lane));\n"
                  "  lanes[0] = lanes[1] = lanes[2] = lanes[3] = lane * 4;\n"
                  "  unsigned tables = (unsigned)__cvta_generic_to_shared(smem);\n"
                  "#pragma unroll 1\n"
                  "  for (int i = 0; i < 1000; i++) {\n"
                  "    for (int j = 0; j < 7; j++) w[j] = a.codes[i * 1024 + j * 32 + lane];\n"
                  "#pragma unroll\n"
                  "    for (int j = 0; j < 32; j++) {\n"
                  "      const int bit = 6 * j, c = bit %% 32, at = bit / 32;\n"
                  "      const Whole s(c ? __funnelshift_r(w[at], w[at + 1], c) : w[at], {});\n"
                  "      L::decode(s, 0, 0, lanes, tables, a.pow2, &pair);\n"
                  "      sum = p_add(sum, pair);\n"
                  "    }\n"
                  "  }\n"
                  "  a.sum[lane] = sum;\n"
                  "}\n");
  char *source = qp_text_take(&t);
  qp_compiled out = compile(source, true);
  qp_status status = qp_instruction_mix_sass(out.cubin, out.cubin_bytes, "k", &mix, &err);
  qp_compiled_free(&out);
  free(source);
  if (status == QP_E_MISSING) cr_skip_test("no nvdisasm on this machine");
  cr_assert_eq(status, QP_OK, "%s", err.text);
  cr_assert_eq(mix.shared_load, 32);
  cr_assert(mix.integer_mul >= 64 && mix.integer_mul <= 64 + 8, "%u", mix.integer_mul);
  cr_assert(mix.integer_alu >= 60 && mix.integer_alu <= 64 + 8, "%u", mix.integer_alu);
  cr_assert_eq(mix.half_math, 32);
}
