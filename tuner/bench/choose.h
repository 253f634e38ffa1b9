/* SPDX-License-Identifier: MIT */
/* Chooses which kernel a row of the bench runs: from records, else by the family's defaults. */
#ifndef QP_BENCH_CHOOSE_H
#define QP_BENCH_CHOOSE_H

#include "tuner/bench/bench_row.h"
#include "tuner/tune/lookup.h"

typedef struct qp_bench_chooser {
  qp_session *session;
  qp_records records; /* records of the GPU; empty where there are none */
  qp_lookup *lookup;  /* NULL where there are none */
} qp_bench_chooser;

/*
** Read the records: those of 'file', or of the GPU's file in tuned/, if there is one ('source', 256
** bytes, becomes its name or "").  QP_E_ARG: they are of another GPU, or not records; QP_E_IO.
*/
qp_status qp_bench_chooser_open(qp_session *s, const qp_meter_info *info, const char *file,
                                qp_bench_chooser *out, char *source, qp_error *err);
void qp_bench_chooser_close(qp_bench_chooser *c);

/*
** Make the kernel of a row, and set its path, kernel, source, bytes and table_ps.  QP_E_LIMIT means
** that the family has none for this problem; QP_E_ARG, QP_E_NOMEM.  Free '*out' with
** qp_kernel_free.
*/
qp_status qp_bench_choose(qp_bench_chooser *c, const qp_problem *p, const char *path,
                          qp_bench_row *row, qp_kernel *out, qp_error *err);

#endif
