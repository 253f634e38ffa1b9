/* SPDX-License-Identifier: MIT */
/* Draws what all drawings share: page, style, axes, marks and legends (chart.h). */
#include "tuner/base/chart.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { EDGE = 12, SWATCH = 26 };

/* Average width of a character, as part of the font's size; names are mostly lower case. */
static const double character = 0.58;

static const char style[] =
    "<style>\n"
    "svg { font-family: system-ui, sans-serif; font-size: 12px; }\n"
    ".page { fill: #ffffff; } text { fill: #24292f; } .title { font-size: 14px; font-weight: 600; "
    "}\n"
    ".name { font-weight: 600; } .axis { stroke: #57606a; fill: none; }\n"
    ".grid { stroke: #d8dee4; stroke-width: 1; fill: none; }\n"
    ".line { stroke: #0969da; stroke-width: 1.6; fill: none; }\n"
    ".floor { stroke: #57606a; stroke-dasharray: 4 3; fill: none; }\n"
    ".join { stroke: #57606a; stroke-width: 4; fill: none; } .mark { stroke: #24292f; "
    "stroke-width: 0.6; }\n"
    ".label { paint-order: stroke; stroke: #ffffff; stroke-width: 3px; stroke-linejoin: round; }\n"
    ".chosen { fill: #cf222e; } .s0 { fill: #0969da; } .s1 { fill: #cf222e; } .s2 { fill: #bf8700; "
    "}\n"
    ".s3 { fill: #1a7f37; } .s4 { fill: #8250df; } .s5 { fill: #1b7c83; } .s6 { fill: #bf3989; }\n"
    ".s7 { fill: #4d7c0f; } .s8 { fill: #953800; } .s9 { fill: #57606a; }\n"
    "@media (prefers-color-scheme: dark) {\n"
    ".page { fill: #0d1117; } text { fill: #e6edf3; } .axis { stroke: #8d96a0; }\n"
    ".grid { stroke: #30363d; } .line { stroke: #58a6ff; } .floor { stroke: #8d96a0; }\n"
    ".join { stroke: #8d96a0; } .mark { stroke: #e6edf3; } .label { stroke: #0d1117; }\n"
    ".chosen { fill: #ff7b72; } .s0 { fill: #58a6ff; } .s1 { fill: #ff7b72; } .s2 { fill: #e3b341; "
    "}\n"
    ".s3 { fill: #56d364; } .s4 { fill: #bc8cff; } .s5 { fill: #39c5cf; } .s6 { fill: #f778ba; }\n"
    ".s7 { fill: #a3d977; } .s8 { fill: #ffa657; } .s9 { fill: #8d96a0; }\n"
    "}\n</style>\n";

/* ---- Text ---- */

void qp_chart_xml(qp_text *to, const char *text) {
  for (; *text; text++) {
    switch (*text) {
    case '<': qp_text_add(to, "&lt;"); break;
    case '>': qp_text_add(to, "&gt;"); break;
    case '&': qp_text_add(to, "&amp;"); break;
    case '"': qp_text_add(to, "&quot;"); break;
    default: qp_text_append(to, (unsigned char)*text < 0x20 ? " " : text, 1);
    }
  }
}

double qp_chart_text_width(const char *text) {
  return character * QP_CHART_FONT * (double)strlen(text) + 2;
}

