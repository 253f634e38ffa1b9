/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen/base/gaussian.h"
#include "gen/spec/codebook.h"
#include "runtime/half.h"

static qp_error err;

/* Each test in a cache folder of its own. */
static char folder[64];
static void fresh_cache(void) {
  snprintf(folder, sizeof folder, "/tmp/qpal-codebook-XXXXXX");
  cr_assert(mkdtemp(folder));
  setenv("QPAL_CACHE", folder, 1);
}
static void remove_cache(void) {
  char command[96];
  snprintf(command, sizeof command, "rm -rf %s", folder);
  cr_assert_eq(system(command), 0);
}
TestSuite(codebook, .init = fresh_cache, .fini = remove_cache);

Test(codebook, the_normal_distribution_agrees_with_libm) {
  for (double x = -6; x <= 6; x += 0.37) {
    double phi = 0.5 * erfc(-x / sqrt(2.0));
    cr_assert_float_eq(qp_gaussian_cumulative(x), phi, 1e-12);
    cr_assert_float_eq(qp_gaussian_quantile(phi), x, 1e-11 * exp(x * x / 2) + 1e-9, "x = %g", x);
    cr_assert_float_eq(qp_gaussian_density(x), exp(-x * x / 2) / sqrt(2 * 3.14159265358979323846),
                       1e-13);
  }
}

/* Max (1960), table I. */
Test(codebook, lloyd_max_is_maxs_table) {
  static const double two[] = {0.7980}, four[] = {0.4528, 1.510},
                      eight[] = {0.2451, 0.7560, 1.344, 2.152};
  static const double *const tables[] = {two, four, eight};
  uint16_t v[256];
  for (unsigned t = 0; t < 3; t++) {
    unsigned n = 2u << t;
    cr_assert_eq(qp_codebook_lloyd_max(n, v, &err), QP_OK);
    for (unsigned i = 0; i < n / 2; i++) {
      cr_assert_float_eq((double)qp_half_to_float(v[n / 2 + i]), tables[t][i], 1e-3);
      cr_assert_eq(v[n / 2 - 1 - i], v[n / 2 + i] | 0x8000);
    }
  }
}

/* Mean squared error a weight over pairs that k-means did not see. */
static double distortion(const uint16_t *book, unsigned entries) {
  enum { SAMPLES = 40000 };
  double sum = 0;
  for (unsigned i = 0; i < SAMPLES; i++) {
    double x = qp_gaussian_quantile((i + 0.5) / SAMPLES), best = 1e9;
    double y = qp_gaussian_quantile(fmod(0.3 + i * 0.61803398874989484, 1));
    for (unsigned e = 0; e < entries; e++) {
      double a = x - (double)qp_half_to_float(book[2 * e]);
      double b = y - (double)qp_half_to_float(book[2 * e + 1]);
      if (a * a + b * b < best) best = a * a + b * b;
    }
    sum += best;
  }
  return sum / SAMPLES / 2;
}

/* Figures of Q-Palette (arXiv 2509.20214), vq2 at 1.5, 2, 3 and 4 bits. */
Test(codebook, kmeans_is_as_good_as_the_published_codebooks) {
  static const struct {
    unsigned entries;
    double published;
  } cases[] = {{8, 0.201237}, {16, 0.108591}, {64, 0.029717}, {256, 0.007755}};
  uint16_t book[512];
  for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
    cr_assert_eq(qp_codebook_gaussian_kmeans(cases[i].entries, 2, 1, book, &err), QP_OK);
    double d = distortion(book, cases[i].entries);
    cr_assert_lt(d, 1.02 * cases[i].published, "%u entries: %g", cases[i].entries, d);
    cr_assert_gt(d, 0.97 * cases[i].published); /* else the measurement is wrong */
  }
}

