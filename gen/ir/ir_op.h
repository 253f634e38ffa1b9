/* SPDX-License-Identifier: MIT */
/* The ops of the decode IR, each defined once, by its row of QP_IR_OPS. */
#ifndef QP_IR_OP_H
#define QP_IR_OP_H

#include <stdint.h>

#include "gen/ir/ir_env.h"

/*
** Every value is 32 bits.
**   WORD   unsigned integer that wraps
**   HALF   fp16 in bits 0..15; bits 16..31 are unspecified on the GPU (the evaluator keeps them 0)
**   PAIR   two fp16: first weight in bits 0..15, second in bits 16..31
**   SINGLE fp32; operations round once and keep subnormals, any NaN is 0x7fffffff
**   BPAIR  two bf16, same places; only made by lowering for bf16 activations
*/
typedef enum qp_ir_type { QP_WORD, QP_HALF, QP_PAIR, QP_SINGLE, QP_BPAIR } qp_ir_type;

/* What is true of an op; passes and printers ask for these in place of the ops' names. */
typedef enum qp_ir_trait {
  QP_IR_PLAIN = 0,
  QP_IR_LEAF = 1,      /* a constant or an input: no operands, and written where it is used */
  QP_IR_COMMUTES = 2,  /* its two operands may change places */
  QP_IR_RENAMES = 4,   /* it gives the operand's bits another type, which takes no instruction */
  QP_IR_NUMBER = 8,    /* imm is one more operand of the instruction */
  QP_IR_LOOKS_UP = 16, /* reads codebook imm */
  QP_IR_LOADS = 32,    /* reads table imm in shared memory */
  QP_IR_FETCHES = 64   /* reads the stream where the state lies; imm is a number of its own */
} qp_ir_trait;

