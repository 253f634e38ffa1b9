/* SPDX-License-Identifier: MIT */
/* Says before a step of a long window what the next one adds at least:  squares of the next step's
   strips --> the least square behind each group. */
#ifndef QP_LOOKAHEAD_H
#define QP_LOOKAHEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/encode/code_rows.h"
#include "runtime/status.h"

/*
** Paths are given up by their sum and the least square of the codes behind their group, which the
** next step adds to them at least.  The groups that one row leads to lie apart, but rows of them,
** in order of their codes, are again windows of a few strips, so that these least squares stand
** side by side for all codes of a row.  Kinds of groups: those of one kind are followed by the same
** windows of squares.  Where there would be very many, windows are taken to begin at multiples of a
** few squares and to have that many more: what is not above the least square serves as well.
*/
typedef struct qp_lookahead {
  unsigned span;    /* codes of a window of squares: a power of two */
  unsigned windows; /* windows of squares behind a group */
  unsigned coarse;  /* they begin at multiples of 2^coarse */
  unsigned kinds;
  unsigned size;    /* numbers of the pool; 0: there is no looking ahead */
  unsigned blocks;  /* of up to 16 codes in a row */
  uint16_t *begin;  /* [kinds][windows]: where they begin, in 2^coarse squares */
  uint16_t *pool;   /* [size]: kinds; of one window, where it begins */
  uint16_t *offset; /* [rows][blocks], into the pool */
} qp_lookahead;

/* Memory of a thread for one: squares of a step, and what follows from them. */
typedef struct qp_outlook {
  uint16_t *square; /* [rows.size + slack]: of the step; 65535 behind them */
  uint16_t *window; /* [rows.size + slack]: the least of the window that begins at each multiple of
                       2^coarse */
  uint16_t *kind;   /* [kinds]: of several windows */
  uint16_t *behind; /* [size + slack]: numbers of the pool */
  bool wide;        /* by vectors of AVX2 */
} qp_outlook;

/*
** Make one for rows of a trellis with these sizes, of->window and of->step; it is empty where the
** rows are no strips that 16 bits point into, or where more than 'most' numbers, or than caches
** keep, would have to be looked up at each step.
** QP_E_NOMEM.
*/
qp_status qp_lookahead_make(qp_lookahead *out, const qp_code_rows *rows, const qp_code_rows_of *of,
                            size_t most, qp_error *err);
void qp_lookahead_free(qp_lookahead *a);

/* Make room for the squares of a step, as 'square' has it; free it with free(). */
uint16_t *qp_outlook_squares(const qp_code_rows *rows);

/* Make room for what follows from the squares of 'rows'. */
bool qp_outlook_new(qp_outlook *o, const qp_code_rows *rows, const qp_lookahead *a);
void qp_outlook_free(qp_outlook *o);

/* From 'square', of the pool, to o->window: the least of each window of 'span' squares, or where
   'coarse' is not 0 of so many more. */
void qp_outlook_windows(qp_outlook *o, const qp_code_rows *rows, unsigned span, unsigned coarse,
                        const uint16_t *square);

/* From o->square to o->behind: 65535 where all squares are. */
void qp_outlook_find(qp_outlook *o, const qp_code_rows *rows, const qp_lookahead *a);

#endif
