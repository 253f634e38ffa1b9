/* SPDX-License-Identifier: MIT */
/* Plots of measured latencies; see drawing.h. */
#include "tuner/tune/drawing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PLOTS = 24, ACROSS = 3, WIDTH = 380, HEIGHT = 280, LEFT = 52, TOP = 30, ROOM = 54 };

static const char *const colours[] = {"#3366cc", "#dc3912", "#ff9900", "#109618", "#990099",
                                      "#0099c6", "#dd4477", "#66aa00", "#b82e2e", "#316395"};
enum { COLOURS = sizeof colours / sizeof *colours };

/* One shape and batch size, and the ranges of its axes. */
typedef struct plot {
  const qp_record *first; /* any record of it */
  double weights, bits, us;
  double x, y; /* of its corner */
} plot;

typedef struct drawing {
  const qp_records *records;
  qp_palette *palette;
  double read_gbs;
  plot plot[PLOTS];
  unsigned plots, families;
  char family[COLOURS][32];
  qp_text *out;
} drawing;

static bool same_shape(const qp_record *a, const qp_record *b) {
  if (a->segments != b->segments || a->columns != b->columns || a->batch != b->batch) return false;
  for (unsigned i = 0; i < a->segments; i++)
    if (a->segment[i].rows != b->segment[i].rows) return false;
  return true;
}

/* Stored bits a weight of a launch with one quantizer; 0: mixed, or not in the palette. */
static double bits_of(const drawing *d, const qp_record *r) {
  const qp_quantizer *q;
  qp_error ignored;
  for (unsigned i = 1; i < r->segments; i++)
    if (strcmp(r->segment[i].hash, r->segment[0].hash) != 0) return 0;
  return qp_palette_find(d->palette, r->segment[0].quantizer, &q, &ignored) ? 0 : q->stored_rate;
}

/* Of every shape and quantizer the fastest record, into best[records]; returns their number. */
static size_t find_fastest(const drawing *d, const qp_record **best) {
  size_t n = 0;
  for (size_t i = 0; i < d->records->count; i++) {
    const qp_record *r = &d->records->list[i];
    if (r->outcome != QP_RECORD_OK || !(bits_of(d, r) > 0)) continue;
    size_t k = 0;
    while (k < n && (!same_shape(best[k], r) ||
                     strcmp(best[k]->segment[0].quantizer, r->segment[0].quantizer) != 0))
      k++;
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
    const unsigned above = i / ACROSS * HEIGHT, before = i % ACROSS * WIDTH;
    *p = (plot){.first = r, .x = before, .y = above};
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
    if (strlen(d->family[i]) == n && !memcmp(d->family[i], quantizer, n)) return colours[i];
  if (d->families == COLOURS || n >= sizeof d->family[0]) return "#888888";
  snprintf(d->family[d->families], sizeof d->family[0], "%.*s", (int)n, quantizer);
  return colours[d->families++];
}

static double at_x(const plot *p, double bits) {
  return p->x + LEFT + bits / p->bits * (WIDTH - LEFT - 24);
}
static double at_y(const plot *p, double us) {
  return p->y + TOP + (1 - us / p->us) * (HEIGHT - TOP - ROOM);
}

static void draw_axes(const drawing *d, const plot *p) {
  const qp_record *r = p->first;
  qp_text_add(d->out, "<text x=\"%.0f\" y=\"%.0f\" font-weight=\"bold\">", p->x + LEFT, p->y + 18);
  for (unsigned i = 0; i < r->segments; i++)
    qp_text_add(d->out, "%s%u", i ? "+" : "", r->segment[i].rows);
  qp_text_add(d->out, " x %u, batch %u</text>\n", r->columns, r->batch);
  qp_text_add(d->out, "<path stroke=\"#999\" fill=\"none\" d=\"M%.1f %.1fV%.1fH%.1f\"/>\n",
              at_x(p, 0), at_y(p, p->us), at_y(p, 0), at_x(p, p->bits));
  for (int i = 0; i <= 4; i++) {
    const double bits = p->bits * i / 4, us = p->us * i / 4;
    qp_text_add(d->out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%.3g</text>\n",
                at_x(p, bits), at_y(p, 0) + 14, bits);
    qp_text_add(d->out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%.3g</text>\n",
                at_x(p, 0) - 5, at_y(p, us) + 4, us);
  }
  qp_text_add(d->out,
              "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">bits a weight; us</text>\n",
              at_x(p, p->bits / 2), at_y(p, 0) + 28);
  if (d->read_gbs <= 0) return;
  const double floor_us = p->weights * p->bits / 8 / d->read_gbs * 1e-3;
  const double to = fmin(1, p->us / floor_us); /* the line ends at the plot's edge */
  qp_text_add(d->out,
              "<path class=\"floor\" stroke=\"#333\" stroke-dasharray=\"4 3\" fill=\"none\" "
              "d=\"M%.1f %.1fL%.1f %.1f\"/>\n",
              at_x(p, 0), at_y(p, 0), at_x(p, p->bits * to), at_y(p, floor_us * to));
}

static void draw_point(drawing *d, const plot *p, const qp_record *r, double bits) {
  const double us = (double)r->ps * 1e-6;
  qp_text_add(
      d->out,
      "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"%s\"><title>%s: %.4g bits, %.2f us, "
      "%s</title></circle>\n",
      at_x(p, bits), at_y(p, us), colour_of(d, r->segment[0].quantizer), r->segment[0].quantizer,
      bits, us, r->path);
}

static void draw_legend(const drawing *d, double y) {
  for (unsigned i = 0; i < d->families; i++)
    qp_text_add(d->out,
                "<circle cx=\"%u\" cy=\"%.0f\" r=\"4\" fill=\"%s\"/><text x=\"%u\" y=\"%.0f\">%s"
                "</text>\n",
                LEFT + 90 * i, y - 4, colours[i], LEFT + 90 * i + 8, y, d->family[i]);
  const unsigned x = LEFT + 90 * d->families;
  if (d->read_gbs > 0)
    qp_text_add(d->out,
                "<path stroke=\"#333\" stroke-dasharray=\"4 3\" d=\"M%u %.0fh24\"/><text x=\"%u\" "
                "y=\"%.0f\">the weights' bytes at the read bandwidth, %.0f GB/s</text>\n",
                x, y - 4, x + 30, y, d->read_gbs);
}

void qp_tune_svg(const qp_records *records, qp_palette *palette, double read_gbs, qp_text *out) {
  drawing d = {.records = records, .palette = palette, .read_gbs = read_gbs, .out = out};
  const qp_record **best = calloc(records->count + 1, sizeof(const qp_record *));
  const size_t n = best ? find_fastest(&d, best) : 0;
  if (!best) out->failed = true;
  for (size_t i = 0; i < n; i++) widen(&d, best[i], bits_of(&d, best[i]));
  const unsigned height = HEIGHT * ((d.plots + ACROSS - 1) / ACROSS) + 30;
  qp_text_add(
      out,
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%u\" "
      "font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%%\" height=\"100%%\" "
      "fill=\"white\"/>\n",
      WIDTH * ACROSS, height);
  for (unsigned k = 0; k < d.plots; k++) {
    const plot *p = &d.plot[k];
    draw_axes(&d, p);
    for (size_t i = 0; i < n; i++)
      if (same_shape(p->first, best[i])) draw_point(&d, p, best[i], bits_of(&d, best[i]));
  }
  draw_legend(&d, height - 8);
  qp_text_add(out, "</svg>\n");
  free(best);
}
