/* SPDX-License-Identifier: MIT */
/*
** Tables of plain instructions: how each is spelled, the types of its operands, and what executes
** it.  The spelling is that of PTX without rounding, .ftz, .sat, .relu, .approx and .full, which
** become bits of qp_sim_op.mode.
*/
#ifndef QP_SIM_ROWS_H
#define QP_SIM_ROWS_H

#include "runtime/sim/exec.h"

typedef struct qp_sim_row {
  const char *name;
  /* Destination, then sources:  h 16 bits, w 32, d 64, f fp32, g fp64, p predicate, i immediate
     (goes to qp_sim_op.imm).  '|' before a letter: a second, optional destination. */
  const char *operands;
  qp_sim_fn run;      /* without modifiers */
  qp_sim_fn run_mode; /* with modifiers; NULL: they are refused */
  uint8_t kind;       /* qp_sim_kind */
  uint8_t sub;        /* what goes to qp_sim_op.sub */
} qp_sim_row;

/* Each table ends with a row whose name is NULL. */
extern const qp_sim_row qp_sim_rows_int[];
extern const qp_sim_row qp_sim_rows_bits[];
extern const qp_sim_row qp_sim_rows_move[];
extern const qp_sim_row qp_sim_rows_float[];
extern const qp_sim_row qp_sim_rows_half[];

/* Handlers that the decoder sets by its own rules. */
qp_sim_fn qp_sim_setp_int_fn(unsigned type, bool set); /* sub compare, sub2 combine */
qp_sim_fn qp_sim_setp_float_fn(unsigned type, bool set);
void qp_sim_setp_result(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask, uint32_t bits);
void qp_sim_set_result(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask, uint32_t bits);
uint32_t qp_sim_combine(const qp_sim_warp *w, const qp_sim_op *o, int32_t pred, uint32_t bits);
/*
** cvt.  type, type2; sub 1: rounds to an integral value; sub2 1, 2: the destination's, the source's
** register has 64 bits; n 1: tf32 to nearest even, n 2: a 16-bit result goes to a wider register.
*/
qp_sim_fn qp_sim_cvt_fn(const qp_sim_op *o);
/* Types in pairs (f16x2, bf16x2, e4m3x2, e5m2x2); NULL: no such conversion. */
qp_sim_fn qp_sim_cvt_pair_fn(const qp_sim_op *o);
qp_sim_fn qp_sim_cvt_pack_fn(const qp_sim_op *o);
/* A shape ("m16n8k16.f32.f16.f16.f32") and the registers a lane holds of A, B, and C or D. */
bool qp_sim_mma_shape(const char *name, unsigned *index, unsigned *a, unsigned *b, unsigned *c);
unsigned qp_sim_type_bytes(unsigned type);

void qp_sim_do_sreg(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_mov_local(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_mov_pred_const(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_mov_to_pred(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_pack(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);   /* n parts to one */
void qp_sim_do_unpack(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask); /* one to n parts */
void qp_sim_do_cvta(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);   /* sub 1: it goes to the
                                                                             space */
void qp_sim_do_isspacep(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_nop(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_grid_wait(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_grid_go(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_createpolicy(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_bra(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_brx(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_call(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_ret(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_exit(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_trap(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);

qp_sim_fn qp_sim_ld_fn(const qp_sim_op *o);
qp_sim_fn qp_sim_st_fn(const qp_sim_op *o);
void qp_sim_do_ld_param(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_atom(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask); /* atom and red */

void qp_sim_do_shfl(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_vote(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_match(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_redux(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_elect(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_activemask(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_fence(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_warpsync(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_mma(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_ldmatrix(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_stmatrix(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_barrier(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);

void qp_sim_do_cp_async(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_cp_commit(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_cp_wait(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_cp_mbarrier(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_bulk_copy(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);
void qp_sim_do_mbarrier(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);

/* Variants of instructions, in qp_sim_op.sub. */
enum { /* comparisons; the unordered ones hold for NaN */
       QP_SIM_EQ,
       QP_SIM_NE,
       QP_SIM_LT,
       QP_SIM_LE,
       QP_SIM_GT,
       QP_SIM_GE,
       QP_SIM_EQU,
       QP_SIM_NEU,
       QP_SIM_LTU,
       QP_SIM_LEU,
       QP_SIM_GTU,
       QP_SIM_GEU,
       QP_SIM_NUM,
       QP_SIM_NAN
};
enum { QP_SIM_COMBINE_NONE, QP_SIM_COMBINE_AND, QP_SIM_COMBINE_OR, QP_SIM_COMBINE_XOR };
enum { QP_SIM_SHFL_UP, QP_SIM_SHFL_DOWN, QP_SIM_SHFL_BFLY, QP_SIM_SHFL_IDX };
enum { QP_SIM_VOTE_ALL, QP_SIM_VOTE_ANY, QP_SIM_VOTE_UNI, QP_SIM_VOTE_BALLOT };
enum { /* atomics; redux and bar.red use some of them */
       QP_SIM_ADD,
       QP_SIM_MIN,
       QP_SIM_MAX,
       QP_SIM_INC,
       QP_SIM_DEC,
       QP_SIM_AND,
       QP_SIM_OR,
       QP_SIM_XOR,
       QP_SIM_EXCH,
       QP_SIM_CAS,
       QP_SIM_POPC
};
enum { QP_SIM_BAR_SYNC, QP_SIM_BAR_ARRIVE, QP_SIM_BAR_RED };
enum {
  QP_SIM_MB_INIT,
  QP_SIM_MB_INVAL,
  QP_SIM_MB_ARRIVE,
  QP_SIM_MB_ARRIVE_TX,
  QP_SIM_MB_EXPECT_TX,
  QP_SIM_MB_COMPLETE_TX,
  QP_SIM_MB_TEST,
  QP_SIM_MB_TRY,
  QP_SIM_MB_TEST_PARITY,
  QP_SIM_MB_TRY_PARITY
};
enum { /* special registers */
       QP_SIM_TID_X,
       QP_SIM_NTID_X,
       QP_SIM_CTAID_X,
       QP_SIM_NCTAID_X,
       QP_SIM_ZERO,
       QP_SIM_ONE,
       QP_SIM_LANEID,
       QP_SIM_WARPID,
       QP_SIM_NWARPID,
       QP_SIM_SMID,
       QP_SIM_NSMID,
       QP_SIM_GRIDID,
       QP_SIM_LANEMASK_EQ,
       QP_SIM_LANEMASK_LE,
       QP_SIM_LANEMASK_LT,
       QP_SIM_LANEMASK_GE,
       QP_SIM_LANEMASK_GT,
       QP_SIM_CLOCK,
       QP_SIM_CLOCK_HI,
       QP_SIM_CLOCK64,
       QP_SIM_GLOBALTIMER,
       QP_SIM_GLOBALTIMER_LO,
       QP_SIM_GLOBALTIMER_HI,
       QP_SIM_DYNAMIC_SMEM,
       QP_SIM_TOTAL_SMEM,
       QP_SIM_DYNAMIC_START
};

#endif
