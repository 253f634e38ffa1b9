/* SPDX-License-Identifier: MIT */
/* Weights that are packed already, as codes and numbers. */
#include "gen/model/source_codes.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "gen/model/block_points.h"
#include "gen/model/checkpoint_state.h"
#include "runtime/half.h"

/* 'count' bytes from 'at' on become 'byte'. */
typedef struct patch {
  unsigned char at, count, byte;
} patch;

/*
** Blocks that a quantizer of ours decodes alike.  With scales of 1 and minima of 0, which 'unit'
** writes, they decode to their own integers, and a code is that plus 'zero', or its place among
** 'values'.  In the order in which a row reads best.
*/
/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
typedef struct kept_block {
  uint32_t number; /* The number of the type in GGUF files. */
  const char *quantizer;
  int scale, minimum; /* where these halves stand in a block; -1: there is none */
  int zero;
  const int8_t *values; /* [16], or NULL */
  patch unit[5];
} kept_block;

static const int8_t uneven[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};
static const int8_t twice_fp4[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

#define ONE(at)                                                                                    \
  {at, 1, 0}, { at + 1, 1, 0x3c } /* fp16 */
static const kept_block kept[] = {
    {2, "int4-g32", 0, -1, 8, NULL, {ONE(0)}},
    {3, "q4_1", 0, 2, 0, NULL, {ONE(0), {2, 2, 0}}},
    {6, "q5_0", 0, -1, 16, NULL, {ONE(0)}},
    {7, "q5_1", 0, 2, 0, NULL, {ONE(0), {2, 2, 0}}},
    {8, "q8_0", 0, -1, 128, NULL, {ONE(0)}},
    {10, "q2_k", 80, 82, 0, NULL, {{0, 16, 1}, ONE(80), {82, 2, 0}}},
    {11, "q3_k", 108, -1, 4, NULL, {{96, 8, 0x11}, {104, 4, 0xaa}, ONE(108)}},
    {12, "q4_k", 0, 2, 0, NULL, {ONE(0), {2, 2, 0}, {4, 8, 1}, {12, 4, 0x11}}},
    {13, "q5_k", 0, 2, 0, NULL, {ONE(0), {2, 2, 0}, {4, 8, 1}, {12, 4, 0x11}}},
    {14, "q6_k", 208, -1, 32, NULL, {{192, 16, 1}, ONE(208)}},
    {QP_BLOCK_IQ2_XXS, "iq2_xxs", 0, -1, 0, NULL, {{0}}},
    {QP_BLOCK_IQ2_XS, "iq2_xs", 0, -1, 0, NULL, {{0}}},
    {QP_BLOCK_IQ3_XXS, "iq3_xxs", 0, -1, 0, NULL, {{0}}},
    {20, "iq4_nl", 0, -1, 0, uneven, {ONE(0)}},
    {23, "iq4_xs", 0, -1, 0, uneven, {ONE(0), {2, 2, 0xaa}, {4, 4, 0x11}}},
    {34, "tq1_0", 52, -1, 1, NULL, {ONE(52)}},
    {35, "tq2_0", 64, -1, 1, NULL, {ONE(64)}},
    {39, "mxfp4", -1, -1, 0, twice_fp4, {{0, 1, 128}}},
    {40, "nvfp4", -1, -1, 0, twice_fp4, {{0, 4, 0x40}}},
};

static const kept_block *find_kept(uint32_t number) {
  for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
    if (kept[i].number == number) return &kept[i];
  return NULL;
}

/* The tensor of the file that holds a row, and the row's number in it. */
static const qp_source_tensor *whole_of(const qp_source_tensor *t, uint64_t *row) {
  if (!t->whole) return *row = qp_checkpoint_row(t, *row), t;
  *row = qp_checkpoint_viewed_row(t, *row);
  return whole_of(t->whole, row);
}

static const unsigned char *block_of(const qp_source_tensor *t, uint64_t row, uint64_t column) {
  const qp_block_type *type = t->packed->type;
  const uint64_t blocks = t->columns / type->elements;
  return t->packed->data + (size_t)(row * blocks + column / type->elements) * type->bytes;
}

static float half_at(const unsigned char *p) {
  return qp_half_to_float((uint16_t)(p[0] | p[1] << 8));
}

/* ---- What it is ---- */

static bool is_plain_block(const qp_block_type *type) { return type->elements == 1; }

bool qp_source_is_packed(const qp_source_tensor *t) {
  const qp_source_tensor *whole = t->whole ? t->whole : t;
  return whole->packing || (whole->packed && !is_plain_block(whole->packed->type));
}

bool qp_source_quantizer(const qp_source_tensor *t, char name[64], char why[256]) {
  const qp_source_tensor *whole = t->whole ? t->whole : t;
  const qp_packing *p = whole->packing;
  const kept_block *k = whole->packed ? find_kept(whole->packed->number) : NULL;
  if (p && p->kind->codes) return p->kind->codes->quantizer(p, name, why);
  if (k) return snprintf(name, 64, "%s", k->quantizer), true;
  snprintf(why, 256,
           "values of %s are products in fp32, of numbers that fp16 does not hold or of "
           "two scales",
           whole->type);
  return false;
}

/* ---- Codes ---- */

static uint32_t code_of_integer(const kept_block *k, float integer) {
  if (!k->values) return (uint32_t)((int)integer + k->zero);
  unsigned i = 0;
  while (i < 15 && (float)k->values[i] != integer) i++;
  return i;
}

static bool is_points(const kept_block *k) {
  return k->number >= QP_BLOCK_IQ2_XXS && k->number <= QP_BLOCK_IQ3_XXS;
}

/* The code that tq1_0 has for eight neighbouring trits:  ceil(2^13 v / 3^8). */
static void join_trits(uint32_t *codes, unsigned count) {
  for (unsigned i = 0; i < count; i += 8) {
    uint32_t v = 0;
    for (unsigned k = 0; k < 8; k++) v = 3 * v + codes[i + k];
    for (unsigned k = 0; k < 8; k++) codes[i + k] = (v * 8192 + 6560) / 6561;
  }
}

static void block_codes(const qp_source_tensor *t, const kept_block *k, uint64_t row,
                        uint32_t *codes) {
  const qp_block_type *type = t->packed->type;
  for (uint64_t c = 0; c < t->columns; c += type->elements) {
    unsigned char block[256];
    float integer[256];
    if (is_points(k)) {
      for (unsigned i = 0; i < type->elements; i++)
        codes[c + i] = qp_block_point_code(k->number, block_of(t, row, c), i);
      continue;
    }
    memcpy(block, block_of(t, row, c), type->bytes);
    for (unsigned i = 0; i < 5; i++)
      memset(block + k->unit[i].at, k->unit[i].byte, k->unit[i].count);
    type->decode(block, type->elements, integer);
    for (unsigned i = 0; i < type->elements; i++) codes[c + i] = code_of_integer(k, integer[i]);
    if (!strcmp(k->quantizer, "tq1_0")) join_trits(codes + c, type->elements);
  }
}

void qp_source_codes(const qp_source_tensor *t, uint64_t row, uint32_t *codes) {
  const qp_source_tensor *whole = whole_of(t, &row);
  if (whole->packed) {
    block_codes(whole, find_kept(whole->packed->number), row, codes);
    return;
  }
  for (uint64_t c = 0; c < whole->columns; c++)
    codes[c] = whole->packing->kind->codes->code(whole->packing, row, c);
}

/* The scale of a group, as the field of our quantizer has it. */
static double group_scale(uint32_t number, const unsigned char *block, unsigned element) {
  const unsigned scale = qp_block_group_scale(number, block, element);
  if (number == 14) return (int8_t)scale;
  if (number != 40) return scale;
  return scale == 0x7f ? 0 : (double)qp_element_get(block + element / 16, QP_TENSOR_F8_E4M3, 0);
}

static double block_number(const kept_block *k, const unsigned char *block, unsigned element,
                           const char *field) {
  const bool levels =
      (k->number >= 10 && k->number <= 14) || k->number == 23 || k->number == 40 || is_points(k);
  if (!strcmp(field, "zero")) return k->zero;
  if (!strcmp(field, "all")) return 1;
  if (!strcmp(field, "exponent")) return block[0];
  if (!strcmp(field, "least")) return qp_block_group_minimum(k->number, block, element);
  if (!strcmp(field, "scale") && levels) return group_scale(k->number, block, element);
  const bool minimum = !strcmp(field, "min") || !strcmp(field, "dmin");
  return (double)half_at(block + (minimum ? k->minimum : k->scale));
}

double qp_source_number(const qp_source_tensor *t, uint64_t row, uint64_t column,
                        const char *field) {
  const qp_source_tensor *whole = whole_of(t, &row);
  if (whole->packing)
    return (double)whole->packing->kind->codes->number(whole->packing, row, column, field);
  const qp_block_type *type = whole->packed->type;
  return block_number(find_kept(type->number), block_of(whole, row, column),
                      (unsigned)(column % type->elements), field);
}

void qp_source_order(const qp_source_tensor *t, uint16_t *order) {
  uint64_t row = 0;
  const qp_source_tensor *whole = whole_of(t, &row);
  const qp_packing *p = whole->packing;
  for (uint64_t c = 0; c < whole->columns; c++) order[c] = (uint16_t)c;
  if (p && p->kind->codes->order) p->kind->codes->order(p, order);
}
