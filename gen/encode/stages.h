/* SPDX-License-Identifier: MIT */
/* Searches codes of several stages whose vectors add up:  targets + a table for each stage
   --[beam]--> codes. */
#ifndef QP_STAGES_H
#define QP_STAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/encode/nearest.h"
#include "gen/spec/quantizer.h"
#include "runtime/status.h"

enum {
  QP_MAX_STAGES = 4,
  QP_STAGE_BITS = 16, /* most bits of a stage */
  QP_STAGE_SURVIVORS = 16
};

/*
** A vector quantizer whose decode is, but for its rounding, f(0) plus what each run of the code's
** bits adds: additive and residual codebooks. Where the runs end is found by asking decode; a table
** a run, the one with the largest vectors first, takes the place of one for all codes.
*/
typedef struct qp_stages {
  const qp_quantizer *quantizer;
  unsigned count, dim; /* count 0: decode is no such sum, or of one stage alone */
  float base[QP_NEAREST_DIM];
  struct {
    unsigned shift, bits;
    qp_codewords words; /* [2^bits]: what the run adds */
    float *value;       /* [2^bits][dim] */
    float most;         /* the largest square of them */
  } stage[QP_MAX_STAGES];
} qp_stages;

/* A decode of another form is no error.  QP_E_NOMEM.  Free with qp_stages_free. */
qp_status qp_stages_make(qp_stages *out, const qp_quantizer *q, qp_error *err);
void qp_stages_free(qp_stages *s);
size_t qp_stages_bytes(const qp_stages *s);

/* Say how many codes survive stage k: many where little is left to search. */
unsigned qp_stages_width(const qp_stages *s, unsigned k);

/*
** Find codes[i] for targets [n][dim], stage by stage: they are the best that a beam of survivors
** meets.  'scratch' has qp_stages_scratch floats.  Every machine finds the same codes.
*/
size_t qp_stages_scratch(const qp_stages *s);
void qp_stages_search(const qp_stages *s, size_t n, const float *targets, float *scratch,
                      uint32_t *codes);

#endif
