/* SPDX-License-Identifier: MIT */
/* Decodes blocks of GGUF files to fp32; their layouts are ggml's (ggml/src/ggml-common.h). */
#include "gen/model/blocks.h"

#include <math.h>
#include <string.h>

#include "gen/model/block_points.h"
#include "runtime/half.h"

static uint16_t word16(const unsigned char *p) { return (uint16_t)(p[0] | p[1] << 8); }

static float half_at(const unsigned char *p) { return qp_half_to_float(word16(p)); }

/* Take 'count' bits of a byte, from bit 'at' on. */
static unsigned bits_at(unsigned byte, unsigned at, unsigned count) {
  return byte >> at & ((1u << count) - 1);
}

static void decode_F32(const unsigned char *from, size_t count, float *to) {
  memcpy(to, from, count * sizeof *to);
}

static void decode_F16(const unsigned char *from, size_t count, float *to) {
  for (size_t i = 0; i < count; i++) to[i] = half_at(from + 2 * i);
}

static void decode_BF16(const unsigned char *from, size_t count, float *to) {
  for (size_t i = 0; i < count; i++) to[i] = qp_bf16_to_float(word16(from + 2 * i));
}

/* ---- 32 elements: scale, minimum, fifth bits, 16 bytes; j and j + 16 in byte j ---- */

/* half d | 16 x 4 bits:  d (q - 8) */
static void decode_Q4_0(const unsigned char *from, size_t count, float *to) {
  for (size_t i = 0; i < count; i += 32, from += 18) {
    const float d = half_at(from);
    for (unsigned j = 0; j < 16; j++) {
      to[i + j] = (float)((from[2 + j] & 15) - 8) * d;
      to[i + j + 16] = (float)((from[2 + j] >> 4) - 8) * d;
    }
  }
}

/* half d | half m | 16 x 4 bits:  d q + m */
static void decode_Q4_1(const unsigned char *from, size_t count, float *to) {
  for (size_t i = 0; i < count; i += 32, from += 20) {
    const float d = half_at(from), m = half_at(from + 2);
    for (unsigned j = 0; j < 16; j++) {
      to[i + j] = (float)(from[4 + j] & 15) * d + m;
      to[i + j + 16] = (float)(from[4 + j] >> 4) * d + m;
    }
  }
}

static unsigned fifth_bit(const unsigned char *bits, unsigned j) {
  return bits_at(bits[j / 8], j % 8, 1) << 4;
}

/* half d | 32 bits | 16 x 4 bits:  d (q - 16) */
static void decode_Q5_0(const unsigned char *from, size_t count, float *to) {
  for (size_t i = 0; i < count; i += 32, from += 22) {
    const float d = half_at(from);
    for (unsigned j = 0; j < 16; j++) {
      const unsigned low = (from[6 + j] & 15u) | fifth_bit(from + 2, j);
      const unsigned high = (unsigned)from[6 + j] >> 4 | fifth_bit(from + 2, j + 16);
      to[i + j] = (float)((int)low - 16) * d;
      to[i + j + 16] = (float)((int)high - 16) * d;
    }
  }
}

/* half d | half m | 32 bits | 16 x 4 bits:  d q + m */
static void decode_Q5_1(const unsigned char *from, size_t count, float *to) {
  for (size_t i = 0; i < count; i += 32, from += 24) {
    const float d = half_at(from), m = half_at(from + 2);
    for (unsigned j = 0; j < 16; j++) {
      const unsigned low = (from[8 + j] & 15u) | fifth_bit(from + 4, j);
      const unsigned high = (unsigned)from[8 + j] >> 4 | fifth_bit(from + 4, j + 16);
      to[i + j] = (float)low * d + m;
      to[i + j + 16] = (float)high * d + m;
    }
  }
}

/* half d | 32 x int8:  d q */
static void decode_Q8_0(const unsigned char *from, size_t count, float *to) {
  for (size_t i = 0; i < count; i += 32, from += 34) {
    const float d = half_at(from);
    for (unsigned j = 0; j < 32; j++) to[i + j] = (float)(int8_t)from[2 + j] * d;
  }
}

/* Values of 4-bit numbers that are not spaced evenly (kvalues_iq4nl). */
static const int8_t uneven[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};

/* half d | 16 x 4 bits:  d uneven[q] */
static void decode_IQ4_NL(const unsigned char *from, size_t count, float *to) {
  for (size_t i = 0; i < count; i += 32, from += 18) {
    const float d = half_at(from);
    for (unsigned j = 0; j < 16; j++) {
      to[i + j] = d * (float)uneven[from[2 + j] & 15];
      to[i + j + 16] = d * (float)uneven[from[2 + j] >> 4];
    }
  }
}

