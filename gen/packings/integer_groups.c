/* SPDX-License-Identifier: MIT */
/*
** Integers with a scale and a zero for each group of columns:  (code - zero) scale,  rounded once
** to the scale's type, as GPTQ, AWQ and compressed-tensors' pack-quantized keep them.
*/
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "gen/packings/parts.h"

enum { CODES, ZEROS, SCALES, GROUPS }; /* parts of GPTQ and AWQ */

/* ---- Decoding ---- */

static uint64_t group_of(const qp_packing *p, uint64_t column) {
  if (!p->group_of) return column / p->group;
  return (uint64_t)qp_element_get(p->group_of, QP_TENSOR_I32, column);
}

static float zero_of(const qp_packing *p, uint64_t row, uint64_t group) {
  if (!p->zeros.data) return (float)p->zero;
  return (float)(p->zeros_by_row ? qp_numbers_get(&p->zeros, row, group)
                                 : qp_numbers_get(&p->zeros, group, row));
}

static uint32_t code_of(const qp_packing *p, uint64_t row, uint64_t column) {
  return p->codes_by_column ? qp_numbers_get(&p->codes, column, row)
                            : qp_numbers_get(&p->codes, row, column);
}

void qp_integers_decode(const qp_packing *p, uint64_t first, uint64_t count, float *out) {
  for (uint64_t row = first; row < first + count; row++) {
    uint64_t last = UINT64_MAX;
    float zero = 0, scale = 0;
    for (uint64_t k = 0; k < p->columns; k++) {
      const uint64_t group = group_of(p, k);
      if (group != last) {
        last = group;
        zero = zero_of(p, row, group);
        scale = qp_element_get(p->scales->data, p->scales->type,
                               row * p->scale_row + group * p->scale_group);
      }
      *out++ = qp_element_round(((float)code_of(p, row, k) - zero) * scale, p->type);
    }
  }
}

/* ---- Keeping ---- */

static float number_of(const qp_packing *p, uint64_t row, uint64_t column, const char *field) {
  const uint64_t group = group_of(p, column);
  if (!strcmp(field, "zero")) return zero_of(p, row, group);
  return qp_element_get(p->scales->data, p->scales->type,
                        row * p->scale_row + group * p->scale_group);
}

static bool has_act_order(const qp_packing *p) {
  for (uint64_t k = 0; k < p->columns; k++)
    if (group_of(p, k) != k / p->group) return true;
  return false;
}

/* Columns by their groups, those of a group as they stand. */
static void order_columns(const qp_packing *p, uint16_t *order) {
  const uint64_t groups = qp_ceil_divide(p->columns, p->group);
  uint64_t place = 0;
  for (uint64_t g = 0; g < groups; g++)
    for (uint64_t k = 0; k < p->columns; k++)
      if (group_of(p, k) == g) order[k] = (uint16_t)place++;
}

/* Has every group as many columns as the others? */
static bool has_equal_groups(const qp_packing *p, char why[256]) {
  for (uint64_t g = 0; g * p->group < p->columns; g++) {
    uint64_t count = 0;
    for (uint64_t k = 0; k < p->columns; k++) count += group_of(p, k) == g;
    if (count == p->group) continue;
    snprintf(why, 256, "act-order: group %llu has %llu columns of %llu", (unsigned long long)g,
             (unsigned long long)count, (unsigned long long)p->group);
    return false;
  }
  return true;
}

/* Products of BF16 scales are rounded to BF16: other quantizers than those of F16. */
static bool find_quantizer(const qp_packing *p, char name[64], char why[256]) {
  const bool act_order = has_act_order(p);
  if (act_order && !has_equal_groups(p, why)) return false;
  if (act_order && p->type == QP_TENSOR_BF16) {
    snprintf(why, 256, "columns of a group do not stand together (act-order), and scales are BF16");
    return false;
  }
  if (p->type == QP_TENSOR_F32) {
    snprintf(why, 256, "scales are F32, and products are not rounded to fp16");
    return false;
  }
  snprintf(name, 64, "int%u-g%llu%s%s", p->codes.bits, (unsigned long long)p->group,
           p->type == QP_TENSOR_BF16 ? "-bf16" : "", act_order ? "-act" : "");
  return true;
}

const qp_packing_codes qp_integers_codes = {find_quantizer, code_of, number_of, order_columns};

/* ---- What the formats have in common ---- */

