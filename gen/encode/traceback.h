/* SPDX-License-Identifier: MIT */
/* How survivors of a beam search came to be:  survivors + parents --> codes from step 0 on. */
#ifndef QP_TRACEBACK_H
#define QP_TRACEBACK_H

#include <stdint.h>

#include "runtime/status.h"

/*
** A record for each survivor of each step: its parent's number among the survivors of the step
** before, and its code.  Survivors soon share their ancestors, so that records nobody descends
** from are swept away where room is short; steps with a single record left, and all before them,
** are told: their codes are written and forgotten.
*/
typedef struct qp_traceback qp_traceback;

/*
** For steps of up to 'width' survivors and codes of 'bits' bits; width <= 2^(32 - bits).
** QP_E_NOMEM.  Free with qp_traceback_free.
*/
qp_status qp_traceback_new(unsigned width, unsigned bits, qp_traceback **out, qp_error *err);
void qp_traceback_free(qp_traceback *p);

/* Forget everything.  'codes' gets the codes of the steps that are told, and those of
   qp_traceback_walk. */
void qp_traceback_begin(qp_traceback *p, uint32_t *codes);

/*
** Room for the records of one more step: parent << bits | code.  Where the 'count' survivors of
** the last step (whose least sum is that of survivor 'best') have too much past to be kept, those
** that do not share the best one's distant ancestors are given up: their number is less then, and
** keep[] lists those that stay, ascending.
** Returns how many stay; *record is where the next step's records belong.
*/
unsigned qp_traceback_reserve(qp_traceback *p, unsigned count, unsigned best, uint32_t *keep,
                              uint32_t **record);

/* 'count' records were written where qp_traceback_reserve said. */
void qp_traceback_add(qp_traceback *p, unsigned count);

/*
** The codes of all steps up to survivor 'last' of the newest one.  Returns which of the survivors
** that there were before the first step it descends from.
*/
uint32_t qp_traceback_walk(qp_traceback *p, uint32_t last);

#endif
