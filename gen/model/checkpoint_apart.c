/* SPDX-License-Identifier: MIT */
/*
** Linears whose rows a checkpoint holds in one matrix (q, k and v; gate and up), as tensors of
** their own: rows one behind another or in turns, and of the bias beside the matrix the same
** elements.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/model/checkpoint.h"
#include "gen/model/checkpoint_state.h"

bool qp_checkpoint_is_apart(const qp_source_tensor *t) { return t->apart; }
size_t qp_checkpoint_views(const qp_checkpoint *c) { return c->views; }
const qp_source_tensor *qp_checkpoint_view(const qp_checkpoint *c, size_t i) { return &c->view[i]; }

/* Find the file's tensor beside a block's linear of this name: ".weight" or ".bias"; NULL: there is
   none. */
static qp_source_tensor *find_whole(const qp_checkpoint *c, const qp_model_linear *l,
                                    unsigned block, const char *end) {
  char name[QP_MODEL_NAME + 16];
  snprintf(name, sizeof name, "%s%s.%u.%s%s", c->model.prefix, c->model.blocks, block, l->of.tensor,
           end);
  return (qp_source_tensor *)qp_checkpoint_find_stored(c, name);
}

static qp_status add_view(qp_checkpoint *c, qp_source_tensor *whole, const qp_model_linear *l,
                          const char *name, bool bias, qp_error *err) {
  qp_status status = qp_checkpoint_need_views(c, 1, err);
  if (status) return status;
  qp_source_tensor *v = &c->view[c->views];
  *v = (qp_source_tensor){.name = strdup(name),
                          .dims = bias ? 1 : 2,
                          .shape = {l->rows, bias ? 0 : l->columns},
                          .rows = l->rows,
                          .columns = bias ? 1 : l->columns,
                          .type = whole->type,
                          .kept_type = whole->kept_type,
                          .whole = whole,
                          .begin = l->of.begin,
                          .run = l->of.run,
                          .period = l->of.period,
                          .turned = bias};
  if (!v->name) return qp_fail(err, QP_E_NOMEM, "%s: no memory", c->path);
  c->views++;
  whole->views++;
  whole->apart = true;
  return QP_OK;
}

static qp_status has_another_shape(const qp_checkpoint *c, const qp_source_tensor *t, uint64_t rows,
                                   uint64_t columns, qp_error *err) {
  return qp_fail(err, QP_E_ARG,
                 "%s: tensor '%s' is %llu x %llu: %llu x %llu, the rows of several linears, are "
                 "needed",
                 c->path, t->name, (unsigned long long)t->rows, (unsigned long long)t->columns,
                 (unsigned long long)rows, (unsigned long long)columns);
}

static qp_status add_linear(qp_checkpoint *c, const qp_model_linear *l, unsigned linear,
                            unsigned block, qp_error *err) {
  char name[QP_MODEL_NAME], end[QP_MODEL_NAME + 16];
  const uint64_t all = (uint64_t)l->rows / l->of.run * l->of.period;
  qp_source_tensor *weight = find_whole(c, l, block, ".weight");
  if (!weight) return QP_OK; /* what needs it says so */
  if (weight->rows != all || weight->columns != l->columns)
    return has_another_shape(c, weight, all, l->columns, err);
  qp_model_tensor(&c->model, linear, block, name);
  snprintf(end, sizeof end, "%s.weight", name);
  qp_status status = add_view(c, weight, l, end, false, err);
  qp_source_tensor *bias = status ? NULL : find_whole(c, l, block, ".bias");
  if (!bias) return status;
  if (bias->rows * bias->columns != all || bias->columns != all)
    return has_another_shape(c, bias, 1, all, err);
  snprintf(end, sizeof end, "%s.bias", name);
  return add_view(c, bias, l, end, true, err);
}

qp_status qp_checkpoint_take_apart(qp_checkpoint *c, qp_error *err) {
  qp_status status = qp_model_take_apart(&c->model, &c->model, err);
  for (unsigned b = 0; b < c->model.layers && !status; b++)
    for (unsigned i = 0; i < c->model.linears && !status; i++)
      if (*c->model.linear[i].of.tensor && qp_model_has(&c->model, b, i))
        status = add_linear(c, &c->model.linear[i], i, b, err);
  return status ? status : qp_checkpoint_sort(c->path, c->view, c->views, err);
}
