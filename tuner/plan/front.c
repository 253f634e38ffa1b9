/* SPDX-License-Identifier: MIT */
/* Pareto fronts; see front.h. */
#include "tuner/plan/front.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/output.h"
#include "tuner/plan/dual.h"

enum { MOST_POINTS = 1 << 16, MOST_DEPTH = 64 };

/* A vertex: its totals in the knapsack, and as the user sees it. */
typedef struct vertex {
  qp_knap_total total;
  qp_front_point point;
} vertex;

typedef struct tracer {
  const qp_plan_problem *p;
  const qp_knap *knap; /* of p: the full one by ps */
  bool by_bytes;       /* else by ps */
  qp_knap_choice *choice;
  qp_front_line *line;
  uint64_t fixed_bytes;
  qp_status status;
} tracer;

static double cost(const tracer *t, const vertex *v) {
  return t->by_bytes ? (double)v->total.bytes : (double)v->total.ps;
}

/* ps of the fastest launches with the quantizers of the choice. */
static int64_t fastest(const tracer *t) {
  int64_t ps = 0;
  for (unsigned i = 0; i < t->knap->items; i++) {
    const qp_knap_item *item = &t->knap->item[i];
    const qp_knap_choice *c = &t->choice[i];
    unsigned tag[QP_KNAP_LINEARS] = {0}, at = 0;
    for (unsigned k = 0; k < c->launches; k++) {
      const qp_knap_mode *m = &item->mode[c->mode[k]];
      for (unsigned l = 0, part = 0; l < item->linears; l++) {
        if (!(m->mask >> l & 1)) continue;
        tag[l] = item->list[m->list[part]].option[c->option[at + part]].tag / QP_KNAP_TAGS;
        if (m->parts > 1) part++;
      }
      at += m->parts;
    }
    qp_knap_choice best;
    const qp_knap_item *full = &t->p->full.item[i];
    bool found = qp_knap_fastest(full, tag, &best);
    ps += found ? qp_knap_sum(full, &best).ps : qp_knap_sum(item, c).ps;
  }
  return ps;
}

static vertex visit(const tracer *t, double weight, double price) {
  vertex v;
  const qp_plan_problem *p = t->p;
  double lambda = t->by_bytes ? 0 : price, mu = t->by_bytes ? price : 0;
  qp_dual_plan(t->knap, weight, lambda, mu, t->choice, &v.total);
  int64_t ps = t->by_bytes ? fastest(t) : v.total.ps;
  v.point =
      (qp_front_point){.loss = v.total.loss,
                       .bits_per_weight = 8 * (double)v.total.bytes / (double)p->planned_weights,
                       .latency_ps = p->in->table ? ps + p->fixed_ps : -1,
                       .memory_bytes = (uint64_t)v.total.bytes + t->fixed_bytes};
  return v;
}

static void append(tracer *t, const vertex *v) {
  qp_front_line *line = t->line;
  if (line->points == MOST_POINTS) t->status = QP_E_LIMIT;
  if (t->status) return;
  if (line->points == line->capacity) {
    size_t capacity = line->capacity ? 2 * line->capacity : 256;
    qp_front_point *more = realloc(line->point, capacity * sizeof *more);
    if (!more) {
      t->status = QP_E_NOMEM;
      return;
    }
    line->point = more;
    line->capacity = capacity;
  }
  line->point[line->points++] = v->point;
}

/* Vertices between a (more loss) and b (more cost), in order. */
static void halve(tracer *t, const vertex *a, const vertex *b, int depth) {
  double dy = a->total.loss - b->total.loss, dx = cost(t, b) - cost(t, a);
  if (t->status || depth == 0 || !(dx > 0) || !(dy > 0)) return;
  double price = dy / dx;
  vertex v = visit(t, 1, price);
  double line = a->total.loss + price * cost(t, a), found = v.total.loss + price * cost(t, &v);
  if (!(found < line - 1e-11 * fabs(line))) return;
  if (!(cost(t, &v) > cost(t, a)) || !(cost(t, &v) < cost(t, b))) return;
  halve(t, a, &v, depth - 1);
  append(t, &v);
  halve(t, &v, b, depth - 1);
}

/* The cheapest plan there is, of these the best; and the best there is, of these the cheapest. */
static void trace_line(tracer *t) {
  vertex best = visit(t, 1, 0), cheap = visit(t, 0, 1);
  double range = cost(t, &best) - cost(t, &cheap);
  double drop = cheap.total.loss - best.total.loss;
  if (range > 0 && drop > 0) { /* ends: a little weight on the other axis breaks ties */
    vertex v = visit(t, 1, 1e-9 * drop / range);
    if (v.total.loss <= best.total.loss * (1 + 1e-12)) best = v;
    v = visit(t, 1, 1e6 * drop / range);
    if (cost(t, &v) <= cost(t, &cheap)) cheap = v;
  }
  append(t, &cheap);
  halve(t, &cheap, &best, MOST_DEPTH);
  if (cost(t, &best) > cost(t, &cheap)) append(t, &best);
}

