/* SPDX-License-Identifier: MIT */
/*
** cvt.  A source is first read as an exact double, or as an integer of 64 bits with its sign; then
** it is rounded once to the destination's type.  The commonest pairs have loops of their own.
*/
#include "runtime/sim/handler.h"
#include "runtime/sim/round.h"

typedef struct number {
  bool is_float;
  double f;   /* is_float */
  uint64_t u; /* integer, two's complement */
  bool negative;
} number;

enum { WIDE_DEST = 1, WIDE_SOURCE = 2 }; /* sub2: the register has 64 bits */
enum { TO_INTEGRAL = 1 };                /* sub: .rni, .rzi, .rmi, .rpi */
enum { IN_32_BITS = 2 };                 /* n: a result of 16 bits or fewer has a register of 32 */

static bool is_signed(unsigned t) {
  return t == QP_SIM_S8 || t == QP_SIM_S16 || t == QP_SIM_S32 || t == QP_SIM_S64;
}
static unsigned bits_of(unsigned t) {
  switch (t) {
  case QP_SIM_U8:
  case QP_SIM_S8: return 8;
  case QP_SIM_U16:
  case QP_SIM_S16: return 16;
  case QP_SIM_U32:
  case QP_SIM_S32: return 32;
  default: return 64;
  }
}

static number integer(uint64_t raw, unsigned type) {
  const unsigned shift = 64 - bits_of(type);
  number n = {0};
  if (is_signed(type)) {
    n.u = (uint64_t)((int64_t)(raw << shift) >> shift);
    n.negative = (int64_t)n.u < 0;
  } else {
    n.u = raw << shift >> shift;
  }
  return n;
}

static number read_number(const qp_sim_op *o, uint64_t raw) {
  double d;
  float f;
  switch (o->type2) {
  case QP_SIM_F16: f = qp_half_to_float((uint16_t)raw); break;
  case QP_SIM_BF16: f = qp_bf16_to_float((uint16_t)raw); break;
  case QP_SIM_F32:
    f = qp_float_of_bits((uint32_t)raw);
    if (o->mode & QP_SIM_FTZ) f = qp_sim_flush(f);
    break;
  case QP_SIM_F64: memcpy(&d, &raw, sizeof d); return (number){.is_float = true, .f = d};
  default: return integer(raw, o->type2);
  }
  return (number){.is_float = true, .f = (double)f};
}

static double to_integral(double d, unsigned mode) {
  switch (mode & QP_SIM_RND) {
  case QP_SIM_RZ: return trunc(d);
  case QP_SIM_RM: return floor(d);
  case QP_SIM_RP: return ceil(d);
  default: return nearbyint(d);
  }
}

/* Make a float an integer of a type, clamped to its range; NaN gives 0 (as 64 bits: the top
   bit). */
static uint64_t float_to_int(double d, unsigned type, unsigned mode) {
  const unsigned bits = bits_of(type);
  if (isnan(d)) return bits == 64 ? UINT64_C(1) << 63 : 0;
  d = to_integral(d, mode);
  if (is_signed(type)) {
    const double limit = (double)(UINT64_C(1) << (bits - 1));
    if (d >= limit) return (UINT64_C(1) << (bits - 1)) - 1;
    if (d < -limit) return 0 - (UINT64_C(1) << (bits - 1));
    return (uint64_t)(int64_t)d;
  }
  if (d <= 0) return 0;
  if (d >= 2 * (double)(UINT64_C(1) << (bits - 1)))
    return bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
  return (uint64_t)d;
}

static uint64_t int_to_int(number n, unsigned type, bool saturate) {
  const unsigned bits = bits_of(type);
  if (!saturate) return n.u;
  if (is_signed(type)) {
    const int64_t top = (int64_t)((UINT64_C(1) << (bits - 1)) - 1), low = -top - 1;
    if (!n.negative) return n.u > (uint64_t)top ? (uint64_t)top : n.u;
    return (int64_t)n.u < low ? (uint64_t)low : n.u;
  }
  if (n.negative) return 0;
  const uint64_t top = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
  return n.u > top ? top : n.u;
}

