/* SPDX-License-Identifier: MIT */
/* Trained codebooks: what theory says of scalars, better trellises, the text they are kept as. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

Test(train, what_has_two_codebooks_or_group_fields_is_refused) {
  const qp_quantizer *q = NULL;
  uint16_t codebook[4096];
  qp_train_options options = {.rounds = 1};
  static const char *const names[] = {"int4-g128", "aqlm-2x8"};
  for (size_t i = 0; i < 2; i++) {
    if (qp_palette_find(palette, names[i], &q, &err)) continue;
    cr_expect_eq(qp_train_codebook(q, &options, codebook, &err), QP_E_ARG);
    cr_expect(strstr(err.text, names[i]) != NULL, "%s", err.text);
  }
  cr_assert_not_null(q);
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
