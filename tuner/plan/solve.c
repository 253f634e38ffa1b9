/* SPDX-License-Identifier: MIT */
/* The exact solver, whose method solve.h describes. */
#include "tuner/plan/solve.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/base/output.h"
#include "tuner/plan/dominance.h"
#include "tuner/plan/dual.h"

enum { DEFAULT_STATES = 8 << 20, MOST_NEAR = 1 << 20 };
static const double widen = 1.7;

typedef struct solver {
  const qp_knap *k;
  qp_solve_options options;
  double started;
  qp_knap_choice *plan, *trial;
  qp_solution out;
  bool found;
} solver;

static double deadline(const solver *s) {
  return s->options.time_limit_s > 0 ? s->started + s->options.time_limit_s : 0;
}

static bool within(const qp_knap *k, const qp_knap_total *t) {
  return t->ps <= k->ps_limit && t->bytes <= k->bytes_limit;
}

static void free_lists(qp_near_list *list, unsigned n) {
  for (unsigned i = 0; list && i < n; i++) free(list[i].near);
  free(list);
}

static qp_status near_lists(const solver *s, const qp_dual *d, double delta, qp_near_list **out) {
  const qp_knap *k = s->k;
  qp_near_list *list = calloc((size_t)k->items + 1, sizeof *list);
  if (!list) return QP_E_NOMEM;
  qp_status status = QP_OK;
  for (unsigned i = 0; i < k->items && !status; i++)
    status = qp_knap_within(&k->item[i], d->lambda, d->mu, delta, k->ps_limit != QP_KNAP_NO_LIMIT,
                            k->bytes_limit != QP_KNAP_NO_LIMIT, MOST_NEAR, &list[i].near,
                            &list[i].count);
  if (status) return free_lists(list, k->items), status;
  *out = list;
  return QP_OK;
}

/* Run one DP over the choices within delta; a better plan becomes the solver's. */
static qp_status one_round(solver *s, const qp_dual *dual, double delta) {
  qp_near_list *list = NULL;
  double reach = delta + dual->margin;
  qp_status status = near_lists(s, dual, reach, &list);
  if (status) return status;
  qp_dominance d = {.k = s->k,
                    .list = list,
                    .lambda = dual->lambda,
                    .mu = dual->mu,
                    .delta = reach,
                    .bound = dual->bound,
                    .margin = dual->margin,
                    .most_loss = s->found ? s->out.total.loss : INFINITY,
                    .deadline_s = deadline(s),
                    .most_states = s->options.most_states};
  status = qp_dominance_run(&d, s->trial);
  free_lists(list, s->k->items);
  s->out.rounds++;
  if (d.states > s->out.states) s->out.states = d.states;
  if (status == QP_E_NOMEM || !d.found) return status;
  qp_knap_total total = qp_knap_plan_sum(s->k, s->trial);
  if (within(s->k, &total) && (!s->found || total.loss < s->out.total.loss)) {
    s->found = true;
    s->out.total = total;
    memcpy(s->plan, s->trial, s->k->items * sizeof *s->plan);
  }
  return status;
}

/* Widen delta until the best plan lies within it.  The plan that the dual met bounds how far. */
static qp_status close_gap(solver *s, const qp_dual *dual) {
  double delta = fmax(1e-5 * fabs(dual->bound), 4 * dual->margin);
  if (s->found) delta = fmax(delta, (s->out.total.loss - dual->bound) / 64);
  bool proven = false;
  while (!proven) {
    double gap = s->found ? s->out.total.loss - dual->bound : INFINITY;
    if (gap <= 2 * dual->margin) break;
    if (gap <= 3 * delta) delta = gap; /* one round to the end costs less than two on the way */
    qp_status status = one_round(s, dual, fmin(delta, gap));
    if (status == QP_E_LIMIT) {
      s->out.outcome = s->found ? QP_SOLVE_STOPPED : QP_SOLVE_UNKNOWN;
      return QP_OK;
    }
    if (status) return status;
    s->out.bound = fmax(s->out.bound, dual->bound + fmin(delta, gap) - dual->margin);
    proven = s->found && s->out.total.loss <= dual->bound + delta;
    delta *= widen;
  }
  s->out.outcome = QP_SOLVE_PROVEN;
  s->out.bound = s->out.total.loss;
  return QP_OK;
}

/* ---- Infeasible limits ---- */

/* Find the plan of least ps (or bytes), and of these one with little loss. */
static void cheapest_of_one(solver *s, bool ps) {
  qp_knap_total least, best;
  double unit = 1;
  qp_dual_plan(s->k, 0, ps, !ps, NULL, &least);
  for (int i = 0; i < 3; i++) { /* a unit must outweigh the loss, but not drown it in rounding */
    unit = fmax(1e-6, least.loss) * pow(1e3, i);
    qp_dual_plan(s->k, 1, ps ? unit : 0, ps ? 0 : unit, s->plan, &best);
    if (ps ? best.ps == least.ps : best.bytes == least.bytes) break;
  }
  if (ps ? best.ps != least.ps : best.bytes != least.bytes)
    qp_dual_plan(s->k, 0, ps, !ps, s->plan, &best);
  s->out.total = best;
}

