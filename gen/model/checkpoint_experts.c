/* SPDX-License-Identifier: MIT */
/*
** Experts that a checkpoint holds in one tensor, as tensors of their own.  The tensor may be
** [E, out, in], or [E, in, out] (turned), of two or three dimensions, with gate and up in it one
** behind another or row by row: qp_model_stack says which.  A bias of all experts beside it,
** [E, out], is taken apart in the same way.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/model/checkpoint.h"
#include "gen/model/checkpoint_state.h"

const qp_source_tensor *qp_checkpoint_whole(const qp_source_tensor *t) {
  return t->whole ? t->whole : t;
}

unsigned qp_checkpoint_experts(const qp_source_tensor *t) { return t->views; }

/* The tensor that holds the experts of a linear in a block, or NULL; GGUF has it under the name of
   the experts themselves, with the '*'. */
static qp_source_tensor *find_whole(const qp_checkpoint *c, const qp_model_linear *l,
                                    unsigned block, const char *tensor, bool *direct) {
  static const char *const ends[] = {"", ".weight"};
  char name[2 * QP_MODEL_NAME];
  const qp_source_tensor *t = NULL;
  snprintf(name, sizeof name, "%s.weight", tensor);
  if ((t = qp_checkpoint_find_stored(c, name))) return *direct = true, (qp_source_tensor *)t;
  *direct = false;
  for (unsigned i = 0; i < 2 && *l->stack.tensor && !t; i++) {
    snprintf(name, sizeof name, "%s%s.%u.%s%s", c->model.prefix, c->model.blocks, block,
             l->stack.tensor, ends[i]);
    t = qp_checkpoint_find_stored(c, name);
  }
  return (qp_source_tensor *)t;
}

static bool has_experts_apart(const qp_checkpoint *c, const char *tensor) {
  char name[QP_MODEL_NAME], weight[QP_MODEL_NAME + 16];
  qp_model_expert(tensor, 0, name);
  snprintf(weight, sizeof weight, "%s.weight", name);
  return qp_checkpoint_find_stored(c, weight) != NULL;
}

/* Has the tensor the shape of a stack, columns first or last? */
static bool has_shape(const qp_source_tensor *t, const qp_model_linear *l, unsigned parts,
                      bool turned) {
  const uint64_t last = turned ? (uint64_t)parts * l->rows : l->columns;
  const uint64_t all = (uint64_t)l->experts * parts * l->rows * l->columns;
  return t->columns == last && t->rows * t->columns == all && !(turned && t->packed);
}

static qp_status check_shape(const qp_checkpoint *c, const qp_source_tensor *t,
                             const qp_model_linear *l, unsigned parts, bool turned, qp_error *err) {
  const uint64_t last = turned ? (uint64_t)parts * l->rows : l->columns;
  const uint64_t all = (uint64_t)l->experts * parts * l->rows * l->columns;
  if (has_shape(t, l, parts, turned)) return QP_OK;
  return qp_fail(err, QP_E_ARG,
                 "%s: tensor '%s' is %llu x %llu: %u experts of %u x %u%s, so %llu x %llu, are "
                 "needed",
                 c->path, t->name, (unsigned long long)t->rows, (unsigned long long)t->columns,
                 l->experts, parts * l->rows, l->columns, turned ? ", columns first" : "",
                 (unsigned long long)(all / last), (unsigned long long)last);
}

static qp_status add_view(qp_checkpoint *c, const qp_source_tensor *whole, const qp_model_linear *l,
                          const qp_model_stack *s, const char *tensor, unsigned expert,
                          qp_error *err) {
  char name[QP_MODEL_NAME], weight[QP_MODEL_NAME + 16];
  const uint64_t first = s->interleaved ? s->part : (uint64_t)s->part * l->rows;
  const uint64_t rows = (uint64_t)s->parts * l->rows;
  qp_model_expert(tensor, expert, name);
  snprintf(weight, sizeof weight, "%s.weight", name);
  qp_source_tensor *v = &c->view[c->views];
  *v = (qp_source_tensor){.name = strdup(weight),
                          .dims = 2,
                          .shape = {l->rows, l->columns},
                          .rows = l->rows,
                          .columns = l->columns,
                          .type = whole->type,
                          .kept_type = whole->kept_type,
                          .whole = whole,
                          .begin = first + (s->transposed ? 0 : expert * rows),
                          .run = s->interleaved ? 1 : l->rows,
                          .period = s->interleaved ? s->parts : l->rows,
                          .turned = s->transposed,
                          .turned_row = (uint64_t)expert * l->columns};
  if (!v->name) return qp_fail(err, QP_E_NOMEM, "%s: no memory", c->path);
  c->views++;
  return QP_OK;
}

qp_status qp_checkpoint_need_views(qp_checkpoint *c, unsigned count, qp_error *err) {
  qp_source_tensor *more = realloc(c->view, (c->views + count) * sizeof *c->view);
  if (!more) return qp_fail(err, QP_E_NOMEM, "%s: no memory", c->path);
  c->view = more;
  return QP_OK;
}

