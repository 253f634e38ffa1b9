/* SPDX-License-Identifier: MIT */
/*
** Pareto fronts; see front.h.  First the lower convex hull, one Lagrangian problem a vertex; then,
** between neighbours whose losses are far apart, plans with limits in between, one exact solve
** each.
*/
#include "tuner/plan/front.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/list.h"
#include "tuner/base/output.h"
#include "tuner/plan/dual.h"
#include "tuner/plan/solve.h"

enum { MOST_POINTS = 1 << 16, MOST_DEPTH = 64 };
static const double equal = 1 - 1e-12; /* losses closer than this are the same, up to rounding */

/* A plan: its totals in the knapsack, and as the user sees it. */
typedef struct vertex {
  qp_knap_total total;
  qp_front_point point;
} vertex;

typedef struct tracer {
  const qp_plan_problem *p;
  bool by_bytes; /* else by ps */
  qp_knap_choice *choice;
  qp_front_line *line;
  uint64_t fixed_bytes;
  double deadline_s;
  /* The hull, with loss falling. */
  vertex *hull;
  size_t vertices, capacity;
  qp_status status;
} tracer;

static int64_t cost(const tracer *t, const vertex *v) {
  return t->by_bytes ? v->total.bytes : v->total.ps;
}

/* ---- A choice as a point ---- */

/* Sum the ps of the fastest launches with the quantizers of the choice. */
static int64_t fastest(const tracer *t) {
  int64_t ps = 0;
  for (unsigned i = 0; i < t->p->knap.items; i++) {
    const qp_knap_item *item = &t->p->knap.item[i], *full = &t->p->full.item[i];
    qp_knap_choice best;
    unsigned tag[QP_KNAP_LINEARS] = {0};
    qp_knap_quantizers(item, &t->choice[i], tag);
    bool found = qp_knap_fastest(full, tag, &best);
    ps += found ? qp_knap_sum(full, &best).ps : qp_knap_sum(item, &t->choice[i]).ps;
  }
  return ps;
}

/* t->choice, which adds up to 'total'. */
static vertex vertex_of(const tracer *t, qp_knap_total total) {
  const qp_plan_problem *p = t->p;
  int64_t ps = t->by_bytes ? fastest(t) : total.ps;
  return (vertex){.total = total,
                  .point = {.loss = total.loss,
                            .bits_per_weight = 8 * (double)total.bytes / (double)p->planned_weights,
                            .latency_ps = p->in->table ? ps + p->fixed_ps : -1,
                            .memory_bytes = (uint64_t)total.bytes + t->fixed_bytes}};
}

/* Find the plan of least weight loss + price cost. */
static vertex visit(const tracer *t, double weight, double price) {
  qp_knap_total total;
  double lambda = t->by_bytes ? 0 : price, mu = t->by_bytes ? price : 0;
  qp_dual_plan(&t->p->knap, weight, lambda, mu, t->choice, &total);
  return vertex_of(t, total);
}

/* ---- The hull ---- */

static void add_vertex(tracer *t, const vertex *v) {
  if (t->vertices == MOST_POINTS) t->status = QP_E_LIMIT;
  if (t->status) return;
  vertex *more = qp_list_room(t->hull, t->vertices, &t->capacity, sizeof *more);
  if (!more) {
    t->status = QP_E_NOMEM;
    return;
  }
  t->hull = more;
  t->hull[t->vertices++] = *v;
}

/* Find the vertices between a (more loss) and b (more cost), in order. */
static void halve(tracer *t, const vertex *a, const vertex *b, int depth) {
  double dy = a->total.loss - b->total.loss, dx = (double)(cost(t, b) - cost(t, a));
  if (t->status || depth == 0 || !(dx > 0) || !(dy > 0)) return;
  double price = dy / dx;
  vertex v = visit(t, 1, price);
  double line = a->total.loss + price * (double)cost(t, a);
  double found = v.total.loss + price * (double)cost(t, &v);
  if (!(found < line - 1e-11 * fabs(line))) return;
  if (cost(t, &v) <= cost(t, a) || cost(t, &v) >= cost(t, b)) return;
  halve(t, a, &v, depth - 1);
  add_vertex(t, &v);
  halve(t, &v, b, depth - 1);
}

/* From the cheapest plan there is (of these the best) to the best there is (the cheapest). */
static void trace_hull(tracer *t) {
  vertex best = visit(t, 1, 0), cheap = visit(t, 0, 1);
  double range = (double)(cost(t, &best) - cost(t, &cheap));
  double drop = cheap.total.loss - best.total.loss;
  if (range > 0 && drop > 0) { /* ends: a little weight on the other axis breaks ties */
    vertex v = visit(t, 1, 1e-9 * drop / range);
    if (v.total.loss <= best.total.loss * (1 + 1e-12)) best = v;
    v = visit(t, 1, 1e6 * drop / range);
    if (cost(t, &v) <= cost(t, &cheap)) cheap = v;
  }
  t->vertices = 0;
  add_vertex(t, &cheap);
  halve(t, &cheap, &best, MOST_DEPTH);
  if (cost(t, &best) > cost(t, &cheap)) add_vertex(t, &best);
}

