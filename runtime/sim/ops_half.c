/* SPDX-License-Identifier: MIT */
/*
** fp16 and bf16 arithmetic, single and packed, with one rounding.  Sums and products of two values
** are exact in double except where fp16 or bf16 exponents lie far apart; those, and fma, are
** computed to odd in double first: a result whose last bit is sticky rounds right to any format
** with at most 51 bits.
*/
#include "runtime/sim/handler.h"
#include "runtime/sim/round.h"

#include <assert.h>

enum { ADD, SUB, MUL, FMA, MIN, MAX, MIN_NAN, MAX_NAN, NEG, ABS, EX2, TANH };

/* ---- rounding ---- */

static uint16_t round_mode(double d, unsigned mode, uint16_t nearest, float (*back)(uint16_t),
                           uint16_t infinity) {
  mode &= QP_SIM_RND;
  if (mode == QP_SIM_RN || isnan(d) || isinf(d)) return nearest;
  const double got = (double)back(nearest);
  const bool up = mode == QP_SIM_RP || (mode == QP_SIM_RZ && signbit(d));
  if (got == d) return nearest;
  const bool above = got > d;
  if (above == up) return nearest;
  /* one step towards the side asked for; bit patterns grow with the magnitude */
  const bool grow = up != (signbit(d) != 0);
  if (!grow) return (uint16_t)((nearest & 0x7fff) ? nearest - 1 : nearest);
  return (nearest & 0x7fff) == infinity ? nearest : (uint16_t)(nearest + 1);
}

uint16_t qp_sim_round_half(double d, unsigned mode) {
  return round_mode(d, mode, qp_double_to_half(d), qp_half_to_float, QP_HALF_INF);
}

uint16_t qp_sim_round_bf16(double d, unsigned mode) {
  return round_mode(d, mode, qp_double_to_bf16(d), qp_bf16_to_float, QP_BF16_INF);
}

/* x + y rounded to odd: truncated, and the last bit set if anything was lost. */
static double add_odd(double x, double y) {
  const double s = x + y;
  if (isnan(s) || isinf(s)) return s;
  const double t = s - x, lost = (x - (s - t)) + (y - t); /* exact: s + lost = x + y */
  if (lost == 0) return s;
  uint64_t u;
  memcpy(&u, &s, sizeof u);
  if (u & 1) return s;
  /* the neighbour on the side of the lost part has an odd last bit */
  u = (lost > 0) == (s > 0) ? u + 1 : u - 1;
  double r;
  memcpy(&r, &u, sizeof r);
  return r;
}

static float flush_half(float f) { return fabsf(f) < 0x1p-14f ? copysignf(0.0f, f) : f; }

/* Where bf16 exponents allow it, a product (16 bits) is exact and only sums lose bits. */
static double operate(unsigned op, double x, double y, double z) {
  switch (op) {
  case ADD: return add_odd(x, y);
  case SUB: return add_odd(x, -y);
  case MUL: return x * y;
  case FMA: return add_odd(x * y, z);
  case MIN:
  case MIN_NAN:
    if (isnan(x) || isnan(y)) return op == MIN_NAN ? x + y : isnan(x) ? y : x;
    if (x == 0 && y == 0) return signbit(x) ? x : y;
    return x < y ? x : y;
  case MAX:
  case MAX_NAN:
    if (isnan(x) || isnan(y)) return op == MAX_NAN ? x + y : isnan(x) ? y : x;
    if (x == 0 && y == 0) return signbit(x) ? y : x;
    return x > y ? x : y;
  case EX2: return exp2(x);
  case TANH: return tanh(x);
  default: return x;
  }
}

static inline unsigned sources(unsigned op) { return op == FMA ? 3 : op <= MAX_NAN ? 2 : 1; }

