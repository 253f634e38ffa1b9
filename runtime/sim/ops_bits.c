/* SPDX-License-Identifier: MIT */
/* Logic, shifts, bit fields, selection, comparison of integers, moves, special registers. */
#include "rows.h"

#define REG32(name, i) uint32_t *name = qp_sim_reg(w, o->r[i])
#define REG64(name, i) qp_sim_u64 *name = (qp_sim_u64 *)qp_sim_reg(w, o->r[i])
#define HANDLER(name)  static void name(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask)
#define DO32_1(name, expr)                                                                         \
  HANDLER(name) {                                                                                  \
    REG32(d, 0);                                                                                   \
    REG32(a, 1);                                                                                   \
    QP_SIM_EACH(mask, d[l] = (uint32_t)(expr));                                                    \
  }
#define DO32_2(name, expr)                                                                         \
  HANDLER(name) {                                                                                  \
    REG32(d, 0);                                                                                   \
    REG32(a, 1);                                                                                   \
    REG32(b, 2);                                                                                   \
    QP_SIM_EACH(mask, d[l] = (uint32_t)(expr));                                                    \
  }
#define DO32_3(name, expr)                                                                         \
  HANDLER(name) {                                                                                  \
    REG32(d, 0);                                                                                   \
    REG32(a, 1);                                                                                   \
    REG32(b, 2);                                                                                   \
    REG32(c, 3);                                                                                   \
    QP_SIM_EACH(mask, d[l] = (uint32_t)(expr));                                                    \
  }
#define DO64_1(name, expr)                                                                         \
  HANDLER(name) {                                                                                  \
    REG64(d, 0);                                                                                   \
    REG64(a, 1);                                                                                   \
    QP_SIM_EACH(mask, d[l] = (uint64_t)(expr));                                                    \
  }
#define DO64_2(name, expr)                                                                         \
  HANDLER(name) {                                                                                  \
    REG64(d, 0);                                                                                   \
    REG64(a, 1);                                                                                   \
    REG64(b, 2);                                                                                   \
    QP_SIM_EACH(mask, d[l] = (uint64_t)(expr));                                                    \
  }
/* 64-bit value, 32-bit amount */
#define DO64_W(name, expr)                                                                         \
  HANDLER(name) {                                                                                  \
    REG64(d, 0);                                                                                   \
    REG64(a, 1);                                                                                   \
    REG32(b, 2);                                                                                   \
    QP_SIM_EACH(mask, d[l] = (uint64_t)(expr));                                                    \
  }

static inline uint32_t shl32(uint32_t x, uint32_t n) { return n > 31 ? 0 : x << n; }
static inline uint32_t shr32(uint32_t x, uint32_t n) { return n > 31 ? 0 : x >> n; }
static inline uint32_t sar32(uint32_t x, uint32_t n) {
  return (uint32_t)((int32_t)x >> (n > 31 ? 31 : n));
}
static inline uint64_t shl64(uint64_t x, uint32_t n) { return n > 63 ? 0 : x << n; }
static inline uint64_t shr64(uint64_t x, uint32_t n) { return n > 63 ? 0 : x >> n; }
static inline uint64_t sar64(uint64_t x, uint32_t n) {
  return (uint64_t)((int64_t)x >> (n > 63 ? 63 : n));
}
/* The funnel shift reads hi:lo. */
static inline uint32_t funnel_l(uint32_t lo, uint32_t hi, uint32_t n) {
  return (uint32_t)(((uint64_t)hi << 32 | lo) << n >> 32);
}
static inline uint32_t funnel_r(uint32_t lo, uint32_t hi, uint32_t n) {
  return (uint32_t)(((uint64_t)hi << 32 | lo) >> n);
}
static inline uint32_t clamp32(uint32_t n) { return n > 32 ? 32 : n; }

