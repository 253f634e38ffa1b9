/* SPDX-License-Identifier: MIT */
/*
** Decoded PTX:  PTX text -> [code] -> execution.
**
** A warp's registers are arrays over its 32 lanes.  A register of 32 bits or less is 32 words, one
** a lane (narrower values are kept zero-extended); one of 64 bits is 32 double words.  Predicates
** are lane masks.  A register operand is a word offset from the warp's register file or, with the
** top bit set, from the module's pool of constants, which holds every immediate 32 times over, so
** that an instruction is one loop over lanes whatever its operands are.  A predicate operand is an
** index into the warp's predicates; its complement (negative) means the negated predicate.
** Predicate 0 is false always, so that ~0 is true.
*/
#ifndef QP_SIM_CODE_H
#define QP_SIM_CODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/sim/counters.h"
#include "runtime/status.h"

enum {
  QP_SIM_LANES = 32,
  QP_SIM_OPERANDS = 6,
  QP_SIM_TRUE = -1,          /* the predicate operand that always holds */
  QP_SIM_CALL_DEPTH = 16,    /* most nested calls of device functions */
  QP_SIM_SHARED_START = 1024 /* A block's shared memory begins at this address; what is below is
                                reserved. */
};

/* State spaces of memory instructions. */
typedef enum qp_sim_space {
  QP_SIM_GENERIC,
  QP_SIM_GLOBAL, /* .const has it too, because constants live in the same arena, read-only */
  QP_SIM_SHARED,
  QP_SIM_LOCAL, /* .param variables of device functions have it too */
  QP_SIM_PARAM  /* the kernel's parameters */
} qp_sim_space;

/* Types of instructions. */
typedef enum qp_sim_type {
  QP_SIM_U8,
  QP_SIM_S8,
  QP_SIM_B8,
  QP_SIM_U16,
  QP_SIM_S16,
  QP_SIM_B16,
  QP_SIM_F16,
  QP_SIM_BF16,
  QP_SIM_U32,
  QP_SIM_S32,
  QP_SIM_B32,
  QP_SIM_F32,
  QP_SIM_F16X2,
  QP_SIM_BF16X2,
  QP_SIM_TF32,
  QP_SIM_U64,
  QP_SIM_S64,
  QP_SIM_B64,
  QP_SIM_F64,
  QP_SIM_PRED,
  QP_SIM_E4M3X2,
  QP_SIM_E5M2X2,
  QP_SIM_TYPES
} qp_sim_type;

/* Modifiers of arithmetic, in qp_sim_op.mode. */
enum {
  QP_SIM_RN = 0,
  QP_SIM_RZ = 1,
  QP_SIM_RM = 2,
  QP_SIM_RP = 3,
  QP_SIM_RND = 3, /* rounding */
  QP_SIM_FTZ = 4,
  QP_SIM_SAT = 8,
  QP_SIM_RELU = 16,
  /* of memory instead: */
  QP_SIM_NC = 4,       /* through the non-coherent cache */
  QP_SIM_CTA = 8,      /* its scope is no larger than the block */
  QP_SIM_STRONG = 32,  /* it is volatile, relaxed, acquire or release, and never races with its
                          like */
  QP_SIM_ACQUIRE = 64, /* acquire, acq_rel */
  QP_SIM_RELEASE = 128 /* release, acq_rel */
};

/* Where a thread may be after an instruction. */
typedef enum qp_sim_flow {
  QP_SIM_FLOW_NEXT,  /* it goes on at the next one */
  QP_SIM_FLOW_JUMP,  /* it goes on at op.target */
  QP_SIM_FLOW_TABLE, /* it goes on at one of the op.imm targets in the ext list */
  QP_SIM_FLOW_LEAVE  /* it leaves the function */
} qp_sim_flow;

typedef struct qp_sim_warp qp_sim_warp;
typedef struct qp_sim_op qp_sim_op;

