/* SPDX-License-Identifier: MIT */
/* Weights that are packed already, as codes and numbers. */
#include "gen/model/source_codes.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "gen/model/checkpoint_state.h"
#include "runtime/half.h"

/*
** Blocks that a quantizer of ours decodes alike.  With scales of 1 and minima of 0 they decode to
** their own integers, and a code is that plus 'zero', or the place of it among 'values'.
*/
typedef struct kept_block {
  uint32_t number; /* of the type in GGUF files */
  const char *quantizer;
  int scale, minimum; /* where these halves stand in a block; -1: there is none */
  int exponent;       /* a byte e, 2^(e - 128) times integers; -1: there is none */
  int zero;
  const int8_t *values; /* [16] */
} kept_block;

static const int8_t uneven[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};
static const int8_t twice_fp4[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static const kept_block kept[] = {
    {2, "int4-g32", 0, -1, -1, 8, NULL},   {3, "q4_1", 0, 2, -1, 0, NULL},
    {6, "q5_0", 0, -1, -1, 16, NULL},      {7, "q5_1", 0, 2, -1, 0, NULL},
    {8, "q8_0", 0, -1, -1, 128, NULL},     {20, "iq4_nl", 0, -1, -1, 0, uneven},
    {34, "tq2_0", 52, -1, -1, 1, NULL},    {35, "tq2_0", 64, -1, -1, 1, NULL},
    {39, "mxfp4", -1, -1, 0, 0, twice_fp4}};

static const kept_block *find_kept(uint32_t number) {
  for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
    if (kept[i].number == number) return &kept[i];
  return NULL;
}

/* The tensor of the file that holds a row, and the row's number in it. */
static const qp_source_tensor *whole_of(const qp_source_tensor *t, uint64_t *row) {
  if (!t->whole) return *row = qp_checkpoint_row(t, *row), t;
  *row = t->begin + *row * t->step;
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

static void block_codes(const qp_source_tensor *t, const kept_block *k, uint64_t row,
                        uint32_t *codes) {
  const qp_block_type *type = t->packed->type;
  for (uint64_t c = 0; c < t->columns; c += type->elements) {
    unsigned char block[256];
    float integer[256];
    memcpy(block, block_of(t, row, c), type->bytes);
    if (k->scale >= 0) block[k->scale] = 0, block[k->scale + 1] = 0x3c;
    if (k->minimum >= 0) block[k->minimum] = block[k->minimum + 1] = 0;
    if (k->exponent >= 0) block[k->exponent] = 128;
    type->decode(block, type->elements, integer);
    for (unsigned i = 0; i < type->elements; i++) codes[c + i] = code_of_integer(k, integer[i]);
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

float qp_source_number(const qp_source_tensor *t, uint64_t row, uint64_t column,
                       const char *field) {
  const qp_source_tensor *whole = whole_of(t, &row);
  if (whole->packing)
    return whole->packing->kind->codes->number(whole->packing, row, column, field);
  const kept_block *k = find_kept(whole->packed->number);
  const unsigned char *block = block_of(whole, row, column);
  if (!strcmp(field, "zero")) return (float)k->zero;
  if (!strcmp(field, "min")) return half_at(block + k->minimum);
  return k->exponent >= 0 ? (float)block[k->exponent] : half_at(block + k->scale);
}
