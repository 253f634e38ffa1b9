/* SPDX-License-Identifier: MIT */
/* Makes a model of kinds of blocks, as kinds.h describes. */
#include "gen/model/kinds.h"

#include <string.h>

static bool is_same(const qp_model_linear *a, const qp_model_linear *b) {
  return !strcmp(a->role, b->role) && !strcmp(a->tensor, b->tensor) && a->rows == b->rows &&
         a->columns == b->columns && a->bias == b->bias && a->experts == b->experts &&
         a->active == b->active && a->parts == b->parts;
}

/* Does group g of the model have the same linears as the group of k's linear 'first'? */
static bool is_same_group(const qp_model *m, unsigned g, const qp_kind_list *k, unsigned first) {
  const qp_model_group *group = &m->group[g];
  unsigned n = 0;
  if (strcmp(group->name, k->group[first]) != 0) return false;
  for (unsigned i = first; i < k->count; i++) {
    if (strcmp(k->group[i], k->group[first]) != 0) continue;
    if (n == group->linears || !is_same(&m->linear[group->linear[n]], &k->linear[i])) return false;
    n++;
  }
  return n == group->linears;
}

static qp_status add_group(qp_model *m, const char *where, const qp_kind_list *k, unsigned first,
                           qp_error *err) {
  if (m->groups == QP_MODEL_GROUPS) return qp_fail(err, QP_E_ARG, "%s: too many groups", where);
  qp_model_group *group = &m->group[m->groups];
  *group = (qp_model_group){.columns = k->linear[first].columns};
  memcpy(group->name, k->group[first], sizeof group->name);
  for (unsigned i = first; i < k->count; i++) {
    if (strcmp(k->group[i], group->name) != 0) continue;
    if (k->linear[i].columns != group->columns || k->linear[i].experts != k->linear[first].experts)
      return qp_fail(err, QP_E_ARG, "%s: linears of one group need the same columns, and experts",
                     where);
    if (group->linears == QP_MODEL_GROUP_LINEARS)
      return qp_fail(err, QP_E_ARG, "%s: too many linears in a group", where);
    if (m->linears == QP_MODEL_LINEARS)
      return qp_fail(err, QP_E_ARG, "%s: too many linears", where);
    qp_model_linear *l = &m->linear[m->linears];
    *l = k->linear[i];
    l->group = m->groups;
    group->linear[group->linears] = m->linears++;
    group->rows[group->linears++] = l->rows;
  }
  m->groups++;
  return QP_OK;
}

qp_status qp_kinds_add(qp_model *m, const char *where, const qp_kind_list *k, uint64_t *has,
                       qp_error *err) {
  *has = 0;
  for (unsigned i = 0; i < k->count; i++) {
    unsigned g = 0, first = 0;
    while (strcmp(k->group[first], k->group[i]) != 0) first++;
    if (first < i) continue; /* with its group */
    while (g < m->groups && !is_same_group(m, g, k, i)) g++;
    if (g == m->groups) {
      const qp_status status = add_group(m, where, k, i, err);
      if (status) return status;
    }
    for (unsigned n = 0; n < m->group[g].linears; n++) *has |= (uint64_t)1 << m->group[g].linear[n];
  }
  return QP_OK;
}

void qp_kinds_count(qp_model *m, uint64_t extra, uint64_t once) {
  uint64_t biases = 0;
  for (unsigned i = 0; i < m->linears; i++) {
    const qp_model_linear *l = &m->linear[i];
    const uint64_t copies = qp_model_copies(m, i), one = (uint64_t)l->rows * l->columns;
    m->linear_weights += copies * qp_model_weights(l);
    m->active_weights += copies * one * (l->experts ? l->active : 1);
    if (l->bias) biases += copies * l->rows * (l->experts ? l->experts : 1);
  }
  m->head_weights = (uint64_t)m->vocab * m->hidden;
  m->embedding_bytes = 2 * m->head_weights;
  m->other_bytes = 2 * (extra + biases + once);
  m->active_weights += extra;
}
