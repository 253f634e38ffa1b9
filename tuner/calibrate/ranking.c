/* SPDX-License-Identifier: MIT */
/* Which linears of a model matter. */
#include "tuner/calibrate/ranking.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/base/output.h"

enum { FIRST = 12, BAR = 40 };

typedef struct ranked {
  char name[QP_MODEL_NAME];
  const qp_model_linear *linear;
  int block; /* -1: the lm_head */
  double alpha, error, weights;
} ranked;

typedef struct ranking {
  const qp_model *model;
  ranked *all; /* [count], in the order of the model */
  size_t count;
  double alpha, weights; /* sums */
} ranking;

static qp_status add(ranking *r, const qp_calibration *c, unsigned block, unsigned linear,
                     qp_error *err) {
  const qp_model *m = r->model;
  ranked *to = &r->all[r->count++];
  const bool head = linear == m->linears;
  to->linear = &m->linear[linear];
  to->block = head ? -1 : (int)block;
  to->weights = (double)to->linear->rows * to->linear->columns;
  if (head)
    snprintf(to->name, sizeof to->name, "lm_head");
  else
    qp_model_tensor(m, linear, block, to->name);
  if (!qp_calibration_find(c, to->name, &to->alpha, &to->error))
    return qp_fail(err, QP_E_ARG, "calibration.json: linear '%s' has no sensitivity", to->name);
  r->alpha += to->alpha;
  r->weights += to->weights;
  return QP_OK;
}

static qp_status fill(ranking *r, const qp_calibration *c, qp_error *err) {
  const qp_model *m = r->model;
  qp_status status = QP_OK;
  for (unsigned b = 0; b < m->layers; b++)
    for (unsigned l = 0; l < m->linears && !status; l++) status = add(r, c, b, l, err);
  return status ? status : add(r, c, m->layers, m->linears, err);
}

static double share(double part, double whole) { return whole > 0 ? 100 * part / whole : 0; }

/* ---- Tables ---- */

static void print_json(const ranking *r) {
  static const qp_column columns[] = {
      {"linear", false},     {"role", false},          {"block", true},         {"weights", true},
      {"sensitivity", true}, {"standard_error", true}, {"share_percent", true}, {NULL, false}};
  qp_table_out *t = qp_table_new(columns, true);
  for (size_t i = 0; i < r->count; i++) {
    const ranked *l = &r->all[i];
    qp_table_row(t);
    qp_table_text(t, l->name);
    qp_table_text(t, l->linear->role);
    qp_table_number(t, l->block, "%.0f");
    qp_table_number(t, l->weights, "%.0f");
    qp_table_number(t, l->alpha, "%.6g");
    qp_table_number(t, l->error, "%.2g");
    qp_table_number(t, share(l->alpha, r->alpha), "%.3f");
  }
  qp_table_print(t);
}

static void print_roles(const ranking *r) {
  static const qp_column columns[] = {{"role", false},  {"linears", true},     {"weights %", true},
                                      {"loss %", true}, {"loss/weight", true}, {NULL, false}};
  qp_table_out *t = qp_table_new(columns, false);
  for (unsigned l = 0; l <= r->model->linears; l++) {
    double alpha = 0, weights = 0, n = 0;
    for (size_t i = 0; i < r->count; i++) {
      if (r->all[i].linear != &r->model->linear[l]) continue;
      alpha += r->all[i].alpha;
      weights += r->all[i].weights;
      n++;
    }
    qp_table_row(t);
    qp_table_text(t, r->model->linear[l].role);
    qp_table_number(t, n, "%.0f");
    qp_table_number(t, share(weights, r->weights), "%.1f");
    qp_table_number(t, share(alpha, r->alpha), "%.1f");
    qp_table_number(t, weights > 0 ? share(alpha, r->alpha) / share(weights, r->weights) : 0,
                    "%.2f");
  }
  qp_table_print(t);
}

static void print_blocks(const ranking *r) {
  double most = 0, *sum = calloc(r->model->layers, sizeof *sum);
  if (!sum) return;
  for (size_t i = 0; i < r->count; i++)
    if (r->all[i].block >= 0) sum[r->all[i].block] += r->all[i].alpha;
  for (unsigned b = 0; b < r->model->layers; b++)
    if (sum[b] > most) most = sum[b];
  printf("\nblock  loss %%\n");
  for (unsigned b = 0; b < r->model->layers; b++) {
    const int bar = most > 0 ? (int)(BAR * sum[b] / most + 0.5) : 0;
    printf("%5u  %6.2f  %.*s\n", b, share(sum[b], r->alpha), bar,
           "########################################");
  }
  free(sum);
}

static int compare(const void *a, const void *b) {
  const ranked *x = *(const ranked *const *)a, *y = *(const ranked *const *)b;
  if (x->alpha != y->alpha) return x->alpha > y->alpha ? -1 : 1;
  return x < y ? -1 : x > y;
}

static void print_first(const ranking *r) {
  static const qp_column columns[] = {{"linear", false}, {"sensitivity", true}, {"+-", true},
                                      {"loss %", true},  {"weights %", true},   {NULL, false}};
  const ranked **order = malloc(r->count * sizeof *order);
  if (!order) return;
  for (size_t i = 0; i < r->count; i++) order[i] = &r->all[i];
  qsort(order, r->count, sizeof *order, compare);
  qp_table_out *t = qp_table_new(columns, false);
  for (size_t i = 0; i < r->count && i < FIRST; i++) {
    qp_table_row(t);
    qp_table_text(t, order[i]->name);
    qp_table_number(t, order[i]->alpha, "%.4g");
    qp_table_number(t, order[i]->error, "%.1g");
    qp_table_number(t, share(order[i]->alpha, r->alpha), "%.1f");
    qp_table_number(t, share(order[i]->weights, r->weights), "%.1f");
  }
  printf("\n");
  qp_table_print(t);
  free(order);
}

qp_status qp_ranking_print(const qp_calibration *c, const qp_model *m, bool json, qp_error *err) {
  ranking r = {.model = m};
  r.all = calloc((size_t)m->layers * m->linears + 1, sizeof *r.all);
  if (!r.all) return qp_fail(err, QP_E_NOMEM, "no memory for a ranking");
  qp_status status = fill(&r, c, err);
  if (!status && json) print_json(&r);
  if (!status && !json) {
    print_roles(&r);
    print_blocks(&r);
    print_first(&r);
    printf("\nloss %%: share of the sum of sensitivities, where loss lies if all linears have the "
           "same "
           "distortion\n");
  }
  free(r.all);
  return status;
}
