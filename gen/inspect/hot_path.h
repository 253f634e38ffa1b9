/* SPDX-License-Identifier: MIT */
/*
** The common way around a kernel's hot loop, counted:  SASS listing -> [instructions by unit].  The
** hot loop decodes weights and fetches those of later iterations; what is done when a row group or
** a warp's range ends, and at its first word, is rare and not in it.
*/
#ifndef QP_HOT_PATH_H
#define QP_HOT_PATH_H

#include "gen/inspect/listing.h"

typedef struct qp_hot_path {
  unsigned instructions; /* instructions that a warp issues on one way around */
  unsigned count[QP_UNIT_COUNT];
  unsigned lds_passes; /* the fewest that the loads of shared memory take */
  unsigned words;      /* words of weights that a lane fetches */
} qp_hot_path;

/*
** Find the way with the fewest instructions among all ways around all loops (inner loops left out)
** on which a lane fetches at least 'words' words of weights and a warp issues at least 'products'
** tensor instructions.  QP_E_ARG means that there is none, so the kernel is not what the caller
** thinks; QP_E_NOMEM.
*/
qp_status qp_hot_path_find(qp_listing *l, unsigned words, unsigned products, qp_hot_path *out,
                           qp_error *err);

/* Count the hot path of a kernel in a cubin.  Errors are those of qp_hot_path and of
   qp_disassemble. */
qp_status qp_hot_path_of_cubin(const void *cubin, size_t bytes, const char *kernel, unsigned words,
                               unsigned products, qp_hot_path *out, qp_error *err);

#endif
