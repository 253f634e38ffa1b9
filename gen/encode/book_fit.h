/* SPDX-License-Identifier: MIT */
/* Fits codebooks to one linear:  some of its rows --[code, solve, code again]--> entries. */
#ifndef QP_BOOK_FIT_H
#define QP_BOOK_FIT_H

#include <stdbool.h>
#include <stdint.h>

#include "gen/spec/layout.h"
#include "gen/spec/quantizer.h"
#include "runtime/status.h"

/* Weights of a linear that are coded again and again: 2^20, but of large codebooks as many as give
   each entry 32 codes, up to 2^24.  Of N(0,1) in 8 dimensions a book loses 24 % less than its draws
   on the 16 vectors an entry that it was fitted to, and 5 % less on others. */
enum {
  QP_BOOK_FIT_LEAST = 4, /* a usual least_codes */
  QP_BOOK_FIT_WEIGHTS = 1 << 20,
  QP_BOOK_FIT_CODES = 32,
  QP_BOOK_FIT_MOST = 1 << 24,
  QP_BOOK_FIT_TEXT = 256
};

/* Has a quantizer (not a split) codebooks that belong to the linear? */
bool qp_has_tensor_books(const qp_quantizer *q);

typedef struct qp_book_fit_options {
  unsigned threads;           /* at least 1 */
  unsigned beam;              /* as qp_encode_options has it */
  const float *column_weight; /* [columns]: what an error of a column costs; NULL: all the same */
  /* Of fewer codes for an entry a codebook stays as it is, as it would learn them by heart.  0: the
     rows are all that will be coded, so that does no harm. */
  unsigned least_codes;
  bool all;        /* Codebooks of every scope are fitted, one for all rows. */
  unsigned rounds; /* most rounds; 0: 40, or 6 of a codebook of more than 4096 entries */
  /* Is told before each solution what the loss is, as a share of the weights' squares.  May be
     NULL. */
  void (*progress)(void *arg, unsigned round, unsigned rounds, double distortion);
  void *arg;
} qp_book_fit_options;

/*
** Fit the codebooks of scope "tensor" (or all) to rows of a linear:  's' is the stream of a whole
** number of groups of 32 rows, rows [32 s->row_groups][s->columns] are brought to the input scale,
** 0 at and beyond s->rows.  Coding with the codebooks as they stand and solving for their entries
** (gen/encode/books.h) take turns until that does not help; of codes that are sums of runs
** (gen/encode/stages.h), with codebooks of up to 4096 entries, for all rounds, of which all but the
** last go beyond the solution and, less and less, by chance.
** book[c], for each such codebook: in, where to start; out, the best that was met.
** 'left_out' [QP_BOOK_FIT_TEXT]: a codebook that is as it was, having too many entries for the
** rows; else "".
** QP_E_ARG: decode is no sum of entries, so that nothing can be solved; QP_E_NOMEM, and errors of
** qp_coder_make.  'book' is untouched on error.
*/
qp_status qp_book_fit(const qp_quantizer *q, const qp_stream *s, const float *rows,
                      const qp_book_fit_options *options, uint16_t *const *book, char *left_out,
                      qp_error *err);

#endif
