/* SPDX-License-Identifier: MIT */
/* The ops of the decode IR: what each computes, and which bits matter to it. */
#include "gen/ir/ir_op.h"

#include <stdbool.h>
#include <string.h>

#include "gen/ir/ir_value.h"

static const qp_ir_op_info rows[] = {
#define X(op, text, args, result, trait, spec, evaluation, cuda, ...)                              \
  {text, args, spec, cuda, sizeof args - 1, QP_##result, QP_IR_##trait},
    QP_IR_OPS(X)
#undef X
};
_Static_assert(sizeof rows / sizeof *rows == QP_IR_OP_COUNT, "a row for every op");

const qp_ir_op_info *qp_ir_op_row(unsigned op) { return &rows[op]; }

qp_ir_op qp_ir_op_find(const char *name) {
  unsigned op = 0;
  while (op < QP_IR_OP_COUNT && strcmp(rows[op].name, name) != 0) op++;
  return (qp_ir_op)op;
}

uint32_t qp_ir_op_evaluate(unsigned op, const uint32_t operand[3], uint32_t imm, uint32_t imm2,
                           const qp_ir_env *env) {
  const uint32_t a = operand[0], b = operand[1], c = operand[2];
  switch (op) {
#define X(name, text, args, result, trait, spec, evaluation, ...)                                  \
  case QP_IR_##name: return (uint32_t)(evaluation);
    QP_IR_OPS(X)
#undef X
  default: return 0;
  }
}

/* ---- Which bits matter ---- */

static const uint32_t ALL = ~0u;

/* All bits at and below the highest of d: carries move upwards only. */
static uint32_t below(uint32_t d) { return d ? ~0u >> __builtin_clz(d) : 0; }

/* Does so for both halves. */
static uint32_t below2(uint32_t d) { return below(d & 0xffffu) | below(d >> 16) << 16; }

/* The bits of a number that is at most n. */
static uint32_t up_to(uint64_t n) { return n > UINT32_MAX ? ~0u : below((uint32_t)n); }

/* Give the bits that a product of numbers up to a and b may have; a's halves count by themselves
   where the lower one's product stays there. */
static uint32_t product(uint32_t a, uint32_t b) {
  const uint64_t low = (uint64_t)(a & 0xffffu) * b, high = (uint64_t)(a >> 16) * b;
  return low < 0x10000 ? up_to(low) | up_to(high) << 16 : up_to((uint64_t)a * b);
}

/* A half of which a bit is demanded is demanded whole. */
static uint32_t a_half(uint32_t d) { return d & 0xffffu ? 0xffffu : 0; }
static uint32_t halves(uint32_t d) { return a_half(d) | a_half(d >> 16) << 16; }

/* Give the bits of a factor that the bits d of a product need: zeros at the low end of a constant v
   move the other factor up. */
static uint32_t factor(unsigned k, const uint32_t *v, uint32_t d) {
  return k == 0 && v && *v ? below(d) >> __builtin_ctz(*v) : below(d);
}

/* Give the bytes of the other factor that a dot product with the constant v reads. */
static uint32_t used_bytes(uint32_t v) {
  uint32_t bytes = 0;
  for (unsigned k = 0; k < 32; k += 8) bytes |= v >> k & 255 ? 255u << k : 0;
  return bytes;
}

/* Give the bits that c and the four products of bytes of a and b may have as a sum. */
static uint32_t byte_products(uint32_t a, uint32_t b, uint32_t c) {
  uint64_t sum = c;
  for (unsigned k = 0; k < 32; k += 8) sum += (a >> k & 255) * (b >> k & 255);
  return up_to(sum);
}

uint32_t qp_ir_op_demand(unsigned op, unsigned k, uint32_t demanded, const uint32_t *second,
                         uint32_t imm) {
  const uint32_t d = demanded, *const v = second;
  switch (op) {
#define X(name, text, args, result, trait, spec, evaluation, cuda, demand, may)                    \
  case QP_IR_##name: return demand;
    QP_IR_OPS(X)
#undef X
  default: return ALL;
  }
}

uint32_t qp_ir_op_may(unsigned op, const uint32_t may[3], const uint32_t *second, uint32_t imm) {
  const uint32_t a = may[0], b = may[1], c = may[2], *const v = second;
  switch (op) {
#define X(name, text, args, result, trait, spec, evaluation, cuda, demand, bits)                   \
  case QP_IR_##name: return bits;
    QP_IR_OPS(X)
#undef X
  default: return ALL;
  }
}
