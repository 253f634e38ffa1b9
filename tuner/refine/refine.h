/* SPDX-License-Identifier: MIT */
/* Refinement after quantization:  packed model, source, token ids --> [factors].
**
** With all codes as they are, factors of row scales and norms (factors.h) are trained to make the
** mean KL divergence of the model's predictions from the source's small, by Adam (Kingma and Ba,
** arXiv 1412.6980) on batches of whole sequences.  So does the second phase of EfficientQAT (arXiv
** 2407.11062) with step sizes, and norm tweaking (arXiv 2309.02784) with norms.  Every eighth
** sequence is held out: what is kept is the step that is best there.
*/
#ifndef QP_REFINE_H
#define QP_REFINE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "gen/model/forward.h"
#include "gen/model/tokens.h"
#include "tuner/refine/factors.h"

typedef struct qp_refine_options {
  unsigned steps;   /* 0: as many as the text has batches */
  unsigned seed;    /* seed of the order of sequences */
  size_t batch;     /* tokens of a step, in whole sequences */
  size_t held;      /* tokens that are held out at most */
  double rate;      /* The largest relative step of a factor, which falls to 0 as a cosine. */
  const char *file; /* what is done so far, for a run that was stopped; or NULL */
  const _Atomic bool *stopped; /* or NULL */
  _Atomic size_t *done;        /* or NULL: grows to qp_refine_work */
  void (*tell)(void *arg, unsigned step, double kl, double seconds); /* called after each look, or
                                                                        NULL */
  void *arg;
} qp_refine_options;

typedef struct qp_refine_result {
  size_t trained, held; /* tokens of the text */
  unsigned steps, step; /* steps of the training, and the one that is kept */
  double before, after; /* The KL divergence of the held-out tokens, in nats a token. */
  double error;         /* The standard error of after - before, tokens taken as independent. */
} qp_refine_result;

/* How much there is to do: tokens that go through a model, thrice those of a step. */
size_t qp_refine_work(const qp_tokens *tokens, const qp_refine_options *o);

/*
** The factors 'x' of 'model' become the best.  Memory: the source's last hidden states of all
** tokens, those before every block of a batch, up to 2 GiB of what lies between, logits of some
** hundred tokens.  With a file a run that is stopped goes on from the last look at what is held
** out, and ends with the same factors; the file stays.  It is of the contents of both models, of
** the text and the options: where one of them is another, the training begins anew.
** QP_E_ARG: vocabularies differ, fewer than two sequences, a loss that is not finite; QP_E_LIMIT:
** stopped; errors of qp_forward_block; QP_E_NOMEM.
*/
qp_status qp_refine(qp_forward *model, qp_forward *source, const qp_tokens *tokens,
                    const qp_refine_options *o, qp_factors *x, qp_refine_result *out,
                    qp_error *err);

#endif