/* Find the biases of a stack's experts in one tensor, or NULL. */
static qp_source_tensor *find_biases(const qp_checkpoint *c, const qp_model_linear *l,
                                     unsigned block, const char *tensor, bool direct) {
  char name[2 * QP_MODEL_NAME];
  snprintf(name, sizeof name, "%s.bias", tensor);
  if (!direct)
    snprintf(name, sizeof name, "%s%s.%u.%s_bias", c->model.prefix, c->model.blocks, block,
             l->stack.tensor);
  return (qp_source_tensor *)qp_checkpoint_find_stored(c, name);
}

/* Makes views of [E, parts M]: the M of each expert are columns of its row, which are rows of a
   view. */
static qp_status add_biases(qp_checkpoint *c, const qp_model_linear *l, const qp_model_stack *s,
                            const char *tensor, qp_source_tensor *whole, qp_error *err) {
  if (whole->rows != l->experts || whole->columns != (uint64_t)s->parts * l->rows)
    return qp_fail(err, QP_E_ARG,
                   "%s: tensor '%s' is %llu x %llu: biases of %u experts of %u, so %u x %u, are "
                   "needed",
                   c->path, whole->name, (unsigned long long)whole->rows,
                   (unsigned long long)whole->columns, l->experts, s->parts * l->rows, l->experts,
                   s->parts * l->rows);
  qp_status status = qp_checkpoint_need_views(c, l->experts, err);
  for (unsigned e = 0; e < l->experts && !status; e++) {
    char name[QP_MODEL_NAME], bias[QP_MODEL_NAME + 16];
    qp_model_expert(tensor, e, name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    c->view[c->views] = (qp_source_tensor){.name = strdup(bias),
                                           .dims = 1,
                                           .shape = {l->rows},
                                           .rows = l->rows,
                                           .columns = 1,
                                           .type = whole->type,
                                           .kept_type = whole->kept_type,
                                           .whole = whole,
                                           .begin = s->interleaved ? s->part : s->part * l->rows,
                                           .run = s->interleaved ? 1 : l->rows,
                                           .period = s->interleaved ? s->parts : l->rows,
                                           .turned = true,
                                           .turned_row = e};
    if (!c->view[c->views].name) return qp_fail(err, QP_E_NOMEM, "%s: no memory", c->path);
    c->views++;
    whole->views++;
  }
  return status;
}

/*
** Publishers have Qwen3-VL-MoE's experts columns first, transformers 5 columns last.  Where a shape
** fits only the way that the family does not say, all of its block lie so: a shape that fits both
** tells nothing.
*/
static bool lies_the_other_way(const qp_checkpoint *c, unsigned block) {
  const qp_model *m = &c->model;
  for (unsigned i = 0; i < m->linears; i++) {
    const qp_model_linear *l = &m->linear[i];
    char tensor[QP_MODEL_NAME];
    bool direct;
    if (!l->experts || !*l->stack.tensor || !qp_model_has(m, block, i)) continue;
    qp_model_tensor(m, i, block, tensor);
    const qp_source_tensor *t = find_whole(c, l, block, tensor, &direct);
    if (t && !direct && !t->packing && !has_shape(t, l, l->stack.parts, l->stack.transposed) &&
        has_shape(t, l, l->stack.parts, !l->stack.transposed))
      return true;
  }
  return false;
}

static bool turned_if_it_fits(const qp_source_tensor *t, const qp_model_linear *l,
                              const qp_model_stack *s) {
  return has_shape(t, l, s->parts, !s->transposed) ? !s->transposed : s->transposed;
}

static qp_status add_stack(qp_checkpoint *c, const qp_model_linear *l, unsigned block,
                           const char *tensor, qp_error *err) {
  bool direct;
  if (has_experts_apart(c, tensor)) return QP_OK;
  qp_source_tensor *whole = find_whole(c, l, block, tensor, &direct);
  if (!whole) return QP_OK; /* what needs it says so */
  const qp_model_stack alone = {.parts = 1};
  qp_model_stack there = direct ? alone : l->stack;
  if (whole->packing) there.transposed = false; /* packed rows are read as rows */
  if (!direct && lies_the_other_way(c, block))
    there.transposed = turned_if_it_fits(whole, l, &there);
  const qp_model_stack *s = &there;
  qp_status status = check_shape(c, whole, l, s->parts, s->transposed, err);
  if (!status) status = qp_checkpoint_need_views(c, l->experts, err);
  for (unsigned e = 0; e < l->experts && !status; e++)
    status = add_view(c, whole, l, s, tensor, e, err);
  if (!status) whole->views += l->experts;
  qp_source_tensor *biases = l->bias ? find_biases(c, l, block, tensor, direct) : NULL;
  return status || !biases ? status : add_biases(c, l, s, tensor, biases, err);
}

qp_status qp_checkpoint_list_experts(qp_checkpoint *c, qp_error *err) {
  const qp_model *m = &c->model;
  qp_status status = QP_OK;
  for (unsigned b = 0; b < m->layers; b++)
    for (unsigned i = 0; i < m->linears && !status; i++) {
      char tensor[QP_MODEL_NAME];
      if (!m->linear[i].experts || !qp_model_has(m, b, i)) continue;
      qp_model_tensor(m, i, b, tensor);
      status = add_stack(c, &m->linear[i], b, tensor, err);
    }
  return status ? status : qp_checkpoint_sort(c->path, c->view, c->views, err);
}
