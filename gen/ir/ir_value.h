/* SPDX-License-Identifier: MIT */
/* What the evaluations in QP_IR_OPS call: bit tricks and fp16 arithmetic that give the bits a GPU
   gives. */
#ifndef QP_IR_VALUE_H
#define QP_IR_VALUE_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/ir/ir_env.h"
#include "runtime/half.h"

/* Shifts by 32 or more give 0. */
static inline uint32_t qp_ir_shl(uint32_t a, uint32_t n) { return n < 32 ? a << n : 0; }
static inline uint32_t qp_ir_shr(uint32_t a, uint32_t n) { return n < 32 ? a >> n : 0; }

/* The state moved, with bits of the stream where a shift has zeros. */
static inline uint32_t qp_ir_right(const qp_ir_env *env, uint32_t n) {
  return qp_ir_shr(env->input[QP_IN_STATE], n) | qp_ir_shl(env->input[QP_IN_AROUND], 32 - n);
}
static inline uint32_t qp_ir_left(const qp_ir_env *env, uint32_t n) {
  return qp_ir_shl(env->input[QP_IN_STATE], n) | qp_ir_shr(env->input[QP_IN_AROUND], 32 - n);
}

/* Byte fields of two rows, and the half of a pair that is this row's. */
static inline uint32_t qp_ir_rows(const qp_ir_env *env, uint32_t field) {
  const uint32_t own = env->input[QP_IN_GROUP + field] & 255;
  const uint32_t other = env->input[QP_IN_OTHER + field] & 255;
  return env->input[QP_IN_ODD] & 1 ? other | own << 16 : own | other << 16;
}
static inline uint32_t qp_ir_own(const qp_ir_env *env, uint32_t a) {
  return (env->input[QP_IN_ODD] & 1 ? a >> 16 : a & 0xffff) * 0x10001u;
}

static inline uint32_t qp_ir_min2(uint32_t a, uint32_t b) {
  const uint32_t low = (a & 0xffff) < (b & 0xffff) ? a : b, high = a >> 16 < b >> 16 ? a : b;
  return (low & 0xffff) | (high & 0xffff0000u);
}
static inline uint32_t qp_ir_max2(uint32_t a, uint32_t b) {
  const uint32_t low = (a & 0xffff) > (b & 0xffff) ? a : b, high = a >> 16 > b >> 16 ? a : b;
  return (low & 0xffff) | (high & 0xffff0000u);
}

static inline uint32_t qp_ir_funnel(uint32_t low, uint32_t high, uint32_t n) {
  n &= 31;
  return n ? low >> n | high << (32 - n) : low;
}

static inline uint32_t qp_ir_lop3(uint32_t a, uint32_t b, uint32_t c, uint32_t lut) {
  uint32_t v = 0;
  for (unsigned i = 0; i < 8; i++)
    if (lut >> i & 1) v |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
  return v;
}

/* __byte_perm: selectors of 3 bits (bit 3 of a selector is not used). */
static inline uint32_t qp_ir_prmt(uint32_t a, uint32_t b, uint32_t sel) {
  uint64_t both = (uint64_t)b << 32 | a;
  uint32_t v = 0;
  for (unsigned i = 0; i < 4; i++)
    v |= (uint32_t)(both >> (8 * (sel >> (4 * i) & 7)) & 0xff) << (8 * i);
  return v;
}

static inline uint32_t qp_ir_dp4a(uint32_t a, uint32_t b, uint32_t c) {
  for (unsigned i = 0; i < 32; i += 8) c += (a >> i & 0xff) * (b >> i & 0xff);
  return c;
}

static inline double qp_ir_h(uint32_t h) { return (double)qp_half_to_float((uint16_t)h); }

/* Sums and products of fp16 values are exact in double; a fused multiply-add's sum is too, or
   differs from an fp16 value by less than double keeps: one rounding in every case. */
static inline uint32_t qp_ir_hadd(uint32_t a, uint32_t b) {
  return qp_double_to_half(qp_ir_h(a) + qp_ir_h(b));
}
static inline uint32_t qp_ir_hsub(uint32_t a, uint32_t b) {
  return qp_double_to_half(qp_ir_h(a) - qp_ir_h(b));
}
static inline uint32_t qp_ir_hmul(uint32_t a, uint32_t b) {
  return qp_double_to_half(qp_ir_h(a) * qp_ir_h(b));
}
static inline uint32_t qp_ir_hfma(uint32_t a, uint32_t b, uint32_t c) {
  double product = qp_ir_h(a) * qp_ir_h(b); /* exact, and a statement of its own: contraction
                                               changes nothing */
  return qp_double_to_half(product + qp_ir_h(c));
}
static inline uint32_t qp_ir_padd(uint32_t a, uint32_t b) {
  return qp_ir_hadd(a, b) | qp_ir_hadd(a >> 16, b >> 16) << 16;
}
static inline uint32_t qp_ir_psub(uint32_t a, uint32_t b) {
  return qp_ir_hsub(a, b) | qp_ir_hsub(a >> 16, b >> 16) << 16;
}
static inline uint32_t qp_ir_pmul(uint32_t a, uint32_t b) {
  return qp_ir_hmul(a, b) | qp_ir_hmul(a >> 16, b >> 16) << 16;
}
static inline uint32_t qp_ir_pfma(uint32_t a, uint32_t b, uint32_t c) {
  return qp_ir_hfma(a, b, c) | qp_ir_hfma(a >> 16, b >> 16, c >> 16) << 16;
}
static inline uint32_t qp_ir_half_of_uint(uint32_t a) { return qp_double_to_half((double)a); }
static inline uint32_t qp_ir_half_of_int(uint32_t a) {
  return qp_double_to_half((double)(int32_t)a);
}
/* An fp32 number is kept as its bits; these turn bits into the number and back. */
static inline float qp_ir_f(uint32_t bits) { return qp_float_of_bits(bits); }
static inline uint32_t qp_ir_s(float f) { return f == f ? qp_float_bits(f) : 0x7fffffffu; }
static inline uint32_t qp_ir_single_of_half(uint32_t h) {
  return qp_ir_s(qp_half_to_float((uint16_t)h));
}
static inline uint32_t qp_ir_bpair_of_pair(uint32_t a) {
  return qp_float_to_bf16(qp_half_to_float((uint16_t)a)) |
         (uint32_t)qp_float_to_bf16(qp_half_to_float((uint16_t)(a >> 16))) << 16;
}

/* Give pair 'pair' of a codebook entry (for dim 1 it is a lone fp16).  An index beyond the end
   reads the last entry. */
static inline uint32_t qp_ir_lookup(const qp_ir_env *env, uint32_t book, uint32_t pair,
                                    uint32_t idx) {
  unsigned dim = env->codebook[book].dim, entries = env->codebook[book].entries;
  const uint16_t *e = env->codebook[book].data + (size_t)(idx < entries ? idx : entries - 1) * dim;
  return dim == 1 ? e[0] : e[2 * pair] | (uint32_t)e[2 * pair + 1] << 16;
}

static inline uint32_t qp_ir_load(const qp_ir_env *env, uint32_t table, uint32_t word,
                                  uint32_t address) {
  unsigned entry = address / env->table[table].stride;
  return env->table[table].data[(size_t)entry * env->table[table].words + word];
}

#endif
