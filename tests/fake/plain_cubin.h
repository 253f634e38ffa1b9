/* SPDX-License-Identifier: MIT */
/* A cubin for those who look at its head alone:  PTX -> ELF64 as ptxas would begin it. */
#ifndef PLAIN_CUBIN_H
#define PLAIN_CUBIN_H

#include <stddef.h>

/*
** The file says of the one kernel in 'ptx' what gen/compile/cubin.h reads: its name, its static
** shared memory, a made-up number of registers, no stack.  In the place of machine code stands the
** kernel's own text without its name, so that kernels have equal code where they are the same.
** Returns malloced memory; NULL where the text has no kernel, or several, or there is no memory.
*/
void *plain_cubin(const char *ptx, size_t *bytes);

#endif