/* An integer as a double that rounds like it to 16-bit formats: bits beyond 53 are made sticky. */
static double sticky_double(number n) {
  uint64_t m = n.negative ? 0 - n.u : n.u;
  if (m >> 53) m = (m & ~UINT64_C(0xfff)) | (m & 0xfff ? 0x800 : 0);
  return n.negative ? -(double)m : (double)m;
}

static float to_float(number n, unsigned mode) {
  if (n.is_float && (mode & QP_SIM_RND) == QP_SIM_RN) return (float)n.f;
  fesetround(qp_sim_fenv(mode));
  volatile float f;
  if (n.is_float) {
    volatile double d = n.f;
    f = (float)d;
  } else if (n.negative) {
    volatile int64_t s = (int64_t)n.u;
    f = (float)s;
  } else {
    volatile uint64_t u = n.u;
    f = (float)u;
  }
  fesetround(FE_TONEAREST);
  return f;
}

static double to_double(number n, unsigned mode) {
  if (n.is_float) return n.f;
  fesetround(qp_sim_fenv(mode));
  volatile double d;
  if (n.negative) {
    volatile int64_t s = (int64_t)n.u;
    d = (double)s;
  } else {
    volatile uint64_t u = n.u;
    d = (double)u;
  }
  fesetround(FE_TONEAREST);
  return d;
}

/* Clamp 16-bit float results: .sat, .relu */
static uint16_t finish_half(uint16_t h, bool bf16, unsigned mode) {
  const bool nan = (h & 0x7fff) > (bf16 ? QP_BF16_INF : QP_HALF_INF);
  const uint16_t one = bf16 ? 0x3f80 : 0x3c00;
  if (mode & QP_SIM_SAT) return nan || h & 0x8000 ? 0 : h > one ? one : h;
  if (mode & QP_SIM_RELU && !nan && h & 0x8000) return 0;
  return h;
}

static uint64_t float_bits(const qp_sim_op *o, number n) {
  if (o->sub & TO_INTEGRAL && n.is_float) n.f = to_integral(n.f, o->mode);
  switch (o->type) {
  case QP_SIM_F16:
  case QP_SIM_BF16: {
    const bool bf16 = o->type == QP_SIM_BF16;
    const double d = n.is_float ? n.f : sticky_double(n);
    const uint16_t h = bf16 ? qp_sim_round_bf16(d, o->mode) : qp_sim_round_half(d, o->mode);
    return finish_half(h, bf16, o->mode);
  }
  case QP_SIM_TF32: { /* Ties go away from zero, and 10 bits of mantissa are kept. */
    const uint32_t u = qp_float_bits((float)n.f);
    if ((u & 0x7fffffff) >= 0x7f800000) return u;
    if (o->n) return (u + 0xfff + (u >> 13 & 1)) & ~0x1fffu; /* .rn */
    return (u + 0x1000) & ~0x1fffu;
  }
  case QP_SIM_F32: {
    float f = to_float(n, o->sub & TO_INTEGRAL ? QP_SIM_RN : o->mode);
    if (o->mode & QP_SIM_FTZ) f = qp_sim_flush(f);
    if (o->mode & QP_SIM_SAT) f = qp_sim_saturate(f);
    return isnan(f) ? QP_SIM_NAN_BITS : qp_float_bits(f);
  }
  default: {
    double d = to_double(n, o->mode);
    if (o->mode & QP_SIM_SAT) d = d > 0 ? (d < 1 ? d : 1.0) : 0.0;
    uint64_t u;
    memcpy(&u, &d, sizeof u);
    return u;
  }
  }
}

static bool float_type(unsigned t) {
  return t == QP_SIM_F16 || t == QP_SIM_BF16 || t == QP_SIM_F32 || t == QP_SIM_F64 ||
         t == QP_SIM_TF32;
}

static uint64_t convert(const qp_sim_op *o, uint64_t raw) {
  const number n = read_number(o, raw);
  if (float_type(o->type)) return float_bits(o, n);
  const uint64_t v = n.is_float ? float_to_int(n.f, o->type, o->mode)
                                : int_to_int(n, o->type, (o->mode & QP_SIM_SAT) != 0);
  return integer(v, o->type).u;
}

#define DEST32 uint32_t *d = qp_sim_reg(w, o->r[0])
#define DEST64 qp_sim_u64 *d = (qp_sim_u64 *)qp_sim_reg(w, o->r[0])
#define SRC32  const uint32_t *a = qp_sim_reg(w, o->r[1])
#define SRC64  const qp_sim_u64 *a = (const qp_sim_u64 *)qp_sim_reg(w, o->r[1])

