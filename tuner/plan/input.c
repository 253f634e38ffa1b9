/* SPDX-License-Identifier: MIT */
/* What a plan is made from; see input.h. */
#include "tuner/plan/input.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/spec/layout.h"

int qp_menu_find(const qp_menu *m, const char *name) {
  for (unsigned i = 0; i < m->count; i++)
    if (!strcmp(m->entry[i].name, name)) return (int)i;
  return -1;
}

qp_status qp_menu_add(qp_menu *m, const qp_quantizer *q, const char *spec, qp_error *err) {
  const char *name = q ? q->name : QP_PLAN_FP16;
  if (qp_menu_find(m, name) >= 0) return QP_OK;
  if (m->count == QP_MENU_MAX)
    return qp_fail(err, QP_E_LIMIT, "more than %d quantizers to plan with", QP_MENU_MAX);
  qp_menu_entry *e = &m->entry[m->count];
  *e = (qp_menu_entry){.quantizer = q, .distortion = q ? NAN : 0};
  snprintf(e->name, sizeof e->name, "%s", name);
  if ((size_t)snprintf(e->spec, sizeof e->spec, "%s", spec ? spec : name) >= sizeof e->spec)
    return qp_fail(err, QP_E_LIMIT, "%.60s...: the path is too long", spec ? spec : name);
  m->count++;
  return QP_OK;
}

unsigned qp_plan_linears(const qp_model *m) { return qp_model_count(m) + 1; }

/* ---- Bytes ---- */

static bool add_stream(const qp_quantizer *q, unsigned rows, unsigned columns, uint64_t *sum) {
  qp_stream s;
  if (qp_layout_stream(q, rows, columns, &s, NULL)) return false;
  *sum += 4 * (uint64_t)s.code_words;
  for (unsigned f = 0; f < s.arrays; f++) *sum += s.field_bytes[f];
  for (unsigned b = 0; b < q->codebooks; b++) {
    uint64_t bytes = 2 * (uint64_t)q->codebook[b].entries * q->codebook[b].dim;
    if (q->codebook[b].scope == QP_SCOPE_TENSOR) *sum += bytes;
    if (q->codebook[b].scope == QP_SCOPE_ROW) *sum += bytes * s.row_groups * QP_GROUP_ROWS;
  }
  return true;
}

uint64_t qp_plan_bytes(const qp_quantizer *q, unsigned rows, unsigned columns) {
  if (!q) return 2 * (uint64_t)rows * columns;
  uint64_t sum = 2 * (uint64_t)rows; /* fp16 scales */
  const unsigned block = qp_side_block(q->rotation);
  if (rows % 16 || columns % 32 || (block > 1 && columns % block)) return UINT64_MAX;
  if (q->rotation & QP_SIDE_FLAGS) sum += qp_side_bytes(columns, q->rotation);
  if (q->kind != QP_SPLIT) return add_stream(q, rows, columns, &sum) ? sum : UINT64_MAX;
  for (unsigned i = 0; i < q->parts; i++) {
    unsigned from = qp_layout_part_column(q, columns, i);
    unsigned to = qp_layout_part_column(q, columns, i + 1);
    if (to > from && !add_stream(q->part[i].quantizer, rows, to - from, &sum)) return UINT64_MAX;
  }
  return sum;
}

static uint64_t definition_codebooks(const qp_quantizer *q) {
  uint64_t sum = 0;
  for (unsigned b = 0; b < q->codebooks; b++)
    if (q->codebook[b].scope == QP_SCOPE_SPEC)
      sum += 2 * (uint64_t)q->codebook[b].entries * q->codebook[b].dim;
  return sum;
}

uint64_t qp_plan_codebook_bytes(const qp_menu *m, const bool *used) {
  const qp_quantizer *seen[QP_MENU_MAX * QP_MAX_PARTS];
  size_t count = 0;
  uint64_t sum = 0;
  for (unsigned i = 0; i < m->count; i++) {
    const qp_quantizer *q = m->entry[i].quantizer;
    if (!q || (used && !used[i])) continue;
    unsigned parts = q->kind == QP_SPLIT ? q->parts : 1;
    for (unsigned p = 0; p < parts; p++) {
      const qp_quantizer *leaf = q->kind == QP_SPLIT ? q->part[p].quantizer : q;
      size_t k = 0;
      while (k < count && seen[k] != leaf) k++;
      if (k < count) continue;
      seen[count++] = leaf;
      sum += definition_codebooks(leaf);
    }
  }
  return sum;
}

