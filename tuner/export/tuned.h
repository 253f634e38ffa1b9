/* SPDX-License-Identifier: MIT */
/* GPUs of an export and what was measured on them:  names + records -> [GPUs, chooser]. */
#ifndef QP_EXPORT_TUNED_H
#define QP_EXPORT_TUNED_H

#include "tuner/export/export.h"
#include "tuner/base/session.h"

typedef struct qp_export_tuned qp_export_tuned;

/*
** Read a LIST of GPUs into the request, and with 'measured' the records that tuned/ has of them, so
** that each launch gets the fastest measured candidate.  An item is what qp_export_gpu_parse takes;
** a file of records (contains '/' or ends in ".jsonl"); or with 'measured' a part of the name of a
** file in tuned/.  Sets the request's GPUs, 'choose' and 'chooser'; families and palette of the
** session, and the request, must outlive '*out'.
** QP_E_ARG: an item is none of these, or records are no measurements; QP_E_IO; QP_E_NOMEM.
*/
qp_status qp_export_tuned_open(const qp_session *s, const char *list, bool measured,
                               qp_export_request *r, qp_export_tuned **out, qp_error *err);
void qp_export_tuned_close(qp_export_tuned *t);

#endif
