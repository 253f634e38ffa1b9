/* SPDX-License-Identifier: MIT */
/* Weights that are packed already, as codes and numbers:  packed by others, or blocks of GGUF -->
   [what a quantizer of ours decodes alike]. */
#ifndef QP_SOURCE_CODES_H
#define QP_SOURCE_CODES_H

#include <stdbool.h>
#include <stdint.h>

#include "gen/model/source_tensor.h"

/* Is a tensor packed at all?  Else it is numbers of 16 or 32 bits. */
bool qp_source_is_packed(const qp_source_tensor *t);

/*
** Name of the quantizer of ours (lua/quantizers) that decodes the tensor's codes and numbers as the
** source does; false: there is none, and 'why' says the reason.
*/
bool qp_source_quantizer(const qp_source_tensor *t, char name[64], char why[256]);

/* Where each column stands for that quantizer, whose groups are of neighbours: [columns], at most
   65536.  Every column stands in its place unless there is act-order. */
void qp_source_order(const qp_source_tensor *t, uint16_t *order);

/* Read the codes [columns] of a row, where a code of several weights stands at each of them, and
   the number that field 'field' of that quantizer is for a weight.  They may be called only after
   qp_source_quantizer, by any number of threads. */
void qp_source_codes(const qp_source_tensor *t, uint64_t row, uint32_t *codes);
double qp_source_number(const qp_source_tensor *t, uint64_t row, uint64_t column,
                        const char *field);

#endif
