/* SPDX-License-Identifier: MIT */
/* A packed linear:  a file with its tensors -> its parts, as the reference and kernels read them.
   */
#ifndef QP_PACKED_LINEAR_H
#define QP_PACKED_LINEAR_H

#include "gen/spec/reference.h"
#include "runtime/safetensors.h"
#include "tuner/quantize/job.h"

typedef struct qp_linear_figures {
  double distortion;  /* Distortion of the rotated weights: sum (w~ - r w^)^2 / sum w~^2. */
  double original;    /* distortion of the weights as they are in the checkpoint, rotated back */
  double proxy;       /* distortion of the outputs where a Hessian was given, else = distortion */
  double input_scale; /* Rows were brought to so much of the quantizer's best scale for N(0,1), of
                         several groups the least; 0: codes were kept. */
  double damping;     /* The damping of its Hessian, of several groups the most; 0: there was none,
                         or only zeros. */
  uint64_t bytes;     /* bytes of all tensors stored for it, but for the signs that its group
                         shares */
  char unfitted[256]; /* qp_encoded.unfitted */
} qp_linear_figures;

/* One part of a linear as it lies in memory or in a file; data belongs to that. */
typedef struct qp_linear_part {
  qp_stream stream;
  unsigned column;
  qp_packed packed; /* packed.stream points to the stream of the original of this struct, not of a
                       copy. */
} qp_linear_part;

/* 1, or the parts of a split. */
static inline unsigned qp_linear_parts(const qp_quantizer *q) {
  return q->kind == QP_SPLIT ? q->parts : 1;
}

/* Count the streams of a linear: each of its parts has one in each of its pieces of K. */
static inline unsigned qp_linear_streams(const qp_job_linear *l) {
  return qp_layout_ranges(l->quantizer, qp_job_pieces(l));
}

/*
** The packed tensors in an open file: part[qp_linear_streams()], and row scales, stored as F16 or
** F32, in *scales [rows], which the caller frees.
** QP_E_NOMEM; QP_E_ARG: a tensor is missing, of another type or size, or not aligned
** to its elements.
*/
qp_status qp_linear_find(const qp_job_linear *l, const qp_safetensors *file,
                         qp_linear_part part[QP_MAX_RANGES], float **scales, qp_error *err);

/* Decode 32 rows of W^ over all parts to fp16 bits, out[32][columns]; 'piece' [32][columns] is
   scratch. */
qp_status qp_linear_decode(qp_reference *r, const qp_linear_part *part, unsigned parts,
                           unsigned row_group, unsigned columns, uint16_t *out, uint16_t *piece,
                           qp_error *err);

#endif
