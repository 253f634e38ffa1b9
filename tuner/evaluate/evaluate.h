/* SPDX-License-Identifier: MIT */
/* Judges a model on a text:  model, source, token ids --> [sums of losses and divergences]. */
#ifndef QP_EVALUATE_H
#define QP_EVALUATE_H

#include <stdatomic.h>

#include "gen/model/forward.h"
#include "gen/model/tokens.h"
#include "tuner/evaluate/divergence.h"

/*
** Every token but the first of each sequence is predicted from those before it, by the model and
** by the source (NULL: none).  '*done' (NULL: none) grows to the number of tokens, once for each
** of the models.  Hidden states of some thousand tokens and logits of some hundred are in memory
** at a time.
** QP_E_ARG: the vocabularies differ, an id is not in them, or every sequence is one token long;
** errors of qp_forward_block; QP_E_NOMEM.
*/
qp_status qp_evaluate(qp_forward *model, qp_forward *source, const qp_tokens *tokens,
                      _Atomic size_t *done, qp_divergence *out, qp_error *err);

#endif
