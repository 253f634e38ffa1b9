/* SPDX-License-Identifier: MIT */
/* The architectures that kernels are generated for. */
#ifndef QP_ARCH_H
#define QP_ARCH_H

#include "runtime/status.h"

/* Architectures that qpal generates for, ending with 0:  80 86 89 90 100 120. */
extern const unsigned qp_architectures[];

/* "sm_90", "90" -> 90; QP_E_ARG names the ones known and leaves *arch alone. */
qp_status qp_arch_parse(const char *text, unsigned *arch, qp_error *err);

/* Most dynamic shared memory, in bytes, that a block can opt into: 166912 (80), 101376 (86, 89,
** 120), 232448 (90, 100); 0 for an architecture that is not known. */
unsigned qp_arch_smem_bytes(unsigned arch);

#endif