DO32_2(and_b32, a[l] & b[l])
DO32_2(or_b32, a[l] | b[l])
DO32_2(xor_b32, a[l] ^ b[l])
DO32_1(not_b32, ~a[l])
DO32_1(not_b16, (uint16_t)~a[l])
DO32_1(cnot_b32, a[l] == 0)
DO64_2(and_b64, a[l] & b[l])
DO64_2(or_b64, a[l] | b[l])
DO64_2(xor_b64, a[l] ^ b[l])
DO64_1(not_b64, ~a[l])
DO64_1(cnot_b64, a[l] == 0)
DO32_2(shl_b16, (uint16_t)shl32(a[l], b[l]))
DO32_2(shr_u16, shr32(a[l], b[l]))
DO32_2(shr_s16, (uint16_t)sar32((uint32_t)(int16_t)(uint16_t)a[l], b[l]))
DO32_2(shl_b32, shl32(a[l], b[l]))
DO32_2(shr_u32, shr32(a[l], b[l]))
DO32_2(shr_s32, sar32(a[l], b[l]))
DO64_W(shl_b64, shl64(a[l], b[l]))
DO64_W(shr_u64, shr64(a[l], b[l]))
DO64_W(shr_s64, sar64(a[l], b[l]))
DO32_3(shf_l_wrap, funnel_l(a[l], b[l], c[l] & 31))
DO32_3(shf_r_wrap, funnel_r(a[l], b[l], c[l] & 31))
DO32_3(shf_l_clamp, funnel_l(a[l], b[l], clamp32(c[l])))
DO32_3(shf_r_clamp, funnel_r(a[l], b[l], clamp32(c[l])))

static inline uint32_t clz32(uint32_t x) { return x ? (uint32_t)__builtin_clz(x) : 32; }
static inline uint32_t clz64(uint64_t x) { return x ? (uint32_t)__builtin_clzll(x) : 64; }
static inline uint32_t reverse32(uint32_t x) {
  x = __builtin_bswap32(x);
  x = (x & 0x0f0f0f0f) << 4 | (x >> 4 & 0x0f0f0f0f);
  x = (x & 0x33333333) << 2 | (x >> 2 & 0x33333333);
  return (x & 0x55555555) << 1 | (x >> 1 & 0x55555555);
}
static inline uint64_t reverse64(uint64_t x) {
  return (uint64_t)reverse32((uint32_t)x) << 32 | reverse32((uint32_t)(x >> 32));
}
/* Highest bit that differs from the sign; -1 if there is none. */
static inline uint32_t find_u32(uint32_t x) { return 31 - clz32(x); }
static inline uint32_t find_u64(uint64_t x) { return 63 - clz64(x); }
static inline uint32_t find_s32(uint32_t x) { return find_u32(x ^ sar32(x, 31)); }
static inline uint32_t find_s64(uint64_t x) { return find_u64(x ^ sar64(x, 63)); }
/* The position as the left shift that would bring it to the top. */
static inline uint32_t as_shift(uint32_t bit, uint32_t top) {
  return bit == UINT32_MAX ? bit : top - bit;
}
/* Bit field of 'len' bits at 'pos'; both are taken modulo 256.  Beyond the top, a signed field is
   filled with the value's sign. */
static inline uint32_t bfe_u32_of(uint32_t x, uint32_t pos, uint32_t len) {
  pos &= 0xff;
  len &= 0xff;
  const uint32_t v = shr32(x, pos);
  return len > 31 ? v : v & ((1u << len) - 1);
}
static inline uint64_t bfe_u64_of(uint64_t x, uint32_t pos, uint32_t len) {
  pos &= 0xff;
  len &= 0xff;
  const uint64_t v = shr64(x, pos);
  return len > 63 ? v : v & ((UINT64_C(1) << len) - 1);
}
static inline uint32_t bfe_s32_of(uint32_t x, uint32_t pos, uint32_t len) {
  pos &= 0xff;
  len &= 0xff;
  if (len == 0) return 0;
  const uint32_t v = sar32(x, pos);
  return len > 31 ? v : sar32(v << (32 - len), 32 - len);
}
static inline uint64_t bfe_s64_of(uint64_t x, uint32_t pos, uint32_t len) {
  pos &= 0xff;
  len &= 0xff;
  if (len == 0) return 0;
  const uint64_t v = sar64(x, pos);
  return len > 63 ? v : sar64(v << (64 - len), 64 - len);
}
static inline uint64_t bfi_of(uint64_t x, uint64_t y, uint32_t pos, uint32_t len) {
  pos &= 0xff;
  len &= 0xff;
  if (pos > 63 || len == 0) return y;
  const uint64_t field = (len > 63 ? UINT64_MAX : (UINT64_C(1) << len) - 1) << pos;
  return (y & ~field) | ((x << pos) & field);
}
static inline uint32_t bmsk_of(uint32_t pos, uint32_t len, bool wrap) {
  if (wrap) {
    pos &= 31;
    len &= 31;
  }
  return shl32(len > 31 ? UINT32_MAX : (1u << len) - 1, pos);
}
/* Sign- or zero-extend from n bits. */
static inline uint32_t szext_of(uint32_t x, uint32_t n, bool is_signed) {
  if (n > 31) return x;
  if (n == 0) return 0;
  const uint32_t up = x << (32 - n);
  return is_signed ? sar32(up, 32 - n) : up >> (32 - n);
}

