/* SPDX-License-Identifier: MIT */
/* Trained codebooks: what theory says of scalars, better trellises, the text they are kept as. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen/encode/encode.h"
#include "gen/encode/sample.h"
#include "gen/encode/train.h"
#include "gen/spec/codebook_file.h"
#include "runtime/half.h"

static qp_palette *palette;
static qp_error err;
static char folder[] = "/tmp/qpal_train_XXXXXX";

static void set_up(void) {
  cr_assert_not_null(mkdtemp(folder));
  cr_assert_eq(qp_palette_open(&palette, &err), QP_OK, "%s", err.text);
}

static void tear_down(void) {
  char command[64];
  qp_palette_close(palette);
  snprintf(command, sizeof command, "rm -r %s", folder);
  cr_assert_eq(system(command), 0);
}

TestSuite(train, .init = set_up, .fini = tear_down);

static void write_text(const char *name, const char *text) {
  char path[128];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen(path, "w");
  cr_assert_not_null(f);
  fputs(text, f);
  fclose(f);
}

static qp_status load(const char *name, const qp_quantizer **q) {
  char path[128];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return qp_palette_find(palette, path, q, &err);
}

static void note(void *arg, unsigned round, unsigned rounds, double distortion) {
  double *at = arg;
  if (!round) at[0] = distortion;
  if (round + 1 == rounds) at[1] = distortion;
}

static void train(const qp_quantizer *q, unsigned rounds, size_t weights, uint16_t *codebook,
                  double first_last[2]) {
  qp_train_options options = {
      .rounds = rounds, .weights = weights, .progress = note, .arg = first_last};
  memcpy(codebook, q->codebook[0].data,
         sizeof *codebook * q->codebook[0].entries * q->codebook[0].dim);
  cr_assert_eq(qp_train_codebook(q, &options, codebook, &err), QP_OK, "%s", err.text);
}

/* What a quantizer loses on other weights with these codebooks. */
static double trained_loss(const qp_quantizer *q, uint16_t *const *books) {
  static float w[32 * 256];
  qp_quantizer view = *q;
  qp_encoded e;
  for (unsigned c = 0; c < q->codebooks; c++) {
    view.codebook[c].data = books[c];
    view.codebook[c].scope = QP_SCOPE_SPEC;
  }
  const qp_encode_options options = {.input_scale = 1};
  qp_sample_gaussian(77, 32 * 256, w);
  cr_assert_eq(qp_encode_linear(&view, w, 32, 256, &options, &e, &err), QP_OK, "%s", err.text);
  const double lost = e.distortion;
  qp_encoded_free(&e);
  return lost;
}

Test(train, a_scalar_codebook_becomes_the_lloyd_max_quantizer) {
  write_text("scalar.lua",
             "return scalar { name = 's-2', bits = 2, codebook = values { -3, -0.2, 0.1, 2 } }");
  const qp_quantizer *q;
  double distortion[2];
  uint16_t codebook[4];
  cr_assert_eq(load("scalar.lua", &q), QP_OK, "%s", err.text);
  train(q, 30, 400000, codebook, distortion);
  /* Max 1960, table I: levels 0.4528 and 1.510, distortion 0.1175 */
  const double level[] = {-1.510, -0.4528, 0.4528, 1.510};
  for (unsigned i = 0; i < 4; i++)
    cr_expect_float_eq((double)qp_half_to_float(codebook[i]), level[i], 0.02);
  cr_expect_float_eq(distortion[1], 0.1175, 0.002, "%g", distortion[1]);
}

Test(train, values_behind_a_sign_and_a_fine_part_are_found_too) {
  /* weights: +-(entry + 0 or 1/2): four points a side from two entries */
  write_text("parts.lua", "return scalar { name = 's-3', bits = 3, codebook = values { 0.1, 3 },\n"
                          "  decode = function (s, c)\n"
                          "    return flip_sign(c[s & 1] + half(s >> 1 & 1) * 0.5, 1, s >> 2)\n"
                          "  end }");
  const qp_quantizer *q;
  double distortion[2];
  uint16_t codebook[2];
  cr_assert_eq(load("parts.lua", &q), QP_OK, "%s", err.text);
  train(q, 30, 200000, codebook, distortion);
  /* 3-bit uniform-like points lie between the best 3-bit quantizer (0.03454) and the best
  ** uniform one (0.03744), Max 1960 */
  cr_expect(distortion[1] < 0.0400 && distortion[1] > 0.0340, "%g", distortion[1]);
}

Test(train, a_trellis_gets_better_than_its_random_start) {
  write_text("trellis.lua", "return trellis { name = 't-2', window = 10, dim = 2, step = 4,\n"
                            "  codebook = random_gaussian { entries = 128, dim = 2 },\n"
                            "  decode = function (s, c) return c[s * 0x2b7 >> 3 & 127] end }");
  const qp_quantizer *q;
  double distortion[2];
  uint16_t codebook[256];
  cr_assert_eq(load("trellis.lua", &q), QP_OK, "%s", err.text);
  train(q, 12, 200000, codebook, distortion);
  cr_expect(distortion[1] < 0.95 * distortion[0], "%g before, %g after", distortion[0],
            distortion[1]);
}

