/* SPDX-License-Identifier: MIT */
/* A second pass behind error feedback: each code anew, given all others. */
#ifndef QP_DESCENT_H
#define QP_DESCENT_H

#include <stddef.h>
#include <stdint.h>

#include "gen/encode/feedback.h"
#include "gen/encode/nearest.h"

enum {
  QP_DESCENT_DIM = 2,     /* weights of a code at most */
  QP_DESCENT_PAIRS = 1024 /* codes at most where each has two */
};

/* A row in work: what its codes decode to, and the codes, in the order of columns. */
typedef struct qp_descent_row {
  const float *table;          /* [states][dim] */
  const qp_codewords *nearest; /* the same, to be searched */
  uint32_t *code;              /* of the columns [first, end) */
} qp_descent_row;

/*
** Go through the columns [first, end) of 32 rows once.  With e = v - x, the error of a row, each
** code is replaced by that with the least  e H' e^T  while the others stay, so that this never
** rises; H' is H with what was added to its diagonal.  'states' codes of 'dim' weights; 'values'
** [32][columns] are v, 'slopes' of the same shape are e H' on entry and on return.  Rows whose
** table is NULL are left alone.  The same bits on every machine.
*/
void qp_descend(const qp_feedback *f, unsigned first, unsigned end, unsigned dim, unsigned states,
                const qp_descent_row row[32], float *values, float *slopes);

#endif
