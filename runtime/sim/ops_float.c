/* SPDX-License-Identifier: MIT */
/*
** Executes fp32 and fp64 arithmetic.  Instructions that GPUs only approximate (rcp, rsqrt,
** sqrt.approx, ex2, lg2, sin, cos, tanh, div.approx) give the correctly rounded result or the C
** library's.
*/
#include "runtime/sim/handler.h"
#include "runtime/sim/round.h"

#define F32(name, i) qp_sim_f32 *name = (qp_sim_f32 *)qp_sim_reg(w, o->r[i])
#define F64(name, i) qp_sim_f64 *name = (qp_sim_f64 *)qp_sim_reg(w, o->r[i])

/* Operations; NaN results are made canonical by the modes' common end only where bits matter. */
static inline float min_f(float x, float y) {
  if (isnan(x)) return y;
  if (isnan(y)) return x;
  if (x == 0 && y == 0) return signbit(x) ? x : y;
  return x < y ? x : y;
}
static inline float max_f(float x, float y) {
  if (isnan(x)) return y;
  if (isnan(y)) return x;
  if (x == 0 && y == 0) return signbit(x) ? y : x;
  return x > y ? x : y;
}
static inline float min_nan_f(float x, float y) {
  return isnan(x) || isnan(y) ? qp_float_of_bits(QP_SIM_NAN_BITS) : min_f(x, y);
}
static inline float max_nan_f(float x, float y) {
  return isnan(x) || isnan(y) ? qp_float_of_bits(QP_SIM_NAN_BITS) : max_f(x, y);
}
static inline double min_d(double x, double y) {
  if (isnan(x)) return y;
  if (isnan(y)) return x;
  if (x == 0 && y == 0) return signbit(x) ? x : y;
  return x < y ? x : y;
}
static inline double max_d(double x, double y) {
  if (isnan(x)) return y;
  if (isnan(y)) return x;
  if (x == 0 && y == 0) return signbit(x) ? y : x;
  return x > y ? x : y;
}

/* Unary and bit-like operations on signs work on NaN too. */
HANDLER(neg_f32) {
  uint32_t *d = qp_sim_reg(w, o->r[0]);
  const uint32_t *a = qp_sim_reg(w, o->r[1]);
  QP_SIM_EACH(mask, d[l] = a[l] ^ 0x80000000u);
}
HANDLER(abs_f32) {
  uint32_t *d = qp_sim_reg(w, o->r[0]);
  const uint32_t *a = qp_sim_reg(w, o->r[1]);
  QP_SIM_EACH(mask, d[l] = a[l] & 0x7fffffffu);
}
HANDLER(copysign_f32) {
  uint32_t *d = qp_sim_reg(w, o->r[0]);
  const uint32_t *a = qp_sim_reg(w, o->r[1]), *b = qp_sim_reg(w, o->r[2]);
  QP_SIM_EACH(mask, d[l] = (a[l] & 0x80000000u) | (b[l] & 0x7fffffffu));
}
#define PLAIN1(name, expr)                                                                         \
  HANDLER(name) {                                                                                  \
    F32(d, 0);                                                                                     \
    F32(a, 1);                                                                                     \
    QP_SIM_EACH(mask, d[l] = (expr));                                                              \
  }
#define PLAIN2(name, expr)                                                                         \
  HANDLER(name) {                                                                                  \
    F32(d, 0);                                                                                     \
    F32(a, 1);                                                                                     \
    F32(b, 2);                                                                                     \
    QP_SIM_EACH(mask, d[l] = (expr));                                                              \
  }
PLAIN2(add_f32, a[l] + b[l])
PLAIN2(sub_f32, a[l] - b[l])
PLAIN2(mul_f32, a[l] * b[l])
PLAIN2(div_f32, a[l] / b[l])
/*
** Sums below the normal numbers, of all lanes, as a CPU takes many times as long for such results:
** products are exact in double, and so are sums of which each part can be taken off again; adding
** 'whole' rounds them to multiples of the least number.  False: some lane has another sum.
*/
static bool tiny_fma(const qp_sim_f32 *a, const qp_sim_f32 *b, const uint32_t *c, uint32_t *d) {
  const double least = 0x1p-149, whole = 0x1.8p52 * least;
  uint32_t other = 0;
  if (c[0] >> 23) return false; /* as most are */
  QP_SIM_VECTOR for (unsigned l = 0; l < QP_SIM_LANES; l++) other |= c[l] >> 23;
  if (other) return false;
  QP_SIM_VECTOR for (unsigned l = 0; l < QP_SIM_LANES; l++) {
    const double product = (double)a[l] * (double)b[l], addend = (double)(int32_t)c[l] * least;
    const double sum = product + addend;
    const double rounded = (sum + whole - whole) * 0x1p149;
    const bool exact = sum - product == addend && sum - addend == product;
    const bool good = exact && rounded > 0 && rounded < 0x1p23;
    other |= !good;
    d[l] = good ? (uint32_t)(int32_t)rounded : 0;
  }
  return !other;
}

