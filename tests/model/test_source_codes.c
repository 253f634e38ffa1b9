/* SPDX-License-Identifier: MIT */
/* Blocks of GGUF and weights packed by others: a quantizer of ours decodes their codes and numbers
   to the same fp16 numbers. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/random.h"
#include "gen/model/source_codes.h"
#include "gen/spec/quantizer.h"
#include "runtime/half.h"

enum { ROWS = 3, BLOCKS = 4 };

static qp_error err;

static const qp_quantizer *quantizer_of(qp_palette *palette, const char *name) {
  const qp_quantizer *q;
  cr_assert_eq(qp_palette_find(palette, name, &q, &err), QP_OK, "%s", err.text);
  return q;
}

/* What the quantizer decodes for a weight of the source. */
static uint16_t decoded(const qp_quantizer *q, const qp_source_tensor *t, uint64_t row,
                        uint64_t column, uint32_t code) {
  uint32_t raw[QP_MAX_FIELDS] = {0};
  uint16_t out[16];
  for (unsigned f = 0; f < q->fields; f++) {
    const double number = qp_source_number(t, row, column, q->field[f].name);
    raw[f] = qp_field_raw(q->field[f].type, number);
    cr_assert_eq(qp_field_number(q->field[f].type, raw[f]), number, "%s %g", q->field[f].name,
                 number);
  }
  cr_assert_lt(code, 1u << q->step);
  qp_quantizer_decode(q, code, raw, NULL, out);
  return out[column % q->dim];
}

/* Random codes; halves at these places are sensible numbers. */
static void fill(const qp_block_type *type, unsigned char *bytes, const int *halves) {
  qp_random r = {type->number};
  for (unsigned b = 0; b < ROWS * BLOCKS; b++) {
    unsigned char *block = bytes + (size_t)b * type->bytes;
    for (unsigned i = 0; i < type->bytes; i++) block[i] = (unsigned char)(qp_random_next(&r) >> 40);
    for (unsigned i = 0; i < 2 && halves[i] >= 0; i++) {
      const uint16_t h = qp_double_to_half(qp_random_uniform(&r, -0.1, 0.1));
      memcpy(block + halves[i], &h, 2);
    }
    if (type->number == 39) block[0] = (unsigned char)(113 + b);
    for (unsigned i = 0; i < 4 && type->number == 40; i++) block[i] &= 0x7f; /* and 0x7f is 0 */
    if (type->number == 40 && b == 0) block[0] = 0x7f;
  }
}

static void expect_same(qp_palette *palette, const qp_block_type *type, const char *name,
                        const int *halves) {
  const unsigned columns = BLOCKS * type->elements;
  unsigned char *bytes = malloc((size_t)ROWS * BLOCKS * type->bytes);
  uint32_t *codes = malloc(columns * sizeof *codes);
  float *values = malloc(columns * sizeof *values);
  char found[64], why[256];
  fill(type, bytes, halves);
  const qp_gguf_tensor g = {.number = type->number, .type = type, .data = bytes};
  const qp_source_tensor t = {
      .dims = 2, .rows = ROWS, .columns = columns, .type = type->name, .packed = &g};
  cr_assert(qp_source_is_packed(&t) && qp_source_quantizer(&t, found, why), "%s", type->name);
  cr_assert_str_eq(found, name);
  const qp_quantizer *q = quantizer_of(palette, name);
  for (unsigned r = 0; r < ROWS; r++) {
    type->decode(bytes + (size_t)r * BLOCKS * type->bytes, columns, values);
    qp_source_codes(&t, r, codes);
    for (unsigned c = 0; c < columns; c++)
      cr_assert_eq(decoded(q, &t, r, c, codes[c]), qp_float_to_half(values[c]),
                   "%s [%u][%u]: code %u for %a", type->name, r, c, codes[c], (double)values[c]);
  }
  free(bytes);
  free(codes);
  free(values);
}

Test(source_codes, of_blocks_that_are_kept_decode_to_the_same_numbers) {
  static const struct {
    uint32_t number;
    const char *name;
    int halves[2];
  } kept[] = {{2, "int4-g32", {0, -1}}, {3, "q4_1", {0, 2}},      {6, "q5_0", {0, -1}},
              {7, "q5_1", {0, 2}},      {8, "q8_0", {0, -1}},     {10, "q2_k", {80, 82}},
              {11, "q3_k", {108, -1}},  {12, "q4_k", {0, 2}},     {13, "q5_k", {0, 2}},
              {14, "q6_k", {208, -1}},  {20, "iq4_nl", {0, -1}},  {23, "iq4_xs", {0, -1}},
              {34, "tq1_0", {52, -1}},  {35, "tq2_0", {64, -1}},  {39, "mxfp4", {-1, -1}},
              {40, "nvfp4", {-1, -1}},  {16, "iq2_xxs", {0, -1}}, {17, "iq2_xs", {0, -1}},
              {18, "iq3_xxs", {0, -1}}};
  qp_palette *palette;
  cr_assert_eq(qp_palette_open(&palette, &err), QP_OK, "%s", err.text);
  for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
    expect_same(palette, qp_block_type_find(kept[i].number), kept[i].name, kept[i].halves);
  qp_palette_close(palette);
}

Test(source_codes, of_numbers_in_16_bits_there_are_none) {
  const qp_gguf_tensor half = {.number = 1, .type = qp_block_type_find(1)};
  const qp_source_tensor t = {.type = "F16", .packed = &half}, plain = {.type = "F16"};
  cr_assert(!qp_source_is_packed(&t) && !qp_source_is_packed(&plain));
}
