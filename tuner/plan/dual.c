/* SPDX-License-Identifier: MIT */
/* Bounds the planner's problem by its Lagrangian, as dual.h describes. */
#include "tuner/plan/dual.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PLANES = 96, RAY_STEPS = 35 };

double qp_dual_plan(const qp_knap *k, double weight, double lambda, double mu, qp_knap_choice *plan,
                    qp_knap_total *total) {
  double sum = 0;
  qp_knap_total t = {0}, one;
  for (unsigned i = 0; i < k->items; i++) {
    sum += qp_knap_cheapest(&k->item[i], weight, lambda, mu, plan ? &plan[i] : NULL, &one);
    t.loss += one.loss, t.ps += one.ps, t.bytes += one.bytes;
  }
  if (total) *total = t;
  return sum;
}

/* The plane g <= loss + lambda ps + mu bytes of a plan, whose ps and bytes count what is over the
   limits. */
typedef struct plane {
  double loss, ps, bytes;
} plane;

typedef struct dual {
  const qp_knap *k;
  bool by_ps, by_bytes;
  qp_knap_choice *best, *now; /* The best plan within the limits, and that of the last
                                 evaluation. */
  qp_dual out;
  unsigned planes;
  plane plane[MAX_PLANES];
  double most_lambda, most_mu, most_loss;
} dual;

static void evaluate(dual *d, double lambda, double mu) {
  const qp_knap *k = d->k;
  qp_knap_total t;
  double g = qp_dual_plan(k, 1, lambda, mu, d->now, &t), size = fabs(g);
  plane p = {.loss = t.loss};
  bool within = true;
  if (d->by_ps) {
    g -= lambda * (double)k->ps_limit;
    size += lambda * (double)k->ps_limit;
    p.ps = (double)(t.ps - k->ps_limit);
    within = t.ps <= k->ps_limit;
  }
  if (d->by_bytes) {
    g -= mu * (double)k->bytes_limit;
    size += mu * (double)k->bytes_limit;
    p.bytes = (double)(t.bytes - k->bytes_limit);
    within = within && t.bytes <= k->bytes_limit;
  }
  d->out.evaluations++;
  if (d->planes < MAX_PLANES) d->plane[d->planes++] = p;
  if (g > d->out.bound) {
    d->out.bound = g, d->out.lambda = lambda, d->out.mu = mu;
    d->out.margin = 8 * DBL_EPSILON * (k->items + 4) * size;
  }
  if (within && (!d->out.found || t.loss < d->out.best.loss)) {
    d->out.found = true;
    d->out.best = t;
    memcpy(d->best, d->now, k->items * sizeof *d->best);
  }
}

/* Find max over mu in [0, most] of min over lines (a + b mu), by the meeting point of two lines. */
static double best_mu(const double *a, const double *b, unsigned n, double most, double *at) {
  double lo = 0, hi = most, mu = 0;
  for (int step = 0; step < 200; step++) {
    unsigned low = 0; /* The lowest line at mu, of equals the one that rises least. */
    for (unsigned i = 1; i < n; i++) {
      double v = a[i] + b[i] * mu, w = a[low] + b[low] * mu;
      if (v < w || (v == w && b[i] < b[low])) low = i;
    }
    if (b[low] <= 0) hi = mu;
    if (b[low] > 0) lo = mu;
    if (mu == 0 && b[low] <= 0) break;
    if (hi - lo <= 1e-13 * most) break;
    /* Towards the line that is lowest on the other side. */
    unsigned other = 0;
    double end = b[low] > 0 ? hi : lo;
    for (unsigned i = 1; i < n; i++)
      if (a[i] + b[i] * end < a[other] + b[other] * end) other = i;
    if (b[low] > 0 && b[other] > 0) {
      mu = hi;
      break;
    }
    double slope = b[other] - b[low];
    double next = slope != 0 ? (a[low] - a[other]) / slope : mu;
    if (!(next > lo && next < hi)) next = lo + (hi - lo) / 2;
    if (next == mu) break;
    mu = next;
  }
  double least = INFINITY;
  for (unsigned i = 0; i < n; i++) least = fmin(least, a[i] + b[i] * mu);
  *at = mu;
  return least;
}

/* Find the min over planes at lambda, maximised over mu. */
static double master_at(const dual *d, double lambda, double *mu) {
  double a[MAX_PLANES], b[MAX_PLANES];
  for (unsigned i = 0; i < d->planes; i++) {
    a[i] = d->plane[i].loss + lambda * d->plane[i].ps;
    b[i] = d->plane[i].bytes;
  }
  return best_mu(a, b, d->planes, d->by_bytes ? d->most_mu : 0, mu);
}

