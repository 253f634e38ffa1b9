/* SPDX-License-Identifier: MIT */
/* Lists the problems that a model's tuning consists of, as problems.h describes. */
#include "tuner/tune/problems.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/spec/layout.h"
#include "runtime/list.h"

static bool same_launch(const qp_model_launch *a, const qp_model_launch *b) {
  return a->linears == b->linears && a->columns == b->columns && a->experts == b->experts &&
         a->top_k == b->top_k && a->slices == b->slices && a->widest == b->widest &&
         !memcmp(a->rows, b->rows, a->linears * sizeof *a->rows);
}

/* The largest K of the stacks to which one routing goes. */
static unsigned widest_of(const qp_model *m, unsigned experts, unsigned top_k) {
  unsigned columns = 0;
  for (unsigned g = 0; g < m->groups; g++) {
    const qp_model_linear *l = &m->linear[m->group[g].linear[0]];
    if (l->experts == experts && l->active == top_k && m->group[g].columns > columns)
      columns = m->group[g].columns;
  }
  return columns;
}

static unsigned push(qp_model_launch *list, unsigned n, const qp_model_launch *l) {
  for (unsigned i = 0; i < n; i++)
    if (same_launch(&list[i], l)) return list[i].copies += l->copies, n;
  if (n < QP_MODEL_LAUNCHES) list[n++] = *l;
  return n;
}

/* Make the launch of the linears of 'mask' of a group, named by their roles. */
static qp_model_launch subset(const qp_model *m, const qp_model_group *g, unsigned mask) {
  const qp_model_linear *first = &m->linear[g->linear[0]];
  qp_model_launch l = {.columns = g->columns, .copies = qp_model_copies(m, g->linear[0])};
  if (first->experts) {
    l.experts = first->experts;
    l.top_k = first->active;
    l.slices = m->slices;
    l.widest = widest_of(m, l.experts, l.top_k);
  }
  size_t n = 0;
  for (unsigned i = 0; i < g->linears; i++) {
    if (!(mask >> i & 1)) continue;
    const char *role = m->linear[g->linear[i]].role;
    n += (size_t)snprintf(l.label + n, sizeof l.label - n, "%s%s", n && strlen(role) > 1 ? "-" : "",
                          role);
    l.rows[l.linears++] = g->rows[i];
    if (n >= sizeof l.label) n = sizeof l.label - 1;
  }
  l.fused = l.linears > 1;
  return l;
}

unsigned qp_model_launches(const qp_model *m, qp_model_launch out[QP_MODEL_LAUNCHES]) {
  unsigned n = 0;
  for (unsigned g = 0; g < m->groups; g++)
    for (unsigned mask = 1; mask < 1u << m->group[g].linears; mask++) {
      qp_model_launch l = subset(m, &m->group[g], mask);
      n = push(out, n, &l);
    }
  const qp_model_linear *head = &m->linear[m->linears];
  const unsigned rows = qp_layout_padded_rows(head->rows);
  qp_model_launch l = {.linears = 1, .rows = {rows}, .columns = head->columns, .copies = 1};
  snprintf(l.label, sizeof l.label, "%s", head->role);
  return push(out, n, &l);
}

void qp_model_launch_pose(const qp_model_launch *l, const qp_quantizer *q, qp_problem *p) {
  p->op = l->experts ? QP_OP_EXPERTS : QP_OP_GEMM;
  p->segments = l->linears;
  p->columns = l->columns;
  for (unsigned i = 0; i < l->linears; i++) {
    p->segment[i].quantizer = q;
    p->segment[i].rows = l->rows[i];
  }
  p->experts = l->experts;
  p->top_k = l->top_k;
  p->slices = l->slices;
  p->tile = l->experts ? qp_problem_usual_tile(p->batch, l->widest) : 0;
}

bool qp_model_pair_pose(const qp_model *m, unsigned group, const qp_quantizer *q, qp_problem *p) {
  const qp_model_group *of = &m->group[group];
  const qp_model_linear *up = &m->linear[of->linear[0]], *gate = &m->linear[of->linear[1]];
  if (of->linears != 2 || !qp_model_gates(up->role, gate->role)) return false;
  if (of->rows[0] != of->rows[1]) return false;
  const qp_model_launch both = subset(m, of, 3);
  qp_model_launch_pose(&both, q, p);
  return true;
}

