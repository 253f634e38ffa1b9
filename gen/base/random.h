/* SPDX-License-Identifier: MIT */
/* splitmix64: data that is the same on every machine (Steele, Lea, Flood 2014). */
#ifndef QP_RANDOM_H
#define QP_RANDOM_H

#include <stdint.h>

typedef struct qp_random {
  uint64_t state;
} qp_random;

static inline uint64_t qp_random_next(qp_random *r) {
  uint64_t z = r->state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

/* Uniform in [lo, hi). */
static inline double qp_random_uniform(qp_random *r, double lo, double hi) {
  return lo + (hi - lo) * (double)(qp_random_next(r) >> 11) * 0x1p-53;
}

#endif
