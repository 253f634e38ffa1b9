/* SPDX-License-Identifier: MIT */
/* The page of a report; see page.h.  Style and script stand in it: nothing is loaded. */
#include "tuner/report/page.h"

#include <stdio.h>
#include <string.h>

#include "tuner/base/chart.h"
#include "tuner/plan/report.h"
#include "tuner/report/drawings.h"

static const char style[] =
    "<style>\n"
    ":root { color-scheme: light dark; --page: #ffffff; --text: #24292f; --quiet: #57606a;\n"
    "  --line: #d8dee4; --tip: #24292f; --tip-text: #ffffff; }\n"
    "@media (prefers-color-scheme: dark) { :root { --page: #0d1117; --text: #e6edf3;\n"
    "  --quiet: #8d96a0; --line: #30363d; --tip: #e6edf3; --tip-text: #0d1117; } }\n"
    "body { margin: 0 auto; padding: 1rem; max-width: 70rem; background: var(--page);\n"
    "  color: var(--text); font: 15px/1.5 system-ui, sans-serif; }\n"
    "h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }\n"
    "dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: "
    ".75rem;\n"
    "  margin: 0; } dt { color: var(--quiet); font-size: .85rem; } dd { margin: 0;\n"
    "  font-weight: 600; font-variant-numeric: tabular-nums; }\n"
    "figure { margin: 0; overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; }\n"
    "figure svg { display: block; } p, li { max-width: 45rem; } .quiet { color: var(--quiet); }\n"
    "[data-tip]:focus { outline: none; stroke: var(--text); stroke-width: 2.5; }\n"
    "figure:focus-within { outline: 2px solid var(--quiet); }\n"
    "#tip { position: fixed; display: none; box-sizing: border-box; width: max-content;\n"
    "  max-width: min(24rem, calc(100vw - 16px)); padding: .3rem .5rem;\n"
    "  border-radius: 4px; background: var(--tip); color: var(--tip-text); font-size: .85rem;\n"
    "  pointer-events: none; z-index: 1; overflow-wrap: anywhere; }\n"
    "</style>\n";

/* The words of a mark's <title> become the tooltip of pointer and focus.  One mark of a drawing is
   in the order of Tab; arrow keys, Home and End go to the others. */
static const char script[] =
    "<script>\n"
    "'use strict';\n"
    "const tip = document.getElementById('tip');\n"
    "function show(mark) {\n"
    "  const at = mark.getBoundingClientRect();\n"
    "  tip.textContent = mark.dataset.tip;\n"
    "  tip.style.left = tip.style.top = '8px';\n" /* where it was, it had less room to be wide */
    "  tip.style.display = 'block';\n"
    "  const box = tip.getBoundingClientRect();\n"
    "  const within = (at, size, room) => Math.max(8, Math.min(at, room - size - 8));\n"
    "  const above = at.top - box.height - 8;\n"
    "  tip.style.left = within(at.right + 8, box.width, window.innerWidth) + 'px';\n"
    "  tip.style.top = within(above < 8 ? at.bottom + 8 : above, box.height,\n"
    "    window.innerHeight) + 'px';\n"
    "}\n"
    "function hide() { tip.style.display = 'none'; }\n"
    "const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };\n"
    "for (const drawing of document.querySelectorAll('figure svg')) {\n"
    "  const marks = [...drawing.querySelectorAll('title')].map(title => {\n"
    "    const mark = title.parentNode;\n"
    "    mark.dataset.tip = title.textContent;\n"
    "    mark.setAttribute('aria-label', title.textContent);\n"
    "    mark.setAttribute('role', 'img');\n"
    "    title.remove();\n"
    "    return mark;\n"
    "  });\n"
    "  drawing.setAttribute('role', 'group');\n"
    "  marks.forEach((mark, i) => {\n"
    "    mark.setAttribute('tabindex', i ? -1 : 0);\n"
    "    mark.addEventListener('mouseenter', () => show(mark));\n"
    "    mark.addEventListener('mouseleave', hide);\n"
    "    mark.addEventListener('focus', () => { mark.scrollIntoView({ block: 'nearest',\n"
    "      inline: 'nearest' }); show(mark); });\n"
    "    mark.addEventListener('blur', hide);\n"
    "    mark.addEventListener('keydown', event => {\n"
    "      const to = event.key === 'Home' ? 0 : event.key === 'End' ? marks.length - 1\n"
    "        : i + (steps[event.key] || 0);\n"
    "      if (event.key === 'Escape') hide();\n"
    "      if (to === i || !marks[to]) return;\n"
    "      event.preventDefault();\n"
    "      mark.setAttribute('tabindex', -1);\n"
    "      marks[to].setAttribute('tabindex', 0);\n"
    "      marks[to].focus();\n"
    "    });\n"
    "  });\n"
    "}\n"
    "window.addEventListener('scroll', () => {\n"
    "  if (document.activeElement && document.activeElement.dataset.tip) "
    "show(document.activeElement);\n"
    "});\n"
    "</script>\n";

static void add_figure(qp_text *t, const char *name, const char *value) {
  qp_text_add(t, "<div><dt>");
  qp_chart_xml(t, name);
  qp_text_add(t, "</dt><dd>");
  qp_chart_xml(t, value);
  qp_text_add(t, "</dd></div>\n");
}