/* group_size: -1 is all columns. */
static qp_status set_group(qp_packing *p, const qp_packing_config *c, const cJSON *section,
                           const char *name, qp_error *err) {
  int64_t size;
  qp_status status = qp_packing_integer(c, section, name, -1, 1 << 24, -1, &size, err);
  if (!status && !size)
    status = qp_fail(err, QP_E_ARG,
                     "%s: quantization_config: field '%s': 0; -1 (all columns) or "
                     "a number of columns is needed",
                     c->file, name);
  p->group = size > 0 ? (uint64_t)size : p->columns;
  return status;
}

/* The group of each column, where a part says it: all below the number of groups. */
static qp_status set_group_of(qp_packing *p, unsigned part, uint64_t groups, qp_error *err) {
  char where[512];
  if (!p->part[part]) return QP_OK;
  qp_status status = qp_packing_expect(p, part, QP_TYPE(I32), p->columns, 1, err);
  for (uint64_t k = 0; k < p->columns && !status; k++) {
    int32_t group;
    memcpy(&group, p->part[part]->data + 4 * k, sizeof group);
    if (group < 0 || (uint64_t)group >= groups)
      status = qp_fail(err, QP_E_ARG, "%s: column %llu is of group %d: there are %llu",
                       qp_packing_where(p, part, where), (unsigned long long)k, group,
                       (unsigned long long)groups);
  }
  if (!status) p->group_of = p->part[part]->data;
  return status;
}

/* Where columns have an order and no part says it, which scale is whose is not known. */
static qp_status refuse_unordered(const qp_packing *p, const qp_packing_config *c,
                                  const char *field, const char *missing, qp_error *err) {
  char where[512];
  return qp_fail(err, QP_E_ARG,
                 "%s: its groups have columns in an order of their own (%s of "
                 "%s's quantization_config), which a tensor '%s' beside it says; it is missing",
                 qp_packing_where(p, CODES, where), field, c->file, missing);
}

static void set_scales(qp_packing *p, unsigned part, size_t by_row, size_t by_group) {
  p->scales = p->part[part];
  p->scale_row = by_row;
  p->scale_group = by_group;
  p->type = p->scales->type;
}

static qp_status refuse(const qp_packing_config *c, const char *field, const char *value,
                        const char *right, qp_error *err) {
  return qp_fail(err, QP_E_ARG, "%s: quantization_config: field '%s': %s is not read; %s", c->file,
                 field, value, right);
}

static qp_status refuse_bits(const qp_packing_config *c, const char *name, int64_t bits,
                             const char *right, qp_error *err) {
  return qp_fail(err, QP_E_ARG, "%s: quantization_config: field '%s': %lld is not read; %s",
                 c->file, name, (long long)bits, right);
}

/* ---- GPTQ ---- */

/*
** Does a number of all ones stand among the zeros of version 1?  It is zero - 1 of a zero 0, which
** those who write it do not do alike: gptqmodel subtracts ones from whole words, so that the number
** above it is one less, and AutoGPTQ loses all numbers above it.
*/
static bool has_all_ones(const qp_packing *p, uint64_t groups) {
  qp_numbers stored = p->zeros;
  stored.add = stored.add_to_word = 0;
  for (uint64_t g = 0; g < groups; g++)
    for (uint64_t row = 0; row < p->rows; row++)
      if (qp_numbers_get(&stored, g, row) == (1u << stored.bits) - 1) return true;
  return false;
}

/* Who wrote it: {"meta": {"quantizer": ["gptqmodel:7.7.0"]}}. */
static bool is_of_gptqmodel(const qp_packing_config *c) {
  const cJSON *meta = cJSON_GetObjectItemCaseSensitive(c->section, "meta");
  const cJSON *by = cJSON_GetObjectItemCaseSensitive(meta, "quantizer");
  const char *name = cJSON_GetStringValue(cJSON_IsArray(by) ? cJSON_GetArrayItem(by, 0) : by);
  return name && !strncmp(name, "gptqmodel", 9);
}

/* Version 1 stores zero - 1: words of 2, 4 and 8 bits get ones added before they are taken apart,
   numbers of 3 bits afterwards. */
