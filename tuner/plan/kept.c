/* SPDX-License-Identifier: MIT */
/* Linears that cannot be planned; see kept.h. */
#include "tuner/plan/kept.h"

#include <stdio.h>
#include <string.h>

#include "gen/spec/layout.h"

#define THE_RULE "kernels take rows in multiples of 16 and columns in multiples of 32"

static bool can_be_held(const qp_model_linear *l, const qp_menu *menu, bool timed) {
  const bool odd = l->rows % 16 || l->columns % 32;
  for (unsigned i = 0; i < menu->count; i++) {
    const qp_quantizer *q = menu->entry[i].quantizer;
    if (!q && timed && odd) continue; /* a table has no launch of such a shape */
    if (qp_plan_bytes(q, l->rows, l->columns) != UINT64_MAX) return true;
  }
  return false;
}

static const char *rule_of(const qp_model_linear *l) {
  return l->rows % 16 || l->columns % 32 ? THE_RULE : "no quantizer asked for can hold this shape";
}

/* Copy linear 'from' of block and group of 'm' as the next of 'to'; place[g] is where group g
   stands there, from 1. */
static void copy_linear(const qp_model *m, unsigned from, qp_model *to, unsigned *place) {
  qp_model_linear l = m->linear[from];
  const qp_model_group *group = &m->group[l.group];
  if (!place[l.group]) {
    to->group[to->groups] = (qp_model_group){.columns = group->columns};
    memcpy(to->group[to->groups].name, group->name, sizeof group->name);
    place[l.group] = ++to->groups;
  }
  const unsigned g = place[l.group] - 1;
  qp_model_group *into = &to->group[g];
  for (unsigned k = 0; k < m->kinds; k++)
    if (m->has[k] >> from & 1) to->has[k] |= (uint64_t)1 << to->linears;
  into->linear[into->linears] = to->linears;
  into->rows[into->linears++] = l.rows;
  l.group = g;
  to->linear[to->linears++] = l;
}

static void add_to_note(char note[QP_KEPT_NOTE], const qp_model_linear *l, bool first) {
  const size_t n = strlen(note);
  snprintf(note + n, QP_KEPT_NOTE - n, "%s%s (%u x %u)", first ? "" : ", ", l->role, l->rows,
           l->columns);
}

qp_status qp_kept_drop(const qp_model *m, const qp_menu *menu, bool timed, qp_model *out,
                       char note[QP_KEPT_NOTE], qp_error *err) {
  qp_model to = *m;
  unsigned place[QP_MODEL_GROUPS] = {0};
  const char *rule = THE_RULE;
  to.linears = to.groups = 0;
  memset(to.has, 0, sizeof to.has);
  *note = 0;
  for (unsigned i = 0; i < m->linears; i++) {
    const qp_model_linear *l = &m->linear[i];
    if (can_be_held(l, menu, timed)) {
      copy_linear(m, i, &to, place);
      continue;
    }
    const uint64_t weights = qp_model_copies(m, i) * qp_model_weights(l);
    to.linear_weights -= weights;
    to.other_bytes += 2 * weights;
    add_to_note(note, l, !*note);
    rule = rule_of(l);
  }
  if (!to.linears)
    return qp_fail(err, QP_E_ARG, "%s: no linear of its blocks can be planned: %s", m->name, rule);
  to.linear[to.linears] = m->linear[m->linears];
  to.linear[to.linears].rows = qp_layout_padded_rows(m->linear[m->linears].rows);
  const size_t n = strlen(note);
  if (n)
    snprintf(note + n, QP_KEPT_NOTE - n, " stay%s in 16 bits: %s",
             to.linears + 1 == m->linears ? "s" : "", rule);
  *out = to;
  return QP_OK;
}

bool qp_kept_head(const qp_model *m, const qp_menu *menu, bool timed, char note[QP_KEPT_NOTE]) {
  qp_model_linear padded = m->linear[m->linears], *head = &padded;
  padded.rows = qp_layout_padded_rows(padded.rows);
  *note = 0;
  if (m->headless)
    snprintf(note, QP_KEPT_NOTE, "%s has no lm_head", m->name);
  else if (!can_be_held(head, menu, timed))
    snprintf(note, QP_KEPT_NOTE, "the lm_head (%u x %u) stays in 16 bits: %s", head->rows,
             head->columns, rule_of(head));
  return *note != 0;
}
