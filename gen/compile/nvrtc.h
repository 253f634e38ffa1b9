/* SPDX-License-Identifier: MIT */
/* NVRTC, opened by dlopen in a worker process; the stage  CUDA source -> cubin + PTX. */
#ifndef QP_NVRTC_H
#define QP_NVRTC_H

#include "gen/compile/backend.h"

/*
** The product's backend.  open looks for NVRTC
**   - where $QPAL_NVRTC says, a file or a directory, and nowhere else if that is set;
**   - in $QPAL_NVRTC_DIR, a directory with the library or a Python site-packages directory;
**   - on the loader's own path;
**   - in $CUDA_HOME, $CUDA_PATH, /usr/local/cuda, /usr/local/cuda-*, /opt/cuda and the system's
**     library directory,
** and fails with QP_E_MISSING and the list of what was tried.
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
