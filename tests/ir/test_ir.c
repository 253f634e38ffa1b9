/* SPDX-License-Identifier: MIT */
/* The decode IR: each op against values worked out by hand, building, checking, printing. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "gen/ir/ir.h"

#define NEW(ir) qp_ir *ir __attribute__((cleanup(free_ir))) = qp_ir_new()
static void free_ir(qp_ir **ir) { qp_ir_free(*ir); }

static int word(qp_ir *ir, uint32_t v) { return qp_ir_add(ir, QP_IR_CONST, NULL, v, 0); }
static int half(qp_ir *ir, uint32_t v) { return qp_ir_add(ir, QP_IR_HALF_CONST, NULL, v, 0); }
static int input(qp_ir *ir, uint32_t n) { return qp_ir_add(ir, QP_IR_INPUT, NULL, n, 0); }
static int one(qp_ir *ir, qp_ir_op op, int a) { return qp_ir_add(ir, op, &a, 0, 0); }
static int two(qp_ir *ir, qp_ir_op op, int a, int b) {
  const int args[] = {a, b};
  return qp_ir_add(ir, op, args, 0, 0);
}
static int three(qp_ir *ir, qp_ir_op op, int a, int b, int c) {
  const int args[] = {a, b, c};
  return qp_ir_add(ir, op, args, 0, 0);
}
static void output(qp_ir *ir, int node) { ir->output[ir->outputs++] = (uint16_t)node; }

/* ---- Every op ---- */

/* A word as an operand of the type that an op's letter names, and back to a word. */
static int as_type(qp_ir *ir, int w, char letter) {
  switch (letter) {
  case 'h': return one(ir, QP_IR_AS_HALF, w);
  case 'p': return one(ir, QP_IR_AS_PAIR, w);
  case 'b': return one(ir, QP_IR_AS_BPAIR, w);
  case 's': return one(ir, QP_IR_AS_SINGLE, w);
  default: return w;
  }
}

static int as_word(qp_ir *ir, int v) {
  switch (qp_ir_type_of(ir, (unsigned)v)) {
  case QP_HALF: return one(ir, QP_IR_WORD_OF_HALF, v);
  case QP_PAIR: return one(ir, QP_IR_WORD_OF_PAIR, v);
  case QP_BPAIR: return one(ir, QP_IR_WORD_OF_BPAIR, v);
  case QP_SINGLE: return one(ir, QP_IR_WORD_OF_SINGLE, v);
  default: return v;
  }
}

typedef struct value_case {
  qp_ir_op op;
  uint32_t imm, a, b, c, want;
} value_case;

