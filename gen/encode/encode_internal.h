/* SPDX-License-Identifier: MIT */
/* The inside of encode.h: what encode.c, encode_rows.c, encode_scales.c, encode_search.c,
   encode_books.c share. */
#ifndef QP_ENCODE_INTERNAL_H
#define QP_ENCODE_INTERNAL_H

#include <pthread.h>

#include "gen/encode/coder.h"
#include "gen/encode/coders.h"
#include "gen/encode/encode.h"
#include "gen/encode/feedback.h"
#include "gen/encode/sparse.h"

struct qp_encode_desk;

/* What all threads share; they take groups of 32 rows from 'next'. */
typedef struct qp_encode_job {
  const float *weights;
  const qp_encode_options *options;
  qp_encoded *out;
  qp_coders *coders;
  const qp_coder *coder[QP_MAX_RANGES];
  struct { /* where codebooks are the linear's: the quantizer with them, its coder */
    qp_quantizer view;
    qp_coder coder;
  } own[QP_MAX_RANGES];
  float *weight[QP_MAX_RANGES]; /* With feedback: the diagonal of the Hessian, [columns of the
                                   part]. */
  double input_scale;
  bool feeds;
  qp_feedback feedback;         /* of the Hessian in the order of the columns */
  bool again;                   /* codes are found in two passes */
  unsigned *order;              /* [columns] as they are coded; NULL: as they stand */
  float *ordered;               /* the Hessian in that order */
  unsigned *place;              /* [columns]: of each part, where its codes are in that order */
  double *lost, *power;         /* [rows]: sum (w - r w^)^2, sum w^2 */
  double *out_lost, *out_power; /* [rows]: the same through the Hessian */
  unsigned row_groups;
  _Atomic unsigned next;
  unsigned end; /* The row groups in hand end here. */
  qp_status (*work)(struct qp_encode_job *j, struct qp_encode_desk *d, unsigned row_group,
                    qp_error *err);
  bool counts; /* in options->done */
  struct {     /* with a searcher: its sequences of the row groups in hand, from 'first' */
    float *target;
    uint32_t *code, *field;
    uint16_t *table; /* what the codes of each row decode to */
    uint32_t *apart; /* with feedback: which weights are stored apart, a bit for each */
  } lanes[QP_MAX_RANGES];
  int32_t *errors; /* with a searcher that feeds them: [row groups in hand][columns][32] */
  unsigned first;
  _Atomic bool stopped;
  pthread_mutex_t lock; /* guards status and error */
  qp_status status;
  qp_error error;
} qp_encode_job;

/* Of 32 rows as they are coded, brought to the input scale, with e = v - x:  x H x^T, x H e^T and
   e H e^T. */
typedef struct qp_encode_loss {
  bool known;
  double x_x[QP_GROUP_ROWS], x_e[QP_GROUP_ROWS], e_e[QP_GROUP_ROWS];
} qp_encode_loss;

/* What one thread owns; arrays are [32][columns], rows brought to the input scale. */
typedef struct qp_encode_desk {
  qp_coder_work *work[QP_MAX_RANGES];
  float *x, *value;              /* The rows, and what their codes decode to. */
  float *target;                 /* with feedback */
  double *error, *sum;           /* with feedback: as gen/encode/feedback.h has them */
  float *side, *x_root, *e_root; /* with feedback: rows side by side, [columns][32]; x and e times
                                    the root of the Hessian (gen/encode/feedback.h) */
  qp_encode_loss loses;          /* with feedback */
  float *part, *part_value;      /* With a searcher: one part's columns, contiguous. */
  qp_reference *reference;       /* With a searcher it stands in place of 'work'. */
  uint16_t *half;
  uint32_t *lane_code;                   /* with a searcher: codes of 32 lanes */
  qp_sparse_entry *apart[QP_MAX_RANGES]; /* [32][sparse of the part]: stored apart, 0 in x */
  qp_sparse_entry *any;                  /* [columns] */
  double rms[QP_GROUP_ROWS];
} qp_encode_desk;