/* Execute an instruction for the lanes in 'mask' (never empty). */
typedef void (*qp_sim_fn)(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask);

struct qp_sim_op {
  qp_sim_fn run;
  int32_t r[QP_SIM_OPERANDS]; /* The operands in the order of the text, destination first. */
  int32_t guard;              /* predicate operand */
  int64_t imm;                /* An address offset or an immediate. */
  uint32_t ext;               /* The first of this op's operand list in code.ext. */
  uint32_t target;            /* branch: op index; call: function index */
  uint32_t line;              /* line in the PTX text, from 1 */
  uint8_t kind;               /* qp_sim_kind */
  uint8_t type, type2;        /* qp_sim_type; type2: the source's where it differs */
  uint8_t n;                  /* elements of a vector */
  uint8_t space;              /* qp_sim_space */
  uint8_t mode;               /* modifiers */
  uint8_t flow;               /* qp_sim_flow: what may run after it */
  uint8_t sub;                /* variant: compare, atomic operation, shuffle mode, ... */
  uint8_t sub2;
};

/* A parameter of a function. */
typedef struct qp_sim_param {
  uint32_t offset, bytes; /* Of an entry they count in the parameter space, of a function in its
                             frame. */
} qp_sim_param;

typedef struct qp_sim_function {
  char *name;
  bool entry, defined;
  uint32_t start, end; /* ops */
  qp_sim_param *params;
  uint32_t param_count, param_bytes;
  qp_sim_param result;   /* bytes 0: none */
  uint32_t shared_bytes; /* static shared memory of its own */
  uint32_t shared_align;
  uint32_t max_threads;      /* .maxntid or .reqntid; 0: not given */
  uint32_t required_threads; /* .reqntid; 0: not given */
  uint32_t *callees;         /* function indices */
  uint32_t callee_count;
  uint32_t level;                              /* The longest chain of calls above it. */
  uint32_t reg_words, frame_bytes;             /* own need */
  uint32_t reg_base;                           /* behind all other functions' registers; 0 for an
                                                  entry */
  uint32_t frame_base;                         /* behind the frames of its callers; 0 for an
                                                  entry */
  uint32_t total_reg_words, total_frame_bytes; /* entry: with what it calls */
} qp_sim_function;

/* A variable of the module in global or constant memory. */
typedef struct qp_sim_global {
  char *name;
  uint8_t *init; /* 'bytes' bytes; NULL: not initialised */
  size_t bytes;
  uint32_t align;
  bool constant;
  uint64_t address; /* set when the module is loaded */
} qp_sim_global;

typedef struct qp_sim_code {
  char *text; /* the PTX */
  size_t text_bytes;
  qp_sim_op *ops;
  uint32_t op_count;
  int32_t *ext;
  uint32_t ext_count;
  uint32_t *consts; /* the pool, 64-byte aligned */
  uint32_t const_words;
  uint32_t preds; /* predicates of all functions together */
  qp_sim_function *functions;
  uint32_t function_count;
  qp_sim_global *globals;
  uint32_t global_count;
  uint32_t shared_bytes, shared_align; /* of the module's own static shared variables */
} qp_sim_code;

/*
** Decode PTX text for an architecture.  Addresses of module-scope variables are asked of 'place'
** (called once for each, in order, before any op refers to it).  QP_E_COMPILE: the message names
** the PTX line and what is wrong with it.  QP_E_NOMEM.
*/
typedef qp_status (*qp_sim_place)(void *arg, qp_sim_global *g, qp_error *err);
qp_status qp_sim_decode(const char *ptx, size_t bytes, unsigned arch, qp_sim_place place, void *arg,
                        qp_sim_code **out, qp_error *err);
void qp_sim_code_free(qp_sim_code *code);

/* Give the text of a line without its leading blanks; '*bytes' becomes its length. */
const char *qp_sim_code_line(const qp_sim_code *code, uint32_t line, size_t *bytes);

#endif
