/* SPDX-License-Identifier: MIT */
/* State shared by the parts of the PTX decoder:  text -> [lex, parse, decode, allocate] -> code. */
#ifndef QP_SIM_PARSE_H
#define QP_SIM_PARSE_H

#include "runtime/sim/rows.h"

/* ---- tokens ---- */

typedef enum { T_END, T_IDENT, T_INT, T_FLOAT, T_STRING, T_PUNCT } token_kind;

typedef struct token {
  token_kind kind;
  const char *text;
  size_t length;
  int64_t integer; /* T_INT */
  double real;     /* T_FLOAT */
  uint32_t single; /* T_FLOAT written as 0f: its bits */
  bool is_single;
  char punct;
  uint32_t line;
} token;

/* ---- symbols ---- */

typedef enum {
  SYM_REG,    /* index: first virtual register; count > 0: a range */
  SYM_PRED,   /* index: predicate */
  SYM_SHARED, /* offset: shared address */
  SYM_SHARED_DYNAMIC,
  SYM_LOCAL,    /* offset: in the frame */
  SYM_PARAM,    /* offset: in the kernel's parameter space */
  SYM_GLOBAL,   /* index: of the variable */
  SYM_FUNCTION, /* index */
  SYM_LABEL,    /* index: op */
  SYM_TARGETS   /* .branchtargets; text: where the list stands */
} symbol_kind;

typedef struct symbol {
  symbol_kind kind;
  const char *name;
  size_t length;
  bool range;
  uint32_t index, count;
  uint32_t bits; /* bits of a register */
  uint32_t offset, bytes;
  const char *text;
} symbol;

/* ---- operands ---- */

typedef enum {
  O_NONE,
  O_REG,
  O_PRED,
  O_INT,
  O_FLOAT,
  O_SREG,
  O_SYMBOL,
  O_ADDRESS,
  O_VECTOR,
  O_SINK,
  O_NAME
} operand_kind;

typedef struct operand operand;
struct operand {
  operand_kind kind;
  bool negated;         /* predicate */
  uint32_t index, bits; /* register or predicate */
  uint32_t sreg;        /* special register */
  bool wide_sreg;
  int64_t value;   /* O_INT; O_ADDRESS: offset */
  token tok;       /* O_FLOAT, O_NAME */
  symbol sym;      /* O_SYMBOL */
  operand *base;   /* O_ADDRESS */
  operand *items;  /* O_VECTOR */
  uint32_t count;  /* O_VECTOR */
  operand *second; /* p|q */
};

/* ---- growing lists ---- */

typedef struct reference {
  uint32_t op, vreg;
  uint16_t field; /* 0..5: it is r[field]; REF_EXT + i: it is element i of the ext list of the
                     op. */
  bool def;
} reference;
enum { REF_EXT = 16 };

typedef struct patch { /* a branch whose label is not known yet */
  uint32_t op, ext;    /* Of the ext list it is code.ext[ext]; UINT32_MAX: op.target. */
  const char *name;
  size_t length;
  uint32_t line, scope;
} patch;

#define LIST(type)                                                                                 \
  struct {                                                                                         \
    type *at;                                                                                      \
    uint32_t count, room;                                                                          \
  }

typedef struct parser parser;

/* An instruction's name and what decodes it.  A table ends with a row without a name. */
typedef struct decoder {
  const char *name;
  bool (*decode)(parser *p, unsigned variant);
  unsigned variant;    /* handed to 'decode' */
  bool reads_operands; /* 'decode' reads the operands' text itself */
} decoder;

struct parser {
  qp_error *err;
  qp_status status;
  const char *begin, *cursor, *end;
  uint32_t line;
  token tok;
  unsigned arch, target; /* The device's, and the PTX's. */
  qp_sim_place place;
  void *place_arg;
  qp_sim_code *code;

  LIST(qp_sim_op) ops;
  LIST(int32_t) ext;
  LIST(uint32_t) consts;
  LIST(qp_sim_function) functions;
  LIST(qp_sim_global) globals;
  LIST(symbol) symbols;
  LIST(patch) patches;
  LIST(reference) refs;
  uint32_t pending;          /* The first reference of the op that is being built. */
  LIST(uint8_t) vregs;       /* words of each virtual register: 1 or 2 */
  LIST(uint32_t) frame_ops;  /* ops whose imm is relative to the function's frame */
  LIST(uint32_t) frame_exts; /* The same of ext elements. */
  LIST(uint32_t) callees;
  uint32_t const_hash[4096]; /* 1 + offset in consts */

  /* The function that is being parsed: */
  int32_t function;
  uint32_t scope;
  uint32_t preds, frame;
  uint32_t op_begin, ref_begin;