DO32_1(clz_b32, clz32(a[l]))
DO32_1(popc_b32, __builtin_popcount(a[l]))
DO32_1(brev_b32, reverse32(a[l]))
DO64_1(brev_b64, reverse64(a[l]))
DO32_1(bfind_u32, find_u32(a[l]))
DO32_1(bfind_s32, find_s32(a[l]))
DO32_1(bfind_shift_u32, as_shift(find_u32(a[l]), 31))
DO32_1(bfind_shift_s32, as_shift(find_s32(a[l]), 31))
#define DO_64_TO_32(name, expr)                                                                    \
  HANDLER(name) {                                                                                  \
    REG32(d, 0);                                                                                   \
    REG64(a, 1);                                                                                   \
    QP_SIM_LOOP(mask, l) d[l] = (uint32_t)(expr);                                                  \
  }
DO_64_TO_32(clz_b64, clz64(a[l]))
DO_64_TO_32(popc_b64, __builtin_popcountll(a[l]))
DO_64_TO_32(bfind_u64, find_u64(a[l]))
DO_64_TO_32(bfind_s64, find_s64(a[l]))
DO_64_TO_32(bfind_shift_u64, as_shift(find_u64(a[l]), 63))
DO_64_TO_32(bfind_shift_s64, as_shift(find_s64(a[l]), 63))
DO32_3(bfe_u32, bfe_u32_of(a[l], b[l], c[l]))
DO32_3(bfe_s32, bfe_s32_of(a[l], b[l], c[l]))
HANDLER(bfe_u64) {
  REG64(d, 0);
  REG64(a, 1);
  REG32(b, 2);
  REG32(c, 3);
  QP_SIM_LOOP(mask, l) d[l] = bfe_u64_of(a[l], b[l], c[l]);
}
HANDLER(bfe_s64) {
  REG64(d, 0);
  REG64(a, 1);
  REG32(b, 2);
  REG32(c, 3);
  QP_SIM_LOOP(mask, l) d[l] = bfe_s64_of(a[l], b[l], c[l]);
}
HANDLER(bfi_b32) {
  REG32(d, 0);
  REG32(a, 1);
  REG32(b, 2);
  REG32(c, 3);
  REG32(n, 4);
  QP_SIM_EACH(mask, d[l] = (uint32_t)bfi_of(a[l], b[l], c[l], n[l]));
}
HANDLER(bfi_b64) {
  REG64(d, 0);
  REG64(a, 1);
  REG64(b, 2);
  REG32(c, 3);
  REG32(n, 4);
  QP_SIM_LOOP(mask, l) d[l] = bfi_of(a[l], b[l], c[l], n[l]);
}
DO32_2(bmsk_clamp, bmsk_of(a[l], b[l], false))
DO32_2(bmsk_wrap, bmsk_of(a[l], b[l], true))
DO32_2(szext_u32, szext_of(a[l], b[l], false))
DO32_2(szext_s32, szext_of(a[l], b[l], true))