void qp_chart_text(qp_text *to, double x, double y, const char *anchor, const char *text) {
  qp_text_add(to, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
  qp_chart_xml(to, text);
  qp_text_add(to, "</text>\n");
}

/* Bytes of the first line of a text that may have 'most' characters: broken at a blank if
   there is one. */
static size_t line_length(const char *text, size_t most) {
  const size_t n = strlen(text);
  if (n <= most) return n;
  size_t at = most;
  while (at > 0 && text[at] != ' ') at--;
  return at ? at : most;
}

static unsigned title_lines(const char *title, size_t most) {
  unsigned lines = 0;
  while (*title) {
    title += line_length(title, most);
    while (*title == ' ') title++;
    lines++;
  }
  return lines;
}

/* ---- Page ---- */

double qp_chart_open(qp_text *to, double width, double height, const char *title) {
  const double line = QP_CHART_LINE + 2;
  const size_t most = (size_t)((width - 2 * EDGE) / (character * (QP_CHART_FONT + 2)));
  const double top = EDGE + line * title_lines(title, most);
  qp_text_add(to,
              "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
              "viewBox=\"0 0 %.0f %.0f\" role=\"img\">\n%s"
              "<rect class=\"page\" width=\"100%%\" height=\"100%%\"/>\n",
              width, top + height, width, top + height, style);
  for (double y = EDGE + 12; *title; y += line) {
    const size_t n = line_length(title, most);
    char text[512];
    snprintf(text, sizeof text, "%.*s", (int)n, title);
    qp_text_add(to, "<text class=\"title\" x=\"%d\" y=\"%.0f\">", EDGE, y);
    qp_chart_xml(to, text);
    qp_text_add(to, "</text>\n");
    title += n;
    while (*title == ' ') title++;
  }
  return top;
}

void qp_chart_close(qp_text *to) { qp_text_add(to, "</svg>\n"); }

/* ---- Axes ---- */

static unsigned linear_ticks(const qp_chart_axis *axis, unsigned most, double *out) {
  const double span = axis->hi - axis->lo;
  double step = pow(10, floor(log10(span / most)));
  static const double factors[] = {1, 2, 5, 10, 20};
  unsigned f = 0;
  while (f < 4 && span / (step * factors[f]) > most - 1) f++;
  step *= factors[f];
  unsigned n = 0;
  for (double k = ceil(axis->lo / step - 1e-9); k * step <= axis->hi + 1e-9 * span; k++)
    if (n < most) out[n++] = k * step;
  return n;
}

static unsigned log_ticks(const qp_chart_axis *axis, unsigned most, double *out) {
  static const double factors[] = {1, 2, 5};
  const int from = (int)floor(log10(axis->lo)), to = (int)ceil(log10(axis->hi));
  for (int each = 3; each > 0; each -= 2) { /* 1, 2, 5 of a decade; then 1 alone */
    unsigned n = 0;
    bool room = true;
    for (int d = from; d <= to; d++)
      for (int f = 0; f < each; f++) {
        const double v = factors[f] * pow(10, d);
        if (v < axis->lo * (1 - 1e-9) || v > axis->hi * (1 + 1e-9)) continue;
        if (n == most) room = false;
        if (room) out[n++] = v;
      }
    if (room && n > 1) return n;
  }
  return linear_ticks(axis, most, out); /* less than a decade, or too many of them */
}

/* Do the ends of an axis differ by more than what rounding makes of one value? */
static bool has_span(const qp_chart_axis *axis) {
  return axis->hi - axis->lo > 1e-9 * fmax(fabs(axis->lo), fabs(axis->hi));
}

unsigned qp_chart_ticks(const qp_chart_axis *axis, unsigned most, double out[QP_CHART_TICKS]) {
  if (most > QP_CHART_TICKS) most = QP_CHART_TICKS;
  if (!has_span(axis) || most < 2) return out[0] = axis->lo, 1;
  return axis->logarithmic ? log_ticks(axis, most, out) : linear_ticks(axis, most, out);
}

/* Where a value lies between the ends of an axis: 0 to 1. */
static double place(const qp_chart_axis *axis, double value) {
  if (!has_span(axis)) return 0.5;
  if (!axis->logarithmic) return (value - axis->lo) / (axis->hi - axis->lo);
  return log(fmax(value, 1e-300) / axis->lo) / log(axis->hi / axis->lo);
}

double qp_chart_x(const qp_chart_plot *p, double value) {
  return p->x + p->width * place(&p->across, value);
}

double qp_chart_y(const qp_chart_plot *p, double value) {
  return p->y + p->height * (1 - place(&p->up, value));
}

static void tick_text(double value, char *out, size_t size) {
  snprintf(out, size, "%.4g", fabs(value) < 1e-12 ? 0 : value);
}

void qp_chart_axes(qp_text *to, const qp_chart_plot *p) {
  double tick[QP_CHART_TICKS];
  char text[32];
  double widest = 0;
  const double bottom = p->y + p->height;
  unsigned n = qp_chart_ticks(&p->across, (unsigned)fmax(2, p->width / 55), tick);
  for (unsigned i = 0; i < n; i++) {
    const double x = qp_chart_x(p, tick[i]);
    qp_text_add(to, "<path class=\"grid\" d=\"M%.1f %.1fV%.1f\"/>\n", x, p->y, bottom);
    tick_text(tick[i], text, sizeof text);
    qp_chart_text(to, x, bottom + 16, "middle", text);
  }
  n = qp_chart_ticks(&p->up, (unsigned)fmax(2, p->height / 30), tick);
  for (unsigned i = 0; i < n; i++) {
    const double y = qp_chart_y(p, tick[i]);
    qp_text_add(to, "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>\n", p->x, y, p->x + p->width);
    tick_text(tick[i], text, sizeof text);
    widest = fmax(widest, qp_chart_text_width(text));
    qp_chart_text(to, p->x - 6, y + 4, "end", text);
  }
  qp_text_add(to, "<path class=\"axis\" d=\"M%.1f %.1fV%.1fH%.1f\"/>\n", p->x, p->y, bottom,
              p->x + p->width);
  qp_chart_text(to, p->x + p->width / 2, bottom + 34, "middle", p->across.title);
  const double x = p->x - 12 - widest, y = p->y + p->height / 2;
  qp_text_add(to, "<text text-anchor=\"middle\" transform=\"translate(%.1f %.1f) rotate(-90)\">", x,
              y);
  qp_chart_xml(to, p->up.title);
  qp_text_add(to, "</text>\n");
  if (!p->title) return;
  qp_text_add(to, "<text class=\"name\" x=\"%.1f\" y=\"%.1f\">", p->x, p->y - 8);
  qp_chart_xml(to, p->title);
  qp_text_add(to, "</text>\n");
}

/* ---- Marks ---- */

static void draw_shape(qp_text *to, qp_chart_shape shape, double x, double y, double r) {
  switch (shape) {
  case QP_CHART_SQUARE:
    qp_text_add(to, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"", x - r, y - r,
                2 * r, 2 * r);
    return;
  case QP_CHART_DIAMOND:
    qp_text_add(to, "<path d=\"M%.1f %.1fl%.1f %.1fl%.1f %.1fl%.1f %.1fz\"", x, y - r - 1, r + 1,
                r + 1, -r - 1, r + 1, -r - 1, -r - 1);
    return;
  case QP_CHART_TRIANGLE:
    qp_text_add(to, "<path d=\"M%.1f %.1fl%.1f %.1fh%.1fz\"", x, y - r, r, 2 * r, -2 * r);
    return;
  case QP_CHART_CROSS:
    qp_text_add(to,
                "<path d=\"M%.1f %.1fh%.1fv%.1fh%.1fv%.1fh%.1fv%.1fh%.1fv%.1fh%.1fv%.1fh%.1fz\"",
                x - r / 2, y - r, r, r / 2, r / 2, r, -r / 2, r / 2, -r, -r / 2, -r / 2, -r, r / 2);
    return;
  default: qp_text_add(to, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"", x, y, r);
  }
}

void qp_chart_mark(qp_text *to, const char *kind, qp_chart_shape shape, unsigned rgb, double x,
                   double y, double radius, const char *tooltip) {
  draw_shape(to, shape, x, y, radius);
  if (kind)
    qp_text_add(to, " class=\"mark %s\"", kind);
  else
    qp_text_add(to, " class=\"mark\" fill=\"#%06x\"", rgb);
  if (!tooltip) {
    qp_text_add(to, "/>\n");
    return;
  }
  qp_text_add(to, "><title>");
  qp_chart_xml(to, tooltip);
  qp_text_add(to, "</title></%s>\n",
              shape == QP_CHART_SQUARE   ? "rect"
              : shape == QP_CHART_CIRCLE ? "circle"
                                         : "path");
}

void qp_chart_label(qp_text *to, const qp_chart_plot *p, double x, double y, const char *text) {
  const bool left = x + 10 + qp_chart_text_width(text) > p->x + p->width;
  const bool below = left && y + 24 < p->y + p->height;
  qp_text_add(to, "<text class=\"label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">",
              left ? x - 9 : x + 9, below ? y + 18 : y - 7, left ? "end" : "start");
  qp_chart_xml(to, text);
  qp_text_add(to, "</text>\n");
}

double qp_chart_legend(qp_text *to, double x, double y, double width, const qp_chart_entry *entry,
                       unsigned count) {
  double at = x;
  for (unsigned i = 0; i < count; i++) {
    const bool line = entry[i].kind && !strcmp(entry[i].kind, "line");
    const double swatch = line ? 34 : 18, need = swatch + qp_chart_text_width(entry[i].text);
    if (at > x && at + need > x + width) {
      at = x;
      y += QP_CHART_LINE;
    }
    if (line)
      qp_text_add(to, "<path class=\"floor\" d=\"M%.1f %.1fh28\"/>\n", at, y - 4);
    else
      qp_chart_mark(to, entry[i].kind, entry[i].shape, entry[i].rgb, at + 6, y - 4, 5, NULL);
    qp_chart_text(to, at + swatch, y, "start", entry[i].text);
    at += need + SWATCH - 10;
  }
  return count ? y + QP_CHART_LINE : y;
}
