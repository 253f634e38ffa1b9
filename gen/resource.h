/* SPDX-License-Identifier: MIT */
/* The files of lua/, templates/ and tuned/, carried inside the binary (or read from a directory). */
#ifndef QP_RESOURCE_H
#define QP_RESOURCE_H

#include <stddef.h>

#include "runtime/status.h"

/*
** Read a resource by its path in the source tree ("templates/gemm_mma.cu.in").  If the environment
** variable QPAL_HOME names a directory, files are read from there instead.  '*text' is NUL-ended
** (not counted in '*bytes') and owned by the library until exit.  QP_E_IO: there is no such resource.
*/
qp_status qp_resource_read(const char *path, const char **text, size_t *bytes, qp_error *err);

/* Call 'visit' with the path of each resource that begins with 'prefix', in sorted order. */
void qp_resource_each(const char *prefix, void (*visit)(const char *path, void *arg), void *arg);

#endif
