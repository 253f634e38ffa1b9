/* SPDX-License-Identifier: MIT */
/* Coders are made once for a quantizer, and those that were not asked for lately are forgotten. */
#include <criterion/criterion.h>
#include <string.h>

#include "gen/encode/coders.h"
#include "gen/encode/encode.h"
#include "gen/encode/sample.h"

static qp_palette *palette;
static qp_error err;

static void open_palette(void) {
  cr_assert_eq(qp_palette_open(&palette, &err), QP_OK, "%s", err.text);
}
static void close_palette(void) { qp_palette_close(palette); }
TestSuite(coders, .init = open_palette, .fini = close_palette);

static const qp_quantizer *find(const char *name) {
  const qp_quantizer *q = NULL;
  cr_assert_eq(qp_palette_find(palette, name, &q, &err), QP_OK, "%s", err.text);
  return q;
}

static const qp_coder *get(qp_coders *c, const char *name, unsigned beam) {
  const qp_coder *coder = NULL;
  cr_assert_eq(qp_coders_get(c, find(name), beam, &coder, &err), QP_OK, "%s", err.text);
  cr_assert_eq(coder->quantizer, find(name));
  return coder;
}

Test(coders, linears_of_one_quantizer_share_its_coder_and_get_the_same_codes) {
  enum { ROWS = 32, COLUMNS = 256 };
  static float weights[ROWS * COLUMNS];
  qp_coders *kept = qp_coders_new(QP_CODERS_BYTES);
  uint32_t *first = NULL;
  size_t bytes = 0;
  qp_sample_gaussian(3, (size_t)ROWS * COLUMNS, weights);
  for (unsigned i = 0; i < 3; i++) { /* the last one by itself */
    const qp_encode_options options = {
        .threads = 1, .input_scale = 1, .coders = i < 2 ? kept : NULL};
    qp_encoded e;
    cr_assert_eq(qp_encode_linear(find("tcq-1.75"), weights, ROWS, COLUMNS, &options, &e, &err),
                 QP_OK, "%s", err.text);
    if (!i) {
      bytes = sizeof *first * e.part[0].stream.code_words;
      first = malloc(bytes);
      memcpy(first, e.part[0].codes, bytes);
    }
    cr_expect_arr_eq(e.part[0].codes, first, bytes);
    qp_encoded_free(&e);
  }
  cr_expect_eq(qp_coders_made(kept), 2); /* of the split's two parts */
  free(first);
  qp_coders_free(kept);
}

Test(coders, a_beam_of_another_width_is_another_coder) {
  qp_coders *c = qp_coders_new(QP_CODERS_BYTES);
  const qp_coder *usual = get(c, "nuq-2", 0), *other = get(c, "nuq-2", 64);
  cr_expect_neq(usual, other);
  cr_expect_eq(get(c, "nuq-2", 0), usual);
  cr_expect_eq(qp_coders_made(c), 2);
  qp_coders_free(c);
}

Test(coders, tables_beyond_the_limit_are_forgotten_the_oldest_first) {
  qp_coders *c = qp_coders_new(0);
  const size_t one = qp_coder_bytes(get(c, "nuq-2", 0));
  cr_expect_gt(one, 0);
  qp_coders_free(c);
  c = qp_coders_new(2 * one);
  get(c, "nuq-2", 0);
  get(c, "nuq-2", 64);
  get(c, "nuq-2", 0);
  get(c, "nuq-2", 128);
  qp_coders_trim(c); /* the one with 64 */
  cr_expect_eq(qp_coders_made(c), 3);
  get(c, "nuq-2", 0);
  get(c, "nuq-2", 128);
  cr_expect_eq(qp_coders_made(c), 3);
  get(c, "nuq-2", 64);
  cr_expect_eq(qp_coders_made(c), 4);
  qp_coders_free(c);
}