static qp_status set_version(qp_packing *p, const qp_packing_config *c, unsigned bits,
                             uint64_t groups, qp_error *err) {
  const char *format = qp_packing_text(c->section, "checkpoint_format", "gptq");
  char where[512];
  if (!strcmp(format, "gptq_v2")) return QP_OK;
  if (strcmp(format, "gptq") != 0)
    return refuse(c, "checkpoint_format", format, "gptq and gptq_v2 are", err);
  if (bits == 3)
    p->zeros.add = 1;
  else
    p->zeros.add_to_word = UINT32_MAX / ((1u << bits) - 1);
  if (is_of_gptqmodel(c) || !has_all_ones(p, groups)) return QP_OK;
  return qp_fail(err, QP_E_ARG,
                 "%s: holds zeros of 0, which GPTQModel and AutoGPTQ do not store alike, and "
                 "config.json does not name GPTQModel in quantization_config's meta.quantizer; "
                 "convert it to gptq_v2",
                 qp_packing_where(p, ZEROS, where));
}

qp_status qp_gptq_open(qp_packing *p, const qp_packing_config *c, qp_error *err) {
  int64_t bits;
  qp_status status = qp_packing_integer(c, c->section, "bits", 1, 8, 4, &bits, err);
  if (!status && bits != 2 && bits != 3 && bits != 4 && bits != 8)
    status = refuse_bits(c, "bits", bits, "2, 3, 4 and 8 are", err);
  if (!status) status = qp_packing_matrix(p, CODES, QP_TYPE(I32), err);
  if (!status) status = qp_packing_matrix(p, SCALES, QP_REAL_TYPES, err);
  if (status) return status;
  const uint64_t words = p->part[CODES]->shape[0], rows = p->part[CODES]->shape[1];
  const unsigned b = (unsigned)bits;
  qp_packing_shape(p, rows, p->part[GROUPS] ? p->part[GROUPS]->elements : words * 32 / b);
  const uint64_t zero_words = qp_ceil_divide(rows * b, 32);
  status = set_group(p, c, c->section, "group_size", err);
  const uint64_t groups = status ? 1 : qp_ceil_divide(p->columns, p->group);
  if (!status)
    status =
        qp_packing_expect(p, CODES, QP_TYPE(I32), qp_ceil_divide(p->columns * b, 32), rows, err);
  if (!status) status = qp_packing_expect(p, ZEROS, QP_TYPE(I32), groups, zero_words, err);
  if (!status) status = qp_packing_expect(p, SCALES, QP_REAL_TYPES, groups, rows, err);
  if (!status) status = set_group_of(p, GROUPS, groups, err);
  if (!status && !p->group_of &&
      cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(c->section, "desc_act")))
    status = refuse_unordered(p, c, "desc_act", "g_idx", err);
  if (status) return status;
  p->codes =
      (qp_numbers){.data = p->part[CODES]->data, .word_stride = rows, .line_stride = 1, .bits = b};
  p->zeros = (qp_numbers){
      .data = p->part[ZEROS]->data, .word_stride = 1, .line_stride = zero_words, .bits = b};
  set_scales(p, SCALES, 1, rows);
  return set_version(p, c, b, groups, err);
}

/* ---- AWQ ---- */

/* Version gemm: words along rows, in which row r of 8 is nibble place[r]. */
static const unsigned char awq_place[8] = {0, 4, 1, 5, 2, 6, 3, 7};

static qp_status open_gemm(qp_packing *p, const qp_packing_config *c, const cJSON *section,
                           const char *group, qp_error *err) {
  const uint64_t words = p->part[CODES]->shape[1], rows = 8 * words;
  qp_packing_shape(p, rows, p->part[CODES]->shape[0]);
  qp_status status = set_group(p, c, section, group, err);
  const uint64_t groups = status ? 1 : qp_ceil_divide(p->columns, p->group);
  if (!status) status = qp_packing_expect(p, ZEROS, QP_TYPE(I32), groups, words, err);
  if (!status) status = qp_packing_expect(p, SCALES, QP_REAL_TYPES, groups, rows, err);
  if (status) return status;
  p->codes = (qp_numbers){.data = p->part[CODES]->data,
                          .word_stride = 1,
                          .line_stride = words,
                          .bits = 4,
                          .per_word = 8,
                          .place = awq_place};
  p->codes_by_column = true;
  p->zeros = p->codes;
  p->zeros.data = p->part[ZEROS]->data;
  set_scales(p, SCALES, 1, rows);
  return QP_OK;
}

/* Open version gemv: words go along columns, lowest first; rows of zeros and scales are filled
   up. */
