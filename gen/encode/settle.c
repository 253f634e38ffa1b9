/* SPDX-License-Identifier: MIT */
/* Trials on a few rows. */
#include "gen/encode/settle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TRIED_GROUPS = 6, SAMPLES_A_COLUMN = 16, LESS_DAMPING = 10, MOST_SCALES = 3 };

#define DAMPING_SHARE 0.08 /* of what feedback leaves: less than that is not worth a trial */
#define GROWTH        0.15 /* of the variance of targets */
#define NARROWER      0.93
#define WORTH         0.98 /* of the proxy loss before, at most */

/* The rows that are tried. */
typedef struct trial {
  const qp_quantizer *quantizer;
  float *weights; /* [rows][columns] */
  unsigned rows, columns;
  qp_encode_options options;
  double loss; /* of the best so far */
} trial;

/* Whole groups of rows, evenly apart, and what they lost; all rows where there are no more. */
static qp_status take_rows(trial *t, const float *weights, unsigned rows, const double *lost,
                           const double *power, qp_error *err) {
  const unsigned groups = rows / QP_GROUP_ROWS;
  const bool all = groups <= TRIED_GROUPS;
  double all_lost = 0, all_power = 0;
  t->rows = all ? rows : TRIED_GROUPS * QP_GROUP_ROWS;
  t->weights = malloc(sizeof *t->weights * t->rows * t->columns);
  if (!t->weights) return qp_fail(err, QP_E_NOMEM, "no memory for rows to try");
  for (size_t r = 0; r < t->rows; r++) {
    const size_t group = (2 * (r / QP_GROUP_ROWS) + 1) * groups / (2ul * TRIED_GROUPS);
    const size_t from = all ? r : group * QP_GROUP_ROWS + r % QP_GROUP_ROWS;
    memcpy(t->weights + r * t->columns, weights + from * t->columns,
           sizeof *t->weights * t->columns);
    all_lost += lost[from];
    all_power += power[from];
  }
  t->loss = all_power > 0 ? all_lost / all_power : 0;
  return QP_OK;
}

static qp_status lose(const trial *t, const qp_settled *with, double *out, qp_error *err) {
  qp_encoded e;
  qp_encode_options o = t->options;
  o.hessian_damping = with->damping;
  o.input_scale = with->input_scale;
  const qp_status status =
      qp_encode_linear(t->quantizer, t->weights, t->rows, t->columns, &o, &e, err);
  if (status) return status;
  *out = e.proxy;
  qp_encoded_free(&e);
  return QP_OK;
}

/* Keep 'with' if it is worth it; '*kept' says so. */
static qp_status try(trial *t, const qp_settled *with, qp_settled *best, bool *kept,
                     qp_error *err) {
  double loss = INFINITY;
  const qp_status status = lose(t, with, &loss, err);
  *kept = !status && loss <= WORTH * t->loss;
  if (!*kept) return status;
  t->loss = loss;
  *best = *with;
  return QP_OK;
}

static qp_status run_trials(trial *t, bool damping, bool scale, qp_settled *best, qp_error *err) {
  qp_status status = QP_OK;
  bool kept;
  if (!status && damping) {
    const qp_settled with = {best->damping / LESS_DAMPING, best->input_scale};
    status = try(t, &with, best, &kept, err);
  }
  kept = scale;
  for (unsigned i = 0; i < MOST_SCALES && kept && !status; i++) {
    const qp_settled with = {best->damping, NARROWER * best->input_scale};
    status = try(t, &with, best, &kept, err);
  }
  return status;
}

qp_status qp_settle(const qp_quantizer *q, const float *weights, unsigned rows, unsigned columns,
                    const qp_encode_options *options, const qp_feedback *f, const double *lost,
                    const double *power, qp_settled *io, qp_error *err) {
  const bool damping = options->settles_damping && f->damping > DAMPING_SHARE * f->left &&
                       options->hessian_samples / SAMPLES_A_COLUMN >= columns;
  const bool scale = options->settles_scale && f->reach * exp2(-2 * q->rate) > GROWTH;
  if (!damping && !scale) return QP_OK;
  trial t = {.quantizer = q, .columns = columns, .options = *options};
  t.options.settles_damping = t.options.settles_scale = false;
  t.options.coders = NULL; /* the caller's are in use */
  t.options.done = NULL;
  qp_settled best = *io;
  qp_status status = take_rows(&t, weights, rows, lost, power, err);
  if (!status) status = run_trials(&t, damping, scale, &best, err);
  free(t.weights);
  if (!status) *io = best;
  return status;
}