qp_op qp_model_pair_op(const qp_problem *gemm) {
  return gemm->experts ? QP_OP_EXPERTS_GLU : QP_OP_GEMM_GLU;
}

static bool same_problem(const qp_problem *a, const qp_problem *b) {
  bool same = a->op == b->op && a->segments == b->segments && a->columns == b->columns &&
              a->batch == b->batch && a->type == b->type && a->out_type == b->out_type &&
              a->experts == b->experts && a->top_k == b->top_k && a->tile == b->tile &&
              a->slices == b->slices;
  for (unsigned i = 0; i < a->segments && same; i++)
    same = a->segment[i].quantizer == b->segment[i].quantizer &&
           a->segment[i].rows == b->segment[i].rows;
  return same;
}

bool qp_problems_alike(const qp_tune_problem *a, const qp_tune_problem *b) {
  return same_problem(&a->problem, &b->problem);
}

static qp_status add(qp_tune_problems *list, const qp_tune_problem *p, qp_error *err) {
  for (size_t i = 0; i < list->count; i++)
    if (list->list[i].family == p->family && qp_problems_alike(&list->list[i], p))
      return list->list[i].launches += p->launches, QP_OK;
  qp_tune_problem *more = qp_list_room(list->list, list->count, &list->capacity, sizeof *more);
  if (!more) return qp_fail(err, QP_E_NOMEM, "no memory for problems");
  list->list = more;
  list->list[list->count++] = *p;
  return QP_OK;
}

static qp_tune_problem problem_of(const qp_model_launch *l, const qp_problems_wishes *w,
                                  const qp_quantizer *q, unsigned batch, const qp_family *family) {
  qp_tune_problem t = {.problem = {.batch = batch,
                                   .type = w->type,
                                   .out_type = w->type,
                                   .arch = w->arch,
                                   .sm_count = w->sm_count},
                       .family = family,
                       .launches = l->copies ? l->copies : 1};
  unsigned rows = 0;
  qp_model_launch_pose(l, q, &t.problem);
  for (unsigned i = 0; i < l->linears; i++) rows += l->rows[i];
  snprintf(t.path, sizeof t.path, "%s", family->path);
  snprintf(t.label, sizeof t.label, "%.32s %ux%u", l->label, rows, l->columns);
  return t;
}

/* The families of gemm that are tuned, or of a stack those of experts on the same paths. */
static size_t families_of(const qp_model_launch *l, const qp_problems_wishes *w,
                          const qp_family *out[QP_MAX_FAMILIES]) {
  size_t n = 0;
  for (size_t f = 0; f < w->families; f++) {
    bool known = false;
    for (size_t i = 0; i < f; i++) known |= !strcmp(w->family[i]->path, w->family[f]->path);
    if (!l->experts)
      out[n++] = w->family[f];
    else if (!known)
      n += qp_families_of(w->all, QP_OP_EXPERTS, w->family[f]->path, false, out + n);
  }
  return n;
}

/* Shapes that no kernel can have are no problems; '*fits': this is one. */
static qp_status add_launch(qp_tune_problems *list, const qp_model_launch *launch,
                            const qp_problems_wishes *w, const qp_quantizer *q, unsigned batch,
                            bool *fits, qp_error *err) {
  qp_error why = {0};
  qp_status status = QP_OK;
  const qp_family *family[QP_MAX_FAMILIES];
  const size_t n = families_of(launch, w, family);
  for (size_t f = 0; f < n && !status; f++) {
    const qp_tune_problem t = problem_of(launch, w, q, batch, family[f]);
    *fits = !qp_problem_check(&t.problem, &why) && qp_family_serves(family[f], &t.problem);
    if (*fits) status = add(list, &t, err);
  }
  return status;
}

qp_status qp_problems_add(qp_tune_problems *list, const qp_model_launch *launch, size_t launches,
                          const qp_problems_wishes *w, unsigned ops, size_t *skipped,
                          qp_error *err) {
  qp_status status = QP_OK;
  for (size_t b = 0; b < w->batches; b++)
    for (size_t q = 0; q < w->quantizers; q++)
      for (size_t l = 0; l < launches && !status; l++) {
        bool fits = true;
        if (!(ops >> (launch[l].experts ? QP_OP_EXPERTS : QP_OP_GEMM) & 1)) continue;
        status = add_launch(list, &launch[l], w, w->quantizer[q], w->batch[b], &fits, err);
        *skipped += !fits && !q; /* counted once a batch */
      }
  return status;
}