/* Twice the numbers of fp4 (sign, two bits of exponent, one more), as integers: there is no -0. */
static const int8_t twice_fp4[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* byte e | 16 x 4 bits:  2^(e - 128) twice_fp4[q] */
static void decode_MXFP4(const unsigned char *from, size_t count, float *to) {
  for (size_t i = 0; i < count; i += 32, from += 17) {
    const float d = ldexpf(1, (int)from[0] - 128);
    for (unsigned j = 0; j < 32; j++)
      to[i + j] = d * (float)twice_fp4[bits_at(from[1 + j % 16], j < 16 ? 0 : 4, 4)];
  }
}

/* Half of an unsigned e4m3 number: the sign is not looked at but in 0x7f, which is 0. */
static float half_of_ue4m3(unsigned char b) {
  const unsigned exponent = bits_at(b, 3, 4), fraction = bits_at(b, 0, 3);
  if (b == 0x7f) return 0;
  return exponent ? ldexpf((float)(8 + fraction), (int)exponent - 11)
                  : ldexpf((float)fraction, -10);
}

/* 4 bytes of scales | 4 x 8 x 4 bits:  half_of_ue4m3(scale) twice_fp4[q]
   Group g of 16: the lower, then the upper halves of bytes 8 g .. 8 g + 7. */
static void decode_NVFP4(const unsigned char *from, size_t count, float *to) {
  for (size_t i = 0; i < count; i += 64, from += 36)
    for (unsigned e = 0; e < 64; e++) {
      const unsigned g = e / 16, j = e % 16;
      const unsigned q = bits_at(from[4 + 8 * g + j % 8], j < 8 ? 0 : 4, 4);
      to[i + e] = half_of_ue4m3(from[g]) * (float)twice_fp4[q];
    }
}

/* ---- 256 elements ---- */

/* 16 x (4 bits scale, 4 bits minimum) | 64 x 4 x 2 bits | half d | half dmin:
     d scale q - dmin minimum
   Element 128 n + 32 k + j: bits 2 k of byte 32 n + j; each 16 elements have their own scale. */
static void decode_Q2_K(const unsigned char *from, size_t count, float *to) {
  for (size_t i = 0; i < count; i += 256, from += 84) {
    const float d = half_at(from + 80), dmin = half_at(from + 82);
    for (unsigned e = 0; e < 256; e++) {
      const unsigned q = bits_at(from[16 + 32 * (e / 128) + e % 32], 2 * (e / 32 % 4), 2);
      const unsigned scale = from[e / 16];
      to[i + e] = d * (float)(scale & 15) * (float)q - dmin * (float)(scale >> 4);
    }
  }
}

/* Scale k of 16 from 12 bytes: four lower bits, as nibbles of bytes 0 to 7, and two upper bits, in
   bytes 8 to 11. */
static int scale_of_q3(const unsigned char *s, unsigned k) {
  const unsigned low = bits_at(s[k % 8], k < 8 ? 0 : 4, 4);
  const unsigned high = bits_at(s[8 + k % 4], 2 * (k / 4), 2);
  return (int)(low | high << 4) - 32;
}

/* 256 upper bits | 64 x 4 x 2 lower bits | 12 bytes of scales | half d:  d scale (q - 4)
   Element 128 n + 32 k + j: lower bits 2 k of byte 32 n + j, upper bit 4 n + k of byte j. */
static void decode_Q3_K(const unsigned char *from, size_t count, float *to) {
  for (size_t i = 0; i < count; i += 256, from += 110) {
    const float d = half_at(from + 108);
    for (unsigned e = 0; e < 256; e++) {
      const unsigned low = bits_at(from[32 + 32 * (e / 128) + e % 32], 2 * (e / 32 % 4), 2);
      const unsigned high = bits_at(from[e % 32], e / 32, 1);
      const float a = d * (float)scale_of_q3(from + 96, e / 16);
      to[i + e] = a * (float)((int)(low | high << 2) - 4);
    }
  }
}

/* half d | 16 upper bits of scales | 4 bytes of lower bits of scales | 128 x 2 x 4 bits:
     d (scale - 32) uneven[q]
   Group g of 32: scale of nibble g and upper bits 2 g; in the lower, then upper halves of
   16 bytes. */
static void decode_IQ4_XS(const unsigned char *from, size_t count, float *to) {
  for (size_t i = 0; i < count; i += 256, from += 136) {
    const float d = half_at(from);
    const unsigned upper = word16(from + 2);
    for (unsigned e = 0; e < 256; e++) {
      const unsigned g = e / 32, j = e % 32;
      const unsigned low = bits_at(from[4 + g / 2], 4 * (g & 1), 4), high = upper >> (2 * g) & 3u;
      const unsigned q = bits_at(from[8 + 16 * g + j % 16], j < 16 ? 0 : 4, 4);
      to[i + e] = d * (float)((int)(low | high << 4) - 32) * (float)uneven[q];
    }
  }
}

/* Scale and minimum of group j (of 8) from 12 bytes: six bits each; the last four groups keep their
   upper two bits above those of the first four. */
static void scale_and_minimum(const unsigned char *s, unsigned j, unsigned *scale,
                              unsigned *minimum) {
  if (j < 4) {
    *scale = s[j] & 63u;
    *minimum = s[j + 4] & 63u;
  } else {
    *scale = (s[j + 4] & 15u) | (unsigned)s[j - 4] >> 6 << 4;
    *minimum = (unsigned)s[j + 4] >> 4 | (unsigned)s[j] >> 6 << 4;
  }
}

/* half d | half dmin | 12 bytes of scales | 128 x 2 x 4 bits:  d scale q - dmin minimum,
   groups 2 i and 2 i + 1 in the lower and upper halves of bytes 32 i .. 32 i + 31 */
static void decode_Q4_K(const unsigned char *from, size_t count, float *to) {
  for (size_t i = 0; i < count; i += 256, from += 144) {
    const float d = half_at(from), dmin = half_at(from + 2);
    for (unsigned g = 0; g < 8; g++) {
      unsigned scale, minimum;
      scale_and_minimum(from + 4, g, &scale, &minimum);
      const float a = d * (float)scale, b = dmin * (float)minimum;
      const unsigned char *q = from + 16 + (size_t)(g / 2) * 32;
      for (unsigned j = 0; j < 32; j++)
        to[i + g * 32 + j] = a * (float)(q[j] >> (4 * (g & 1)) & 15) - b;
    }
  }
}

/* half d | half dmin | 12 bytes of scales | 256 fifth bits | 128 x 2 x 4 bits:
   as Q4_K, with bit g of byte j of the fifth bits for element j of group g */
static void decode_Q5_K(const unsigned char *from, size_t count, float *to) {
  for (size_t i = 0; i < count; i += 256, from += 176) {
    const float d = half_at(from), dmin = half_at(from + 2);
    for (unsigned g = 0; g < 8; g++) {
      unsigned scale, minimum;
      scale_and_minimum(from + 4, g, &scale, &minimum);
      const float a = d * (float)scale, b = dmin * (float)minimum;
      const unsigned char *q = from + 48 + (size_t)(g / 2) * 32;
      for (unsigned j = 0; j < 32; j++) {
        const unsigned low = bits_at(q[j], 4 * (g & 1), 4), high = bits_at(from[16 + j], g, 1);
        to[i + g * 32 + j] = a * (float)(low | high << 4) - b;
      }
    }
  }
}

/* 128 bytes of lower four bits | 64 of upper two | 16 x int8 scale | half d:  d scale (q - 32).
   Element 128 n + 32 k + j: lower bits in byte 64 n + 32 (k & 1) + j, upper half for k >= 2;
   upper bits 2 k of byte 32 n + j. */
static void decode_Q6_K(const unsigned char *from, size_t count, float *to) {
  for (size_t i = 0; i < count; i += 256, from += 210) {
    const float d = half_at(from + 208);
    for (unsigned e = 0; e < 256; e++) {
      const unsigned n = e / 128, k = e / 32 % 4, j = e % 32;
      const unsigned low = bits_at(from[64 * n + 32 * (k & 1) + j], k >= 2 ? 4 : 0, 4);
      const unsigned high = bits_at(from[128 + 32 * n + j], 2 * k, 2);
      const float scale = (float)(int8_t)from[192 + e / 16];
      to[i + e] = d * scale * (float)((int)(low | high << 4) - 32);
    }
  }
}

/* 64 x 4 x 2 bits | half d:  d (q - 1).  Element 128 n + 32 k + j: bits 2 k of byte 32 n + j. */
static void decode_TQ2_0(const unsigned char *from, size_t count, float *to) {
  for (size_t i = 0; i < count; i += 256, from += 66) {
    const float d = half_at(from + 64);
    for (unsigned e = 0; e < 256; e++) {
      const unsigned q = bits_at(from[32 * (e / 128) + e % 32], 2 * (e / 32 % 4), 2);
      to[i + e] = d * (float)((int)q - 1);
    }
  }
}

/* Digit n of a byte that holds ceil(256 x / 243), x of five digits to base 3, the highest first:
   the whole part of 3 times what 3^n times the byte leaves modulo 256, divided by 256. */
static unsigned ternary_digit(unsigned char byte, unsigned n) {
  static const unsigned char power[5] = {1, 3, 9, 27, 81};
  return (unsigned)(unsigned char)(byte * power[n]) * 3 >> 8;
}

/* 32 + 16 bytes of five digits | 4 of four | half d:  d (digit - 1).  Digits n of a part's bytes
   are neighbours: 32 n + j, 160 + 16 n + j, 240 + 4 n + j for byte j of the part. */
static void decode_TQ1_0(const unsigned char *from, size_t count, float *to) {
  for (size_t i = 0; i < count; i += 256, from += 54) {
    const float d = half_at(from + 52);
    for (unsigned e = 0; e < 256; e++) {
      const unsigned first = e < 160 ? 0 : e < 240 ? 160 : 240;
      const unsigned bytes = e < 160 ? 32 : e < 240 ? 16 : 4;
      const unsigned begin = e < 160 ? 0 : e < 240 ? 32 : 48;
      const unsigned char byte = from[begin + (e - first) % bytes];
      to[i + e] = d * (float)((int)ternary_digit(byte, (e - first) / bytes) - 1);
    }
  }
}

static void decode_IQ2_XXS(const unsigned char *from, size_t count, float *to) {
  for (size_t i = 0; i < count; i += 256, from += 66)
    qp_block_points(QP_BLOCK_IQ2_XXS, from, to + i);
}
static void decode_IQ2_XS(const unsigned char *from, size_t count, float *to) {
  for (size_t i = 0; i < count; i += 256, from += 74)
    qp_block_points(QP_BLOCK_IQ2_XS, from, to + i);
}
static void decode_IQ3_XXS(const unsigned char *from, size_t count, float *to) {
  for (size_t i = 0; i < count; i += 256, from += 98)
    qp_block_points(QP_BLOCK_IQ3_XXS, from, to + i);
}

unsigned qp_block_group_scale(uint32_t number, const unsigned char *block, unsigned element) {
  unsigned scale = 0, minimum;
  switch (number) {
  case 10: return block[element / 16] & 15u;
  case 11: return (unsigned)(scale_of_q3(block + 96, element / 16) + 32);
  case 12:
  case 13: scale_and_minimum(block + 4, element / 32, &scale, &minimum); return scale;
  case 14: return block[192 + element / 16];
  case QP_BLOCK_IQ2_XXS:
  case QP_BLOCK_IQ2_XS:
  case QP_BLOCK_IQ3_XXS: return qp_block_point_scale(number, block, element);
  case 23:
    return bits_at(block[4 + element / 64], 4 * (element / 32 & 1), 4) |
           ((unsigned)word16(block + 2) >> (2 * (element / 32)) & 3u) << 4;
  default: return block[element / 16];
  }
}

unsigned qp_block_group_minimum(uint32_t number, const unsigned char *block, unsigned element) {
  unsigned scale, minimum = 0;
  if (number == 10) return block[element / 16] >> 4;
  scale_and_minimum(block + 4, element / 32, &scale, &minimum);
  return minimum;
}

#define ROW(name, number, elements, bytes) {#name, number, elements, bytes, decode_##name},
static const qp_block_type types[] = {QP_BLOCK_TYPES(ROW)};
#undef ROW

const qp_block_type *qp_block_type_find(uint32_t number) {
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (types[i].number == number) return &types[i];
  return NULL;
}

size_t qp_block_types(void) { return sizeof types / sizeof *types; }
const qp_block_type *qp_block_type_get(size_t i) { return &types[i]; }

const char *qp_block_type_name(uint32_t number) {
  static const char *const names[] = {
      "F32",     "F16",   "Q4_0",   "Q4_1",  NULL,    NULL,     "Q5_0", "Q5_1",    "Q8_0",
      "Q8_1",    "Q2_K",  "Q3_K",   "Q4_K",  "Q5_K",  "Q6_K",   "Q8_K", "IQ2_XXS", "IQ2_XS",
      "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "I8",   "I16",     "I32",
      "I64",     "F64",   "IQ1_M",  "BF16",  NULL,    NULL,     NULL,   "TQ1_0",   "TQ2_0",
      NULL,      NULL,    NULL,     "MXFP4", "NVFP4"};
  return number < sizeof names / sizeof *names ? names[number] : NULL;
}
