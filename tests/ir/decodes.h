/* SPDX-License-Identifier: MIT */
/* Quantizers built by hand, of every kind that the palette has: what tests of lowering work on. */
#ifndef QP_TESTS_DECODES_H
#define QP_TESTS_DECODES_H

#include <stdlib.h>
#include <string.h>

#include "gen/spec/quantizer.h"

/* ---- Nodes ---- */

static inline int n_word(qp_ir *ir, uint32_t v) { return qp_ir_add(ir, QP_IR_CONST, NULL, v, 0); }
static inline int n_half(qp_ir *ir, uint32_t v) {
  return qp_ir_add(ir, QP_IR_HALF_CONST, NULL, v, 0);
}
static inline int n_input(qp_ir *ir, uint32_t n) { return qp_ir_add(ir, QP_IR_INPUT, NULL, n, 0); }
static inline int n_state(qp_ir *ir) { return n_input(ir, QP_IN_STATE); }
static inline int n_one(qp_ir *ir, qp_ir_op op, int a) { return qp_ir_add(ir, op, &a, 0, 0); }
static inline int n_two(qp_ir *ir, qp_ir_op op, int a, int b) {
  const int args[] = {a, b};
  return qp_ir_add(ir, op, args, 0, 0);
}
static inline int n_three(qp_ir *ir, qp_ir_op op, int a, int b, int c) {
  const int args[] = {a, b, c};
  return qp_ir_add(ir, op, args, 0, 0);
}
static inline int n_pair(qp_ir *ir, int word) { return n_one(ir, QP_IR_AS_PAIR, word); }
/* a op constant */
static inline int n_with(qp_ir *ir, qp_ir_op op, int a, uint32_t b) {
  return n_two(ir, op, a, n_word(ir, b));
}
/* x >> low & (2^width - 1) */
static inline int n_bits(qp_ir *ir, int x, uint32_t low, uint32_t width) {
  return n_with(ir, QP_IR_AND, n_with(ir, QP_IR_SHR, x, low), (1u << width) - 1);
}
static inline int n_lookup_h(qp_ir *ir, uint32_t book, int idx) {
  return qp_ir_add(ir, QP_IR_LOOKUP_H, &idx, book, 0);
}
static inline int n_lookup_p(qp_ir *ir, uint32_t book, int idx, uint32_t pair) {
  return qp_ir_add(ir, QP_IR_LOOKUP_P, &idx, book, pair);
}
/* Flip the sign of weight 1 or 2 of a pair where 'bit' is 1. */
static inline int n_flip(qp_ir *ir, int pair, unsigned i, int bit) {
  int mask = n_with(ir, QP_IR_SHL, n_with(ir, QP_IR_AND, bit, 1), i == 1 ? 15 : 31);
  return n_one(ir, QP_IR_AS_PAIR, n_two(ir, QP_IR_XOR, n_one(ir, QP_IR_WORD_OF_PAIR, pair), mask));
}
static inline void n_output(qp_ir *ir, int node) { ir->output[ir->outputs++] = (uint16_t)node; }

/* ---- Quantizers ---- */

static inline qp_quantizer d_new(const char *name, qp_quantizer_kind kind, unsigned window,
                                 unsigned dim, unsigned step) {
  qp_quantizer q = {.kind = kind,
                    .file = "decodes.lua",
                    .line_first = 1,
                    .window = window,
                    .dim = dim,
                    .step = step,
                    .rate = (double)step / dim,
                    .layout = QP_LAYOUT_VERSION,
                    .decode = qp_ir_new()};
  strncpy(q.name, name, sizeof q.name - 1);
  return q;
}

/* A codebook of random finite fp16 numbers of either sign, up to 8. */
static inline void d_codebook(qp_quantizer *q, unsigned entries, unsigned dim, qp_scope scope) {
  qp_codebook *b = &q->codebook[q->codebooks++];
  uint32_t seed = entries * 31 + dim + q->codebooks;
  *b = (qp_codebook){.name = "codebook", .entries = entries, .dim = dim, .scope = scope};
  b->data = malloc((size_t)entries * dim * sizeof *b->data);
  for (unsigned i = 0; i < entries * dim; i++) {
    seed = seed * 1664525u + 1013904223u;
    b->data[i] = (uint16_t)((seed >> 16 & 0x8fff) + (seed >> 8 & 3) * 0x1000);
  }
}