/* Any function of three bits, as a choice between its minterms. */
static inline uint32_t lop3_of(uint32_t x, uint32_t y, uint32_t z, const uint32_t *t) {
  const uint32_t low = (~y & ((~z & t[0]) | (z & t[1]))) | (y & ((~z & t[2]) | (z & t[3])));
  const uint32_t high = (~y & ((~z & t[4]) | (z & t[5]))) | (y & ((~z & t[6]) | (z & t[7])));
  return (~x & low) | (x & high);
}
HANDLER(lop3) {
  REG32(d, 0);
  REG32(a, 1);
  REG32(b, 2);
  REG32(c, 3);
  uint32_t t[8];
  for (unsigned i = 0; i < 8; i++) t[i] = o->imm >> i & 1 ? UINT32_MAX : 0;
  QP_SIM_EACH(mask, d[l] = lop3_of(a[l], b[l], c[l], t));
}

/* Byte permutation.  Selector nibble: byte of b:a, bit 3 replicates that byte's sign. */
static inline uint32_t prmt_of(uint32_t x, uint32_t y, uint32_t sel) {
  const uint64_t both = (uint64_t)y << 32 | x;
  uint32_t v = 0;
  for (unsigned i = 0; i < 4; i++) {
    const uint32_t s = sel >> (4 * i);
    uint32_t byte = (uint32_t)(both >> (8 * (s & 7))) & 0xff;
    if (s & 8) byte = byte & 0x80 ? 0xff : 0;
    v |= byte << (8 * i);
  }
  return v;
}
DO32_3(prmt_b32, prmt_of(a[l], b[l], c[l]))
/* The named modes, as selectors for each value of the low two bits of c (PTX ISA, prmt). */
HANDLER(prmt_mode) {
  static const uint16_t selector[6][4] = {
      {0x3210, 0x4321, 0x5432, 0x6543}, /* f4e */
      {0x5670, 0x6701, 0x7012, 0x0123}, /* b4e */
      {0x0000, 0x1111, 0x2222, 0x3333}, /* rc8 */
      {0x3210, 0x3211, 0x3222, 0x3333}, /* ecl */
      {0x0000, 0x1110, 0x2210, 0x3210}, /* ecr */
      {0x1010, 0x3232, 0x1010, 0x3232}, /* rc16 */
  };
  REG32(d, 0);
  REG32(a, 1);
  REG32(b, 2);
  REG32(c, 3);
  QP_SIM_LOOP(mask, l) d[l] = prmt_of(a[l], b[l], selector[o->sub][c[l] & 3]);
}

/* ---- selection and comparison ---- */

HANDLER(selp_32) {
  REG32(d, 0);
  REG32(a, 1);
  REG32(b, 2);
  const uint32_t p = qp_sim_pred(w, o->r[3]);
  QP_SIM_EACH(mask, d[l] = p >> l & 1 ? a[l] : b[l]);
}
HANDLER(selp_64) {
  REG64(d, 0);
  REG64(a, 1);
  REG64(b, 2);
  const uint32_t p = qp_sim_pred(w, o->r[3]);
  QP_SIM_EACH(mask, d[l] = p >> l & 1 ? a[l] : b[l]);
}
DO32_3(slct_32, (int32_t)c[l] >= 0 ? a[l] : b[l])
HANDLER(slct_64) {
  REG64(d, 0);
  REG64(a, 1);
  REG64(b, 2);
  REG32(c, 3);
  QP_SIM_LOOP(mask, l) d[l] = (int32_t)c[l] >= 0 ? a[l] : b[l];
}
HANDLER(slct_32_f) {
  REG32(d, 0);
  REG32(a, 1);
  REG32(b, 2);
  const qp_sim_f32 *c = (const qp_sim_f32 *)qp_sim_reg(w, o->r[3]);
  QP_SIM_LOOP(mask, l) d[l] = c[l] >= 0 ? a[l] : b[l];
}
HANDLER(and_pred) {
  qp_sim_set_pred(w, o->r[0], mask, qp_sim_pred(w, o->r[1]) & qp_sim_pred(w, o->r[2]));
}
HANDLER(or_pred) {
  qp_sim_set_pred(w, o->r[0], mask, qp_sim_pred(w, o->r[1]) | qp_sim_pred(w, o->r[2]));
}
HANDLER(xor_pred) {
  qp_sim_set_pred(w, o->r[0], mask, qp_sim_pred(w, o->r[1]) ^ qp_sim_pred(w, o->r[2]));
}
HANDLER(not_pred) { qp_sim_set_pred(w, o->r[0], mask, ~qp_sim_pred(w, o->r[1])); }
HANDLER(mov_pred) { qp_sim_set_pred(w, o->r[0], mask, qp_sim_pred(w, o->r[1])); }
DO32_1(mov_32, a[l])
DO64_1(mov_64, a[l])