static const value_case values[] = {
    {QP_IR_ADD, 0, 0xffffffffu, 3, 0, 2},
    {QP_IR_SUB, 0, 3, 5, 0, 0xfffffffeu},
    {QP_IR_MUL, 0, 0x10001, 0x10001, 0, 0x20001},
    {QP_IR_AND, 0, 0xff00ff00u, 0x0ff00ff0, 0, 0x0f000f00},
    {QP_IR_OR, 0, 0xff00ff00u, 0x0ff00ff0, 0, 0xfff0fff0u},
    {QP_IR_XOR, 0, 0xff00ff00u, 0x0ff00ff0, 0, 0xf0f0f0f0u},
    {QP_IR_NOT, 0, 0x12345678, 0, 0, 0xedcba987u},
    {QP_IR_SHL, 0, 3, 31, 0, 0x80000000u},
    {QP_IR_SHL, 0, 3, 32, 0, 0},
    {QP_IR_SHL, 0, 3, 0xffffffffu, 0, 0},
    {QP_IR_SHR, 0, 0xc0000000u, 31, 0, 1},
    {QP_IR_SHR, 0, 0xc0000000u, 32, 0, 0},
    {QP_IR_MIN, 0, 0x80000000u, 7, 0, 7},
    {QP_IR_MAX, 0, 0x80000000u, 7, 0, 0x80000000u},
    {QP_IR_EQ, 0, 7, 7, 0, 1},
    {QP_IR_EQ, 0, 7, 8, 0, 0},
    {QP_IR_LT, 0, 7, 0x80000000u, 0, 1},
    {QP_IR_LT, 0, 7, 7, 0, 0},
    {QP_IR_SELECT, 0, 2, 11, 22, 11},
    {QP_IR_SELECT, 0, 0, 11, 22, 22},
    {QP_IR_POPC, 0, 0x80010007u, 0, 0, 5},
    {QP_IR_MAD, 0, 0x10001, 0x10001, 0xffffffffu, 0x20000},
    {QP_IR_FUNNEL, 0, 0xaabbccddu, 0x11223344, 8, 0x44aabbcc},
    {QP_IR_FUNNEL, 0, 0xaabbccddu, 0x11223344, 0, 0xaabbccddu},
    {QP_IR_FUNNEL, 0, 0xaabbccddu, 0x11223344, 33, 0x555de66e},
    {QP_IR_LOP3, 0xe8, 0xf0f0f0f0u, 0xccccccccu, 0xaaaaaaaau, 0xe8e8e8e8u}, /* majority */
    {QP_IR_LOP3, 0x96, 0xf0f0f0f0u, 0xccccccccu, 0xaaaaaaaau, 0x96969696u}, /* a ^ b ^ c */
    {QP_IR_LOP3, 0xea, 0xff00, 0x0ff0, 0x000f, 0x0f0f},                     /* a & b | c */
    {QP_IR_PRMT, 0, 0x33221100, 0x77665544, 0x7016, 0x77001166},
    {QP_IR_PRMT, 0, 0x33221100, 0x77665544, 0xffff, 0x77777777},
    {QP_IR_DP4A, 0, 0xff010203u, 0xff0a0b0cu, 5, 0xfe01 + 10 + 22 + 36 + 5},
    {QP_IR_SCALE, 7, 0x02000001, 0, 0, 0x80},
    {QP_IR_STATE_RIGHT, 8, 0, 0, 0, 0x9a443322}, /* of 0x44332211, 0x7856349a around it */
    {QP_IR_STATE_LEFT, 8, 0, 0, 0, 0x33221178},
    {QP_IR_ROWS, 1, 0, 0x155, 0, 0x00aa0055}, /* the second's other row has 0xaa */
    {QP_IR_MIN2, 0, 0x00700080, 0x00710010, 0, 0x00700010},
    {QP_IR_MAX2, 0, 0x00700080, 0x00710010, 0, 0x00710080},
    {QP_IR_OWN, 0, 0x3c004000, 0, 0, 0x40004000},
    {QP_IR_STATE_HALF, 12, 0, 0, 0, 0x4332},
    {QP_IR_STATE_BYTES, 0x5362, 0x99887766, 0, 0, 0x77448833},
    {QP_IR_HALF_OF_UINT, 0, 2049, 0, 0, 0x6800}, /* half way between 2048 and 2050: to the even */
    {QP_IR_HALF_OF_UINT, 0, 2051, 0, 0, 0x6802},
    {QP_IR_HALF_OF_UINT, 0, 65519, 0, 0, 0x7bff},
    {QP_IR_HALF_OF_UINT, 0, 65520, 0, 0, 0x7c00},
    {QP_IR_HALF_OF_UINT, 0, 0xffffffffu, 0, 0, 0x7c00},
    {QP_IR_HALF_OF_INT, 0, 0xffffffffu, 0, 0, 0xbc00},
    {QP_IR_HALF_OF_INT, 0, 0x80000000u, 0, 0, 0xfc00},
    {QP_IR_AS_HALF, 0, 0xdead3c00u, 0, 0, 0x3c00},
    {QP_IR_AS_PAIR, 0, 0xdead3c00u, 0, 0, 0xdead3c00u},
    {QP_IR_AS_BPAIR, 0, 0xdead3c00u, 0, 0, 0xdead3c00u},
    {QP_IR_WORD_OF_HALF, 0, 0xdead3c00u, 0, 0, 0x3c00},
    {QP_IR_WORD_OF_PAIR, 0, 0xdead3c00u, 0, 0, 0xdead3c00u},
    {QP_IR_WORD_OF_BPAIR, 0, 0xdead3c00u, 0, 0, 0xdead3c00u},
    {QP_IR_PACK, 0, 0x11112222, 0x33334444, 0, 0x44442222},
    {QP_IR_LO, 0, 0x11112222, 0, 0, 0x2222},
    {QP_IR_HI, 0, 0x11112222, 0, 0, 0x1111},
    /* 0x3c00 is 1, 0x1001 is 2^-11 and a bit, 0x1000 exactly half of 1's last place */
    {QP_IR_HADD, 0, 0x3c00, 0x1000, 0, 0x3c00},
    {QP_IR_HADD, 0, 0x3c01, 0x1000, 0, 0x3c02},
    {QP_IR_HADD, 0, 0x3c00, 0x1001, 0, 0x3c01},
    {QP_IR_HADD, 0, 0x7bff, 0x4c00, 0, 0x7c00}, /* 65504 + 16: half way, overflows */
    {QP_IR_HADD, 0, 0x7bff, 0x4bff, 0, 0x7bff},
    {QP_IR_HADD, 0, 0x0001, 0x0001, 0, 0x0002}, /* subnormals are kept */
    {QP_IR_HADD, 0, 0x8000, 0x8000, 0, 0x8000},
    {QP_IR_HADD, 0, 0x3c00, 0xbc00, 0, 0x0000},
    {QP_IR_HADD, 0, 0x7c00, 0xfc00, 0, 0x7fff}, /* inf - inf */
    {QP_IR_HADD, 0, 0xfe01, 0x3c00, 0, 0x7fff}, /* any NaN becomes the one NaN */
    {QP_IR_HSUB, 0, 0x3c00, 0x3c00, 0, 0x0000},
    {QP_IR_HSUB, 0, 0x0000, 0x0001, 0, 0x8001},
    {QP_IR_HMUL, 0, 0x3c01, 0x3c01, 0, 0x3c02},
    {QP_IR_HMUL, 0, 0x0001, 0x3800, 0, 0x0000}, /* half of the least: to the even, zero */
    {QP_IR_HMUL, 0, 0x0003, 0x3800, 0, 0x0002},
    {QP_IR_HMUL, 0, 0x8001, 0x3800, 0, 0x8000},
    {QP_IR_HMUL, 0, 0x0400, 0x3800, 0, 0x0200},
    {QP_IR_HMUL, 0, 0x7c00, 0x0000, 0, 0x7fff},
    {QP_IR_HFMA, 0, 0x3c01, 0x3c01, 0xbc02, 0x0010}, /* (1 + 2^-10)^2 - (1 + 2^-9) is 2^-20 */
    {QP_IR_HFMA, 0, 0x3c00, 0x1000, 0x3c00, 0x3c00}, /* 1 + 2^-11: half way, to the even */
    {QP_IR_HFMA, 0, 0x3c01, 0x1000, 0x3c00, 0x3c01}, /* a bit above half way */
    {QP_IR_HFMA, 0, 0x3bff, 0x1000, 0x3c01, 0x3c01}, /* a bit below half way */
    {QP_IR_HFMA, 0, 0x0001, 0x0001, 0x3c01, 0x3c01},
    {QP_IR_HFMA, 0, 0x0001, 0x0001, 0x0001, 0x0001},
    {QP_IR_HFMA, 0, 0x7bff, 0x7bff, 0xfc00, 0xfc00},
    {QP_IR_HNEG, 0, 0x3c00, 0, 0, 0xbc00},
    {QP_IR_HABS, 0, 0xbc00, 0, 0, 0x3c00},
    {QP_IR_PADD, 0, 0x3c013c00, 0x10001001, 0, 0x3c023c01},
    {QP_IR_PSUB, 0, 0x3c000000, 0x3c000001, 0, 0x00008001},
    {QP_IR_PMUL, 0, 0x40003c01, 0x42003c01, 0, 0x46003c02},
    {QP_IR_PFMA, 0, 0x40003c01, 0x42003c01, 0x3c00bc02, 0x47000010},
    {QP_IR_PNEG, 0, 0x3c00bc00, 0, 0, 0xbc003c00u},
    {QP_IR_PABS, 0, 0xbc00bc00u, 0, 0, 0x3c003c00},
    {QP_IR_AS_SINGLE, 0, 0xdead3c00u, 0, 0, 0xdead3c00u},
    {QP_IR_WORD_OF_SINGLE, 0, 0xdead3c00u, 0, 0, 0xdead3c00u},
    {QP_IR_SINGLE_OF_HALF, 0, 0xdeadc001u, 0, 0, 0xc0002000u},
    {QP_IR_SINGLE_OF_HALF, 0, 0x0001, 0, 0, 0x33800000}, /* 2^-24 */
    {QP_IR_SINGLE_OF_HALF, 0, 0xfe01, 0, 0, 0x7fffffff},
    {QP_IR_SINGLE_OF_UINT, 0, 0x01000001, 0, 0, 0x4b800000}, /* 2^24 + 1: half way, to the even */
    {QP_IR_SINGLE_OF_UINT, 0, 0xffffffffu, 0, 0, 0x4f800000},
    {QP_IR_SINGLE_OF_INT, 0, 0xffffffffu, 0, 0, 0xbf800000u},
    {QP_IR_HALF_OF_SINGLE, 0, 0x3f801000, 0, 0, 0x3c00}, /* 1 + 2^-11: half way, to the even */
    {QP_IR_HALF_OF_SINGLE, 0, 0x3f801001, 0, 0, 0x3c01},
    {QP_IR_HALF_OF_SINGLE, 0, 0x477ff000, 0, 0, 0x7c00},    /* 65520 overflows */
    {QP_IR_SADD, 0, 0x3f800000, 0x33800000, 0, 0x3f800000}, /* 1 + 2^-24: to the even */
    {QP_IR_SADD, 0, 0x00000001, 0x00000001, 0, 0x00000002}, /* subnormals are kept */
    {QP_IR_SADD, 0, 0x7f800000, 0xff800000u, 0, 0x7fffffff},
    {QP_IR_SSUB, 0, 0x00000000, 0x00000001, 0, 0x80000001u},
    {QP_IR_SMUL, 0, 0x3f800001, 0x3f800001, 0, 0x3f800002},
    {QP_IR_SFMA, 0, 0x3f800001, 0x3f800001, 0xbf800002u, 0x28800000}, /* rounded once: 2^-46 */
    {QP_IR_SNEG, 0, 0x3f800000, 0, 0, 0xbf800000u},
    {QP_IR_SABS, 0, 0xbf800000u, 0, 0, 0x3f800000},
    /* 1 + 2^-10 has no bf16; 1 + 3*2^-8 lies half way, to the even above; 65504 rounds up */
    {QP_IR_BPAIR_OF_PAIR, 0, 0x3c0c3c01, 0, 0, 0x3f823f80},
    {QP_IR_BPAIR_OF_PAIR, 0, 0x7bff8001u, 0, 0, 0x4780b380},
    {QP_IR_BPAIR_OF_PAIR, 0, 0xfe007c00u, 0, 0, 0x7fff7f80},
};

