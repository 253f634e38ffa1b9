/* SPDX-License-Identifier: MIT */
/* The GPU tier:  records + quantizers + a model's launches -> [rows, totals of a block]. */
#ifndef QP_BENCH_H
#define QP_BENCH_H

#include <cJSON.h>

#include "tuner/bench/bench_row.h"

/*
** Compile, verify and time one kernel for each batch x quantizer x launch: the tuned one where the
** records hold one for this GPU, else the family's default.  Then do so with each block in a CUDA
** graph, and with cuBLAS and fp16 weights on the same shapes.  A kernel that is wrong, hangs,
** crashes or breaks the device is a row that failed; the process that measures is replaced.  It
** must be called before the process starts threads.  Fails as qp_meter_open, qp_compiler_open and
** qp_records_read; QP_E_DEVICE: too many kernels broke the device (rows so far are in '*out').
** Free '*out' with qp_bench_free in any case.
*/
qp_status qp_bench_run(qp_session *s, const qp_bench_options *opt, qp_bench *out, qp_error *err);
void qp_bench_free(qp_bench *b);

/* Print as tables, or as one JSON object. */
void qp_bench_print(const qp_bench *b);
qp_status qp_bench_print_json(const qp_bench *b, qp_error *err);

/*
** What an earlier run printed as JSON, so that a wrong file is known before anything is measured.
** '*out' belongs to the caller (cJSON_Delete) and is untouched on error.
** QP_E_ARG: not such a file, a field is missing; QP_E_IO.
*/
qp_status qp_bench_read_earlier(const char *file, cJSON **out, qp_error *err);

/*
** Compare with what qp_bench_read_earlier read from 'file': the change of each row that both have,
** the median and the largest one.  QP_E_ARG: it is of another GPU, or no row is in both.
*/
qp_status qp_bench_against(const qp_bench *b, const cJSON *earlier, const char *file,
                           qp_error *err);

#endif
