/* SPDX-License-Identifier: MIT */
/* Trials on a few rows. */
#include "gen/encode/settle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
  GROUP_ROWS = 32,
  TRIED_GROUPS = 6,
  SAMPLES_A_COLUMN = 16,
  LESS_DAMPING = 10,
  MOST_SCALES = 3
};

#define DAMPING_SHARE 0.08 /* of what feedback leaves: less than that is not worth a trial */
#define GROWTH        0.15 /* of the variance of targets */
#define NARROWER      0.93
#define WORTH         0.98 /* of the proxy loss before, at most */

/* The rows that are tried. */
typedef struct trial {
  const qp_settle_task *task;
  float *weights; /* [rows][columns] */
  unsigned rows;
  double loss; /* of the best so far */
} trial;

/* Whole groups of rows, evenly apart, and what they lost; all rows where there are no more. */
static qp_status take_rows(trial *t, qp_error *err) {
  const unsigned groups = t->task->rows / GROUP_ROWS, columns = t->task->columns;
  const bool all = groups <= TRIED_GROUPS;
  double lost = 0, power = 0;
  t->rows = all ? t->task->rows : TRIED_GROUPS * GROUP_ROWS;
  t->weights = malloc(sizeof *t->weights * t->rows * columns);
  if (!t->weights) return qp_fail(err, QP_E_NOMEM, "no memory for rows to try");
  for (size_t r = 0; r < t->rows; r++) {
    const size_t group = (2 * (r / GROUP_ROWS) + 1) * groups / (2ul * TRIED_GROUPS);
    const size_t from = all ? r : group * GROUP_ROWS + r % GROUP_ROWS;
    memcpy(t->weights + r * columns, t->task->weights + from * columns,
           sizeof *t->weights * columns);
    lost += t->task->lost[from];
    power += t->task->power[from];
  }
  t->loss = power > 0 ? lost / power : 0;
  return QP_OK;
}

/* Keep 'with' if it is worth it; '*kept' says so. */
static qp_status try(trial *t, const qp_settled *with, qp_settled *best, bool *kept,
                     qp_error *err) {
  double loss = INFINITY;
  const qp_status status = t->task->lose(t->task->context, t->weights, t->rows, with, &loss, err);
  *kept = !status && loss <= WORTH * t->loss;
  if (!*kept) return status;
  t->loss = loss;
  *best = *with;
  return QP_OK;
}

static qp_status run_trials(trial *t, bool damping, bool scale, qp_settled *best, qp_error *err) {
  qp_status status = QP_OK;
  bool kept;
  if (damping) {
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

qp_status qp_settle(const qp_settle_task *task, const qp_feedback *f, qp_settled *io,
                    qp_error *err) {
  const bool damping = task->damping && f->damping > DAMPING_SHARE * f->left &&
                       task->samples / SAMPLES_A_COLUMN >= task->columns;
  const bool scale = task->scale && f->reach * exp2(-2 * task->rate) > GROWTH;
  if (!damping && !scale) return QP_OK;
  trial t = {.task = task};
  qp_settled best = *io;
  qp_status status = take_rows(&t, err);
  if (!status) status = run_trials(&t, damping, scale, &best, err);
  free(t.weights);
  if (!status) *io = best;
  return status;
}
