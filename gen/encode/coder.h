/* SPDX-License-Identifier: MIT */
/* Codes for one stream, a group of 32 rows at a time:  targets --> codes, group fields, W^. */
#ifndef QP_CODER_H
#define QP_CODER_H

#include <stdint.h>

#include "gen/encode/nearest.h"
#include "gen/encode/trellis.h"
#include "gen/spec/layout.h"
#include "gen/spec/quantizer.h"
#include "runtime/status.h"

/* What a quantizer (not a split) needs for encoding, made once, read by all threads. */
typedef struct qp_coder {
  const qp_quantizer *quantizer;
  enum {
    QP_CODER_TRELLIS, /* Viterbi along each lane's stream */
    QP_CODER_CODES,   /* each code by itself, one table */
    QP_CODER_FIELDS,  /* group fields are searched with the codes */
    QP_CODER_ROWS     /* a codebook for each row (Lloyd-Max on the row) */
  } kind;
  unsigned states; /* 2^bits that decode() reads */
  float *values;   /* [states][dim]; NULL for FIELDS */
  qp_trellis trellis;
  qp_codewords words;
} qp_coder;

/* QP_E_LIMIT: the quantizer cannot be encoded; QP_E_NOMEM. */
qp_status qp_coder_make(qp_coder *out, const qp_quantizer *q, qp_error *err);
void qp_coder_free(qp_coder *c);

/* Where the results of one stream go, as in qp_packed. */
typedef struct qp_coder_out {
  uint32_t *codes;
  uint8_t *field[QP_MAX_FIELDS];
  uint16_t *codebook[QP_MAX_CODEBOOKS];
} qp_coder_out;

/* Memory of one thread, for one stream's size. */
typedef struct qp_coder_work qp_coder_work;
qp_status qp_coder_work_new(const qp_coder *c, const qp_stream *s, qp_coder_work **out,
                            qp_error *err);
void qp_coder_work_free(qp_coder_work *w);

/*
** Encode rows 32 row_group .. + 31: 'targets' is [32][s->columns], 'values' of the same shape gets what the
** codes decode to.  Rows at and beyond s->rows hold zeros.
*/
qp_status qp_coder_rows(const qp_coder *c, qp_coder_work *w, const qp_stream *s, unsigned row_group,
                        const float *targets, const qp_coder_out *out, float *values,
                        qp_error *err);

/*
** The same for some superblocks only, in order from the first: what block-LDLQ does, whose targets
** of later columns depend on the values of earlier ones.  'targets' are those of the whole rows as they
** stand; a trellis looks one superblock ahead of 'count' and closes its circle at the last one.
** qp_coder_begin is told all targets first (where the circle will close, codebooks by row); 'count' covers
** whole groups of fields, or goes to the end.
*/
void qp_coder_begin(const qp_coder *c, qp_coder_work *w, const qp_stream *s, unsigned row_group,
                    const float *targets, const qp_coder_out *out);
qp_status qp_coder_blocks(const qp_coder *c, qp_coder_work *w, const qp_stream *s,
                          unsigned row_group, unsigned first, unsigned count, const float *targets,
                          const qp_coder_out *out, float *values, qp_error *err);

/* Group fields and codes of one row's group of columns (gen/encode/fields.c). */
typedef struct qp_field_search qp_field_search;
qp_status qp_field_search_new(const qp_quantizer *q, qp_field_search **out, qp_error *err);
void qp_field_search_free(qp_field_search *s);
/* targets, values [n]; codes [n / dim], n a multiple of dim; fields: raw values, as
** qp_quantizer_table takes them. */
qp_status qp_field_search_run(qp_field_search *s, unsigned n, const float *targets,
                              uint32_t fields[QP_MAX_FIELDS], uint32_t *codes, float *values,
                              qp_error *err);

#endif