static int value_node(qp_ir *ir, const value_case *v, bool constant) {
  const uint32_t operand[] = {v->a, v->b, v->c};
  int args[3] = {0};
  for (unsigned k = 0; k < qp_ir_op_row(v->op)->arity; k++) {
    int w = constant ? word(ir, operand[k]) : input(ir, QP_IN_GROUP + k);
    args[k] = as_type(ir, w, qp_ir_op_row(v->op)->args[k]);
  }
  return as_word(ir, qp_ir_add(ir, v->op, args, v->imm, 0));
}

Test(ir, evaluates_every_op_as_worked_out_by_hand) {
  bool covered[QP_IR_OP_COUNT] = {0};
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    const value_case *v = &values[i];
    const qp_ir_env env = {.input = {[QP_IN_STATE] = 0x44332211,
                                     [QP_IN_GROUP] = v->a,
                                     v->b,
                                     v->c,
                                     [QP_IN_AROUND] = 0x7856349a,
                                     [QP_IN_OTHER + 1] = 0xaa}};
    uint32_t got;
    NEW(ir);
    output(ir, value_node(ir, v, false));
    qp_ir_eval(ir, &env, &got);
    cr_assert_eq(got, v->want, "case %zu, %s: %08x, not %08x", i, qp_ir_op_row(v->op)->name, got,
                 v->want);
    covered[v->op] = true;
  }
  for (unsigned op = 0; op < QP_IR_OP_COUNT; op++)
    cr_assert(covered[op] || qp_ir_op_row(op)->arity == 0 || op == QP_IR_LOOKUP_H ||
                  op == QP_IR_LOOKUP_P || op == QP_IR_LOAD || op == QP_IR_LOAD_B,
              "%s is not tested", qp_ir_op_row(op)->name);
}