static void report_infeasible(solver *s) {
  const qp_knap_total *t = &s->out.total;
  s->out.outcome = QP_SOLVE_INFEASIBLE;
  s->out.bound = INFINITY;
  s->out.ps_over = t->ps > s->k->ps_limit ? t->ps - s->k->ps_limit : 0;
  s->out.bytes_over = t->bytes > s->k->bytes_limit ? t->bytes - s->k->bytes_limit : 0;
}

/* A copy of the problem whose loss is ps, without its limit on ps. */
static qp_status copy_for_ps(const qp_knap *k, qp_knap *out, void **memory) {
  size_t options = 0, lists = 0, modes = 0;
  for (unsigned i = 0; i < k->items; i++) {
    lists += k->item[i].lists, modes += k->item[i].modes;
    for (unsigned l = 0; l < k->item[i].lists; l++) options += k->item[i].list[l].count;
  }
  if (!k->items) return QP_E_NOMEM;
  char *block = malloc(options * sizeof(qp_knap_option) + lists * sizeof(qp_knap_list) +
                       modes * sizeof(qp_knap_mode) + k->items * sizeof(qp_knap_item));
  if (!block) return QP_E_NOMEM;
  qp_knap_option *option = (qp_knap_option *)block;
  qp_knap_list *list = (qp_knap_list *)(option + options);
  qp_knap_mode *mode = (qp_knap_mode *)(list + lists);
  qp_knap_item *item = (qp_knap_item *)(mode + modes);
  *out = (qp_knap){k->items, item, QP_KNAP_NO_LIMIT, k->bytes_limit};
  for (unsigned i = 0; i < k->items; i++) {
    const qp_knap_item *from = &k->item[i];
    item[i] = *from;
    item[i].list = list, item[i].mode = mode;
    for (unsigned l = 0; l < from->lists; l++) {
      *list++ = (qp_knap_list){from->list[l].count, option};
      for (unsigned o = 0; o < from->list[l].count; o++) {
        *option = from->list[l].option[o];
        option->loss = (double)option->ps;
        option++;
      }
    }
    for (unsigned m = 0; m < from->modes; m++) {
      *mode = from->mode[m];
      mode->offset_loss = (double)mode->offset_ps;
      mode++;
    }
  }
  *memory = block;
  return QP_OK;
}

static qp_status run(solver *s, qp_error *err);

/* Two limits, and the dual met no plan within both: the least ps within bytes_limit decides. */
static qp_status fastest_within_bytes(solver *s, qp_error *err) {
  qp_knap swapped;
  void *memory = NULL;
  qp_status status = copy_for_ps(s->k, &swapped, &memory);
  if (status) return qp_fail(err, status, "no memory for the plan");
  solver inner = {.k = &swapped,
                  .options = s->options,
                  .started = s->started,
                  .plan = s->plan,
                  .trial = s->trial};
  status = run(&inner, err);
  free(memory);
  if (status) return status;
  s->out.evaluations += inner.out.evaluations, s->out.rounds += inner.out.rounds;
  if (inner.found) {
    s->out.total = qp_knap_plan_sum(s->k, s->plan);
    s->found = within(s->k, &s->out.total);
  }
  if (!s->found && inner.out.outcome == QP_SOLVE_PROVEN) report_infeasible(s);
  if (!s->found && inner.out.outcome != QP_SOLVE_PROVEN) s->out.outcome = QP_SOLVE_UNKNOWN;
  return QP_OK;
}

/* ---- The whole ---- */

static qp_status run(solver *s, qp_error *err) {
  const qp_knap *k = s->k;
  qp_knap_total least;
  qp_dual dual;
  qp_dual_plan(k, 0, 0, 1, NULL, &least);
  if (least.bytes > k->bytes_limit) return cheapest_of_one(s, false), report_infeasible(s), QP_OK;
  qp_dual_plan(k, 0, 1, 0, NULL, &least);
  if (least.ps > k->ps_limit) return cheapest_of_one(s, true), report_infeasible(s), QP_OK;
  qp_status status = qp_dual_solve(k, s->plan, &dual, err);
  if (status) return status;
  s->out.evaluations += dual.evaluations;
  s->out.bound = dual.bound - dual.margin;
  if ((s->found = dual.found)) {
    s->out.total = qp_knap_plan_sum(k, s->plan);
  } else {
    status = fastest_within_bytes(s, err);
    if (status || !s->found) return status;
  }
  status = close_gap(s, &dual);
  return status ? qp_fail(err, status, "no memory for the plan's states") : QP_OK;
}

qp_status qp_solve(const qp_knap *k, const qp_solve_options *options, qp_knap_choice *plan,
                   qp_solution *out, qp_error *err) {
  qp_status status = qp_knap_check(k, err);
  if (status) return status;
  solver s = {.k = k, .started = qp_seconds(), .plan = plan};
  if (options) s.options = *options;
  if (!s.options.most_states) s.options.most_states = DEFAULT_STATES;
  s.trial = calloc((size_t)k->items + 1, sizeof *s.trial);
  if (!s.trial) return qp_fail(err, QP_E_NOMEM, "no memory for the plan");
  status = run(&s, err);
  free(s.trial);
  if (status) return status;
  s.out.seconds = qp_seconds() - s.started;
  *out = s.out;
  return QP_OK;
}
