/* SPDX-License-Identifier: MIT */
/*
** 4-bit floating point (e2m1), two elements a byte, the first in the lower half:
**   NVFP4  a scale in E4M3 for each 16 columns and one in fp32 for all of W
**   MXFP4  a power of two (e8m0) for each 32 columns
*/
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "gen/packings/parts.h"

enum { CODES, SCALES, FACTOR };

static unsigned code_at(const unsigned char *bytes, uint64_t i) {
  const unsigned pair = bytes[i / 2];
  return pair >> (4 * (i & 1)) & 15u;
}

/* ---- NVFP4 ---- */

/* Give scale / global (compressed-tensors) or scale times the second scale (ModelOpt), rounded to
   fp32. */
static float scale_of(const qp_packing *p, uint64_t i) {
  const float scale = qp_element_get(p->scales->data, p->scales->type, i);
  return p->divides ? scale / p->factor : scale * p->factor;
}

void qp_nvfp4_decode(const qp_packing *p, uint64_t first, uint64_t count, float *out) {
  const unsigned char *bytes = p->part[CODES]->data;
  float scale = 0;
  for (uint64_t i = first * p->columns; i < (first + count) * p->columns; i++) {
    if (i % p->group == 0) scale = scale_of(p, i / p->group);
    *out++ = qp_element_round(qp_fp4(code_at(bytes, i)) * scale, p->type);
  }
}

static uint32_t nvfp4_code(const qp_packing *p, uint64_t row, uint64_t column) {
  return code_at(p->part[CODES]->data, row * p->columns + column);
}

static float nvfp4_number(const qp_packing *p, uint64_t row, uint64_t column, const char *field) {
  if (!strcmp(field, "all") || !strcmp(field, "by")) return p->factor;
  if (!strcmp(field, "reciprocal")) return 1 / p->factor;
  return qp_element_get(p->scales->data, p->scales->type, (row * p->columns + column) / p->group);
}

static bool nvfp4_quantizer(const qp_packing *p, char name[64], char why[256]) {
  if (p->type == QP_TENSOR_F32) {
    snprintf(why, 256, "products are not rounded to fp16");
    return false;
  }
  snprintf(name, 64, "nvfp4%s",
           p->divides                  ? "-quotient-bf16"
           : p->type == QP_TENSOR_BF16 ? "-f32-bf16"
                                       : "");
  return true;
}

const qp_packing_codes qp_nvfp4_codes = {nvfp4_quantizer, nvfp4_code, nvfp4_number, NULL};

static qp_status open_fp4(qp_packing *p, uint64_t group, uint32_t types, qp_error *err) {
  char where[512];
  qp_status status = qp_packing_matrix(p, CODES, QP_TYPE(U8), err);
  if (status) return status;
  qp_packing_shape(p, p->part[CODES]->shape[0], 2 * p->part[CODES]->shape[1]);
  if (p->columns % group)
    return qp_fail(err, QP_E_ARG, "%s: %llu columns: a multiple of %llu is needed (%s)",
                   qp_packing_where(p, CODES, where), (unsigned long long)p->columns,
                   (unsigned long long)group, p->kind->name);
  p->group = group;
  p->scales = p->part[SCALES];
  return qp_packing_expect(p, SCALES, types, p->rows, p->columns / group, err);
}

static qp_status open_nvfp4(qp_packing *p, qp_error *err) {
  qp_status status = open_fp4(p, 16, QP_TYPE(F8_E4M3), err);
  if (!status) status = qp_packing_expect(p, FACTOR, QP_TYPE(F32), 1, 1, err);
  if (!status) p->factor = qp_element_get(p->part[FACTOR]->data, QP_TENSOR_F32, 0);
  return status;
}

/* Its values are always BF16, whatever the model's are. */
qp_status qp_compressed_nvfp4_open(qp_packing *p, const qp_packing_config *c, qp_error *err) {
  (void)c;
  p->type = QP_TENSOR_BF16;
  p->divides = true;
  return open_nvfp4(p, err);
}

qp_status qp_modelopt_nvfp4_open(qp_packing *p, const qp_packing_config *c, qp_error *err) {
  p->type = c->type;
  return open_nvfp4(p, err);
}

/* ---- MXFP4 ---- */

/* 2^(e - 127) times the number, as one step: 0 stays 0, and 0.5 finite, where e is 255. */
void qp_gpt_oss_decode(const qp_packing *p, uint64_t first, uint64_t count, float *out) {
  const unsigned char *bytes = p->part[CODES]->data, *exponents = p->scales->data;
  for (uint64_t i = first * p->columns; i < (first + count) * p->columns; i++)
    *out++ = qp_element_round(ldexpf(qp_fp4(code_at(bytes, i)), (int)exponents[i / p->group] - 127),
                              p->type);
}

/* The same by a scale of its own: where e is 255 that is infinite, and 0 becomes NaN. */
void qp_compressed_mxfp4_decode(const qp_packing *p, uint64_t first, uint64_t count, float *out) {
  const unsigned char *bytes = p->part[CODES]->data, *exponents = p->scales->data;
  for (uint64_t i = first * p->columns; i < (first + count) * p->columns; i++)
    *out++ = qp_element_round(
        qp_fp4(code_at(bytes, i)) * ldexpf(1, (int)exponents[i / p->group] - 127), p->type);
}

static bool mxfp4_quantizer(const qp_packing *p, char name[64], char why[256]) {
  (void)p, (void)why;
  snprintf(name, 64, "mxfp4");
  return true;
}

static uint32_t mxfp4_code(const qp_packing *p, uint64_t row, uint64_t column) {
  return code_at(p->part[CODES]->data, row * p->columns + column);
}

static float mxfp4_number(const qp_packing *p, uint64_t row, uint64_t column, const char *field) {
  (void)field;
  const uint64_t group = (row * p->columns + column) / p->group;
  return (float)p->scales->data[group];
}

const qp_packing_codes qp_mxfp4_codes = {mxfp4_quantizer, mxfp4_code, mxfp4_number, NULL};

qp_status qp_compressed_mxfp4_open(qp_packing *p, const qp_packing_config *c, qp_error *err) {
  (void)c;
  p->type = QP_TENSOR_BF16;
  return open_fp4(p, 32, QP_TYPE(U8), err);
}

/* Open experts: blocks are [E, rows, columns / 32, 16], scales [E, rows, columns / 32]. */
qp_status qp_gpt_oss_open(qp_packing *p, const qp_packing_config *c, qp_error *err) {
  const qp_tensor *t = p->part[CODES], *s = p->part[SCALES];
  char where[512];
  if (t->dims != 4 || t->shape[3] != 16 || !t->elements)
    return qp_fail(err, QP_E_ARG, "%s: %u dimensions: experts, rows, columns / 32, 16 are needed",
                   qp_packing_where(p, CODES, where), t->dims);
  if (s->type != QP_TENSOR_U8 || s->dims != 3 ||
      memcmp(s->shape, t->shape, 3 * sizeof *t->shape) != 0)
    return qp_fail(
        err, QP_E_ARG, "%s: %s of %u dimensions: U8, and the first three of '%s', are needed",
        qp_packing_where(p, SCALES, where), qp_tensor_type_name(s->type), s->dims, t->name);
  p->dims = 3;
  p->shape[0] = t->shape[0];
  p->shape[1] = t->shape[1];
  p->shape[2] = p->columns = 32 * t->shape[2];
  p->rows = p->shape[0] * p->shape[1];
  p->group = 32;
  p->scales = s;
  p->type = c->type;
  return QP_OK;
}