static uint16_t one(const qp_sim_op *o, bool bf16, uint16_t x, uint16_t y, uint16_t z) {
  if (o->sub == NEG)
    return (x & 0x7fff) > (bf16 ? QP_BF16_INF : QP_HALF_INF) ? QP_HALF_NAN : x ^ 0x8000;
  if (o->sub == ABS)
    return (x & 0x7fff) > (bf16 ? QP_BF16_INF : QP_HALF_INF) ? QP_HALF_NAN : x & 0x7fff;
  float a = bf16 ? qp_bf16_to_float(x) : qp_half_to_float(x);
  float b = bf16 ? qp_bf16_to_float(y) : qp_half_to_float(y);
  float c = bf16 ? qp_bf16_to_float(z) : qp_half_to_float(z);
  const bool ftz = (o->mode & QP_SIM_FTZ) && !bf16;
  if (ftz) {
    a = flush_half(a);
    b = flush_half(b);
    c = flush_half(c);
  }
  const double d = operate(o->sub, (double)a, (double)b, (double)c);
  uint16_t r = bf16 ? qp_sim_round_bf16(d, o->mode) : qp_sim_round_half(d, o->mode);
  const uint16_t inf = bf16 ? QP_BF16_INF : QP_HALF_INF;
  const bool nan = (r & 0x7fff) > inf;
  if (ftz && !(r & 0x7c00)) r &= 0x8000;
  if (o->mode & QP_SIM_SAT) {
    const uint16_t top = bf16 ? 0x3f80 : 0x3c00;
    r = nan || r & 0x8000 ? 0 : r > top ? top : r;
  }
  if (o->mode & QP_SIM_RELU) r = !nan && r & 0x8000 ? 0 : r;
  return r;
}

static inline void half_common(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask, bool bf16,
                               bool pair) {
  const unsigned n = sources(o->sub);
  uint32_t *d = qp_sim_reg(w, o->r[0]);
  const uint32_t *a = qp_sim_reg(w, o->r[1]);
  const uint32_t *b = n > 1 ? qp_sim_reg(w, o->r[2]) : a;
  const uint32_t *c = n > 2 ? qp_sim_reg(w, o->r[3]) : a;
  QP_SIM_LOOP(mask, l) {
    const uint32_t x = a[l], y = b[l], z = c[l];
    uint32_t r = one(o, bf16, (uint16_t)x, (uint16_t)y, (uint16_t)z);
    if (pair)
      r |= (uint32_t)one(o, bf16, (uint16_t)(x >> 16), (uint16_t)(y >> 16), (uint16_t)(z >> 16))
           << 16;
    d[l] = r;
  }
}

#define GENERAL(name, bf16, pair)                                                                  \
  HANDLER(name) { half_common(w, o, mask, bf16, pair); }
GENERAL(do_f16, false, false)
GENERAL(do_f16x2, false, true)
GENERAL(do_bf16, true, false)
GENERAL(do_bf16x2, true, true)

/* ---- fp16 without modifiers, which kernels are full of ---- */

static_assert(QP_SIM_RN == 0, "what has no modifiers is rounded to the nearest");

/* Round to the nearest without a branch.  Below 2^-14 the sum with 0.5 is rounded to a multiple of
   2^-24, the least fp16 number. */
static inline uint32_t half_of(float f) {
  const uint32_t bits = qp_float_bits(f), size = bits & 0x7fffffff, half = 0x3f000000;
  const uint32_t tiny = qp_float_bits(qp_float_of_bits(size) + 0.5f) - half;
  const uint32_t normal = (size - (112u << 23) + 0xfff + (size >> 13 & 1)) >> 13;
  const uint32_t number = size < 113u << 23 ? tiny : size < 143u << 23 ? normal : QP_HALF_INF;
  return size > 255u << 23 ? QP_HALF_NAN : (bits >> 16 & 0x8000) | number;
}

/* The same of a double, by the sum with 2^28. */
static inline uint32_t half_of_double(double d) {
  const uint64_t bits = qp_double_bits(d), size = bits & INT64_MAX, exponent = UINT64_C(1) << 52;
  const uint64_t tiny = qp_double_bits(qp_double_of_bits(size) + 0x1p28) - qp_double_bits(0x1p28);
  const uint64_t normal = (size - 1008 * exponent + (exponent >> 11) - 1 + (size >> 42 & 1)) >> 42;
  const uint64_t number = size < 1009 * exponent   ? tiny
                          : size < 1039 * exponent ? normal
                                                   : (uint64_t)QP_HALF_INF;
  return size > 2047 * exponent ? QP_HALF_NAN : (uint32_t)((bits >> 48 & 0x8000) | number);
}

