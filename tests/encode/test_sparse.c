/* SPDX-License-Identifier: MIT */
/* Entries that are stored apart: which are taken, what they come to, what is lost then. */
#include "gen/encode/sparse.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/encode.h"
#include "gen/encode/sample.h"
#include "runtime/half.h"

enum { ROWS = 40, COLUMNS = 256, CELLS = ROWS * COLUMNS, APART = COLUMNS / 64 };

static qp_palette *palette;
static qp_error err;
static float weight[CELLS], value[CELLS], hessian[COLUMNS * COLUMNS];

/* N(0,1), and in each row as many that are far from it as there are sparse entries. */
static unsigned far_at(unsigned row, unsigned i) { return (37 * row + 61 * i) % COLUMNS; }

static void set_up(void) {
  cr_assert_eq(qp_palette_open(&palette, &err), QP_OK, "%s", err.text);
  qp_sample_gaussian(3, CELLS, weight);
  for (unsigned r = 0; r < ROWS; r++)
    for (unsigned i = 0; i < APART; i++)
      weight[r * COLUMNS + far_at(r, i)] = (i % 2 ? -12.0f : 9.5f) - (float)i / 7;
}
static void tear_down(void) { qp_palette_close(palette); }
TestSuite(sparse, .init = set_up, .fini = tear_down);

static qp_encoded encode_rows(const char *name, unsigned first, unsigned threads, const float *h,
                              const qp_encode_searcher *by) {
  char path[512];
  const qp_quantizer *q = NULL;
  snprintf(path, sizeof path, "%s/tests/encode/sparse.lua:%s", QP_SOURCE_DIR, name);
  cr_assert_eq(qp_palette_find(palette, path, &q, &err), QP_OK, "%s", err.text);
  const qp_encode_options options = {
      .threads = threads, .input_scale = 1, .hessian = h, .searcher = by};
  qp_encoded e;
  cr_assert_eq(qp_encode_linear(q, weight + (size_t)first * COLUMNS, ROWS - first, COLUMNS,
                                &options, &e, &err),
               QP_OK, "%s", err.text);
  return e;
}
static qp_encoded encode(const char *name, const float *h, const qp_encode_searcher *by) {
  return encode_rows(name, 0, 2, h, by);
}

/* r W^ by the reference decoder, to 'value'. */
static void decode(const qp_encoded *e) {
  qp_reference *reference = qp_reference_new();
  uint16_t out[32 * COLUMNS];
  for (unsigned p = 0; p < e->parts; p++) {
    const qp_packed packed = qp_encoded_packed(e, p);
    const unsigned width = packed.stream->columns;
    for (unsigned g = 0; g < packed.stream->row_groups; g++) {
      cr_assert_eq(qp_reference_decode(reference, &packed, g, out, &err), QP_OK, "%s", err.text);
      for (unsigned r = 32 * g; r < 32 * g + 32 && r < ROWS; r++)
        for (unsigned k = 0; k < width; k++)
          value[r * COLUMNS + e->part[p].column + k] =
              e->row_scale[r] * qp_half_to_float(out[r % 32 * width + k]);
    }
  }
  qp_reference_free(reference);
}

/* tr(E H E^T) / tr(W H W^T), H the identity where it is NULL. */
static double lost(const float *h) {
  double sum = 0, all = 0;
  for (unsigned r = 0; r < ROWS; r++)
    for (unsigned i = 0; i < COLUMNS; i++)
      for (unsigned k = h ? 0 : i; k < (h ? COLUMNS : i + 1); k++) {
        const float *w = weight + r * COLUMNS, *v = value + r * COLUMNS;
        const double by = h ? (double)h[i * COLUMNS + k] : 1;
        sum += by * (double)(v[i] - w[i]) * (double)(v[k] - w[k]);
        all += by * (double)w[i] * (double)w[k];
      }
  return sum / all;
}

static void make_hessian(void) {
  for (unsigned i = 0; i < COLUMNS; i++)
    for (unsigned k = 0; k < COLUMNS; k++)
      hessian[i * COLUMNS + k] =
          (float)(exp(-0.2 * abs((int)i - (int)k)) * (i % 8 == k % 8 ? 1.5 : 1));
}

Test(sparse, the_entries_that_weigh_most_are_taken_in_the_order_of_columns) {
  float x[] = {1, -5, 2, 0, 4, -2, 2, 3};
  static const float by[] = {1, 1, 9, 1, 1, 9, 9, 1};
  qp_sparse_entry scratch[8], out[3];
  qp_sparse_take(3, 8, NULL, x, scratch, out);
  cr_expect(out[0].column == 1 && out[1].column == 4 && out[2].column == 7);
  cr_expect(out[0].weight == -5 && x[1] == 0 && x[4] == 0 && x[7] == 0 && x[2] == 2);
  qp_sparse_take(2, 8, by, x, scratch, out); /* of three equal ones the first two */
  cr_expect(out[0].column == 2 && out[1].column == 5 && out[1].weight == -2);
}

Test(sparse, weights_that_are_far_from_others_are_kept_in_fp16_and_cost_others_nothing) {
  static const char *const names[] = {"integers", "trellis"};
  for (unsigned i = 0; i < 2; i++) {
    char name[32];
    snprintf(name, sizeof name, "%s-sparse", names[i]);
    qp_encoded with = encode(name, NULL, NULL), without = encode(names[i], NULL, NULL);
    cr_expect(with.distortion < 0.2 * without.distortion, "%s: %g with, %g without", names[i],
              with.distortion, without.distortion);
    decode(&with);
    cr_expect_float_eq(lost(NULL) / with.distortion, 1, 1e-4);
    for (unsigned r = 0; r < ROWS; r++)
      for (unsigned k = 0; k < APART; k++) {
        const unsigned at = r * COLUMNS + far_at(r, k);
        cr_expect(fabsf(value[at] / weight[at] - 1) < 0x1p-10f, "%g for %g", (double)value[at],
                  (double)weight[at]);
      }
    qp_encoded_free(&with);
    qp_encoded_free(&without);
  }
}

