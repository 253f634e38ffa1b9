/* SPDX-License-Identifier: MIT */
/* The values among which a group field is searched. */
#ifndef QP_FIELD_AXIS_H
#define QP_FIELD_AXIS_H

#include <stdint.h>

#include "gen/spec/quantizer.h"
#include "runtime/status.h"

/* Raw values, ascending by the numbers that they are. */
typedef struct qp_field_axis {
  unsigned count;
  uint32_t *value; /* raw */
  double *number;
} qp_field_axis;

/* Bits of fraction of numbers that are searched one by one, and of those that are computed. */
enum { QP_FRACTION_COARSE = 6, QP_FRACTION_FINE = 10 };

/*
** List all numbers between a field's ends where its type has few, and of fp16, bf16 and fp32 those
** with 'fraction' bits of fraction (6: 64 an octave, within 0.8% of any).  Free with
** qp_field_axis_free.  QP_E_NOMEM.
*/
qp_status qp_field_axis_make(qp_field_axis *out, const qp_field *f, unsigned fraction,
                             qp_error *err);
void qp_field_axis_free(qp_field_axis *a);

#endif
