/* SPDX-License-Identifier: MIT */
/* Pareto fronts as JSON, as a drawing and as a table; see front.h. */
#include <math.h>
#include <string.h>

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
