/* SPDX-License-Identifier: MIT */
/* Plots measured latencies, as drawing.h describes. */
#include "tuner/tune/drawing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/base/chart.h"

enum { PLOTS = 24, ACROSS = 3, LEFT = 64, TOP = 34, BELOW = 50, LABELS = 24 };

/* Few plots are large ones: the page's columns, and the size of a plot, by how many there are. */
typedef struct grid {
  unsigned across, width, height;
} grid;

static grid grid_of(unsigned plots) {
  if (plots <= 1) return (grid){1, 760, 420};
  if (plots == 2) return (grid){2, 570, 340};
  return (grid){ACROSS, 380, 280};
}

/* A colour a family, a shape a path. */
static const char *const classes[QP_CHART_SERIES] = {"s0", "s1", "s2", "s3", "s4",
                                                     "s5", "s6", "s7", "s8", "s9"};
enum {
  FAMILIES = QP_CHART_SERIES - 1, /* the last colour is for those that come later, */
  PATHS = QP_CHART_SHAPES - 1     /* the last shape too */
};
static const qp_chart_shape shapes[QP_CHART_SHAPES] = {
    QP_CHART_CIRCLE, QP_CHART_SQUARE, QP_CHART_TRIANGLE, QP_CHART_DIAMOND, QP_CHART_CROSS};

/* One shape and batch size, and the ranges of its axes. */
typedef struct plot {
  const qp_record *first; /* Any record of it. */
  double weights, bits, us;
} plot;

typedef struct drawing {
  const qp_records *records;
  qp_palette *palette;
  double read_gbs;
  plot plot[PLOTS];
  grid grid;
  unsigned plots, families, paths;
  char family[FAMILIES][32], path[PATHS][16];
  qp_text *out;
} drawing;

static bool same_shape(const qp_record *a, const qp_record *b) {
  if (a->segments != b->segments || a->columns != b->columns || a->batch != b->batch) return false;
  for (unsigned i = 0; i < a->segments; i++)
    if (a->segment[i].rows != b->segment[i].rows) return false;
  return true;
}

/* Count the stored bits a weight of a launch with one quantizer; 0: mixed, or not in the
   palette. */
static double bits_of(const drawing *d, const qp_record *r) {
  const qp_quantizer *q;
  qp_error ignored;
  for (unsigned i = 1; i < r->segments; i++)
    if (strcmp(r->segment[i].hash, r->segment[0].hash) != 0) return 0;
  return qp_palette_find(d->palette, r->segment[0].quantizer, &q, &ignored) ? 0 : q->stored_rate;
}

/* Do two records count as one point, of which the faster is drawn? */
static bool same_point(const qp_record *a, const qp_record *b) {
  return same_shape(a, b) && !strcmp(a->segment[0].quantizer, b->segment[0].quantizer) &&
         !strcmp(a->path, b->path);
}

/* Put the fastest record of every shape, quantizer and path into best[records]; returns their
   number. */
static size_t find_fastest(const drawing *d, const qp_record **best) {
  size_t n = 0;
  for (size_t i = 0; i < d->records->count; i++) {
    const qp_record *r = &d->records->list[i];
    if (r->outcome != QP_RECORD_OK || !(bits_of(d, r) > 0)) continue;
    size_t k = 0;
    while (k < n && !same_point(best[k], r)) k++;
    if (k == n) best[n++] = r;
    if (r->ps < best[k]->ps) best[k] = r;
  }
  return n;
}

static void widen(drawing *d, const qp_record *r, double bits) {
  unsigned i = 0;
  while (i < d->plots && !same_shape(d->plot[i].first, r)) i++;
  if (i == PLOTS) return;
  plot *p = &d->plot[i];
  if (i == d->plots) {
    *p = (plot){.first = r};
    for (unsigned k = 0; k < r->segments; k++)
      p->weights += (double)r->segment[k].rows * r->columns;
    d->plots++;
  }
  p->bits = fmax(p->bits, bits);
  p->us = fmax(p->us, (double)r->ps * 1e-6);
}

static const char *colour_of(drawing *d, const char *quantizer) {
  const size_t n = strcspn(quantizer, "-");
  for (unsigned i = 0; i < d->families; i++)
    if (strlen(d->family[i]) == n && !memcmp(d->family[i], quantizer, n)) return classes[i];
  if (d->families == FAMILIES || n >= sizeof d->family[0]) return classes[FAMILIES];
  snprintf(d->family[d->families], sizeof d->family[0], "%.*s", (int)n, quantizer);
  return classes[d->families++];
}

static qp_chart_shape shape_of(drawing *d, const char *path) {
  for (unsigned i = 0; i < d->paths; i++)
    if (!strcmp(d->path[i], path)) return shapes[i];
  if (d->paths == PATHS || strlen(path) >= sizeof d->path[0]) return shapes[PATHS];
  snprintf(d->path[d->paths], sizeof d->path[0], "%s", path);
  return shapes[d->paths++];
}

/* Place the plot with number k, below 'top'. */
static qp_chart_plot plot_of(const drawing *d, unsigned k, double top, char *title, size_t size) {
  const plot *p = &d->plot[k];
  const qp_record *r = p->first;
  size_t n = 0;
  for (unsigned i = 0; i < r->segments && n < size; i++)
    n += (size_t)snprintf(title + n, size - n, "%s%u", i ? "+" : "", r->segment[i].rows);
  if (n < size) snprintf(title + n, size - n, " x %u, batch %u", r->columns, r->batch);
  const unsigned row = (unsigned)k / d->grid.across, column = (unsigned)k % d->grid.across;
  return (qp_chart_plot){.x = column * d->grid.width + LEFT,
                         .y = top + row * d->grid.height + TOP,
                         .width = d->grid.width - LEFT - 24,
                         .height = d->grid.height - TOP - BELOW,
                         .title = title,
                         .across = {.hi = p->bits * 1.04, .title = "stored bits a weight"},
                         .up = {.hi = p->us * 1.08, .title = "latency (us)"}};
}

