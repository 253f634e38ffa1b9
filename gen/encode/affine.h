/* SPDX-License-Identifier: MIT */
/* Finds decodes that group fields scale and shift:  decode's IR --[trace]--> a(fields) u(code) + b.
   */
#ifndef QP_AFFINE_H
#define QP_AFFINE_H

#include <stdbool.h>
#include <stdint.h>

#include "gen/encode/levels.h"
#include "gen/ir/ir.h"
#include "gen/spec/quantizer.h"
#include "runtime/status.h"

/*
** A quantizer of dim 1 whose decode is, but for its rounding,  a(fields) u(code) + b(fields):  sums
** and products of what depends on the code alone and what depends on the fields alone, with one u
** for all of it.  That is seen in the IR, then compared with what it decodes to at many fields.
** It is made once and may be read by all threads.
*/
typedef struct qp_affine {
  const qp_quantizer *quantizer; /* NULL: it is of another form, and the rest is empty */
  unsigned states;
  uint8_t *kind;    /* [nodes of the IR]: what each depends on */
  uint32_t *fixed;  /* [nodes][states]: values of those that depend on no field */
  unsigned unit;    /* the node that is u */
  qp_levels levels; /* its values; 'a' and 'b' are those that belong to them */
  uint32_t *code;   /* [levels.count]: a code of each */
} qp_affine;

/* One that is of another form is no error.  QP_E_NOMEM. */
qp_status qp_affine_make(qp_affine *out, const qp_quantizer *q, qp_error *err);
void qp_affine_free(qp_affine *f);

/* Compute a and b at the fields' raw values, in terms of the levels. */
void qp_affine_at(const qp_affine *f, const uint32_t *fields, double *a, double *b);

/* How qp_affine_at has the value of a node. */
typedef enum qp_affine_value {
  QP_AFFINE_FIXED,  /* it depends on no field: 'fixed', of any code */
  QP_AFFINE_FIELDS, /* it depends on fields alone: as decode computes it */
  QP_AFFINE_TERM    /* it is a u + b: what its operation makes of its operands' terms */
} qp_affine_value;
qp_affine_value qp_affine_value_of(const qp_affine *f, unsigned node);

/* Tell how a term's a and b come of those of operands 0, 1, 2: the sum of two, the first less the
   second, less than nothing, the product (one has no a), that and the third, as it is. */
typedef enum qp_affine_join {
  QP_AFFINE_ADD,
  QP_AFFINE_SUB,
  QP_AFFINE_NEG,
  QP_AFFINE_MUL,
  QP_AFFINE_FMA,
  QP_AFFINE_SAME
} qp_affine_join;
qp_affine_join qp_affine_join_of(qp_ir_op op);

/* Compute what the codes decode to under these fields, with all rounding: values [states]. */
void qp_affine_table(const qp_affine *f, const uint32_t *fields, float *values);

/* Compute what the levels' codes decode to there, ascending: values [levels.count]. */
void qp_affine_rounded(const qp_affine *f, const uint32_t *fields, float *values);

#endif