static inline void d_field(qp_quantizer *q, qp_field_type type, double lo, double hi) {
  q->field[q->fields++] = (qp_field){.name = "field", .type = type, .size = 64, .lo = lo, .hi = hi};
  q->group = 64;
}

static inline void d_free(qp_quantizer *q) {
  qp_ir_free(q->decode);
  for (unsigned i = 0; i < q->codebooks; i++) free(q->codebook[i].data);
}

static inline int d_hash(qp_ir *ir) { /* s s + s */
  int s = n_state(ir);
  return n_two(ir, QP_IR_ADD, n_two(ir, QP_IR_MUL, s, s), s);
}

static inline int d_linear(qp_ir *ir, uint32_t factor, uint32_t term) {
  return n_with(ir, QP_IR_ADD, n_with(ir, QP_IR_MUL, n_state(ir), factor), term);
}

static inline qp_quantizer d_tcq(void) {
  qp_quantizer q = d_new("tcq-3", QP_TRELLIS, 16, 2, 6);
  d_codebook(&q, 512, 2, QP_SCOPE_SPEC);
  int h = d_hash(q.decode);
  int v = n_lookup_p(q.decode, 0, n_bits(q.decode, h, 6, 9), 0);
  n_output(q.decode, n_flip(q.decode, v, 1, n_bits(q.decode, h, 15, 1)));
  return q;
}

static inline qp_quantizer d_lin(void) {
  qp_quantizer q = d_new("lin-3", QP_TRELLIS, 16, 2, 6);
  d_codebook(&q, 1024, 2, QP_SCOPE_SPEC);
  int h = d_linear(q.decode, 0x9e36, 0x3a5c7);
  n_output(q.decode, n_lookup_p(q.decode, 0, n_bits(q.decode, h, 7, 10), 0));
  return q;
}

static inline qp_quantizer d_fine(void) {
  qp_quantizer q = d_new("fine-3", QP_TRELLIS, 16, 2, 6);
  qp_ir *ir = q.decode;
  d_codebook(&q, 512, 2, QP_SCOPE_SPEC);
  int h = d_hash(ir), g = n_with(ir, QP_IR_MUL, n_state(ir), 0x16b52);
  int v = n_flip(ir, n_lookup_p(ir, 0, n_bits(ir, h, 6, 9), 0), 1, n_bits(ir, h, 15, 1));
  int low = n_with(ir, QP_IR_OR, n_bits(ir, g, 9, 4), 0x64006400);
  int both = n_two(ir, QP_IR_OR, low, n_with(ir, QP_IR_SHL, n_bits(ir, g, 13, 4), 16));
  int middle = n_one(ir, QP_IR_AS_PAIR, n_word(ir, 0x64076407)); /* 1031 */
  int point = n_two(ir, QP_IR_PSUB, n_one(ir, QP_IR_AS_PAIR, both), middle);
  int scale = n_one(ir, QP_IR_AS_PAIR, n_word(ir, 0x20002000)); /* 1/128 */
  n_output(ir, n_three(ir, QP_IR_PFMA, point, scale, v));
  return q;
}

/* (sum of bytes + 1024 as fp16 bits - 1534) / 147.8, rounded once */
static inline int d_bytes_to_normal(qp_ir *ir, int h) {
  int sum = n_three(ir, QP_IR_DP4A, h, n_word(ir, 0x01010101), n_word(ir, 0x6400));
  return n_three(ir, QP_IR_HFMA, n_one(ir, QP_IR_AS_HALF, sum), n_half(ir, 0x1eee),
                 n_half(ir, 0xc931));
}

static inline qp_quantizer d_1mad(void) {
  qp_quantizer q = d_new("1mad-2", QP_TRELLIS, 16, 1, 2);
  n_output(q.decode, d_bytes_to_normal(q.decode, d_linear(q.decode, 34038481, 76625530)));
  return q;
}

static inline qp_quantizer d_mul1(void) {
  qp_quantizer q = d_new("mul1-3", QP_TRELLIS, 16, 1, 3);
  n_output(q.decode,
           d_bytes_to_normal(q.decode, n_with(q.decode, QP_IR_MUL, n_state(q.decode), 0x83dcd12d)));
  return q;
}