Test(codebook, results_do_not_depend_on_the_cache) {
  uint16_t a[2 * 64], b[2 * 64];
  char command[128];
  cr_assert_eq(qp_codebook_gaussian_kmeans(64, 2, 9, a, &err), QP_OK);
  cr_assert_eq(qp_codebook_gaussian_kmeans(64, 2, 9, b, &err), QP_OK); /* read */
  cr_assert_arr_eq(a, b, sizeof a);
  snprintf(command, sizeof command, "for f in %s/codebook/*; do truncate -s -1 $f; done", folder);
  cr_assert_eq(system(command), 0);
  cr_assert_eq(qp_codebook_gaussian_kmeans(64, 2, 9, b, &err), QP_OK); /* torn: computed */
  cr_assert_arr_eq(a, b, sizeof a);
  snprintf(command, sizeof command, "for f in %s/codebook/*; do echo foreign > $f; done", folder);
  cr_assert_eq(system(command), 0);
  cr_assert_eq(qp_codebook_gaussian_kmeans(64, 2, 9, b, &err), QP_OK);
  cr_assert_arr_eq(a, b, sizeof a);
  setenv("QPAL_CACHE", "/proc/nowhere", 1); /* cannot be written */
  cr_assert_eq(qp_codebook_gaussian_kmeans(64, 2, 9, b, &err), QP_OK);
  cr_assert_arr_eq(a, b, sizeof a);
}

Test(codebook, seeds_and_methods_differ_and_random_is_normal) {
  static uint16_t a[2 * 4096], b[2 * 4096];
  cr_assert_eq(qp_codebook_random_gaussian(4096, 2, 1, a, &err), QP_OK);
  cr_assert_eq(qp_codebook_random_gaussian(4096, 2, 2, b, &err), QP_OK);
  cr_assert_arr_neq(a, b, sizeof a);
  double sum = 0, square = 0;
  for (unsigned i = 0; i < 8192; i++) {
    double x = (double)qp_half_to_float(a[i]);
    sum += x;
    square += x * x;
  }
  cr_assert_float_eq(sum / 8192, 0, 0.05);
  cr_assert_float_eq(square / 8192, 1, 0.06);
}

/* Also where the quantile lies between two fp16 numbers, a hair more or less. */
Test(codebook, draws_are_rounded_quantiles) {
  for (double u = 0x1p-14; u < 1; u += 0x1p-14) {
    const double x = qp_gaussian_quantile(u);
    cr_assert_eq(qp_codebook_draw(u), qp_double_to_half(x), "u = %a", u);
  }
  for (uint16_t h = 1; h < 0x4500; h = (uint16_t)(h + 3)) { /* up to 5 */
    const double x = (double)qp_half_to_float(h), next = (double)qp_half_to_float(++h);
    const double u = qp_gaussian_cumulative((x + next) / 2);
    for (int k = -4; k <= 4; k++) {
      const double near = u + 2e-9 * k;
      if (near >= 1) continue;
      const double want = qp_gaussian_quantile(near);
      cr_assert_eq(qp_codebook_draw(near), qp_double_to_half(want), "u = %a", near);
      cr_assert_eq(qp_codebook_draw(1 - near), qp_double_to_half(qp_gaussian_quantile(1 - near)));
    }
  }
}

Test(codebook, what_cannot_be_is_named) {
  uint16_t v[8];
  cr_assert_eq(qp_codebook_gaussian_kmeans(0, 2, 1, v, &err), QP_E_ARG);
  cr_assert(strstr(err.text, "entries"));
  cr_assert_eq(qp_codebook_gaussian_kmeans(4, 17, 1, v, &err), QP_E_ARG);
  cr_assert(strstr(err.text, "dim"));
  cr_assert_eq(qp_codebook_lloyd_max(65536, v, &err), QP_E_ARG);
  cr_assert_eq(qp_codebook_gaussian_kmeans(65536, 8, 1, v, &err), QP_E_ARG);
  cr_assert(strstr(err.text, "1024"), "%s", err.text);
}
