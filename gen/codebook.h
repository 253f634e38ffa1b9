/* SPDX-License-Identifier: MIT */
/* Codebooks for N(0,1), computed by our own code and kept on disk. */
#ifndef QP_CODEBOOK_H
#define QP_CODEBOOK_H

#include <stdint.h>

#include "runtime/status.h"

/*
** 'out' gets [entries][dim] fp16 bits; dim is 1, 2, 4 or 8.  The same arguments give the same bits
** on every machine.
**   gaussian_kmeans   k-means on N(0, I_dim)
**   lloyd_max         the quantizer of least mean squared error with that many levels, rising
**   random_gaussian   independent draws from N(0, I_dim)
** QP_E_ARG: an argument is out of range; QP_E_NOMEM.
*/
qp_status qp_codebook_gaussian_kmeans(unsigned entries, unsigned dim, uint64_t seed, uint16_t *out,
                                      qp_error *err);
qp_status qp_codebook_lloyd_max(unsigned entries, uint16_t *out, qp_error *err);
qp_status qp_codebook_random_gaussian(unsigned entries, unsigned dim, uint64_t seed, uint16_t *out,
                                      qp_error *err);

#endif
