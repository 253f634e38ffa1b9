/* SPDX-License-Identifier: MIT */
/* Compares two distributions of the next token:  logits --> [perplexity, KL divergence, top token].
   */
#ifndef QP_DIVERGENCE_H
#define QP_DIVERGENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sums over predicted tokens. */
typedef struct qp_divergence {
  size_t tokens, same_top;
  double loss, loss_squares;               /* The sums of -ln q(next) of the model, in nats, and of
                                              its squares. */
  double source_loss, source_loss_squares; /* -ln p(next) of the source */
  double kl, kl_squares;                   /* sum p (ln p - ln q), nats */
} qp_divergence;

/* Add one prediction: the logits [vocab] of the model and of the source (NULL means that there is
   none), and the token that came next, which is below vocab. */
void qp_divergence_row(const float *model, const float *source, size_t vocab, uint32_t next,
                       qp_divergence *sums);
void qp_divergence_add(qp_divergence *sums, const qp_divergence *more);

/* The mean sum / n, and its standard error as if the n tokens were independent.  Both are NAN for n
   = 0, the error also for n = 1. */
double qp_divergence_mean(double sum, size_t n);
double qp_divergence_error(double sum, double squares, size_t n);

#endif
