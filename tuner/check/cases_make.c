/* SPDX-License-Identifier: MIT */
/* How a case comes into the list of `qpal check`. */
#include "tuner/check/cases_make.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/list.h"
#include "tuner/check/steady.h"

enum { KIND_NAME = 96 };

void qp_cases_push(qp_case_maker *m, const qp_problem *p, const qp_choice *choice) {
  const qp_case_wishes *w = m->w;
  m->met[p->op] = true;
  if (w->ops && !(w->ops >> p->op & 1)) return;
  if (w->type >= 0 && (qp_dtype)w->type != p->type) return;
  if (!qp_family_serves(choice->family, p)) return; /* an architecture without its instructions */
  qp_cases *c = m->out;
  qp_case *list = qp_list_room(c->list, c->count, &c->capacity, sizeof *list);
  if (!list) {
    m->failed = true;
    return;
  }
  c->list = list;
  const bool turns = p->op == QP_OP_DEQUANT && p->rotation != 1;
  c->list[c->count++] = (qp_case){*p, *choice, w->unrotate && turns};
}

void qp_cases_push_default(qp_case_maker *m, const qp_problem *p, const qp_family *f) {
  qp_choice choice;
  if (!qp_family_serves(f, p)) return;
  qp_choice_default(f, &choice);
  qp_cases_push(m, p, &choice);
}

void qp_cases_push_each(qp_case_maker *m, const qp_problem *p) {
  const qp_case_families *list = &m->of[p->op];
  for (size_t i = 0; i < list->count; i++) qp_cases_push_default(m, p, list->family[i]);
}

void qp_cases_push_in_turn(qp_case_maker *m, const qp_problem *p, size_t turn) {
  const qp_case_families *list = &m->of[p->op];
  if (list->usual) qp_cases_push_default(m, p, list->family[turn % list->usual]);
  for (size_t i = list->usual; i < list->count; i++) qp_cases_push_default(m, p, list->family[i]);
}

qp_problem qp_cases_problem(const qp_case_maker *m, qp_op op, qp_dtype type, unsigned batch) {
  return (qp_problem){.op = op,
                      .batch = m->w->batch && qp_op_multiplies(op) ? m->w->batch : batch,
                      .type = type,
                      .out_type = type,
                      .arch = m->w->arch,
                      .sm_count = m->w->sm_count};
}

unsigned qp_cases_first_of_kinds(const qp_case_maker *m, const qp_quantizer **first) {
  char names[QP_CASE_KINDS][KIND_NAME];
  unsigned n = 0;
  for (size_t i = 0; i < m->w->quantizers && n < QP_CASE_KINDS; i++) {
    unsigned known = 0;
    qp_steady_kind(m->w->quantizer[i], names[n], KIND_NAME);
    while (strcmp(names[known], names[n]) != 0) known++;
    if (known == n) first[n++] = m->w->quantizer[i];
  }
  return n;
}

void qp_cases_set(qp_choice *c, const char *tunable) {
  qp_error none = {0}; /* where the family has it not */
  qp_choice_set(c, tunable, &none);
}

const qp_quantizer *qp_cases_first_chained(const qp_quantizer *const *list, unsigned n,
                                           bool split) {
  for (unsigned i = 0; i < n; i++)
    if (split ? list[i]->kind == QP_SPLIT : list[i]->window > list[i]->step) return list[i];
  return n ? list[0] : NULL;
}
