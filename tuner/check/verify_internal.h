/* SPDX-License-Identifier: MIT */
/* Private to tuner/verify*.c. */
#ifndef QP_VERIFY_INTERNAL_H
#define QP_VERIFY_INTERNAL_H

#include "tuner/check/verify.h"

/* The check of an encode kernel; QP_E_WRONG with 'why' where codes differ, else as
   the device says. */
qp_status qp_verify_encode(qp_device *dev, const qp_kernel *kernel, const qp_compiled *compiled,
                           uint64_t seed, qp_verdict *v, qp_error *err);

#endif
