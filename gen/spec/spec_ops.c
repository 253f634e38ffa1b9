/* SPDX-License-Identifier: MIT */
/* The IR's operations by name, as the prelude asks for them. */
#include "gen/spec/spec_ops.h"

#include <string.h>

#define WORD  QP_WORD
#define HALF  QP_HALF
#define PAIR  QP_PAIR
#define BPAIR QP_BPAIR
const qp_spec_op qp_spec_ops[] = {
#define X(op, text, arity, result, args, ...) {text, args, arity, result},
    QP_IR_OPS(X)
#undef X
};
#undef WORD
#undef HALF
#undef PAIR
#undef BPAIR
_Static_assert(sizeof qp_spec_ops / sizeof *qp_spec_ops == QP_IR_OP_COUNT, "an entry for each op");

qp_ir_op qp_spec_op_find(const char *name) {
  unsigned op = 0;
  while (op < QP_IR_OP_COUNT && strcmp(qp_spec_ops[op].name, name) != 0) op++;
  return (qp_ir_op)op;
}

uint32_t qp_spec_op_fold(qp_ir *scratch, qp_ir_op op, const uint32_t *words, uint32_t imm,
                         uint32_t imm2) {
  const qp_ir_env env = {.input = {0}};
  int args[3] = {0};
  uint32_t result = 0;
  scratch->count = 0;
  for (int i = 0; i < qp_spec_ops[op].arity; i++) {
    args[i] = qp_ir_add(scratch, QP_IR_CONST, NULL, words[i], 0);
  }
  const int node = qp_ir_add(scratch, op, args, imm, imm2);
  if (node < 0) return 0; /* four nodes fit, so memory ran out */
  scratch->outputs = 1;
  scratch->output[0] = (uint16_t)node;
  qp_ir_eval(scratch, &env, &result);
  return result;
}
