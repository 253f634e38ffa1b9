/* SPDX-License-Identifier: MIT */
/* Chooses group fields of several sizes:  targets of the largest group --> fields of all groups in
   it. */
#ifndef QP_NESTED_H
#define QP_NESTED_H

#include <stdbool.h>
#include <stdint.h>

#include "gen/encode/field_axis.h"
#include "gen/encode/levels.h"
#include "gen/spec/quantizer.h"
#include "runtime/status.h"

/* Has it fields of more than one size, of rows or of the linear, or codes of more than two weights
   together with fields? */
bool qp_is_nested(const qp_quantizer *q);
/* Columns of a row of 'columns' whose fields are chosen together: the largest group's, or all where
   a field is the row's. */
unsigned qp_nested_unit(const qp_quantizer *q, unsigned columns);
/* Columns of the smallest group, which has one table of codes. */
unsigned qp_nested_group(const qp_quantizer *q);

/* What is known of all units, and memory for one; one thread uses it. */
typedef struct qp_nested qp_nested;
/* Make a search for rows of 'columns'.  QP_E_LIMIT means that there are too many codes to be
   searched; QP_E_NOMEM. */
qp_status qp_nested_new(const qp_quantizer *q, unsigned columns, qp_nested **out, qp_error *err);
void qp_nested_free(qp_nested *n);

/*
** The raw fields of each smallest group, fields[ceil(columns / group)], for the targets [columns]
** of a unit or of what a row has left of it.  Fields of the linear have the same values always,
** those that are best for N(0,1): rows come with one variance.
*/
qp_status qp_nested_choose(qp_nested *n, unsigned columns, const float *targets,
                           uint32_t (*fields)[QP_MAX_FIELDS], qp_error *err);
/* Find the nearest codes of a smallest group, or of columns of it: targets and values are
   [columns], codes [columns / dim]. */
qp_status qp_nested_codes(qp_nested *n, const uint32_t fields[QP_MAX_FIELDS], unsigned columns,
                          const float *targets, uint32_t *codes, float *values, qp_error *err);

/*
** What a search elsewhere needs (templates/field_grid.h, units.cuh.in) of a decode that is a u + b.
** Of sets of fields each has a bit.  It is valid as long as the search.
*/
typedef struct qp_nested_view {
  const qp_field_axis *axis;      /* [fields] */
  const qp_levels *levels;        /* levels of u */
  unsigned own, larger;           /* The fields of the smallest groups, and of larger ones; */
  uint32_t frozen[QP_MAX_FIELDS]; /* where the others are, in their axes. */
  unsigned group, unit;           /* columns of the smallest group and of the largest */
  unsigned size[QP_MAX_FIELDS];   /* columns of each field */
  unsigned parts[2];              /* The fields that a, and the least weight, depend on: others are
                                     taken to be at 0. */
  uint32_t low, high;             /* codes with the least and the largest u: */
  float u_low, u_high;            /* their u */
} qp_nested_view;
/* False: it is of another form. */
bool qp_nested_view_of(const qp_nested *n, qp_nested_view *out);
/* Compute a and b of  a u + b  in terms of the levels, at a place in each axis. */
void qp_nested_line(const qp_nested *n, const uint32_t *at, double *a, double *b);

#endif
