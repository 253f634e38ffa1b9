/* SPDX-License-Identifier: MIT */
/* Measures what packed weights lost. */
#include "tuner/quantize/measure.h"

#include <stdlib.h>
#include <string.h>

#include "gen/encode/encode.h"
#include "runtime/half.h"
#include "gen/base/rotate.h"
#include "tuner/quantize/side.h"

double qp_measure_ratio(double lost, double power) { return power > 0 ? lost / power : 0; }

static void add_difference(const float *want, const float *got, size_t n, double *lost,
                           double *power) {
  for (size_t i = 0; i < n; i++) {
    const double w = (double)want[i], d = w - (double)got[i];
    *lost += d * d;
    *power += w * w;
  }
}

qp_status qp_measure_weights(const qp_job *j, const qp_job_linear *l, const qp_safetensors *file,
                             float *out, qp_error *err) {
  const size_t k = l->columns, cells = QP_GROUP_ROWS * k;
  qp_linear_part part[QP_MAX_RANGES];
  float *scales = NULL;
  uint16_t *half = malloc(cells * sizeof *half), *piece = malloc(cells * sizeof *piece);
  void *side = NULL;
  qp_reference *reference = qp_reference_new();
  qp_status status = half && piece && reference
                         ? qp_linear_find(l, file, part, &scales, err)
                         : qp_fail(err, QP_E_NOMEM, "no memory to decode 32 rows");
  for (size_t first = 0; first < l->rows && !status; first += QP_GROUP_ROWS) {
    const size_t left = l->rows - first, rows = left < QP_GROUP_ROWS ? left : QP_GROUP_ROWS;
    status = qp_linear_decode(reference, part, qp_linear_streams(l),
                               (unsigned)(first / QP_GROUP_ROWS), l->columns, half, piece, err);
    for (size_t i = 0; i < rows * k && !status; i++)
      out[first * k + i] = scales[first + i / k] * qp_half_to_float(half[i]);
  }
  if (!status) status = qp_side_make(j, l, NULL, &side, err);
  const qp_input in = qp_input_of(l->columns, l->rotation, side);
  if (!status)
    status = qp_rotate_rows_back(out, l->rows, &in, qp_encode_threads(j->threads), err);
  free(scales);
  free(half);
  free(piece);
  free(side);
  qp_reference_free(reference);
  return status;
}

/* Buffers for 32 rows. */
typedef struct rows32 {
  float *want, *got;
  uint16_t *half, *piece;
  void *side; /* of x, or NULL */
  qp_input in;
  qp_reference *reference;
  unsigned threads;
} rows32;

static qp_status compare_group(const qp_job *j, const qp_job_linear *l, rows32 *b, unsigned first,
                               unsigned rows, const float *scales, qp_measure *sums,
                               qp_error *err) {
  const unsigned k = l->columns;
  const size_t n = (size_t)rows * k;
  qp_status status = qp_job_read(j, l, first, rows, b->want, err);
  if (status) return status;
  for (unsigned r = 0; r < rows; r++)
    for (size_t i = (size_t)r * k; i < (size_t)(r + 1) * k; i++)
      /* Read by the caller. NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage) */
      b->got[i] = scales[r] * qp_half_to_float(b->half[i]);
  if (b->side) {
    status = qp_rotate_rows_back(b->got, rows, &b->in, b->threads, err);
    if (!status) add_difference(b->want, b->got, n, &sums->lost_back, &sums->power_back);
    if (!status) status = qp_rotate_rows(b->want, rows, &b->in, b->threads, err);
    for (unsigned r = 0; r < rows; r++)
      for (size_t i = (size_t)r * k; i < (size_t)(r + 1) * k; i++)
        b->got[i] = scales[r] * qp_half_to_float(b->half[i]);
  } else {
    add_difference(b->want, b->got, n, &sums->lost_back, &sums->power_back);
  }
  if (!status) add_difference(b->want, b->got, n, &sums->lost, &sums->power);
  return status;
}

qp_status qp_measure_rows(const qp_job *j, const qp_job_linear *l, unsigned first, unsigned rows,
                          const qp_linear_part *part, unsigned parts, const float *scales,
                          qp_measure *sums, qp_error *err) {
  const size_t cells = (size_t)QP_GROUP_ROWS * l->columns;
  rows32 b = {.want = malloc(cells * sizeof *b.want),
              .got = malloc(cells * sizeof *b.got),
              .half = malloc(cells * sizeof *b.half),
              .piece = malloc(cells * sizeof *b.piece),
              .reference = qp_reference_new(),
              .threads = qp_encode_threads(j->threads)};
  qp_status status = QP_OK;
  if (!b.want || !b.got || !b.half || !b.piece || !b.reference)
    status = qp_fail(err, QP_E_NOMEM, "no memory to decode 32 rows");
  if (!status) status = qp_side_make(j, l, NULL, &b.side, err);
  b.in = qp_input_of(l->columns, l->rotation, b.side);
  for (unsigned r = 0; r < rows && !status; r += QP_GROUP_ROWS) {
    const unsigned n = rows - r < QP_GROUP_ROWS ? rows - r : QP_GROUP_ROWS;
    status = qp_linear_decode(b.reference, part, parts, r / QP_GROUP_ROWS, l->columns, b.half,
                               b.piece, err);
    if (!status) status = compare_group(j, l, &b, first + r, n, scales + r, sums, err);
  }
  qp_checkpoint_release(j->checkpoint, l->weight);
  free(b.want);
  free(b.got);
  free(b.half);
  free(b.piece);
  free(b.side);
  qp_reference_free(b.reference);
  return status;
}