/* mul1 with its bytes taken one by one and converted. */
static inline qp_quantizer d_bytes(void) {
  qp_quantizer q = d_new("bytes-3", QP_TRELLIS, 16, 1, 3);
  qp_ir *ir = q.decode;
  int h = n_with(ir, QP_IR_MUL, n_state(ir), 0x83dcd12d);
  int sum = n_with(ir, QP_IR_AND, h, 255);
  for (uint32_t k = 1; k < 4; k++) sum = n_two(ir, QP_IR_ADD, sum, n_bits(ir, h, 8 * k, 8));
  int v = n_two(ir, QP_IR_HSUB, n_one(ir, QP_IR_HALF_OF_UINT, sum), n_half(ir, 0x5ff8));
  n_output(ir, n_two(ir, QP_IR_HMUL, v, n_half(ir, 0x1eee)));
  return q;
}

static inline qp_quantizer d_3inst(void) {
  qp_quantizer q = d_new("3inst-2", QP_TRELLIS, 16, 1, 2);
  qp_ir *ir = q.decode;
  int h = n_with(ir, QP_IR_AND, d_linear(ir, 89226354, 64248484), 0x8fff8fff);
  int p = n_one(ir, QP_IR_AS_PAIR, n_with(ir, QP_IR_XOR, h, 0x3b603b60));
  int high = n_one(ir, QP_IR_HI, p), low = n_one(ir, QP_IR_LO, p);
  n_output(ir, n_two(ir, QP_IR_HADD, low, high));
  return q;
}

/* A hash that needs bits above the window cleared. */
static inline qp_quantizer d_high(void) {
  qp_quantizer q = d_new("high-3", QP_TRELLIS, 14, 2, 6);
  d_codebook(&q, 256, 2, QP_SCOPE_SPEC);
  int h = n_with(q.decode, QP_IR_MUL, n_state(q.decode), 0x9e3779b1);
  n_output(q.decode, n_lookup_p(q.decode, 0, n_with(q.decode, QP_IR_SHR, h, 24), 0));
  return q;
}

/* A window of whole bytes, hashed by a dot product that reads no others; bits of it mixed in. */
static inline qp_quantizer d_dots(void) {
  qp_quantizer q = d_new("dots-3.5", QP_TRELLIS, 16, 2, 7);
  qp_ir *ir = q.decode;
  d_codebook(&q, 1024, 2, QP_SCOPE_SPEC);
  int h = n_three(ir, QP_IR_DP4A, n_state(ir), n_word(ir, 0xe5c7), n_word(ir, 0));
  int pair = n_lookup_p(ir, 0, n_bits(ir, h, 7, 10), 0);
  int bits = n_with(ir, QP_IR_AND, n_state(ir), 0x8180);
  pair = n_two(ir, QP_IR_XOR, n_one(ir, QP_IR_WORD_OF_PAIR, pair), bits);
  n_output(ir, n_one(ir, QP_IR_AS_PAIR, pair));
  return q;
}

static inline qp_quantizer d_quad(void) {
  qp_quantizer q = d_new("quad-2", QP_TRELLIS, 16, 4, 8);
  qp_ir *ir = q.decode;
  d_codebook(&q, 1024, 4, QP_SCOPE_SPEC);
  int h = d_linear(ir, 0x9e36, 0x3a5c7), g = n_with(ir, QP_IR_MUL, n_state(ir), 0x16b52);
  for (unsigned p = 0; p < 2; p++) {
    int v = n_lookup_p(ir, 0, n_bits(ir, h, 7, 10), p);
    for (unsigned i = 1; i <= 2; i++) v = n_flip(ir, v, i, n_bits(ir, g, 12 + 2 * p + i, 1));
    n_output(ir, v);
  }
  return q;
}

static inline qp_quantizer d_vq2(void) {
  qp_quantizer q = d_new("vq2-4", QP_VECTOR, 8, 2, 8);
  d_codebook(&q, 256, 2, QP_SCOPE_SPEC);
  n_output(q.decode, n_lookup_p(q.decode, 0, n_state(q.decode), 0));
  return q;
}

/* Fewer entries than codes: the last one stands for those beyond. */
static inline qp_quantizer d_short(void) {
  qp_quantizer q = d_new("short-4", QP_VECTOR, 8, 2, 8);
  d_codebook(&q, 243, 2, QP_SCOPE_SPEC);
  n_output(q.decode, n_lookup_p(q.decode, 0, n_state(q.decode), 0));
  return q;
}

/* An index that is no field of bits. */
static inline qp_quantizer d_sum(void) {
  qp_quantizer q = d_new("sum-4", QP_VECTOR, 8, 2, 8);
  qp_ir *ir = q.decode;
  d_codebook(&q, 200, 2, QP_SCOPE_SPEC);
  int sum = n_two(ir, QP_IR_ADD, n_bits(ir, n_state(ir), 0, 4),
                  n_with(ir, QP_IR_MUL, n_bits(ir, n_state(ir), 4, 4), 15));
  n_output(ir, n_lookup_p(ir, 0, sum, 0));
  return q;
}

