/* SPDX-License-Identifier: MIT */
/* What a calibration has measured so far, kept so that a killed run goes on where it was. */
#ifndef QP_LEDGER_H
#define QP_LEDGER_H

#include <stdbool.h>

#include "gen/model/model.h"
#include "tuner/calibrate/sensitivity.h"

/*
** A file of lines:  {"ledger":"qpal-calibrate","key":KEY}, then one for each thing that was done,
**   {"block":B,"hessians":true}                      its files are written
**   {"block":B,"linear":L,"alpha":A,"error":E}       numbers in 17 digits, so that none changes
** Block and linear count as in qp_model; the lm_head has the block after the last.  A torn last
** line is dropped.
*/
typedef struct qp_ledger qp_ledger;

/* Open or make it.  QP_E_ARG: its key is another (it is of another model, text or options), or a
   line before the last is damaged; QP_E_IO; QP_E_NOMEM. */
qp_status qp_ledger_open(const char *file, const char *key, const qp_model *m, qp_ledger **out,
                         qp_error *err);
/* Close it; with 'remove' delete the file: what it said is elsewhere. */
void qp_ledger_close(qp_ledger *l, bool remove);

/* Are the files of the block's Hessians written? */
bool qp_ledger_has_hessians(const qp_ledger *l, unsigned block);
/* Look up what was measured; false means that it was not yet. */
bool qp_ledger_sensitivity(const qp_ledger *l, unsigned block, unsigned linear,
                           qp_sensitivity *out);

/* Note what was done.  Each line reaches the file at once.  QP_E_IO. */
qp_status qp_ledger_add_hessians(qp_ledger *l, unsigned block, qp_error *err);
qp_status qp_ledger_add_sensitivity(qp_ledger *l, unsigned block, unsigned linear,
                                    const qp_sensitivity *s, qp_error *err);

#endif
