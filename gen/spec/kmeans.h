/* SPDX-License-Identifier: MIT */
/* k-means on N(0, I), the same centers on every machine. */
#ifndef QP_KMEANS_H
#define QP_KMEANS_H

#include <stdint.h>

#include "runtime/status.h"

/*
** Centers of 'entries' cells in 'dim' (2 to 16) dimensions, center[entries][dim]; for method,
** start and seed see qp_codebook_gaussian_kmeans.  QP_E_NOMEM.
*/
qp_status qp_kmeans(unsigned entries, unsigned dim, uint64_t seed, double *center, qp_error *err);

#endif
