/* SPDX-License-Identifier: MIT */
/* Rows of QP_IR_OPS are true: what they say of bits holds for what they compute. */
#include <criterion/criterion.h>
#include <string.h>

#include "gen/base/random.h"
#include "gen/ir/ir_op.h"

enum { ROUNDS = 4000 };

static qp_random r = {7};

static uint32_t word(void) { return (uint32_t)qp_random_next(&r); }

/* A word with few bits set, with many, or with any. */
static uint32_t mask(void) {
  const uint32_t a = word(), b = word();
  switch (qp_random_next(&r) % 4) {
  case 0: return a & b & word();
  case 1: return a | b;
  case 2: return 1u << (a & 31);
  default: return a;
  }
}

/* Small shifts and any other word; of a half 16 bits. */
static uint32_t operand(char letter) {
  const uint32_t any = qp_random_next(&r) % 2 ? word() & 31 : mask();
  return letter == 'h' ? word() & 0xffff : any;
}

static uint32_t number_of(const qp_ir_op_info *row, qp_ir_op op) {
  return !(row->trait & QP_IR_NUMBER) ? 0 : op == QP_IR_LOP3 ? word() & 255 : word() % 16;
}

/* Ops that compute something from operands alone. */
static bool computes(const qp_ir_op_info *row) {
  return !(row->trait & (QP_IR_LEAF | QP_IR_LOOKS_UP | QP_IR_LOADS | QP_IR_FETCHES));
}

/* Bits of an operand that are not demanded may be anything. */
static void check_demand(qp_ir_op op) {
  const qp_ir_op_info *row = qp_ir_op_row(op);
  uint32_t v[3] = {0};
  for (unsigned i = 0; i < row->arity; i++) v[i] = operand(row->args[i]);
  const bool constant = row->arity > 1 && word() % 2;
  const unsigned k = constant ? 0 : word() % row->arity;
  const uint32_t d = mask(), imm = number_of(row, op);
  const uint32_t demand = qp_ir_op_demand(op, k, d, constant ? &v[1] : NULL, imm);
  const uint32_t before = qp_ir_op_evaluate(op, v, imm, 0, NULL), was = v[k];
  v[k] ^= word() & ~demand & (row->args[k] == 'h' ? 0xffffu : ~0u);
  const uint32_t after = qp_ir_op_evaluate(op, v, imm, 0, NULL);
  cr_assert_eq((before ^ after) & d, 0,
               "%s: bits %08x of the result change, %08x to %08x, with operand %u: %08x to %08x, "
               "of which %08x is demanded",
               row->name, d, before, after, k, was, v[k], demand);
}

/* The result has no bit that it may not have. */
static void check_may(qp_ir_op op) {
  const qp_ir_op_info *row = qp_ir_op_row(op);
  uint32_t may[3] = {0}, v[3] = {0};
  for (unsigned i = 0; i < row->arity; i++) {
    may[i] = mask();
    v[i] = operand(row->args[i]) & may[i];
  }
  const bool constant = row->arity > 1 && word() % 2;
  const uint32_t imm = number_of(row, op);
  const uint32_t bits = qp_ir_op_may(op, may, constant ? &v[1] : NULL, imm);
  const uint32_t got = qp_ir_op_evaluate(op, v, imm, 0, NULL);
  cr_assert_eq(got & ~bits, 0, "%s(%08x, %08x, %08x) = %08x may have bits %08x only", row->name,
               v[0], v[1], v[2], got, bits);
}

Test(ir_op, what_is_said_of_bits_holds_for_random_values) {
  for (qp_ir_op op = 0; op < QP_IR_OP_COUNT; op++) {
    if (!computes(qp_ir_op_row(op))) continue;
    for (unsigned i = 0; i < ROUNDS; i++) check_demand(op), check_may(op);
  }
}

Test(ir_op, operands_that_commute_may_change_places) {
  for (qp_ir_op op = 0; op < QP_IR_OP_COUNT; op++) {
    const qp_ir_op_info *row = qp_ir_op_row(op);
    if (!(row->trait & QP_IR_COMMUTES)) continue;
    cr_assert(row->arity == 2 && row->args[0] == row->args[1], "%s", row->name);
    for (unsigned i = 0; i < ROUNDS; i++) {
      const uint32_t a = operand(row->args[0]), b = operand(row->args[1]);
      cr_assert_eq(qp_ir_op_evaluate(op, (const uint32_t[]){a, b, 0}, 0, 0, NULL),
                   qp_ir_op_evaluate(op, (const uint32_t[]){b, a, 0}, 0, 0, NULL), "%s", row->name);
    }
  }
}

Test(ir_op, names_are_found_and_are_each_used_once) {
  for (qp_ir_op op = 0; op < QP_IR_OP_COUNT; op++)
    cr_assert_eq(qp_ir_op_find(qp_ir_op_row(op)->name), op, "%s", qp_ir_op_row(op)->name);
  cr_assert_eq(qp_ir_op_find("nothing"), QP_IR_OP_COUNT);
}

/* A rename is the operand's bits: no instruction is written for it. */
Test(ir_op, renames_keep_the_bits_of_their_operand) {
  for (qp_ir_op op = 0; op < QP_IR_OP_COUNT; op++) {
    const qp_ir_op_info *row = qp_ir_op_row(op);
    if (!(row->trait & QP_IR_RENAMES)) continue;
    cr_assert_str_eq(row->cuda, "%a");
    const uint32_t a = word(), bits = row->result == QP_HALF ? 0xffffu : ~0u;
    cr_assert_eq(qp_ir_op_evaluate(op, (const uint32_t[]){a, 0, 0}, 0, 0, NULL), a & bits, "%s",
                 row->name);
  }
}