/* ---- Rows (encode_rows.c, encode_scales.c) ---- */

/* Make what a thread needs, or of it what stores weights apart alone.  QP_E_NOMEM; free both even
   then. */
qp_status qp_encode_desk_make(const qp_encode_job *j, qp_encode_desk *d, qp_error *err);
void qp_encode_desk_free(qp_encode_desk *d);
qp_status qp_encode_apart_make(const qp_encode_job *j, qp_encode_desk *d, qp_error *err);
void qp_encode_apart_free(qp_encode_desk *d);
/* Rows of a group that the linear has; the others are padding. */
unsigned qp_encode_rows_of(const qp_encoded *e, unsigned row_group);
/* Bring a group's rows to the input scale, in d->x. */
void qp_encode_load_rows(const qp_encode_job *j, qp_encode_desk *d, unsigned row_group);
/* Put the weights of columns [column, end) that part p stores apart into d->value. */
void qp_encode_set_apart(const qp_encode_job *j, qp_encode_desk *d, unsigned p, unsigned column,
                         unsigned end);
/* Copy 'columns' of each of 32 rows. */
void qp_encode_copy_columns(float *to, unsigned to_stride, const float *from, unsigned from_stride,
                            unsigned columns);
/* Code a group of rows: 'work' of qp_encode_run_threads. */
qp_status qp_encode_row_group(qp_encode_job *j, qp_encode_desk *d, unsigned row_group,
                              qp_error *err);
/* Find codes that stand in d->work and d->value, in the order of the columns, again where that is
   done, pack them and choose scales of rows.  Errors here and below are a searcher's. */
qp_status qp_encode_end_ordered(const qp_encode_job *j, qp_encode_desk *d, unsigned row_group,
                                qp_error *err);
/* With feedback: find the codes of a group of rows, which stand in d->work and d->value, again,
   each given all others. */
qp_status qp_encode_again(const qp_encode_job *j, qp_encode_desk *d, unsigned row_group,
                          qp_error *err);
/* Choose the scales of rows whose codes and values are known, and measure what they lose. */
qp_status qp_encode_fit_scales(const qp_encode_job *j, qp_encode_desk *d, unsigned row_group,
                               qp_error *err);
/* Where a coder puts the codes and fields of part p. */
qp_coder_out qp_encode_out_of(const qp_encoded *e, unsigned p);

/* ---- Threads (encode.c) ---- */

/* Run 'work' on the row groups [first, end), by all threads; with 'counts' progress is told.
   Returns j->status; the message is j->error. */
qp_status qp_encode_run_threads(qp_encode_job *j, unsigned first, unsigned end, bool counts,
                                qp_status (*work)(qp_encode_job *j, qp_encode_desk *d,
                                                  unsigned row_group, qp_error *err));

/* ---- A searcher (encode_search.c) ---- */

/* Is every part's code the outcome of a search alone, and is there a searcher? */
bool qp_encode_can_search(const qp_encode_job *j);
/* Make room for 'at_once' row groups.  QP_E_NOMEM; free even then. */
qp_status qp_encode_lanes_make(qp_encode_job *j, unsigned at_once, qp_error *err);
void qp_encode_lanes_free(qp_encode_job *j);
qp_status qp_encode_run_searched(qp_encode_job *j, unsigned at_once, qp_error *err);

/* ---- Codebooks (encode_books.c) ---- */

/* Take the diagonal of the Hessian for the columns of each part.  QP_E_NOMEM. */
qp_status qp_encode_weigh_columns(qp_encode_job *j, qp_error *err);
/* Fit the codebooks of part p that are the linear's, and code with them from then on. */
qp_status qp_encode_fit_books(qp_encode_job *j, unsigned p, qp_error *err);

#endif