static inline qp_quantizer d_nuq(void) {
  qp_quantizer q = d_new("nuq-4", QP_SCALAR, 4, 1, 4);
  d_codebook(&q, 16, 1, QP_SCOPE_SPEC);
  n_output(q.decode, n_lookup_h(q.decode, 0, n_state(q.decode)));
  return q;
}

static inline qp_quantizer d_nuq8(void) {
  qp_quantizer q = d_new("nuq-8", QP_SCALAR, 8, 1, 8);
  d_codebook(&q, 256, 1, QP_SCOPE_TENSOR);
  n_output(q.decode, n_lookup_h(q.decode, 0, n_state(q.decode)));
  return q;
}

static inline qp_quantizer d_nf3(void) {
  qp_quantizer q = d_new("nf3", QP_SCALAR, 3, 1, 3);
  qp_ir *ir = q.decode;
  d_codebook(&q, 8, 1, QP_SCOPE_SPEC);
  d_field(&q, QP_FIELD_F16, 0.001, 8);
  int scale = qp_ir_add(ir, QP_IR_INPUT_H, NULL, QP_IN_GROUP, 0);
  n_output(ir, n_two(ir, QP_IR_HMUL, n_lookup_h(ir, 0, n_state(ir)), scale));
  return q;
}

static inline qp_quantizer d_int4(void) {
  qp_quantizer q = d_new("int4", QP_SCALAR, 4, 1, 4);
  qp_ir *ir = q.decode;
  d_field(&q, QP_FIELD_F16, 0.001, 4);
  d_field(&q, QP_FIELD_U4, 0, 15);
  int zero = n_one(ir, QP_IR_HALF_OF_UINT, n_input(ir, QP_IN_GROUP + 1));
  int code = n_one(ir, QP_IR_HALF_OF_UINT, n_state(ir));
  int scale = qp_ir_add(ir, QP_IR_INPUT_H, NULL, QP_IN_GROUP, 0);
  n_output(ir, n_two(ir, QP_IR_HMUL, n_two(ir, QP_IR_HSUB, code, zero), scale));
  return q;
}

static inline qp_quantizer d_mxfp4(void) {
  qp_quantizer q = d_new("mxfp4", QP_SCALAR, 4, 1, 4);
  qp_ir *ir = q.decode;
  d_codebook(&q, 16, 1, QP_SCOPE_SPEC);
  d_field(&q, QP_FIELD_U8, 113, 130);
  int e = n_with(ir, QP_IR_MIN, n_with(ir, QP_IR_MAX, n_input(ir, QP_IN_GROUP), 113), 142);
  int scale = n_one(ir, QP_IR_AS_HALF, n_with(ir, QP_IR_SHL, n_with(ir, QP_IR_SUB, e, 112), 10));
  n_output(ir, n_two(ir, QP_IR_HMUL, n_lookup_h(ir, 0, n_state(ir)), scale));
  return q;
}

static inline qp_quantizer d_e8p(void) {
  qp_quantizer q = d_new("e8p-2", QP_VECTOR, 16, 8, 16);
  qp_ir *ir = q.decode;
  d_codebook(&q, 256, 8, QP_SCOPE_SPEC);
  int code = n_state(ir), idx = n_bits(ir, code, 8, 8);
  int even = n_with(ir, QP_IR_AND, n_one(ir, QP_IR_POPC, n_with(ir, QP_IR_AND, code, 0xfe)), 1);
  int shift = n_one(ir, QP_IR_AS_HALF,
                    n_three(ir, QP_IR_SELECT, n_with(ir, QP_IR_AND, code, 1), n_word(ir, 0x3400),
                            n_word(ir, 0xb400)));
  for (unsigned p = 0; p < 4; p++) {
    int v = n_lookup_p(ir, 0, idx, p);
    for (unsigned i = 1; i <= 2; i++) {
      unsigned weight = 2 * p + i;
      v = n_flip(ir, v, i, weight == 8 ? even : n_bits(ir, code, weight, 1));
    }
    n_output(ir, n_two(ir, QP_IR_PADD, v, n_two(ir, QP_IR_PACK, shift, shift)));
  }
  return q;
}

