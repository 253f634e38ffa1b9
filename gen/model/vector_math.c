/* SPDX-License-Identifier: MIT */
/* Functions of long vectors, each compiled for three sets of vector instructions. */
#include "gen/model/vector_math.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "gen/base/simd.h"

enum { LANES = 16 };
typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t lanes_int __attribute__((vector_size(4 * LANES)));

#define INLINE __attribute__((always_inline)) static inline

/* Vectors pass by pointer: by value they would be passed otherwise on each CPU. */

INLINE void load(const float *from, lanes *to) { memcpy(to, from, sizeof *to); }
INLINE void store(const lanes *from, float *to) { memcpy(to, from, sizeof *from); }

/* Load the last n < LANES values; the other lanes get 'fill'. */
INLINE void load_some(const float *from, size_t n, float fill, lanes *to) {
  float buffer[LANES];
  for (unsigned i = 0; i < LANES; i++) buffer[i] = i < n ? from[i] : fill;
  load(buffer, to);
}

INLINE void store_some(const lanes *from, size_t n, float *to) {
  float buffer[LANES];
  store(from, buffer);
  for (size_t i = 0; i < n; i++) to[i] = buffer[i];
}

/* Choose condition ? a : b, lane by lane. */
INLINE void select_lanes(const lanes_int *condition, const lanes *a, lanes *b) {
  *b = (lanes)((*condition & (lanes_int)*a) | (~*condition & (lanes_int)*b));
}

/*
** Compute exp(x) = 2^n exp(r),  n = round(x / ln 2), |r| <= ln 2 / 2 with ln 2 in two parts (Cody
** and Waite), exp(r) by the polynomial of degree 6 of Cephes' expf.  Below -87.3 it is 0 where it
** would be denormal; above 88.4 it is held.
*/
INLINE void exp_lanes(lanes *x) {
  const lanes least = (lanes){0} - 87.3f, most = (lanes){0} + 88.37f, zero = {0};
  const lanes_int below = *x<least, above = *x> most;
  select_lanes(&above, &most, x);
  select_lanes(&below, &least, x);
  const lanes magic = (lanes){0} + 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
  const lanes shifted = *x * 1.44269504088896341f + magic;
  const lanes n = shifted - magic;
  const lanes r = (*x - n * 0.693359375f) - n * -2.12194440e-4f;
  lanes p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const lanes_int power = ((lanes_int)shifted - (lanes_int)magic + 127) << 23;
  lanes y = p * (lanes)power;
  select_lanes(&below, &zero, &y);
  *x = y;
}

/* tanh(x) = 1 - 2 / (1 + exp(2 x)) */
INLINE void tanh_lanes(lanes *x) {
  lanes e = *x * 2.0f;
  exp_lanes(&e);
  *x = 1.0f - 2.0f / (1.0f + e);
}

INLINE void activate_lanes(qp_activation activation, lanes *x) {
  lanes t;
  switch (activation) {
  case QP_ACTIVATION_SILU:
    t = -*x;
    exp_lanes(&t);
    *x = *x / (1.0f + t);
    break;
  case QP_ACTIVATION_GELU_TANH:
    t = 0.797884560802865356f * (*x + 0.044715f * *x * *x * *x);
    tanh_lanes(&t);
    *x = 0.5f * *x * (1.0f + t);
    break;
  case QP_ACTIVATION_RELU: {
    const lanes zero = {0};
    const lanes_int negative = *x < zero;
    select_lanes(&negative, &zero, x);
    break;
  }
  case QP_ACTIVATION_GELU:
    for (unsigned i = 0; i < LANES; i++)
      (*x)[i] = 0.5f * (*x)[i] * (1.0f + erff((*x)[i] * 0.707106781186547524f));
    break;
  }
}

INLINE float add_lanes(const lanes *x) {
  float sum = 0;
  for (unsigned i = 0; i < LANES; i++) sum += (*x)[i];
  return sum;
}

/* ---- The functions: a body, to be compiled for each set of instructions ---- */

INLINE float body_max(const float *x, size_t n) {
  lanes most = (lanes){0} - INFINITY, v;
  size_t i = 0;
  for (; i + LANES <= n; i += LANES) {
    load(x + i, &v);
    const lanes_int more = v > most;
    select_lanes(&more, &v, &most);
  }
  load_some(x + i, n - i, -INFINITY, &v);
  const lanes_int more = v > most;
  select_lanes(&more, &v, &most);
  float result = -INFINITY;
  for (unsigned k = 0; k < LANES; k++) result = most[k] > result ? most[k] : result;
  return result;
}

/* The sum of exp(x[i] - shift), which also goes to 'to' unless that is NULL. */
INLINE float add_exps(const float *x, float *to, size_t n, float shift) {
  lanes sum = {0}, v;
  size_t i = 0;
  for (; i + LANES <= n; i += LANES) {
    load(x + i, &v);
    v -= shift;
    exp_lanes(&v);
    if (to) store(&v, to + i);
    sum += v;
  }
  load_some(x + i, n - i, -INFINITY, &v);
  v -= shift;
  exp_lanes(&v);
  if (to) store_some(&v, n - i, to + i);
  sum += v;
  return add_lanes(&sum);
}

INLINE float body_exp_sum(float *x, size_t n, float shift) { return add_exps(x, x, n, shift); }

INLINE float body_sum_exp(const float *x, size_t n, float shift) {
  return add_exps(x, NULL, n, shift);
}

