/* SPDX-License-Identifier: MIT */
/* A plan's heat map as SVG; see report.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/base/chart.h"
#include "tuner/plan/report.h"

enum { CELL = 18, AXIS = 40, EDGE = 12, MARK = 6, LEAST_WIDTH = 560 };

/* "tcq" of "tcq-3.25": what a family is called. */
static size_t family_length(const char *name) { return strcspn(name, "-"); }

/* Find the number of a quantizer's family among the plan's. */
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

/* Where cells lie on the page. */
typedef struct map {
  const qp_plan *plan;
  unsigned rows, row[QP_REPORT_ROWS]; /* a linear of each row's role */
  double left, top, width;
} map;

static double column_x(const map *m, int block) { return m->left + CELL * (block + 0.5); }
/* Find the row of a linear of a block. */
static unsigned row_of(const map *m, unsigned linear) {
  unsigned r = 0;
  while (r + 1 < m->rows &&
         strcmp(m->plan->linear[m->row[r]].role, m->plan->linear[linear].role) != 0)
    r++;
  return r;
}

static double row_y(const map *m, unsigned linear) { return m->top + CELL * (linear + 0.5); }

static void draw_joins(const map *m, qp_text *t) {
  const qp_plan *p = m->plan;
  for (unsigned i = 0; i < p->launches; i++) {
    const qp_plan_launch *l = &p->launch[i];
    if (l->block == QP_PLAN_NO_BLOCK) continue;
    for (unsigned k = 1; k < l->members; k++)
      qp_text_add(t, "<path class=\"join\" d=\"M%.1f %.1fV%.1f\"/>\n", column_x(m, l->block),
                  row_y(m, row_of(m, l->linear[k - 1])), row_y(m, row_of(m, l->linear[k])));
  }
}

/* The launch that a linear is in, or NULL. */
static const qp_plan_launch *launch_of(const qp_plan *p, unsigned linear) {
  for (unsigned i = 0; i < p->launches; i++)
    for (unsigned k = 0; k < p->launch[i].members; k++)
      if (p->launch[i].linear[k] == linear) return &p->launch[i];
  return NULL;
}

static void tip_of(const qp_plan *p, unsigned i, char *tip, size_t size) {
  const qp_plan_linear *l = &p->linear[i];
  const qp_plan_launch *launch = launch_of(p, i);
  size_t n = (size_t)snprintf(tip, size, "%s: %s, %.4g bits a weight, distortion %.4g, loss %.3g",
                              l->tensor, p->quantizer[l->quantizer].name,
                              p->quantizer[l->quantizer].rate_bits, l->distortion,
                              l->sensitivity * l->distortion);
  if (launch && launch->members > 1 && n < size)
    n += (size_t)snprintf(tip + n, size - n, ", one launch of %u linears", launch->members);
  if (launch && launch->latency_ps >= 0 && n < size)
    snprintf(tip + n, size - n, ", launch %.2f us (%s)", (double)launch->latency_ps * 1e-6,
             launch->how);
}

static void draw_cells(const map *m, qp_text *t) {
  const qp_plan *p = m->plan;
  if (!m->rows) return;
  draw_joins(m, t);
  for (unsigned i = 0; i < p->linears; i++) {
    const qp_plan_linear *l = &p->linear[i];
    if (l->block == QP_PLAN_NO_BLOCK) continue;
    char tip[512];
    tip_of(p, i, tip, sizeof tip);
    qp_chart_mark(t, NULL, family_of(p, l->quantizer) % QP_CHART_SHAPES,
                  qp_report_colour(p->quantizer[l->quantizer].rate_bits), column_x(m, l->block),
                  row_y(m, row_of(m, i)), MARK, tip);
  }
}

static void draw_axes(const map *m, qp_text *t) {
  const qp_plan *p = m->plan;
  char text[32];
  for (unsigned l = 0; l < m->rows; l++)
    qp_chart_text(t, m->left - 8, row_y(m, l) + 4, "end", p->linear[m->row[l]].role);
  for (unsigned b = 0; b < p->blocks; b += 4) {
    snprintf(text, sizeof text, "%u", b);
    qp_chart_text(t, column_x(m, (int)b), m->top - 5, "middle", text);
  }
  qp_chart_text(t, m->left + CELL * p->blocks / 2.0, m->top - 22, "middle", "block");
}

static double draw_legend(const map *m, double y, qp_text *t) {
  const qp_plan *p = m->plan;
  qp_chart_entry *entry = calloc(p->quantizers + 1, sizeof *entry);
  if (!entry) return t->failed = true, y;
  for (unsigned n = 0; n < p->quantizers; n++)
    entry[n] = (qp_chart_entry){.text = p->quantizer[n].name,
                                .shape = family_of(p, n) % QP_CHART_SHAPES,
                                .rgb = qp_report_colour(p->quantizer[n].rate_bits)};
  y = qp_chart_legend(t, EDGE, y, m->width - 2 * EDGE, entry, p->quantizers);
  free(entry);
  return y;
}

static void title_of(const qp_plan *p, char *out, size_t size) {
  size_t n = (size_t)snprintf(out, size, "%s%s%s: loss %.6g", p->model, p->gpu[0] ? " on " : "",
                              p->gpu, p->loss);
  if (p->latency_ps > 0 && n < size)
    n += (size_t)snprintf(out + n, size - n, ", %.1f us (%.1f tokens/s)",
                          (double)p->latency_ps * 1e-6, 1e12 / (double)p->latency_ps);
  const qp_plan_linear *head = qp_report_head(p);
  if (n < size)
    snprintf(out + n, size - n, ", %.3f bits a weight%s%s", p->bits_per_weight,
             head ? "; lm_head " : "", head ? p->quantizer[head->quantizer].name : "");
}

void qp_report_svg(const qp_plan *p, qp_text *to) {
  map m = {.plan = p};
  m.rows = qp_report_rows(p, m.row);
  for (unsigned l = 0; l < m.rows; l++)
    m.left = fmax(m.left, qp_chart_text_width(p->linear[m.row[l]].role));
  m.left += EDGE + 8;
  m.width = fmax(m.left + CELL * p->blocks + EDGE, LEAST_WIDTH);
  const double map_height = AXIS + CELL * (double)m.rows + 30;
  qp_text legend = {0};
  const double legend_height = draw_legend(&m, 0, &legend);
  qp_text_free(&legend);
  char title[512];
  title_of(p, title, sizeof title);
  m.top = AXIS + qp_chart_open(to, m.width, map_height + legend_height, title);
  draw_axes(&m, to);
  draw_cells(&m, to);
  draw_legend(&m, m.top - AXIS + map_height, to);
  qp_chart_close(to);
}
