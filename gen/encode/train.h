/* SPDX-License-Identifier: MIT */
/* Codebooks trained on the trellis (or code) that uses them. */
#ifndef QP_TRAIN_H
#define QP_TRAIN_H

#include <stdint.h>

#include "gen/spec/quantizer.h"
#include "runtime/status.h"

typedef struct qp_train_options {
  unsigned rounds;  /* 0: 14 */
  size_t weights;   /* weights of a round; the first rounds take a quarter; 0: 2^20 */
  unsigned threads; /* 0: as many as CPUs */
  unsigned beam;    /* paths that survive a step where the window is beyond QP_TRELLIS_WINDOW; 0:
                       the usual number */
  uint64_t seed;
  /* Is told after each round what the distortion of the round's weights was before its update.  May
     be NULL. */
  void (*progress)(void *arg, unsigned round, unsigned rounds, double distortion);
  void *arg;
} qp_train_options;

/*
** Lloyd's algorithm where the encoder is the trellis search: each round codes fresh N(0,1) weights,
** then each entry of the quantizer's codebook becomes what is best for the weights that chose
** states that look it up. How an entry decodes is asked of the quantizer itself, so an entry may be
** changed by signs, fine parts or bits of the state; its values are found by steps along fp16,
** coarse to fine.
** 'codebook' [entries][dim], in: where to start (the quantizer's own data is copied by the caller);
** out: trained.  It is untouched on error.
** QP_E_ARG: the quantizer is a split, has group fields, or not exactly one codebook with one
** look-up a state; QP_E_LIMIT: it cannot be encoded; QP_E_NOMEM.
*/
qp_status qp_train_codebook(const qp_quantizer *q, const qp_train_options *options,
                            uint16_t *codebook, qp_error *err);

/*
** Do the same for all codebooks of a quantizer, codebook[c] [entries][dim], whatever their scope,
** with group fields or not.  Where qp_train_codebook refuses, N(0,1) weights are coded and the
** entries solved for in turns (gen/encode/book_fit.h), on the same weights in each round.
** QP_E_ARG: it has no codebook, or its decode is no sum of entries; errors of qp_book_fit.
*/
qp_status qp_train_codebooks(const qp_quantizer *q, const qp_train_options *options,
                             uint16_t *const *codebook, qp_error *err);

#endif
