/* SPDX-License-Identifier: MIT */
/* The decode IR, in the middle of  spec -> [IR] -> lowered IR -> CUDA.  Its ops are defined in one
   place, QP_IR_OPS. */
#ifndef QP_IR_H
#define QP_IR_H

#include <stdbool.h>
#include <stddef.h>

#include "gen/ir/ir_op.h"
#include "runtime/status.h"

enum { QP_IR_MAX_NODES = 4096, QP_IR_MAX_OUTPUTS = 32 };

typedef struct qp_ir_node {
  uint16_t op;     /* qp_ir_op */
  uint16_t arg[3]; /* The nodes it reads, whose numbers are smaller than this node's. */
  uint32_t imm, imm2;
} qp_ir_node;

typedef struct qp_ir {
  unsigned count, capacity;
  qp_ir_node *node;
  unsigned outputs;
  uint16_t output[QP_IR_MAX_OUTPUTS]; /* node numbers; HALF, PAIR or BPAIR */
} qp_ir;

/* Make an empty IR, or a copy of one.  The caller frees it by qp_ir_free.  NULL means that there is
   no memory. */
qp_ir *qp_ir_new(void);
qp_ir *qp_ir_clone(const qp_ir *ir);
void qp_ir_free(qp_ir *ir);
/* Append a node and return its number, or the number of an equal earlier one (CSE); folds constants
   and applies identities (x+0, x*1, x&~0, shifts of constants, ...).  -1 when the IR is full. */
int qp_ir_add(qp_ir *ir, qp_ir_op op, const int *args, uint32_t imm, uint32_t imm2);
/* Append a node of one or two operands without immediates, as qp_ir_add does. */
int qp_ir_add_one(qp_ir *ir, qp_ir_op op, int a);
int qp_ir_add_two(qp_ir *ir, qp_ir_op op, int a, int b);
/* Append the constant of a type that has this value: it is one node, or a CONST that is taken as
   another type. */
int qp_ir_add_constant(qp_ir *ir, qp_ir_type type, uint32_t value);
static inline int qp_ir_add_word(qp_ir *ir, uint32_t value) {
  return qp_ir_add_constant(ir, QP_WORD, value);
}
/* What a node and its op say: the number of its operands, whether it has a trait, the type of its
   result. */
static inline unsigned qp_ir_arity(const qp_ir *ir, unsigned node) {
  return qp_ir_op_row(ir->node[node].op)->arity;
}
static inline bool qp_ir_has(const qp_ir *ir, unsigned node, unsigned traits) {
  return (qp_ir_op_row(ir->node[node].op)->trait & traits) != 0;
}
qp_ir_type qp_ir_type_of(const qp_ir *ir, unsigned node);
/* Is the node a constant (CONST or HALF_CONST)?  Its value goes to *value. */
bool qp_ir_is_const(const qp_ir *ir, unsigned node, uint32_t *value);
/* Types, arities, order, immediates, outputs; the message names the node. */
qp_status qp_ir_verify(const qp_ir *ir, qp_error *err);
/* Print an IR as text to be read, a node on each line: "%7 = lookup.p codebook0[%6].0".  The text
   is malloc'ed and the caller frees it. */
char *qp_ir_dump(const qp_ir *ir);
/* Evaluate all outputs; 'out' holds ir->outputs words.  The same inputs give the same bits on every
   machine. */
void qp_ir_eval(const qp_ir *ir, const qp_ir_env *env, uint32_t *out);

#endif
