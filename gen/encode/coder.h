/* SPDX-License-Identifier: MIT */
/* Chooses codes for one stream, a group of 32 rows at a time:  targets --> codes, group fields, W^.
   */
#ifndef QP_CODER_H
#define QP_CODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/encode/descent.h"
#include "gen/encode/nearest.h"
#include "gen/encode/stages.h"
#include "gen/encode/trellis.h"
#include "gen/spec/layout.h"
#include "gen/spec/quantizer.h"
#include "runtime/status.h"

/* What a quantizer (not a split) needs for encoding, made once, read by all threads. */
typedef struct qp_coder {
  const qp_quantizer *quantizer;
  enum {
    QP_CODER_TRELLIS, /* Viterbi along each lane's stream */
    QP_CODER_CODES,   /* Each code is chosen by itself, from one table. */
    QP_CODER_FIELDS,  /* group fields are searched with the codes */
    QP_CODER_NESTED,  /* Groups of several sizes are fitted so, those inside the largest group
                         together. */
    QP_CODER_ROWS     /* Each row gets a codebook of its own (Lloyd-Max on the row). */
  } kind;
  unsigned states; /* decode() can read 2^bits of them; 0: too many for a table. */
  float *values;   /* [states][dim]; NULL for FIELDS, NESTED, and codes of more than 20 bits */
  qp_trellis trellis;
  qp_codewords words;
  qp_stages stages; /* CODES: searched in place of 'words' where it has stages */
} qp_coder;

/* QP_E_LIMIT: the quantizer cannot be encoded; QP_E_NOMEM. */
qp_status qp_coder_make(qp_coder *out, const qp_quantizer *q, qp_error *err);
void qp_coder_free(qp_coder *c);
/* Are group fields searched with its codes? */
static inline bool qp_coder_has_fields(const qp_coder *c) {
  return c->kind == QP_CODER_FIELDS || c->kind == QP_CODER_NESTED;
}
/* Are its codes searched row by row, not lane by lane?  With group fields, and with a codebook for
   each row. */
static inline bool qp_coder_takes_rows(const qp_coder *c) {
  return qp_coder_has_fields(c) || c->kind == QP_CODER_ROWS;
}
/* False: its codebooks by row stay those of the spec, and 'why' [size] says the reason. */
bool qp_coder_fits_rows(const qp_coder *c, char *why, size_t size);
/* Get what a state decodes to, [dim], from the table or made in own [QP_NEAREST_DIM].  The coder
   must have one table or stages. */
const float *qp_coder_value(const qp_coder *c, uint32_t state, float *own);
/* Tell about how many bytes its tables take. */
size_t qp_coder_bytes(const qp_coder *c);

/* Where the results of one stream go, as in qp_packed. */
typedef struct qp_coder_out {
  uint32_t *codes;
  uint8_t *field[QP_MAX_ARRAYS];
  uint16_t *codebook[QP_MAX_CODEBOOKS];
} qp_coder_out;

/* The memory of one thread, made for the size of one stream. */
typedef struct qp_coder_work qp_coder_work;
qp_status qp_coder_work_new(const qp_coder *c, const qp_stream *s, qp_coder_work **out,
                            qp_error *err);
void qp_coder_work_free(qp_coder_work *w);
/* Say what errors of the columns cost, [s->columns], to codebooks that are fitted to rows; NULL
   means that all cost the same.  The array must live as long as the work. */
void qp_coder_weigh(qp_coder_work *w, const float *weight);

/* Can the codes of a row be found in any order, as each stands alone in it? */
bool qp_coder_takes_orders(const qp_coder *c);
/* Say that targets and values have columns in another order than the stream: code i of a row is the
   place[i]-th among them.  The array must live as long as the work; NULL: the stream's order. */
void qp_coder_order(qp_coder_work *w, const unsigned *place);

/* Has it codes for a second pass (gen/encode/descent.h)?  Of one table, which is not too large to
   be looked through for each pair. */
bool qp_coder_descends(const qp_coder *c);
/* Give it the codes of row 'row' of the row group in hand. */
qp_descent_row qp_coder_row(const qp_coder *c, qp_coder_work *w, const qp_stream *s, unsigned row);