/* The same numbers: a processor of which the compiler knows no such instruction may have one, where
   the C library's function would be called for each lane. */
#define FMA_OF_LANES                                                                               \
  F32(d, 0);                                                                                       \
  F32(a, 1);                                                                                       \
  F32(b, 2);                                                                                       \
  F32(c, 3);                                                                                       \
  uint32_t tiny[QP_SIM_LANES];                                                                     \
  if (mask == UINT32_MAX && tiny_fma(a, b, qp_sim_reg(w, o->r[3]), tiny))                          \
    memcpy(d, tiny, sizeof tiny);                                                                  \
  else                                                                                             \
    QP_SIM_EACH(mask, d[l] = fmaf(a[l], b[l], c[l]))
#if defined(__x86_64__) && !defined(__FMA__)
__attribute__((target("fma"))) HANDLER(fma_f32_inline) { FMA_OF_LANES; }
HANDLER(fma_f32) {
  if (__builtin_cpu_supports("fma")) {
    fma_f32_inline(w, o, mask);
    return;
  }
  FMA_OF_LANES;
}
#else
HANDLER(fma_f32) { FMA_OF_LANES; }
#endif
PLAIN2(min_f32, min_f(a[l], b[l]))
PLAIN2(max_f32, max_f(a[l], b[l]))
PLAIN2(min_nan_f32, min_nan_f(a[l], b[l]))
PLAIN2(max_nan_f32, max_nan_f(a[l], b[l]))
PLAIN1(sqrt_f32, sqrtf(a[l]))
PLAIN1(rcp_f32, 1.0f / a[l])
PLAIN1(rsqrt_f32, (float)(1.0 / sqrt((double)a[l])))
PLAIN1(ex2_f32, (float)exp2((double)a[l]))
PLAIN1(lg2_f32, (float)log2((double)a[l]))
PLAIN1(sin_f32, (float)sin((double)a[l]))
PLAIN1(cos_f32, (float)cos((double)a[l]))
PLAIN1(tanh_f32, (float)tanh((double)a[l]))

/* Does so with modifiers; sub says which. */
enum {
  ADD,
  SUB,
  MUL,
  FMA,
  DIV,
  MIN,
  MAX,
  MIN_NAN,
  MAX_NAN,
  NEG,
  ABS,
  SQRT,
  RCP,
  RSQRT,
  EX2,
  LG2,
  SIN,
  COS,
  TANH
};

static float operate(unsigned op, float x, float y, float z) {
  /* volatile: the operation must happen under the rounding mode set around this call */
  volatile float a = x, b = y, c = z, r;
  switch (op) {
  case ADD: r = a + b; break;
  case SUB: r = a - b; break;
  case MUL: r = a * b; break;
  case FMA: r = fmaf(a, b, c); break;
  case DIV: r = a / b; break;
  case MIN: r = min_f(x, y); break;
  case MAX: r = max_f(x, y); break;
  case MIN_NAN: r = min_nan_f(x, y); break;
  case MAX_NAN: r = max_nan_f(x, y); break;
  case NEG: r = -a; break;
  case ABS: r = fabsf(x); break;
  case SQRT: r = sqrtf(a); break;
  case RCP: r = 1.0f / a; break;
  case RSQRT: r = (float)(1.0 / sqrt((double)a)); break;
  case EX2: r = (float)exp2((double)a); break;
  case LG2: r = (float)log2((double)a); break;
  case SIN: r = (float)sin((double)a); break;
  case COS: r = (float)cos((double)a); break;
  default: r = (float)tanh((double)a); break;
  }
  return r;
}

