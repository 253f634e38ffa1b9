/* SPDX-License-Identifier: MIT */
/* Makes the planner's latency table of a GPU's records:  GPU name + model -> [rows]. */
#ifndef QP_TUNE_ROWS_H
#define QP_TUNE_ROWS_H

#include "gen/model/model.h"
#include "tuner/plan/latency.h"
#include "tuner/base/session.h"

typedef struct qp_rows_wishes {
  const char *gpu; /* as qp_library_read takes it */
  const qp_model *model;
  const qp_quantizer *const *quantizer; /* the menu; NULL entries are passed over */
  size_t quantizers;
  const unsigned *batch;
  size_t batches;
  qp_latency_match worst; /* Launches without a better row may have the nearest shape and another
                             GPU. */
} qp_rows_wishes;

/*
** Rows of one kind of time: of chains in a CUDA graph where there are any, else of kernels alone,
** else of events; 'source' says which.  Stale records and those of the replay device are never in
** it.  '*out' is filled (free with qp_latency_free) or untouched.
** QP_E_ARG: no such GPU, or none of its records is of these batch sizes (says what there is).
*/
qp_status qp_rows_read(const qp_session *s, const qp_rows_wishes *w, qp_latency_table *out,
                       qp_error *err);

#endif