/*
** Encode rows 32 row_group .. + 31: 'targets' is [32][s->columns], 'values' of the same shape
** gets what the codes decode to; their rows are 'stride' floats apart.  Rows at and beyond
** s->rows hold zeros.
*/
qp_status qp_coder_rows(const qp_coder *c, qp_coder_work *w, const qp_stream *s, unsigned row_group,
                        const float *targets, const qp_coder_out *out, float *values,
                        unsigned stride, qp_error *err);

/*
** The same a few columns at a time, in ascending order, for targets of later columns that depend on
** the values of earlier ones:  begin, columns until all are coded, end.
** 'column' and 'end' are multiples of qp_coder_grain, or s->columns.  'targets' are those of the
** whole rows as they stand.
** A trellis looks a little ahead of 'end', at targets of up to QP_CODER_AHEAD columns behind it,
** and closes its circle at the last one; group fields are chosen for the targets of their whole
** group when its first column comes.  qp_coder_begin is told all targets (where a circle will
** close, codebooks by row), qp_coder_end writes the codes.
*/
enum { QP_CODER_AHEAD = 64 };
/* Columns whose group fields are chosen together, of a stream with fields. */
unsigned qp_coder_group(const qp_stream *s);
unsigned qp_coder_grain(const qp_coder *c, const qp_stream *s);
/* Steps on each side of a circle's seam that qp_coder_begin looks at, and steps behind a trellis'
   columns that qp_coder_columns looks at, where these are QP_CODER_TRELLIS_GRAIN and others
   follow. */
typedef struct qp_coder_reach {
  unsigned seam, ahead;
} qp_coder_reach;
enum { QP_CODER_TRELLIS_GRAIN = 8 };
/* Has it that grain? */
bool qp_coder_feeds_few(const qp_quantizer *q);
qp_coder_reach qp_coder_reach_of(const qp_quantizer *q);
/* Are its codes vectors in several rows, of which those of a grain's columns are found together? */
bool qp_coder_feeds_vectors(const qp_coder *c);
qp_status qp_coder_begin(const qp_coder *c, qp_coder_work *w, const qp_stream *s,
                         unsigned row_group, const float *targets, unsigned stride,
                         const qp_coder_out *out, qp_error *err);
qp_status qp_coder_columns(const qp_coder *c, qp_coder_work *w, const qp_stream *s,
                           unsigned row_group, unsigned column, unsigned end, const float *targets,
                           const qp_coder_out *out, float *values, unsigned stride, qp_error *err);
/* Get what codes decode to, [32][states][dim], by the codebooks that qp_coder_begin fitted to the
   rows. */
const float *qp_coder_row_values(const qp_coder_work *w);
void qp_coder_end(const qp_coder *c, qp_coder_work *w, const qp_stream *s, unsigned row_group,
                  const qp_coder_out *out);

/* The states of a lane's steps [superblocks period.steps], of the row group that was coded last. */
void qp_coder_states(const qp_coder *c, const qp_coder_work *w, unsigned lane, uint32_t *states);

/* Searches the group fields and the codes of one row's group of columns (gen/encode/fields.c). */
typedef struct qp_field_search qp_field_search;
qp_status qp_field_search_new(const qp_quantizer *q, qp_field_search **out, qp_error *err);
void qp_field_search_free(qp_field_search *s);

/* What was chosen for a group; begins empty, freed by qp_field_choice_free. */
typedef struct qp_field_choice {
  uint32_t field[QP_MAX_FIELDS]; /* raw values, as qp_quantizer_table takes them */
  float *value;                  /* [states][dim]: what codes decode to */
  qp_codewords words;
} qp_field_choice;
/* Choose fields for targets [n], where n is a multiple of dim. */
qp_status qp_field_search_run(qp_field_search *s, unsigned n, const float *targets,
                              qp_field_choice *out, qp_error *err);
/* Find the nearest codes for fields that are chosen: targets and values are [n], codes [n / dim].
   */
void qp_field_choice_codes(const qp_field_choice *c, unsigned n, const float *targets,
                           uint32_t *codes, float *values);
void qp_field_choice_free(qp_field_choice *c);

#endif
