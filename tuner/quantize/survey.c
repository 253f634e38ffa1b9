/* SPDX-License-Identifier: MIT */
/* A quick pass over the weights of a job, for what would stop it later. */
#include "tuner/quantize/survey.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "tuner/quantize/hessian.h"

enum { PIECE_WEIGHTS = 1 << 20 }; /* read at a time */

/* A type that is no number is refused by the first row. */
static qp_status check_type(const qp_job *j, const qp_job_linear *l, float *piece, qp_error *err) {
  qp_status status = qp_checkpoint_read(j->checkpoint, l->weight, 0, 1, piece, err);
  return status ? qp_fail_prefix(err, status, "linear '%s'", l->name) : QP_OK;
}

/* Infinities and NaNs times zero are NaN: one test for a whole row. */
static bool all_finite(const float *x, size_t count) {
  float sum = 0;
  for (size_t i = 0; i < count; i++) sum += x[i] * 0.0f;
  return sum == 0;
}

static qp_status check_rows(const qp_job *j, const qp_source_tensor *t, const float *piece,
                            uint64_t first, uint64_t rows, qp_error *err) {
  const size_t columns = (size_t)t->columns;
  if (all_finite(piece, (size_t)rows * columns)) return QP_OK;
  size_t i = 0;
  while (isfinite(piece[i])) i++;
  return qp_fail(err, QP_E_ARG, "%s: tensor '%s' [%llu][%zu] is %g; weights should be finite",
                 qp_checkpoint_path(j->checkpoint), t->name,
                 (unsigned long long)(first + i / columns), i % columns, (double)piece[i]);
}

static double norm_of(const float *row, size_t columns) {
  double sum = 0;
  for (size_t k = 0; k < columns; k++) sum += (double)row[k] * (double)row[k];
  return sqrt(sum);
}

/* A rotation may bring all of a row to one weight, which is then its norm. */
static qp_status check_norms(const qp_job *j, const qp_source_tensor *t, const float *piece,
                             uint64_t first, uint64_t rows, qp_error *err) {
  const size_t columns = (size_t)t->columns;
  for (uint64_t r = 0; r < rows; r++) {
    const double norm = norm_of(piece + (size_t)r * columns, columns);
    if (norm > (double)FLT_MAX)
      return qp_fail(err, QP_E_ARG,
                     "%s: tensor '%s' [%llu]: a norm of %g; rows of a linear should have one of "
                     "fp32, at most %g",
                     qp_checkpoint_path(j->checkpoint), t->name, (unsigned long long)(first + r),
                     norm, (double)FLT_MAX);
  }
  return QP_OK;
}

static qp_status check_values(const qp_job *j, const qp_job_linear *l, float *piece,
                              const _Atomic bool *cancel, qp_error *err) {
  const uint64_t at_once = l->columns < PIECE_WEIGHTS ? PIECE_WEIGHTS / l->columns : 1;
  qp_status status = QP_OK;
  for (uint64_t r = 0; r < l->rows && !status; r += at_once) {
    const uint64_t rows = l->rows - r < at_once ? l->rows - r : at_once;
    if (cancel && atomic_load(cancel)) status = qp_fail(err, QP_E_LIMIT, "stopped");
    if (!status) status = qp_job_read(j, l, r, rows, piece, err);
    if (!status) status = check_rows(j, l->weight, piece, r, rows, err);
    if (!status) status = check_norms(j, l->weight, piece, r, rows, err);
  }
  qp_checkpoint_release(j->checkpoint, l->weight);
  return status;
}

static bool is_real(qp_tensor_type type) {
  return type == QP_TENSOR_F32 || type == QP_TENSOR_F16 || type == QP_TENSOR_BF16;
}

/* A tensor that stays as it is: one NaN in an embedding or a norm spoils every token after it. */
static qp_status check_kept(const qp_job *j, const qp_source_tensor *t, float *piece,
                            const _Atomic bool *cancel, qp_error *err) {
  const uint64_t at_once =
      t->columns < PIECE_WEIGHTS ? PIECE_WEIGHTS / (t->columns + !t->columns) : 1;
  qp_status status = QP_OK;
  for (uint64_t r = 0; r < t->rows && is_real(t->kept_type) && !status; r += at_once) {
    const uint64_t rows = t->rows - r < at_once ? t->rows - r : at_once;
    if (cancel && atomic_load(cancel)) status = qp_fail(err, QP_E_LIMIT, "stopped");
    if (!status) status = qp_checkpoint_read(j->checkpoint, t, r, rows, piece, err);
    if (!status) status = check_rows(j, t, piece, r, rows, err);
    qp_checkpoint_release(j->checkpoint, t); /* so a large embedding costs a piece */
  }
  return status;
}

/* Linears that read the same x have the same one, in the same file: it is looked at once. */
static qp_status check_hessian(const qp_job *j, size_t i, const _Atomic bool *cancel,
                               qp_error *err) {
  const qp_job_linear *l = &j->linear[i];
  qp_hessian h = {0};
  if (i && qp_hessian_is_same(j->hessian, l[-1].name, l->name)) return QP_OK;
  qp_status status = qp_hessian_open(j->hessian, l->name, l->rows, l->columns, &h, err);
  if (!status) status = qp_hessian_check(&h, cancel, err);
  qp_hessian_close(&h);
  return status ? qp_fail_prefix(err, status, "%s: Hessian of linear '%s'", j->hessian, l->name)
                : QP_OK;
}

static size_t largest_piece(const qp_job *j) {
  size_t most = PIECE_WEIGHTS;
  for (size_t i = 0; i < j->linears; i++)
    if (j->linear[i].columns > most) most = j->linear[i].columns;
  for (size_t i = 0; i < j->kepts; i++)
    if (j->kept[i]->columns > most) most = (size_t)j->kept[i]->columns;
  return most;
}

qp_status qp_survey_run(const qp_job *j, const _Atomic bool *cancel, qp_error *err) {
  float *piece = malloc(largest_piece(j) * sizeof *piece);
  if (!piece) return qp_fail(err, QP_E_NOMEM, "no memory for some rows of weights");
  qp_status status = QP_OK;
  for (size_t i = 0; i < j->linears && !status; i++)
    status = check_type(j, &j->linear[i], piece, err);
  for (size_t i = 0; i < j->linears && !status; i++)
    status = check_values(j, &j->linear[i], piece, cancel, err);
  for (size_t i = 0; i < j->kepts && !status; i++)
    status = check_kept(j, j->kept[i], piece, cancel, err);
  for (size_t i = 0; i < j->linears && j->hessian && !status; i++)
    status = check_hessian(j, i, cancel, err);
  free(piece);
  return status;
}
