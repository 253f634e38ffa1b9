/* SPDX-License-Identifier: MIT */
/* Runs all of planning:  input -> problem -> solution -> [plan]  (planner.h). */
#include "tuner/plan/planner.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/plan/dual.h"

/* ---- One problem ---- */

static size_t say_over(char *to, size_t size, const qp_plan_problem *p, const qp_solution *s) {
  size_t n = 0;
  if (s->ps_over)
    n += (size_t)snprintf(to, size, "%.3f us over the limit of %.3f us", (double)s->ps_over * 1e-6,
                          (double)p->in->latency_limit_ps * 1e-6);
  if (s->bytes_over && n < size)
    n += (size_t)snprintf(to + n, size - n,
                          "%s%lld bytes over the limit of %lld (%.4g bits a weight)", n ? ", " : "",
                          (long long)s->bytes_over, (long long)p->knap.bytes_limit,
                          8 * (double)p->knap.bytes_limit / (double)p->planned_weights);
  return n;
}

static qp_status infeasible(const qp_plan_problem *p, const qp_solution *s, qp_error *err) {
  char over[256] = "", latency[64] = "";
  say_over(over, sizeof over, p, s);
  if (p->in->table)
    snprintf(latency, sizeof latency, "%.3f us, ", (double)(s->total.ps + p->fixed_ps) * 1e-6);
  return qp_fail(err, QP_E_WRONG,
                 "infeasible: no plan is within the limits; the cheapest is %s: %s%.4f bits a "
                 "weight, loss %.6g",
                 over, latency, 8 * (double)s->total.bytes / (double)p->planned_weights,
                 s->total.loss);
}

/* Solve with blocks in classes; the bound of less restricted plans may be given (NAN: none). */
static qp_status solve_classes(const qp_plan_input *in, const qp_planner_options *o,
                               const unsigned *class_of, unsigned classes, qp_plan *out,
                               qp_solution *solution, qp_error *err) {
  qp_plan_problem p;
  qp_status status = qp_plan_build(in, class_of, classes, &p, err);
  if (status) return status;
  qp_knap_choice *choice = calloc((size_t)p.knap.items + 1, sizeof *choice);
  const qp_solve_options options = {.time_limit_s = o->time_limit_s};
  if (!choice) status = qp_fail(err, QP_E_NOMEM, "no memory for the plan");
  if (!status) status = qp_solve(&p.knap, &options, choice, solution, err);
  if (!status && solution->outcome == QP_SOLVE_INFEASIBLE) status = infeasible(&p, solution, err);
  if (!status && solution->outcome == QP_SOLVE_UNKNOWN)
    status =
        qp_fail(err, QP_E_LIMIT, "no plan within the limits was found in %.3g s; give it more time",
                o->time_limit_s);
  if (!status) status = qp_plan_decode(&p, choice, solution, out, err);
  free(choice);
  qp_plan_problem_free(&p);
  return status;
}

/* ---- At most K types of blocks ---- */

/* What a block of a plan is, written down: quantizers of its linears, then its launches. */
static void describe_block(const qp_plan *p, unsigned block, char *to, size_t size) {
  size_t n = 0;
  *to = 0;
  for (unsigned i = 0; i < p->linears && n < size; i++)
    if (p->linear[i].block == (int)block)
      n += (size_t)snprintf(to + n, size - n, "%u,", p->linear[i].quantizer);
  for (unsigned i = 0; i < p->launches && n < size; i++) {
    const qp_plan_launch *l = &p->launch[i];
    if (l->block != (int)block) continue;
    n += (size_t)snprintf(to + n, size - n, "%s:", l->path);
    for (unsigned k = 0; k < l->members && n < size; k++)
      n += (size_t)snprintf(to + n, size - n, "%s,", p->linear[l->linear[k]].role);
  }
}

enum { BLOCK_TEXT = 512 };