void qp_sim_do_mov_pred_const(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  qp_sim_set_pred(w, o->r[0], mask, o->imm ? UINT32_MAX : 0);
}

void qp_sim_do_mov_local(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  if (o->type == QP_SIM_U64) {
    REG64(d, 0);
    QP_SIM_EACH(mask, d[l] = (uint64_t)o->imm);
  } else {
    REG32(d, 0);
    QP_SIM_EACH(mask, d[l] = (uint32_t)o->imm);
  }
}

/* Parts are in the ext list; type is that of the whole, type2 that of a part. */
void qp_sim_do_pack(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  const int32_t *parts = qp_sim_ext(w, o);
  const unsigned bits = (o->type == QP_SIM_B64 ? 64u : 32u) / o->n;
  for (unsigned i = 0; i < o->n; i++) {
    REG32(d, 0);
    const uint32_t *a = qp_sim_reg(w, parts[i]);
    const uint64_t field = (bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1);
    QP_SIM_LOOP(mask, l) {
      const uint64_t part = (a[l] & field) << (bits * i);
      if (o->type == QP_SIM_B64) {
        qp_sim_u64 *d64 = (qp_sim_u64 *)d;
        w->wide[l] = i ? w->wide[l] | part : part;
        if (i + 1u == o->n) d64[l] = w->wide[l];
      } else {
        w->wide[l] = i ? w->wide[l] | part : part;
        if (i + 1u == o->n) d[l] = (uint32_t)w->wide[l];
      }
    }
  }
}

void qp_sim_do_unpack(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  const int32_t *parts = qp_sim_ext(w, o);
  const bool wide = o->type == QP_SIM_B64;
  const unsigned bits = (wide ? 64u : 32u) / o->n;
  const uint64_t field = (UINT64_C(1) << bits) - 1;
  REG32(a, 0);
  const qp_sim_u64 *a64 = (const qp_sim_u64 *)a;
  QP_SIM_LOOP(mask, l) w->wide[l] = wide ? a64[l] : a[l];
  for (unsigned i = 0; i < o->n; i++) {
    uint32_t *d = qp_sim_reg(w, parts[i]);
    QP_SIM_EACH(mask, d[l] = (uint32_t)(w->wide[l] >> (bits * i) & field));
  }
}

#define COMPARE(x, y)                                                                              \
  switch (o->sub) {                                                                                \
  case QP_SIM_EQ: TEST(x == y)                                                                     \
  case QP_SIM_NE: TEST(x != y)                                                                     \
  case QP_SIM_LT: TEST(x < y)                                                                      \
  case QP_SIM_LE: TEST(x <= y)                                                                     \
  case QP_SIM_GT: TEST(x > y)                                                                      \
  default: TEST(x >= y)                                                                            \
  }
#define TEST(expr)                                                                                 \
  QP_SIM_LOOP(mask, l) bits |= (uint32_t)(expr) << l;                                              \
  break;
#define COMPARE_TYPE(name, STORE, T)                                                               \
  static uint32_t compare_##name(const qp_sim_warp *w, const qp_sim_op *o, uint32_t mask,          \
                                 int32_t ra, int32_t rb) {                                         \
    const STORE *a = (const STORE *)qp_sim_reg(w, ra), *b = (const STORE *)qp_sim_reg(w, rb);      \
    uint32_t bits = 0;                                                                             \
    COMPARE((T)a[l], (T)b[l])                                                                      \
    return bits;                                                                                   \
  }