Test(ir, folds_constants_to_what_it_evaluates) {
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    uint32_t got = ~values[i].want;
    NEW(ir);
    if (qp_ir_op_row(values[i].op)->trait & QP_IR_FETCHES) continue; /* of the state too */
    int node = value_node(ir, &values[i], true);
    cr_assert(qp_ir_is_const(ir, (unsigned)node, &got), "case %zu", i);
    cr_assert_eq(got, values[i].want, "case %zu: %08x", i, got);
  }
}

/* An independent product-and-sum: in integers, of all that fp16 can hold. */
static uint32_t round_fixed(bool negative, unsigned __int128 v, int scale) {
  /* v * 2^scale, to the nearest fp16 */
  if (!v) return negative ? 0x8000 : 0;
  int top = 127;
  while (!(v >> top)) top--;
  int exponent = top + scale < -14 ? -14 : top + scale;
  int drop = exponent - 10 - scale; /* bits below the last place */
  unsigned __int128 kept = drop > 0 ? v >> drop : v << -drop;
  if (drop > 0) {
    unsigned __int128 rest = v & (((unsigned __int128)1 << drop) - 1),
                      middle = (unsigned __int128)1 << (drop - 1);
    if (rest > middle || (rest == middle && (kept & 1))) kept++;
  }
  uint32_t bits = (uint32_t)kept + (uint32_t)(exponent + 14) * 1024;
  if (bits > 0x7c00) bits = 0x7c00;
  return bits | (negative ? 0x8000 : 0);
}

