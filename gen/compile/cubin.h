/* SPDX-License-Identifier: MIT */
/* What a cubin (ELF64 as ptxas writes it) and ptxas' messages say of a kernel's resources. */
#ifndef QP_CUBIN_H
#define QP_CUBIN_H

#include <stdint.h>

#include "gen/compile/job.h"

/*
** Registers, static shared memory, stack frame and barriers of 'kernel' (the name of its ELF
** symbol) in the 'bytes' at 'cubin'; the spill fields of *out are left alone.  Reads inside the
** buffer only, whatever it holds.  QP_E_COMPILE: not a cubin, a damaged one, or no such kernel (the
** message names those that are there); *out is then untouched.  Thread-safe.
*/
qp_status qp_cubin_resources(const void *cubin, size_t bytes, const char *kernel, qp_resources *out,
                             qp_error *err);

/*
** Hash what 'kernel' executes and reads: its machine code, the constants and the initialised data
** of the cubin, but not their names, so kernels that differ in name alone have one hash.  0 stands
** for what is no cubin, a damaged one, or one without such a kernel.  Thread-safe.
*/
uint64_t qp_cubin_code(const void *cubin, size_t bytes, const char *kernel);

/*
** Read the bytes per thread that 'kernel' spills from the lines that ptxas -v left in NVRTC's log.
** Where the log does not speak of the kernel it returns false and leaves the outputs untouched.
*/
bool qp_ptxas_spills(const char *log, const char *kernel, unsigned *store_bytes,
                     unsigned *load_bytes);

#endif