static uint64_t sign_bytes(unsigned columns) { return 4 * (uint64_t)((columns + 31) / 32); }

uint64_t qp_plan_sign_bytes(const qp_model *m, bool head) {
  uint64_t sum = 0;
  for (unsigned g = 0; g < m->groups; g++)
    sum += qp_model_group_copies(m, g) * sign_bytes(m->group[g].columns);
  return sum + (head ? sign_bytes(m->linear[m->linears].columns) : 0);
}

/* ---- Defaults ---- */

static const qp_model_linear *linear_of(const qp_model *m, unsigned i) {
  unsigned block, linear;
  qp_model_place(m, i, &block, &linear);
  return &m->linear[linear];
}

static double as_columns(const void *arg, double fraction) { return (void)arg, fraction; }

/*
** What a linear's distortion is of that of the split, with 4^-rate for that of each part: parts
** begin at multiples of 64 columns, so that narrow linears have other shares of them than the
** definition says, and with feedback columns count differently ('before').
*/
static double split_share(const qp_quantizer *q, unsigned columns,
                          double (*before)(const void *arg, double fraction), const void *arg) {
  double real = 0, defined = 0;
  if (!q || q->kind != QP_SPLIT) return 1;
  for (unsigned i = 0; i < q->parts; i++) {
    const unsigned from = qp_layout_part_column(q, columns, i);
    const unsigned to = qp_layout_part_column(q, columns, i + 1);
    const double lost = exp2(-2 * q->part[i].quantizer->rate);
    real += lost * (before(arg, (double)to / columns) - before(arg, (double)from / columns));
    defined += lost * q->part[i].fraction;
  }
  return real / defined;
}

void qp_plan_input_fed(qp_plan_input *in, unsigned i,
                       double (*before)(const void *arg, double fraction), const void *arg) {
  for (unsigned q = 0; q < in->menu->count; q++) {
    const qp_menu_entry *e = &in->menu->entry[q];
    double *d = &in->distortion[(size_t)i * in->menu->count + q];
    if (!isnan(*d))
      *d = e->distortion * split_share(e->quantizer, linear_of(in->model, i)->columns, before, arg);
  }
}

static void default_alpha(qp_plan_input *in) {
  const qp_model *m = in->model;
  double all = (double)m->linear_weights + (double)m->head_weights;
  unsigned n = qp_plan_linears(m);
  for (unsigned i = 0; i < n; i++) in->alpha[i] = (double)qp_model_weights(linear_of(m, i)) / all;
}

/* Of a stack the experts' arrays lie one behind another. */
static uint64_t bytes_of(const qp_model_linear *l, const qp_quantizer *q) {
  const uint64_t one = qp_plan_bytes(q, l->rows, l->columns);
  return one == UINT64_MAX ? one : one * (l->experts ? l->experts : 1);
}

qp_status qp_plan_input_init(qp_plan_input *in, const qp_model *model, const qp_menu *menu,
                             qp_error *err) {
  unsigned n = qp_plan_linears(model);
  *in = (qp_plan_input){.model = model,
                        .whole = model,
                        .menu = menu,
                        .fusion = true,
                        .mixed_fusion = true,
                        .accept = QP_MATCH_OTHER_DRIVER,
                        .confidence = 0.5,
                        .batches = 1,
                        .batch = {{1, 1}},
                        .latency_limit_ps = -1,
                        .memory_limit_bytes = -1,
                        .bits_limit = -1};
  in->alpha = calloc(n, sizeof *in->alpha);
  in->distortion = calloc((size_t)n * menu->count + 1, sizeof *in->distortion);
  in->bytes = calloc((size_t)(model->linears + 1) * menu->count + 1, sizeof *in->bytes);
  if (!in->alpha || !in->distortion || !in->bytes) {
    qp_plan_input_free(in);
    return qp_fail(err, QP_E_NOMEM, "no memory for the plan's input");
  }
  default_alpha(in);
  for (unsigned i = 0; i < n; i++) qp_plan_input_fed(in, i, as_columns, NULL);
  for (unsigned l = 0; l <= model->linears; l++)
    for (unsigned q = 0; q < menu->count; q++)
      in->bytes[(size_t)l * menu->count + q] =
          bytes_of(&model->linear[l], menu->entry[q].quantizer);
  return QP_OK;
}

void qp_plan_input_free(qp_plan_input *in) {
  free(in->alpha);
  free(in->distortion);
  free(in->bytes);
  in->alpha = in->distortion = NULL;
  in->bytes = NULL;
}
