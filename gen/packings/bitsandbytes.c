/* SPDX-License-Identifier: MIT */
/*
** Reads what bitsandbytes packs.  NF4 and FP4 are 16 values and the largest magnitude of each block
** of W in row-major order, which may be packed itself ("double quantization").  LLM.int8 has
** integers with a scale for each row.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/json.h"
#include "gen/packings/parts.h"

enum { CODES, STATE, SCALES, BOOK, NESTED, LEVELS };

static float f32(const qp_tensor *t, uint64_t i) {
  return qp_element_get(t->data, QP_TENSOR_F32, i);
}

/* Rounded to fp32 after the product and after the sum, so not contracted. */
static float scale_of(const qp_packing *p, uint64_t block) {
  if (!p->nested) return f32(p->scales, block);
  const unsigned char level = p->scales->data[block];
  const float product = f32(p->levels, level) * f32(p->nested, block / p->nested_group);
  return product + p->offset;
}

void qp_bitsandbytes_decode(const qp_packing *p, uint64_t first, uint64_t count, float *out) {
  const unsigned char *bytes = p->part[CODES]->data;
  const uint64_t begin = first * p->columns;
  float scale = 0;
  for (uint64_t i = begin; i < (first + count) * p->columns; i++) {
    if (i == begin || i % p->group == 0) scale = scale_of(p, i / p->group);
    const unsigned pair = bytes[i / 2], code = i & 1 ? pair & 15u : pair >> 4;
    *out++ = qp_element_round(f32(p->part[BOOK], code) * scale, p->type);
  }
}

/* ---- Keeping NF4 and FP4 ---- */

static uint32_t nf4_code(const qp_packing *p, uint64_t row, uint64_t column) {
  const uint64_t i = row * p->columns + column;
  const unsigned pair = p->part[CODES]->data[i / 2];
  return i & 1 ? pair & 15u : pair >> 4;
}

static float nf4_number(const qp_packing *p, uint64_t row, uint64_t column, const char *field) {
  (void)field;
  return scale_of(p, (row * p->columns + column) / p->group);
}

/* The 16 numbers of each type, as its package makes them. */
static const struct {
  const char *name;
  float number[16];
} maps[] = {
    {"nf4",
     {-1, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f,
      -0.18477343022823334f, -0.09105003625154495f, 0, 0.07958029955625534f, 0.16093020141124725f,
      0.24611230194568634f, 0.33791524171829224f, 0.44070982933044434f, 0.5626170039176941f,
      0.7229568362236023f, 1}},
    {"fp4",
     {0, 0.0625f / 12, 8.0f / 12, 1, 4.0f / 12, 0.5f, 2.0f / 12, 0.25f, 0, -0.0625f / 12,
      -8.0f / 12, -1, -4.0f / 12, -0.5f, -2.0f / 12, -0.25f}}};

static const char *map_of(const qp_packing *p) {
  for (unsigned m = 0; m < sizeof maps / sizeof *maps; m++) {
    bool same = true;
    for (unsigned i = 0; i < 16; i++) same = same && f32(p->part[BOOK], i) == maps[m].number[i];
    if (same) return maps[m].name;
  }
  return NULL;
}

static bool nf4_quantizer(const qp_packing *p, char name[64], char why[256]) {
  const char *map = map_of(p);
  if (!map || p->group != 64 || p->columns % 64 || p->type == QP_TENSOR_F32) {
    snprintf(why, 256,
             "blocks of 64 of a row, the usual map and values in 16 bits are kept, not blocks of "
             "%llu in rows of %llu",
             (unsigned long long)p->group, (unsigned long long)p->columns);
    return false;
  }
  snprintf(name, 64, "%s-g64-f32%s", map, p->type == QP_TENSOR_BF16 ? "-bf16" : "");
  return true;
}

const qp_packing_codes qp_nf4_codes = {nf4_quantizer, nf4_code, nf4_number, NULL};

/* What the state, a JSON text, says. */
typedef struct state {
  int64_t rows, columns, block, nested_block;
  double offset;
} state;

static qp_status read_shape(const cJSON *tree, const char *where, state *s, qp_error *err) {
  const cJSON *shape = NULL;
  qp_status status = qp_json_array(tree, where, "shape", &shape, err);
  if (status) return status;
  const cJSON *rows = cJSON_GetArrayItem(shape, 0), *columns = cJSON_GetArrayItem(shape, 1);
  if (cJSON_GetArraySize(shape) != 2 || !cJSON_IsNumber(rows) || !cJSON_IsNumber(columns) ||
      !(rows->valuedouble >= 1 && rows->valuedouble < 1 << 30) ||
      !(columns->valuedouble >= 1 && columns->valuedouble < 1 << 30))
    return qp_fail(err, QP_E_ARG, "%s: field 'shape': two sizes are needed", where);
  s->rows = (int64_t)rows->valuedouble;
  s->columns = (int64_t)columns->valuedouble;
  return QP_OK;
}

