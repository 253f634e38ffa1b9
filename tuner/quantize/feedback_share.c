/* SPDX-License-Identifier: MIT */
/* What error feedback leaves of each linear's loss. */
#include "tuner/quantize/feedback_share.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/blas.h"
#include "gen/base/rotate.h"
#include "gen/encode/encode.h"
#include "tuner/quantize/hessian.h"

static qp_feedback_profile flat(void) {
  qp_feedback_profile p = {.share = 1, .excess = 1};
  for (unsigned i = 0; i <= QP_FEEDBACK_STEPS; i++) p.before[i] = (double)i / QP_FEEDBACK_STEPS;
  return p;
}

double qp_feedback_before(const qp_feedback_profile *p, double fraction) {
  const double at = fraction * QP_FEEDBACK_STEPS;
  const unsigned i = at < QP_FEEDBACK_STEPS ? (unsigned)at : QP_FEEDBACK_STEPS - 1;
  return p->before[i] + (at - i) * (p->before[i + 1] - p->before[i]);
}

/* Take evenly spaced columns of H [n][n], rotated: float [taken][taken]. */
static qp_status take(const float *h, size_t n, size_t taken, float *out, qp_error *err) {
  uint32_t signs[QP_FEEDBACK_SHARE_COLUMNS / 32];
  const qp_input in = {.columns = (unsigned)taken, .signs = signs};
  for (size_t i = 0; i < taken; i++)
    for (size_t k = 0; k < taken; k++) out[i * taken + k] = h[i * n / taken * n + k * n / taken];
  qp_rotate_signs("feedback", 1, in.columns, signs);
  return qp_rotate_moments(out, &in, 1, err);
}

/* d_k of the last column first: H reversed is L L^T. */
static bool factor(const qp_blas *blas, const float *h, size_t n, double mean, double *scratch,
                   double *d) {
  const int order = (int)n;
  int info = 0;
  for (size_t i = 0; i < n * n; i++) scratch[n * n - 1 - i] = (double)h[i];
  for (size_t i = 0; i < n; i++) scratch[i * n + i] += QP_ENCODE_DAMPING * mean;
  blas->dpotrf("L", &order, scratch, &order, &info);
  for (size_t i = 0; i < n; i++) d[n - 1 - i] = scratch[i * n + i] * scratch[i * n + i];
  return !info;
}

/* Sum up d [n], which is in the order of columns. */
static void summarise(const double *d, size_t n, double mean, qp_feedback_profile *out) {
  double sum = 0, logs = 0, before = 0;
  for (size_t i = 0; i < n; i++) sum += d[i], logs += log(d[i]);
  out->share = exp(logs / (double)n) / ((1 + QP_ENCODE_DAMPING) * mean);
  out->excess = sum / (double)n / exp(logs / (double)n);
  for (size_t i = 0, step = 0; step <= QP_FEEDBACK_STEPS; step++) {
    const double end = (double)(step * n) / QP_FEEDBACK_STEPS;
    while ((double)(i + 1) <= end) before += d[i++];
    out->before[step] = (before + (i < n ? (end - (double)i) * d[i] : 0)) / sum;
  }
}

/* Computes the share of one Hessian [n][n]; it is flat where the Hessian is zero, or not positive
   definite even when damped. */
static qp_status profile_of(const qp_blas *blas, const float *h, size_t n, qp_feedback_profile *out,
                            qp_error *err) {
  const size_t taken = n < QP_FEEDBACK_SHARE_COLUMNS ? n : QP_FEEDBACK_SHARE_COLUMNS;
  float *rotated = malloc(sizeof *rotated * taken * taken);
  double *scratch = malloc(sizeof *scratch * taken * (taken + 1)), mean = 0;
  qp_status status =
      rotated && scratch ? QP_OK : qp_fail(err, QP_E_NOMEM, "no memory to factor a Hessian");
  *out = flat();
  if (!status) status = take(h, n, taken, rotated, err);
  for (size_t i = 0; i < taken && !status; i++)
    mean += (double)rotated[i * taken + i] / (double)taken;
  if (!status && mean > 0 && !isinf(mean)) {
    double *d = scratch + taken * taken;
    if (factor(blas, rotated, taken, mean, scratch, d)) summarise(d, taken, mean, out);
  }
  free(rotated);
  free(scratch);
  return status;
}

/* Adds weight * p to the mean. */
static void add(qp_feedback_profile *mean, const qp_feedback_profile *p, double weight) {
  mean->share += weight * p->share;
  mean->excess += weight * p->excess;
  for (unsigned i = 0; i <= QP_FEEDBACK_STEPS; i++) mean->before[i] += weight * p->before[i];
}

/* Measure the mean over the groups of rows; *found is counted up where there is a Hessian. */
static qp_status measure(const qp_blas *blas, const char *path, const char *name,
                         const qp_model_linear *l, qp_feedback_profile *out, size_t *found,
                         qp_error *err) {
  qp_hessian h = {0};
  qp_status status = qp_hessian_open(path, name, l->rows, l->columns, &h, err);
  if (!status && !h.groups) qp_hessian_close(&h);
  if (status || !h.groups) return status;
  qp_feedback_profile sum = {0};
  for (unsigned g = 0; g < h.groups && !status; g++) {
    float *values = NULL;
    qp_feedback_profile one;
    status = qp_hessian_read(&h, g, NULL, 1, &values, err);
    if (!status) status = profile_of(blas, values, l->columns, &one, err);
    if (!status) add(&sum, &one, 1.0 / h.groups);
    free(values);
  }
  qp_hessian_close(&h);
  if (status) return status;
  *out = sum;
  ++*found;
  return QP_OK;
}

qp_status qp_feedback_profiles(const char *path, const qp_model *m, qp_feedback_profile *out,
                               size_t *found, qp_error *err) {
  const qp_blas *blas;
  const size_t all = (size_t)qp_model_count(m) + 1;
  char name[QP_MODEL_NAME] = "", before[QP_MODEL_NAME];
  qp_status status = qp_blas_open(&blas, err);
  *found = 0;
  for (size_t i = 0; i < all && !status; i++) {
    const bool head = i + 1 == all;
    unsigned l, block;
    qp_model_place(m, (unsigned)i, &block, &l);
    out[i] = flat();
    if (head && m->headless) continue;
    memcpy(before, name, sizeof before);
    qp_model_matrix(m, l, block, name);
    if (head && m->tied) snprintf(name, sizeof name, "lm_head");
    if (*before && qp_hessian_is_same(path, before, name)) {
      out[i] = out[i - 1];
      ++*found;
      continue;
    }
    status = measure(blas, path, name, &m->linear[l], &out[i], found, err);
  }
  return status;
}
