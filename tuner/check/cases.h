/* SPDX-License-Identifier: MIT */
/* Lists what `qpal check` covers:  quantizers + a few wishes -> [candidates]. */
#ifndef QP_CASES_H
#define QP_CASES_H

#include "tuner/check/case.h"

/* Append the cases, of every family of lua/families, references too.  QP_E_NOMEM only.  Free the
   list with qp_cases_free. */
qp_status qp_cases_make(qp_families *families, const qp_case_wishes *wishes, qp_cases *out,
                        qp_error *err);
void qp_cases_free(qp_cases *c);
/* Say that there are none, and of encoders what keeps the first quantizer from having a kernel.
   Returns QP_E_ARG. */
qp_status qp_cases_fail_none(qp_families *families, const qp_case_wishes *wishes, qp_error *err);

#endif