HANDLER(general) {
  DEST32;
  SRC32;
  const bool half = o->type == QP_SIM_F16 || o->type == QP_SIM_BF16 || o->type == QP_SIM_U16 ||
                    o->type == QP_SIM_S16;
  const bool narrow = half && !(o->n & IN_32_BITS); /* a 16-bit register is kept zero-extended */
  QP_SIM_LOOP(mask, l) {
    const uint64_t raw = o->sub2 & WIDE_SOURCE ? ((const qp_sim_u64 *)a)[l] : a[l];
    const uint64_t v = convert(o, raw);
    if (o->sub2 & WIDE_DEST)
      ((qp_sim_u64 *)d)[l] = v;
    else
      d[l] = narrow ? (uint16_t)v : (uint32_t)v;
  }
}

/* Integers in registers of at most 32 bits: the source is cut to its type, then the result to its
   own, each with zeros or its sign above. */
HANDLER(whole_to_whole) {
  DEST32;
  SRC32;
  const unsigned from = 32 - bits_of(o->type2), to = 32 - bits_of(o->type);
  const bool from_signed = is_signed(o->type2), to_signed = is_signed(o->type);
  const uint32_t kept = to >= 16 && !(o->n & IN_32_BITS) ? 0xffff : UINT32_MAX;
  QP_SIM_LOOP(mask, l) {
    const uint32_t v = a[l] << from;
    const uint32_t x = (from_signed ? (uint32_t)((int32_t)v >> from) : v >> from) << to;
    d[l] = (to_signed ? (uint32_t)((int32_t)x >> to) : x >> to) & kept;
  }
}

HANDLER(u32_to_u64) {
  DEST64;
  SRC32;
  QP_SIM_LOOP(mask, l) d[l] = a[l];
}
HANDLER(s32_to_s64) {
  DEST64;
  SRC32;
  QP_SIM_LOOP(mask, l) d[l] = a[l] | (a[l] >> 31 ? UINT64_C(0xffffffff00000000) : 0);
}
HANDLER(low_of_64) {
  DEST32;
  SRC64;
  QP_SIM_LOOP(mask, l) d[l] = (uint32_t)a[l];
}
HANDLER(copy_32) {
  DEST32;
  SRC32;
  QP_SIM_EACH(mask, d[l] = a[l]);
}
HANDLER(low_16) {
  DEST32;
  SRC32;
  QP_SIM_EACH(mask, d[l] = (uint16_t)a[l]);
}
HANDLER(s16_to_s32) {
  DEST32;
  SRC32;
  QP_SIM_EACH(mask, d[l] = (uint32_t)(int16_t)a[l]);
}
HANDLER(f16_to_f32) {
  qp_sim_f32 *d = (qp_sim_f32 *)qp_sim_reg(w, o->r[0]);
  SRC32;
  QP_SIM_EACH(mask, d[l] = qp_half_to_float((uint16_t)a[l]));
}
HANDLER(f32_to_f16) {
  DEST32;
  const qp_sim_f32 *a = (const qp_sim_f32 *)qp_sim_reg(w, o->r[1]);
  QP_SIM_LOOP(mask, l) d[l] = qp_float_to_half(a[l]);
}

HANDLER(f32_to_f64) {
  qp_sim_f64 *d = (qp_sim_f64 *)qp_sim_reg(w, o->r[0]);
  const qp_sim_f32 *a = (const qp_sim_f32 *)qp_sim_reg(w, o->r[1]);
  QP_SIM_LOOP(mask, l) d[l] = (double)a[l];
}
HANDLER(f64_to_f32) {
  DEST32;
  const qp_sim_f64 *a = (const qp_sim_f64 *)qp_sim_reg(w, o->r[1]);
  QP_SIM_LOOP(mask, l) d[l] = isnan(a[l]) ? QP_SIM_NAN_BITS : qp_float_bits((float)a[l]);
}

