/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "gen/base/hadamard.h"

/* Each base order's matrix: entries +-1 and H H^T = n I. */
Test(hadamard, every_base_order_is_orthogonal) {
  static const unsigned needed[] = {12, 20,  28,  36,  44,  52,  60,  68,  76, 84,
                                    92, 100, 108, 124, 132, 140, 148, 164, 172};
  for (unsigned k = 0; k < sizeof needed / sizeof *needed; k++)
    cr_assert(qp_hadamard_base(needed[k]), "order %u is missing", needed[k]);
  for (unsigned n = 4; n <= 428; n += 4) {
    const int8_t *h = qp_hadamard_base(n);
    if (!h) continue;
    for (unsigned i = 0; i < n; i++)
      for (unsigned j = 0; j <= i; j++) {
        int dot = 0;
        for (unsigned c = 0; c < n; c++) dot += h[i * n + c] * h[j * n + c];
        cr_assert_eq(dot, i == j ? (int)n : 0, "order %u rows %u and %u", n, i, j);
      }
    for (unsigned c = 0; c < n * n; c++) cr_assert(h[c] == 1 || h[c] == -1);
  }
}

Test(hadamard, orders_that_are_not_known_give_null) {
  cr_assert_null(qp_hadamard_base(0));
  cr_assert_null(qp_hadamard_base(6));
  cr_assert_null(qp_hadamard_base(13));
  cr_assert_null(qp_hadamard_base(432));
}

static unsigned product(const qp_hadamard *h) {
  unsigned p = h->blocks << h->log2_tail;
  for (unsigned i = 0; i < h->bases; i++) p *= h->base[i];
  return p;
}

Test(hadamard, the_columns_of_all_supported_models_factor_without_blocks) {
  static const unsigned columns[] = {
      4096,  11008, 14336, 5120, 13824, 8192, 28672, 2048,  3072,  896,   4864,  1536, 8960, 3584,
      18944, 27648, 29568, 1024, 6144,  2560, 9728,  12288, 17408, 25600, 32768, 2304, 9216, 4608,
      36864, 640,   1152,  6912, 10240, 3840, 15360, 5376,  21504, 17920, 576,   960};
  for (unsigned i = 0; i < sizeof columns / sizeof *columns; i++) {
    qp_hadamard h;
    qp_hadamard_factor(columns[i], &h);
    cr_assert_eq(h.blocks, 1, "K = %u", columns[i]);
    cr_assert_eq(product(&h), columns[i]);
  }
}

Test(hadamard, cheap_factorisations_are_preferred) {
  qp_hadamard h;
  qp_hadamard_factor(9216,
                     &h); /* 12 x 12 x 64 takes 24 + 6 additions an element, 36 x 256 takes 44 */
  cr_assert_eq(h.bases, 2);
  cr_assert_eq(h.log2_tail, 6);
  qp_hadamard_factor(4096, &h);
  cr_assert_eq(h.bases, 0);
  cr_assert_eq(h.log2_tail, 12);
}

Test(hadamard, any_other_order_gets_the_fewest_diagonal_blocks) {
  static const struct {
    unsigned k, blocks;
  } cases[] = {{1, 1},   {2, 1},       {3, 3},   {6, 3},   {96, 1},
               {672, 1}, {1001, 1001}, {416, 1}, {928, 29}};
  for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
    qp_hadamard h;
    qp_hadamard_factor(cases[i].k, &h);
    cr_assert_eq(product(&h), cases[i].k);
    cr_assert_eq(h.blocks, cases[i].blocks, "K = %u: %u blocks", cases[i].k, h.blocks);
  }
}

Test(hadamard, diagonal_blocks_are_the_transform_of_each_range_of_columns) {
  static const unsigned cases[][2] = {{576, 288}, {1024, 128}, {96, 1}, {928, 464}, {768, 0}};
  for (unsigned c = 0; c < sizeof cases / sizeof *cases; c++) {
    const unsigned k = cases[c][0], block = cases[c][1] ? cases[c][1] : k;
    double x[1024], y[1024], z[1024];
    qp_hadamard all, one;
    qp_hadamard_factor_blocks(k, cases[c][1], &all);
    qp_hadamard_factor(block, &one);
    cr_assert_eq(product(&all), k);
    cr_assert_eq(all.blocks, k / block * one.blocks, "K = %u in %u", k, block);
    for (unsigned i = 0; i < k; i++) x[i] = sin(1.0 + i * i);
    qp_hadamard_apply(&all, x, y);
    for (unsigned at = 0; at < k; at += block) qp_hadamard_apply(&one, x + at, z + at);
    for (unsigned i = 0; i < k; i++) cr_assert_eq(y[i], z[i], "K = %u in %u, %u", k, block, i);
  }
}

/* The transform against the Kronecker product written out. */
static int entry(const qp_hadamard *h, unsigned i, unsigned j) {
  unsigned tail = 1u << h->log2_tail;
  int v = __builtin_popcount(i % tail & j % tail) & 1 ? -1 : 1;
  i /= tail;
  j /= tail;
  for (unsigned f = h->bases; f-- > 0;) {
    unsigned n = h->base[f];
    v *= qp_hadamard_base(n)[i % n * n + j % n];
    i /= n;
    j /= n;
  }
  return i == j ? v : 0;
}

Test(hadamard, the_transform_is_the_kronecker_product) {
  static const unsigned orders[] = {1, 2, 8, 12, 24, 72, 144, 240, 576, 35 * 4};
  for (unsigned o = 0; o < sizeof orders / sizeof *orders; o++) {
    unsigned n = orders[o];
    qp_hadamard h;
    qp_hadamard_factor(n, &h);
    double *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y), *z = malloc(n * sizeof *z);
    for (unsigned i = 0; i < n; i++) x[i] = sin(1.0 + i * i);
    qp_hadamard_apply(&h, x, y);
    for (unsigned i = 0; i < n; i++) {
      double want = 0;
      for (unsigned j = 0; j < n; j++) want += entry(&h, i, j) * x[j];
      want /= sqrt((double)n / h.blocks);
      cr_assert_float_eq(y[i], want, 1e-12 * n, "order %u, row %u", n, i);
    }
    qp_hadamard_apply_transposed(&h, y, z);
    for (unsigned i = 0; i < n; i++) cr_assert_float_eq(z[i], x[i], 1e-12 * n);
    qp_hadamard_apply(&h, x, x); /* in place */
    for (unsigned i = 0; i < n; i++) cr_assert_eq(x[i], y[i]);
    free(x);
    free(y);
    free(z);
  }
}
