/* SPDX-License-Identifier: MIT */
/* The encoder chooses codes for a linear:  weights --[codes of its quantizer]--> packed weights. */
#ifndef QP_ENCODE_H
#define QP_ENCODE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/encode/rows_product.h"
#include "gen/spec/layout.h"
#include "gen/spec/quantizer.h"
#include "gen/spec/reference.h"
#include "runtime/status.h"

#define QP_ENCODE_DAMPING 0.01 /* A Hessian's diagonal grows by this share of its mean. */

struct qp_coder;    /* gen/encode/coder.h */
struct qp_feedback; /* gen/encode/feedback.h */

/* What a searcher gets, and where it puts what it finds. */
typedef struct qp_encode_search {
  size_t sequences;
  const float *targets;
  const uint16_t *tables; /* with codebooks by row: what the codes of each row decode to, as fp16
                             [sequences][states][dim]; else NULL */
  uint32_t *codes;
  uint32_t *fields; /* with group fields: raw [sequences][qp_field_groups][fields]; else NULL */
} qp_encode_search;

/* What it gets where errors are fed forward (gen/encode/feedback.h): groups of 32 rows of a part
   that begins at column 'first' of all. */
typedef struct qp_encode_feed {
  const struct qp_feedback *feedback;
  unsigned first;
  size_t groups;
  const float *targets; /* [groups][32][columns of the part] */
  int32_t *errors; /* [groups][all columns][32]: of those before 'first' on entry, of the part on
                           return, where others follow or 'apart' is given */
  const uint16_t *tables; /* with codebooks by row, as qp_encode_search has them; else NULL */
  const uint32_t *apart;  /* with sparse entries: bit k % 32 of [groups][32][columns / 32, rounded
                             up] is set where column k's weight comes to its target; else NULL */
  uint32_t *codes;  /* of a trellis and of vectors in several rows [groups][32 lanes][steps], else
                       [groups][32][columns / dim] */
  uint32_t *fields; /* with group fields: raw [groups][32][qp_field_groups][fields]; else NULL */
} qp_encode_feed;

/*
** Finds codes in place of this machine's threads, as encode kernels on a GPU do.  'search' gets the
** targets of sequences (32 lanes for each group of rows) of one stream, [sequences][steps][dim]
** with  steps = superblocks period.steps,  and gives codes [sequences][steps]: for a trellis these
** are the codes of each whole circle, else the nearest ones.  Of a coder that takes rows
** (qp_coder_takes_rows) sequences are rows: targets [sequences][columns], codes
** [sequences][columns / dim], and where it has group fields these.
** 'feed', or NULL, does the same with error feedback, for trellises that qp_coder_feeds_few, for
** vectors that qp_coder_feeds_vectors, for group fields, and for codes that may come in any order,
** of which it has the first pass.
** 'product', or NULL, computes  out = a C  (QP_ROWS_BEFORE)  or  a C^T  (QP_ROWS_BEHIND)  of 32
** rows side by side, [columns][32], with C the feedback's root.
** All must be those of gen/encode bit for bit.  One thread at a time calls it, but 'product'
** several may call at once.  QP_E_MISSING means that it has nothing for this quantizer, or so many
** columns, and the threads do the work; other errors end the run.
*/
typedef struct qp_encode_searcher {
  void *context;
  qp_status (*search)(void *context, const struct qp_coder *coder, const qp_stream *stream,
                      const qp_encode_search *in, qp_error *err);
  qp_status (*feed)(void *context, const struct qp_coder *coder, const qp_stream *stream,
                    const qp_encode_feed *in, qp_error *err);
  qp_status (*product)(void *context, const struct qp_feedback *f, qp_rows_part part,
                       const float *a, float *out, qp_error *err);
} qp_encode_searcher;

