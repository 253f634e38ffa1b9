/* SPDX-License-Identifier: MIT */
/* Codes of several stages: found where decode adds up, searched nearly as well as all codes. */
#include "gen/encode/stages.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/encode.h"
#include "gen/encode/sample.h"
#include "runtime/half.h"

enum { VECTORS = 400 };

static qp_palette *palette;
static qp_error err;

static void open_palette(void) {
  cr_assert_eq(qp_palette_open(&palette, &err), QP_OK, "%s", err.text);
}
static void close_palette(void) { qp_palette_close(palette); }
TestSuite(stages, .init = open_palette, .fini = close_palette);

static const qp_quantizer *find(const char *name) {
  const qp_quantizer *q = NULL;
  char path[512];
  snprintf(path, sizeof path, "%s/tests/encode/stages.lua:%s", QP_SOURCE_DIR, name);
  cr_assert_eq(qp_palette_find(palette, path, &q, &err), QP_OK, "%s", err.text);
  return q;
}

static qp_stages stages_of(const char *name) {
  qp_stages s;
  cr_assert_eq(qp_stages_make(&s, find(name), &err), QP_OK, "%s", err.text);
  return s;
}

static double error_of(const qp_quantizer *q, uint32_t code, const float *x) {
  uint16_t half[16];
  double sum = 0;
  qp_quantizer_decode(q, code, NULL, NULL, half);
  for (unsigned e = 0; e < q->dim; e++) {
    const double d = (double)x[e] - (double)qp_half_to_float(half[e]);
    sum += d * d;
  }
  return sum;
}

Test(stages, are_runs_of_bits_that_add_up_the_largest_first) {
  qp_stages s = stages_of("two");
  cr_assert_eq(s.count, 2);
  cr_expect(s.stage[0].shift == 0 && s.stage[0].bits == 6 && s.stage[1].shift == 6);
  qp_stages_free(&s);
  s = stages_of("long");
  cr_assert_eq(s.count, 3);
  cr_expect(s.stage[0].bits == 12 && s.stage[1].shift == 12 && s.stage[2].shift == 20);
  qp_stages_free(&s);
  s = stages_of("product");
  cr_expect_eq(s.count, 0);
}

Test(stages, a_beam_finds_codes_nearly_as_good_as_the_best) {
  const qp_quantizer *q = find("two");
  qp_stages s = stages_of("two");
  static float x[VECTORS * 4];
  static uint32_t code[VECTORS];
  float *scratch = malloc(sizeof *scratch * qp_stages_scratch(&s));
  double found = 0, best = 0;
  qp_sample_gaussian(9, VECTORS * 4, x);
  qp_stages_search(&s, VECTORS, x, scratch, code);
  for (unsigned i = 0; i < VECTORS; i++) {
    double least = INFINITY;
    for (uint32_t c = 0; c < 4096; c++) least = fmin(least, error_of(q, c, x + 4 * i));
    found += error_of(q, code[i], x + 4 * i);
    best += least;
  }
  cr_expect(found >= best * (1 - 1e-6) && found <= 1.05 * best, "%g, the best is %g", found, best);
  free(scratch);
  qp_stages_free(&s);
}

/* The least sum that 16 survivors of the first stage lead to, by looking at all codes of both. */
static float beam_of_two(const qp_stages *s, const float *target) {
  enum { SURVIVORS = 16 };
  const unsigned dim = s->dim, first = 1u << s->stage[0].bits, second = 1u << s->stage[1].bits;
  float least[SURVIVORS], best = INFINITY;
  uint32_t code[SURVIVORS] = {0};
  for (unsigned i = 0; i < SURVIVORS; i++) least[i] = INFINITY;
  for (uint32_t c = 0; c < first; c++) {
    float sum = 0;
    for (unsigned e = 0; e < dim; e++)
      sum += powf(target[e] - s->base[e] - s->stage[0].value[(size_t)c * dim + e], 2);
    unsigned at = SURVIVORS;
    for (; at && sum < least[at - 1]; at--)
      if (at < SURVIVORS) least[at] = least[at - 1], code[at] = code[at - 1];
    if (at < SURVIVORS) least[at] = sum, code[at] = c;
  }
  for (unsigned i = 0; i < SURVIVORS; i++)
    for (uint32_t c = 0; c < second; c++) {
      float sum = 0;
      for (unsigned e = 0; e < dim; e++)
        sum += powf(target[e] - s->base[e] - s->stage[0].value[(size_t)code[i] * dim + e] -
                        s->stage[1].value[(size_t)c * dim + e],
                    2);
      best = fminf(best, sum);
    }
  return best;
}

/* Its first stage has a tree. */
Test(stages, of_many_codes_the_same_survive_as_when_all_are_looked_at) {
  qp_stages s = stages_of("many");
  static float x[VECTORS / 4 * 8];
  static uint32_t code[VECTORS / 4];
  float *scratch = malloc(sizeof *scratch * qp_stages_scratch(&s));
  cr_assert(s.count == 2 && s.stage[0].words.tree && !s.stage[1].words.tree);
  qp_sample_gaussian(9, VECTORS / 4 * 8, x);
  qp_stages_search(&s, VECTORS / 4, x, scratch, code);
  for (unsigned i = 0; i < VECTORS / 4; i++) {
    const float *a = s.stage[0].value + (size_t)(code[i] & 4095) * 8;
    const float *b = s.stage[1].value + (size_t)(code[i] >> 12) * 8;
    float found = 0;
    for (unsigned e = 0; e < 8; e++) found += powf(x[8 * i + e] - s.base[e] - a[e] - b[e], 2);
    const float wanted = beam_of_two(&s, x + 8 * i);
    cr_expect(fabsf(found / wanted - 1) < 1e-5F, "vector %u: %g, not %g", i, (double)found,
              (double)wanted);
  }
  free(scratch);
  qp_stages_free(&s);
}

Test(stages, codes_of_more_than_20_bits_are_coded_stage_by_stage_and_others_refused) {
  static float w[32 * 128];
  qp_encoded e;
  const qp_encode_options options = {.input_scale = 1.4};
  qp_sample_gaussian(4, 32 * 128, w);
  cr_assert_eq(qp_encode_linear(find("long"), w, 32, 128, &options, &e, &err), QP_OK, "%s",
               err.text);
  cr_expect(e.distortion < 0.06, "%g", e.distortion);
  qp_encoded_free(&e);
  cr_expect_eq(qp_encode_linear(find("long-product"), w, 32, 128, &options, &e, &err), QP_E_LIMIT);
  cr_expect(strstr(err.text, "codes of 24 bits; up to 20 can be encoded"), "%s", err.text);
}
