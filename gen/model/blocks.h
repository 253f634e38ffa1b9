/* SPDX-License-Identifier: MIT */
/* The element types of GGUF files that are sources of weights, and what their blocks decode to. */
#ifndef QP_BLOCKS_H
#define QP_BLOCKS_H

#include <stddef.h>
#include <stdint.h>

/*
** Each row gives a type's number in GGUF files, the elements of a block and its bytes.  Blocks are
** decoded in fp32 as ggml's dequantize_row_* does it (llama.cpp, ggml/src/ggml-quants.c).
*/
/* clang-format off */
#define QP_BLOCK_TYPES(X)  \
  X(F32, 0, 1, 4)          \
  X(F16, 1, 1, 2)          \
  X(BF16, 30, 1, 2)        \
  X(Q8_0, 8, 32, 34)       \
  X(Q4_0, 2, 32, 18)       \
  X(Q4_1, 3, 32, 20)       \
  X(Q5_0, 6, 32, 22)       \
  X(Q5_1, 7, 32, 24)       \
  X(IQ4_NL, 20, 32, 18)    \
  X(MXFP4, 39, 32, 17)     \
  X(Q2_K, 10, 256, 84)     \
  X(Q3_K, 11, 256, 110)    \
  X(Q4_K, 12, 256, 144)    \
  X(Q5_K, 13, 256, 176)    \
  X(Q6_K, 14, 256, 210)    \
  X(IQ4_XS, 23, 256, 136)  \
  X(IQ2_XXS, 16, 256, 66)  \
  X(IQ2_XS, 17, 256, 74)   \
  X(IQ3_XXS, 18, 256, 98)  \
  X(TQ1_0, 34, 256, 54)    \
  X(TQ2_0, 35, 256, 66)    \
  X(NVFP4, 40, 64, 36)
/* clang-format on */

typedef struct qp_block_type {
  const char *name; /* "Q4_K" */
  uint32_t number;  /* number of the type in a GGUF file */
  unsigned elements, bytes;
  /* Decodes 'count' elements, a multiple of 'elements', from 'from' (not aligned) to 'to'. */
  void (*decode)(const unsigned char *from, size_t count, float *to);
} qp_block_type;

/*
** Get the number that a block with two levels of scales (Q2_K to Q6_K, IQ2_XXS to IQ4_XS, NVFP4)
** stores for the group of an element.  It is the group's scale (with 32 added for Q3_K and IQ4_XS,
** an e4m3 byte for NVFP4) or its minimum.
*/
unsigned qp_block_group_scale(uint32_t number, const unsigned char *block, unsigned element);
unsigned qp_block_group_minimum(uint32_t number, const unsigned char *block, unsigned element);

/* NULL: not a type that weights can be read from. */
const qp_block_type *qp_block_type_find(uint32_t number);

/* The names of all types, for messages. */
size_t qp_block_types(void);
const qp_block_type *qp_block_type_get(size_t i);

/* Give ggml's name of any type number ("Q2_K"), or NULL; it is for messages. */
const char *qp_block_type_name(uint32_t number);

#endif
