/* SPDX-License-Identifier: MIT */
/* The IR's operations by name, as the prelude asks for them. */
#ifndef QP_SPEC_OPS_H
#define QP_SPEC_OPS_H

#include "gen/ir/ir.h"

typedef struct qp_spec_op {
  const char *name, *args; /* "add", "ww": one letter an operand, as in QP_IR_OPS */
  int arity;
  qp_ir_type result;
} qp_spec_op;

/* QP_IR_OP_COUNT of them, by qp_ir_op. */
extern const qp_spec_op qp_spec_ops[];

/* QP_IR_OP_COUNT where there is no such operation. */
qp_ir_op qp_spec_op_find(const char *name);

/* The result of an operation of words on known words; 'scratch' is emptied first. */
uint32_t qp_spec_op_fold(qp_ir *scratch, qp_ir_op op, const uint32_t *words, uint32_t imm,
                         uint32_t imm2);

#endif