  /* The instruction that is being parsed: */
  operand pool[96];
  uint32_t pool_used;
  operand ops_in[16];
  uint32_t operand_count;
  char mnemonic[256];
  char *part[24];
  bool used[24];
  uint32_t parts;
  uint32_t line_op;
  int32_t guard;

  /* what instructions there are; each list ends with NULL */
  const decoder *const *decoders;
  const struct qp_sim_row *const *rows;
};

/* Record an error (the first one stays) that names the current line; returns false. */
bool p_fail(parser *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline bool p_ok(const parser *p) { return p->status == QP_OK; }

/* Make room for one more element; false means that there is no memory, which is then the error. */
bool p_grow(parser *p, void **at, uint32_t count, uint32_t *room, size_t size);
#define P_PUSH(p, list, value)                                                                     \
  (p_grow((p), (void **)&(p)->list.at, (p)->list.count, &(p)->list.room, sizeof *(p)->list.at)     \
       ? ((p)->list.at[(p)->list.count++] = (value), true)                                         \
       : false)

/* lex.c */
void p_next(parser *p);
bool p_is(const parser *p, const char *text); /* an identifier */
bool p_punct(const parser *p, char c);
bool p_accept(parser *p, const char *text);
bool p_accept_punct(parser *p, char c);
bool p_expect_punct(parser *p, char c);
bool token_is(const token *t, const char *text);

/* operand.c */
bool p_type(const char *name, unsigned *type); /* "u32" */
unsigned p_type_letter(unsigned type);         /* its letter in qp_sim_row.operands */
unsigned p_type_bits(unsigned type);
const symbol *p_find(const parser *p, const char *name, size_t length, uint32_t *index);
bool p_declare(parser *p, symbol s);
uint32_t p_new_vreg(parser *p, unsigned words);
bool p_operands(parser *p); /* up to ';' */
int32_t p_const(parser *p, uint64_t value, unsigned words);
/* Bind an operand to a field of the op that is being built. */
bool p_use(parser *p, qp_sim_op *o, unsigned field, const operand *x, unsigned letter);
bool p_def(parser *p, qp_sim_op *o, unsigned field, const operand *x, unsigned letter);
bool p_use_pred(parser *p, int32_t *out, const operand *x);
bool p_def_pred(parser *p, int32_t *out, const operand *x);
bool p_ext(parser *p, qp_sim_op *o, const operand *x, unsigned letter, bool def); /* append */
bool p_address(parser *p, qp_sim_op *o, unsigned field, const operand *x, bool *wide, bool *frame);
uint32_t p_push(parser *p, qp_sim_op *o); /* the op is complete */

/* decode*.c: the instruction whose mnemonic and operands have been read */
bool p_decode(parser *p);
bool p_part(parser *p, const char *name);    /* is there such a modifier?  marks it used */
bool p_part_type(parser *p, unsigned *type); /* the first unused type */
bool p_all_used(parser *p);
qp_sim_op p_op(const parser *p, qp_sim_fn run, qp_sim_kind kind);

/* needs.c: does the PTX's .target have the instruction whose mnemonic has been read? */
bool p_allowed(parser *p);

/* Tables of decode*.c, which module.c hands to the parser. */
extern const decoder p_decoders_control[], p_decoders_move[], p_decoders_memory[],
    p_decoders_warp[], p_decoders_async[];

/* variables.c: declarations of variables */
enum { P_SPACE = 1 << 30 }; /* most bytes that variables of one space take */

typedef struct variable {
  token name;
  unsigned type;
  uint32_t vector, align, element, bytes; /* element: bytes of one */
  bool sized;                             /* an array whose length is given, or no array */
  uint32_t range;                         /* name<range> */
} variable;

bool p_variable_head(parser *p, variable *v); /* This reads ".align 16 .b8" and the like, up to the
                                                 name. */
bool p_variable_name(parser *p, variable *v); /* the name, "<n>" and "[n]" */
bool p_variable_declare(parser *p, const variable *v, symbol s);
/* The next place of 'bytes' behind 'used', which it moves; false: a space has no such place. */
bool p_place(parser *p, uint32_t *used, uint32_t align, uint32_t bytes, uint32_t *offset);
bool p_registers(parser *p);             /* .reg */
bool p_global(parser *p, bool constant); /* .global, .const */
bool p_shared(parser *p, bool external); /* This reads .shared, of the module or of the function. */
bool p_frame(parser *p);                 /* This reads .local, and .param for calls, which become
                                            places in the frame. */
char *p_copy_name(parser *p, const token *t); /* malloc'ed */

/* parse.c: the next directive of a module, with all that belongs to it */
bool p_top(parser *p);

/* allocate.c: registers and frames of all functions */
bool p_allocate(parser *p); /* This gives registers to the function that was just read. */
bool p_link(parser *p);     /* This gives functions their places relative to their callers. */

#endif
