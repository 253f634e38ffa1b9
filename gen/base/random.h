/* SPDX-License-Identifier: MIT */
/* splitmix64: data that is the same on every machine (Steele, Lea, Flood 2014). */
#ifndef QP_RANDOM_H
#define QP_RANDOM_H

#include <stdint.h>

typedef struct qp_random {
  uint64_t state;
} qp_random;

/* Bits of z well mixed, as splitmix64 does. */
static inline uint64_t qp_random_mix(uint64_t z) {
  z += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

/* Take the upper bits as a number in (0, 1). */
static inline double qp_random_unit(uint64_t bits) {
  return ((double)(bits >> 12) + 0.5) * 0x1p-52;
}

static inline uint64_t qp_random_next(qp_random *r) {
  const uint64_t bits = qp_random_mix(r->state);
  r->state += 0x9e3779b97f4a7c15u;
  return bits;
}

/* Draw a number uniformly from [lo, hi). */
static inline double qp_random_uniform(qp_random *r, double lo, double hi) {
  return lo + (hi - lo) * (double)(qp_random_next(r) >> 11) * 0x1p-53;
}

#endif