typedef struct qp_encode_options {
  unsigned threads; /* 0: as many as CPUs */
  /*
  ** Weights are brought to 'input_scale' times the variance 1 of the codes' own N(0,1) before codes
  ** are chosen; 0: the best one for N(0,1), as qp_encode_input_scale finds it.
  */
  double input_scale;
  /*
  ** How many paths survive a step of a trellis whose window is beyond QP_TRELLIS_WINDOW
  ** (gen/encode/trellis.h); 0 stands for the usual number.  Other quantizers have no use for it.
  */
  unsigned beam;
  /*
  ** E[x~ x~^T] of the rotated activations, [columns][columns] and symmetric, or NULL.  With it the
  ** error of the outputs, tr(E H E^T), is made small instead of that of the weights: the errors of
  ** columns are fed forward into the targets of those that follow (block-LDLQ: QuIP#, arXiv
  ** 2402.04396; GPTQ, arXiv 2210.17323).  Where codes stand alone they are fed from each code to
  ** the next, in a trellis from 8 columns to the next.  Scalars and pairs that stand alone come in
  ** the order of the diagonal, and a second time given all others.  Zeros alone count as none.
  */
  const float *hessian;
  /*
  ** What is added to the diagonal, as a share of its mean; 0 stands for QP_ENCODE_DAMPING.  Where
  ** the Hessian is not positive definite ten times as much is tried, and so on.
  */
  double hessian_damping;
  size_t hessian_samples; /* of which the Hessian is the mean; 0: not known */
  /*
  ** With a Hessian, what may be another one for this linear: an input scale below 'input_scale',
  ** less damping than 'hessian_damping'.  It is tried on some rows (gen/encode/settle.h), then the
  ** linear is coded both ways, and the codes with the lower proxy loss are kept.
  */
  bool settles_scale, settles_damping;
  /*
  ** The rows are a sample, what is lost of them should be what is lost of more: codebooks of scope
  ** "tensor" are fitted only where each entry has codes enough (gen/encode/book_fit.h).
  */
  bool stands_for_more;
  unsigned pieces; /* equal ranges of columns, of which each has streams of its own; 0: 1 */
  /* NULL: threads alone. */
  const qp_encode_searcher *searcher;
  struct qp_coders *coders;   /* kept for other linears (gen/encode/coders.h); NULL: made anew */
  _Atomic size_t *done;       /* weights done so far, counted up while it runs, or NULL */
  const _Atomic bool *cancel; /* made true by another thread or a signal to stop the run; or NULL */
} qp_encode_options;

/* An encoded linear holds what qp_packed needs.  It has one part for each stream, of which there
   are several for a split and where K is in pieces (qp_layout_range). */
typedef struct qp_encoded {
  const qp_quantizer *quantizer;
  unsigned rows, columns, parts;
  struct {
    qp_stream stream;
    unsigned column;                      /* where the part begins */
    uint32_t *codes;                      /* [stream.code_words] */
    uint8_t *field[QP_MAX_ARRAYS];        /* [stream.field_bytes[a]] */
    uint16_t *codebook[QP_MAX_CODEBOOKS]; /* scope tensor or row; NULL for scope spec.
                                             tensor: [entries][dim]; row: [32 groups][entries] */
  } part[QP_MAX_RANGES];
  float *row_scale; /* [rows]: W ~ row_scale W^; fp16 numbers, but for those out of its range */
  float *row_distortion; /* [rows]: sum (w - r w^)^2 / sum w^2 of each row */
  double distortion;     /* sum (w - r w^)^2 / sum w^2 over the linear; 0 where all weights are 0 */
  double proxy;       /* tr(E H E^T) / tr(W H W^T) where a Hessian was given, else = distortion */
  double input_scale; /* that rows were brought to */
  double damping;     /* what was added to the Hessian's diagonal, as a share of its mean; 0: coded
                         without feedback */
  char unfitted[256]; /* why codebooks of the linear or of rows are those of the spec; "": fitted */
} qp_encoded;

/*
** Encode W, [rows][columns] row-major (already rotated where the linear is rotated).
** '*out' is filled (free with qp_encoded_free) or untouched.  The same input gives the same bits
** with any number of threads and any instruction set.
** QP_E_ARG: a weight is NaN or infinite (row and column are named), or the Hessian is not positive
** definite even when damped; QP_E_LIMIT: the quantizer cannot be encoded (window over 24 bits) or
** 'cancel' was set; QP_E_MISSING: a Hessian is given and no BLAS/LAPACK is there; QP_E_NOMEM.
*/
qp_status qp_encode_linear(const qp_quantizer *q, const float *weights, unsigned rows,
                           unsigned columns, const qp_encode_options *options, qp_encoded *out,
                           qp_error *err);
void qp_encoded_free(qp_encoded *e);

/* Give the packed form of part i, for qp_reference_decode.  It is valid as long as 'e' is. */
qp_packed qp_encoded_packed(const qp_encoded *e, unsigned part);

/*
** Find the input scale with the least distortion on N(0,1) by encoding a fixed sample.  It is kept
** in the cache directory under the quantizer's hash; the scales of the palette come with qpal.  It
** is 1 for quantizers with group fields or codebooks by row, which take the scale up themselves,
** and one scale serves all parts of a split.
*/
qp_status qp_encode_input_scale(const qp_quantizer *q, double *out, qp_error *err);
#define QP_SHIPPED_SCALES "lua/shipped/scales.txt"

/* Tell how many threads 'threads' stands for: 0 means as many as there are CPUs. */
unsigned qp_encode_threads(unsigned threads);

#endif
