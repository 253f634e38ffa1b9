/* SPDX-License-Identifier: MIT */
/* Codes of a bitshift trellis with too many states to follow all:  targets + table --> codes. */
#ifndef QP_BEAM_H
#define QP_BEAM_H

#include <stdbool.h>
#include <stdint.h>

#include "gen/encode/beam_table.h"
#include "runtime/status.h"

/* Survivors that are usually kept with codes of 'step' bits: 2^(21 - step), twice that for up to 4
   bits, at least 1024. */
unsigned qp_beam_usual_width(unsigned step);

/*
** 'values' is [2^window][dim], fp16 numbers.  Free with qp_beam_free.
** QP_E_LIMIT: window, step or dim are beyond what can be searched (2 step <= window); QP_E_NOMEM.
*/
qp_status qp_beam_make(qp_beam *b, unsigned window, unsigned step, unsigned dim, unsigned width,
                       const float *values, qp_error *err);
void qp_beam_free(qp_beam *b);

/* Another number of survivors, brought between QP_BEAM_LEAST and QP_BEAM_MOST or the number of
   groups; before qp_beam_search_new. */
void qp_beam_set_width(qp_beam *b, unsigned width);

/* Memory of one thread that searches. */
typedef struct qp_beam_search qp_beam_search;
qp_status qp_beam_search_new(const qp_beam *b, qp_beam_search **out, qp_error *err);
void qp_beam_search_free(qp_beam_search *s);

/*
** The codes of a run of 'steps' steps, 'targets' [steps][dim].
**   *start  the group before step 0; with 'free_start' any group, and it is written there
**   end     the group behind the last step, or NULL for any; needs steps * step >= window
** Results do not depend on the instruction set.
*/
void qp_beam_run(const qp_beam *b, qp_beam_search *s, unsigned steps, const float *targets,
                 bool free_start, uint32_t *start, const uint32_t *end, uint32_t *codes);

/* The group where a circular run meets itself: that of the best path found through the last and
   the first 'around' steps (at most QP_BEAM_AROUND). */
uint32_t qp_beam_seam(const qp_beam *b, qp_beam_search *s, unsigned steps, unsigned around,
                      const float *targets);

#endif
