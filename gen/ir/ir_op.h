/* SPDX-License-Identifier: MIT */
/* The ops of the decode IR, each defined once, by its row of QP_IR_OPS. */
#ifndef QP_IR_OP_H
#define QP_IR_OP_H

#include <stddef.h>
#include <stdint.h>

/*
** Every value is 32 bits.
**   WORD   unsigned integer that wraps
**   HALF   fp16 in bits 0..15; bits 16..31 are unspecified on the GPU (the evaluator keeps them 0)
**   PAIR   two fp16: first weight in bits 0..15, second in bits 16..31
**   BPAIR  two bf16, same places; only made by lowering for bf16 activations
*/
typedef enum qp_ir_type { QP_WORD, QP_HALF, QP_PAIR, QP_BPAIR } qp_ir_type;

/*
** X(op, text, arity, result, args, C evaluation, CUDA spelling)
** args: one letter an operand, w h p b.  In the evaluation a, b, c are the operands' 32-bit values,
** imm and imm2 the node's immediates, and 'env' the evaluation environment.  In the spelling %a %b
** %c stand for operands, %i and %j for the immediates; functions named there live in
** templates/prelude.cuh.in.  Shifts by 32 or more give 0.
*/
#define QP_IR_OPS(X)                                                                                 \
  X(CONST, "const", 0, WORD, "", imm, "%iu")                                                         \
  X(INPUT, "input", 0, WORD, "", env->input[imm], "")                                                \
  X(INPUT_H, "input.h", 0, HALF, "", env->input[imm] & 0xffffu, "")                                  \
  X(ADD, "add", 2, WORD, "ww", a + b, "%a + %b")                                                     \
  X(SUB, "sub", 2, WORD, "ww", a - b, "%a - %b")                                                     \
  X(MUL, "mul", 2, WORD, "ww", a *b, "%a * %b")                                                      \
  X(AND, "and", 2, WORD, "ww", a &b, "%a & %b")                                                      \
  X(OR, "or", 2, WORD, "ww", a | b, "%a | %b")                                                       \
  X(XOR, "xor", 2, WORD, "ww", a ^ b, "%a ^ %b")                                                     \
  X(NOT, "not", 1, WORD, "w", ~a, "~%a")                                                             \
  X(SHL, "shl", 2, WORD, "ww", b < 32 ? a << b : 0, "w_shl(%a, %b)")                                 \
  X(SHR, "shr", 2, WORD, "ww", b < 32 ? a >> b : 0, "w_shr(%a, %b)")                                 \
  X(MIN, "min", 2, WORD, "ww", a < b ? a : b, "min(%a, %b)")                                         \
  X(MAX, "max", 2, WORD, "ww", a > b ? a : b, "max(%a, %b)")                                         \
  X(EQ, "eq", 2, WORD, "ww", a == b, "(unsigned)(%a == %b)")                                         \
  X(LT, "lt", 2, WORD, "ww", a < b, "(unsigned)(%a < %b)")                                           \
  X(SELECT, "select", 3, WORD, "www", a ? b : c, "(%a ? %b : %c)")                                   \
  X(POPC, "popc", 1, WORD, "w", (uint32_t)__builtin_popcount(a), "(unsigned)__popc(%a)")             \
  /* chosen by passes (a spec may also ask for them) */                                              \
  X(MAD, "mad", 3, WORD, "www", a *b + c, "%a * %b + %c")                                            \
  X(FUNNEL, "funnel", 3, WORD, "www", qp_ir_funnel(a, b, c), "__funnelshift_r(%a, %b, %c)")          \
  X(LOP3, "lop3", 3, WORD, "www", qp_ir_lop3(a, b, c, imm), "w_lop3<%i>(%a, %b, %c)")                \
  X(PRMT, "prmt", 3, WORD, "www", qp_ir_prmt(a, b, c), "__byte_perm(%a, %b, %c)")                    \
  X(DP4A, "dp4a", 3, WORD, "www", qp_ir_dp4a(a, b, c), "__dp4a(%a, %b, %c)")                         \
  X(SCALE, "scale", 1, WORD, "w", a << imm, "%a * pow2[%i]") /* shl on the multiply pipe */          \
  /* fp16 */                                                                                         \
  X(HALF_CONST, "half.const", 0, HALF, "", imm & 0xffffu, "%iu")                                     \
  X(HALF_OF_UINT, "half.of_uint", 1, HALF, "w", qp_ir_half_of_uint(a), "h_of_uint(%a)")              \
  X(HALF_OF_INT, "half.of_int", 1, HALF, "w", qp_ir_half_of_int(a), "h_of_int(%a)")                  \
  X(AS_HALF, "as_half", 1, HALF, "w", a & 0xffffu, "%a")                                             \
  X(AS_PAIR, "as_pair", 1, PAIR, "w", a, "%a")                                                       \
  X(WORD_OF_HALF, "word_of_half", 1, WORD, "h", a & 0xffffu, "(%a & 0xffffu)")                       \
  X(WORD_OF_PAIR, "word_of_pair", 1, WORD, "p", a, "%a")                                             \
  X(PACK, "pack", 2, PAIR, "hh", (a & 0xffffu) | b << 16, "__byte_perm(%a, %b, 0x5410u)")            \
  X(LO, "lo", 1, HALF, "p", a & 0xffffu, "%a")                                                       \
  X(HI, "hi", 1, HALF, "p", a >> 16, "(%a >> 16)")                                                   \
  X(HADD, "add.h", 2, HALF, "hh", qp_ir_hadd(a, b), "p_add(%a, %b)")                                 \
  X(HSUB, "sub.h", 2, HALF, "hh", qp_ir_hsub(a, b), "p_sub(%a, %b)")                                 \
  X(HMUL, "mul.h", 2, HALF, "hh", qp_ir_hmul(a, b), "p_mul(%a, %b)")                                 \
  X(HFMA, "fma.h", 3, HALF, "hhh", qp_ir_hfma(a, b, c), "p_fma(%a, %b, %c)")                         \
  X(HNEG, "neg.h", 1, HALF, "h", (a ^ 0x8000u) & 0xffffu, "(%a ^ 0x8000u)")                          \
  X(HABS, "abs.h", 1, HALF, "h", a & 0x7fffu, "(%a & 0x7fffu)")                                      \
  X(PADD, "add.p", 2, PAIR, "pp", qp_ir_padd(a, b), "p_add(%a, %b)")                                 \
  X(PSUB, "sub.p", 2, PAIR, "pp", qp_ir_psub(a, b), "p_sub(%a, %b)")                                 \
  X(PMUL, "mul.p", 2, PAIR, "pp", qp_ir_pmul(a, b), "p_mul(%a, %b)")                                 \
  X(PFMA, "fma.p", 3, PAIR, "ppp", qp_ir_pfma(a, b, c), "p_fma(%a, %b, %c)")                         \
  X(PNEG, "neg.p", 1, PAIR, "p", a ^ 0x80008000u, "(%a ^ 0x80008000u)")                              \
  X(PABS, "abs.p", 1, PAIR, "p", a & 0x7fff7fffu, "(%a & 0x7fff7fffu)")                              \
  /* codebook[idx]: imm codebook, imm2 pair of the entry */                                          \
  X(LOOKUP_H, "lookup.h", 1, HALF, "w", qp_ir_lookup(env, imm, 0, a) & 0xffffu, "")                  \
  X(LOOKUP_P, "lookup.p", 1, PAIR, "w", qp_ir_lookup(env, imm, imm2, a), "")                         \
  /* made by lowering: a word of a table in shared memory at byte address a (imm table, imm2 word) \
   */ \
  X(LOAD, "load", 1, PAIR, "w", qp_ir_load(env, imm, imm2, a), "")                                   \
  X(LOAD_B, "load.b", 1, BPAIR, "w", qp_ir_load(env, imm, imm2, a), "")                              \
  X(BPAIR_OF_PAIR, "bpair_of_pair", 1, BPAIR, "p", qp_ir_bpair_of_pair(a), "b_of_p(%a)")             \
  X(AS_BPAIR, "as_bpair", 1, BPAIR, "w", a, "%a")                                                    \
  X(WORD_OF_BPAIR, "word_of_bpair", 1, WORD, "b", a, "%a")

typedef enum qp_ir_op {
#define X(op, ...) QP_IR_##op,
  QP_IR_OPS(X)
#undef X
      QP_IR_OP_COUNT
} qp_ir_op;

/* What an INPUT's immediate names. */
enum {
  QP_IN_STATE = 0, /* the window or code; its bits above 'window' are not zero on the GPU */
  QP_IN_INDEX = 1, /* a table entry's number (in a table's own IR) */
  QP_IN_GROUP = 2, /* + field number: the scale, zero, ... of the weight's group, up to 4 */
  QP_IN_LANE = 6,  /* + table number: byte offset of this lane's copy in a shared-memory table, 4 */
  QP_IN_COUNT = 10
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