/* The magnitude of an fp16 in units of 2^-24. */
static uint64_t fixed(uint32_t h) {
  uint32_t e = h >> 10 & 31, m = h & 1023;
  return e ? (uint64_t)(m | 1024) << (e - 1) : m;
}

Test(ir, rounds_a_fused_multiply_add_once) {
  uint64_t seed = 1;
  NEW(ir);
  int args[3];
  for (unsigned k = 0; k < 3; k++) args[k] = one(ir, QP_IR_AS_HALF, input(ir, QP_IN_GROUP + k));
  output(ir, qp_ir_add(ir, QP_IR_HFMA, args, 0, 0));
  for (unsigned i = 0; i < 400000; i++) {
    uint32_t h[3], got;
    for (unsigned k = 0; k < 3; k++) {
      seed = seed * 6364136223846793005u + 1442695040888963407u;
      h[k] = (uint32_t)(seed >> 48);
      if ((h[k] & 0x7c00) == 0x7c00) h[k] ^= 0x4000;
    }
    bool n0 = (h[0] ^ h[1]) >> 15 & 1, n1 = h[2] >> 15 & 1;
    __int128 p = (__int128)fixed(h[0]) * (__int128)fixed(h[1]); /* units of 2^-48 */
    __int128 c = (__int128)fixed(h[2]) << 24;
    __int128 sum = (n0 ? -p : p) + (n1 ? -c : c);
    bool negative = sum < 0 || (sum == 0 && n0 && n1);
    uint32_t want = round_fixed(negative, (unsigned __int128)(sum < 0 ? -sum : sum), -48);
    const qp_ir_env env = {.input = {[QP_IN_GROUP] = h[0], h[1], h[2]}};
    qp_ir_eval(ir, &env, &got);
    cr_assert_eq(got, want, "%04x * %04x + %04x: %04x, not %04x", h[0], h[1], h[2], got, want);
  }
}

Test(ir, reads_codebooks_and_tables) {
  const uint16_t scalars[] = {1, 2, 3}, quads[] = {10, 11, 12, 13, 20, 21, 22, 23};
  const uint32_t table[] = {100, 101, 200, 201};
  const qp_ir_env env = {.input = {[QP_IN_GROUP] = 1, 1000, 64 + 8},
                         .codebook = {{scalars, 3, 1}, {quads, 2, 4}},
                         .table = {{0}, {table, 2, 2, 64}}};
  NEW(ir);
  int near = input(ir, QP_IN_GROUP), far = input(ir, QP_IN_GROUP + 1);
  int address = input(ir, QP_IN_GROUP + 2);
  output(ir, qp_ir_add(ir, QP_IR_LOOKUP_H, &near, 0, 0));
  output(ir, qp_ir_add(ir, QP_IR_LOOKUP_P, &near, 1, 1));
  output(ir, qp_ir_add(ir, QP_IR_LOOKUP_H, &far, 0, 0)); /* beyond the end: the last entry */
  output(ir, qp_ir_add(ir, QP_IR_LOAD, &address, 1, 0));
  output(ir, qp_ir_add(ir, QP_IR_LOAD_B, &address, 1, 1));
  uint32_t got[5];
  qp_ir_eval(ir, &env, got);
  cr_assert_eq(got[0], 2);
  cr_assert_eq(got[1], 23u << 16 | 22);
  cr_assert_eq(got[2], 3);
  cr_assert_eq(got[3], 200);
  cr_assert_eq(got[4], 201);
}

