/* SPDX-License-Identifier: MIT */
/* Matrices that hold the rows of several linears, as linears of their own; see model.h. */
#include <stdio.h>
#include <string.h>

#include "gen/model/model.h"

uint64_t qp_model_row(const qp_model_rows *of, uint64_t row) {
  return of->begin + row / of->run * of->period + row % of->run;
}

/* What a part is called within its matrix: "delta_q" is "q", "shared_gate" is "gate". */
static const char *short_role(const char *role) {
  const char *last = strrchr(role, '_');
  return last ? last + 1 : role;
}

static qp_status make_part(const qp_model_linear *l, unsigned i, qp_model_linear *out,
                           qp_error *err) {
  const qp_model_part *p = &l->part[i];
  *out = *l;
  out->parts = out->turns = 0;
  out->rows = p->rows * l->turns;
  out->head_count = p->heads;
  out->of = (qp_model_rows){.begin = p->begin, .run = p->rows, .period = l->rows / l->turns};
  memcpy(out->of.tensor, l->tensor, sizeof out->of.tensor);
  memcpy(out->role, p->role, sizeof out->role);
  const int n = snprintf(out->tensor, sizeof out->tensor, "%s.%s", l->tensor, short_role(p->role));
  if (n >= 0 && n < (int)sizeof out->tensor) return QP_OK;
  return qp_fail(err, QP_E_LIMIT, "%s: too long a name for its parts", l->tensor);
}

/* What became of a linear: the first of those in its place, and how many. */
typedef struct place {
  unsigned first, count;
} place;

static qp_status fill_group(const qp_model *m, const place *to, qp_model_group *group,
                            qp_error *err) {
  const qp_model_group was = *group;
  group->linears = 0;
  for (unsigned i = 0; i < was.linears; i++)
    for (unsigned k = 0; k < to[was.linear[i]].count; k++) {
      const unsigned linear = to[was.linear[i]].first + k;
      if (group->linears == QP_MODEL_GROUP_LINEARS)
        return qp_fail(err, QP_E_LIMIT, "%s: too many linears in group %s, taken apart", m->name,
                       was.name);
      group->rows[group->linears] = m->linear[linear].rows;
      group->linear[group->linears++] = linear;
    }
  return QP_OK;
}

static uint64_t moved(uint64_t has, const place *to, unsigned linears) {
  uint64_t out = 0;
  for (unsigned i = 0; i < linears; i++)
    for (unsigned k = 0; k < to[i].count && has >> i & 1; k++) out |= 1ull << (to[i].first + k);
  return out;
}

qp_status qp_model_take_apart(const qp_model *m, qp_model *out, qp_error *err) {
  place to[QP_MODEL_LINEARS];
  qp_model made = *m;
  qp_status status = QP_OK;
  made.linears = 0;
  for (unsigned i = 0; i < m->linears && !status; i++) {
    const qp_model_linear *l = &m->linear[i];
    const unsigned parts = l->parts > 1 ? l->parts : 1;
    to[i] = (place){made.linears, parts};
    if (made.linears + parts > QP_MODEL_LINEARS)
      return qp_fail(err, QP_E_LIMIT, "%s: more than %d linears, taken apart", m->name,
                     QP_MODEL_LINEARS);
    for (unsigned k = 0; k < parts && !status; k++, made.linears++)
      if (parts > 1)
        status = make_part(l, k, &made.linear[made.linears], err);
      else
        made.linear[made.linears] = *l;
  }
  if (status) return status;
  made.linear[made.linears] = m->linear[m->linears];
  for (unsigned g = 0; g < made.groups && !status; g++)
    status = fill_group(&made, to, &made.group[g], err);
  for (unsigned k = 0; k < m->kinds; k++) made.has[k] = moved(m->has[k], to, m->linears);
  if (!status) *out = made;
  return status;
}