qp_status qp_front_trace(const qp_plan_input *in, qp_front *out, qp_error *err) {
  qp_plan_input free_input = *in;
  qp_plan_problem p;
  qp_front front = {0};
  free_input.latency_limit_ps = free_input.memory_limit_bytes = -1;
  free_input.bits_limit = 64; /* no limit, but bytes count: options are pruned by them too */
  qp_status st = qp_plan_build(&free_input, NULL, 0, &p, err);
  if (st) return st;
  tracer t = {.p = &p, .fixed_bytes = (uint64_t)p.fixed_bytes};
  t.choice = calloc((size_t)p.knap.items + 1, sizeof *t.choice);
  if (!t.choice) t.status = QP_E_NOMEM;
  memcpy(front.model, in->model->name, sizeof front.model);
  if (in->table) memcpy(front.gpu, in->table->gpu, sizeof front.gpu);
  for (int by_bytes = in->table ? 0 : 1; by_bytes < 2 && !t.status; by_bytes++) {
    t.by_bytes = by_bytes;
    t.knap = by_bytes ? &p.knap : &p.full;
    t.line = by_bytes ? &front.bits : &front.latency;
    trace_line(&t);
  }
  free(t.choice);
  qp_plan_problem_free(&p);
  if (t.status) {
    qp_front_free(&front);
    return qp_fail(err, t.status, "no room for the Pareto front");
  }
  *out = front;
  return QP_OK;
}

void qp_front_free(qp_front *f) {
  free(f->latency.point);
  free(f->bits.point);
  *f = (qp_front){0};
}

/* ---- JSON ---- */

static void print_point(const qp_front_point *p, qp_text *t) {
  qp_text_add(t, "{\"loss\": %.17g, \"bits_per_weight\": %.17g, \"memory_bytes\": %llu", p->loss,
              p->bits_per_weight, (unsigned long long)p->memory_bytes);
  if (p->latency_ps > 0)
    qp_text_add(t, ", \"latency_ps\": %lld, \"latency_s\": %.17g, \"tokens_per_s\": %.9g",
                (long long)p->latency_ps, (double)p->latency_ps * 1e-12,
                1e12 / (double)p->latency_ps);
  qp_text_add(t, "}");
}

static void print_line(const char *name, const qp_front_line *line, qp_text *t) {
  qp_text_add(t, " \"%s\": [", name);
  for (size_t i = 0; i < line->points; i++) {
    qp_text_add(t, "%s\n  ", i ? "," : "");
    print_point(&line->point[i], t);
  }
  qp_text_add(t, "%s],\n", line->points ? "\n " : "");
}

static qp_front_point point_of(const qp_plan *p) {
  return (qp_front_point){p->loss, p->bits_per_weight, p->latency_ps, p->memory_bytes};
}

static void print_name(const char *name, const char *value, qp_text *t) {
  qp_text_add(t, " \"%s\": ", name);
  if (!*value) qp_text_add(t, "null,\n");
  if (!*value) return;
  qp_text_add(t, "\"");
  for (; *value; value++)
    if (*value != '"' && *value != '\\' && (unsigned char)*value >= 0x20)
      qp_text_append(t, value, 1);
  qp_text_add(t, "\",\n");
}

void qp_front_print(const qp_front *f, const qp_plan *chosen, qp_text *to) {
  qp_text_add(to, "{\n \"schema\": \"qpal-front\",\n \"version\": 1,\n");
  print_name("model", f->model, to);
  print_name("gpu", f->gpu, to);
  print_line("latency", &f->latency, to);
  print_line("bits", &f->bits, to);
  qp_text_add(to, " \"chosen\": ");
  qp_front_point p = chosen ? point_of(chosen) : (qp_front_point){0};
  if (chosen)
    print_point(&p, to);
  else
    qp_text_add(to, "null");
  qp_text_add(to, "\n}\n");
}

/* ---- Drawing ---- */

enum { WIDTH = 520, HEIGHT = 360, MARGIN = 60 };

typedef struct axes {
  double x0, lo, hi, low, high; /* x0: left end of the plot; cost and log10 of loss */
  bool latency;
} axes;

static double cost_of(const axes *a, const qp_front_point *p) {
  return a->latency ? (double)p->latency_ps * 1e-6 : p->bits_per_weight;
}

