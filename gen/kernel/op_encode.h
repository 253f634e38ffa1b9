/* SPDX-License-Identifier: MIT */
/* What rows of encode for codes alone have in common. */
#ifndef QP_OP_ENCODE_H
#define QP_OP_ENCODE_H

#include <stdbool.h>

#include "gen/kernel/problem.h"
#include "runtime/status.h"

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

#endif