/*
** X(op, text, args, result, trait, spec,
**   evaluation, CUDA, demand, may)
** A row is all that there is to an op; rules that rewrite it are added where its pass is.
**   args        one letter an operand: w h p s b, for the types above
**   spec        how a spec calls it as a function of words, or "" for an op that has an operator or
**               a constructor in lua/prelude.lua, or that specs do not name
**   evaluation  a, b, c are the operands' 32-bit values, imm and imm2 the node's immediates, 'env'
**               the evaluation environment; functions are those of ir_value.h
**   CUDA        %a %b %c stand for operands, %i and %j for the immediates; functions named there
**               live in templates/prelude.cuh.in
**   demand      the bits of operand k that the bits d of the result depend on
**   may         the bits that the result may have set, of operands that may have a, b, c
** In the last two v points to the second operand's value where that is a constant (else NULL), and
** ALL stands for all bits; functions are those of ir_op.c.
*/
/* clang-format off */
#define QP_IR_OPS(X)                                                                              \
  X(CONST, "const", "", WORD, LEAF, "",                                                           \
    imm, "%iu", ALL, imm)                                                                         \
  X(INPUT, "input", "", WORD, LEAF, "",                                                           \
    env->input[imm], "", ALL, ALL)                                                                \
  X(INPUT_H, "input.h", "", HALF, LEAF, "",                                                       \
    env->input[imm] & 0xffffu, "", ALL, ALL)                                                      \
  X(INPUT_P, "input.p", "", PAIR, LEAF, "",                                                       \
    (env->input[imm] & 0xffffu) | env->input[imm] << 16, "", ALL, ALL)                            \
  X(ADD, "add", "ww", WORD, COMMUTES, "",                                                         \
    a + b, "%a + %b", below(d), up_to((uint64_t)a + b))                                           \
  X(SUB, "sub", "ww", WORD, PLAIN, "",                                                            \
    a - b, "%a - %b", below(d), ALL)                                                              \
  X(MUL, "mul", "ww", WORD, COMMUTES, "",                                                         \
    a * b, "%a * %b", factor(k, v, d), product(a, b))                                             \
  X(AND, "and", "ww", WORD, COMMUTES, "",                                                         \
    a & b, "%a & %b", k == 0 && v ? d & *v : d, a & b)                                            \
  X(OR, "or", "ww", WORD, COMMUTES, "",                                                           \
    a | b, "%a | %b", k == 0 && v ? d & ~*v : d, a | b)                                           \
  X(XOR, "xor", "ww", WORD, COMMUTES, "",                                                         \
    a ^ b, "%a ^ %b", d, a | b)                                                                   \
  X(NOT, "not", "w", WORD, PLAIN, "",                                                             \
    ~a, "~%a", d, ALL)                                                                            \
  X(SHL, "shl", "ww", WORD, PLAIN, "",                                                            \
    qp_ir_shl(a, b), "w_shl(%a, %b)", k == 0 && v ? qp_ir_shr(d, *v) : ALL,                       \
      v ? qp_ir_shl(a, *v) : ALL)                                                                 \
  X(SHR, "shr", "ww", WORD, PLAIN, "",                                                            \
    qp_ir_shr(a, b), "w_shr(%a, %b)", k == 0 && v ? qp_ir_shl(d, *v) : ALL,                       \
      v ? qp_ir_shr(a, *v) : below(a))                                                            \
  X(MIN, "min", "ww", WORD, COMMUTES, "",                                                         \
    a < b ? a : b, "min(%a, %b)", ALL, below(a < b ? a : b))                                      \
  X(MAX, "max", "ww", WORD, COMMUTES, "",                                                         \
    a > b ? a : b, "max(%a, %b)", ALL, below(a > b ? a : b))                                      \
  X(EQ, "eq", "ww", WORD, COMMUTES, "eq(a, b)",                                                   \
    a == b, "(unsigned)(%a == %b)", ALL, 1)                                                       \
  X(LT, "lt", "ww", WORD, PLAIN, "lt(a, b)",                                                      \
    a < b, "(unsigned)(%a < %b)", ALL, 1)                                                         \
  X(SELECT, "select", "www", WORD, PLAIN, "",                                                     \
    a ? b : c, "(%a ? %b : %c)", k == 0 ? ALL : d, b | c)                                         \
  X(POPC, "popc", "w", WORD, PLAIN, "popcount(x)",                                                \
    (uint32_t)__builtin_popcount(a), "(unsigned)__popc(%a)", ALL, up_to(32))                      \
  /* Instructions that passes choose; a spec may also ask for them. */                            \
  X(MAD, "mad", "www", WORD, PLAIN, "mad(a, b, c)",                                               \
    a * b + c, "%a * %b + %c", factor(k, v, d), ALL)                                              \
  X(FUNNEL, "funnel", "www", WORD, PLAIN, "funnel(low, high, shift)",                             \
    qp_ir_funnel(a, b, c), "__funnelshift_r(%a, %b, %c)", ALL, ALL)                               \
  X(LOP3, "lop3", "www", WORD, NUMBER, "",                                                        \
    qp_ir_lop3(a, b, c, imm), "w_lop3<%i>(%a, %b, %c)", d, ALL)                                   \
  X(PRMT, "prmt", "www", WORD, PLAIN, "prmt(a, b, selector)",                                     \
    qp_ir_prmt(a, b, c), "__byte_perm(%a, %b, %c)", ALL, ALL)                                     \
  X(DP4A, "dp4a", "www", WORD, PLAIN, "dp4a(a, b, c)",                                            \
    qp_ir_dp4a(a, b, c), "__dp4a(%a, %b, %c)", k == 0 && v ? used_bytes(*v) : ALL,                \
      byte_products(a, b, c))                                                                     \
  /* SCALE is a shift to the left on the multiply pipe. */                                        \
  X(SCALE, "scale", "w", WORD, NUMBER, "",                                                        \
    a << imm, "%a * pow2[%i]", d >> imm, ALL)                                                     \
  /* Made by lowering: the state moved by imm bits as it is fetched, with bits of the stream where \
     a shift has zeros; bytes of it and of a, by selectors imm. */                                \
  X(STATE_RIGHT, "state.right", "", WORD, FETCHES, "",                                            \
    qp_ir_right(env, imm), "at.right(%i)", ALL, ALL)                                              \
  X(STATE_LEFT, "state.left", "", WORD, FETCHES, "",                                              \
    qp_ir_left(env, imm), "at.left(%i)", ALL, ALL)                                                \
  X(STATE_BYTES, "state.bytes", "w", WORD, FETCHES, "",                                           \
    qp_ir_prmt(env->input[QP_IN_STATE], a, imm), "at.bytes(%a, %i)", ALL, ALL)                    \
  /* The same: 16 bits of the state from bit imm on, and zeros. */                                \
  X(STATE_HALF, "state.half", "", WORD, FETCHES, "",                                              \
    qp_ir_right(env, imm) & 0xffffu, "at.half(%i)", ALL, 0xffffu)                                 \
  /* A lane decodes two rows of equal fetches: the byte fields imm of both, the even one's in the \
     lower half; the smaller or larger of halves that are positive fp16 numbers as they stand; and \
     the half of this row's place, twice. */                                                      \
  X(ROWS, "rows", "", WORD, FETCHES, "",                                                          \
    qp_ir_rows(env, imm), "at.rows(%i)", ALL, 0xff00ff)                                           \
  X(MIN2, "min2", "ww", WORD, COMMUTES, "",                                                       \
    qp_ir_min2(a, b), "w_min2(%a, %b)", ALL, below2(a) | below2(b))                               \
  X(MAX2, "max2", "ww", WORD, COMMUTES, "",                                                       \
    qp_ir_max2(a, b), "w_max2(%a, %b)", ALL, below2(a) | below2(b))                               \
  X(OWN, "own", "p", PAIR, FETCHES, "",                                                           \
    qp_ir_own(env, a), "at.own(%a)", ALL, ALL)                                                    \
  /* fp16 numbers, alone and in pairs. */                                                         \
  X(HALF_CONST, "half.const", "", HALF, LEAF, "",                                                 \
    imm & 0xffffu, "%iu", ALL, imm)                                                               \
  X(HALF_OF_UINT, "half.of_uint", "w", HALF, PLAIN, "",                                           \
    qp_ir_half_of_uint(a), "h_of_uint(%a)", ALL, ALL)                                             \
  X(HALF_OF_INT, "half.of_int", "w", HALF, PLAIN, "",                                             \
    qp_ir_half_of_int(a), "h_of_int(%a)", ALL, ALL)                                               \
  X(AS_HALF, "as_half", "w", HALF, RENAMES, "",                                                   \
    a & 0xffffu, "%a", d & 0xffffu, ALL)                                                          \
  X(AS_PAIR, "as_pair", "w", PAIR, RENAMES, "",                                                   \
    a, "%a", d, ALL)                                                                              \
  X(WORD_OF_HALF, "word_of_half", "h", WORD, PLAIN, "",                                           \
    a & 0xffffu, "(%a & 0xffffu)", d & 0xffffu, 0xffff)                                           \
  X(WORD_OF_PAIR, "word_of_pair", "p", WORD, RENAMES, "",                                         \
    a, "%a", d, ALL)                                                                              \
  X(PACK, "pack", "hh", PAIR, PLAIN, "",                                                          \
    (a & 0xffffu) | b << 16, "__byte_perm(%a, %b, 0x5410u)", k == 0 ? d & 0xffffu : d >> 16, ALL) \
  X(LO, "lo", "p", HALF, RENAMES, "",                                                             \
    a & 0xffffu, "%a", d & 0xffffu, ALL)                                                          \
  X(HI, "hi", "p", HALF, PLAIN, "",                                                               \
    a >> 16, "(%a >> 16)", d << 16, ALL)                                                          \
  X(HADD, "add.h", "hh", HALF, COMMUTES, "",                                                      \
    qp_ir_hadd(a, b), "p_add(%a, %b)", a_half(d), ALL)                                            \
  X(HSUB, "sub.h", "hh", HALF, PLAIN, "",                                                         \
    qp_ir_hsub(a, b), "p_sub(%a, %b)", a_half(d), ALL)                                            \
  X(HMUL, "mul.h", "hh", HALF, COMMUTES, "",                                                      \
    qp_ir_hmul(a, b), "p_mul(%a, %b)", a_half(d), ALL)                                            \
  X(HFMA, "fma.h", "hhh", HALF, PLAIN, "",                                                        \
    qp_ir_hfma(a, b, c), "p_fma(%a, %b, %c)", a_half(d), ALL)                                     \
  X(HNEG, "neg.h", "h", HALF, PLAIN, "",                                                          \
    (a ^ 0x8000u) & 0xffffu, "(%a ^ 0x8000u)", d & 0xffffu, ALL)                                  \
  X(HABS, "abs.h", "h", HALF, PLAIN, "",                                                          \
    a & 0x7fffu, "(%a & 0x7fffu)", d & 0x7fffu, ALL)                                              \
  X(PADD, "add.p", "pp", PAIR, COMMUTES, "",                                                      \
    qp_ir_padd(a, b), "p_add(%a, %b)", halves(d), ALL)                                            \
  X(PSUB, "sub.p", "pp", PAIR, PLAIN, "",                                                         \
    qp_ir_psub(a, b), "p_sub(%a, %b)", halves(d), ALL)                                            \
  X(PMUL, "mul.p", "pp", PAIR, COMMUTES, "",                                                      \
    qp_ir_pmul(a, b), "p_mul(%a, %b)", halves(d), ALL)                                            \
  X(PFMA, "fma.p", "ppp", PAIR, PLAIN, "",                                                        \
    qp_ir_pfma(a, b, c), "p_fma(%a, %b, %c)", halves(d), ALL)                                     \
  X(PNEG, "neg.p", "p", PAIR, PLAIN, "",                                                          \
    a ^ 0x80008000u, "(%a ^ 0x80008000u)", d, ALL)                                                \
  X(PABS, "abs.p", "p", PAIR, PLAIN, "",                                                          \
    a & 0x7fff7fffu, "(%a & 0x7fff7fffu)", d & 0x7fff7fffu, ALL)                                  \
  /* fp32 numbers. */                                                                             \
  X(AS_SINGLE, "as_single", "w", SINGLE, RENAMES, "",                                             \
    a, "%a", d, ALL)                                                                              \
  X(WORD_OF_SINGLE, "word_of_single", "s", WORD, RENAMES, "",                                     \
    a, "%a", d, ALL)                                                                              \
  X(SINGLE_OF_HALF, "single.of_half", "h", SINGLE, PLAIN, "",                                     \
    qp_ir_single_of_half(a), "s_of_h(%a)", d ? 0xffffu : 0, ALL)                                  \
  X(SINGLE_OF_UINT, "single.of_uint", "w", SINGLE, PLAIN, "",                                     \
    qp_ir_s((float)a), "s_of_uint(%a)", d ? ALL : 0, ALL)                                         \
  X(SINGLE_OF_INT, "single.of_int", "w", SINGLE, PLAIN, "",                                       \
    qp_ir_s((float)(int32_t)a), "s_of_int(%a)", d ? ALL : 0, ALL)                                 \
  X(HALF_OF_SINGLE, "half.of_single", "s", HALF, PLAIN, "",                                       \
    qp_float_to_half(qp_ir_f(a)), "h_of_s(%a)", d & 0xffffu ? ALL : 0, ALL)                       \
  X(SADD, "add.s", "ss", SINGLE, COMMUTES, "",                                                    \
    qp_ir_s(qp_ir_f(a) + qp_ir_f(b)), "s_add(%a, %b)", d ? ALL : 0, ALL)                          \
  X(SSUB, "sub.s", "ss", SINGLE, PLAIN, "",                                                       \
    qp_ir_s(qp_ir_f(a) - qp_ir_f(b)), "s_sub(%a, %b)", d ? ALL : 0, ALL)                          \
  X(SMUL, "mul.s", "ss", SINGLE, COMMUTES, "",                                                    \
    qp_ir_s(qp_ir_f(a) * qp_ir_f(b)), "s_mul(%a, %b)", d ? ALL : 0, ALL)                          \
  X(SFMA, "fma.s", "sss", SINGLE, PLAIN, "",                                                      \
    qp_ir_s(fmaf(qp_ir_f(a), qp_ir_f(b), qp_ir_f(c))), "s_fma(%a, %b, %c)", d ? ALL : 0, ALL)     \
  X(SNEG, "neg.s", "s", SINGLE, PLAIN, "",                                                        \
    a ^ 0x80000000u, "(%a ^ 0x80000000u)", d, ALL)                                                \
  X(SABS, "abs.s", "s", SINGLE, PLAIN, "",                                                        \
    a & 0x7fffffffu, "(%a & 0x7fffffffu)", d & 0x7fffffffu, ALL)                                  \
  /* codebook[a]: imm is the codebook, imm2 the pair of the entry. */                             \
  X(LOOKUP_H, "lookup.h", "w", HALF, LOOKS_UP, "",                                                \
    qp_ir_lookup(env, imm, 0, a) & 0xffffu, "", ALL, ALL)                                         \
  X(LOOKUP_P, "lookup.p", "w", PAIR, LOOKS_UP, "",                                                \
    qp_ir_lookup(env, imm, imm2, a), "", ALL, ALL)                                                \
  /* Made by lowering: the word imm2 of table imm in shared memory, at byte address a. */         \
  X(LOAD, "load", "w", PAIR, LOADS, "",                                                           \
    qp_ir_load(env, imm, imm2, a), "", ALL, ALL)                                                  \
  X(LOAD_B, "load.b", "w", BPAIR, LOADS, "",                                                      \
    qp_ir_load(env, imm, imm2, a), "", ALL, ALL)                                                  \
  X(BPAIR_OF_PAIR, "bpair_of_pair", "p", BPAIR, PLAIN, "",                                        \
    qp_ir_bpair_of_pair(a), "b_of_p(%a)", halves(d), ALL)                                         \
  X(AS_BPAIR, "as_bpair", "w", BPAIR, RENAMES, "",                                                \
    a, "%a", d, ALL)                                                                              \
  X(WORD_OF_BPAIR, "word_of_bpair", "b", WORD, RENAMES, "",                                       \
    a, "%a", d, ALL)