/* ---- Between the hull's vertices ---- */

/* How much the loss falls from a to b, of b's. */
static double step(const vertex *a, const vertex *b) {
  return (a->total.loss - b->total.loss) / fmax(b->total.loss, 1e-300);
}

static bool is_better(const vertex *a, const vertex *b) {
  return a->total.loss < b->total.loss * equal;
}

/* Append a point, unless it costs more than the last for no less loss. */
static void add_point(tracer *t, const vertex *v) {
  qp_front_line *line = t->line;
  if (line->points && !(v->point.loss < line->point[line->points - 1].loss * equal)) return;
  if (line->points == MOST_POINTS) t->status = QP_E_LIMIT;
  if (t->status) return;
  qp_front_point *more = qp_list_room(line->point, line->points, &line->capacity, sizeof *more);
  if (!more) {
    t->status = QP_E_NOMEM;
    return;
  }
  line->point = more;
  line->point[line->points++] = v->point;
}

/* Find the best plan of at most this cost; false: it is not proven, or no time is left. */
static bool solve_within(tracer *t, int64_t most, vertex *out) {
  qp_knap k = t->p->knap;
  qp_solution s;
  qp_solve_options options = {.time_limit_s = t->deadline_s - qp_seconds()};
  if (t->status || options.time_limit_s <= 0) return false;
  k.ps_limit = t->by_bytes ? QP_KNAP_NO_LIMIT : most;
  k.bytes_limit = t->by_bytes ? most : QP_KNAP_NO_LIMIT;
  t->status = qp_solve(&k, &options, t->choice, &s, NULL);
  if (t->status || s.outcome != QP_SOLVE_PROVEN) return false;
  *out = vertex_of(t, s.total);
  return true;
}

/*
** Points between a and b, until steps are small or there is none.  No plan of a cost up to 'low' is
** better than a.
*/
static void refine(tracer *t, const vertex *a, int64_t low, const vertex *b) {
  vertex v;
  int64_t middle = low + (cost(t, b) - low) / 2;
  if (t->status || step(a, b) <= QP_FRONT_STEP || cost(t, b) - low <= 1) return;
  bool solved = solve_within(t, middle, &v);
  if (solved && is_better(&v, a)) {
    refine(t, a, low, &v);
    add_point(t, &v);
    refine(t, &v, middle, b);
    return;
  }
  if (solved) solved = solve_within(t, cost(t, b) - 1, &v); /* b's neighbour, if it has one */
  if (solved && is_better(&v, a)) {
    refine(t, a, middle, &v);
    add_point(t, &v);
  }
  if (!solved) t->line->step = fmax(t->line->step, step(a, b));
}

static void trace_line(tracer *t) {
  trace_hull(t);
  t->line->step = QP_FRONT_STEP;
  /* It is kept in the line. NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
  for (size_t i = 0; i < t->vertices && !t->status; i++) {
    if (i) refine(t, &t->hull[i - 1], cost(t, &t->hull[i - 1]), &t->hull[i]);
    add_point(t, &t->hull[i]);
  }
}

/* ---- Both fronts ---- */

/* One front: its axis has a limit, so that options are pruned by it, but a limit of no effect. */
static qp_status trace(const qp_plan_input *in, bool by_bytes, double deadline_s, qp_front_line *to,
                       qp_error *err) {
  qp_plan_input free_input = *in;
  qp_plan_problem p;
  free_input.memory_limit_bytes = -1;
  free_input.latency_limit_ps = by_bytes ? -1 : INT64_MAX / 4;
  free_input.bits_limit = by_bytes ? 64 : -1;
  qp_status status = qp_plan_build(&free_input, NULL, 0, &p, err);
  if (status) return status;
  tracer t = {.p = &p,
              .by_bytes = by_bytes,
              .line = to,
              .fixed_bytes = (uint64_t)p.fixed_bytes,
              .deadline_s = deadline_s};
  t.choice = calloc((size_t)p.knap.items + 1, sizeof *t.choice);
  if (!t.choice) t.status = QP_E_NOMEM;
  if (!t.status) trace_line(&t);
  free(t.choice);
  free(t.hull);
  qp_plan_problem_free(&p);
  return t.status ? qp_fail(err, t.status, "no room for the Pareto front") : QP_OK;
}

qp_status qp_front_trace(const qp_plan_input *in, double time_limit_s, qp_front *out,
                         qp_error *err) {
  qp_front front = {0};
  qp_status status = QP_OK;
  double deadline_s = time_limit_s > 0 ? qp_seconds() + time_limit_s : INFINITY;
  memcpy(front.model, in->model->name, sizeof front.model);
  if (in->table) memcpy(front.gpu, in->table->gpu, sizeof front.gpu);
  if (in->table) status = trace(in, false, deadline_s, &front.latency, err);
  if (!status) status = trace(in, true, deadline_s, &front.bits, err);
  if (status) return qp_front_free(&front), status;
  *out = front;
  return QP_OK;
}

void qp_front_free(qp_front *f) {
  free(f->latency.point);
  free(f->bits.point);
  *f = (qp_front){0};
}
