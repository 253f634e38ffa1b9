/* SPDX-License-Identifier: MIT */
/* Draws distortions and sizes of a planned model, as drawings.h describes. */
#include "tuner/report/drawings.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tuner/base/chart.h"
#include "tuner/plan/report.h"

enum { WIDTH = 760, HEIGHT = 330, LEFT = 70, EDGE = 16, MARK = 4, BAR = 16, BAR_LINE = 24 };

static const char *const classes[QP_CHART_SERIES] = {"s0", "s1", "s2", "s3", "s4",
                                                     "s5", "s6", "s7", "s8", "s9"};

/* ---- Roles, as the heat map has them ---- */

typedef struct roles {
  unsigned count, linear[QP_REPORT_ROWS]; /* a linear of each */
} roles;

static roles roles_of(const qp_plan *p) {
  roles r;
  r.count = qp_report_rows(p, r.linear);
  return r;
}

static unsigned role_of(const qp_plan *p, const roles *r, unsigned linear) {
  for (unsigned i = 0; i < r->count; i++)
    if (!strcmp(p->linear[r->linear[i]].role, p->linear[linear].role)) return i;
  return r->count;
}

/* ---- Distortions ---- */

/* {"linears": {NAME: {QUANTIZER: {"distortion": D}}}}; 'planned' where it has no such linear. */
static double measured(const cJSON *report, const char *tensor, const char *quantizer,
                       double planned) {
  const cJSON *of = cJSON_GetObjectItemCaseSensitive(report, "linears");
  of = cJSON_GetObjectItemCaseSensitive(of, tensor);
  of = cJSON_GetObjectItemCaseSensitive(of, quantizer);
  const cJSON *d = cJSON_GetObjectItemCaseSensitive(of, "distortion");
  return cJSON_IsNumber(d) ? d->valuedouble : planned;
}

static double distortion_of(const qp_plan *p, const cJSON *report, unsigned i) {
  const qp_plan_linear *l = &p->linear[i];
  return measured(report, l->tensor, p->quantizer[l->quantizer].name, l->distortion);
}

/* Linears that are drawn: of blocks, with a distortion that a logarithm has. */
static bool is_drawn(const qp_plan *p, const cJSON *report, unsigned i) {
  return p->linear[i].block != QP_PLAN_NO_BLOCK && distortion_of(p, report, i) > 0;
}

static qp_chart_plot plot_of(const qp_plan *p, const cJSON *report) {
  double lo = INFINITY, hi = 0;
  for (unsigned i = 0; i < p->linears; i++) {
    if (!is_drawn(p, report, i)) continue;
    lo = fmin(lo, distortion_of(p, report, i));
    hi = fmax(hi, distortion_of(p, report, i));
  }
  if (!(hi > 0)) lo = 1e-3, hi = 1e-1;
  return (qp_chart_plot){
      .x = LEFT,
      .width = WIDTH - LEFT - EDGE,
      .height = HEIGHT,
      .across = {.lo = -0.5, .hi = fmax(p->blocks - 0.5, 0.5), .title = "block"},
      .up = {.lo = lo / 1.3, .hi = hi * 1.3, .logarithmic = true, .title = "distortion"}};
}

static double draw_roles(const qp_plan *p, const roles *r, double y, qp_text *to) {
  qp_chart_entry entry[QP_REPORT_ROWS];
  for (unsigned i = 0; i < r->count; i++)
    entry[i] = (qp_chart_entry){.text = p->linear[r->linear[i]].role,
                                .kind = classes[i % QP_CHART_SERIES],
                                .shape = i % QP_CHART_SHAPES};
  return qp_chart_legend(to, LEFT, y, WIDTH - LEFT - EDGE, entry, r->count);
}

/* Roles of a block stand side by side: linears of one quantizer have one distortion. */
static double beside(unsigned role, unsigned count) {
  return count < 2 ? 0 : 0.7 * ((double)role / (count - 1) - 0.5);
}