/* ---- What is no gemm ---- */

unsigned qp_model_rotations(const qp_model *m, qp_model_rotation out[QP_MODEL_ROTATIONS]) {
  unsigned n = 0;
  for (unsigned g = 0; g <= m->groups; g++) {
    const bool head = g == m->groups;
    const unsigned columns = head ? m->linear[m->linears].columns : m->group[g].columns;
    const unsigned launches = head ? 1 : qp_model_group_copies(m, g);
    if (head && m->headless) continue;
    const qp_model_linear *first = &m->linear[head ? m->linears : m->group[g].linear[0]];
    const qp_model_producer by = qp_model_producer_of(first->role);
    const unsigned rows = first->experts && by != QP_PRODUCER_NORM ? first->active : 1;
    unsigned i = 0;
    while (i < n && (out[i].columns != columns || out[i].rows != rows)) i++;
    if (i == n) out[n++] = (qp_model_rotation){.columns = columns, .rows = rows};
    out[i].launches += launches;
    out[i].by[by] += launches;
  }
  return n;
}

/* Add a problem by each family of its operation. */
static qp_status add_by_all(qp_tune_problems *list, const qp_families *families, qp_tune_problem *t,
                            qp_error *err) {
  const qp_family *family[QP_MAX_FAMILIES];
  const size_t n = qp_families_of(families, t->problem.op, NULL, false, family);
  qp_status status = QP_OK;
  if (qp_problem_check(&t->problem, NULL)) return QP_OK;
  for (size_t i = 0; i < n && !status; i++) {
    if (!qp_family_serves(family[i], &t->problem)) continue;
    t->family = family[i];
    snprintf(t->path, sizeof t->path, "%s", family[i]->path);
    status = add(list, t, err);
  }
  return status;
}

qp_op qp_op_of_producer(qp_model_producer producer) {
  return producer == QP_PRODUCER_NORM  ? QP_OP_ROTATE_NORM
         : producer == QP_PRODUCER_GLU ? QP_OP_ROTATE_GLU
                                       : QP_OP_ROTATE;
}

/* Add the rotation with this prologue of one input, at every batch. */
static qp_status add_rotation(qp_tune_problems *list, qp_op op, qp_model_rotation r,
                              const qp_families *families, const qp_problems_wishes *w,
                              qp_error *err) {
  qp_status status = QP_OK;
  for (size_t b = 0; b < w->batches && !status; b++) {
    qp_tune_problem t = {.problem = {.op = op,
                                     .columns = r.columns,
                                     .batch = w->batch[b] * r.rows,
                                     .type = w->type,
                                     .out_type = w->type,
                                     .arch = w->arch,
                                     .sm_count = w->sm_count},
                         .launches = r.launches};
    snprintf(t.label, sizeof t.label, "%s %u", qp_op_name(op), r.columns);
    status = add_by_all(list, families, &t, err);
  }
  return status;
}

/* Each input's rotation alone, then with the prologue that makes the input. */
static qp_status add_rotations(qp_tune_problems *list, const qp_model *m,
                               const qp_families *families, const qp_problems_wishes *w,
                               qp_error *err) {
  qp_model_rotation rotation[QP_MODEL_ROTATIONS];
  const unsigned n = qp_model_rotations(m, rotation);
  qp_status status = QP_OK;
  for (unsigned i = 0; i < n && !status; i++)
    status = add_rotation(list, QP_OP_ROTATE, rotation[i], families, w, err);
  for (int p = QP_PRODUCER_NORM; p <= QP_PRODUCER_GLU; p++)
    for (unsigned i = 0; i < n && !status; i++)
      if (rotation[i].by[p]) {
        const qp_model_rotation part = {.columns = rotation[i].columns,
                                        .rows = rotation[i].rows,
                                        .launches = rotation[i].by[p]};
        status =
            add_rotation(list, qp_op_of_producer((qp_model_producer)p), part, families, w, err);
      }
  return status;
}

