/* SPDX-License-Identifier: MIT */
/* What a linear with a Hessian is coded with, where trials say that it loses less. */
#include "gen/encode/settle.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/encode.h"
#include "gen/encode/sample.h"

enum { ROWS = 64, COLUMNS = 128 };

static qp_palette *palette;
static qp_error err;
static float weight[ROWS * COLUMNS], hessian[COLUMNS * COLUMNS];

static void set_up(void) {
  cr_assert_eq(qp_palette_open(&palette, &err), QP_OK, "%s", err.text);
  qp_sample_gaussian(3, ROWS * COLUMNS, weight);
}
static void tear_down(void) { qp_palette_close(palette); }
TestSuite(settle, .init = set_up, .fini = tear_down);

/* E[x x^T] of columns that are so much alike as their neighbours. */
static void make_hessian(double alike) {
  for (int i = 0; i < COLUMNS; i++)
    for (int k = 0; k < COLUMNS; k++)
      hessian[i * COLUMNS + k] = (float)pow(alike, (double)abs(i - k));
}

/* False: no BLAS here. */
static bool encode(const char *name, const qp_encode_options *options, qp_encoded *out) {
  const qp_quantizer *q = NULL;
  cr_assert_eq(qp_palette_find(palette, name, &q, &err), QP_OK, "%s", err.text);
  const qp_status status = qp_encode_linear(q, weight, ROWS, COLUMNS, options, out, &err);
  if (status == QP_E_MISSING) return false;
  cr_assert_eq(status, QP_OK, "%s", err.text);
  return true;
}

static qp_encode_options usual(void) {
  return (qp_encode_options){
      .input_scale = 1, .hessian = hessian, .hessian_samples = 16 * COLUMNS, .threads = 2};
}

Test(settle, less_damping_is_kept_where_it_is_most_of_what_feedback_leaves) {
  qp_encode_options options = usual();
  qp_encoded e;
  make_hessian(0.997);
  if (!encode("nuq-6", &options, &e)) return;
  const double before = e.proxy;
  cr_expect_eq(e.damping, 0.01);
  qp_encoded_free(&e);
  options.settles_damping = true;
  encode("nuq-6", &options, &e);
  cr_expect_float_eq(e.damping, 0.001, 1e-9, "%g", e.damping);
  cr_expect_eq(e.input_scale, 1);
  cr_expect(e.proxy < 0.9 * before, "%g, before %g", e.proxy, before);
  qp_encoded_free(&e);
}

Test(settle, damping_stays_where_it_is_little_or_samples_are_few_or_not_known) {
  static const struct {
    double alike;
    size_t samples;
  } cases[] = {{0.5, 16 * COLUMNS}, {0.997, 15 * COLUMNS}, {0.997, 0}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    qp_encode_options options = usual();
    qp_encoded e;
    options.settles_damping = true;
    options.hessian_samples = cases[i].samples;
    make_hessian(cases[i].alike);
    if (!encode("nuq-6", &options, &e)) return;
    cr_expect_eq(e.damping, 0.01, "case %zu: %g", i, e.damping);
    qp_encoded_free(&e);
  }
}

Test(settle, rows_are_brought_to_a_smaller_scale_where_errors_widen_their_targets) {
  qp_encode_options options = usual();
  qp_encoded e;
  make_hessian(0.97);
  options.input_scale = 0; /* the best for N(0,1) */
  if (!encode("tcq-1.5", &options, &e)) return;
  const double before = e.proxy, scale = e.input_scale;
  qp_encoded_free(&e);
  options.settles_scale = true;
  encode("tcq-1.5", &options, &e);
  cr_expect(e.input_scale < 0.94 * scale && e.input_scale > 0.79 * scale, "%g", e.input_scale);
  cr_expect_eq(e.damping, 0.01);
  cr_expect(e.proxy < 0.95 * before, "%g, before %g", e.proxy, before);
  qp_encoded_free(&e);
}

Test(settle, what_is_settled_does_not_depend_on_the_threads) {
  qp_encode_options options = usual();
  qp_encoded e[2];
  options.settles_scale = options.settles_damping = true;
  make_hessian(0.99);
  for (unsigned i = 0; i < 2; i++) {
    options.threads = 1 + 2 * i;
    if (!encode("vq2-2", &options, &e[i])) return;
  }
  cr_expect_eq(e[0].proxy, e[1].proxy);
  cr_expect_eq(e[0].input_scale, e[1].input_scale);
  const size_t bytes = sizeof(uint32_t) * e[0].part[0].stream.code_words;
  cr_expect(memcmp(e[0].part[0].codes, e[1].part[0].codes, bytes) == 0);
  for (unsigned i = 0; i < 2; i++) qp_encoded_free(&e[i]);
}
