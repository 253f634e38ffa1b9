/* SPDX-License-Identifier: MIT */
/* Chooses group fields whose sum a weight is:  targets of a group --> its fields, its codes. */
#ifndef QP_FIELD_SUMS_H
#define QP_FIELD_SUMS_H

#include <stdint.h>

#include "gen/spec/quantizer.h"
#include "runtime/status.h"

/*
** A decode of which each weight is, but for its rounding, a sum of fields times numbers that its
** part of the code chooses: signs of several scales (binary coding), trits of two, one of two
** scales. All fields are of one size and of types with many numbers, and each weight of a code may
** have every sum that the others have, whatever theirs are.  That is asked of decode itself.
** Codes and fields take turns (templates/field_sums.h): given the fields a weight has the nearest
** of a few sums; given these the fields solve linear equations.  They begin where that ends for
** N(0,1), at several sizes.
*/
typedef struct qp_field_sums qp_field_sums;

/* '*out' stays NULL where decode is of another form.  One thread uses the result; free with
   qp_field_sums_free.  QP_E_NOMEM. */
qp_status qp_field_sums_new(const qp_quantizer *q, qp_field_sums **out, qp_error *err);
void qp_field_sums_free(qp_field_sums *s);
/* How many different sums a weight may have. */
unsigned qp_field_sums_classes(const qp_field_sums *s);

/* The raw fields for targets [n], with nearly the least sum of squared errors; n is at most the
   fields' size. */
void qp_field_sums_choose(qp_field_sums *s, unsigned n, const float *targets,
                          uint32_t fields[QP_MAX_FIELDS]);
/* The nearest codes at these fields, and what they decode to: targets and values are [n], codes
   [n / dim]. */
void qp_field_sums_codes(qp_field_sums *s, const uint32_t fields[QP_MAX_FIELDS], unsigned n,
                         const float *targets, uint32_t *codes, float *values);

/* What a search elsewhere needs (templates/field_sums.h); it is valid as long as the sums.  A class
   is a sum that a weight may have. */
typedef struct qp_field_sums_view {
  unsigned classes, known, drawn;
  const double *factor; /* [classes][fields + 1]: what a class multiplies each field by, and adds */
  const double *start;  /* [known][fields]: where turns end for N(0,1) */
  const double *part;   /* [drawn][fields]: numbers from 0 to below 1 that say which target */
  const uint32_t *sum;  /* [drawn][fields]: and which class, where a start is drawn */
  const uint32_t *state;    /* [classes]: a code whose first weight has it */
  const uint32_t *combined; /* [classes^dim]: a code of each combination, the first weight's class
                               first */
} qp_field_sums_view;
void qp_field_sums_view_of(qp_field_sums *s, qp_field_sums_view *out);

#endif