Test(sparse, each_part_of_a_split_has_entries_of_its_own) {
  qp_encoded e = encode("both-sparse", NULL, NULL);
  decode(&e);
  cr_expect_float_eq(lost(NULL) / e.distortion, 1, 1e-4);
  cr_expect(e.part[0].stream.sparse == APART / 2 && e.part[1].stream.sparse == APART / 2);
  qp_encoded_free(&e);
}

/* With feedback entries take up the errors of the columns before them: what is reported is so, and
   less than that of the same entries without. */
Test(sparse, a_hessian_says_which_entries_matter_and_they_take_up_errors) {
  static const char *const names[] = {"integers-sparse", "trellis-sparse"};
  make_hessian();
  for (unsigned i = 0; i < 2; i++) {
    qp_encoded fed = encode(names[i], hessian, NULL), plain = encode(names[i], NULL, NULL);
    decode(&plain);
    const double before = lost(hessian);
    decode(&fed);
    cr_expect_float_eq(lost(hessian) / fed.proxy, 1, 1e-3);
    cr_expect_float_eq(lost(NULL) / fed.distortion, 1, 1e-4);
    cr_expect(fed.proxy < (i ? 0.96 : 0.85) * before, "%s: %g with feedback, %g without", names[i],
              fed.proxy, before);
    unsigned moved = 0;
    for (unsigned r = 0; r < ROWS; r++)
      for (unsigned k = 0; k < APART; k++) {
        const unsigned at = r * COLUMNS + far_at(r, k);
        moved += fabsf(value[at] / weight[at] - 1) > 0x1p-10f;
      }
    cr_expect_gt(moved, ROWS * APART / 2);
    qp_encoded_free(&fed);
    qp_encoded_free(&plain);
  }
}

/* Of the second group of rows those that are padding, too. */
Test(sparse, codes_hang_on_no_rows_that_were_coded_before) {
  make_hessian();
  qp_encoded all = encode_rows("trellis-sparse", 0, 1, hessian, NULL);
  qp_encoded last = encode_rows("trellis-sparse", 32, 1, hessian, NULL);
  const size_t words = last.part[0].stream.code_words;
  cr_assert_eq(all.part[0].stream.code_words, 2 * words);
  cr_expect_arr_eq(all.part[0].codes + words, last.part[0].codes, sizeof(uint32_t) * words);
  qp_encoded_free(&all);
  qp_encoded_free(&last);
}

Test(sparse, columns_that_weigh_more_have_the_entries) {
  memset(hessian, 0, sizeof hessian);
  for (unsigned k = 0; k < COLUMNS; k++) hessian[k * COLUMNS + k] = k < 8 ? 1e6f : 1;
  qp_encoded e = encode("integers-sparse", hessian, NULL);
  const qp_stream *s = &e.part[0].stream;
  for (unsigned r = 0; r < ROWS; r++)
    for (unsigned i = 0; i < s->sparse; i++) {
      const uint32_t word =
          qp_layout_get_sparse(s, r, i, e.part[0].field[qp_layout_sparse_array(s->quantizer)]);
      cr_expect((word & 0xffff) < 8, "row %u has column %u", r, word & 0xffff);
    }
  qp_encoded_free(&e);
}

static qp_status by_threads(void *context, const struct qp_coder *coder, const qp_stream *stream,
                            const qp_encode_search *in, qp_error *why) {
  (void)coder, (void)stream, (void)why;
  size_t *zeros = context;
  const size_t numbers = in->sequences * stream->superblocks * stream->period.steps * 2;
  for (size_t i = 0; i < numbers; i++) *zeros += in->targets[i] == 0;
  memset(in->codes, 0, sizeof *in->codes * numbers / 2);
  return QP_OK;
}

/* What else finds codes sees 0 where entries stand apart, and they make up for its codes. */
Test(sparse, a_searcher_finds_codes_of_the_rest) {
  size_t zeros = 0;
  const qp_encode_searcher by = {.context = &zeros, .search = by_threads};
  qp_encoded e = encode("trellis-sparse", NULL, &by);
  cr_expect_eq(zeros, (size_t)ROWS * APART + (size_t)(64 - ROWS) * COLUMNS);
  decode(&e);
  cr_expect_float_eq(lost(NULL) / e.distortion, 1, 1e-4);
  const unsigned at = far_at(0, 0);
  if (e.row_scale[0] != 0) cr_expect(fabsf(value[at] / weight[at] - 1) < 0x1p-10f);
  qp_encoded_free(&e);
}

/* A row that has nothing but its entries keeps them; one of zeros has none. */
Test(sparse, a_row_of_few_weights_keeps_them) {
  memset(weight, 0, sizeof weight);
  weight[7] = 3, weight[9] = -0.25f;
  qp_encoded e = encode("integers-sparse", NULL, NULL);
  decode(&e);
  cr_expect_float_eq(value[7], 3, 2e-3);
  cr_expect_float_eq(value[9], -0.25, 2e-3);
  cr_expect_lt(e.distortion, 1e-6);
  qp_encoded_free(&e);
}