static inline float h(uint32_t x) { return qp_half_to_float((uint16_t)x); }

/* fp32 has the bits with which a sum of two fp16 numbers, rounded twice, is that rounded once
   (2 * 11 + 2), and has all bits of their product.  A double loses bits of a product and a third
   number where they lie 2^53 apart: where the product is beyond fp16, or far below a number that
   is fp16. */
static inline uint32_t add_half(uint32_t x, uint32_t y) { return half_of(h(x) + h(y)); }
static inline uint32_t sub_half(uint32_t x, uint32_t y) { return half_of(h(x) - h(y)); }
static inline uint32_t mul_half(uint32_t x, uint32_t y) { return half_of(h(x) * h(y)); }
static inline uint32_t fma_half(uint32_t x, uint32_t y, uint32_t z) {
  return half_of_double((double)h(x) * (double)h(y) + (double)h(z));
}

/* Bits that compare, as whole numbers, as the numbers that they stand for. */
static inline int32_t rank(uint32_t x) {
  return (int16_t)(x ^ ((uint32_t)((int32_t)(int16_t)x >> 15) & 0x7fff));
}
static inline bool is_nan(uint32_t x) { return (x & 0x7fff) > QP_HALF_INF; }
static inline uint32_t chosen(uint32_t x, uint32_t y, bool first) {
  const uint32_t number = is_nan(y) || (first && !is_nan(x)) ? x : y;
  return is_nan(number) ? QP_HALF_NAN : number & 0xffff;
}
static inline uint32_t min_half(uint32_t x, uint32_t y) { return chosen(x, y, rank(x) < rank(y)); }
static inline uint32_t max_half(uint32_t x, uint32_t y) { return chosen(x, y, rank(x) > rank(y)); }

#define TWO(name)                                                                                  \
  DO32_2(name##_f16, name##_half(a[l], b[l]))                                                      \
  DO32_2(name##_f16x2, name##_half(a[l], b[l]) | name##_half(a[l] >> 16, b[l] >> 16) << 16)
TWO(add)
TWO(sub)
TWO(mul)
TWO(min)
TWO(max)
DO32_3(fma_f16, fma_half(a[l], b[l], c[l]))
DO32_3(fma_f16x2, fma_half(a[l], b[l], c[l]) | fma_half(a[l] >> 16, b[l] >> 16, c[l] >> 16) << 16)

/* 'plain' and 'plain2': for fp16 without modifiers. */
#define ROWS_BY(name, op, one_sig, pair_sig, plain, plain2)                                        \
  {name ".f16", one_sig, plain, do_f16, QP_SIM_HALF, op},                                          \
      {name ".f16x2", pair_sig, plain2, do_f16x2, QP_SIM_HALF, op},                                \
      {name ".bf16", one_sig, do_bf16, do_bf16, QP_SIM_HALF, op}, {                                \
    name ".bf16x2", pair_sig, do_bf16x2, do_bf16x2, QP_SIM_HALF, op                                \
  }
#define ROWS(name, op, one_sig, pair_sig) ROWS_BY(name, op, one_sig, pair_sig, do_f16, do_f16x2)

const qp_sim_row qp_sim_rows_half[] = {
    ROWS_BY("add", ADD, "hhh", "www", add_f16, add_f16x2),
    ROWS_BY("sub", SUB, "hhh", "www", sub_f16, sub_f16x2),
    ROWS_BY("mul", MUL, "hhh", "www", mul_f16, mul_f16x2),
    ROWS_BY("fma", FMA, "hhhh", "wwww", fma_f16, fma_f16x2),
    ROWS_BY("min", MIN, "hhh", "www", min_f16, min_f16x2),
    ROWS_BY("max", MAX, "hhh", "www", max_f16, max_f16x2),
    ROWS("min.NaN", MIN_NAN, "hhh", "www"),
    ROWS("max.NaN", MAX_NAN, "hhh", "www"),
    ROWS("neg", NEG, "hh", "ww"),
    ROWS("abs", ABS, "hh", "ww"),
    ROWS("ex2", EX2, "hh", "ww"),
    ROWS("tanh", TANH, "hh", "ww"),
    {0},
};
