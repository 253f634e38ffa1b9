/* SPDX-License-Identifier: MIT */
/* Writes down what a search of fields that add up knows of a quantizer, for the encode kernel:
   field_sums.c --> sizes that become constants, a table of bytes. */
#ifndef QP_SUM_TABLE_H
#define QP_SUM_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/spec/quantizer.h"
#include "runtime/status.h"

/* What each word of the header counts: bytes from the table's beginning to an array. */
typedef enum qp_sum_table_part {
  QP_SUM_TABLE_FACTORS,  /* double [classes][fields + 1]: what a class of weights multiplies each
                            field by, and adds */
  QP_SUM_TABLE_BOUNDS,   /* double [fields][2]: least and largest numbers */
  QP_SUM_TABLE_STARTS,   /* double, how many starts for N(0,1) there are; double [starts][fields]:
                            them */
  QP_SUM_TABLE_DRAWS,    /* double [drawn][fields]: numbers from 0 to below 1, */
  QP_SUM_TABLE_CLASSES,  /* uint32 [drawn][fields]: and classes, of starts that are drawn */
  QP_SUM_TABLE_STATES,   /* uint32 [classes]: a code whose first weight is of the class */
  QP_SUM_TABLE_COMBINED, /* uint32 [classes^dim]: codes of all combinations, the first weight's
                            class first */
  QP_SUM_TABLE_BOOKS,    /* fp16 [entries][dim] of each codebook, 4 words */
  QP_SUM_TABLE_PARTS = QP_SUM_TABLE_BOOKS + 4
} qp_sum_table_part;

typedef struct qp_sum_table {
  unsigned classes;      /* different sums of a weight */
  unsigned halves, bf16; /* the fields of these types, a bit for each; others are fp32 */
  size_t bytes;
  unsigned char *data; /* malloc'ed, begins with the header */
} qp_sum_table;

/* Does the CPU find the fields of a quantizer as sums?  False, too, where memory is short. */
bool qp_is_sums(const qp_quantizer *q);
/*
** Write the table of a quantizer; 'data' stays NULL where 'with_data' is false.  Free with
** qp_sum_table_free.  QP_E_ARG: its fields do not add up, or the CPU searches them otherwise;
** QP_E_NOMEM.
*/
qp_status qp_sum_table_make(const qp_quantizer *q, bool with_data, qp_sum_table *out,
                            qp_error *err);
void qp_sum_table_free(qp_sum_table *t);

#endif