/* clang-format on */

typedef enum qp_ir_op {
#define X(op, ...) QP_IR_##op,
  QP_IR_OPS(X)
#undef X
      QP_IR_OP_COUNT
} qp_ir_op;

/* What an op's row says, without its expressions. */
typedef struct qp_ir_op_info {
  const char *name, *args, *spec, *cuda;
  unsigned arity;
  qp_ir_type result;
  qp_ir_trait trait;
} qp_ir_op_info;

/* The row of an op, which must be below QP_IR_OP_COUNT. */
const qp_ir_op_info *qp_ir_op_row(unsigned op);
/* QP_IR_OP_COUNT where no op has this name. */
qp_ir_op qp_ir_op_find(const char *name);
/* Compute an op's value from the values of its operands; those that it does not have are not read.
   */
uint32_t qp_ir_op_evaluate(unsigned op, const uint32_t operand[3], uint32_t imm, uint32_t imm2,
                           const qp_ir_env *env);
/* Bits of operand k that the bits 'demanded' of the result depend on; 'second' is NULL unless the
   second operand is a constant. */
uint32_t qp_ir_op_demand(unsigned op, unsigned k, uint32_t demanded, const uint32_t *second,
                         uint32_t imm);
/* Tell which bits the result may have set, from those that its operands may have; 'second' is as
   above. */
uint32_t qp_ir_op_may(unsigned op, const uint32_t may[3], const uint32_t *second, uint32_t imm);

#endif
