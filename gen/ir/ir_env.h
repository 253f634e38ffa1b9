/* SPDX-License-Identifier: MIT */
/* What an evaluation of the decode IR reads beside its operands: it gets inputs, codebooks and
   tables from here. */
#ifndef QP_IR_ENV_H
#define QP_IR_ENV_H

#include <stdint.h>

/* What an INPUT's immediate names. */
enum {
  QP_IN_STATE = 0, /* the window or code; its bits above 'window' are not zero on the GPU */
  QP_IN_INDEX = 1, /* the number of a table's entry, in the IR of a table */
  QP_IN_GROUP = 2, /* + field number, up to 8 of them: the scale, zero, ... of the weight's group */
  QP_IN_LANE = 10, /* + table number, up to 4: byte offset of this lane's copy of a table in shared
                      memory */
  QP_IN_AROUND = 14, /* what the stream holds on both sides of the state's 32 bits */
  QP_IN_OTHER = 15,  /* + field number, up to 8: that field of the other row, where a lane decodes
                        two */
  QP_IN_ODD = 23,    /* bit 0: is this row the second of the two? */
  QP_IN_COUNT = 24
};

/* Codebooks for LOOKUP and tables for LOAD, during an evaluation on the CPU. */
typedef struct qp_ir_env {
  uint32_t input[QP_IN_COUNT];
  struct {
    const uint16_t *data; /* [entries][dim] fp16 bits */
    unsigned entries, dim;
  } codebook[4];
  struct {
    const uint32_t *data; /* [entries][words]; address a is entry * stride + lane offset */
    unsigned entries, words, stride;
  } table[4];
} qp_ir_env;

#endif