/* To the nearest, ties to even. */
HANDLER(f32_to_s32) {
  qp_sim_s32 *d = (qp_sim_s32 *)qp_sim_reg(w, o->r[0]);
  const qp_sim_f32 *a = (const qp_sim_f32 *)qp_sim_reg(w, o->r[1]);
  const double shift = 0x1.8p52; /* a sum with it has no bits below 1 */
  QP_SIM_LOOP(mask, l) {
    const double x = (double)a[l];
    const double whole = x + shift - shift;
    d[l] = fabs(x) < 0x1p31 ? (int32_t)whole : (int32_t)float_to_int(x, QP_SIM_S32, QP_SIM_RN);
  }
}

qp_sim_fn qp_sim_cvt_fn(const qp_sim_op *o) {
  const unsigned to = o->type, from = o->type2;
  const bool dest64 = o->sub2 & WIDE_DEST, source64 = o->sub2 & WIDE_SOURCE;
  const bool wholes = !o->mode && !float_type(to) && !float_type(from) && !dest64 && !source64;
  if (o->mode || o->sub || o->n) return wholes ? whole_to_whole : general;
  if (dest64 && !source64) {
    if (from == QP_SIM_U32 && (to == QP_SIM_U64 || to == QP_SIM_S64)) return u32_to_u64;
    if (from == QP_SIM_S32 && (to == QP_SIM_U64 || to == QP_SIM_S64)) return s32_to_s64;
  }
  if (!dest64 && (from == QP_SIM_U64 || from == QP_SIM_S64) &&
      (to == QP_SIM_U32 || to == QP_SIM_S32))
    return low_of_64;
  if (to == QP_SIM_F64 && from == QP_SIM_F32) return f32_to_f64;
  if (to == QP_SIM_F32 && from == QP_SIM_F64) return f64_to_f32;
  if (dest64 || source64) return general;
  if (to == QP_SIM_S32 && from == QP_SIM_F32) return f32_to_s32;
  const bool to32 = to == QP_SIM_U32 || to == QP_SIM_S32;
  if (to32 && (from == QP_SIM_U32 || from == QP_SIM_S32)) return copy_32;
  if (to32 && from == QP_SIM_U16) return low_16;
  if (to32 && from == QP_SIM_S16) return s16_to_s32;
  if ((to == QP_SIM_U16 || to == QP_SIM_S16) && (from == QP_SIM_U32 || from == QP_SIM_S32))
    return low_16;
  if (to == QP_SIM_F32 && from == QP_SIM_F16) return f16_to_f32;
  if (to == QP_SIM_F16 && from == QP_SIM_F32) return f32_to_f16;
  return wholes ? whole_to_whole : general;
}

/* ---- two at a time: the first source goes to the upper half ---- */

/* Round to a format of 8 bits; values beyond 'top' become 'top' (.satfinite). */
static uint8_t to_fp8(double d, bool e5m2, bool relu) {
  const int mant = e5m2 ? 2 : 3, emin = e5m2 ? -14 : -6;
  const double top = e5m2 ? 57344 : 448;
  if (isnan(d)) return 0x7f;
  if (relu && d < 0) d = 0;
  const uint8_t sign = signbit(d) ? 0x80 : 0;
  double m = fabs(d);
  if (m > top) m = top;
  if (m == 0) return sign;
  int e = ilogb(m);
  if (e < emin) e = emin;
  /* The carry of a rounded-up mantissa runs into the exponent. */
  const double steps = nearbyint(ldexp(m, mant - e));
  int code = (int)steps + ((e - emin) << mant);
  const int most = e5m2 ? 0x7b : 0x7e;
  if (code > most) code = most;
  return (uint8_t)(sign | code);
}

static double from_fp8(uint8_t v, bool e5m2) {
  const int mant = e5m2 ? 2 : 3, emin = e5m2 ? -14 : -6;
  const int field = v & 0x7f, e = field >> mant, m = field & ((1 << mant) - 1);
  const double sign = v & 0x80 ? -1.0 : 1.0;
  if (e5m2 ? e == 31 : field == 0x7f) return e5m2 && m == 0 ? sign * INFINITY : NAN;
  const double x =
      e ? ldexp((double)(m + (1 << mant)), e - 1 + emin - mant) : ldexp((double)m, emin - mant);
  return sign * x;
}