HANDLER(modified_f32) {
  F32(d, 0);
  F32(a, 1);
  const bool binary = o->sub <= MAX_NAN, ternary = o->sub == FMA;
  const qp_sim_f32 *b = binary ? (qp_sim_f32 *)qp_sim_reg(w, o->r[2]) : a;
  const qp_sim_f32 *c = ternary ? (qp_sim_f32 *)qp_sim_reg(w, o->r[3]) : a;
  const bool ftz = o->mode & QP_SIM_FTZ;
  const int rounding = qp_sim_fenv(o->mode);
  QP_SIM_LOOP(mask, l) {
    float x = a[l], y = b[l], z = c[l];
    if (ftz) {
      x = qp_sim_flush(x);
      y = qp_sim_flush(y);
      z = qp_sim_flush(z);
    }
    if (rounding != FE_TONEAREST) fesetround(rounding);
    float r = operate(o->sub, x, y, z);
    if (rounding != FE_TONEAREST) fesetround(FE_TONEAREST);
    if (ftz) r = qp_sim_flush(r);
    if (o->mode & QP_SIM_SAT) r = qp_sim_saturate(r);
    if (o->mode & QP_SIM_RELU) r = isnan(r) ? r : max_f(r, 0.0f);
    d[l] = r;
  }
}

/* ---- fp64 ---- */

#define PLAIN64_1(name, expr)                                                                      \
  HANDLER(name) {                                                                                  \
    F64(d, 0);                                                                                     \
    F64(a, 1);                                                                                     \
    QP_SIM_EACH(mask, d[l] = (expr));                                                              \
  }
#define PLAIN64_2(name, expr)                                                                      \
  HANDLER(name) {                                                                                  \
    F64(d, 0);                                                                                     \
    F64(a, 1);                                                                                     \
    F64(b, 2);                                                                                     \
    QP_SIM_EACH(mask, d[l] = (expr));                                                              \
  }
PLAIN64_1(neg_f64, -a[l])
PLAIN64_1(abs_f64, fabs(a[l]))
PLAIN64_1(sqrt_f64, sqrt(a[l]))
PLAIN64_1(rcp_f64, 1.0 / a[l])
PLAIN64_1(rsqrt_f64, 1.0 / sqrt(a[l]))
PLAIN64_2(add_f64, a[l] + b[l])
PLAIN64_2(sub_f64, a[l] - b[l])
PLAIN64_2(mul_f64, a[l] * b[l])
PLAIN64_2(div_f64, a[l] / b[l])
PLAIN64_2(min_f64, min_d(a[l], b[l]))
PLAIN64_2(max_f64, max_d(a[l], b[l]))
HANDLER(fma_f64) {
  F64(d, 0);
  F64(a, 1);
  F64(b, 2);
  F64(c, 3);
  QP_SIM_EACH(mask, d[l] = fma(a[l], b[l], c[l]));
}
HANDLER(modified_f64) {
  F64(d, 0);
  F64(a, 1);
  const qp_sim_f64 *b = o->sub <= DIV ? (qp_sim_f64 *)qp_sim_reg(w, o->r[2]) : a;
  const qp_sim_f64 *c = o->sub == FMA ? (qp_sim_f64 *)qp_sim_reg(w, o->r[3]) : a;
  fesetround(qp_sim_fenv(o->mode));
  QP_SIM_LOOP(mask, l) {
    volatile double x = a[l], y = b[l], z = c[l], r;
    switch (o->sub) {
    case ADD: r = x + y; break;
    case SUB: r = x - y; break;
    case MUL: r = x * y; break;
    case FMA: r = fma(x, y, z); break;
    case DIV: r = x / y; break;
    case SQRT: r = sqrt(x); break;
    default: r = 1.0 / x; break;
    }
    d[l] = r;
  }
  fesetround(FE_TONEAREST);
}

/* ---- comparison ---- */

static bool compare(unsigned how, double x, double y) {
  const bool nan = isnan(x) || isnan(y);
  switch (how) {
  case QP_SIM_EQ: return !nan && x == y;
  case QP_SIM_NE: return !nan && x != y;
  case QP_SIM_LT: return !nan && x < y;
  case QP_SIM_LE: return !nan && x <= y;
  case QP_SIM_GT: return !nan && x > y;
  case QP_SIM_GE: return !nan && x >= y;
  case QP_SIM_EQU: return nan || x == y;
  case QP_SIM_NEU: return nan || x != y;
  case QP_SIM_LTU: return nan || x < y;
  case QP_SIM_LEU: return nan || x <= y;
  case QP_SIM_GTU: return nan || x > y;
  case QP_SIM_GEU: return nan || x >= y;
  case QP_SIM_NUM: return !nan;
  default: return nan;
  }
}

