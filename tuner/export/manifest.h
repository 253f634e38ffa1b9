/* SPDX-License-Identifier: MIT */
/* manifest.json:  what a kernel library holds, for people. */
#ifndef QP_EXPORT_MANIFEST_H
#define QP_EXPORT_MANIFEST_H

#include "runtime/include/qpal.h"
#include "runtime/status.h"

/* As JSON text; malloc'ed, the caller's.  NULL: no memory. */
char *qp_export_manifest(const qpal_library *library);

#endif
