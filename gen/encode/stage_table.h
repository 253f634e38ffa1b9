/* SPDX-License-Identifier: MIT */
/* Writes down codewords of one table, or of stages, for encode kernels:  a coder --> bytes. */
#ifndef QP_STAGE_TABLE_H
#define QP_STAGE_TABLE_H

#include <stddef.h>

#include "gen/encode/coder.h"

/* Write what templates/stage_table.h says of a coder of kind CODES: malloc'ed, *bytes long; NULL:
   no memory. */
void *qp_stage_table_make(const qp_coder *c, size_t *bytes);

#endif