COMPARE_TYPE(u16, uint32_t, uint16_t)
COMPARE_TYPE(s16, uint32_t, int16_t)
COMPARE_TYPE(u32, uint32_t, uint32_t)
COMPARE_TYPE(s32, qp_sim_s32, int32_t)
COMPARE_TYPE(u64, qp_sim_u64, uint64_t)
COMPARE_TYPE(s64, qp_sim_s64, int64_t)

uint32_t qp_sim_combine(const qp_sim_warp *w, const qp_sim_op *o, int32_t pred, uint32_t bits) {
  switch (o->sub2) {
  case QP_SIM_COMBINE_AND: return bits & qp_sim_pred(w, pred);
  case QP_SIM_COMBINE_OR: return bits | qp_sim_pred(w, pred);
  case QP_SIM_COMBINE_XOR: return bits ^ qp_sim_pred(w, pred);
  default: return bits;
  }
}

/* r: p, a, b, combine, q (0: none) */
void qp_sim_setp_result(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask, uint32_t bits) {
  const uint32_t p = qp_sim_combine(w, o, o->r[3], bits);
  const uint32_t q = qp_sim_combine(w, o, o->r[3], ~bits);
  qp_sim_set_pred(w, o->r[0], mask, p);
  if (o->r[4]) qp_sim_set_pred(w, o->r[4], mask, q);
}

/* type: that of the result, u32, s32 or f32 (1.0) */
void qp_sim_set_result(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask, uint32_t bits) {
  const uint32_t p = qp_sim_combine(w, o, o->r[3], bits);
  const uint32_t yes = o->type == QP_SIM_F32 ? 0x3f800000 : UINT32_MAX;
  REG32(d, 0);
  QP_SIM_EACH(mask, d[l] = p >> l & 1 ? yes : 0);
}