static qp_status read_type(qp_packing *p, const cJSON *tree, const char *where, qp_error *err) {
  const char *type = NULL;
  qp_status status = qp_json_text(tree, where, "dtype", &type, err);
  if (status) return status;
  if (!strcmp(type, "float16")) return p->type = QP_TENSOR_F16, QP_OK;
  if (!strcmp(type, "bfloat16")) return p->type = QP_TENSOR_BF16, QP_OK;
  if (!strcmp(type, "float32")) return p->type = QP_TENSOR_F32, QP_OK;
  return qp_fail(err, QP_E_ARG, "%s: field 'dtype': '%s'; float16, bfloat16 and float32 are read",
                 where, type);
}

static qp_status read_state(qp_packing *p, state *s, qp_error *err) {
  const qp_tensor *t = p->part[STATE];
  char where[512];
  cJSON *tree = NULL;
  qp_packing_where(p, STATE, where);
  qp_status status = qp_json_parse_python(where, (const char *)t->data, t->bytes, &tree, err);
  if (!status) status = read_shape(tree, where, s, err);
  if (!status) status = read_type(p, tree, where, err);
  if (!status) status = qp_json_integer(tree, where, "blocksize", 2, 1 << 24, &s->block, err);
  if (!status && p->part[NESTED])
    status = qp_json_integer(tree, where, "nested_blocksize", 1, 1 << 24, &s->nested_block, err);
  if (!status && p->part[NESTED])
    status = qp_json_number(tree, where, "nested_offset", -1e30, 1e30, &s->offset, err);
  cJSON_Delete(tree);
  return status;
}

qp_status qp_bitsandbytes_open(qp_packing *p, const qp_packing_config *c, qp_error *err) {
  state s = {.nested_block = 1};
  (void)c;
  qp_status status = read_state(p, &s, err);
  if (status) return status;
  qp_packing_shape(p, (uint64_t)s.rows, (uint64_t)s.columns);
  const uint64_t blocks = qp_ceil_divide(p->rows * p->columns, (uint64_t)s.block);
  const bool nested = p->part[NESTED] && p->part[LEVELS];
  status =
      qp_packing_expect(p, CODES, QP_TYPE(U8), qp_ceil_divide(p->rows * p->columns, 2), 1, err);
  if (!status) status = qp_packing_expect(p, BOOK, QP_TYPE(F32), 16, 1, err);
  if (!status)
    status = qp_packing_expect(p, SCALES, nested ? QP_TYPE(U8) : QP_TYPE(F32), blocks, 1, err);
  if (!status && nested)
    status = qp_packing_expect(p, NESTED, QP_TYPE(F32),
                               qp_ceil_divide(blocks, (uint64_t)s.nested_block), 1, err);
  if (!status && nested) status = qp_packing_expect(p, LEVELS, QP_TYPE(F32), 256, 1, err);
  p->group = (uint64_t)s.block;
  p->scales = p->part[SCALES];
  p->nested = nested ? p->part[NESTED] : NULL;
  p->levels = p->part[LEVELS];
  p->nested_group = (uint64_t)s.nested_block;
  p->offset = (float)s.offset;
  return status;
}

/* ---- LLM.int8 ---- */

enum { BYTES, ROWS };

void qp_llm_int8_decode(const qp_packing *p, uint64_t first, uint64_t count, float *out) {
  for (uint64_t row = first; row < first + count; row++)
    for (uint64_t k = 0; k < p->columns; k++) {
      const float value = qp_element_get(p->part[BYTES]->data, QP_TENSOR_I8, row * p->columns + k);
      const float scaled = value * f32(p->part[ROWS], row);
      *out++ = qp_element_round(scaled * 7.874015718698502e-3f, p->type); /* 1 / 127 */
    }
}

qp_status qp_llm_int8_open(qp_packing *p, const qp_packing_config *c, qp_error *err) {
  qp_status status = qp_packing_matrix(p, BYTES, QP_TYPE(I8), err);
  if (status) return status;
  qp_packing_shape(p, p->part[BYTES]->shape[0], p->part[BYTES]->shape[1]);
  p->type = c->type;
  return qp_packing_expect(p, ROWS, QP_TYPE(F32), p->rows, 1, err);
}

/* ---- Keeping LLM.int8 ---- */

static bool int8_quantizer(const qp_packing *p, char name[64], char why[256]) {
  if (p->type == QP_TENSOR_F32)
    return snprintf(why, 256, "products are not rounded to fp16"), false;
  snprintf(name, 64, "int8-row-f32%s", p->type == QP_TENSOR_BF16 ? "-bf16" : "");
  return true;
}

static uint32_t int8_code(const qp_packing *p, uint64_t row, uint64_t column) {
  return p->part[BYTES]->data[row * p->columns + column] ^ 0x80u;
}

static float int8_number(const qp_packing *p, uint64_t row, uint64_t column, const char *field) {
  (void)column, (void)field;
  return f32(p->part[ROWS], row);
}

const qp_packing_codes qp_llm_int8_codes = {int8_quantizer, int8_code, int8_number, NULL};
