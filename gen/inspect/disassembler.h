/* SPDX-License-Identifier: MIT */
/* Runs nvdisasm:  cubin -> [nvdisasm] -> SASS text. */
#ifndef QP_DISASSEMBLER_H
#define QP_DISASSEMBLER_H

#include <stddef.h>

#include "runtime/status.h"

/*
** The SASS of a cubin as nvdisasm -c prints it, NUL-ended, malloc'ed, the caller frees it.
** nvdisasm is $QPAL_NVDISASM if that is set, else the first of: on PATH, in $CUDA_HOME/bin or
** $CUDA_PATH/bin, in /usr/local/cuda*, among python3's packages (pip install
** nvidia-cuda-nvdisasm), which are asked for once a process and PATH.  QP_E_MISSING: there is
** none; QP_E_IO: it fails or takes more than ten minutes.  Thread-safe.
*/
qp_status qp_disassemble(const void *cubin, size_t bytes, char **text, qp_error *err);

#endif
