/* SPDX-License-Identifier: MIT */
/* The drawing of measured latencies: which kernels are points, which are named, how plots lie. */
#include "tuner/tune/drawing.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static qp_record record(const char *quantizer, const char *path, unsigned rows, double us) {
  qp_record r = {.outcome = QP_RECORD_OK, .segments = 1, .columns = 4096, .batch = 1};
  r.ps = (int64_t)(us * 1e6);
  r.segment[0].rows = rows;
  snprintf(r.segment[0].quantizer, sizeof r.segment[0].quantizer, "%s", quantizer);
  snprintf(r.path, sizeof r.path, "%s", path);
  return r;
}

/* The drawing of some records, malloc'ed. */
static char *draw(qp_record *list, size_t count) {
  qp_palette *palette;
  qp_error err;
  qp_text text = {0};
  cr_assert_eq(qp_palette_open(&palette, &err), QP_OK, "%s", err.text);
  qp_tune_svg(&(qp_records){.count = count, .list = list}, palette, 3000, &text);
  qp_palette_close(palette);
  char *svg = qp_text_take(&text);
  cr_assert(svg);
  return svg;
}

static unsigned occurrences(const char *text, const char *what) {
  unsigned n = 0;
  for (const char *at = text; (at = strstr(at, what)); at++) n++;
  return n;
}

Test(drawing, each_path_has_a_point_and_none_that_is_beaten_has_a_name) {
  qp_record list[] = {
      record("nuq-3", "tensor", 4096, 5), record("nuq-3", "tensor", 4096, 4),
      record("nuq-3", "cuda", 4096, 6),   record("nuq-2", "cuda", 4096, 4.5),
      record("nuq-4", "tensor", 4096, 9), record("nuq-5", "cuda", 4096, 8),
  };
  char *svg = draw(list, sizeof list / sizeof *list);
  cr_expect_eq(occurrences(svg, "<title>nuq-3: 3 bits"), 2, "%s", svg);
  cr_expect(strstr(svg, "nuq-3: 3 bits, 4.00 us, tensor"), "the faster of two");
  cr_expect_eq(occurrences(svg, ">nuq-3</text>"), 1, "its fastest path");
  cr_expect_eq(occurrences(svg, ">nuq-5</text>"), 1);
  cr_expect_eq(occurrences(svg, ">nuq-2</text>"), 0, "nuq-3 has more bits in less time");
  cr_expect_eq(occurrences(svg, ">nuq-4</text>"), 0);
  cr_expect_eq(occurrences(svg, ">tensor</text>") + occurrences(svg, ">cuda</text>"), 2);
  free(svg);
}

Test(drawing, names_that_would_lie_on_each_other_are_one) {
  qp_record list[] = {record("nuq-3", "tensor", 4096, 4), record("nuq-3", "cuda", 4096, 4),
                      record("tcq-3", "tensor", 4096, 4)};
  char *svg = draw(list, 3);
  cr_expect_eq(occurrences(svg, "class=\"label\""), 1, "%s", svg);
  free(svg);
}

/* The width of a page, by its view box. */
static unsigned page_width(const char *svg) {
  const char *at = strstr(svg, "viewBox=\"0 0 ");
  return at ? (unsigned)strtoul(at + strlen("viewBox=\"0 0 "), NULL, 10) : 0;
}

Test(drawing, one_plot_fills_its_page_and_three_stand_in_a_row) {
  qp_record list[] = {record("nuq-3", "tensor", 4096, 4), record("nuq-3", "tensor", 1024, 4),
                      record("nuq-3", "tensor", 512, 4), record("nuq-3", "tensor", 256, 4)};
  unsigned width[5];
  for (size_t n = 1; n <= 4; n++) {
    char *svg = draw(list, n);
    cr_expect_eq(occurrences(svg, "x 4096, batch 1"), n);
    width[n] = page_width(svg);
    cr_expect_eq(occurrences(svg, "<title>"), n);
    free(svg);
  }
  cr_expect_gt(width[1], 0);
  cr_expect_lt(width[1], width[2]);
  cr_expect_eq(width[3], width[4]);
}

Test(drawing, a_quantizer_that_is_not_known_and_a_kernel_that_failed_are_left_out) {
  qp_record list[] = {record("nuq-3", "tensor", 4096, 4), record("nobody's", "tensor", 4096, 1),
                      record("nuq-2", "tensor", 4096, 1)};
  list[2].outcome = QP_RECORD_WRONG;
  char *svg = draw(list, 3);
  cr_expect_eq(occurrences(svg, "<title>"), 1, "%s", svg);
  cr_expect_eq(occurrences(svg, "nobody"), 0);
  free(svg);
}
