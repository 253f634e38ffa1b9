/* SPDX-License-Identifier: MIT */
/* Executes logic, shifts, bit fields and permutations of bytes. */
#include "runtime/sim/handler.h"
#include "runtime/sim/rows.h"

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
/* Compute the funnel shift of hi:lo. */
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
/* Extend n bits by sign or by zeros. */
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

/* Compute any function of three bits, as a choice between its minterms. */
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

/* Permute bytes.  A nibble of the selector names a byte of b:a; its bit 3 replicates that byte's
   sign. */
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
/* The same where no sign is asked for; at[i] is 8 times the number of the i-th byte. */
static inline uint32_t bytes_of(uint64_t both, const unsigned at[4]) {
  return (uint32_t)(both >> at[0] & 0xff) | (uint32_t)(both >> at[1] & 0xff) << 8 |
         (uint32_t)(both >> at[2] & 0xff) << 16 | (uint32_t)(both >> at[3]) << 24;
}
/* Most selectors are the same for all lanes. */
HANDLER(prmt_b32) {
  REG32(d, 0);
  REG32(a, 1);
  REG32(b, 2);
  REG32(c, 3);
  const uint32_t sel = c[qp_sim_lane(mask)];
  const unsigned at[] = {(sel & 7) * 8, (sel >> 4 & 7) * 8, (sel >> 8 & 7) * 8,
                         (sel >> 12 & 7) * 8};
  uint32_t other = sel & 0x8888;
  QP_SIM_EACH(mask, other |= c[l] ^ sel);
  if (other)
    QP_SIM_EACH(mask, d[l] = prmt_of(a[l], b[l], c[l]));
  else
    QP_SIM_EACH(mask, d[l] = bytes_of((uint64_t)b[l] << 32 | a[l], at));
}
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
    {0},
};
