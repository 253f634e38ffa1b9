/* SPDX-License-Identifier: MIT */
/* Codebooks that were trained, kept as text beside the specs that name them. */
#ifndef QP_CODEBOOK_FILE_H
#define QP_CODEBOOK_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

/*
** The text of a codebook file:
**   qpal codebook 1024 x 2 fp16
**   3c00 b8a1
**   ...                           one line an entry: fp16 bits in hex
*/

/*
** Parse such a text into '*out', [entries][dim] fp16 bits, malloc'ed, the caller frees it.  The
** sizes must be the ones that are expected.  'file' is what messages call it.
** QP_E_ARG: something else is found (line and value are named); QP_E_NOMEM.  '*out' is
** untouched on error.
*/
qp_status qp_codebook_parse(const char *file, const char *text, size_t bytes, unsigned entries,
                            unsigned dim, uint16_t **out, qp_error *err);

/* Write a codebook as text, which is malloc'ed and freed by the caller.  NULL means that there is
   no memory. */
char *qp_codebook_print(unsigned entries, unsigned dim, const uint16_t *data);

/*
** Read the codebook 'name' (letters, digits, '.', '_', '-', and '/' for folders below) that the
** spec 'spec_file' names: from the spec's own folder, or from the resources where the spec is one.
** QP_E_ARG: the name or the content is wrong; QP_E_IO: there is no such file.
*/
qp_status qp_codebook_read(const char *spec_file, const char *name, unsigned entries, unsigned dim,
                           uint16_t **out, qp_error *err);

#endif
