/* SPDX-License-Identifier: MIT */
/* Solves for codebooks that suit what was coded with them:  targets + states --[least squares]-->
   entries. */
#ifndef QP_BOOKS_H
#define QP_BOOKS_H

#include <stdbool.h>
#include <stdint.h>

#include "gen/encode/stages.h"
#include "gen/spec/quantizer.h"
#include "runtime/status.h"

/*
** Of most decodes each weight is a sum of codebook entries times numbers that the state (and the
** group fields) choose: additive codebooks, residual ones, a matrix, a table with a scale or signs.
** Which entries and which numbers is asked of decode itself, entry by entry: all are set to 0, one
** to 1. Then the entries with the least sum of squared errors solve linear equations.
*/
typedef struct qp_books qp_books;

/* Runs of a code's bits: decode adds up what they stand for (gen/encode/stages.h).  With count 0
   nothing of this is known. */
typedef struct qp_books_runs {
  unsigned count;
  struct {
    unsigned shift, bits;
  } run[QP_MAX_STAGES];
} qp_books_runs;

/*
** 'unknown' [codebooks]: those whose entries are to be found; the others stay as the quantizer has
** them.  With 'runs' decode is asked for each value of a run in place of each code.  QP_E_NOMEM.
** Free with qp_books_free.
*/
qp_status qp_books_new(const qp_quantizer *q, const bool *unknown, const qp_books_runs *runs,
                       qp_books **out, qp_error *err);
void qp_books_free(qp_books *b);
/* Forget the targets. */
void qp_books_clear(qp_books *b);

/*
** Add one code: its 'state', the raw group 'fields' (as qp_quantizer_table takes them), its targets
** [dim] and their weights [dim], where 0 stands for a target that is not there.  QP_E_ARG means
** that decode is no such sum; QP_E_NOMEM.
*/
qp_status qp_books_add(qp_books *b, uint32_t state, const uint32_t *fields, const float *target,
                       const float *weight, qp_error *err);

/*
** Solve for entry[c] of each unknown codebook, [entries][dim] fp16 bits, which hold the entries as
** they are and become those with the least sum of weighted squares.  What no code reads stays.
** QP_E_NOMEM.
*/
qp_status qp_books_solve(qp_books *b, uint16_t *const *entry, qp_error *err);

#endif
