/* SPDX-License-Identifier: MIT */
/* Second moments are those of a double-precision sum, for any pieces and any number of threads. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/random.h"
#include "tuner/calibrate/moments.h"

enum { COLUMNS = 150, ROWS = 700 }; /* two tiles a side, the second not whole; two pieces */

static qp_error err;

/* x with columns that depend on each other and a mean. */
static float *activations(void) {
  float *x = malloc(sizeof *x * ROWS * COLUMNS);
  qp_random r = {.state = 5};
  for (size_t i = 0; i < (size_t)ROWS * COLUMNS; i++)
    x[i] = (float)(qp_random_uniform(&r, -1, 1) + (i % COLUMNS % 7 == 0 ? 3 : 0) +
                   (i ? 0.3 * (double)x[i - 1] : 0));
  return x;
}

static float *mean_of(const float *x, unsigned threads, size_t piece) {
  qp_parallel *p;
  const qp_blas *blas;
  qp_moments *m;
  float *out = malloc(sizeof *out * COLUMNS * COLUMNS);
  cr_assert_eq(qp_parallel_open(threads, &p, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_blas_open(&blas, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_moments_new(COLUMNS, p, blas, &m, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_moments_mean(m, out, &err), QP_E_ARG, "nothing was added yet");
  for (size_t at = 0; at < ROWS; at += piece)
    qp_moments_add(m, x + at * COLUMNS, at + piece < ROWS ? piece : ROWS - at);
  cr_assert_eq(qp_moments_rows(m), ROWS);
  cr_assert_eq(qp_moments_mean(m, out, &err), QP_OK, "%s", err.text);
  qp_moments_free(m);
  qp_parallel_close(p);
  return out;
}

Test(moments, are_the_mean_of_x_x_t) {
  float *x = activations(), *got = mean_of(x, 2, ROWS);
  for (size_t a = 0; a < COLUMNS; a++)
    for (size_t b = 0; b < COLUMNS; b++) {
      double sum = 0;
      for (size_t r = 0; r < ROWS; r++)
        sum += (double)x[r * COLUMNS + a] * (double)x[r * COLUMNS + b];
      cr_assert_float_eq(got[a * COLUMNS + b], sum / ROWS, 1e-5 * (1 + fabs(sum / ROWS)),
                         "[%zu][%zu]", a, b);
      cr_assert_eq(got[a * COLUMNS + b], got[b * COLUMNS + a]);
    }
  free(x);
  free(got);
}

Test(moments, do_not_depend_on_threads) {
  float *x = activations(), *one = mean_of(x, 1, 512), *three = mean_of(x, 3, 512);
  cr_assert_eq(memcmp(one, three, sizeof *one * COLUMNS * COLUMNS), 0);
  free(x);
  free(one);
  free(three);
}

Test(moments, keep_the_digits_of_a_long_text) {
  /* a sum in fp32 would lose each of the 999 small pieces: its last digit is 512 */
  qp_parallel *p;
  const qp_blas *blas;
  qp_moments *m;
  float x[512], out;
  cr_assert_eq(qp_parallel_open(1, &p, &err), QP_OK);
  cr_assert_eq(qp_blas_open(&blas, &err), QP_OK);
  cr_assert_eq(qp_moments_new(1, p, blas, &m, &err), QP_OK);
  for (unsigned i = 0; i < 512; i++) x[i] = 4096;
  qp_moments_add(m, x, 512);
  for (unsigned i = 0; i < 512; i++) x[i] = 0.5f;
  for (unsigned n = 0; n < 999; n++) qp_moments_add(m, x, 512);
  cr_assert_eq(qp_moments_mean(m, &out, &err), QP_OK);
  const double wanted = (4096.0 * 4096 + 999 * 0.25) / 1000;
  cr_assert_float_eq(out, wanted, 0.01, "%.6f for %.6f", (double)out, wanted);
  qp_moments_free(m);
  qp_parallel_close(p);
}

Test(moments, that_are_not_finite_are_refused) {
  qp_parallel *p;
  const qp_blas *blas;
  qp_moments *m;
  float x[2] = {1, INFINITY}, out[4] = {7, 7, 7, 7};
  cr_assert_eq(qp_parallel_open(1, &p, &err), QP_OK);
  cr_assert_eq(qp_blas_open(&blas, &err), QP_OK);
  cr_assert_eq(qp_moments_new(2, p, blas, &m, &err), QP_OK);
  qp_moments_add(m, x, 1);
  cr_assert_eq(qp_moments_mean(m, out, &err), QP_E_ARG);
  cr_assert(strstr(err.text, "overflow"), "%s", err.text);
  qp_moments_free(m);
  qp_parallel_close(p);
}
