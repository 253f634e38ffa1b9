/* SPDX-License-Identifier: MIT */
/* Numbers as packed weights of others hold them. */
#include "gen/packings/numbers.h"

#include <math.h>
#include <string.h>

#include "runtime/half.h"

static uint32_t word_at(const unsigned char *p) {
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

unsigned qp_numbers_get(const qp_numbers *n, uint64_t line, uint64_t i) {
  const unsigned char *at = n->data + 4 * (size_t)line * n->line_stride;
  const uint64_t bit = i * n->bits;
  const size_t word = (size_t)(n->per_word ? i / n->per_word : bit / 32), step = 4 * n->word_stride;
  unsigned shift = (unsigned)(bit % 32);
  if (n->per_word) {
    const unsigned in_word = (unsigned)(i % n->per_word);
    shift = n->bits * (n->place ? n->place[in_word] : in_word);
  }
  uint64_t bits = (uint32_t)(word_at(at + word * step) + n->add_to_word);
  if (shift + n->bits > 32) bits |= (uint64_t)word_at(at + (word + 1) * step) << 32;
  return ((unsigned)(bits >> shift) + n->add) & ((1u << n->bits) - 1);
}

/* ---- Elements ---- */

/* Give the value of E4M3 (OCP 8-bit floating point): the bias is 7, there is no infinity. */
static float e4m3(unsigned char b) {
  const unsigned exponent = b >> 3 & 15, fraction = b & 7;
  if ((b & 0x7f) == 0x7f) return NAN;
  const float size =
      exponent ? ldexpf((float)(8 + fraction), (int)exponent - 10) : ldexpf((float)fraction, -9);
  return b & 0x80 ? -size : size;
}

/* E5M2 is the upper half of an fp16 number. */
static float e5m2(unsigned char b) { return qp_half_to_float((uint16_t)(b << 8)); }

static float e8m0(unsigned char b) { return b == 255 ? NAN : ldexpf(1, (int)b - 127); }

bool qp_element_is_read(qp_tensor_type type) {
  switch (type) {
  case QP_TENSOR_F32:
  case QP_TENSOR_F16:
  case QP_TENSOR_BF16:
  case QP_TENSOR_F8_E4M3:
  case QP_TENSOR_F8_E5M2:
  case QP_TENSOR_F8_E8M0:
  case QP_TENSOR_I8:
  case QP_TENSOR_U8:
  case QP_TENSOR_I32: return true;
  default: return false;
  }
}

float qp_element_get(const unsigned char *data, qp_tensor_type type, uint64_t i) {
  const unsigned char *at = data + (size_t)i * qp_tensor_type_bytes(type);
  float value;
  switch (type) {
  case QP_TENSOR_F32: memcpy(&value, at, sizeof value); return value;
  case QP_TENSOR_F16: return qp_half_to_float((uint16_t)(at[0] | at[1] << 8));
  case QP_TENSOR_BF16: return qp_bf16_to_float((uint16_t)(at[0] | at[1] << 8));
  case QP_TENSOR_F8_E4M3: return e4m3(*at);
  case QP_TENSOR_F8_E5M2: return e5m2(*at);
  case QP_TENSOR_F8_E8M0: return e8m0(*at);
  case QP_TENSOR_I8: return (float)(int8_t)*at;
  case QP_TENSOR_U8: return (float)*at;
  case QP_TENSOR_I32: return (float)(int32_t)word_at(at);
  default: return NAN;
  }
}

float qp_fp4(unsigned code) {
  static const float size[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  return code & 8 ? -size[code & 7] : size[code & 7];
}

float qp_element_round(float value, qp_tensor_type type) {
  switch (type) {
  case QP_TENSOR_F16: return qp_half_to_float(qp_float_to_half(value));
  case QP_TENSOR_BF16: return qp_bf16_to_float(qp_float_to_bf16(value));
  default: return value;
  }
}