static void add_number(qp_text *t, const char *name, const char *format, double value) {
  char text[64];
  snprintf(text, sizeof text, format, value);
  add_figure(t, name, text);
}

static double number_of(const cJSON *o, const char *name) {
  const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, name);
  return cJSON_IsNumber(v) ? v->valuedouble : 0;
}

static void add_figures(const qp_page_parts *parts, qp_text *t) {
  const qp_plan *p = parts->plan;
  qp_text_add(t, "<dl>\n");
  add_number(t, "bits a weight, planned", "%.3f", p->bits_per_weight);
  if (parts->quantized)
    add_number(t, "bits a weight, stored", "%.3f", number_of(parts->quantized, "bits_per_weight"));
  add_number(t, "model, megabytes", "%.1f", (double)p->memory_bytes / 1e6);
  add_number(t, "loss, sum of sensitivity x distortion", "%.5g", p->loss);
  add_figure(t, "optimum", p->proven ? "proven" : "not proven");
  if (!p->proven) add_number(t, "gap to the bound, %", "%.3g", 100 * p->gap);
  if (p->latency_ps > 0) {
    add_number(t, "latency of a pass, us", "%.1f", (double)p->latency_ps * 1e-6);
    add_number(t, "tokens a second", "%.1f", 1e12 / (double)p->latency_ps);
  }
  if (parts->quantized)
    add_number(t, "mean distortion", "%.4g", number_of(parts->quantized, "distortion"));
  if (*p->gpu) add_figure(t, "GPU", p->gpu);
  qp_text_add(t, "</dl>\n");
}

/* A heading and a drawing that names itself; or what to do where there is none. */
static void add_drawing(qp_text *t, const char *heading, const char *svg, const char *otherwise) {
  qp_text_add(t, "<section><h2>");
  qp_chart_xml(t, heading);
  qp_text_add(t, "</h2>\n");
  if (svg)
    qp_text_add(t, "<figure>\n%s</figure>\n", svg);
  else
    qp_text_add(t, "<p class=\"quiet\">%s</p>\n", otherwise);
  qp_text_add(t, "</section>\n");
}

static void add_own(qp_text *t, const char *heading, qp_text *drawing) {
  t->failed |= drawing->failed;
  if (!t->failed) add_drawing(t, heading, drawing->s, "");
  qp_text_free(drawing);
}

static void add_notes(const qp_plan *p, qp_text *t) {
  if (!p->notes) return;
  qp_text_add(t, "<section><h2>Notes of the plan</h2>\n<ul>\n");
  for (unsigned i = 0; i < p->notes; i++) {
    qp_text_add(t, "<li>");
    qp_chart_xml(t, p->note[i]);
    qp_text_add(t, "</li>\n");
  }
  qp_text_add(t, "</ul></section>\n");
}

/* What stands in the place of measured kernels. */
static void add_untuned(const qp_page_parts *parts, qp_text *t) {
  if (parts->untuned && *parts->untuned) {
    qp_chart_xml(t, parts->untuned);
    qp_text_add(t, "<br>\n");
  }
  qp_text_add(t,
              "No measured kernels are drawn: <code>qpal tune --model MODEL</code> measures those "
              "of the GPU at hand, <code>qpal report --gpu GPU</code> or "
              "<code>--records FILE.jsonl</code> draws them.");
}

void qp_page_write(const qp_page_parts *parts, qp_text *t) {
  qp_text map = {0}, distortions = {0}, sizes = {0}, untuned = {0};
  add_untuned(parts, &untuned);
  qp_text_add(t, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                 "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                 "<link rel=\"icon\" href=\"data:,\">\n<title>");
  qp_chart_xml(t, parts->plan->model);
  qp_text_add(t, " - qpal</title>\n%s</head>\n<body>\n<main>\n<h1>", style);
  qp_chart_xml(t, parts->plan->model);
  qp_text_add(t, "</h1>\n");
  add_figures(parts, t);
  qp_text_add(t,
              "<p class=\"quiet\">Marks have tooltips: point at one, or go to a drawing with Tab "
              "and on with the arrow keys.</p>\n");
  qp_report_svg(parts->plan, &map);
  add_own(t, "Plan", &map);
  add_drawing(t, "Pareto fronts, and the plan that was chosen", parts->front,
              "No fronts were traced: <code>qpal plan --front</code> does, and "
              "<code>qpal make</code>.");
  qp_draw_distortions(parts->plan, parts->quantized, &distortions);
  add_own(t, "Distortions", &distortions);
  add_drawing(t, "Measured kernels, against what reading the weights takes", parts->tuned,
              untuned.s);
  qp_text_free(&untuned);
  qp_draw_sizes(parts->plan, &sizes);
  add_own(t, "Sizes", &sizes);
  add_notes(parts->plan, t);
  qp_text_add(t, "<p class=\"quiet\">Made by ");
  qp_chart_xml(t, parts->made_by);
  qp_text_add(t, ".</p>\n</main>\n<div id=\"tip\" role=\"status\"></div>\n%s</body>\n</html>\n",
              script);
}
