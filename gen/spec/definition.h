/* SPDX-License-Identifier: MIT */
/* What a quantizer's decode gives:  evaluation over all states, checks, the definition's hash. */
#ifndef QP_DEFINITION_H
#define QP_DEFINITION_H

#include "gen/spec/quantizer.h"

/* Bits of the number that decode gets: the window, or the planes that are read. */
unsigned qp_quantizer_state_bits(const qp_quantizer *q);

/* How often qp_quantizer_check evaluates decode: states times values of fields. */
uint64_t qp_quantizer_evaluations(const qp_quantizer *q);

/*
** Check a quantizer that is not a split over every state (of vectors of more than 20 bits some) and
** every value of its integer fields (the ends of their ranges where that is too many, as for fp16
** fields):
** no codebook index is past the end, no weight is infinite or NaN, the state is used.
** QP_E_ARG names the state and what is wrong, or says that there are too many; QP_E_NOMEM.
*/
qp_status qp_quantizer_check(const qp_quantizer *q, qp_error *err);

/*
** How many entries of a codebook no state reads.  0 also where not all states can be asked: with
** group fields, for vectors of more than 20 bits, and without memory.
*/
unsigned qp_quantizer_unread(const qp_quantizer *q, unsigned codebook);

/*
** Write the definition's hash to q->hash: XXH3-128 of kind, numbers, fields, codebook data (of
** those that are stored with the weights only their shape), the weights of all states and the
** layout, or for a split of its parts.  It does not depend on how decode is written.  Names of
** quantizers, codebooks and files do not count.  False means that memory ran out.
*/
bool qp_quantizer_hash(qp_quantizer *q);

#endif
