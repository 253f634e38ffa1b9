/* SPDX-License-Identifier: MIT */
/* What a kernel's main loop is made of:  PTX or cubin -> instructions by the pipe
   they keep busy. */
#ifndef QP_INSTRUCTION_MIX_H
#define QP_INSTRUCTION_MIX_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/status.h"

/* Instructions of a loop by the pipe they keep busy.  total is the sum of all others. */
typedef struct qp_instruction_mix {
  unsigned total, integer_alu, integer_mul, half_math, float_math, mma, shared_load, shared_store,
      global_load, global_store, atomic, shuffle, barrier, convert, control, other;
  bool sass; /* counted from SASS (nvdisasm was found), else from PTX */
} qp_instruction_mix;

/*
** Count the instructions of a kernel's main loop: of all loops, each taken without the loops inside
** it, this is the one with the most instructions; a kernel that has no loop is counted as a whole.
** 'ptx' is NUL-ended text as NVRTC writes it.  QP_E_ARG means that the text has no such kernel.
** Thread-safe.
*/
qp_status qp_instruction_mix_ptx(const char *ptx, const char *kernel, qp_instruction_mix *out,
                                 qp_error *err);

/*
** Count them in a cubin, of which nvdisasm makes text; qp_disassemble says where it is looked for
** and which errors that gives.  QP_E_ARG means that the cubin has no such kernel.
*/
qp_status qp_instruction_mix_sass(const void *cubin, size_t bytes, const char *kernel,
                                  qp_instruction_mix *out, qp_error *err);

#endif
