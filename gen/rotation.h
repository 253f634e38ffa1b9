/* SPDX-License-Identifier: MIT */
/* The Hadamard rotation's constants as CUDA text, for templates/rotation.cuh.in. */
#ifndef QP_ROTATION_H
#define QP_ROTATION_H

#include "gen/hadamard.h"
#include "runtime/status.h"

/* Constants of the transform H for blocks of 'threads' threads; '*text' is malloc'ed, the caller
*frees it.
** QP_E_NOMEM only. */
qp_status qp_rotation_constants(const qp_hadamard *h, unsigned threads, char **text);

/* Shared memory that the transform of one row of 'columns' values needs: fp32, padded. */
unsigned qp_rotation_smem_bytes(unsigned columns);

#endif