unsigned qp_model_routings(const qp_model *m, qp_model_routing out[QP_MODEL_ROUTINGS]) {
  unsigned n = 0;
  for (unsigned g = 0; g < m->groups; g++) {
    const qp_model_linear *l = &m->linear[m->group[g].linear[0]];
    if (!l->experts || qp_model_producer_of(l->role) == QP_PRODUCER_NORM) continue;
    unsigned i = 0;
    while (i < n &&
           (out[i].experts != l->experts || out[i].top_k != l->active || out[i].columns != l->rows))
      i++;
    if (i == QP_MODEL_ROUTINGS) continue;
    if (i == n)
      out[n++] = (qp_model_routing){.experts = l->experts,
                                    .top_k = l->active,
                                    .slices = m->slices,
                                    .widest = widest_of(m, l->experts, l->active),
                                    .columns = l->rows};
    out[i].blocks += qp_model_group_copies(m, g);
  }
  return n;
}

void qp_model_routing_pose(const qp_model_routing *r, qp_op op, qp_problem *p) {
  p->op = op;
  p->top_k = r->top_k;
  if (op == QP_OP_COMBINE) {
    p->columns = r->columns;
  } else {
    p->experts = r->experts;
    p->slices = r->slices;
    p->tile = qp_problem_usual_tile(p->batch, r->widest);
  }
}

/* What stands around stacks, at every batch. */
static qp_status add_routings(qp_tune_problems *list, const qp_model *m,
                              const qp_families *families, const qp_problems_wishes *w,
                              qp_error *err) {
  static const qp_op op[] = {QP_OP_ROUTE, QP_OP_COMBINE};
  qp_model_routing r[QP_MODEL_ROUTINGS];
  const unsigned n = qp_model_routings(m, r);
  qp_status status = QP_OK;
  for (unsigned i = 0; i < 2 * n; i++)
    for (size_t b = 0; b < w->batches && !status; b++) {
      qp_tune_problem t = {.problem = {.batch = w->batch[b],
                                       .type = w->type,
                                       .out_type = w->type,
                                       .arch = w->arch,
                                       .sm_count = w->sm_count},
                           .launches = r[i / 2].blocks};
      qp_model_routing_pose(&r[i / 2], op[i % 2], &t.problem);
      snprintf(t.label, sizeof t.label, "%s %u of %u", qp_op_name(op[i % 2]), r[i / 2].top_k,
               r[i / 2].experts * (r[i / 2].slices ? r[i / 2].slices : 1));
      status = add_by_all(list, families, &t, err);
    }
  return status;
}

static qp_status add_dequants(qp_tune_problems *list, const qp_model *m,
                              const qp_families *families, const qp_problems_wishes *w,
                              qp_error *err) {
  qp_status status = QP_OK;
  for (size_t q = 0; q < w->quantizers; q++)
    for (unsigned i = 0; i < m->linears + !m->headless && !status; i++) {
      const qp_model_linear *linear = &m->linear[i];
      qp_tune_problem t = {.problem = {.op = QP_OP_DEQUANT,
                                       .segments = 1,
                                       .columns = linear->columns,
                                       .batch = 1,
                                       .type = w->type,
                                       .out_type = w->type,
                                       .arch = w->arch,
                                       .sm_count = w->sm_count},
                           .launches = i == m->linears ? 1 : qp_model_copies(m, i)};
      if (linear->experts) continue;
      t.problem.segment[0].quantizer = w->quantizer[q];
      t.problem.segment[0].rows =
          i == m->linears ? qp_layout_padded_rows(linear->rows) : linear->rows;
      snprintf(t.label, sizeof t.label, "dequant %ux%u", linear->rows, linear->columns);
      status = add_by_all(list, families, &t, err);
    }
  return status;
}