#define SETP(name)                                                                                 \
  HANDLER(setp_##name) {                                                                           \
    qp_sim_setp_result(w, o, mask, compare_##name(w, o, mask, o->r[1], o->r[2]));                  \
  }                                                                                                \
  HANDLER(set_##name) {                                                                            \
    qp_sim_set_result(w, o, mask, compare_##name(w, o, mask, o->r[1], o->r[2]));                   \
  }
SETP(u16)
SETP(s16)
SETP(u32)
SETP(s32)
SETP(u64)
SETP(s64)

qp_sim_fn qp_sim_setp_int_fn(unsigned type, bool set) {
  switch (type) {
  case QP_SIM_U16:
  case QP_SIM_B16: return set ? set_u16 : setp_u16;
  case QP_SIM_S16: return set ? set_s16 : setp_s16;
  case QP_SIM_U32:
  case QP_SIM_B32: return set ? set_u32 : setp_u32;
  case QP_SIM_S32: return set ? set_s32 : setp_s32;
  case QP_SIM_U64:
  case QP_SIM_B64: return set ? set_u64 : setp_u64;
  case QP_SIM_S64: return set ? set_s64 : setp_s64;
  default: return NULL;
  }
}

/* ---- addresses ---- */

void qp_sim_do_cvta(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  const uint64_t base = o->space == QP_SIM_SHARED  ? QP_SIM_SHARED_BASE
                        : o->space == QP_SIM_LOCAL ? QP_SIM_LOCAL_BASE
                        : o->space == QP_SIM_PARAM ? QP_SIM_PARAM_BASE
                                                   : 0;
  const uint64_t add = o->sub ? 0 - base : base;
  REG64(d, 0);
  REG64(a, 1);
  QP_SIM_EACH(mask, d[l] = a[l] + add);
}

void qp_sim_do_isspacep(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  REG64(a, 1);
  uint32_t bits = 0;
  QP_SIM_LOOP(mask, l) {
    uint64_t address = a[l];
    bits |= (uint32_t)(qp_sim_resolve(&address) == o->space) << l;
  }
  qp_sim_set_pred(w, o->r[0], mask, bits);
}

/* ---- special registers ---- */

static uint64_t sreg_value(const qp_sim_warp *w, unsigned which, unsigned lane) {
  const qp_sim_block *b = w->block;
  const qp_sim_launch *launch = b->launch;
  const uint32_t bit = 1u << lane;
  switch (which) {
  case QP_SIM_TID_X: return w->index * QP_SIM_LANES + lane;
  case QP_SIM_NTID_X: return b->threads;
  case QP_SIM_CTAID_X: return b->index;
  case QP_SIM_NCTAID_X: return launch->grid;
  case QP_SIM_ONE: return 1;
  case QP_SIM_LANEID: return lane;
  case QP_SIM_WARPID: return w->index;
  case QP_SIM_NWARPID: return 64;
  case QP_SIM_SMID: return b->sm;
  case QP_SIM_NSMID: return launch->sm_count;
  case QP_SIM_GRIDID: return launch->id;
  case QP_SIM_LANEMASK_EQ: return bit;
  case QP_SIM_LANEMASK_LE: return bit | (bit - 1);
  case QP_SIM_LANEMASK_LT: return bit - 1;
  case QP_SIM_LANEMASK_GE: return ~(bit - 1);
  case QP_SIM_LANEMASK_GT: return ~(bit | (bit - 1));
  case QP_SIM_CLOCK:
  case QP_SIM_CLOCK64:
  case QP_SIM_GLOBALTIMER:
  case QP_SIM_GLOBALTIMER_LO: return w->ticks;
  case QP_SIM_CLOCK_HI:
  case QP_SIM_GLOBALTIMER_HI: return w->ticks >> 32;
  case QP_SIM_DYNAMIC_SMEM: return launch->dynamic_bytes;
  case QP_SIM_TOTAL_SMEM: return launch->shared_bytes - QP_SIM_SHARED_START;
  case QP_SIM_DYNAMIC_START: return launch->dynamic_start;
  default: return 0;
  }
}

/* imm: added to it (an offset from the start of dynamic shared memory) */
void qp_sim_do_sreg(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  const uint64_t add = (uint64_t)o->imm;
  if (o->type == QP_SIM_U64) {
    REG64(d, 0);
    QP_SIM_LOOP(mask, l) d[l] = sreg_value(w, o->sub, l) + add;
  } else {
    REG32(d, 0);
    QP_SIM_LOOP(mask, l) d[l] = (uint32_t)(sreg_value(w, o->sub, l) + add);
  }
}

#define ROW(name, sig, fn)                                                                         \
  { name, sig, fn, NULL, QP_SIM_INT_ALU, 0 }
#define ROW_SUB(name, sig, fn, sub)                                                                \
  { name, sig, fn, NULL, QP_SIM_INT_ALU, sub }
#define SELP16(t) ROW("selp." t, "hhhp", selp_32), ROW("mov." t, "hh", mov_32)
#define SELP32(t)                                                                                  \
  ROW("selp." t, "wwwp", selp_32), ROW("mov." t, "ww", mov_32),                                    \
      ROW("slct." t ".s32", "wwww", slct_32), ROW("slct." t ".f32", "wwwf", slct_32_f)
#define SELP64(t)                                                                                  \
  ROW("selp." t, "dddp", selp_64), ROW("mov." t, "dd", mov_64),                                    \
      ROW("slct." t ".s32", "dddw", slct_64)

const qp_sim_row qp_sim_rows_bits[] = {
    ROW("and.b16", "hhh", and_b32),
    ROW("or.b16", "hhh", or_b32),
    ROW("xor.b16", "hhh", xor_b32),
    ROW("and.b32", "www", and_b32),
    ROW("or.b32", "www", or_b32),
    ROW("xor.b32", "www", xor_b32),
    ROW("and.b64", "ddd", and_b64),
    ROW("or.b64", "ddd", or_b64),
    ROW("xor.b64", "ddd", xor_b64),
    ROW("not.b16", "hh", not_b16),
    ROW("not.b32", "ww", not_b32),
    ROW("not.b64", "dd", not_b64),
    ROW("cnot.b16", "hh", cnot_b32),
    ROW("cnot.b32", "ww", cnot_b32),
    ROW("cnot.b64", "dd", cnot_b64),
    ROW("shl.b16", "hhw", shl_b16),
    ROW("shr.b16", "hhw", shr_u16),
    ROW("shr.u16", "hhw", shr_u16),
    ROW("shr.s16", "hhw", shr_s16),
    ROW("shl.b32", "www", shl_b32),
    ROW("shr.b32", "www", shr_u32),
    ROW("shr.u32", "www", shr_u32),
    ROW("shr.s32", "www", shr_s32),
    ROW("shl.b64", "ddw", shl_b64),
    ROW("shr.b64", "ddw", shr_u64),
    ROW("shr.u64", "ddw", shr_u64),
    ROW("shr.s64", "ddw", shr_s64),
    ROW("shf.l.wrap.b32", "wwww", shf_l_wrap),
    ROW("shf.r.wrap.b32", "wwww", shf_r_wrap),
    ROW("shf.l.clamp.b32", "wwww", shf_l_clamp),
    ROW("shf.r.clamp.b32", "wwww", shf_r_clamp),
    ROW("clz.b32", "ww", clz_b32),
    ROW("clz.b64", "wd", clz_b64),
    ROW("popc.b32", "ww", popc_b32),
    ROW("popc.b64", "wd", popc_b64),
    ROW("brev.b32", "ww", brev_b32),
    ROW("brev.b64", "dd", brev_b64),
    ROW("bfind.u32", "ww", bfind_u32),
    ROW("bfind.s32", "ww", bfind_s32),
    ROW("bfind.u64", "wd", bfind_u64),
    ROW("bfind.s64", "wd", bfind_s64),
    ROW("bfind.shiftamt.u32", "ww", bfind_shift_u32),
    ROW("bfind.shiftamt.s32", "ww", bfind_shift_s32),
    ROW("bfind.shiftamt.u64", "wd", bfind_shift_u64),
    ROW("bfind.shiftamt.s64", "wd", bfind_shift_s64),
    ROW("bfe.u32", "wwww", bfe_u32),
    ROW("bfe.s32", "wwww", bfe_s32),
    ROW("bfe.u64", "ddww", bfe_u64),
    ROW("bfe.s64", "ddww", bfe_s64),
    ROW("bfi.b32", "wwwww", bfi_b32),
    ROW("bfi.b64", "dddww", bfi_b64),
    ROW("bmsk.clamp.b32", "www", bmsk_clamp),
    ROW("bmsk.wrap.b32", "www", bmsk_wrap),
    ROW("szext.clamp.u32", "www", szext_u32),
    ROW("szext.clamp.s32", "www", szext_s32),
    ROW("lop3.b32", "wwwwi", lop3),
    ROW("prmt.b32", "wwww", prmt_b32),
    ROW_SUB("prmt.b32.f4e", "wwww", prmt_mode, 0),
    ROW_SUB("prmt.b32.b4e", "wwww", prmt_mode, 1),
    ROW_SUB("prmt.b32.rc8", "wwww", prmt_mode, 2),
    ROW_SUB("prmt.b32.ecl", "wwww", prmt_mode, 3),
    ROW_SUB("prmt.b32.ecr", "wwww", prmt_mode, 4),
    ROW_SUB("prmt.b32.rc16", "wwww", prmt_mode, 5),
    SELP16("b16"),
    SELP16("u16"),
    SELP16("s16"),
    SELP32("b32"),
    SELP32("u32"),
    SELP32("s32"),
    ROW("selp.f32", "fffp", selp_32),
    ROW("mov.f32", "ff", mov_32),
    ROW("slct.f32.s32", "fffw", slct_32),
    ROW("slct.f32.f32", "ffff", slct_32_f),
    SELP64("b64"),
    SELP64("u64"),
    SELP64("s64"),
    ROW("selp.f64", "gggp", selp_64),
    ROW("mov.f64", "gg", mov_64),
    ROW("and.pred", "ppp", and_pred),
    ROW("or.pred", "ppp", or_pred),
    ROW("xor.pred", "ppp", xor_pred),
    ROW("not.pred", "pp", not_pred),
    ROW("mov.pred", "pp", mov_pred),
    {0},
};