/* ---- Building ---- */

Test(ir, gives_equal_nodes_one_number) {
  NEW(ir);
  int s = input(ir, QP_IN_STATE), t = input(ir, QP_IN_GROUP);
  cr_assert_eq(s, input(ir, QP_IN_STATE));
  cr_assert_neq(s, t);
  cr_assert_eq(two(ir, QP_IR_SUB, s, t), two(ir, QP_IR_SUB, s, t));
  cr_assert_neq(two(ir, QP_IR_SUB, s, t), two(ir, QP_IR_SUB, t, s));
  cr_assert_neq(qp_ir_add(ir, QP_IR_LOOKUP_P, &s, 0, 0), qp_ir_add(ir, QP_IR_LOOKUP_P, &s, 0, 1));
}

Test(ir, orders_operands_of_commutative_ops) {
  static const qp_ir_op words[] = {QP_IR_ADD, QP_IR_MUL, QP_IR_AND, QP_IR_OR,
                                   QP_IR_XOR, QP_IR_MIN, QP_IR_MAX, QP_IR_EQ};
  NEW(ir);
  int s = input(ir, QP_IN_STATE), t = input(ir, QP_IN_GROUP), seven = word(ir, 7);
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    cr_assert_eq(two(ir, words[i], s, t), two(ir, words[i], t, s));
    int n = two(ir, words[i], seven, t);
    cr_assert_eq(ir->node[n].arg[1], seven, "constants come last");
  }
  int h = one(ir, QP_IR_AS_HALF, s), k = one(ir, QP_IR_AS_HALF, t);
  cr_assert_eq(two(ir, QP_IR_HADD, h, k), two(ir, QP_IR_HADD, k, h));
  cr_assert_eq(two(ir, QP_IR_HMUL, h, k), two(ir, QP_IR_HMUL, k, h));
  cr_assert_neq(two(ir, QP_IR_HSUB, h, k), two(ir, QP_IR_HSUB, k, h));
}

Test(ir, applies_identities) {
  NEW(ir);
  int x = input(ir, QP_IN_STATE), zero = word(ir, 0), ones = word(ir, ~0u);
  cr_assert_eq(two(ir, QP_IR_ADD, x, zero), x);
  cr_assert_eq(two(ir, QP_IR_ADD, zero, x), x);
  cr_assert_eq(two(ir, QP_IR_SUB, x, zero), x);
  cr_assert_neq(two(ir, QP_IR_SUB, zero, x), x);
  cr_assert_eq(two(ir, QP_IR_MUL, x, word(ir, 1)), x);
  cr_assert_eq(two(ir, QP_IR_MUL, x, zero), zero);
  cr_assert_eq(two(ir, QP_IR_AND, x, ones), x);
  cr_assert_eq(two(ir, QP_IR_AND, x, zero), zero);
  cr_assert_eq(two(ir, QP_IR_OR, x, zero), x);
  cr_assert_eq(two(ir, QP_IR_OR, x, ones), ones);
  cr_assert_eq(two(ir, QP_IR_XOR, x, zero), x);
  cr_assert_eq(two(ir, QP_IR_SHL, x, zero), x);
  cr_assert_eq(two(ir, QP_IR_SHR, x, word(ir, 32)), zero);
  cr_assert_eq(three(ir, QP_IR_SELECT, word(ir, 5), x, zero), x);
  cr_assert_eq(three(ir, QP_IR_SELECT, zero, x, ones), ones);
}

Test(ir, joins_masks_and_shifts_by_constants) {
  NEW(ir);
  int x = input(ir, QP_IN_STATE);
  int masked = two(ir, QP_IR_AND, two(ir, QP_IR_AND, x, word(ir, 0xff0)), word(ir, 0x0ff));
  cr_assert_eq(masked, two(ir, QP_IR_AND, x, word(ir, 0x0f0)));
  int shifted = two(ir, QP_IR_SHR, two(ir, QP_IR_SHR, x, word(ir, 3)), word(ir, 4));
  cr_assert_eq(shifted, two(ir, QP_IR_SHR, x, word(ir, 7)));
  int gone = two(ir, QP_IR_SHL, two(ir, QP_IR_SHL, x, word(ir, 20)), word(ir, 20));
  cr_assert_eq(gone, word(ir, 0));
}

