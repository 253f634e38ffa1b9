/* SPDX-License-Identifier: MIT */
/* Functions of vectors, at every length about a vector's, against libm. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/random.h"
#include "gen/model/vector_math.h"

enum { LONGEST = 70 };

static void draw(uint64_t seed, double size, float *x) {
  qp_random r = {seed};
  for (unsigned i = 0; i < LONGEST; i++) x[i] = (float)qp_random_uniform(&r, -size, size);
}

static bool close_to(double got, double want, double relative) {
  return fabs(got - want) <= relative * fmax(fabs(want), 1e-30);
}

Test(vector_math, exponentials_are_within_two_units_in_the_last_place) {
  for (double x = -86; x < 88; x += 0.0137) {
    float y[1] = {(float)x};
    const float sum = qp_vector_exp_sum(y, 1, 0);
    cr_assert(close_to((double)y[0], exp((double)(float)x), 2.4e-7), "exp(%.9g) = %.9g", x,
              (double)y[0]);
    cr_assert_eq(sum, y[0]);
  }
  float ends[] = {-1e30f, -INFINITY, -88, 0};
  cr_assert_eq(qp_vector_exp_sum(ends, 4, 0), 1);
  cr_assert_eq(ends[0], 0);
  cr_assert_eq(ends[1], 0);
}

Test(vector_math, sums_and_largest_count_every_element) {
  float x[LONGEST], y[LONGEST];
  for (size_t n = 1; n <= LONGEST; n++) {
    double sum = 0, squares = 0, exponentials = 0, weighted = 0;
    float most = -INFINITY;
    draw(n, 3, x);
    draw(n + 100, 3, y);
    for (size_t i = 0; i < n; i++) {
      const double v = (double)x[i];
      sum += v, squares += v * v, exponentials += exp(v - 1);
      weighted += exp(v - 1) * (v - (double)y[i]);
      most = fmaxf(most, x[i]);
    }
    cr_expect_eq(qp_vector_max(x, n), most);
    cr_expect(fabs((double)qp_vector_sum(x, n) - sum) < 1e-5);
    cr_expect(close_to((double)qp_vector_sum_squares(x, n), squares, 1e-6));
    cr_expect(close_to((double)qp_vector_sum_exp(x, n, 1), exponentials, 1e-6));
    cr_expect(fabs(qp_vector_weighted_difference(x, y, n, 1) - weighted) < 1e-4);
  }
}

Test(vector_math, elements_beyond_the_end_are_left_alone) {
  for (size_t n = 0; n < LONGEST; n++) {
    float x[LONGEST], y[LONGEST], w[LONGEST], was[LONGEST], z[LONGEST];
    draw(n, 3, x);
    draw(n + 7, 3, y);
    draw(n + 8, 1, w);
    memcpy(was, x, sizeof x);
    qp_vector_scale(x, n, 2);
    qp_vector_add(x, y, n);
    for (size_t i = 0; i < n; i++)
      cr_assert(close_to((double)x[i], (double)(2 * was[i] + y[i]), 1e-6));
    qp_vector_softcap(x, n, 1.5f);
    for (size_t i = 0; i < n; i++)
      cr_assert_float_eq(x[i], 1.5f * tanhf((2 * was[i] + y[i]) / 1.5f), 1e-6f);
    cr_assert_arr_eq(x + n, was + n, (LONGEST - n) * sizeof *x);
    memset(z, 0, sizeof z);
    qp_vector_norm(was, 0.5f, 2, w, 1, y, n, z);
    for (size_t i = 0; i < n; i++)
      cr_assert_float_eq(z[i], (was[i] - 0.5f) * 2 * (1 + w[i]) + y[i], 1e-5f);
    for (size_t i = n; i < LONGEST; i++) cr_assert_eq(z[i], 0);
  }
}

static double activation(qp_activation a, double x) {
  switch (a) {
  case QP_ACTIVATION_SILU: return x / (1 + exp(-x));
  case QP_ACTIVATION_GELU: return x / 2 * (1 + erf(x / sqrt(2)));
  case QP_ACTIVATION_GELU_TANH:
    return x / 2 * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
  case QP_ACTIVATION_RELU: return x > 0 ? x : 0;
  }
  return NAN;
}

Test(vector_math, activations_are_their_formulas_times_the_other_branch) {
  for (unsigned a = QP_ACTIVATION_SILU; a <= QP_ACTIVATION_RELU; a++)
    for (size_t n = 1; n <= LONGEST; n += 23) {
      float x[LONGEST], up[LONGEST], alone[LONGEST], was[LONGEST];
      draw(n, 9, x);
      draw(n + 1, 2, up);
      memcpy(was, x, sizeof x);
      memcpy(alone, x, sizeof x);
      qp_vector_activate((qp_activation)a, x, up, n);
      qp_vector_activate((qp_activation)a, alone, NULL, n);
      for (size_t i = 0; i < n; i++) {
        const double want = activation((qp_activation)a, (double)was[i]);
        cr_assert_float_eq(alone[i], (float)want, 3e-6f, "%u of %g: %g", a, (double)was[i],
                           (double)alone[i]);
        cr_assert_float_eq(x[i], (float)(want * (double)up[i]), 6e-6f);
      }
      cr_assert_arr_eq(x + n, was + n, (LONGEST - n) * sizeof *x);
    }
}