static void draw_floor(const drawing *d, const plot *p, const qp_chart_plot *c) {
  if (d->read_gbs <= 0) return;
  const double floor_us = p->weights * c->across.hi / 8 / d->read_gbs * 1e-3;
  const double to = fmin(1, c->up.hi / floor_us); /* the line ends at the plot's edge */
  qp_text_add(d->out, "<path class=\"floor\" d=\"M%.1f %.1fL%.1f %.1f\"/>\n", qp_chart_x(c, 0),
              qp_chart_y(c, 0), qp_chart_x(c, c->across.hi * to), qp_chart_y(c, floor_us * to));
}

static void draw_point(drawing *d, const qp_chart_plot *c, const qp_record *r, double bits) {
  const double us = (double)r->ps * 1e-6;
  char tip[192];
  snprintf(tip, sizeof tip, "%s: %.4g bits, %.2f us, %s", r->segment[0].quantizer, bits, us,
           r->path);
  qp_chart_mark(d->out, colour_of(d, r->segment[0].quantizer), shape_of(d, r->path), 0,
                qp_chart_x(c, bits), qp_chart_y(c, us), d->grid.across == 1 ? 5 : 3.5, tip);
}

/* Name the points of a plot that none beats: as many bits or more in less time.  Of two names that
   would lie on each other one is left out. */
static void name_points(const drawing *d, const plot *p, const qp_chart_plot *c,
                        const qp_record *const *best, size_t n) {
  double at[LABELS][2];
  unsigned names = 0;
  for (size_t i = 0; i < n && names < LABELS; i++) {
    const qp_record *r = best[i];
    if (!same_shape(p->first, r)) continue;
    const double bits = bits_of(d, r), x = qp_chart_x(c, bits),
                 y = qp_chart_y(c, (double)r->ps * 1e-6);
    bool named = true;
    for (size_t k = 0; k < n && named; k++)
      named = !same_shape(r, best[k]) || best[k]->ps >= r->ps || bits_of(d, best[k]) < bits;
    const double width = qp_chart_text_width(r->segment[0].quantizer);
    for (unsigned k = 0; k < names && named; k++)
      named = fabs(at[k][0] - x) > width + 16 || fabs(at[k][1] - y) > QP_CHART_LINE;
    if (!named) continue;
    at[names][0] = x, at[names++][1] = y;
    qp_chart_label(d->out, c, x, y, r->segment[0].quantizer);
  }
}

static void draw_legend(const drawing *d, double y) {
  qp_chart_entry entry[QP_CHART_SERIES + QP_CHART_SHAPES + 1];
  char floor[96];
  unsigned n = 0;
  for (; n < d->families; n++)
    entry[n] = (qp_chart_entry){.text = d->family[n], .kind = classes[n], .shape = QP_CHART_CIRCLE};
  for (unsigned i = 0; i < d->paths && d->paths > 1; i++)
    entry[n++] = (qp_chart_entry){.text = d->path[i], .shape = shapes[i], .rgb = 0x888888};
  snprintf(floor, sizeof floor, "the weights' bytes at the read bandwidth, %.0f GB/s", d->read_gbs);
  if (d->read_gbs > 0) entry[n++] = (qp_chart_entry){.text = floor, .kind = "line"};
  qp_chart_legend(d->out, LEFT, y, d->grid.width * d->grid.across - 2 * LEFT, entry, n);
}

static void draw_plots(drawing *d, const qp_record *const *best, size_t n, double top) {
  for (unsigned k = 0; k < d->plots; k++) {
    const plot *p = &d->plot[k];
    char title[160];
    const qp_chart_plot c = plot_of(d, k, top, title, sizeof title);
    qp_chart_axes(d->out, &c);
    draw_floor(d, p, &c);
    for (size_t i = 0; i < n; i++)
      if (same_shape(p->first, best[i])) draw_point(d, &c, best[i], bits_of(d, best[i]));
    name_points(d, p, &c, best, n);
  }
}

void qp_tune_svg(const qp_records *records, qp_palette *palette, double read_gbs, qp_text *out) {
  drawing d = {.records = records, .palette = palette, .read_gbs = read_gbs, .out = out};
  const qp_record **best = calloc(records->count + 1, sizeof(const qp_record *));
  const size_t n = best ? find_fastest(&d, best) : 0;
  if (!best) out->failed = true;
  for (size_t i = 0; i < n; i++) widen(&d, best[i], bits_of(&d, best[i]));
  d.grid = grid_of(d.plots);
  const unsigned rows = (d.plots + d.grid.across - 1) / d.grid.across;
  const unsigned height = d.grid.height * rows;
  const double top = qp_chart_open(
      out, d.grid.width * d.grid.across, height + 3 * QP_CHART_LINE,
      "Fastest kernels by quantizer and path; named where none with as many bits is faster");
  draw_plots(&d, best, n, top);
  draw_legend(&d, top + height + QP_CHART_LINE);
  qp_chart_close(out);
  free(best);
}
