/* SPDX-License-Identifier: MIT */
/* A case as rows of `qpal check` show it, and rows that an earlier check wrote. */
#ifndef QP_CASE_TEXT_H
#define QP_CASE_TEXT_H

#include "tuner/check/case.h"

/* Names of the columns that say which case a row is of: those before its batch, those behind it. */
#define QP_CASE_BEFORE_BATCH(X) X(quantizer) X(family) X(shape)
#define QP_CASE_BEHIND_BATCH(X) X(type) X(tunables)

enum { QP_CASE_TEXTS = 5, QP_CASE_TEXT_BYTES = 600 };

/* What stands there, in this order: names of quantizers, family, rows and columns, types, tunables
   that are not at their defaults.  A longer text is cut. */
typedef struct qp_case_text {
  char of[QP_CASE_TEXTS][QP_CASE_TEXT_BYTES];
} qp_case_text;

void qp_case_text_make(const qp_case *c, qp_case_text *out);

/*
** Take out of the list the cases of which 'file' has a row that passed or was listed only: the JSON
** array that check --json or check --list --json writes.  Of cases that look alike (other data of
** one kernel) it must have as many rows, else all of them stay.
** QP_E_ARG names file, row and field; QP_E_IO, QP_E_NOMEM.  The list is untouched on error.
*/
qp_status qp_cases_leave_out(const char *file, qp_cases *cases, qp_error *err);

#endif
