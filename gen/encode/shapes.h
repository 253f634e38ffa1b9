/* SPDX-License-Identifier: MIT */
/* Chooses group fields that scale vectors:  targets of the largest group --> fields of all groups
   in it. */
#ifndef QP_SHAPES_H
#define QP_SHAPES_H

#include <stdint.h>

#include "gen/spec/quantizer.h"
#include "runtime/status.h"

/*
** A decode of several weights a code that is  a(fields) u(code),  up to its rounding.  Its tables
** are too large to be made for each value of the fields; so the best number is found for each
** smallest group alone, then the fields that come closest to all of them.  One field may have a
** floating point type and any size, and multiplies; the others are whole numbers of the smallest
** groups.
*/
typedef struct qp_shapes qp_shapes;

/* Tell whether the fields are to be searched in this way: they are where codes have more than two
   weights. */
static inline bool qp_has_shapes(const qp_quantizer *q) { return q->fields && q->dim > 2; }

/* 'group' and 'unit' are columns of the smallest and the largest group.  QP_E_LIMIT: decode is of
   another form, or has too many codes; QP_E_NOMEM. */
qp_status qp_shapes_new(const qp_quantizer *q, unsigned group, unsigned unit, qp_shapes **out,
                        qp_error *err);
void qp_shapes_free(qp_shapes *s);

/* These do what qp_nested_choose and qp_nested_codes (gen/encode/nested.h) do. */
void qp_shapes_choose(qp_shapes *s, unsigned columns, const float *targets,
                      uint32_t (*fields)[QP_MAX_FIELDS]);
void qp_shapes_codes(qp_shapes *s, const uint32_t fields[QP_MAX_FIELDS], unsigned columns,
                     const float *targets, uint32_t *codes, float *values);

/* What a search elsewhere needs; it is valid as long as the search. */
typedef struct qp_shapes_view {
  const float *u; /* [states][dim] */
  unsigned states, owns, group, unit;
  int scale; /* the field of a floating point type, or -1 */
} qp_shapes_view;
void qp_shapes_view_of(const qp_shapes *s, qp_shapes_view *out);
/* Get combination i of the whole numbers: what it multiplies a scale by, and its fields. */
double qp_shapes_own(const qp_shapes *s, unsigned i, uint32_t fields[QP_MAX_FIELDS]);

#endif