Test(train, codebooks_of_any_scope_with_fields_get_better_together) {
  static const char *const names[] = {"additive", "scaled", "row-signs"};
  static const double most[] = {0.85, 0.95, 0.97};
  for (size_t i = 0; i < 3; i++) {
    const qp_quantizer *q = NULL;
    char path[512];
    snprintf(path, sizeof path, "%s/tests/encode/books.lua:%s", QP_SOURCE_DIR, names[i]);
    cr_assert_eq(qp_palette_find(palette, path, &q, &err), QP_OK, "%s", err.text);
    uint16_t a[64], b[64], *const books[] = {a, b};
    const qp_train_options options = {.rounds = 20, .weights = 16384};
    for (unsigned c = 0; c < q->codebooks; c++)
      memcpy(books[c], q->codebook[c].data,
             sizeof *a * q->codebook[c].entries * q->codebook[c].dim);
    const double before = trained_loss(q, books);
    cr_assert_eq(qp_train_codebooks(q, &options, books, &err), QP_OK, "%s", err.text);
    const double after = trained_loss(q, books);
    cr_expect(after < most[i] * before, "%s: %g before, %g after", names[i], before, after);
  }
}

Test(train, what_has_no_codebook_or_is_no_sum_of_entries_is_refused) {
  const qp_quantizer *q = NULL;
  uint16_t data[4], *const books[] = {data};
  qp_train_options options = {.rounds = 1, .weights = 16384};
  char path[512];
  cr_assert_eq(qp_palette_find(palette, "int4-g128", &q, &err), QP_OK);
  cr_expect_eq(qp_train_codebooks(q, &options, books, &err), QP_E_ARG);
  cr_expect(strstr(err.text, "int4-g128 has no codebook"), "%s", err.text);
  snprintf(path, sizeof path, "%s/tests/encode/books.lua:scaled-square", QP_SOURCE_DIR);
  cr_assert_eq(qp_palette_find(palette, path, &q, &err), QP_OK, "%s", err.text);
  memcpy(data, q->codebook[0].data, sizeof data);
  cr_expect_eq(qp_train_codebooks(q, &options, books, &err), QP_E_ARG);
  cr_expect(strstr(err.text, "is no sum of codebook entries"), "%s", err.text);
}

Test(train, a_codebook_file_is_read_from_the_folder_of_its_spec) {
  const uint16_t data[] = {0x3c00, 0xbc00, 0x0001, 0x7bff};
  char *text = qp_codebook_print(2, 2, data);
  cr_assert_str_eq(text, "qpal codebook 2 x 2 fp16\n3c00 bc00\n0001 7bff\n");
  write_text("two.codebook", text);
  free(text);
  write_text("two.lua", "return vector { name = 'v-0.5', dim = 2, bits = 1,\n"
                        "  codebook = stored { file = 'two.codebook', entries = 2, dim = 2 } }");
  const qp_quantizer *q;
  cr_assert_eq(load("two.lua", &q), QP_OK, "%s", err.text);
  cr_expect_arr_eq(q->codebook[0].data, data, sizeof data);
}

static void expect_refused(const char *text, const char *why) {
  uint16_t *data = NULL;
  err.text[0] = 0;
  cr_expect_eq(qp_codebook_parse("x", text, strlen(text), 2, 1, &data, &err), QP_E_ARG, "%s", text);
  cr_expect(strstr(err.text, why) != NULL, "'%s' should say '%s'", err.text, why);
  cr_expect_null(data);
}

Test(train, a_torn_or_foreign_codebook_file_is_refused_with_its_line) {
  expect_refused("", "x:1: should be 'qpal codebook 2 x 1 fp16'");
  expect_refused("qpal codebook 3 x 1 fp16\n3c00\n", "x:1:");
  expect_refused("qpal codebook 2 x 1 fp16\n3c00\n", "x:3:");
  expect_refused("qpal codebook 2 x 1 fp16\n3c00\n3c0", "x:3:");
  expect_refused("qpal codebook 2 x 1 fp16\n3c00 3c00\n", "x:2:");
  expect_refused("qpal codebook 2 x 1 fp16\n3c00\n7c00\n", "finite");
  expect_refused("qpal codebook 2 x 1 fp16\n3c00\n3C00\n", "x:3:");
  expect_refused("qpal codebook 2 x 1 fp16\n3c00\n3c00\n\n", "nothing should follow");
}

Test(train, a_codebook_file_outside_the_folder_is_not_read) {
  write_text("out.lua", "return scalar { name = 's-1', bits = 1,\n"
                        "  codebook = stored { file = '../passwd', entries = 2 } }");
  const qp_quantizer *q;
  cr_expect_eq(load("out.lua", &q), QP_E_ARG);
  cr_expect(strstr(err.text, "field 'file'") != NULL, "%s", err.text);
}
