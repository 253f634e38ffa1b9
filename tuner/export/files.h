/* SPDX-License-Identifier: MIT */
/* Writes a kernel library to disk:  its bytes -> [directory, C source, shared library]. */
#ifndef QP_EXPORT_FILES_H
#define QP_EXPORT_FILES_H

#include <stddef.h>

#include "runtime/status.h"

/*
** 'data' is a kernel library, aligned to 8 bytes; files are written whole or not at all, of a
** folder all or none (they get their names when all are on the disk), folders are made.  QP_E_IO
** names the file; QP_E_ARG: a path is too long, or the bytes are no library.
**
** DIR/library.qpal, the library; for people DIR/manifest.json, which tells all that it holds, and
** DIR/kernels/NAME.cubin and .ptx, its images (NAME: "file" of the manifest; images of an earlier
** export to the same folder stay).
*/
qp_status qp_export_write_folder(const char *folder, const void *data, size_t bytes, qp_error *err);

/*
** Write a C source with the library inside, for C and C++:
**   extern const unsigned long long qpal_library_data[];   extern const size_t qpal_library_bytes;
*/
qp_status qp_export_write_source(const char *file, const void *data, size_t bytes, qp_error *err);

/* Write a shared library with these two symbols, which $CC (or cc) makes.  QP_E_MISSING means that
   there is no compiler, QP_E_COMPILE that it failed. */
qp_status qp_export_write_shared(const char *file, const void *data, size_t bytes, qp_error *err);

#endif