static qp_status open_gemv(qp_packing *p, const qp_packing_config *c, const cJSON *section,
                           const char *group, qp_error *err) {
  const uint64_t rows = p->part[CODES]->shape[0], words = p->part[CODES]->shape[1];
  qp_packing_shape(p, rows, 8 * words);
  qp_status status = set_group(p, c, section, group, err);
  if (!status) status = qp_packing_matrix(p, ZEROS, QP_TYPE(I32), err);
  if (status) return status;
  const uint64_t padded = p->part[ZEROS]->shape[1];
  const uint64_t least = qp_ceil_divide(qp_ceil_divide(p->columns, p->group), 8);
  status = qp_packing_expect(p, ZEROS, QP_TYPE(I32), rows, padded < least ? least : padded, err);
  if (!status) status = qp_packing_expect(p, SCALES, QP_REAL_TYPES, rows, 8 * padded, err);
  if (status) return status;
  p->codes = (qp_numbers){.data = p->part[CODES]->data,
                          .word_stride = 1,
                          .line_stride = words,
                          .bits = 4,
                          .per_word = 8};
  p->zeros = p->codes;
  p->zeros.data = p->part[ZEROS]->data;
  p->zeros.line_stride = padded;
  p->zeros_by_row = true;
  set_scales(p, SCALES, 8 * padded, 1);
  return QP_OK;
}

qp_status qp_awq_open(qp_packing *p, const qp_packing_config *c, qp_error *err) {
  const bool old = cJSON_GetObjectItemCaseSensitive(c->section, "w_bit") != NULL;
  const char *name = old ? "w_bit" : "bits", *group = old ? "q_group_size" : "group_size";
  const char *version = qp_packing_text(c->section, "version", "gemm");
  int64_t bits;
  qp_status status = qp_packing_integer(c, c->section, name, 1, 8, 4, &bits, err);
  if (!status && bits != 4) status = refuse_bits(c, name, bits, "4 is", err);
  if (!status) status = qp_packing_matrix(p, CODES, QP_TYPE(I32), err);
  if (status) return status;
  if (!strcasecmp(version, "gemm")) return open_gemm(p, c, c->section, group, err);
  if (!strcasecmp(version, "gemv")) return open_gemv(p, c, c->section, group, err);
  return refuse(c, "version", version, "gemm and gemv are", err);
}

/* ---- compressed-tensors, pack-quantized ---- */

enum { CT_CODES, CT_SCALES, CT_SHAPE, CT_ZEROS, CT_GROUPS };

/* Words of a line of 'count' numbers: as a stream, or with as many whole ones as a word holds,
   which compressed-tensors before 0.18 wrote of 3, 5, 6 and 7 bits. */
static uint64_t words_of(uint64_t count, unsigned bits, bool gaps) {
  return gaps ? qp_ceil_divide(count, 32 / bits) : qp_ceil_divide(count * bits, 32);
}

/* Find num_bits of a scheme of config_groups, or 0. */
static unsigned bits_of(const cJSON *scheme) {
  const cJSON *weights = cJSON_GetObjectItemCaseSensitive(scheme, "weights");
  const cJSON *bits = cJSON_GetObjectItemCaseSensitive(weights, "num_bits");
  const bool right = cJSON_IsNumber(bits) && bits->valuedouble >= 1 && bits->valuedouble <= 8;
  return right ? (unsigned)bits->valueint : 0;
}

/* Is it "group", or its other name?  "weight" leaves columns where they are. */
static bool is_by_group(const cJSON *actorder) {
  const char *name = cJSON_GetStringValue(actorder);
  return cJSON_IsTrue(actorder) ||
         (name && (!strcasecmp(name, "group") || !strcasecmp(name, "dynamic")));
}

/* Do all schemes of so many bits have columns in an order of their own? */
static bool is_ordered(const qp_packing_config *c, unsigned bits) {
  const cJSON *groups = cJSON_GetObjectItemCaseSensitive(c->section, "config_groups"), *scheme;
  bool all = true;
  cJSON_ArrayForEach(scheme, groups) {
    const cJSON *weights = cJSON_GetObjectItemCaseSensitive(scheme, "weights");
    if (bits_of(scheme) == bits)
      all = all && is_by_group(cJSON_GetObjectItemCaseSensitive(weights, "actorder"));
  }
  return all;
}

