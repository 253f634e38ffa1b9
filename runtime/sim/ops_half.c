/* SPDX-License-Identifier: MIT */
/*
** fp16 and bf16 arithmetic, single and packed, with one rounding.  Sums and products of two values
** are exact in double except where fp16 or bf16 exponents lie far apart; those, and fma, are
** computed to odd in double first: a result whose last bit is sticky rounds right to any format
** with at most 51 bits.
*/
#include "runtime/sim/round.h"

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

#define HANDLER(name, bf16, pair)                                                                  \
  static void name(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {                            \
    half_common(w, o, mask, bf16, pair);                                                           \
  }
HANDLER(do_f16, false, false)
HANDLER(do_f16x2, false, true)
HANDLER(do_bf16, true, false)
HANDLER(do_bf16x2, true, true)

#define ROWS(name, op, one_sig, pair_sig)                                                          \
  {name ".f16", one_sig, do_f16, do_f16, QP_SIM_HALF, op},                                         \
      {name ".f16x2", pair_sig, do_f16x2, do_f16x2, QP_SIM_HALF, op},                              \
      {name ".bf16", one_sig, do_bf16, do_bf16, QP_SIM_HALF, op}, {                                \
    name ".bf16x2", pair_sig, do_bf16x2, do_bf16x2, QP_SIM_HALF, op                                \
  }

const qp_sim_row qp_sim_rows_half[] = {
    ROWS("add", ADD, "hhh", "www"),
    ROWS("sub", SUB, "hhh", "www"),
    ROWS("mul", MUL, "hhh", "www"),
    ROWS("fma", FMA, "hhhh", "wwww"),
    ROWS("min", MIN, "hhh", "www"),
    ROWS("max", MAX, "hhh", "www"),
    ROWS("min.NaN", MIN_NAN, "hhh", "www"),
    ROWS("max.NaN", MAX_NAN, "hhh", "www"),
    ROWS("neg", NEG, "hh", "ww"),
    ROWS("abs", ABS, "hh", "ww"),
    ROWS("ex2", EX2, "hh", "ww"),
    ROWS("tanh", TANH, "hh", "ww"),
    {0},
};