/* Class of each block by equal descriptions; returns the number of classes. */
static unsigned classes_of_plan(const qp_plan *p, unsigned *class_of) {
  char(*text)[BLOCK_TEXT] = calloc(p->blocks, sizeof *text);
  unsigned classes = 0;
  if (!text) return p->blocks;
  for (unsigned b = 0; b < p->blocks; b++) {
    unsigned k = 0;
    describe_block(p, b, text[b], sizeof *text);
    while (k < b && strcmp(text[k], text[b]) != 0) k++;
    class_of[b] = k < b ? class_of[k] : classes++;
  }
  free(text);
  return classes;
}

unsigned qp_planner_block_types(const qp_plan *p) {
  unsigned *class_of = calloc((size_t)p->blocks + 1, sizeof *class_of);
  if (!class_of) return p->blocks;
  unsigned n = classes_of_plan(p, class_of);
  free(class_of);
  return n;
}

typedef struct typer {
  const qp_plan_input *in;
  const qp_planner_options *options;
  unsigned types;
  unsigned *class_of, *next; /* [blocks] */
  qp_plan best;
  qp_solution solution;
  bool found;
  qp_status status; /* The status of the last attempt. */
  qp_error *err;
} typer;

/* A class for each block from values that are sorted: equal numbers of blocks a class. */
static void split_by(const double *value, unsigned blocks, unsigned types, unsigned *class_of) {
  for (unsigned b = 0; b < blocks; b++) {
    unsigned rank = 0;
    for (unsigned k = 0; k < blocks; k++)
      rank += value[k] < value[b] || (k < b && value[k] == value[b]);
    class_of[b] = rank * types / blocks;
  }
}

/* Classes may have become empty: number them anew. */
static unsigned renumber(unsigned *class_of, unsigned blocks, unsigned types) {
  unsigned to[1024] = {0}, used = 0;
  for (unsigned t = 0; t < types && t < 1024; t++) {
    bool any = false;
    for (unsigned b = 0; b < blocks; b++) any = any || class_of[b] == t;
    to[t] = any ? used++ : 0;
  }
  for (unsigned b = 0; b < blocks; b++) class_of[b] = to[class_of[b]];
  return used;
}

/* Loss, ps and bytes that block b would have as a copy of block 'like' of the plan. */
static double price_as(const typer *t, const qp_plan *p, unsigned b, unsigned like, double lambda,
                       double mu) {
  const qp_plan_input *in = t->in;
  unsigned n = in->model->linears;
  double price = 0;
  for (unsigned l = 0; l < n; l++) {
    const qp_plan_linear *from = &p->linear[like * n + l];
    int q = qp_menu_find(in->menu, p->quantizer[from->quantizer].name);
    size_t i = (size_t)b * n + l;
    price += in->alpha[i] * in->distortion[i * in->menu->count + (unsigned)q];
    price += mu * (double)from->bytes;
  }
  for (unsigned i = 0; i < p->launches; i++)
    if (p->launch[i].block == (int)like && p->launch[i].latency_ps > 0)
      price += lambda * (double)p->launch[i].latency_ps;
  return price;
}

/* Give each block the class whose blocks it would be cheapest as; false: nothing changed. */
static bool reassign(typer *t, const qp_plan *p, double lambda, double mu) {
  unsigned blocks = t->in->model->layers, first[1024] = {0};
  bool changed = false;
  for (unsigned b = blocks; b-- > 0;) first[t->class_of[b]] = b;
  for (unsigned b = 0; b < blocks; b++) {
    double least = price_as(t, p, b, first[t->class_of[b]], lambda, mu);
    t->next[b] = t->class_of[b];
    for (unsigned k = 0; k < t->types; k++) {
      double v = price_as(t, p, b, first[k], lambda, mu);
      if (v < least * (1 - 1e-12)) least = v, t->next[b] = k, changed = true;
    }
  }
  memcpy(t->class_of, t->next, blocks * sizeof *t->class_of);
  return changed;
}

static qp_status multipliers(const typer *t, double *lambda, double *mu) {
  qp_plan_problem p;
  qp_dual dual;
  qp_status status = qp_plan_build(t->in, t->class_of, t->types, &p, t->err);
  if (status) return status;
  qp_knap_choice *choice = calloc((size_t)p.knap.items + 1, sizeof *choice);
  status = choice ? qp_dual_solve(&p.knap, choice, &dual, t->err)
                  : qp_fail(t->err, QP_E_NOMEM, "no memory for the plan");
  free(choice);
  qp_plan_problem_free(&p);
  if (status) return status;
  *lambda = dual.lambda, *mu = dual.mu;
  return QP_OK;
}

