/* SPDX-License-Identifier: MIT */
/* The files of lua/, templates/ and tuned/, carried inside the binary (or read from a
   directory). */
#ifndef QP_RESOURCE_H
#define QP_RESOURCE_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/status.h"

/*
** Read a resource by its path in the source tree ("templates/gemm_mma.cu.in").  If the environment
** variable QPAL_HOME is set (and not empty), it names a directory and files are read from there
** instead, each once: later reads give the same text.  '*text' is NUL-ended (not counted in
** '*bytes') and owned by the library until exit.  Any thread may call this.
** QP_E_IO: there is no such resource, or QPAL_HOME is not a directory; QP_E_NOMEM.
** '*text' and '*bytes' are untouched on error.
*/
qp_status qp_resource_read(const char *path, const char **text, size_t *bytes, qp_error *err);

/*
** Call 'visit' with the path of each resource that begins with 'prefix' ("" for all), in sorted
** order.  The path is valid during the call.  Files whose name begins with a dot or ends with a
** tilde are no resources.  A QPAL_HOME that cannot be read has none.
*/
void qp_resource_each(const char *prefix, void (*visit)(const char *path, void *arg), void *arg);

/* QP_E_IO: a QPAL_HOME is set that is no directory, or has no lua/. */
qp_status qp_resource_check(qp_error *err);

/* Are the resources that begin with 'prefix' those that the binary carries, byte for byte?  They
   are unless a QPAL_HOME has others. */
bool qp_resource_is_carried(const char *prefix);

#endif
