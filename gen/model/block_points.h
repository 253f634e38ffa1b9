/* SPDX-License-Identifier: MIT */
/* Reads those of GGUF's blocks of 256 elements whose magnitudes are points of a grid: IQ2_XXS,
   IQ2_XS, IQ3_XXS. */
#ifndef QP_BLOCK_POINTS_H
#define QP_BLOCK_POINTS_H

#include <stdint.h>

/* The types' numbers in GGUF files. */
enum { QP_BLOCK_IQ2_XXS = 16, QP_BLOCK_IQ2_XS = 17, QP_BLOCK_IQ3_XXS = 18 };

/* Get the number of a point, with signs above it, for the 8 (of IQ3_XXS: 4) elements that 'element'
   belongs to.  This is a code of the quantizer of the same name (lua/quantizers/iq.lua). */
uint32_t qp_block_point_code(uint32_t number, const unsigned char *block, unsigned element);
/* Read the 4-bit scale of an element's group. */
unsigned qp_block_point_scale(uint32_t number, const unsigned char *block, unsigned element);
/* A block's 256 elements, as ggml's dequantize_row_iq*_* has them; NaN where the grids, resources
   below lua/quantizers/grids, are not to be read. */
void qp_block_points(uint32_t number, const unsigned char *block, float *to);

#endif