static double value(const qp_sim_warp *w, const qp_sim_op *o, int32_t r, unsigned l) {
  const uint32_t *a = qp_sim_reg(w, r);
  switch (o->type2) {
  case QP_SIM_F64: return ((const qp_sim_f64 *)a)[l];
  case QP_SIM_F16: return (double)qp_half_to_float((uint16_t)a[l]);
  case QP_SIM_BF16: return (double)qp_bf16_to_float((uint16_t)a[l]);
  default: {
    const float f = ((const qp_sim_f32 *)a)[l];
    return (double)(o->mode & QP_SIM_FTZ ? qp_sim_flush(f) : f);
  }
  }
}

static uint32_t compare_lanes(const qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  uint32_t bits = 0;
  QP_SIM_LOOP(mask, l) {
    bits |= (uint32_t)compare(o->sub, value(w, o, o->r[1], l), value(w, o, o->r[2], l)) << l;
  }
  return bits;
}
HANDLER(setp_float) { qp_sim_setp_result(w, o, mask, compare_lanes(w, o, mask)); }
HANDLER(set_float) { qp_sim_set_result(w, o, mask, compare_lanes(w, o, mask)); }

/* set.f16.f16 and such give 1.0 of the result's type. */
HANDLER(set_half) {
  const uint32_t bits = compare_lanes(w, o, mask);
  const uint32_t p = qp_sim_combine(w, o, o->r[3], bits);
  const uint32_t one = o->type == QP_SIM_BF16 ? 0x3f80 : 0x3c00;
  uint32_t *d = qp_sim_reg(w, o->r[0]);
  QP_SIM_EACH(mask, d[l] = p >> l & 1 ? one : 0);
}

/* Compare the two halves of a pair: the results are p and q, or a pair. */
static uint32_t compare_half(const qp_sim_warp *w, const qp_sim_op *o, uint32_t mask,
                             unsigned shift) {
  const uint32_t *a = qp_sim_reg(w, o->r[1]), *b = qp_sim_reg(w, o->r[2]);
  uint32_t bits = 0;
  QP_SIM_LOOP(mask, l) {
    const uint16_t x = (uint16_t)(a[l] >> shift), y = (uint16_t)(b[l] >> shift);
    const bool half = o->type2 == QP_SIM_F16X2;
    const float u = half ? qp_half_to_float(x) : qp_bf16_to_float(x);
    const float v = half ? qp_half_to_float(y) : qp_bf16_to_float(y);
    bits |= (uint32_t)compare(o->sub, (double)u, (double)v) << l;
  }
  return bits;
}
HANDLER(setp_pair) {
  const uint32_t low = qp_sim_combine(w, o, o->r[3], compare_half(w, o, mask, 0));
  const uint32_t high = qp_sim_combine(w, o, o->r[3], compare_half(w, o, mask, 16));
  qp_sim_set_pred(w, o->r[0], mask, low);
  if (o->r[4]) qp_sim_set_pred(w, o->r[4], mask, high);
}
HANDLER(set_pair) {
  const uint32_t low = qp_sim_combine(w, o, o->r[3], compare_half(w, o, mask, 0));
  const uint32_t high = qp_sim_combine(w, o, o->r[3], compare_half(w, o, mask, 16));
  const uint32_t one = o->type == QP_SIM_F16X2    ? 0x3c00
                       : o->type == QP_SIM_BF16X2 ? 0x3f80
                                                  : 0xffff;
  uint32_t *d = qp_sim_reg(w, o->r[0]);
  QP_SIM_EACH(mask, d[l] = (low >> l & 1 ? one : 0) | (high >> l & 1 ? one << 16 : 0));
}

qp_sim_fn qp_sim_setp_float_fn(unsigned type, bool set) {
  switch (type) {
  case QP_SIM_F32:
  case QP_SIM_F64: return set ? set_float : setp_float;
  case QP_SIM_F16:
  case QP_SIM_BF16: return set ? set_half : setp_float;
  case QP_SIM_F16X2:
  case QP_SIM_BF16X2: return set ? set_pair : setp_pair;
  default: return NULL;
  }
}

