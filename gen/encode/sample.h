/* SPDX-License-Identifier: MIT */
/* Codes N(0,1) weights by a quantizer: distortion, input scales and training are measured on them.
   */
#ifndef QP_SAMPLE_H
#define QP_SAMPLE_H

#include <stdint.h>

#include "gen/encode/coder.h"

/* Make n values of N(0,1) from 'seed', which are the same on every machine. */
void qp_sample_gaussian(uint64_t seed, size_t n, float *out);

/*
** Code n targets times 'scale' (n is a multiple of dim; for a trellis they are one run, free at
** both ends) and sum up:  cross = sum x v,  square = sum v^2  over x, the unscaled targets, and v,
** the codes' values.  'states' [n / dim] gets each step's state, or is NULL.  This does not serve
** quantizers with group fields.
*/
qp_status qp_sample_code(const qp_coder *c, size_t n, const float *targets, double scale,
                         double *cross, double *square, uint32_t *states, qp_error *err);

#endif
