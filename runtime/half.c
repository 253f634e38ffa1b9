/* SPDX-License-Identifier: MIT */
/* Rounds numbers to fp16 and bf16. */
#include "runtime/half.h"

#include <stdbool.h>

/* Compute m / 2^shift rounded to nearest, ties to even; m < 2^53. */
static inline uint64_t shift_round(uint64_t m, unsigned shift) {
  if (shift >= 55) return 0; /* below a quarter of the last place */
  const uint64_t rest = m & ((UINT64_C(1) << shift) - 1), half = UINT64_C(1) << (shift - 1);
  const uint64_t q = m >> shift;
  return q + (uint64_t)(rest > half || (rest == half && (q & 1)));
}

/*
** Round a double to a 16-bit format with 'mant' stored mantissa bits and smallest normal exponent
** 'emin'.  With the implicit bit counted in, exponent field and mantissa add up to the bit pattern,
** so that a carry out of the mantissa, into the next binade or into infinity, needs no case.
*/
static inline uint16_t round_double(double d, unsigned mant, int emin, uint16_t infinity) {
  uint64_t bits;
  memcpy(&bits, &d, sizeof bits);
  const uint16_t sign = (uint16_t)(bits >> 48 & 0x8000);
  const uint64_t fraction = bits & ((UINT64_C(1) << 52) - 1);
  const int e = (int)(bits >> 52 & 0x7ff) - 1023;
  if (e == 1024 && fraction) return QP_HALF_NAN;
  if (e > 1 - emin) return (uint16_t)(sign | infinity);
  if (e == -1023) return sign; /* zero, and doubles far below every 16-bit subnormal */
  const uint64_t m = fraction | UINT64_C(1) << 52;
  const bool normal = e >= emin;
  const unsigned shift = 52 - mant + (normal ? 0 : (unsigned)(emin - e));
  const uint64_t field = normal ? (uint64_t)(e - emin) << mant : 0;
  return (uint16_t)(sign | (field + shift_round(m, shift)));
}

uint16_t qp_double_to_half(double d) { return round_double(d, 10, -14, QP_HALF_INF); }

uint16_t qp_double_to_bf16(double d) { return round_double(d, 7, -126, QP_BF16_INF); }

uint16_t qp_float_to_half(float f) { return round_double((double)f, 10, -14, QP_HALF_INF); }

uint16_t qp_float_to_bf16(float f) {
  const uint32_t bits = qp_float_bits(f);
  if ((bits & 0x7fffffff) > 0x7f800000) return QP_HALF_NAN;
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
