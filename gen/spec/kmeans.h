/* SPDX-License-Identifier: MIT */
/* Runs k-means on N(0, I), with the same centers on every machine. */
#ifndef QP_KMEANS_H
#define QP_KMEANS_H

#include <stdint.h>

#include "runtime/status.h"

/*
** Compute the centers of 'entries' cells in 'dim' (2 to 16) dimensions, center[entries][dim];
** qp_codebook_gaussian_kmeans explains method, start and seed.  QP_E_NOMEM.
*/
qp_status qp_kmeans(unsigned entries, unsigned dim, uint64_t seed, double *center, qp_error *err);

#endif
