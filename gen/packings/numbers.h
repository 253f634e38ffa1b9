/* SPDX-License-Identifier: MIT */
/* Reads numbers as others hold them in packed weights:  bits in words, narrow floats --> [numbers].
   */
#ifndef QP_NUMBERS_H
#define QP_NUMBERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/safetensors.h"

/*
** Unsigned numbers of 'bits' bits that lie in little-endian 32-bit words.  Number i of a line is in
** word i / per_word of it, at bit  bits place(i % per_word); or, with per_word 0, lines are streams
** without gaps: it begins at bit  bits i,  and may go on in the next word.
*/
typedef struct qp_numbers {
  const unsigned char *data;       /* not aligned; NULL: there are none */
  size_t word_stride, line_stride; /* words between the words of a line, and between lines */
  unsigned bits, per_word;
  const unsigned char *place; /* [per_word], or NULL: place(i) = i */
  uint32_t add_to_word;       /* added to a word, modulo 2^32, before it is taken apart */
  unsigned add;               /* added to a number, modulo 2^bits */
} qp_numbers;

unsigned qp_numbers_get(const qp_numbers *n, uint64_t line, uint64_t i);

/*
** Read element i of a tensor as fp32.  Its type may be F32, F16, BF16, F8_E4M3 (no infinity; 0x7f
** and 0xff are NaN), F8_E5M2 (IEEE), F8_E8M0 (2^(byte - 127), 255 is NaN), I8, U8 or I32.  Other
** types give NaN: qp_element_is_read says which do not.
*/
float qp_element_get(const unsigned char *data, qp_tensor_type type, uint64_t i);
bool qp_element_is_read(qp_tensor_type type);

/* Decode 4 bits, which are a sign, two bits of exponent and one more (e2m1): 0 0.5 1 1.5 2 3 4 6;
   code 8 is -0. */
float qp_fp4(unsigned code);

/* The nearest value that a type (F16, BF16, F32) has, as fp32. */
float qp_element_round(float value, qp_tensor_type type);

#endif
