/* SPDX-License-Identifier: MIT */
/* Converts fp16 (IEEE binary16) and bf16, which are kept as bit patterns, rounding correctly once.
   */
#ifndef QP_HALF_H
#define QP_HALF_H

#include <stdint.h>
#include <string.h>

enum {
  QP_HALF_NAN = 0x7fff, /* what CUDA makes of any NaN, in both formats */
  QP_HALF_INF = 0x7c00,
  QP_BF16_INF = 0x7f80
};

/* An fp32 number as its bits, and the number that bits stand for. */
static inline uint32_t qp_float_bits(float f) {
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  return bits;
}
static inline float qp_float_of_bits(uint32_t bits) {
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

/* The same of an fp64 number. */
static inline uint64_t qp_double_bits(double d) {
  uint64_t bits;
  memcpy(&bits, &d, sizeof bits);
  return bits;
}
static inline double qp_double_of_bits(uint64_t bits) {
  double d;
  memcpy(&d, &bits, sizeof d);
  return d;
}

/* Give the exact value of fp16 bits.  A NaN stays a NaN and keeps its sign and payload. */
static inline float qp_half_to_float(uint16_t h) {
  uint32_t bits = (uint32_t)(h & 0x7fff) << 13;
  if (bits >= (uint32_t)QP_HALF_INF << 13)
    bits |= 0x7f800000;
  else /* rebias by 2^(127-15); the product is exact for subnormals too */
    bits = qp_float_bits(qp_float_of_bits(bits) * 0x1p112f);
  return qp_float_of_bits(bits | (uint32_t)(h & 0x8000) << 16);
}

/* Give the exact value of bf16 bits. */
static inline float qp_bf16_to_float(uint16_t b) { return qp_float_of_bits((uint32_t)b << 16); }

/*
** Round to the nearest fp16, ties to even; overflow gives infinity, NaN gives QP_HALF_NAN, the sign
** of zero is kept.  A product or sum of two fp16 values is exact in double, so that
** qp_double_to_half(a * b) rounds once.
*/
uint16_t qp_float_to_half(float f);
uint16_t qp_double_to_half(double d);

/* Round a number to bf16, as above. */
uint16_t qp_float_to_bf16(float f);
uint16_t qp_double_to_bf16(double d);

#endif