Test(ir, undoes_conversions_there_and_back) {
  NEW(ir);
  int w = input(ir, QP_IN_STATE);
  int p = one(ir, QP_IR_AS_PAIR, w), b = one(ir, QP_IR_AS_BPAIR, w);
  cr_assert_eq(one(ir, QP_IR_WORD_OF_PAIR, p), w);
  cr_assert_eq(one(ir, QP_IR_WORD_OF_BPAIR, b), w);
  cr_assert_eq(two(ir, QP_IR_PACK, one(ir, QP_IR_LO, p), one(ir, QP_IR_HI, p)), p);
  int h = one(ir, QP_IR_AS_HALF, w), k = one(ir, QP_IR_AS_HALF, input(ir, QP_IN_GROUP));
  cr_assert_eq(one(ir, QP_IR_LO, two(ir, QP_IR_PACK, h, k)), h);
  cr_assert_eq(one(ir, QP_IR_HI, two(ir, QP_IR_PACK, h, k)), k);
  int bits = one(ir, QP_IR_WORD_OF_HALF, h); /* not w: its upper bits are gone */
  cr_assert_neq(bits, w);
  cr_assert_eq(one(ir, QP_IR_AS_HALF, bits), h);
}

Test(ir, makes_one_operation_on_pairs_of_two_on_halves) {
  NEW(ir);
  int h[4];
  for (unsigned i = 0; i < 4; i++) h[i] = one(ir, QP_IR_AS_HALF, input(ir, QP_IN_GROUP + i));
  int a = two(ir, QP_IR_HMUL, h[0], h[1]), b = two(ir, QP_IR_HMUL, h[2], h[3]);
  int p = two(ir, QP_IR_PACK, a, b);
  cr_assert_eq(ir->node[p].op, QP_IR_PMUL);
  int n = two(ir, QP_IR_PACK, one(ir, QP_IR_HNEG, h[0]), one(ir, QP_IR_HNEG, h[1]));
  cr_assert_eq(ir->node[n].op, QP_IR_PNEG);
  int mixed = two(ir, QP_IR_PACK, a, two(ir, QP_IR_HADD, h[2], h[3]));
  cr_assert_eq(ir->node[mixed].op, QP_IR_PACK);
}

Test(ir, refuses_operands_that_are_not_there) {
  NEW(ir);
  const int missing[] = {0, 1}, negative[] = {-1, -1};
  cr_assert_eq(qp_ir_add(ir, QP_IR_ADD, missing, 0, 0), -1);
  word(ir, 1);
  cr_assert_eq(qp_ir_add(ir, QP_IR_ADD, missing, 0, 0), -1);
  cr_assert_eq(qp_ir_add(ir, QP_IR_ADD, negative, 0, 0), -1);
}

Test(ir, grows_to_its_limit_and_says_when_it_is_full) {
  NEW(ir);
  for (uint32_t i = 0; i < QP_IR_MAX_NODES; i++) cr_assert_eq(word(ir, i), (int)i);
  cr_assert_eq(word(ir, 1u << 30), -1);
  cr_assert_eq(word(ir, 7), 7, "what is there is still found");
  cr_assert_eq(ir->count, QP_IR_MAX_NODES);
}

Test(ir, clones_share_nothing) {
  NEW(ir);
  output(ir, one(ir, QP_IR_AS_HALF, input(ir, QP_IN_STATE)));
  qp_ir *copy __attribute__((cleanup(free_ir))) = qp_ir_clone(ir);
  for (uint32_t i = 0; i < 100; i++) word(copy, i);
  cr_assert_eq(ir->count, 2);
  cr_assert_eq(copy->count, 102);
  cr_assert_eq(copy->output[0], ir->output[0]);
}

/* ---- Checking ---- */

static void assert_refused(qp_ir *ir, const char *words) {
  qp_error err = {0};
  cr_assert_eq(qp_ir_verify(ir, &err), QP_E_ARG);
  cr_assert(strstr(err.text, words), "'%s' does not say '%s'", err.text, words);
}

