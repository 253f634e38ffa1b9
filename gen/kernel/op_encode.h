/* SPDX-License-Identifier: MIT */
/* What rows of encode for codes alone have in common. */
#ifndef QP_OP_ENCODE_H
#define QP_OP_ENCODE_H

#include <stdbool.h>

#include "gen/base/text.h"
#include "gen/kernel/kernel.h"
#include "gen/kernel/kernel_op.h"
#include "gen/kernel/problem.h"
#include "runtime/status.h"

enum {
  QP_ENCODE_WARP = 32,
  QP_ENCODE_ROWS = 32 /* of a group of rows */
};

/* The quantizer of a kernel's one linear. */
static inline const qp_quantizer *qp_encode_quantizer(const qp_kernel *k) {
  return k->problem.segment[0].quantizer;
}

/* Is it one linear whose quantizer has codes alone, of a trellis or not?  QP_E_LIMIT with the
   reason. */
qp_status qp_encode_check(const qp_problem *p, const char *family, bool trellis, qp_error *err);
/* Is it one linear of vectors without group fields and codebooks by row, of any number of bits? */
qp_status qp_encode_check_vectors(const qp_problem *p, const char *family, qp_error *err);

/* Is it one linear, and no split?  QP_E_LIMIT. */
qp_status qp_encode_check_linear(const qp_problem *p, qp_error *err);

/* That a family is for another kind is no limit (QP_E_ARG): families of its kind say what is. */
qp_status qp_encode_other_kind(const qp_problem *p, const char *family, const char *kind,
                               qp_error *err);

/* What codes decode to, as struct P0, for the hole 'quantizers'.  QP_E_NOMEM. */
qp_status qp_encode_add_decode(qp_text *t, const qp_kernel *k, qp_error *err);

/* ---- With error feedback ---- */

/* Warps a block, which divide the rows of a group among themselves. */
#define QP_ENCODE_FED_WARPS                                                                        \
  { "warps", 1, 8, QP_NEEDED, true, "warps a block" }

/* Blocks for all rows in whole groups, of which one has 'rows'. */
unsigned qp_encode_fed_grid(const qp_kernel *k, unsigned rows);

#endif