/* Where the planes' minimum is highest; one limit: lambda or mu stays 0. */
static double master(const dual *d, double *lambda, double *mu) {
  *lambda = 0;
  if (!d->by_ps) return master_at(d, 0, mu);
  if (!d->by_bytes) {
    double a[MAX_PLANES], b[MAX_PLANES];
    for (unsigned i = 0; i < d->planes; i++) a[i] = d->plane[i].loss, b[i] = d->plane[i].ps;
    *mu = 0;
    return best_mu(a, b, d->planes, d->most_lambda, lambda);
  }
  static const double golden = 0.6180339887498949;
  double lo = 0, hi = d->most_lambda, m;
  double x = hi - golden * (hi - lo), y = lo + golden * (hi - lo);
  double fx = master_at(d, x, &m), fy = master_at(d, y, &m);
  for (int i = 0; i < 80 && hi - lo > 1e-12 * d->most_lambda; i++) {
    if (fx < fy) {
      lo = x, x = y, fx = fy;
      y = lo + golden * (hi - lo);
      fy = master_at(d, y, &m);
    } else {
      hi = y, y = x, fy = fx;
      x = hi - golden * (hi - lo);
      fx = master_at(d, x, &m);
    }
  }
  *lambda = (lo + hi) / 2;
  return master_at(d, *lambda, mu);
}

static bool is_same(const plane *a, const plane *b) {
  return a->loss == b->loss && a->ps == b->ps && a->bytes == b->bytes;
}

static void climb(dual *d) {
  while (d->planes < MAX_PLANES) {
    double lambda, mu, above = master(d, &lambda, &mu), before = d->out.bound;
    if (above - before <= 1e-7 * fabs(before) + d->out.margin) return;
    evaluate(d, lambda, mu);
    if (d->out.bound > d->most_loss) {
      d->out.infeasible = true;
      return;
    }
    /* A plane that is known: nothing is left to gain. */
    for (unsigned i = 0; i + 1 < d->planes; i++)
      if (is_same(&d->plane[i], &d->plane[d->planes - 1])) return;
  }
}

/*
** Plans within the limits lie further along the ray from the origin through the best multipliers.
*/
static void walk_ray(dual *d) {
  double lambda = d->out.lambda, mu = d->out.mu, step = 1e-4;
  for (int i = 0; i < RAY_STEPS && !d->out.found; i++) {
    evaluate(d, lambda * (1 + step), mu * (1 + step));
    step *= 1.6;
  }
}

static void set_box(dual *d) {
  /* Multipliers at which the cheapest unit of a limit outweighs all loss there is. */
  qp_knap_total least_loss, least;
  qp_dual_plan(d->k, 1, 0, 0, NULL, &least_loss);
  d->most_loss = 0;
  for (unsigned i = 0; i < d->k->items; i++) {
    const qp_knap_item *item = &d->k->item[i];
    for (unsigned l = 0; l < item->lists; l++) {
      double most = 0;
      for (unsigned o = 0; o < item->list[l].count; o++)
        most = fmax(most, item->list[l].option[o].loss);
      d->most_loss += most;
    }
    for (unsigned m = 0; m < item->modes; m++) d->most_loss += fmax(0, item->mode[m].offset_loss);
  }
  qp_dual_plan(d->k, 0, 1, 0, NULL, &least);
  double ps = fmax(1, (double)(least_loss.ps - least.ps));
  qp_dual_plan(d->k, 0, 0, 1, NULL, &least);
  double bytes = fmax(1, (double)(least_loss.bytes - least.bytes));
  double loss = fmax(d->most_loss, DBL_MIN);
  d->most_lambda = 1e4 * loss / ps;
  d->most_mu = 1e4 * loss / bytes;
}

qp_status qp_dual_solve(const qp_knap *k, qp_knap_choice *plan, qp_dual *out, qp_error *err) {
  dual *d = calloc(1, sizeof *d);
  qp_knap_choice *now = calloc((size_t)k->items + 1, sizeof *now);
  if (!d || !now) {
    free(d);
    free(now);
    return qp_fail(err, QP_E_NOMEM, "no memory for the plan's bound");
  }
  d->k = k, d->best = plan, d->now = now;
  d->by_ps = k->ps_limit != QP_KNAP_NO_LIMIT;
  d->by_bytes = k->bytes_limit != QP_KNAP_NO_LIMIT;
  d->out.bound = -INFINITY;
  set_box(d);
  evaluate(d, 0, 0);
  if (!d->out.found || d->plane[0].ps > 0 || d->plane[0].bytes > 0) {
    if (d->by_ps) evaluate(d, d->most_lambda / 1e2, 0);
    if (d->by_bytes) evaluate(d, 0, d->most_mu / 1e2);
    if (d->by_ps && d->by_bytes) evaluate(d, d->most_lambda / 1e2, d->most_mu / 1e2);
    climb(d);
    if (!d->out.infeasible && !d->out.found) walk_ray(d);
  }
  *out = d->out;
  free(now);
  free(d);
  return QP_OK;
}
