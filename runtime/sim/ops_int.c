/* SPDX-License-Identifier: MIT */
/* Executes integer arithmetic: an instruction is one table row and one loop over lanes. */
#include "runtime/sim/rows.h"

/* Instructions of one to three sources; x, y, z are the sources of lane l. */
#define OP(name, STORE, TYPE, expr1, sources)                                                      \
  static void name(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {                            \
    STORE *d = (STORE *)qp_sim_reg(w, o->r[0]);                                                    \
    sources(STORE) QP_SIM_EACH(mask, d[l] = (STORE)(expr1));                                       \
  }
#define SRC1(STORE) const STORE *a = (const STORE *)qp_sim_reg(w, o->r[1]);
#define SRC2(STORE) SRC1(STORE) const STORE *b = (const STORE *)qp_sim_reg(w, o->r[2]);
#define SRC3(STORE) SRC2(STORE) const STORE *c = (const STORE *)qp_sim_reg(w, o->r[3]);

#define U16_1(name, expr) OP(name, uint32_t, uint16_t, (uint16_t)(expr), SRC1)
#define U16_2(name, expr) OP(name, uint32_t, uint16_t, (uint16_t)(expr), SRC2)
#define U16_3(name, expr) OP(name, uint32_t, uint16_t, (uint16_t)(expr), SRC3)
#define U32_1(name, expr) OP(name, uint32_t, uint32_t, expr, SRC1)
#define U32_2(name, expr) OP(name, uint32_t, uint32_t, expr, SRC2)
#define U32_3(name, expr) OP(name, uint32_t, uint32_t, expr, SRC3)
#define U64_1(name, expr) OP(name, qp_sim_u64, uint64_t, expr, SRC1)
#define U64_2(name, expr) OP(name, qp_sim_u64, uint64_t, expr, SRC2)
#define U64_3(name, expr) OP(name, qp_sim_u64, uint64_t, expr, SRC3)

#define S16(x) ((int16_t)(uint16_t)(x))
#define S32(x) ((int32_t)(x))
#define S64(x) ((int64_t)(x))

static inline uint32_t max_u32(uint32_t x, uint32_t y) { return x > y ? x : y; }
static inline uint32_t min_u32(uint32_t x, uint32_t y) { return x < y ? x : y; }
static inline int32_t max_s32(int32_t x, int32_t y) { return x > y ? x : y; }
static inline int32_t min_s32(int32_t x, int32_t y) { return x < y ? x : y; }
static inline uint64_t max_u64(uint64_t x, uint64_t y) { return x > y ? x : y; }
static inline uint64_t min_u64(uint64_t x, uint64_t y) { return x < y ? x : y; }
static inline int64_t max_s64(int64_t x, int64_t y) { return x > y ? x : y; }
static inline int64_t min_s64(int64_t x, int64_t y) { return x < y ? x : y; }

/* Division by zero gives all ones, as GPUs do; the quotient -2^31 / -1 wraps. */
static inline uint32_t div_u32(uint32_t x, uint32_t y) { return y ? x / y : UINT32_MAX; }
static inline uint32_t rem_u32(uint32_t x, uint32_t y) { return y ? x % y : x; }
static inline int32_t div_s32(int32_t x, int32_t y) {
  return y == 0 ? -1 : (int32_t)(uint32_t)((int64_t)x / y);
}
static inline int32_t rem_s32(int32_t x, int32_t y) {
  return y == 0 ? x : (int32_t)((int64_t)x % y);
}
static inline uint64_t div_u64(uint64_t x, uint64_t y) { return y ? x / y : UINT64_MAX; }
static inline uint64_t rem_u64(uint64_t x, uint64_t y) { return y ? x % y : x; }
static inline int64_t div_s64(int64_t x, int64_t y) {
  if (y == 0) return -1;
  return y == -1 ? (int64_t)(0 - (uint64_t)x) : x / y;
}
static inline int64_t rem_s64(int64_t x, int64_t y) {
  if (y == 0) return x;
  return y == -1 ? 0 : x % y;
}
static inline uint64_t mulhi_u64(uint64_t x, uint64_t y) {
  return (uint64_t)((unsigned __int128)x * y >> 64);
}
static inline uint64_t mulhi_s64(uint64_t x, uint64_t y) {
  return (uint64_t)((__int128)(int64_t)x * (int64_t)y >> 64);
}
static inline uint32_t mulhi_u32(uint32_t x, uint32_t y) {
  return (uint32_t)((uint64_t)x * y >> 32);
}
static inline uint32_t mulhi_s32(uint32_t x, uint32_t y) {
  return (uint32_t)((uint64_t)((int64_t)(int32_t)x * (int32_t)y) >> 32);
}
static inline int32_t clamp_s32(int64_t x) {
  return x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : (int32_t)x;
}
/* Take the low 24 bits, as unsigned and as signed. */
static inline uint32_t u24(uint32_t x) { return x & 0xffffff; }
static inline int64_t s24(uint32_t x) { return (int32_t)(x << 8) >> 8; }

U16_1(neg_s16, 0u - a[l])
U16_1(abs_s16, S16(a[l]) < 0 ? 0u - a[l] : a[l])
U16_2(add_u16, a[l] + b[l])
U16_2(sub_u16, a[l] - b[l])
U16_2(mul_lo_u16, a[l] * b[l])
U16_2(mul_hi_u16, a[l] * b[l] >> 16)
U16_2(mul_hi_s16, (uint32_t)(S16(a[l]) * S16(b[l])) >> 16)
U16_3(mad_lo_u16, a[l] * b[l] + c[l])
U16_2(div_u16, div_u32(a[l], b[l]))
U16_2(rem_u16, rem_u32(a[l], b[l]))
U16_2(div_s16, div_s32(S16(a[l]), S16(b[l])))
U16_2(rem_s16, rem_s32(S16(a[l]), S16(b[l])))
U16_2(min_u16, min_u32(a[l], b[l]))
U16_2(max_u16, max_u32(a[l], b[l]))
U16_2(min_s16, min_s32(S16(a[l]), S16(b[l])))
U16_2(max_s16, max_s32(S16(a[l]), S16(b[l])))
U32_2(mul_wide_u16, a[l] * b[l])
U32_2(mul_wide_s16, S16(a[l]) * S16(b[l]))
U32_3(mad_wide_u16, a[l] * b[l] + c[l])
U32_3(mad_wide_s16, (uint32_t)(S16(a[l]) * S16(b[l])) + c[l])

U32_1(neg_s32, 0u - a[l])
U32_1(abs_s32, S32(a[l]) < 0 ? 0u - a[l] : a[l])
U32_2(add_u32, a[l] + b[l])
U32_2(sub_u32, a[l] - b[l])
U32_2(add_sat_s32, clamp_s32((int64_t)S32(a[l]) + S32(b[l])))
U32_2(sub_sat_s32, clamp_s32((int64_t)S32(a[l]) - S32(b[l])))
U32_2(mul_lo_u32, a[l] * b[l])
U32_2(mul_hi_u32, mulhi_u32(a[l], b[l]))
U32_2(mul_hi_s32, mulhi_s32(a[l], b[l]))
U32_3(mad_lo_u32, a[l] * b[l] + c[l])
U32_3(mad_hi_u32, mulhi_u32(a[l], b[l]) + c[l])
U32_3(mad_hi_s32, mulhi_s32(a[l], b[l]) + c[l])
U32_3(mad_hi_sat_s32, clamp_s32((int64_t)S32(mulhi_s32(a[l], b[l])) + S32(c[l])))
U32_2(mul24_lo_u32, u24(a[l]) * u24(b[l]))
U32_2(mul24_lo_s32, s24(a[l]) * s24(b[l]))
U32_2(mul24_hi_u32, (uint64_t)u24(a[l]) * u24(b[l]) >> 16)
U32_2(mul24_hi_s32, (uint64_t)(s24(a[l]) * s24(b[l])) >> 16)
U32_3(mad24_lo_u32, u24(a[l]) * u24(b[l]) + c[l])
U32_3(mad24_lo_s32, (uint32_t)(s24(a[l]) * s24(b[l])) + c[l])
U32_2(div_u32_, div_u32(a[l], b[l]))
U32_2(rem_u32_, rem_u32(a[l], b[l]))
U32_2(div_s32_, div_s32(S32(a[l]), S32(b[l])))
U32_2(rem_s32_, rem_s32(S32(a[l]), S32(b[l])))
U32_2(min_u32_, min_u32(a[l], b[l]))
U32_2(max_u32_, max_u32(a[l], b[l]))
U32_2(min_s32_, min_s32(S32(a[l]), S32(b[l])))
U32_2(max_s32_, max_s32(S32(a[l]), S32(b[l])))
U32_3(sad_u32, c[l] + (a[l] > b[l] ? a[l] - b[l] : b[l] - a[l]))
U32_3(sad_s32, c[l] + (S32(a[l]) > S32(b[l]) ? a[l] - b[l] : b[l] - a[l]))
U32_2(min_relu_s32, max_s32(0, min_s32(S32(a[l]), S32(b[l]))))
U32_2(max_relu_s32, max_s32(0, max_s32(S32(a[l]), S32(b[l]))))
#define LOW(a)  ((a)&0xffff)
#define HIGH(a) ((a) >> 16)
#define PAIR(of, kind)                                                                             \
  (LOW(of(kind(LOW(a[l])), kind(LOW(b[l])))) | (uint32_t)of(kind(HIGH(a[l])), kind(HIGH(b[l])))    \
                                                   << 16)
U32_2(min_u16x2, PAIR(min_u32, ))
U32_2(max_u16x2, PAIR(max_u32, ))
U32_2(min_s16x2, PAIR(min_s32, S16))
U32_2(max_s16x2, PAIR(max_s32, S16))
U32_2(add_u16x2, ((a[l] + b[l]) & 0xffff) | (((a[l] >> 16) + (b[l] >> 16)) << 16))

U64_1(neg_s64, 0u - a[l])
U64_1(abs_s64, S64(a[l]) < 0 ? 0u - a[l] : a[l])
U64_2(add_u64, a[l] + b[l])
U64_2(sub_u64, a[l] - b[l])
U64_2(mul_lo_u64, a[l] * b[l])
U64_2(mul_hi_u64, mulhi_u64(a[l], b[l]))
U64_2(mul_hi_s64, mulhi_s64(a[l], b[l]))
U64_3(mad_lo_u64, a[l] * b[l] + c[l])
U64_3(mad_hi_u64, mulhi_u64(a[l], b[l]) + c[l])
U64_3(mad_hi_s64, mulhi_s64(a[l], b[l]) + c[l])
U64_2(div_u64_, div_u64(a[l], b[l]))
U64_2(rem_u64_, rem_u64(a[l], b[l]))
U64_2(div_s64_, div_s64(S64(a[l]), S64(b[l])))
U64_2(rem_s64_, rem_s64(S64(a[l]), S64(b[l])))
U64_2(min_u64_, min_u64(a[l], b[l]))
U64_2(max_u64_, max_u64(a[l], b[l]))
U64_2(min_s64_, min_s64(S64(a[l]), S64(b[l])))
U64_2(max_s64_, max_s64(S64(a[l]), S64(b[l])))

/*
** 32 x 32 -> 64 bits.  The destination may share words with a source only if it is the same
** register, which sizes forbid, so the loops are free of overlap.
*/
#define WIDE(name, expr, EXTRA)                                                                    \
  static void name(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {                            \
    qp_sim_u64 *d = (qp_sim_u64 *)qp_sim_reg(w, o->r[0]);                                          \
    const uint32_t *a = qp_sim_reg(w, o->r[1]), *b = qp_sim_reg(w, o->r[2]);                       \
    EXTRA QP_SIM_EACH(mask, d[l] = (uint64_t)(expr));                                              \
  }
#define WIDE_C const qp_sim_u64 *c = (const qp_sim_u64 *)qp_sim_reg(w, o->r[3]);
WIDE(mul_wide_u32, (uint64_t)a[l] * b[l], )
WIDE(mul_wide_s32, (int64_t)S32(a[l]) * S32(b[l]), )
WIDE(mad_wide_u32, (uint64_t)a[l] * b[l] + c[l], WIDE_C)
WIDE(mad_wide_s32, (uint64_t)((int64_t)S32(a[l]) * S32(b[l])) + c[l], WIDE_C)

/*
** Carry chains: 'in' uses CC.CF, 'out' sets it.  For sub, CC.CF holds the borrow.  'wide' is the
** sum or difference in more bits than the type has.
*/
#define CARRY(name, STORE, WIDER, bits, wide, in, out, SRC)                                        \
  static void name(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {                            \
    STORE *d = (STORE *)qp_sim_reg(w, o->r[0]);                                                    \
    SRC(STORE) QP_SIM_LOOP(mask, l) {                                                              \
      const WIDER cf = (in) ? (WIDER)(w->carry >> l & 1) : 0;                                      \
      const WIDER v = (wide);                                                                      \
      d[l] = (STORE)v;                                                                             \
      if (out) w->carry = (w->carry & ~(1u << l)) | (uint32_t)(v >> bits & 1) << l;                \
    }                                                                                              \
  }
typedef unsigned __int128 u128;
#define CARRIES(t, STORE, WIDER, bits)                                                             \
  CARRY(add_cc_##t, STORE, WIDER, bits, (WIDER)a[l] + b[l] + cf, 0, 1, SRC2)                       \
  CARRY(addc_##t, STORE, WIDER, bits, (WIDER)a[l] + b[l] + cf, 1, 0, SRC2)                         \
  CARRY(addc_cc_##t, STORE, WIDER, bits, (WIDER)a[l] + b[l] + cf, 1, 1, SRC2)                      \
  CARRY(sub_cc_##t, STORE, WIDER, bits, (WIDER)a[l] - b[l] - cf, 0, 1, SRC2)                       \
  CARRY(subc_##t, STORE, WIDER, bits, (WIDER)a[l] - b[l] - cf, 1, 0, SRC2)                         \
  CARRY(subc_cc_##t, STORE, WIDER, bits, (WIDER)a[l] - b[l] - cf, 1, 1, SRC2)
CARRIES(u32, uint32_t, uint64_t, 32)
CARRIES(u64, qp_sim_u64, u128, 64)
#define MADS(t, STORE, WIDER, bits, part, product)                                                 \
  CARRY(mad_##part##_cc_##t, STORE, WIDER, bits, (WIDER)(product) + c[l] + cf, 0, 1, SRC3)         \
  CARRY(madc_##part##_##t, STORE, WIDER, bits, (WIDER)(product) + c[l] + cf, 1, 0, SRC3)           \
  CARRY(madc_##part##_cc_##t, STORE, WIDER, bits, (WIDER)(product) + c[l] + cf, 1, 1, SRC3)
MADS(u32, uint32_t, uint64_t, 32, lo, (uint32_t)(a[l] * b[l]))
MADS(u32, uint32_t, uint64_t, 32, hi, mulhi_u32(a[l], b[l]))
MADS(s32, uint32_t, uint64_t, 32, hi, mulhi_s32(a[l], b[l]))
MADS(u64, qp_sim_u64, u128, 64, lo, (uint64_t)(a[l] * b[l]))
MADS(u64, qp_sim_u64, u128, 64, hi, mulhi_u64(a[l], b[l]))
MADS(s64, qp_sim_u64, u128, 64, hi, mulhi_s64(a[l], b[l]))

/* Compute dot products of bytes (dp4a) and of 16-bit halves with bytes (dp2a). */
static inline int32_t byte_of(uint32_t x, unsigned i, bool is_signed) {
  const uint32_t v = x >> (8 * i) & 0xff;
  return is_signed ? (int8_t)v : (int32_t)v;
}
static inline int32_t half_of(uint32_t x, unsigned i, bool is_signed) {
  const uint32_t v = x >> (16 * i) & 0xffff;
  return is_signed ? (int16_t)v : (int32_t)v;
}
/* sub: bit 0 the first is signed, bit 1 the second, bit 2 the upper bytes (dp2a.hi). */
static void dp4a(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  uint32_t *d = qp_sim_reg(w, o->r[0]);
  const uint32_t *a = qp_sim_reg(w, o->r[1]), *b = qp_sim_reg(w, o->r[2]);
  const uint32_t *c = qp_sim_reg(w, o->r[3]);
  const bool sa = o->sub & 1, sb = o->sub & 2;
  QP_SIM_LOOP(mask, l) {
    uint32_t sum = c[l];
    for (unsigned i = 0; i < 4; i++) sum += (uint32_t)(byte_of(a[l], i, sa) * byte_of(b[l], i, sb));
    d[l] = sum;
  }
}
static void dp2a(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  uint32_t *d = qp_sim_reg(w, o->r[0]);
  const uint32_t *a = qp_sim_reg(w, o->r[1]), *b = qp_sim_reg(w, o->r[2]);
  const uint32_t *c = qp_sim_reg(w, o->r[3]);
  const bool sa = o->sub & 1, sb = o->sub & 2;
  const unsigned first = o->sub & 4 ? 2 : 0;
  QP_SIM_LOOP(mask, l) {
    uint32_t sum = c[l];
    for (unsigned i = 0; i < 2; i++)
      sum += (uint32_t)(half_of(a[l], i, sa) * byte_of(b[l], first + i, sb));
    d[l] = sum;
  }
}

#define ALU QP_SIM_INT_ALU
#define MUL QP_SIM_INT_MUL
/* These ops do the same for signed and unsigned numbers. */
#define BOTH(op, t, sig, fn, kind)                                                                 \
  {op ".u" #t, sig, fn, NULL, kind, 0}, { op ".s" #t, sig, fn, NULL, kind, 0 }
#define SIGNED(op, t, sig, id, kind)                                                               \
  {op ".u" #t, sig, id##_u##t, NULL, kind, 0}, { op ".s" #t, sig, id##_s##t, NULL, kind, 0 }
#define SIGNED_(op, t, sig, id, kind)                                                              \
  {op ".u" #t, sig, id##_u##t##_, NULL, kind, 0}, { op ".s" #t, sig, id##_s##t##_, NULL, kind, 0 }
#define CARRY_ROWS(t, s)                                                                           \
  BOTH("add.cc", t, s s s, add_cc_u##t, ALU), BOTH("addc", t, s s s, addc_u##t, ALU),              \
      BOTH("addc.cc", t, s s s, addc_cc_u##t, ALU), BOTH("sub.cc", t, s s s, sub_cc_u##t, ALU),    \
      BOTH("subc", t, s s s, subc_u##t, ALU), BOTH("subc.cc", t, s s s, subc_cc_u##t, ALU),        \
      BOTH("mad.lo.cc", t, s s s s, mad_lo_cc_u##t, MUL),                                          \
      BOTH("madc.lo", t, s s s s, madc_lo_u##t, MUL),                                              \
      BOTH("madc.lo.cc", t, s s s s, madc_lo_cc_u##t, MUL),                                        \
      SIGNED("mad.hi.cc", t, s s s s, mad_hi_cc, MUL),                                             \
      SIGNED("madc.hi", t, s s s s, madc_hi, MUL),                                                 \
      SIGNED("madc.hi.cc", t, s s s s, madc_hi_cc, MUL)

const qp_sim_row qp_sim_rows_int[] = {
    {"neg.s16", "hh", neg_s16, NULL, ALU, 0},
    {"neg.s32", "ww", neg_s32, NULL, ALU, 0},
    {"neg.s64", "dd", neg_s64, NULL, ALU, 0},
    {"abs.s16", "hh", abs_s16, NULL, ALU, 0},
    {"abs.s32", "ww", abs_s32, NULL, ALU, 0},
    {"abs.s64", "dd", abs_s64, NULL, ALU, 0},
    BOTH("add", 16, "hhh", add_u16, ALU),
    BOTH("sub", 16, "hhh", sub_u16, ALU),
    BOTH("mul.lo", 16, "hhh", mul_lo_u16, MUL),
    BOTH("mad.lo", 16, "hhhh", mad_lo_u16, MUL),
    SIGNED("mul.hi", 16, "hhh", mul_hi, MUL),
    SIGNED("mul.wide", 16, "whh", mul_wide, MUL),
    SIGNED("mad.wide", 16, "whhw", mad_wide, MUL),
    SIGNED("div", 16, "hhh", div, MUL),
    SIGNED("rem", 16, "hhh", rem, MUL),
    SIGNED("min", 16, "hhh", min, ALU),
    SIGNED("max", 16, "hhh", max, ALU),
    {"add.u32", "www", add_u32, NULL, ALU, 0},
    {"add.s32", "www", add_u32, add_sat_s32, ALU, 0},
    {"sub.u32", "www", sub_u32, NULL, ALU, 0},
    {"sub.s32", "www", sub_u32, sub_sat_s32, ALU, 0},
    BOTH("mul.lo", 32, "www", mul_lo_u32, MUL),
    BOTH("mad.lo", 32, "wwww", mad_lo_u32, MUL),
    SIGNED("mul.hi", 32, "www", mul_hi, MUL),
    {"mad.hi.u32", "wwww", mad_hi_u32, NULL, MUL, 0},
    {"mad.hi.s32", "wwww", mad_hi_s32, mad_hi_sat_s32, MUL, 0},
    SIGNED("mul.wide", 32, "dww", mul_wide, MUL),
    SIGNED("mad.wide", 32, "dwwd", mad_wide, MUL),
    SIGNED("mul24.lo", 32, "www", mul24_lo, MUL),
    SIGNED("mul24.hi", 32, "www", mul24_hi, MUL),
    SIGNED("mad24.lo", 32, "wwww", mad24_lo, MUL),
    SIGNED_("div", 32, "www", div, MUL),
    SIGNED_("rem", 32, "www", rem, MUL),
    {"min.u32", "www", min_u32_, NULL, ALU, 0},
    {"max.u32", "www", max_u32_, NULL, ALU, 0},
    {"min.s32", "www", min_s32_, min_relu_s32, ALU, 0},
    {"max.s32", "www", max_s32_, max_relu_s32, ALU, 0},
    SIGNED("sad", 32, "wwww", sad, ALU),
    {"add.u16x2", "www", add_u16x2, NULL, ALU, 0},
    {"add.s16x2", "www", add_u16x2, NULL, ALU, 0},
    {"min.u16x2", "www", min_u16x2, NULL, ALU, 0},
    {"max.u16x2", "www", max_u16x2, NULL, ALU, 0},
    {"min.s16x2", "www", min_s16x2, NULL, ALU, 0},
    {"max.s16x2", "www", max_s16x2, NULL, ALU, 0},
    BOTH("add", 64, "ddd", add_u64, ALU),
    BOTH("sub", 64, "ddd", sub_u64, ALU),
    BOTH("mul.lo", 64, "ddd", mul_lo_u64, MUL),
    BOTH("mad.lo", 64, "dddd", mad_lo_u64, MUL),
    SIGNED("mul.hi", 64, "ddd", mul_hi, MUL),
    SIGNED("mad.hi", 64, "dddd", mad_hi, MUL),
    SIGNED_("div", 64, "ddd", div, MUL),
    SIGNED_("rem", 64, "ddd", rem, MUL),
    SIGNED_("min", 64, "ddd", min, ALU),
    SIGNED_("max", 64, "ddd", max, ALU),
    CARRY_ROWS(32, "w"),
    CARRY_ROWS(64, "d"),
    {"dp4a.u32.u32", "wwww", dp4a, NULL, MUL, 0},
    {"dp4a.s32.u32", "wwww", dp4a, NULL, MUL, 1},
    {"dp4a.u32.s32", "wwww", dp4a, NULL, MUL, 2},
    {"dp4a.s32.s32", "wwww", dp4a, NULL, MUL, 3},
    {"dp2a.lo.u32.u32", "wwww", dp2a, NULL, MUL, 0},
    {"dp2a.lo.s32.u32", "wwww", dp2a, NULL, MUL, 1},
    {"dp2a.lo.u32.s32", "wwww", dp2a, NULL, MUL, 2},
    {"dp2a.lo.s32.s32", "wwww", dp2a, NULL, MUL, 3},
    {"dp2a.hi.u32.u32", "wwww", dp2a, NULL, MUL, 4},
    {"dp2a.hi.s32.u32", "wwww", dp2a, NULL, MUL, 5},
    {"dp2a.hi.u32.s32", "wwww", dp2a, NULL, MUL, 6},
    {"dp2a.hi.s32.s32", "wwww", dp2a, NULL, MUL, 7},
    {0},
};
