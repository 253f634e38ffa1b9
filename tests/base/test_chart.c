/* SPDX-License-Identifier: MIT */
/* Axes, titles and legends of drawings: round ticks, nothing beyond the page. */
#include "tuner/base/chart.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Is a value 1, 2 or 5 times a power of ten, or a multiple of such a step? */
static bool is_round(double v, double step) { return fabs(v / step - round(v / step)) < 1e-6; }

Test(chart, ticks_are_multiples_of_1_2_or_5_times_a_power_of_ten) {
  double tick[QP_CHART_TICKS];
  for (double lo = 0.013; lo < 100; lo *= 3.7)
    for (double span = 0.02; span < 1e5; span *= 2.9) {
      const qp_chart_axis axis = {.lo = lo, .hi = lo + span};
      const unsigned n = qp_chart_ticks(&axis, 8, tick);
      cr_assert(n >= 2 && n <= 8, "%g to %g: %u ticks", lo, lo + span, n);
      const double step = tick[1] - tick[0];
      const double digits = step / pow(10, floor(log10(step) + 1e-9));
      cr_expect(fabs(digits - 1) < 1e-6 || fabs(digits - 2) < 1e-6 || fabs(digits - 5) < 1e-6,
                "%g to %g: step %g", lo, lo + span, step);
      for (unsigned i = 0; i < n; i++) {
        cr_expect(is_round(tick[i], step));
        cr_expect(tick[i] >= lo - 1e-6 * span && tick[i] <= lo + span * (1 + 1e-6));
      }
    }
}

Test(chart, ends_that_differ_by_rounding_alone_are_one_tick) {
  double tick[QP_CHART_TICKS];
  const qp_chart_axis axis = {.lo = 4.25, .hi = 4.25 + 4e-15}, up = {1e6, 1e6 + 1e-9, true, NULL};
  cr_expect_eq(qp_chart_ticks(&axis, 8, tick), 1);
  cr_expect_eq(qp_chart_ticks(&up, 8, tick), 1);
  const qp_chart_plot p = {.width = 100, .height = 100, .across = axis, .up = up};
  cr_expect_eq(qp_chart_x(&p, 4.25 + 2e-15), 50);
}

Test(chart, logarithmic_ticks_are_1_2_and_5_of_a_decade_or_decades_where_those_are_many) {
  double tick[QP_CHART_TICKS];
  const qp_chart_axis two = {.lo = 0.9, .hi = 110, .logarithmic = true};
  cr_expect_eq(qp_chart_ticks(&two, 10, tick), 7);
  cr_expect_float_eq(tick[1], 2, 1e-9);
  cr_expect_float_eq(tick[6], 100, 1e-9);
  const qp_chart_axis many = {.lo = 1e-4, .hi = 1e4, .logarithmic = true};
  cr_expect_eq(qp_chart_ticks(&many, 10, tick), 9);
  cr_expect_float_eq(tick[1], 1e-3, 1e-12);
}

Test(chart, values_have_places_between_the_ends_of_their_axes) {
  const qp_chart_plot p = {.x = 10,
                           .y = 20,
                           .width = 100,
                           .height = 50,
                           .across = {.lo = 0, .hi = 4},
                           .up = {.lo = 1, .hi = 100, .logarithmic = true}};
  cr_expect_float_eq(qp_chart_x(&p, 1), 35, 1e-9);
  cr_expect_float_eq(qp_chart_y(&p, 1), 70, 1e-9);
  cr_expect_float_eq(qp_chart_y(&p, 10), 45, 1e-9);
}

Test(chart, a_long_title_is_broken_into_lines_that_fit) {
  qp_text t = {0};
  const double one = qp_chart_open(&t, 300, 100, "short");
  qp_text_free(&t);
  t = (qp_text){0};
  const double many =
      qp_chart_open(&t, 300, 100, "a title of many words that does not fit into a line of 300");
  cr_expect(many > one, "the content begins below all lines of the title");
  unsigned lines = 0;
  for (const char *at = t.s; (at = strstr(at, "class=\"title\"")); at++) lines++;
  cr_expect_eq(lines, 2);
  cr_expect_not_null(strstr(t.s, "prefers-color-scheme: dark"));
  qp_text_free(&t);
}

Test(chart, a_legend_stays_within_its_width) {
  qp_chart_entry entry[30];
  for (unsigned i = 0; i < 30; i++)
    entry[i] = (qp_chart_entry){.text = "quantizer-3.25", .shape = QP_CHART_SQUARE};
  qp_text t = {0};
  const double y = qp_chart_legend(&t, 12, 0, 400, entry, 30);
  cr_expect(y > 9 * QP_CHART_LINE, "%g", y);
  for (const char *at = t.s; (at = strstr(at, "<text x=\"")); at += 9)
    cr_expect(strtod(at + 9, NULL) + qp_chart_text_width("quantizer-3.25") <= 412 + 1);
  qp_text_free(&t);
}

Test(chart, names_cannot_break_out_of_the_drawing) {
  qp_text t = {0};
  qp_chart_text(&t, 0, 0, "start", "a<b>&\"c\x1b[0m");
  cr_expect_not_null(strstr(t.s, "a&lt;b&gt;&amp;&quot;c [0m"));
  qp_text_free(&t);
}

/* A label of a point at these places of a plot from 50, 50 to 450, 350: where its text begins or
   ends, and its base line. */
static void place_label(double x, double y, char anchor[8], double *at_x, double *at_y) {
  const qp_chart_plot p = {.x = 50, .y = 50, .width = 400, .height = 300};
  qp_text t = {0};
  qp_chart_label(&t, &p, x, y, "chosen: loss 0.39 at 3.5 bits");
  cr_assert_eq(sscanf(t.s, "<text class=\"label\" x=\"%lf\" y=\"%lf\" text-anchor=\"%7[a-z]", at_x,
                      at_y, anchor),
               3, "%s", t.s);
  qp_text_free(&t);
}

Test(chart, a_label_stays_off_the_falling_line_of_its_point_and_within_the_plot) {
  char anchor[8];
  double x, y;
  place_label(100, 100, anchor, &x, &y);
  cr_expect(!strcmp(anchor, "start") && x > 100 && y < 100, "%s %g %g", anchor, x, y);
  place_label(400, 300, anchor, &x, &y);
  cr_expect(!strcmp(anchor, "end") && x < 400 && y > 300 && y < 350, "%s %g %g", anchor, x, y);
  place_label(440, 345, anchor, &x, &y);
  cr_expect(!strcmp(anchor, "end") && x < 440 && y < 345, "no room below: %g %g", x, y);
}
