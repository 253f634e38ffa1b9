/* SPDX-License-Identifier: MIT */
/*
** Blocks of grid points; each has a half d and 256 elements.
**   IQ2_XXS  8 x { 4 bytes: points of 8 elements | word: 4 x 7 signs, from bit 28 on a scale }
**   IQ2_XS   32 x { 16 bits: a point's 9, 7 signs } | 8 bytes of scales, 16 elements a nibble
**   IQ3_XXS  64 bytes: points of 4 elements | 8 words, as IQ2_XXS has
** Element 7 of eight is negative where an odd number of the seven others is.
*/
#include "gen/model/block_points.h"

#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "gen/base/resource.h"
#include "gen/spec/codebook_file.h"
#include "runtime/half.h"

enum { ELEMENTS = 256 };

static const struct grid {
  const char *file;
  unsigned entries, dim;
} grids[] = {{"lua/quantizers/grids/iq2_xxs.txt", 256, 8},
             {"lua/quantizers/grids/iq2_xs.txt", 512, 8},
             {"lua/quantizers/grids/iq3_xxs.txt", 256, 4}};

static uint16_t *point[3]; /* [entries][dim] fp16 bits; kept until exit */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void read_grids(void) {
  for (unsigned i = 0; i < 3; i++) {
    const char *text;
    size_t bytes;
    if (qp_resource_read(grids[i].file, &text, &bytes, NULL)) continue;
    if (qp_codebook_parse(grids[i].file, text, bytes, grids[i].entries, grids[i].dim, &point[i],
                          NULL))
      point[i] = NULL;
  }
}

static unsigned word16(const unsigned char *p) { return p[0] | (unsigned)p[1] << 8; }
static uint32_t word32(const unsigned char *p) { return word16(p) | (uint32_t)word16(p + 2) << 16; }

/* Seven signs, and the eighth that makes their number even. */
static unsigned eight_signs(unsigned seven) {
  return seven | ((unsigned)__builtin_popcount(seven) & 1u) << 7;
}

/* Read the word that holds the 32 elements' signs and scale. */
static uint32_t tail_of(uint32_t number, const unsigned char *block, unsigned element) {
  const unsigned g = element / 32;
  return word32(number == QP_BLOCK_IQ2_XXS ? block + 2 + (size_t)8 * g + 4
                                           : block + 66 + (size_t)4 * g);
}

uint32_t qp_block_point_code(uint32_t number, const unsigned char *block, unsigned element) {
  if (number == QP_BLOCK_IQ2_XS) return word16(block + 2 + (size_t)element / 8 * 2);
  const unsigned seven = tail_of(number, block, element) >> (7 * (element % 32 / 8)) & 127u;
  if (number == QP_BLOCK_IQ2_XXS)
    return block[2 + element / 32 * 8 + element % 32 / 8] | (uint32_t)seven << 8;
  return block[2 + element / 4] | (eight_signs(seven) >> (element % 8 / 4 * 4) & 15u) << 8;
}

unsigned qp_block_point_scale(uint32_t number, const unsigned char *block, unsigned element) {
  if (number == QP_BLOCK_IQ2_XS) return block[66 + element / 32] >> (element / 16 % 2 * 4) & 15;
  return tail_of(number, block, element) >> 28;
}

void qp_block_points(uint32_t number, const unsigned char *block, float *to) {
  pthread_once(&once, read_grids);
  const unsigned i = number - QP_BLOCK_IQ2_XXS, dim = grids[i].dim, entries = grids[i].entries;
  const float d = qp_half_to_float((uint16_t)word16(block)), times = dim == 8 ? 0.25F : 0.5F;
  for (unsigned e = 0; e < ELEMENTS; e++) {
    const uint32_t code = qp_block_point_code(number, block, e);
    const float scale = d * (0.5F + (float)qp_block_point_scale(number, block, e)) * times;
    const unsigned signs = code / entries;
    const bool minus = (dim == 8 ? eight_signs(signs) : signs) >> (e % dim) & 1u;
    const float size = point[i] ? qp_half_to_float(point[i][code % entries * dim + e % dim]) : NAN;
    to[e] = scale * size * (minus ? -1.0F : 1.0F);
  }
}
