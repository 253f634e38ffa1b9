/* SPDX-License-Identifier: MIT */
/* Lists what the states behind each group of a trellis decode to:  table of states --> rows by
   code. */
#ifndef QP_CODE_ROWS_H
#define QP_CODE_ROWS_H

#include "gen/encode/code_strips.h"
#include "runtime/status.h"

/* Make strips of at most 'most' numbers; where there are more, out->pool stays NULL.  QP_E_NOMEM.
   */
qp_status qp_code_rows_make_strips(qp_code_rows *out, const qp_code_rows_of *of, size_t most,
                                   qp_error *err);
/* Do the same of words, [2^window][dim], of which it is enough to know which are equal, with
   windows of up to QP_CODE_ROWS_LANES codes: makes out->number and out->state. */
qp_status qp_code_rows_make_numbers(qp_code_rows *out, const qp_code_rows_of *of,
                                    const uint32_t *word, size_t most, qp_error *err);
/* Make a table of all rows.  QP_E_NOMEM. */
qp_status qp_code_rows_make_table(qp_code_rows *out, const qp_code_rows_of *of, qp_error *err);
/* Make 'near', where that can be.  QP_E_NOMEM. */
qp_status qp_code_rows_narrow(qp_code_rows *r, const qp_code_rows_of *of, qp_error *err);
void qp_code_rows_free(qp_code_rows *r);

#endif
