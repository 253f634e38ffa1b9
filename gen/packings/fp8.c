/* SPDX-License-Identifier: MIT */
/*
** 8-bit floating point or integers with a scale for all of W, for each row, for blocks of rows and
** columns (DeepSeek's weight_scale_inv, 128 x 128) or for groups of columns:  value scale  in fp32,
** rounded to the type that weights are loaded in.
*/
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "gen/packings/parts.h"

enum { VALUES, SCALES, ZEROS = 3 /* of compressed-tensors */ };

/* Give scale i, of MXFP8 a power of two. */
static float scale_of(const qp_packing *p, uint64_t i) {
  if (p->exponents) return ldexpf(1, (int)p->scales->data[i] - 127);
  return qp_element_get(p->scales->data, p->scales->type, i);
}

/* Find the element of the scales for a row and a column. */
static uint64_t scale_at(const qp_packing *p, uint64_t row, uint64_t column) {
  return row / p->group_rows * p->scale_row + column / p->group * p->scale_group;
}

void qp_fp8_decode(const qp_packing *p, uint64_t first, uint64_t count, float *out) {
  const qp_tensor *values = p->part[VALUES];
  for (uint64_t row = first; row < first + count; row++)
    for (uint64_t k = 0; k < p->columns; k++) {
      const float scale = scale_of(p, scale_at(p, row, k));
      const float value = qp_element_get(values->data, values->type, row * p->columns + k);
      *out++ = qp_element_round(value * scale, p->type);
    }
}

/* ---- Keeping ---- */

static uint32_t code_of(const qp_packing *p, uint64_t row, uint64_t column) {
  return p->part[VALUES]->data[row * p->columns + column];
}

static float number_of(const qp_packing *p, uint64_t row, uint64_t column, const char *field) {
  (void)field;
  return scale_of(p, scale_at(p, row, column));
}

/* A scale of all of W or of blocks of rows is one of each row. */
static bool find_quantizer(const qp_packing *p, char name[64], char why[256]) {
  const bool rows = p->group == p->columns;
  if (p->part[VALUES]->type != QP_TENSOR_F8_E4M3 || p->type != QP_TENSOR_BF16) {
    snprintf(why, 256, "of %s only F8_E4M3 whose products are rounded to BF16 is kept",
             p->kind->name);
    return false;
  }
  if (!rows && p->group != 128) {
    snprintf(why, 256, "scales are of %llu columns; those of rows, or of 128, are kept",
             (unsigned long long)p->group);
    return false;
  }
  snprintf(name, 64, "e4m3-%s-bf16", rows ? "row" : "g128");
  return true;
}

const qp_packing_codes qp_fp8_codes = {find_quantizer, code_of, number_of, NULL};

/* ---- What config.json says ---- */

/* Find weight_block_size of a section, or block_structure of a scheme: [rows, columns]. */
static bool find_block(const cJSON *section, const char *name, uint64_t block[2]) {
  const cJSON *list = cJSON_GetObjectItemCaseSensitive(section, name);
  if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != 2) return false;
  for (int i = 0; i < 2; i++) {
    const cJSON *size = cJSON_GetArrayItem(list, i);
    if (!cJSON_IsNumber(size) || !(size->valuedouble >= 1 && size->valuedouble <= 1 << 24))
      return false;
    block[i] = (uint64_t)size->valuedouble;
  }
  return true;
}

/* Is 'block' the one by which scales have their shape? */
static bool fits(const qp_packing *p, const uint64_t block[2]) {
  const qp_tensor *s = p->part[SCALES];
  return s->dims == 2 && s->shape[0] == qp_ceil_divide(p->rows, block[0]) &&
         s->shape[1] == qp_ceil_divide(p->columns, block[1]);
}

/* The block that the config names, of several schemes one that fits. */
static bool block_of_config(const qp_packing *p, const qp_packing_config *c, uint64_t block[2]) {
  const cJSON *groups = cJSON_GetObjectItemCaseSensitive(c->section, "config_groups"), *scheme;
  if (find_block(c->section, "weight_block_size", block)) return fits(p, block);
  cJSON_ArrayForEach(scheme, groups) {
    const cJSON *weights = cJSON_GetObjectItemCaseSensitive(scheme, "weights");
    if (find_block(weights, "block_structure", block) && fits(p, block)) return true;
  }
  return false;
}

/* Scales of a tensor, of rows, of groups of each row. */
static bool block_of_shape(const qp_packing *p, uint64_t block[2]) {
  const qp_tensor *s = p->part[SCALES];
  const uint64_t groups = s->elements / p->rows;
  block[0] = s->elements == 1 ? p->rows : 1;
  block[1] = p->columns;
  if (s->elements == 1 || (s->elements == p->rows && s->shape[0] == p->rows)) return true;
  if (s->dims != 2 || s->shape[0] != p->rows || !groups || p->columns % groups) return false;
  block[1] = p->columns / groups;
  return true;
}

/* Some write zeros of what is symmetric; others than 0 are not read. */
static qp_status check_zeros(const qp_packing *p, qp_error *err) {
  const qp_tensor *t = strcmp(p->kind->method, "compressed-tensors") ? NULL : p->part[ZEROS];
  char where[512];
  for (size_t i = 0; t && i < t->bytes; i++)
    if (t->data[i])
      return qp_fail(err, QP_E_ARG, "%s: is not all 0: %s is read with symmetric weights",
                     qp_packing_where(p, ZEROS, where), p->kind->name);
  return QP_OK;
}

qp_status qp_fp8_open(qp_packing *p, const qp_packing_config *c, qp_error *err) {
  enum { FLOATS = QP_REAL_TYPES | QP_TYPE(F8_E8M0) | QP_TYPE(U8) };
  char where[512];
  uint64_t block[2];
  const qp_tensor *values = p->part[VALUES], *s = p->part[SCALES];
  qp_status status = qp_packing_matrix(p, VALUES, p->kind->types, err);
  if (!status) status = check_zeros(p, err);
  if (status) return status;
  qp_packing_shape(p, values->shape[0], values->shape[1]);
  if (!(FLOATS >> s->type & 1)) return qp_packing_expect(p, SCALES, FLOATS, p->rows, 1, err);
  if (!block_of_config(p, c, block) && !block_of_shape(p, block))
    return qp_fail(
        err, QP_E_ARG,
        "%s: %llu scales for %llu x %llu weights: one, one for each row, or one for each "
        "block of the size that %s names (weight_block_size, block_structure) is needed",
        qp_packing_where(p, SCALES, where), (unsigned long long)s->elements,
        (unsigned long long)p->rows, (unsigned long long)p->columns, c->file);
  p->scales = s;
  p->group_rows = block[0];
  p->group = block[1];
  p->scale_row = qp_ceil_divide(p->columns, p->group);
  p->scale_group = 1;
  p->exponents = s->type == QP_TENSOR_U8;
  p->type = p->exponents                                            ? QP_TENSOR_BF16
            : s->type == QP_TENSOR_F16 || s->type == QP_TENSOR_BF16 ? s->type
                                                                    : c->type;
  return QP_OK;
}