static uint16_t one_half(const qp_sim_op *o, float f, bool bf16) {
  const uint16_t h =
      bf16 ? qp_sim_round_bf16((double)f, o->mode) : qp_sim_round_half((double)f, o->mode);
  return finish_half(h, bf16, o->mode);
}

HANDLER(pack_half) {
  DEST32;
  const qp_sim_f32 *a = (const qp_sim_f32 *)qp_sim_reg(w, o->r[1]);
  const qp_sim_f32 *b = (const qp_sim_f32 *)qp_sim_reg(w, o->r[2]);
  const bool bf16 = o->type == QP_SIM_BF16X2;
  QP_SIM_LOOP(mask, l) {
    const float x = a[l], y = b[l];
    d[l] = (uint32_t)one_half(o, x, bf16) << 16 | one_half(o, y, bf16);
  }
}

HANDLER(pack_fp8) {
  DEST32;
  const qp_sim_f32 *a = (const qp_sim_f32 *)qp_sim_reg(w, o->r[1]);
  const qp_sim_f32 *b = (const qp_sim_f32 *)qp_sim_reg(w, o->r[2]);
  const bool e5m2 = o->type == QP_SIM_E5M2X2, relu = o->mode & QP_SIM_RELU;
  QP_SIM_LOOP(mask, l) {
    const uint32_t high = to_fp8((double)a[l], e5m2, relu);
    d[l] = high << 8 | to_fp8((double)b[l], e5m2, relu);
  }
}

HANDLER(unpack_fp8) {
  DEST32;
  SRC32;
  const bool e5m2 = o->type2 == QP_SIM_E5M2X2;
  QP_SIM_LOOP(mask, l) {
    const uint16_t low = qp_double_to_half(from_fp8((uint8_t)a[l], e5m2));
    const uint16_t high = qp_double_to_half(from_fp8((uint8_t)(a[l] >> 8), e5m2));
    d[l] = (uint32_t)finish_half(high, false, o->mode) << 16 | finish_half(low, false, o->mode);
  }
}

HANDLER(half_to_fp8) {
  DEST32;
  SRC32;
  const bool e5m2 = o->type == QP_SIM_E5M2X2, relu = o->mode & QP_SIM_RELU;
  QP_SIM_LOOP(mask, l) {
    const float low = qp_half_to_float((uint16_t)a[l]);
    const float high = qp_half_to_float((uint16_t)(a[l] >> 16));
    d[l] = (uint32_t)to_fp8((double)high, e5m2, relu) << 8 | to_fp8((double)low, e5m2, relu);
  }
}

qp_sim_fn qp_sim_cvt_pair_fn(const qp_sim_op *o) {
  const bool to_half = o->type == QP_SIM_F16X2, to_bf16 = o->type == QP_SIM_BF16X2;
  const bool to8 = o->type == QP_SIM_E4M3X2 || o->type == QP_SIM_E5M2X2;
  const bool from8 = o->type2 == QP_SIM_E4M3X2 || o->type2 == QP_SIM_E5M2X2;
  if (o->type2 == QP_SIM_F32) return to_half || to_bf16 ? pack_half : to8 ? pack_fp8 : NULL;
  if (to_half && from8) return unpack_fp8;
  if (to8 && o->type2 == QP_SIM_F16X2) return half_to_fp8;
  return NULL;
}

/* Two whole numbers, each brought into the range of 16 bits. */
HANDLER(pack_whole) {
  DEST32;
  const uint32_t *a = qp_sim_reg(w, o->r[1]), *b = qp_sim_reg(w, o->r[2]);
  const int least = o->type == QP_SIM_S16 ? INT16_MIN : 0;
  const int most = o->type == QP_SIM_S16 ? INT16_MAX : UINT16_MAX;
  QP_SIM_LOOP(mask, l) {
    const int32_t x = (int32_t)a[l], y = (int32_t)b[l];
    const int high = x < least ? least : x > most ? most : x;
    const int low = y < least ? least : y > most ? most : y;
    d[l] = (uint32_t)high << 16 | ((uint32_t)low & 0xffff);
  }
}

qp_sim_fn qp_sim_cvt_pack_fn(const qp_sim_op *o) {
  const bool half = o->type == QP_SIM_S16 || o->type == QP_SIM_U16;
  return half && o->type2 == QP_SIM_S32 && o->mode == QP_SIM_SAT ? pack_whole : NULL;
}
