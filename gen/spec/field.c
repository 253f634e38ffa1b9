/* SPDX-License-Identifier: MIT */
/* Turns the raw bits of group fields into numbers and back. */
#include "gen/spec/field.h"

#include <math.h>
#include <string.h>

#include "runtime/half.h"

static const qp_field_row rows[] = {
#define X(type, name, bits, lo, hi, integer) {name, bits, lo, hi, integer},
    QP_FIELD_TYPES(X)
#undef X
};

const qp_field_row *qp_field_row_of(unsigned type) { return &rows[type]; }

static double signed_number(uint32_t raw, unsigned bits) {
  const int32_t half = 1 << (bits - 1);
  return (int32_t)((raw & ((1u << bits) - 1)) ^ (uint32_t)half) - half;
}

/* The exponent's lowest bit is 2^-6; an exponent of zero has no leading one. */
static double e4m3_number(uint32_t raw) {
  const int exponent = (int)(raw >> 3 & 15), fraction = (int)(raw & 7);
  const double magnitude = exponent ? ldexp(8 + fraction, exponent - 10) : ldexp(fraction, -9);
  if ((raw & 0x7f) == 0x7f) return NAN;
  return raw & 0x80 ? -magnitude : magnitude;
}

double qp_field_number(qp_field_type type, uint32_t raw) {
  switch (type) {
  case QP_FIELD_F16: return (double)qp_half_to_float((uint16_t)raw);
  case QP_FIELD_S4:
  case QP_FIELD_S8: return signed_number(raw, rows[type].bits);
  case QP_FIELD_E4M3: return e4m3_number(raw);
  case QP_FIELD_E5M2: return (double)qp_half_to_float((uint16_t)(raw << 8));
  case QP_FIELD_E8M0: return (raw & 255) == 255 ? NAN : ldexp(1, (int)(raw & 255) - 127);
  case QP_FIELD_BF16: return (double)qp_bf16_to_float((uint16_t)raw);
  case QP_FIELD_F32: return (double)qp_float_of_bits(raw);
  default: return raw & ((1u << rows[type].bits) - 1);
  }
}

/* Finds the nearest of 256 numbers by comparing one by one. */
static uint32_t nearest_byte(qp_field_type type, double number) {
  uint32_t best = 0;
  double least = INFINITY;
  for (uint32_t raw = 0; raw < 256; raw++) {
    const double d = fabs(qp_field_number(type, raw) - number);
    if (d < least || (d == least && !(raw & 1) && (best & 1))) least = d, best = raw;
  }
  return best;
}

uint32_t qp_field_raw(qp_field_type type, double number) {
  const qp_field_row *row = &rows[type];
  const double x = fmin(fmax(number, row->lo), row->hi);
  switch (type) {
  case QP_FIELD_F16: return qp_double_to_half(x);
  case QP_FIELD_E4M3:
  case QP_FIELD_E5M2:
  case QP_FIELD_E8M0: return nearest_byte(type, x);
  case QP_FIELD_BF16: return qp_double_to_bf16(x);
  case QP_FIELD_F32: return qp_float_bits((float)x);
  default: return (uint32_t)(int32_t)nearbyint(x) & ((1u << row->bits) - 1);
  }
}