/* Up and gate of a block by one quantizer, at every batch: linears, stacks, as 'ops' has it. */
static qp_status add_pairs(qp_tune_problems *list, const qp_model *m, const qp_families *families,
                           const qp_problems_wishes *w, unsigned ops, qp_error *err) {
  qp_status status = QP_OK;
  for (unsigned g = 0; g < m->groups; g++)
    for (size_t q = 0; q < w->quantizers; q++)
      for (size_t b = 0; b < w->batches && !status; b++) {
        qp_tune_problem t = {.problem = {.batch = w->batch[b],
                                         .type = w->type,
                                         .out_type = w->type,
                                         .arch = w->arch,
                                         .sm_count = w->sm_count},
                             .launches = qp_model_group_copies(m, g)};
        if (!qp_model_pair_pose(m, g, w->quantizer[q], &t.problem)) continue;
        t.problem.op = qp_model_pair_op(&t.problem);
        if (!(ops >> t.problem.op & 1)) continue;
        snprintf(t.label, sizeof t.label, "%s %ux%u", qp_op_name(t.problem.op),
                 t.problem.segment[0].rows, t.problem.columns);
        status = add_by_all(list, families, &t, err);
      }
  return status;
}

/* Add the look-up of one token in the embedding. */
static qp_status add_gathers(qp_tune_problems *list, const qp_model *m, const qp_families *families,
                             const qp_problems_wishes *w, qp_error *err) {
  qp_status status = QP_OK;
  for (size_t q = 0; q < w->quantizers && !status; q++) {
    qp_tune_problem t = {.problem = {.op = QP_OP_GATHER,
                                     .segments = 1,
                                     .columns = m->hidden,
                                     .batch = 1,
                                     .type = w->type,
                                     .out_type = w->type,
                                     .arch = w->arch,
                                     .sm_count = w->sm_count},
                         .launches = 1};
    t.problem.segment[0].quantizer = w->quantizer[q];
    t.problem.segment[0].rows = qp_layout_padded_rows(m->vocab);
    snprintf(t.label, sizeof t.label, "gather %ux%u", m->vocab, m->hidden);
    status = add_by_all(list, families, &t, err);
  }
  return status;
}

qp_status qp_problems_add_model(qp_tune_problems *list, const qp_model *m,
                                const qp_families *families, const qp_problems_wishes *w,
                                unsigned ops, qp_error *err) {
  qp_tune_problems front = {0};
  qp_status status = QP_OK;
  if (ops & 1u << QP_OP_ROTATE) status = add_rotations(&front, m, families, w, err);
  if (!status && ops & 1u << QP_OP_EXPERTS) status = add_routings(&front, m, families, w, err);
  if (!status && ops & 1u << QP_OP_DEQUANT) status = add_dequants(&front, m, families, w, err);
  if (!status && ops & 1u << QP_OP_GATHER) status = add_gathers(&front, m, families, w, err);
  if (!status) status = add_pairs(&front, m, families, w, ops, err);
  for (size_t i = 0; i < list->count && !status; i++) status = add(&front, &list->list[i], err);
  if (status) return qp_problems_free(&front), status;
  qp_problems_free(list);
  *list = front;
  return QP_OK;
}

/* Does so for a plan's stacks. */
static unsigned widest_of_plan(const qp_plan *plan, const qp_plan_linear *like) {
  unsigned columns = 0;
  for (unsigned i = 0; i < plan->linears; i++) {
    const qp_plan_linear *l = &plan->linear[i];
    if (l->experts == like->experts && l->active == like->active && l->columns > columns)
      columns = l->columns;
  }
  return columns;
}

/* false: a launch in 16 bits, which is no problem of ours. */
static bool problem_of_plan(const qp_plan *plan, const qp_plan_launch *l,
                            const qp_quantizer *const *quantizer, const qp_problems_wishes *w,
                            unsigned batch, qp_tune_problem *out) {
  const qp_plan_linear *first = &plan->linear[l->linear[0]];
  const unsigned sliced = plan->slices > 1 ? plan->slices : 0;
  unsigned rows = 0;
  *out = (qp_tune_problem){.problem = {.op = first->experts ? QP_OP_EXPERTS : QP_OP_GEMM,
                                       .segments = l->members,
                                       .columns = first->columns,
                                       .experts = first->experts,
                                       .top_k = first->active,
                                       .slices = first->experts ? sliced : 0,
                                       .batch = batch,
                                       .type = w->type,
                                       .out_type = w->type,
                                       .arch = w->arch,
                                       .sm_count = w->sm_count},
                           .launches = 1};
  for (unsigned i = 0; i < l->members; i++) {
    const qp_plan_linear *at = &plan->linear[l->linear[i]];
    if (!quantizer[at->quantizer]) return false;
    out->problem.segment[i].quantizer = quantizer[at->quantizer];
    out->problem.segment[i].rows = at->rows;
    rows += at->rows;
  }
  if (first->experts) out->problem.tile = qp_problem_usual_tile(batch, widest_of_plan(plan, first));
  snprintf(out->label, sizeof out->label, "%.31s %ux%u", l->group, rows, out->problem.columns);
  return true;
}