void qp_draw_distortions(const qp_plan *p, const cJSON *report, qp_text *to) {
  const roles r = roles_of(p);
  qp_chart_plot plot = plot_of(p, report);
  qp_text legend = {0};
  const double legend_height = draw_roles(p, &r, 0, &legend);
  qp_text_free(&legend);
  plot.y = 16 + qp_chart_open(to, WIDTH, HEIGHT + 80 + legend_height,
                              report ? "Distortion of each linear, as it was quantized"
                                     : "Distortion of each linear, as it was planned");
  qp_chart_axes(to, &plot);
  for (unsigned i = 0; i < p->linears; i++) {
    const qp_plan_linear *l = &p->linear[i];
    const unsigned role = role_of(p, &r, i);
    char tip[512];
    if (!is_drawn(p, report, i)) continue;
    const double d = distortion_of(p, report, i);
    snprintf(tip, sizeof tip, "%s: distortion %.4g, %s", l->tensor, d,
             p->quantizer[l->quantizer].name);
    qp_chart_mark(to, classes[role % QP_CHART_SERIES], role % QP_CHART_SHAPES, 0,
                  qp_chart_x(&plot, l->block + beside(role, r.count)), qp_chart_y(&plot, d), MARK,
                  tip);
  }
  draw_roles(p, &r, plot.y + HEIGHT + 60, to);
  qp_chart_close(to);
}

/* ---- Sizes ---- */

typedef struct part {
  const char *name;
  uint64_t bytes;
} part;

static unsigned parts_of(const qp_plan *p, part out[QP_REPORT_ROWS + 6]) {
  const roles r = roles_of(p);
  unsigned n = 0;
  for (unsigned i = 0; i < r.count; i++) out[n++] = (part){p->linear[r.linear[i]].role, 0};
  for (unsigned i = 0; i < p->linears; i++) {
    const unsigned role = role_of(p, &r, i);
    if (p->linear[i].block != QP_PLAN_NO_BLOCK && role < r.count)
      out[role].bytes += p->linear[i].bytes;
  }
  const part rest[] = {{"lm_head", p->memory.lm_head},     {"embedding", p->memory.embedding},
                       {"signs", p->memory.signs},         {"codebooks", p->memory.codebooks},
                       {"norms, biases", p->memory.other}, {"passed over", p->memory.passed}};
  for (unsigned i = 0; i < sizeof rest / sizeof *rest; i++)
    if (rest[i].bytes) out[n++] = rest[i];
  return n;
}

static void bytes_text(uint64_t bytes, char out[32]) {
  const double v = (double)bytes;
  if (v >= 1e9)
    snprintf(out, 32, "%.2f GB", v / 1e9);
  else if (v >= 1e6)
    snprintf(out, 32, "%.1f MB", v / 1e6);
  else if (v >= 1e3)
    snprintf(out, 32, "%.1f kB", v / 1e3);
  else
    snprintf(out, 32, "%.0f bytes", v);
}

void qp_draw_sizes(const qp_plan *p, qp_text *to) {
  part parts[QP_REPORT_ROWS + 6];
  const unsigned n = parts_of(p, parts);
  uint64_t most = 1;
  double left = 0;
  char text[32], title[64], tip[128];
  for (unsigned i = 0; i < n; i++) {
    most = parts[i].bytes > most ? parts[i].bytes : most;
    left = fmax(left, qp_chart_text_width(parts[i].name));
  }
  left += EDGE + 8;
  bytes_text(p->memory_bytes, text);
  snprintf(title, sizeof title, "Stored size by part, %s together", text);
  const double top = 12 + qp_chart_open(to, WIDTH, BAR_LINE * n + 20.0, title);
  for (unsigned i = 0; i < n; i++) {
    const double y = top + BAR_LINE * (double)i, room = WIDTH - left - 90;
    const double width = fmax(room * (double)parts[i].bytes / (double)most, 1);
    bytes_text(parts[i].bytes, text);
    snprintf(tip, sizeof tip, "%s: %s, %.1f %% of the model", parts[i].name, text,
             100 * (double)parts[i].bytes / (double)(p->memory_bytes ? p->memory_bytes : 1));
    qp_chart_text(to, left - 8, y + 13, "end", parts[i].name);
    qp_text_add(to, "<rect class=\"s0\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\"><title>",
                left, y, width, BAR);
    qp_chart_xml(to, tip);
    qp_text_add(to, "</title></rect>\n");
    qp_chart_text(to, left + width + 6, y + 13, "start", text);
  }
  qp_chart_close(to);
}
