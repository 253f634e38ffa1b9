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

#endif
