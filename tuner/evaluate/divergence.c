/* SPDX-License-Identifier: MIT */
/* Compares two distributions of the next token. */
#include "tuner/evaluate/divergence.h"

#include <math.h>

#include "gen/model/vector_math.h"

/* ln sum exp(x) */
typedef struct total {
  float most;
  double sum, log; /* The sum of exp(x - most), and its logarithm with 'most' added again. */
} total;

static total total_of(const float *x, size_t n) {
  const float most = qp_vector_max(x, n);
  const double sum = (double)qp_vector_sum_exp(x, n, most);
  return (total){most, sum, (double)most + log(sum)};
}

/* Find the first of the largest. */
static size_t top(const float *x, size_t n, float most) {
  size_t i = 0;
  while (i < n && x[i] != most) i++;
  return i;
}

void qp_divergence_row(const float *model, const float *source, size_t vocab, uint32_t next,
                       qp_divergence *sums) {
  const total q = total_of(model, vocab);
  const double loss = q.log - (double)model[next];
  sums->tokens++;
  sums->loss += loss;
  sums->loss_squares += loss * loss;
  if (!source) return;
  const total p = total_of(source, vocab);
  const double source_loss = p.log - (double)source[next];
  const double difference = qp_vector_weighted_difference(source, model, vocab, p.most) / p.sum;
  const double kl = difference - p.log + q.log;
  sums->source_loss += source_loss;
  sums->source_loss_squares += source_loss * source_loss;
  sums->kl += kl;
  sums->kl_squares += kl * kl;
  sums->same_top += top(source, vocab, p.most) == top(model, vocab, q.most);
}

void qp_divergence_add(qp_divergence *sums, const qp_divergence *more) {
  sums->tokens += more->tokens;
  sums->same_top += more->same_top;
  sums->loss += more->loss;
  sums->loss_squares += more->loss_squares;
  sums->source_loss += more->source_loss;
  sums->source_loss_squares += more->source_loss_squares;
  sums->kl += more->kl;
  sums->kl_squares += more->kl_squares;
}

double qp_divergence_mean(double sum, size_t n) { return n ? sum / (double)n : NAN; }

double qp_divergence_error(double sum, double squares, size_t n) {
  if (n < 2) return NAN;
  const double mean = sum / (double)n;
  return sqrt(fmax(squares / (double)n - mean * mean, 0) / (double)(n - 1));
}
