/* SPDX-License-Identifier: MIT */
/* NVRTC, which a worker process opens by dlopen, for the stage  CUDA source -> cubin + PTX. */
#ifndef QP_NVRTC_H
#define QP_NVRTC_H

#include "gen/compile/backend.h"

/*
** The backend of the product.  'open' takes the first NVRTC of 12.8 or newer in the places that
** runtime/LIBRARIES.md lists ($QPAL_NVRTC alone where that is set); where there is none it fails
** with QP_E_MISSING and says what was tried.
*/
extern const qp_compile_backend qp_nvrtc_backend;

enum { QP_NVRTC_OPTIONS = 4, QP_NVRTC_OPTION_BYTES = 48 };

typedef struct qp_nvrtc_options {
  char text[QP_NVRTC_OPTIONS][QP_NVRTC_OPTION_BYTES];
  unsigned count;
} qp_nvrtc_options;

/*
** The options a compile for 'arch' is run with.  A compile for sm_XX gives cubin and PTX at once;
** without a cubin it is one for compute_XX, which spares the time of ptxas and gives the same PTX.
*/
qp_nvrtc_options qp_nvrtc_options_of(unsigned arch, bool cubin);

#endif