static bool is_any_path(const char *path) { return !*path || !strcmp(path, "any"); }

/* The families of the launch's path, or of the path that the default family has. */
static size_t families_of_plan(const qp_families *all, qp_op op, const char *path,
                               const qp_family *out[QP_MAX_FAMILIES]) {
  const qp_family *usual = qp_families_for(all, op, NULL);
  if (is_any_path(path) && !usual) return 0;
  return qp_families_of(all, op, is_any_path(path) ? usual->path : path, false, out);
}

qp_status qp_problems_check_plan(const qp_plan *plan, const qp_families *families, qp_error *err) {
  for (unsigned i = 0; i < plan->launches; i++) {
    const qp_plan_launch *l = &plan->launch[i];
    const bool in_16_bits =
        !l->members || !plan->quantizer[plan->linear[l->linear[0]].quantizer].hash[0];
    if (in_16_bits || is_any_path(l->path)) continue;
    const qp_status status = qp_families_check_path(families, QP_OP_GEMM, l->path, err);
    if (status) return qp_fail_prefix(err, status, "launches[%u]: field 'path'", i);
  }
  return QP_OK;
}

static qp_status add_plan_launch(qp_tune_problems *list, const qp_plan_launch *l,
                                 const qp_problems_wishes *w, qp_tune_problem *t, qp_error *err) {
  const qp_family *family[QP_MAX_FAMILIES];
  const size_t n = families_of_plan(w->all, t->problem.op, l->path, family);
  qp_status status = qp_problem_check(&t->problem, err);
  for (size_t f = 0; f < n && !status; f++) {
    t->family = family[f];
    snprintf(t->path, sizeof t->path, "%s", family[f]->path);
    status = add(list, t, err);
  }
  return status;
}

qp_status qp_problems_add_plan(qp_tune_problems *list, const qp_plan *plan,
                               const qp_quantizer *const *quantizer, const qp_problems_wishes *w,
                               qp_error *err) {
  qp_status status = QP_OK;
  for (size_t b = 0; b < w->batches; b++)
    for (unsigned l = 0; l < plan->launches && !status; l++) {
      qp_tune_problem t;
      if (problem_of_plan(plan, &plan->launch[l], quantizer, w, w->batch[b], &t))
        status = add_plan_launch(list, &plan->launch[l], w, &t, err);
    }
  return status;
}

void qp_problems_free(qp_tune_problems *list) {
  free(list->list);
  *list = (qp_tune_problems){0};
}

qp_status qp_batches_parse(const char *text, unsigned out[QP_MAX_BATCHES], size_t *count,
                           qp_error *err) {
  size_t n = 0;
  for (const char *at = text;; at++) {
    char *end;
    unsigned long v = strtoul(at, &end, 10);
    if (end == at || (*end && *end != ',') || *at == '-' || v < 1 || v > QP_MAX_BATCH)
      return qp_fail(err, QP_E_ARG, "--batch '%s': numbers from 1 to %d are needed, such as 1,8",
                     text, QP_MAX_BATCH);
    if (n == QP_MAX_BATCHES)
      return qp_fail(err, QP_E_ARG, "--batch '%s': more than %d", text, QP_MAX_BATCHES);
    out[n++] = (unsigned)v;
    at = end;
    if (!*end) break;
  }
  *count = n;
  return QP_OK;
}

qp_status qp_problems_shard(qp_tune_problems *list, const char *shard, qp_error *err) {
  char *end;
  unsigned long i = strtoul(shard, &end, 10), n = 0;
  if (*end == '/') n = strtoul(end + 1, &end, 10);
  if (*end || i < 1 || n < 1 || i > n || n > 100000)
    return qp_fail(err, QP_E_ARG, "--shard '%s': i/n with 1 <= i <= n is needed, such as 2/4",
                   shard);
  size_t kept = 0;
  for (size_t k = i - 1; k < list->count; k += n) list->list[kept++] = list->list[k];
  list->count = kept;
  return QP_OK;
}
