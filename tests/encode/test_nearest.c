/* SPDX-License-Identifier: MIT */
/* The nearest codewords, by each instruction set, beside all distances one by one. */
#include "gen/encode/nearest.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

enum { MOST_CODES = 300, MOST_TARGETS = 41 };

static uint32_t seed = 7;

/* Few different numbers, so that many codes are equally near. */
static float draw(void) {
  seed = seed * 1664525 + 1013904223;
  return (float)((int)(seed >> 28) - 8) / 8;
}

/* By what the header promises: |t|^2 - 2 x.t in fused multiply-adds, the lowest of equals. */
static uint32_t expected(unsigned count, unsigned dim, const float *values, const float *x) {
  float least = INFINITY;
  uint32_t best = 0;
  for (uint32_t code = 0; code < count; code++) {
    float d = 0;
    for (unsigned i = 0; i < dim; i++) d = fmaf(values[code * dim + i], values[code * dim + i], d);
    for (unsigned i = 0; i < dim; i++) d = fmaf(x[i], -2 * values[code * dim + i], d);
    if (d < least) least = d, best = code;
  }
  return best;
}

static void compare(const char *isa, unsigned count, unsigned dim, unsigned targets) {
  static float values[MOST_CODES * QP_NEAREST_DIM], x[MOST_TARGETS * QP_NEAREST_DIM];
  uint32_t code[MOST_TARGETS + 1];
  qp_codewords c;
  for (unsigned i = 0; i < count * dim; i++) values[i] = draw();
  for (unsigned i = 0; i < targets * dim; i++) x[i] = draw() + (i % 3 ? 0 : draw() / 64);
  setenv("QPAL_ISA", isa, 1);
  cr_assert(!qp_codewords_make(&c, count, dim, values, NULL));
  unsetenv("QPAL_ISA");
  code[targets] = 12345;
  qp_codewords_nearest(&c, targets, x, code);
  for (unsigned i = 0; i < targets; i++) {
    const uint32_t wanted = expected(count, dim, values, x + (size_t)i * dim);
    cr_expect_eq(code[i], wanted, "%s, %u codes of dim %u, %u of %u: %u, not %u", isa, count, dim,
                 i, targets, code[i], wanted);
  }
  cr_expect_eq(code[targets], 12345, "codes behind the last target are not touched");
  qp_codewords_free(&c);
}

Test(nearest, is_the_lowest_code_at_the_least_distance) {
  static const char *const isa[] = {"plain", "avx2", "avx512"};
  static const unsigned count[] = {1, 2, 5, 16, 17, 33, 64, MOST_CODES};
  static const unsigned targets[] = {1, 2, 15, 16, 17, 32, MOST_TARGETS};
  for (size_t s = 0; s < sizeof isa / sizeof *isa; s++)
    for (size_t c = 0; c < sizeof count / sizeof *count; c++)
      for (size_t n = 0; n < sizeof targets / sizeof *targets; n++)
        for (unsigned dim = 1; dim <= 4; dim++) compare(isa[s], count[c], dim, targets[n]);
}
