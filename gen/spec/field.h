/* SPDX-License-Identifier: MIT */
/* Group fields:  numbers that are stored beside the codes, in a few bits or in many. */
#ifndef QP_FIELD_H
#define QP_FIELD_H

#include <stdbool.h>
#include <stdint.h>

/*
** X(type, name, bits, lowest, highest, integer): what a field's raw bits can hold.  A decode gets
** u2 to u8 as words; s4, s8, f16, e4m3 and e5m2 as halves; bf16, e8m0 and f32 as singles, exactly.
**   s4, s8   two's complement
**   e4m3     OCP FP8 with 4 bits of exponent (no infinities; 448 is the largest)
**   e5m2     the upper byte of an fp16
**   e8m0     2^(raw - 127), OCP microscaling
*/
#define QP_FIELD_TYPES(X)                                                                          \
  X(F16, "f16", 16, -65504, 65504, false)                                                          \
  X(U4, "u4", 4, 0, 15, true)                                                                      \
  X(U8, "u8", 8, 0, 255, true)                                                                     \
  X(U2, "u2", 2, 0, 3, true)                                                                       \
  X(U3, "u3", 3, 0, 7, true)                                                                       \
  X(U6, "u6", 6, 0, 63, true)                                                                      \
  X(S4, "s4", 4, -8, 7, true)                                                                      \
  X(S8, "s8", 8, -128, 127, true)                                                                  \
  X(E4M3, "e4m3", 8, -448, 448, false)                                                             \
  X(E5M2, "e5m2", 8, -57344, 57344, false)                                                         \
  X(E8M0, "e8m0", 8, 0x1p-127, 0x1p127, false)                                                     \
  X(BF16, "bf16", 16, -0x1.fep127, 0x1.fep127, false)                                              \
  X(F32, "f32", 32, -0x1.fffffep127, 0x1.fffffep127, false)

typedef enum qp_field_type {
#define X(type, ...) QP_FIELD_##type,
  QP_FIELD_TYPES(X)
#undef X
      QP_FIELD_TYPE_COUNT
} qp_field_type;

typedef struct qp_field_row {
  const char *name;
  unsigned bits;
  double lo, hi;
  bool integer;
} qp_field_row;

/* The row of a type, which must be below QP_FIELD_TYPE_COUNT. */
const qp_field_row *qp_field_row_of(unsigned type);
/* The number that raw bits stand for; a NaN where they stand for none. */
double qp_field_number(qp_field_type type, uint32_t raw);
/* The raw bits of the nearest number that the type has, of equals the one with an even last bit. */
uint32_t qp_field_raw(qp_field_type type, double number);

#endif