/* The one number of bits of config_groups by which a row of W takes the words that it has. */
static qp_status find_bits(const qp_packing *p, const qp_packing_config *c, unsigned *out,
                           bool *gaps, qp_error *err) {
  const cJSON *groups = cJSON_GetObjectItemCaseSensitive(c->section, "config_groups"), *scheme;
  const uint64_t words = p->part[CT_CODES]->shape[1];
  unsigned found = 0;
  char where[512];
  *out = 0;
  cJSON_ArrayForEach(scheme, groups) {
    const unsigned bits = bits_of(scheme);
    if (!bits || bits == *out) continue;
    const bool stream = words == words_of(p->columns, bits, false);
    if (!stream && words != words_of(p->columns, bits, true)) continue;
    *out = bits;
    *gaps = !stream;
    found++;
  }
  if (found == 1) return QP_OK;
  return qp_fail(err, QP_E_ARG,
                 "%s: %llu words for %llu columns: %s num_bits of %s's config_groups gives so many",
                 qp_packing_where(p, CT_CODES, where), (unsigned long long)words,
                 (unsigned long long)p->columns, found ? "more than one" : "no", c->file);
}

static qp_status set_shape(qp_packing *p, qp_error *err) {
  const qp_tensor *t = p->part[CT_SHAPE];
  char where[512];
  int64_t shape[2] = {0, 0};
  qp_status status = qp_packing_matrix(p, CT_CODES, QP_TYPE(I32), err);
  if (!status && t->type == QP_TENSOR_I64)
    status = qp_packing_expect(p, CT_SHAPE, QP_TYPE(I64), 2, 1, err);
  else if (!status)
    status = qp_packing_expect(p, CT_SHAPE, QP_TYPE(I32), 2, 1, err);
  if (status) return status;
  for (unsigned i = 0; i < 2; i++) {
    const float narrow = qp_element_get(t->data, QP_TENSOR_I32, i);
    if (t->type == QP_TENSOR_I64)
      memcpy(&shape[i], t->data + 8 * i, 8);
    else
      shape[i] = (int64_t)narrow;
  }
  const uint64_t rows = p->part[CT_CODES]->shape[0];
  if (shape[0] != (int64_t)rows || shape[1] < 1 || shape[1] > 1 << 24)
    return qp_fail(err, QP_E_ARG, "%s: %lld x %lld: '%s' has %llu rows",
                   qp_packing_where(p, CT_SHAPE, where), (long long)shape[0], (long long)shape[1],
                   p->part[CT_CODES]->name, (unsigned long long)rows);
  qp_packing_shape(p, rows, (uint64_t)shape[1]);
  return QP_OK;
}

static qp_status set_zeros(qp_packing *p, uint64_t groups, bool gaps, qp_error *err) {
  const unsigned bits = p->codes.bits;
  p->zero = 1u << (bits - 1);
  if (!p->part[CT_ZEROS]) return QP_OK;
  qp_status status =
      qp_packing_expect(p, CT_ZEROS, QP_TYPE(I32), words_of(p->rows, bits, gaps), groups, err);
  p->zeros = (qp_numbers){.data = p->part[CT_ZEROS]->data,
                          .word_stride = groups,
                          .line_stride = 1,
                          .bits = bits,
                          .per_word = p->codes.per_word};
  return status;
}

/* The columns of scales say the size of groups. */
qp_status qp_compressed_integers_open(qp_packing *p, const qp_packing_config *c, qp_error *err) {
  unsigned bits = 0;
  bool gaps = false;
  char where[512];
  qp_status status = set_shape(p, err);
  if (!status) status = find_bits(p, c, &bits, &gaps, err);
  if (status) return status;
  const qp_tensor *scales = p->part[CT_SCALES];
  const uint64_t groups = scales->elements / p->rows;
  status = qp_packing_expect(p, CT_SCALES, QP_REAL_TYPES, p->rows, groups, err);
  if (!status && p->columns % groups)
    status = qp_fail(err, QP_E_ARG, "%s: %llu groups of %llu columns: they are of equal size",
                     qp_packing_where(p, CT_SCALES, where), (unsigned long long)groups,
                     (unsigned long long)p->columns);
  if (status) return status;
  p->group = p->columns / groups;
  p->codes = (qp_numbers){.data = p->part[CT_CODES]->data,
                          .word_stride = 1,
                          .line_stride = words_of(p->columns, bits, gaps),
                          .bits = bits,
                          .per_word = gaps ? 32 / bits : 0};
  set_scales(p, CT_SCALES, groups, 1);
  status = set_zeros(p, groups, gaps, err);
  if (!status) status = set_group_of(p, CT_GROUPS, groups, err);
  if (!status && !p->group_of && is_ordered(c, bits))
    status = refuse_unordered(p, c, "actorder", "weight_g_idx", err);
  return status;
}