HANDLER(testp_f32) {
  F32(a, 1);
  uint32_t bits = 0;
  QP_SIM_LOOP(mask, l) {
    const int class = fpclassify(a[l]);
    const bool yes[] = {class != FP_INFINITE && class != FP_NAN,
                        class == FP_INFINITE,
                        class != FP_NAN,
                        class == FP_NAN,
                        class == FP_NORMAL,
                        class == FP_SUBNORMAL};
    bits |= (uint32_t)yes[o->sub] << l;
  }
  qp_sim_set_pred(w, o->r[0], mask, bits);
}

#define FLT QP_SIM_FLOAT
#define SPC QP_SIM_SPECIAL
const qp_sim_row qp_sim_rows_float[] = {
    {"neg.f32", "ff", neg_f32, modified_f32, FLT, NEG},
    {"abs.f32", "ff", abs_f32, modified_f32, FLT, ABS},
    {"copysign.f32", "fff", copysign_f32, NULL, FLT, 0},
    {"add.f32", "fff", add_f32, modified_f32, FLT, ADD},
    {"sub.f32", "fff", sub_f32, modified_f32, FLT, SUB},
    {"mul.f32", "fff", mul_f32, modified_f32, FLT, MUL},
    {"fma.f32", "ffff", fma_f32, modified_f32, FLT, FMA},
    {"mad.f32", "ffff", fma_f32, modified_f32, FLT, FMA},
    {"min.f32", "fff", min_f32, modified_f32, FLT, MIN},
    {"max.f32", "fff", max_f32, modified_f32, FLT, MAX},
    {"min.NaN.f32", "fff", min_nan_f32, modified_f32, FLT, MIN_NAN},
    {"max.NaN.f32", "fff", max_nan_f32, modified_f32, FLT, MAX_NAN},
    {"div.f32", "fff", div_f32, modified_f32, SPC, DIV},
    {"rcp.f32", "ff", rcp_f32, modified_f32, SPC, RCP},
    {"sqrt.f32", "ff", sqrt_f32, modified_f32, SPC, SQRT},
    {"rsqrt.f32", "ff", rsqrt_f32, modified_f32, SPC, RSQRT},
    {"ex2.f32", "ff", ex2_f32, modified_f32, SPC, EX2},
    {"lg2.f32", "ff", lg2_f32, modified_f32, SPC, LG2},
    {"sin.f32", "ff", sin_f32, modified_f32, SPC, SIN},
    {"cos.f32", "ff", cos_f32, modified_f32, SPC, COS},
    {"tanh.f32", "ff", tanh_f32, modified_f32, SPC, TANH},
    {"testp.finite.f32", "pf", testp_f32, NULL, FLT, 0},
    {"testp.infinite.f32", "pf", testp_f32, NULL, FLT, 1},
    {"testp.number.f32", "pf", testp_f32, NULL, FLT, 2},
    {"testp.notanumber.f32", "pf", testp_f32, NULL, FLT, 3},
    {"testp.normal.f32", "pf", testp_f32, NULL, FLT, 4},
    {"testp.subnormal.f32", "pf", testp_f32, NULL, FLT, 5},
    {"neg.f64", "gg", neg_f64, NULL, FLT, 0},
    {"abs.f64", "gg", abs_f64, NULL, FLT, 0},
    {"add.f64", "ggg", add_f64, modified_f64, FLT, ADD},
    {"sub.f64", "ggg", sub_f64, modified_f64, FLT, SUB},
    {"mul.f64", "ggg", mul_f64, modified_f64, FLT, MUL},
    {"fma.f64", "gggg", fma_f64, modified_f64, FLT, FMA},
    {"mad.f64", "gggg", fma_f64, modified_f64, FLT, FMA},
    {"min.f64", "ggg", min_f64, NULL, FLT, 0},
    {"max.f64", "ggg", max_f64, NULL, FLT, 0},
    {"div.f64", "ggg", div_f64, modified_f64, SPC, DIV},
    {"rcp.f64", "gg", rcp_f64, modified_f64, SPC, RCP},
    {"sqrt.f64", "gg", sqrt_f64, modified_f64, SPC, SQRT},
    {"rsqrt.f64", "gg", rsqrt_f64, NULL, SPC, 0},
    {0},
};
