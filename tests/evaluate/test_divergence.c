/* SPDX-License-Identifier: MIT */
/* Losses and divergences of logits, against sums in double precision. */
#include <criterion/criterion.h>
#include <math.h>

#include "gen/base/random.h"
#include "tuner/evaluate/divergence.h"

enum { VOCAB = 5003 };

static void draw(uint64_t seed, float *out) {
  qp_random r = {seed};
  for (unsigned i = 0; i < VOCAB; i++) out[i] = (float)qp_random_uniform(&r, -12, 9);
}

static double log_total(const float *x) {
  double sum = 0;
  for (unsigned i = 0; i < VOCAB; i++) sum += exp((double)x[i]);
  return log(sum);
}

Test(divergence, a_row_gives_the_losses_and_the_divergence_of_its_logits) {
  float p[VOCAB], q[VOCAB];
  draw(1, p);
  draw(2, q);
  const double total_p = log_total(p), total_q = log_total(q);
  double kl = 0;
  for (unsigned i = 0; i < VOCAB; i++)
    kl += exp((double)p[i] - total_p) * ((double)p[i] - total_p - (double)q[i] + total_q);
  qp_divergence d = {0};
  qp_divergence_row(q, p, VOCAB, 17, &d);
  cr_assert_float_eq(d.loss, total_q - (double)q[17], 1e-6 * d.loss);
  cr_assert_float_eq(d.source_loss, total_p - (double)p[17], 1e-6 * d.source_loss);
  cr_assert_float_eq(d.kl, kl, 2e-6 * kl, "%.9g, not %.9g", d.kl, kl);
  cr_assert_eq(d.same_top, 0);
  cr_assert_eq(d.tokens, 1);
}

Test(divergence, equal_logits_diverge_by_nothing_wherever_they_lie) {
  float p[VOCAB], q[VOCAB];
  draw(3, p);
  for (unsigned i = 0; i < VOCAB; i++) q[i] = p[i] + 3; /* the same distribution */
  qp_divergence d = {0};
  qp_divergence_row(p, p, VOCAB, 0, &d);
  cr_assert_float_eq(d.kl, 0, 1e-12);
  qp_divergence_row(q, p, VOCAB, 0, &d);
  cr_assert_float_eq(d.kl, 0, 1e-6, "%g", d.kl);
  cr_assert_eq(d.same_top, 2);
}

Test(divergence, the_standard_error_is_that_of_the_mean) {
  /* 1, 2, 3, 4: mean 2.5, variance of a sample 5/3 */
  cr_assert_float_eq(qp_divergence_mean(10, 4), 2.5, 1e-12);
  cr_assert_float_eq(qp_divergence_error(10, 30, 4), sqrt(5.0 / 3 / 4), 1e-12);
  cr_assert(isnan(qp_divergence_mean(0, 0)));
  cr_assert(isnan(qp_divergence_error(1, 1, 1)));
}
