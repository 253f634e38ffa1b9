/* SPDX-License-Identifier: MIT */
/* Prints Pareto fronts as JSON, as a drawing and as a table (front.h). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tuner/base/chart.h"
#include "tuner/base/output.h"
#include "tuner/plan/front.h"

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
  qp_text_add(to, " \"step\": %.6g,\n", fmax(f->latency.step, f->bits.step));
  qp_text_add(to, " \"chosen\": ");
  qp_front_point p = chosen ? point_of(chosen) : (qp_front_point){0};
  if (chosen)
    print_point(&p, to);
  else
    qp_text_add(to, "null");
  qp_text_add(to, "\n}\n");
}

/* ---- Drawing ---- */

enum { WIDTH = 520, HEIGHT = 360, MARGIN = 70, TOP = 16, BELOW = 56, ROOM = 24 };

static double cost_of(bool latency, const qp_front_point *p) {
  return latency ? (double)p->latency_ps * 1e-6 : p->bits_per_weight;
}

/* The chosen plan, named with what it costs. */
static void draw_chosen(const qp_chart_plot *plot, const qp_front_point *p, bool latency,
                        qp_text *t) {
  char text[96];
  const double x = qp_chart_x(plot, cost_of(latency, p)), y = qp_chart_y(plot, p->loss);
  snprintf(text, sizeof text, "chosen: loss %.4g at %.5g %s", p->loss, cost_of(latency, p),
           latency ? "us" : "bits");
  qp_chart_mark(t, "chosen", QP_CHART_CIRCLE, 0, x, y, 5, text);
  qp_chart_label(t, plot, x, y, text);
}

static void draw_line(const qp_front_line *line, const qp_plan *chosen, bool latency, double x0,
                      double y0, qp_text *t) {
  double least = INFINITY;
  for (size_t i = 0; i < line->points; i++)
    if (line->point[i].loss > 0) least = fmin(least, line->point[i].loss);
  least = fmin(least, 1e300);
  const qp_front_point *first = &line->point[0], *last = &line->point[line->points - 1];
  const qp_front_point p = chosen ? point_of(chosen) : (qp_front_point){0};
  const bool mark = chosen && !(latency && p.latency_ps < 0);
  const double cost = mark ? cost_of(latency, &p) : cost_of(latency, first);
  const qp_chart_plot plot = {
      .x = x0 + MARGIN,
      .y = y0 + TOP,
      .width = WIDTH - MARGIN - ROOM,
      .height = HEIGHT - TOP - BELOW,
      .across = {.lo = fmin(cost_of(latency, first), cost),
                 .hi = fmax(cost_of(latency, last), cost),
                 .title = latency ? "latency (us a token)" : "bits per weight"},
      .up = {.lo = mark && p.loss > 0 ? fmin(least, p.loss) : least,
             .hi = fmax(fmax(first->loss, mark ? p.loss : 0), least),
             .logarithmic = true,
             .title = "loss (sum of sensitivity x distortion)"}};
  qp_chart_axes(t, &plot);
  qp_text_add(t, "<path class=\"line\" d=\"");
  for (size_t i = 0; i < line->points; i++)
    qp_text_add(t, "%c%.2f %.2f", i ? 'L' : 'M',
                qp_chart_x(&plot, cost_of(latency, &line->point[i])),
                qp_chart_y(&plot, fmax(line->point[i].loss, least)));
  qp_text_add(t, "\"/>\n");
  if (mark) draw_chosen(&plot, &p, latency, t);
}

void qp_front_svg(const qp_front *f, const qp_plan *chosen, qp_text *to) {
  const int plots = (f->latency.points > 0) + (f->bits.points > 0);
  char title[256];
  snprintf(title, sizeof title, "%s%s%s: best plans", f->model, *f->gpu ? " on " : "", f->gpu);
  const double y = qp_chart_open(to, WIDTH * (plots ? plots : 1), HEIGHT, title);
  double x = 0;
  if (f->latency.points) draw_line(&f->latency, chosen, true, x, y, to), x += WIDTH;
  if (f->bits.points) draw_line(&f->bits, chosen, false, x, y, to);
  qp_chart_close(to);
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
