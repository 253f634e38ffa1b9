/* SPDX-License-Identifier: MIT */
/* What error feedback leaves of each linear's loss. */
#include "tuner/quantize/feedback_share.h"

#include <math.h>
#include <stdlib.h>

#include "gen/base/blas.h"
#include "gen/encode/encode.h"
#include "tuner/quantize/hessian.h"

/* The share of one Hessian [n][n]; 1 where it is zero or not positive definite even when damped. */
static double share_of(const qp_blas *blas, const float *h, size_t n, double *scratch) {
  const size_t apart = (n + QP_FEEDBACK_SHARE_COLUMNS - 1) / QP_FEEDBACK_SHARE_COLUMNS;
  const size_t taken = (n + apart - 1) / apart;
  const int order = (int)taken;
  double mean = 0, sum = 0;
  int info = 0;
  for (size_t i = 0; i < taken; i++)
    for (size_t k = 0; k < taken; k++)
      scratch[i * taken + k] = (double)h[i * apart * n + k * apart];
  for (size_t i = 0; i < taken; i++) mean += scratch[i * taken + i] / (double)taken;
  if (!(mean > 0) || isinf(mean)) return 1;
  for (size_t i = 0; i < taken; i++) scratch[i * taken + i] += QP_ENCODE_DAMPING * mean;
  blas->dpotrf("L", &order, scratch, &order, &info);
  if (info) return 1;
  for (size_t i = 0; i < taken; i++) sum += 2 * log(scratch[i * taken + i]);
  return exp(sum / (double)taken) / ((1 + QP_ENCODE_DAMPING) * mean);
}

/* Mean over the groups of rows; *found is counted up where there is a Hessian. */
static qp_status measure(const qp_blas *blas, const char *path, const char *name,
                         const qp_model_linear *l, double *share, size_t *found, qp_error *err) {
  qp_hessian h = {0};
  qp_status status = qp_hessian_open(path, name, l->rows, l->columns, &h, err);
  if (!status && !h.groups) qp_hessian_close(&h);
  if (status || !h.groups) return status;
  const size_t order =
      l->columns < QP_FEEDBACK_SHARE_COLUMNS ? l->columns : QP_FEEDBACK_SHARE_COLUMNS;
  double *scratch = malloc(sizeof *scratch * order * order), sum = 0;
  if (!scratch) status = qp_fail(err, QP_E_NOMEM, "no memory to factor a Hessian");
  for (unsigned g = 0; g < h.groups && !status; g++) {
    float *values = NULL;
    status = qp_hessian_read(&h, g, NULL, 1, &values, err);
    if (!status) sum += share_of(blas, values, l->columns, scratch) / h.groups;
    free(values);
  }
  free(scratch);
  qp_hessian_close(&h);
  if (status) return status;
  *share = sum;
  ++*found;
  return QP_OK;
}

qp_status qp_feedback_shares(const char *path, const qp_model *m, double *share, size_t *found,
                             qp_error *err) {
  const qp_blas *blas;
  const size_t all = (size_t)qp_model_count(m) + 1;
  qp_status status = qp_blas_open(&blas, err);
  *found = 0;
  for (size_t i = 0; i < all && !status; i++) {
    const bool head = i + 1 == all;
    unsigned l, block;
    qp_model_place(m, (unsigned)i, &block, &l);
    char name[QP_MODEL_NAME];
    share[i] = 1;
    if (head && m->headless) continue;
    qp_model_tensor(m, l, block, name);
    status = measure(blas, path, head && m->tied ? "lm_head" : name, &m->linear[l], &share[i],
                     found, err);
  }
  return status;
}