INLINE double body_weighted_difference(const float *a, const float *b, size_t n, float shift) {
  double total = 0;
  for (size_t first = 0; first < n; first += 1024) { /* short sums in fp32 */
    const size_t end = n - first < 1024 ? n : first + 1024;
    lanes sum = {0}, u, v, p;
    size_t i = first;
    for (; i + LANES <= end; i += LANES) {
      load(a + i, &u);
      load(b + i, &v);
      p = u - shift;
      exp_lanes(&p);
      sum += p * (u - v);
    }
    load_some(a + i, end - i, 0, &u);
    load_some(b + i, end - i, 0, &v);
    p = u - shift;
    exp_lanes(&p);
    sum += p * (u - v);
    total += (double)add_lanes(&sum);
  }
  return total;
}

INLINE float body_sum(const float *x, size_t n) {
  lanes sum = {0}, v;
  size_t i = 0;
  for (; i + LANES <= n; i += LANES) {
    load(x + i, &v);
    sum += v;
  }
  load_some(x + i, n - i, 0, &v);
  sum += v;
  return add_lanes(&sum);
}

INLINE float body_sum_squares(const float *x, size_t n) {
  lanes sum = {0}, v;
  size_t i = 0;
  for (; i + LANES <= n; i += LANES) {
    load(x + i, &v);
    sum += v * v;
  }
  load_some(x + i, n - i, 0, &v);
  sum += v * v;
  return add_lanes(&sum);
}

INLINE void body_scale(float *x, size_t n, float factor) {
  lanes v;
  size_t i = 0;
  for (; i + LANES <= n; i += LANES) {
    load(x + i, &v);
    v *= factor;
    store(&v, x + i);
  }
  for (; i < n; i++) x[i] *= factor;
}

INLINE void body_add(float *y, const float *x, size_t n) {
  lanes u, v;
  size_t i = 0;
  for (; i + LANES <= n; i += LANES) {
    load(x + i, &u);
    load(y + i, &v);
    v += u;
    store(&v, y + i);
  }
  for (; i < n; i++) y[i] += x[i];
}

INLINE void body_softcap(float *x, size_t n, float cap) {
  lanes v;
  size_t i = 0;
  for (; i + LANES <= n; i += LANES) {
    load(x + i, &v);
    v /= cap;
    tanh_lanes(&v);
    v *= cap;
    store(&v, x + i);
  }
  load_some(x + i, n - i, 0, &v);
  v /= cap;
  tanh_lanes(&v);
  v *= cap;
  store_some(&v, n - i, x + i);
}

INLINE void body_norm(const float *x, float mean, float factor, const float *weight, float offset,
                      const float *bias, size_t n, float *y) {
  lanes v, w, b = {0};
  size_t i = 0;
  for (; i + LANES <= n; i += LANES) {
    load(x + i, &v);
    load(weight + i, &w);
    if (bias) load(bias + i, &b);
    v = (v - mean) * factor * (w + offset) + b;
    store(&v, y + i);
  }
  for (; i < n; i++) y[i] = (x[i] - mean) * factor * (weight[i] + offset) + (bias ? bias[i] : 0);
}

INLINE void body_activate(qp_activation activation, float *gate, const float *up, size_t n) {
  lanes v, u;
  size_t i = 0;
  for (; i + LANES <= n; i += LANES) {
    load(gate + i, &v);
    activate_lanes(activation, &v);
    if (up) {
      load(up + i, &u);
      v *= u;
    }
    store(&v, gate + i);
  }
  load_some(gate + i, n - i, 0, &v);
  activate_lanes(activation, &v);
  if (up) {
    load_some(up + i, n - i, 0, &u);
    v *= u;
  }
  store_some(&v, n - i, gate + i);
}

/* ---- Choosing ---- */

#define FUNCTIONS(X)                                                                               \
  X(float, max, (const float *x, size_t n), (x, n))                                                \
  X(float, exp_sum, (float *x, size_t n, float shift), (x, n, shift))                              \
  X(float, sum_exp, (const float *x, size_t n, float shift), (x, n, shift))                        \
  X(double, weighted_difference, (const float *a, const float *b, size_t n, float shift),          \
    (a, b, n, shift))                                                                              \
  X(float, sum, (const float *x, size_t n), (x, n))                                                \
  X(float, sum_squares, (const float *x, size_t n), (x, n))                                        \
  X(void, scale, (float *x, size_t n, float factor), (x, n, factor))                               \
  X(void, add, (float *y, const float *x, size_t n), (y, x, n))                                    \
  X(void, softcap, (float *x, size_t n, float cap), (x, n, cap))                                   \
  X(void, norm,                                                                                    \
    (const float *x, float mean, float factor, const float *weight, float offset,                  \
     const float *bias, size_t n, float *y),                                                       \
    (x, mean, factor, weight, offset, bias, n, y))                                                 \
  X(void, activate, (qp_activation activation, float *gate, const float *up, size_t n),            \
    (activation, gate, up, n))

#define PLAIN(type, name, parameters, arguments)                                                   \
  static type plain_##name parameters { return body_##name arguments; }
FUNCTIONS(PLAIN)

#ifdef QP_X86
#define WIDER(type, name, parameters, arguments)                                                   \
  QP_AVX2 static type avx2_##name parameters { return body_##name arguments; }                     \
  QP_AVX512 static type avx512_##name parameters { return body_##name arguments; }
FUNCTIONS(WIDER)
#define CHOOSE(name)                                                                               \
  (level == QP_SIMD_AVX512 ? avx512_##name : level == QP_SIMD_AVX2 ? avx2_##name : plain_##name)
#else
#define CHOOSE(name) plain_##name
#endif

static qp_simd_level level;

__attribute__((constructor)) static void find_level(void) { level = qp_simd(); }

#define PUBLIC(type, name, parameters, arguments)                                                  \
  type qp_vector_##name parameters { return CHOOSE(name) arguments; }
FUNCTIONS(PUBLIC)
