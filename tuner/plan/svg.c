/* SPDX-License-Identifier: MIT */
/* A plan's heat map as SVG; see report.h. */
#include <math.h>
#include <string.h>

#include "tuner/plan/report.h"

enum { CELL = 18, LEFT = 70, TOP = 46, MARK = 6 };

/* Shapes by family, in order of appearance: square, circle, diamond, triangle, cross. */
static void draw_mark(qp_text *t, unsigned shape, double x, double y, unsigned rgb) {
  const double r = MARK;
  switch (shape % 5) {
  case 0:
    qp_text_add(t, "<rect x=\"%g\" y=\"%g\" width=\"%g\" height=\"%g\" fill=\"#%06x\"", x - r,
                y - r, 2 * r, 2 * r, rgb);
    break;
  case 1:
    qp_text_add(t, "<circle cx=\"%g\" cy=\"%g\" r=\"%g\" fill=\"#%06x\"", x, y, r, rgb);
    break;
  case 2:
    qp_text_add(t, "<path d=\"M%g %gL%g %gL%g %gL%g %gZ\" fill=\"#%06x\"", x, y - r - 1, x + r + 1,
                y, x, y + r + 1, x - r - 1, y, rgb);
    break;
  case 3:
    qp_text_add(t, "<path d=\"M%g %gL%g %gL%g %gZ\" fill=\"#%06x\"", x, y - r, x + r, y + r, x - r,
                y + r, rgb);
    break;
  default:
    qp_text_add(t, "<path d=\"M%g %gh%gv%gh%gv%gh%gv%gh%gv%gh%gv%gh%gz\" fill=\"#%06x\"", x - r / 2,
                y - r, r, r / 2, r / 2, r, -r / 2, r / 2, -r, -r / 2, -r / 2, -r, r / 2, rgb);
    break;
  }
}

/* "tcq" of "tcq-3.25": what a family is called. */
static size_t family_length(const char *name) { return strcspn(name, "-"); }

/* Number of a quantizer's family among the plan's. */
static unsigned family_of(const qp_plan *p, unsigned q) {
  unsigned families = 0;
  for (unsigned i = 0; i < p->quantizers; i++) {
    size_t n = family_length(p->quantizer[i].name);
    unsigned k = 0;
    while (k < i && (family_length(p->quantizer[k].name) != n ||
                     memcmp(p->quantizer[k].name, p->quantizer[i].name, n) != 0))
      k++;
    bool first = k == i;
    if (i == q) return first ? families : family_of(p, k);
    families += first;
  }
  return families;
}

static double column_x(int block) { return LEFT + CELL * (block + 0.5); }
static double row_y(unsigned linear) { return TOP + CELL * (linear + 0.5); }

static void title_of(qp_text *t, const qp_plan *p, const qp_plan_linear *l) {
  qp_text_add(t, "><title>");
  qp_report_xml(t, l->tensor);
  qp_text_add(t, ": ");
  qp_report_xml(t, p->quantizer[l->quantizer].name);
  qp_text_add(t, "</title></%s>\n", "g");
}

static void draw_cells(const qp_plan *p, unsigned rows, qp_text *t) {
  if (!rows) return;
  for (unsigned i = 0; i < p->launches; i++) {
    const qp_plan_launch *l = &p->launch[i];
    if (l->block == QP_PLAN_NO_BLOCK) continue;
    for (unsigned k = 1; k < l->members; k++)
      qp_text_add(t,
                  "<line x1=\"%g\" y1=\"%g\" x2=\"%g\" y2=\"%g\" stroke=\"#222\" "
                  "stroke-width=\"4\"/>\n",
                  column_x(l->block), row_y(l->linear[k - 1] % rows), column_x(l->block),
                  row_y(l->linear[k] % rows));
  }
  for (unsigned i = 0; i + 1 < p->linears; i++) {
    const qp_plan_linear *l = &p->linear[i];
    unsigned rgb = qp_report_colour(p->quantizer[l->quantizer].rate_bits);
    qp_text_add(t, "<g stroke=\"#222\" stroke-width=\"0.6\">");
    draw_mark(t, family_of(p, l->quantizer), column_x(l->block), row_y(i % rows), rgb);
    qp_text_add(t, "/");
    title_of(t, p, l);
  }
}

static void draw_axes(const qp_plan *p, unsigned rows, qp_text *t) {
  for (unsigned l = 0; l < rows; l++) {
    qp_text_add(t, "<text x=\"%d\" y=\"%g\" text-anchor=\"end\">", LEFT - 6, row_y(l) + 4);
    qp_report_xml(t, p->linear[l].role);
    qp_text_add(t, "</text>\n");
  }
  for (unsigned b = 0; b < p->blocks; b += 4)
    qp_text_add(t, "<text x=\"%g\" y=\"%d\" text-anchor=\"middle\">%u</text>\n", column_x((int)b),
                TOP - 4, b);
}

static void draw_legend(const qp_plan *p, double y, qp_text *t) {
  for (unsigned i = 0; i < p->quantizers; i++) {
    unsigned row = i / 5;
    double x = LEFT + 120.0 * (i % 5), at = y + CELL * row;
    qp_text_add(t, "<g stroke=\"#222\" stroke-width=\"0.6\">");
    draw_mark(t, family_of(p, i), x, at, qp_report_colour(p->quantizer[i].rate_bits));
    qp_text_add(t, "/></g><text x=\"%g\" y=\"%g\">", x + 12, at + 4);
    qp_report_xml(t, p->quantizer[i].name);
    qp_text_add(t, "</text>\n");
  }
}

void qp_report_svg(const qp_plan *p, qp_text *to) {
  unsigned rows = p->blocks ? (p->linears - 1) / p->blocks : 0;
  double legend = TOP + CELL * (rows + 1.5);
  double width = fmax(LEFT + CELL * (p->blocks + 1.0), LEFT + 620);
  unsigned legend_rows = p->quantizers / 5 + 2;
  double height = legend + CELL * legend_rows;
  qp_text_add(to,
              "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%g\" height=\"%g\" "
              "font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%%\" "
              "height=\"100%%\" fill=\"white\"/>\n<text x=\"%d\" y=\"18\" font-size=\"13\">",
              width, height, LEFT - 60);
  qp_report_xml(to, p->model);
  if (p->gpu[0]) qp_text_add(to, " on "), qp_report_xml(to, p->gpu);
  qp_text_add(to, ": loss %.6g", p->loss);
  if (p->latency_ps > 0)
    qp_text_add(to, ", %.1f us (%.1f tokens/s)", (double)p->latency_ps * 1e-6,
                1e12 / (double)p->latency_ps);
  qp_text_add(to, ", %.3f bits a weight; lm_head ", p->bits_per_weight);
  qp_report_xml(to, p->quantizer[p->linear[p->linears - 1].quantizer].name);
  qp_text_add(to, "</text>\n");
  draw_axes(p, rows, to);
  draw_cells(p, rows, to);
  draw_legend(p, legend, to);
  qp_text_add(to, "</svg>\n");
}