static double at_x(const axes *a, double v) {
  return a->x0 + (a->hi > a->lo ? (v - a->lo) / (a->hi - a->lo) : 0.5) * (WIDTH - MARGIN - 20);
}

static double at_y(const axes *a, double loss) {
  double v = log10(fmax(loss, 1e-300));
  return 30 + (a->high > a->low ? (a->high - v) / (a->high - a->low) : 0.5) * (HEIGHT - 80);
}

static void draw_ticks(const axes *a, qp_text *t) {
  for (int i = 0; i <= 4; i++) {
    double v = a->lo + (a->hi - a->lo) * i / 4;
    double loss = pow(10, a->low + (a->high - a->low) * i / 4);
    qp_text_add(t, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.4g</text>\n", at_x(a, v),
                HEIGHT - 32, v);
    qp_text_add(t, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%.2g</text>\n", a->x0 - 6,
                at_y(a, loss) + 4, loss);
  }
}

static void draw_line(const qp_front_line *line, const qp_plan *chosen, bool latency, double x0,
                      qp_text *t) {
  axes a = {.x0 = x0, .latency = latency};
  double least = INFINITY;
  for (size_t i = 0; i < line->points; i++)
    if (line->point[i].loss > 0) least = fmin(least, line->point[i].loss);
  const qp_front_point *first = &line->point[0], *last = &line->point[line->points - 1];
  a.lo = cost_of(&a, first), a.hi = cost_of(&a, last);
  a.low = log10(fmin(least, 1e300)), a.high = log10(fmax(first->loss, 1e-300));
  qp_text_add(t, "<path fill=\"none\" stroke=\"#36c\" stroke-width=\"1.5\" d=\"");
  for (size_t i = 0; i < line->points; i++)
    qp_text_add(t, "%c%.2f %.2f", i ? 'L' : 'M', at_x(&a, cost_of(&a, &line->point[i])),
                at_y(&a, fmax(line->point[i].loss, least)));
  qp_text_add(t, "\"/>\n");
  draw_ticks(&a, t);
  qp_text_add(t, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
              x0 + (WIDTH - MARGIN - 20) / 2.0, HEIGHT - 12,
              latency ? "latency, us" : "bits per weight");
  qp_text_add(t, "<text x=\"%.1f\" y=\"16\">loss</text>\n", x0 - 40);
  qp_front_point p = chosen ? point_of(chosen) : (qp_front_point){0};
  if (!chosen || (latency && p.latency_ps < 0)) return;
  qp_text_add(t,
              "<circle cx=\"%.2f\" cy=\"%.2f\" r=\"5\" fill=\"#d33\"><title>chosen: loss %.6g"
              "</title></circle>\n",
              at_x(&a, cost_of(&a, &p)), at_y(&a, p.loss), p.loss);
}

void qp_front_svg(const qp_front *f, const qp_plan *chosen, qp_text *to) {
  int plots = (f->latency.points > 0) + (f->bits.points > 0);
  double x = MARGIN;
  qp_text_add(to,
              "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
              "font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%%\" "
              "height=\"100%%\" fill=\"white\"/>\n",
              WIDTH * (plots ? plots : 1), HEIGHT);
  if (f->latency.points) draw_line(&f->latency, chosen, true, x, to), x += WIDTH;
  if (f->bits.points) draw_line(&f->bits, chosen, false, x, to);
  qp_text_add(to, "</svg>\n");
}

/* ---- Table ---- */

static void table_of(const char *name, const qp_front_line *line) {
  static const qp_column columns[] = {{"front", false},
                                      {"loss", true},
                                      {"latency_us", true},
                                      {"tokens_per_s", true},
                                      {"bits_per_weight", true},
                                      {"memory_bytes", true},
                                      {NULL, false}};
  qp_table_out *t = qp_table_new(columns, false);
  size_t step = line->points > 20 ? line->points / 20 : 1;
  for (size_t i = 0; i < line->points; i += step) {
    const qp_front_point *p = &line->point[i];
    bool timed = p->latency_ps > 0;
    qp_table_row(t);
    qp_table_text(t, name);
    qp_table_number(t, p->loss, "%.6g");
    qp_table_number(t, timed ? (double)p->latency_ps * 1e-6 : NAN, "%.3f");
    qp_table_number(t, timed ? 1e12 / (double)p->latency_ps : NAN, "%.2f");
    qp_table_number(t, p->bits_per_weight, "%.4f");
    qp_table_number(t, (double)p->memory_bytes, "%.0f");
  }
  qp_table_print(t);
}

void qp_front_table(const qp_front *f) {
  if (f->latency.points) table_of("latency", &f->latency);
  table_of("bits", &f->bits);
}
