/* SPDX-License-Identifier: MIT */
/* Factors of row scales and norms, and their gradients. */
#include "tuner/refine/factors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t most_spans(const qp_model *m) {
  return (size_t)(m->layers + 1) * (m->linears + QP_NORM_PLACES);
}

static void add_linears(qp_factors *x, unsigned block, bool (*packed)(void *, const char *),
                        void *arg) {
  const qp_model *m = qp_forward_model(x->f);
  for (unsigned l = 0; l < m->linears && block < m->layers; l++) {
    qp_factor_span *s = &x->span[x->spans];
    char name[QP_MODEL_NAME];
    *s = (qp_factor_span){
        .block = block, .linear = l, .first = x->count, .count = m->linear[l].rows};
    qp_model_tensor(m, l, block, name);
    snprintf(s->name, sizeof s->name, "%s.row_scales", name);
    if (!packed(arg, s->name)) continue;
    x->count += s->count;
    x->spans++;
  }
}

static void add_norms(qp_factors *x, unsigned block) {
  const unsigned places = block < qp_forward_model(x->f)->layers ? QP_NORM_PLACES : 1;
  for (unsigned p = 0; p < places; p++) {
    qp_factor_span *s = &x->span[x->spans];
    *s = (qp_factor_span){.block = block, .place = p, .norm = true, .first = x->count};
    s->weights = qp_forward_norm_weights(x->f, block, (qp_norm_place)p, &s->count);
    if (!s->weights) continue;
    qp_forward_norm_name(x->f, block, (qp_norm_place)p, s->name);
    x->count += s->count;
    x->spans++;
  }
}

/* Rows of a matrix that lies there taken apart, for ranks, would be left out. */
static qp_status check_whole(const qp_model *m, bool (*packed)(void *, const char *), void *arg,
                             qp_error *err) {
  qp_model *apart = malloc(sizeof *apart);
  qp_status status = apart ? qp_model_take_apart(m, apart, err)
                           : qp_fail(err, QP_E_NOMEM, "no memory for a model");
  for (unsigned b = 0; b < m->layers && !status; b++)
    for (unsigned l = 0; l < apart->linears && !status; l++) {
      char name[QP_MODEL_NAME], scales[QP_MODEL_NAME + 16];
      if (!*apart->linear[l].of.tensor || !qp_model_has(apart, b, l)) continue;
      qp_model_tensor(apart, l, b, name);
      snprintf(scales, sizeof scales, "%s.row_scales", name);
      if (packed(arg, scales))
        status = qp_fail(err, QP_E_ARG,
                         "linear '%s' is part of a matrix that was taken apart for ranks: refine "
                         "what qpal quantize packs without --tp",
                         name);
    }
  free(apart);
  return status;
}

qp_status qp_factors_open(qp_forward *f, bool (*packed)(void *arg, const char *tensor), void *arg,
                          qp_factors *out, qp_error *err) {
  const qp_model *m = qp_forward_model(f);
  const qp_status status = check_whole(m, packed, arg, err);
  if (status) return status;
  qp_factors x = {.f = f, .span = calloc(most_spans(m), sizeof *x.span)};
  for (unsigned b = 0; b <= m->layers && x.span; b++) {
    add_linears(&x, b, packed, arg);
    add_norms(&x, b);
  }
  x.log = calloc(x.count + 1, sizeof *x.log);
  x.gradient = calloc(x.count + 1, sizeof *x.gradient);
  x.value = calloc(x.count + 1, sizeof *x.value);
  if (!x.span || !x.log || !x.gradient || !x.value) {
    free(x.span), free(x.log), free(x.gradient), free(x.value);
    return qp_fail(err, QP_E_NOMEM, "no memory for %zu factors", x.count);
  }
  for (size_t i = 0; i < x.spans; i++) {
    const qp_factor_span *s = &x.span[i];
    if (s->norm)
      memcpy(x.value + s->first, s->weights, s->count * sizeof *x.value);
    else
      qp_forward_scale(f, s->block, s->linear, x.value + s->first);
  }
  *out = x;
  qp_factors_apply(out);
  return QP_OK;
}

void qp_factors_apply(qp_factors *x) {
  const double offset = (double)qp_forward_norm_offset(x->f);
  for (size_t i = 0; i < x->spans; i++) {
    const qp_factor_span *s = &x->span[i];
    for (size_t k = s->first; k < s->first + s->count; k++)
      if (s->norm)
        s->weights[k - s->first] =
            (float)((offset + (double)x->value[k]) * exp(x->log[k]) - offset);
      else
        x->value[k] = (float)exp(x->log[k]);
  }
}

void qp_factors_close(qp_factors *x) {
  for (size_t i = 0; i < x->spans; i++) {
    const qp_factor_span *s = &x->span[i];
    if (s->norm)
      memcpy(s->weights, x->value + s->first, s->count * sizeof *s->weights);
    else
      qp_forward_scale(x->f, s->block, s->linear, NULL);
  }
  free(x->span);
  free(x->log);
  free(x->gradient);
  free(x->value);
  *x = (qp_factors){0};
}

static qp_status take(void *arg, const qp_factor_gradient *g, qp_error *err) {
  qp_factors *x = arg;
  (void)err;
  for (size_t i = 0; i < x->spans; i++) {
    const qp_factor_span *s = &x->span[i];
    if (s->block != g->block || s->norm != g->norm) continue;
    if (g->norm ? s->place != g->place : s->linear != g->linear) continue;
    for (unsigned k = 0; k < s->count; k++) x->gradient[s->first + k] += g->g[k];
  }
  return QP_OK;
}

qp_backward_hook qp_factors_hook(qp_factors *x) {
  return (qp_backward_hook){.factor = take, .arg = x};
}
