/* SPDX-License-Identifier: MIT */
/* Makes codebooks for N(0,1) weights, which have the same bits on every machine and are kept on
   disk. */
#ifndef QP_CODEBOOK_H
#define QP_CODEBOOK_H

#include <stdint.h>

#include "runtime/status.h"

enum { QP_CODEBOOK_MAX_ENTRIES = 65536, QP_CODEBOOK_MAX_DIM = 16 };

/*
** 'out' is [entries][dim] fp16 bits, owned by the caller; entries 1 to 65536 (k-means and
** Lloyd-Max: 8192, k-means beyond 2 dimensions: 1024), dim 1 to 16.
** Only +, -, *, / and sqrt of doubles are used, in a fixed order and without contraction, so that
** results do not depend on the machine or its libm.  Those of the palette come with it
** (lua/shipped/codebook); others are kept in the cache directory (gen/base/cache_dir.h), where a
** torn or foreign file is computed anew.  Random ones are drawn in milliseconds each time.
** QP_E_ARG: entries or dim out of range; QP_E_NOMEM.
*/

/*
** k-means (Lloyd's algorithm) on N(0, I), from a quasi-random start with the density of the best
** quantizer, pdf^(dim / (dim + 2)) (Zador 1982).  'seed' shifts the start.
*/
qp_status qp_codebook_gaussian_kmeans(unsigned entries, unsigned dim, uint64_t seed, uint16_t *out,
                                      qp_error *err);

/* The Lloyd-Max quantizer of N(0,1) (Lloyd 1957, Max 1960) in ascending order: each value is the
   mean of its cell. */
qp_status qp_codebook_lloyd_max(unsigned entries, uint16_t *out, qp_error *err);

/* Independent values of N(0,1), for codebooks whose entries are free and are trained later. */
qp_status qp_codebook_random_gaussian(unsigned entries, unsigned dim, uint64_t seed, uint16_t *out,
                                      qp_error *err);

/* What these are made of: the fp16 number nearest to N(0,1)'s quantile at u, 0 < u < 1. */
uint16_t qp_codebook_draw(double u);

#endif
