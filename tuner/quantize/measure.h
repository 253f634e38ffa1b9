/* SPDX-License-Identifier: MIT */
/* Measures what packed weights lost:  packed rows + checkpoint -> sums of squares, in both bases.
   */
#ifndef QP_MEASURE_H
#define QP_MEASURE_H

#include "tuner/quantize/packed_linear.h"

typedef struct qp_measure {
  double lost, power;           /* sum (w~ - r w^)^2, sum w~^2 over rotated weights w~ */
  double lost_back, power_back; /* The same in the basis of the checkpoint, where the rotation is
                                   undone. */
} qp_measure;

/*
** Decode rows by the reference (gen/spec/reference.h), times 'scales' [rows], and add up what they
** differ from rows 'first' .. first + rows - 1 of the linear's weights in the checkpoint ('first'
** and all but a last count of rows are multiples of 32).  'part' [parts] holds these rows alone.
** It takes the memory of a few times 32 rows.
*/
qp_status qp_measure_rows(const qp_job *j, const qp_job_linear *l, unsigned first, unsigned rows,
                          const qp_linear_part *part, unsigned parts, const float *scales,
                          qp_measure *sums, qp_error *err);

/* lost / power, or 0 where there is no power. */
double qp_measure_ratio(double lost, double power);

/*
** Decode the linear from a file with its packed tensors, in the basis of the checkpoint: out
** [rows][columns].  QP_E_NOMEM; errors of qp_linear_find.
*/
qp_status qp_measure_weights(const qp_job *j, const qp_job_linear *l, const qp_safetensors *file,
                             float *out, qp_error *err);

#endif