Test(ir, verifies_what_is_sound) {
  qp_error err = {0};
  NEW(ir);
  output(ir, one(ir, QP_IR_AS_PAIR, input(ir, QP_IN_STATE)));
  cr_assert_eq(qp_ir_verify(ir, &err), QP_OK, "%s", err.text);
}

Test(ir, refuses_an_operand_of_another_type) {
  NEW(ir);
  output(ir, one(ir, QP_IR_HNEG, input(ir, QP_IN_STATE)));
  assert_refused(ir, "%1 (neg.h): operand 1 is a word");
}

Test(ir, refuses_an_operand_that_comes_later) {
  NEW(ir);
  output(ir, one(ir, QP_IR_AS_PAIR, input(ir, QP_IN_STATE)));
  ir->node[1].arg[0] = 1;
  assert_refused(ir, "%1 (as_pair): operand %1 is not before it");
}

Test(ir, refuses_an_op_that_does_not_exist) {
  NEW(ir);
  output(ir, one(ir, QP_IR_AS_PAIR, input(ir, QP_IN_STATE)));
  ir->node[0].op = QP_IR_OP_COUNT;
  assert_refused(ir, "%0: op");
}

Test(ir, refuses_numbers_out_of_range) {
  NEW(inputs);
  output(inputs, one(inputs, QP_IR_AS_PAIR, input(inputs, QP_IN_COUNT)));
  assert_refused(inputs, "out of range");
  NEW(books);
  int s = input(books, QP_IN_STATE);
  output(books, qp_ir_add(books, QP_IR_LOOKUP_P, &s, 4, 0));
  assert_refused(books, "%1 (lookup.p): number 4.0 is out of range");
}

Test(ir, refuses_outputs_that_are_no_weights) {
  NEW(ir);
  int s = input(ir, QP_IN_STATE);
  assert_refused(ir, "0 outputs");
  output(ir, s);
  assert_refused(ir, "a word");
  ir->output[0] = 9;
  assert_refused(ir, "%9 does not exist");
}

/* ---- Printing ---- */

Test(ir, prints_one_node_a_line) {
  NEW(ir);
  int s = input(ir, QP_IN_STATE);
  int h = two(ir, QP_IR_ADD, two(ir, QP_IR_MUL, s, s), s);
  int shifted = two(ir, QP_IR_SHR, h, word(ir, 6));
  int i = two(ir, QP_IR_AND, shifted, word(ir, 511));
  int v = qp_ir_add(ir, QP_IR_LOOKUP_P, &i, 0, 0);
  int eighth = half(ir, 0x3000);
  output(ir, two(ir, QP_IR_PMUL, v, two(ir, QP_IR_PACK, eighth, eighth)));
  char *text = qp_ir_dump(ir);
  cr_assert_str_eq(text, "%0 = input state\n"
                         "%1 = mul %0, %0\n"
                         "%2 = add %0, %1\n"
                         "%3 = const 0x6\n"
                         "%4 = shr %2, %3\n"
                         "%5 = const 0x1ff\n"
                         "%6 = and %4, %5\n"
                         "%7 = lookup.p codebook0[%6].0\n"
                         "%8 = half.const 0.125\n"
                         "%9 = const 0x30003000\n"
                         "%10 = as_pair %9\n"
                         "%11 = mul.p %7, %10\n"
                         "return %11\n");
  free(text);
}

Test(ir, prints_what_immediates_mean) {
  NEW(ir);
  int s = input(ir, QP_IN_STATE), lane = input(ir, QP_IN_LANE), group = input(ir, QP_IN_GROUP);
  const int args[] = {s, lane, group};
  int x = qp_ir_add(ir, QP_IR_LOP3, args, 0xea, 0);
  x = qp_ir_add(ir, QP_IR_SCALE, &x, 7, 0);
  output(ir, qp_ir_add(ir, QP_IR_LOAD, &x, 2, 1));
  char *text = qp_ir_dump(ir);
  cr_assert_str_eq(text, "%0 = input state\n"
                         "%1 = input lane0\n"
                         "%2 = input group0\n"
                         "%3 = lop3 %0, %1, %2, 0xea\n"
                         "%4 = scale %3, 7\n"
                         "%5 = load table2[%4].1\n"
                         "return %5\n");
  free(text);
}
