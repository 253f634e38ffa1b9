/* SPDX-License-Identifier: MIT */
/* Fits the group fields of affine decodes by least squares:  a group's targets --> the fields'
   values. */
#ifndef QP_FIELD_FIT_H
#define QP_FIELD_FIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/encode/affine.h"
#include "gen/encode/field_axis.h"

/* What is known of all groups, and memory of one thread. */
typedef struct qp_field_fit {
  const qp_affine *affine;
  const qp_field_axis *axis; /* [fields] */
  unsigned fields;
  unsigned order[QP_MAX_FIELDS]; /* the fields by their count of values, the largest first */
  double points;                 /* points of the axes of all fields together */
  bool few;                      /* all points are looked at, as they are so few */
  bool line[QP_MAX_FIELDS];      /* a and b follow a line as the field's number moves */
  bool flips;                    /* a may be negative */
  bool shifts;                   /* b is not a times one number, */
  bool slices;                   /* but is while only the first of the order moves */
  float *rounded;                /* [levels]: what codes decode to */
  qp_levels exact;               /* The levels that 'rounded' is compared with. */
} qp_field_fit;

/* 'affine' and 'axis' must outlive the result.  Free with qp_field_fit_free.  QP_E_NOMEM. */
qp_status qp_field_fit_make(qp_field_fit *out, const qp_affine *affine, const qp_field_axis *axis,
                            qp_error *err);
void qp_field_fit_free(qp_field_fit *f);

/* Compute a and b of the affine form at places [fields] of the lists. */
void qp_field_fit_ab(const qp_field_fit *f, const uint32_t *at, double *a, double *b);

/* Places in the fields' lists, for targets [n], with nearly the least sum of squared errors. */
void qp_field_fit_run(qp_field_fit *f, size_t n, const float *targets, uint32_t at[QP_MAX_FIELDS]);

/* The fit of a search (gen/encode/coder.h); NULL: it looks fields up in tables. */
struct qp_field_search;
const qp_field_fit *qp_field_search_fit(const struct qp_field_search *s);

#endif