/* Do by turns: plan the classes exactly, and move blocks between classes (Lloyd's algorithm). */
static void improve(typer *t) {
  enum { ROUNDS = 12 };
  for (unsigned round = 0; round < ROUNDS; round++) {
    qp_plan plan;
    qp_solution solution;
    double lambda = 0, mu = 0;
    t->types = renumber(t->class_of, t->in->model->layers, t->types);
    t->status = solve_classes(t->in, t->options, t->class_of, t->types, &plan, &solution, t->err);
    if (t->status) return;
    t->status = multipliers(t, &lambda, &mu);
    if (t->status) return qp_plan_free(&plan);
    bool changed = reassign(t, &plan, lambda, mu);
    if (!t->found || plan.loss < t->best.loss) {
      if (t->found) qp_plan_free(&t->best);
      t->best = plan;
      t->solution = solution;
      t->found = true;
    } else {
      qp_plan_free(&plan);
    }
    if (!changed) return;
  }
}

static qp_status run_types(const qp_plan_input *in, const qp_planner_options *o, qp_plan *free_plan,
                           qp_plan *out, qp_solution *solution, qp_error *err) {
  unsigned blocks = in->model->layers, n = in->model->linears;
  typer t = {.in = in, .options = o, .err = err};
  double *value = calloc(blocks, sizeof *value);
  t.class_of = calloc(blocks, sizeof *t.class_of);
  t.next = calloc(blocks, sizeof *t.next);
  bool ok = value && t.class_of && t.next;
  for (unsigned start = 0; ok && start < 3; start++) {
    t.types = o->block_types < blocks ? o->block_types : blocks;
    for (unsigned b = 0; b < blocks; b++) {
      value[b] = start == 1 ? b : 0;
      for (unsigned l = 0; start != 1 && l < n; l++)
        value[b] += start ? in->alpha[b * n + l] : (double)free_plan->linear[b * n + l].bytes;
    }
    split_by(value, blocks, t.types, t.class_of);
    improve(&t);
    if (o->block_types == 1) break;
  }
  free(value);
  free(t.class_of);
  free(t.next);
  if (!ok) return qp_fail(err, QP_E_NOMEM, "no memory for the plan");
  if (!t.found) return t.status;
  if (o->block_types > 1 || !t.best.proven) {
    t.best.bound = fmin(free_plan->bound, t.best.loss);
    t.best.gap = t.best.loss > 0 ? (t.best.loss - t.best.bound) / t.best.loss : 0;
    t.best.proven = t.best.gap == 0;
  }
  *solution = t.solution;
  *out = t.best;
  return QP_OK;
}

/* Blocks that have other linears cannot become one type: their number would say little. */
static qp_status check_types(const qp_plan_input *in, const qp_planner_options *o, qp_error *err) {
  if (!o->block_types || !in->model->kinds) return QP_OK;
  return qp_fail(err, QP_E_ARG,
                 "--block-types: blocks of %s are of %u kinds with other linears each: it is for "
                 "models of equal blocks",
                 in->model->name, in->model->kinds);
}

qp_status qp_planner_run(const qp_plan_input *in, const qp_planner_options *options, qp_plan *out,
                         qp_solution *solution, qp_error *err) {
  qp_plan plan = {0}, typed = {0};
  *solution = (qp_solution){0};
  qp_status status = check_types(in, options, err);
  if (!status) status = solve_classes(in, options, NULL, 0, &plan, solution, err);
  if (!status && options->block_types && qp_planner_block_types(&plan) > options->block_types) {
    status = run_types(in, options, &plan, &typed, solution, err);
    qp_plan_free(&plan);
    plan = typed;
  }
  if (!status) status = qp_plan_check(&plan, err);
  if (status) return qp_plan_free(&plan), status;
  *out = plan;
  return QP_OK;
}