static inline qp_quantizer d_aqlm(void) {
  qp_quantizer q = d_new("aqlm-2x8", QP_VECTOR, 16, 8, 16);
  qp_ir *ir = q.decode;
  d_codebook(&q, 256, 8, QP_SCOPE_TENSOR);
  d_codebook(&q, 256, 8, QP_SCOPE_TENSOR);
  int a = n_bits(ir, n_state(ir), 0, 8), b = n_with(ir, QP_IR_SHR, n_state(ir), 8);
  int scale = n_one(ir, QP_IR_AS_PAIR, n_word(ir, 0x38003800));
  for (unsigned p = 0; p < 4; p++) { /* in this order with each compiler */
    int scaled = n_two(ir, QP_IR_PMUL, n_lookup_p(ir, 1, b, p), scale);
    n_output(ir, n_two(ir, QP_IR_PADD, n_lookup_p(ir, 0, a, p), scaled));
  }
  return q;
}

static inline qp_quantizer d_ternary(void) {
  qp_quantizer q = d_new("ternary-1.6", QP_VECTOR, 8, 5, 8);
  qp_ir *ir = q.decode;
  int rest = n_state(ir);
  for (unsigned i = 0; i < 5; i++) {
    int tripled = n_with(ir, QP_IR_MUL, rest, 3);
    n_output(ir, n_one(ir, QP_IR_HALF_OF_INT,
                       n_with(ir, QP_IR_SUB, n_with(ir, QP_IR_SHR, tripled, 8), 1)));
    rest = n_with(ir, QP_IR_AND, tripled, 255);
  }
  return q;
}

/* Three planes, a codebook a row. */
static inline qp_quantizer d_planes(unsigned read) {
  qp_quantizer q = d_new("anyprec-3", QP_SCALAR, 3, 1, 3);
  q.planes = true;
  q.planes_read = read;
  d_codebook(&q, 1u << read, 1, QP_SCOPE_ROW);
  n_output(q.decode, n_lookup_h(q.decode, 0, n_state(q.decode)));
  return q;
}
static inline qp_quantizer d_planes3(void) { return d_planes(3); }
static inline qp_quantizer d_planes2(void) { return d_planes(2); }

/* A row's codebook with fewer entries than codes. */
static inline qp_quantizer d_short_row(void) {
  qp_quantizer q = d_new("short-row", QP_SCALAR, 3, 1, 3);
  d_codebook(&q, 6, 1, QP_SCOPE_ROW);
  n_output(q.decode, n_lookup_h(q.decode, 0, n_state(q.decode)));
  return q;
}

/* A codebook that is indexed by more than the state. */
static inline qp_quantizer d_shifted(void) {
  qp_quantizer q = d_new("shifted", QP_SCALAR, 4, 1, 4);
  qp_ir *ir = q.decode;
  d_codebook(&q, 32, 1, QP_SCOPE_SPEC);
  d_codebook(&q, 16, 1, QP_SCOPE_SPEC);
  d_field(&q, QP_FIELD_U4, 0, 15);
  int idx = n_two(ir, QP_IR_ADD, n_state(ir), n_input(ir, QP_IN_GROUP));
  n_output(ir, n_two(ir, QP_IR_HADD, n_lookup_h(ir, 0, idx), n_lookup_h(ir, 1, n_state(ir))));
  return q;
}

/* One entry of a codebook as a number for all weights. */
static inline qp_quantizer d_offset(void) {
  qp_quantizer q = d_new("offset-4", QP_VECTOR, 8, 2, 8);
  qp_ir *ir = q.decode;
  d_codebook(&q, 257, 2, QP_SCOPE_TENSOR);
  int offset = n_one(ir, QP_IR_PNEG, n_lookup_p(ir, 0, n_word(ir, 256), 0));
  n_output(ir, n_two(ir, QP_IR_PADD, n_lookup_p(ir, 0, n_state(ir), 0), offset));
  return q;
}

typedef qp_quantizer (*d_builder)(void);
static const d_builder d_all[] = {
    d_tcq,  d_lin,  d_fine,    d_1mad,    d_mul1,    d_bytes,     d_3inst,   d_high,  d_quad,
    d_dots, d_vq2,  d_short,   d_sum,     d_nuq,     d_nuq8,      d_nf3,     d_int4,  d_mxfp4,
    d_e8p,  d_aqlm, d_ternary, d_planes3, d_planes2, d_short_row, d_shifted, d_offset};
enum { D_COUNT = sizeof d_all / sizeof *d_all };

#endif
