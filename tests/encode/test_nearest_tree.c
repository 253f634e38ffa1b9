/* SPDX-License-Identifier: MIT */
/* A search that leaves codewords out finds what one finds that looks at all of them. */
#include "gen/encode/nearest_tree.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "gen/encode/sample.h"

enum { MOST_CODES = 4200, TARGETS = 24, MOST_DIM = 16, KEPT = 16 };

static float values[MOST_CODES * MOST_DIM], x[TARGETS * MOST_DIM];

/* N(0,1), or of few different numbers, so that many codes are equally near and boxes are flat. */
static void draw(unsigned count, unsigned dim, bool coarse) {
  qp_sample_gaussian(count + dim, (size_t)count * dim, values);
  qp_sample_gaussian(3, (size_t)TARGETS * dim, x);
  for (size_t i = 0; coarse && i < (size_t)count * dim; i++) values[i] = rintf(values[i] * 2) / 2;
  for (size_t i = 0; coarse && i < (size_t)TARGETS * dim; i += 2) x[i] = rintf(x[i] * 4) / 4;
  for (unsigned e = 0; e < dim; e++) x[e] *= 30; /* far from all of them */
}

static float distance(unsigned dim, const float *t, const float *target) {
  float d = 0;
  for (unsigned e = 0; e < dim; e++) d = fmaf(t[e], t[e], d);
  for (unsigned e = 0; e < dim; e++) d = fmaf(target[e], -2 * t[e], d);
  return d;
}

static uint32_t expected(unsigned count, unsigned dim, const float *target) {
  float least = INFINITY;
  uint32_t best = 0;
  for (uint32_t c = 0; c < count; c++) {
    const float d = distance(dim, values + (size_t)c * dim, target);
    if (d < least) least = d, best = c;
  }
  return best;
}

/* The least distances that were shown. */
typedef struct kept {
  float least[KEPT];
  unsigned shown;
} kept;

static float keep(void *arg, unsigned set, const float *d, const uint32_t *code) {
  kept *k = arg;
  for (; set; set &= set - 1) {
    const unsigned l = (unsigned)__builtin_ctz(set);
    k->shown += code[l] < MOST_CODES;
    if (!(d[l] < k->least[KEPT - 1])) continue;
    unsigned at = KEPT - 1;
    for (; at && d[l] < k->least[at - 1]; at--) k->least[at] = k->least[at - 1];
    k->least[at] = d[l];
  }
  return k->least[KEPT - 1];
}

static int compare_floats(const void *a, const void *b) {
  const float p = *(const float *)a, q = *(const float *)b;
  return (p > q) - (p < q);
}

static void expect_several(const qp_codeword_tree *t, unsigned count, unsigned dim,
                           const float *target) {
  static float all[MOST_CODES];
  kept k = {.shown = 0};
  for (unsigned i = 0; i < KEPT; i++) k.least[i] = INFINITY;
  qp_codeword_tree_search(t, target, keep, &k);
  for (unsigned c = 0; c < count; c++) all[c] = distance(dim, values + (size_t)c * dim, target);
  qsort(all, count, sizeof *all, compare_floats);
  for (unsigned i = 0; i < KEPT; i++)
    cr_expect_eq(k.least[i], all[i], "%u codes of dim %u, number %u: %g, not %g", count, dim, i,
                 (double)k.least[i], (double)all[i]);
}

static void compare(const char *isa, unsigned count, unsigned dim, bool coarse) {
  qp_error err;
  qp_codeword_tree *t = NULL;
  draw(count, dim, coarse);
  setenv("QPAL_ISA", isa, 1);
  cr_assert(!qp_codeword_tree_new(count, dim, values, &t, &err));
  unsetenv("QPAL_ISA");
  for (unsigned i = 0; i < TARGETS; i++) {
    const float *target = x + (size_t)i * dim;
    const uint32_t wanted = expected(count, dim, target),
                   code = qp_codeword_tree_nearest(t, target);
    cr_expect_eq(code, wanted, "%s, %u codes of dim %u, target %u: %u, not %u", isa, count, dim, i,
                 code, wanted);
    if (count >= KEPT) expect_several(t, count, dim, target);
  }
  qp_codeword_tree_free(t);
}

Test(nearest_tree, finds_the_nearest_codes_and_of_equals_the_lowest) {
  static const char *const isa[] = {"plain", "avx2"};
  static const unsigned count[] = {1, 15, 17, 257, 1500, MOST_CODES};
  static const unsigned dim[] = {1, 3, 8, 16};
  for (unsigned s = 0; s < 2; s++)
    for (unsigned c = 0; c < sizeof count / sizeof *count; c++)
      for (unsigned d = 0; d < sizeof dim / sizeof *dim; d++) {
        compare(isa[s], count[c], dim[d], false);
        compare(isa[s], count[c], dim[d], true);
      }
}

Test(nearest_tree, looks_at_few_of_many_codes) {
  enum { COUNT = 1 << 14, DIM = 8 };
  float *many = malloc(sizeof *many * COUNT * DIM);
  qp_codeword_tree *t = NULL;
  qp_error err;
  qp_sample_gaussian(1, (size_t)COUNT * DIM, many);
  qp_sample_gaussian(2, (size_t)TARGETS * DIM, x);
  cr_assert(!qp_codeword_tree_new(COUNT, DIM, many, &t, &err));
  kept k = {.shown = 0};
  for (unsigned i = 0; i < TARGETS; i++) {
    for (unsigned e = 0; e < KEPT; e++) k.least[e] = INFINITY;
    qp_codeword_tree_search(t, x + (size_t)i * DIM, keep, &k);
  }
  cr_expect(k.shown < TARGETS * COUNT / 50, "%u of %u", k.shown, TARGETS * COUNT);
  qp_codeword_tree_free(t);
  free(many);
}
