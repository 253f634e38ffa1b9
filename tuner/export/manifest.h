/* SPDX-License-Identifier: MIT */
/* manifest.json:  what a kernel library holds, for people. */
#ifndef QP_EXPORT_MANIFEST_H
#define QP_EXPORT_MANIFEST_H

#include "runtime/include/qpal.h"
#include "runtime/status.h"

enum { QP_EXPORT_FILE_NAME = 232 };

/* The kernel's name as that of a file, without its ending: names that are too long for
   one end with a hash of the whole (XXH3-64, 16 hex digits) after 200 characters, so that
   they stay different. */
void qp_export_file_name(const char *kernel, char name[QP_EXPORT_FILE_NAME]);

/* Write the library's manifest as JSON text, which is malloc'ed and the caller's.  NULL means that
   there is no memory. */
char *qp_export_manifest(const qpal_library *library);

#endif
