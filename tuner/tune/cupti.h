/* SPDX-License-Identifier: MIT */
/* Reads CUPTI's activity records, by dlopen:  launches of a kernel -> durations. */
#ifndef QP_CUPTI_H
#define QP_CUPTI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

/*
** Open libcupti (13, else 12; $QPAL_CUPTI names another) and enable records of concurrent kernels
** for the rest of the process.  'version' gets "CUPTI 13.0".  The first call of a process does so;
** further calls only give the version.  QP_E_MISSING: not found, with how to get it; QP_E_DEVICE:
** it refuses, most often because a profiler or sanitizer has it already.
*/
qp_status qp_cupti_open(char *version, size_t size, qp_error *err);

/*
** No records until qp_cupti_resume: what is timed as a whole (graphs, launches that overlap) must
** not pay for them.  Both do nothing where CUPTI was not opened, or twice in a row.  With
** QPAL_CUPTI_PAUSE=never, and once a pause was seen to end the records (qp_cupti_end), there are no
** more pauses: graphs are then timed under tracing.  QP_E_DEVICE.
*/
qp_status qp_cupti_pause(qp_error *err);
qp_status qp_cupti_resume(qp_error *err);
/* false: pausing was given up. */
bool qp_cupti_pauses(void);

/* Forget the records so far; launches after this are counted. */
qp_status qp_cupti_begin(qp_error *err);

/*
** Give, once the stream was waited for, the durations in picoseconds of the 'n' launches of
** 'kernel' since qp_cupti_begin, in the order they ran.  QP_E_WRONG: another number of records,
** dropped records, or a timestamp that is zero or not after its start; QP_E_LIMIT: no record of
** anything came after a pause, which from now on is not done; worth another try, once; QP_E_DEVICE.
*/
qp_status qp_cupti_end(const char *kernel, unsigned n, int64_t *ps, qp_error *err);

#endif
