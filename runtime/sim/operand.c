/* SPDX-License-Identifier: MIT */
/* Reads operands of PTX instructions and binds them to the fields of an op. */
#include "runtime/sim/parse.h"

#include <ctype.h>
#include <stdlib.h>

#include "runtime/half.h"

/* ---- types ---- */

static const struct {
  const char *name;
  uint8_t type, bits;
  char letter;
} types[] = {
    {"u8", QP_SIM_U8, 8, 'h'},          {"s8", QP_SIM_S8, 8, 'h'},
    {"b8", QP_SIM_B8, 8, 'h'},          {"u16", QP_SIM_U16, 16, 'h'},
    {"s16", QP_SIM_S16, 16, 'h'},       {"b16", QP_SIM_B16, 16, 'h'},
    {"f16", QP_SIM_F16, 16, 'h'},       {"bf16", QP_SIM_BF16, 16, 'h'},
    {"u32", QP_SIM_U32, 32, 'w'},       {"s32", QP_SIM_S32, 32, 'w'},
    {"b32", QP_SIM_B32, 32, 'w'},       {"f32", QP_SIM_F32, 32, 'f'},
    {"f16x2", QP_SIM_F16X2, 32, 'w'},   {"bf16x2", QP_SIM_BF16X2, 32, 'w'},
    {"tf32", QP_SIM_TF32, 32, 'w'},     {"u64", QP_SIM_U64, 64, 'd'},
    {"s64", QP_SIM_S64, 64, 'd'},       {"b64", QP_SIM_B64, 64, 'd'},
    {"f64", QP_SIM_F64, 64, 'g'},       {"pred", QP_SIM_PRED, 1, 'p'},
    {"e4m3x2", QP_SIM_E4M3X2, 16, 'h'}, {"e5m2x2", QP_SIM_E5M2X2, 16, 'h'},
};
enum { TYPE_COUNT = sizeof types / sizeof *types };

bool p_type(const char *name, unsigned *type) {
  for (unsigned i = 0; i < TYPE_COUNT; i++)
    if (!strcmp(types[i].name, name)) {
      *type = types[i].type;
      return true;
    }
  return false;
}
unsigned p_type_letter(unsigned type) {
  for (unsigned i = 0; i < TYPE_COUNT; i++)
    if (types[i].type == type) return (unsigned)types[i].letter;
  return 0;
}
unsigned p_type_bits(unsigned type) {
  for (unsigned i = 0; i < TYPE_COUNT; i++)
    if (types[i].type == type) return types[i].bits;
  return 0;
}
static unsigned letter_bits(unsigned letter) {
  return letter == 'h' ? 16 : letter == 'd' || letter == 'g' ? 64 : 32;
}

/* ---- symbols ---- */

/* Find the symbol of a name, innermost scope first; '*index' is a register's place in its range. */
const symbol *p_find(const parser *p, const char *name, size_t length, uint32_t *index) {
  size_t stem = length;
  while (stem > 0 && isdigit((unsigned char)name[stem - 1])) stem--;
  const bool numbered = stem < length && length - stem < 9;
  uint32_t number = 0;
  for (size_t i = stem; numbered && i < length; i++)
    number = 10 * number + (uint32_t)(name[i] - '0');
  for (uint32_t i = p->symbols.count; i-- > 0;) {
    const symbol *s = p->symbols.at + i;
    if (s->range) {
      if (!numbered || s->length != stem || memcmp(s->name, name, stem) != 0 || number >= s->count)
        continue;
      *index = number;
      return s;
    }
    if (s->length == length && !memcmp(s->name, name, length)) {
      *index = 0;
      return s;
    }
  }
  return NULL;
}

bool p_declare(parser *p, symbol s) { return P_PUSH(p, symbols, s); }

uint32_t p_new_vreg(parser *p, unsigned words) {
  P_PUSH(p, vregs, (uint8_t)words);
  return p->vregs.count ? p->vregs.count - 1 : 0;
}

/* ---- special registers ---- */

static const struct {
  const char *name;
  uint8_t sreg;
  bool wide;
} special_registers[] = {
    {"%tid.x", QP_SIM_TID_X, false},
    {"%tid.y", QP_SIM_ZERO, false},
    {"%tid.z", QP_SIM_ZERO, false},
    {"%ntid.x", QP_SIM_NTID_X, false},
    {"%ntid.y", QP_SIM_ONE, false},
    {"%ntid.z", QP_SIM_ONE, false},
    {"%ctaid.x", QP_SIM_CTAID_X, false},
    {"%ctaid.y", QP_SIM_ZERO, false},
    {"%ctaid.z", QP_SIM_ZERO, false},
    {"%nctaid.x", QP_SIM_NCTAID_X, false},
    {"%nctaid.y", QP_SIM_ONE, false},
    {"%nctaid.z", QP_SIM_ONE, false},
    {"%laneid", QP_SIM_LANEID, false},
    {"%warpid", QP_SIM_WARPID, false},
    {"%nwarpid", QP_SIM_NWARPID, false},
    {"%smid", QP_SIM_SMID, false},
    {"%nsmid", QP_SIM_NSMID, false},
    {"%gridid", QP_SIM_GRIDID, true},
    {"%lanemask_eq", QP_SIM_LANEMASK_EQ, false},
    {"%lanemask_le", QP_SIM_LANEMASK_LE, false},
    {"%lanemask_lt", QP_SIM_LANEMASK_LT, false},
    {"%lanemask_ge", QP_SIM_LANEMASK_GE, false},
    {"%lanemask_gt", QP_SIM_LANEMASK_GT, false},
    {"%clock", QP_SIM_CLOCK, false},
    {"%clock_hi", QP_SIM_CLOCK_HI, false},
    {"%clock64", QP_SIM_CLOCK64, true},
    {"%globaltimer", QP_SIM_GLOBALTIMER, true},
    {"%globaltimer_lo", QP_SIM_GLOBALTIMER_LO, false},
    {"%globaltimer_hi", QP_SIM_GLOBALTIMER_HI, false},
    {"%dynamic_smem_size", QP_SIM_DYNAMIC_SMEM, false},
    {"%total_smem_size", QP_SIM_TOTAL_SMEM, false},
    {"%cluster_ctaid.x", QP_SIM_ZERO, false},
    {"%cluster_nctaid.x", QP_SIM_ONE, false},
    {"%cluster_ctarank", QP_SIM_ZERO, false},
    {"%cluster_nctarank", QP_SIM_ONE, false},
    {"%clusterid.x", QP_SIM_CTAID_X, false},
    {"%nclusterid.x", QP_SIM_NCTAID_X, false},
};

static bool special(const token *t, operand *x) {
  enum { COUNT = sizeof special_registers / sizeof *special_registers };
  for (size_t i = 0; i < COUNT; i++)
    if (token_is(t, special_registers[i].name)) {
      x->kind = O_SREG;
      x->sreg = special_registers[i].sreg;
      x->wide_sreg = special_registers[i].wide;
      return true;
    }
  return false;
}

/* ---- reading ---- */

static operand *pool(parser *p, uint32_t n) {
  if (p->pool_used + n > sizeof p->pool / sizeof *p->pool) {
    p_fail(p, "too many operands");
    return NULL;
  }
  operand *x = p->pool + p->pool_used;
  p->pool_used += n;
  memset(x, 0, n * sizeof *x);
  return x;
}

static void name_operand(parser *p, operand *x) {
  const token t = p->tok;
  x->tok = t;
  p_next(p);
  if (token_is(&t, "_")) {
    x->kind = O_SINK;
    return;
  }
  if (token_is(&t, "WARP_SZ")) {
    x->kind = O_INT;
    x->value = QP_SIM_LANES;
    return;
  }
  uint32_t index;
  const symbol *s = p_find(p, t.text, t.length, &index);
  if (!s) {
    if (!special(&t, x)) x->kind = O_NAME; /* a label, perhaps further on */
    return;
  }
  x->index = s->index + index;
  x->bits = s->bits;
  x->sym = *s;
  x->kind = s->kind == SYM_REG                                                          ? O_REG
            : s->kind == SYM_PRED                                                       ? O_PRED
            : s->kind == SYM_LABEL || s->kind == SYM_FUNCTION || s->kind == SYM_TARGETS ? O_NAME
                                                                                        : O_SYMBOL;
}

static bool signed_int(parser *p, int64_t *value) {
  const bool minus = p_accept_punct(p, '-');
  if (p->tok.kind != T_INT)
    return p_fail(p, "a number is expected, not '%.*s'", (int)p->tok.length, p->tok.text);
  *value = minus ? (int64_t)(0 - (uint64_t)p->tok.integer) : p->tok.integer;
  p_next(p);
  return true;
}

static bool read_operand(parser *p, operand *x, unsigned depth);

static bool read_address(parser *p, operand *x, unsigned depth) {
  x->kind = O_ADDRESS;
  if (!(x->base = pool(p, 1)) || !read_operand(p, x->base, depth + 1)) return false;
  while (p_punct(p, '+') || p_punct(p, '-')) {
    if (p_punct(p, '+')) p_next(p);
    int64_t add = 0;
    if (!signed_int(p, &add)) return false;
    x->value += add;
  }
  return p_expect_punct(p, ']');
}

static bool read_vector(parser *p, operand *x, unsigned depth) {
  x->kind = O_VECTOR;
  if (!(x->items = pool(p, 8))) return false;
  do {
    if (x->count == 8) return p_fail(p, "a vector of more than 8 elements");
    if (!read_operand(p, x->items + x->count, depth + 1)) return false;
    x->count++;
  } while (p_accept_punct(p, ','));
  return p_expect_punct(p, '}');
}

static bool read_operand(parser *p, operand *x, unsigned depth) {
  if (depth > 2) return p_fail(p, "operands are nested too deep");
  if (p_accept_punct(p, '[')) return read_address(p, x, depth);
  if (p_accept_punct(p, '{')) return read_vector(p, x, depth);
  if (p_accept_punct(p, '!')) x->negated = true;
  if (p_punct(p, '-') || p->tok.kind == T_INT) {
    const bool minus = p_accept_punct(p, '-');
    if (p->tok.kind == T_FLOAT) {
      x->kind = O_FLOAT;
      x->tok = p->tok;
      if (minus) {
        x->tok.real = -x->tok.real;
        x->tok.single ^= 0x80000000u;
      }
      p_next(p);
      return true;
    }
    x->kind = O_INT;
    if (!signed_int(p, &x->value)) return false;
    if (minus) x->value = (int64_t)(0 - (uint64_t)x->value);
  } else if (p->tok.kind == T_FLOAT) {
    x->kind = O_FLOAT;
    x->tok = p->tok;
    p_next(p);
  } else if (p->tok.kind == T_IDENT) {
    name_operand(p, x);
    if (x->kind == O_SYMBOL && depth == 0 && (p_punct(p, '+') || p_punct(p, '-'))) {
      if (p_punct(p, '+')) p_next(p);
      if (!signed_int(p, &x->value)) return false;
    }
  } else {
    return p_fail(p, "an operand is expected, not '%.*s'", (int)p->tok.length, p->tok.text);
  }
  if (p_accept_punct(p, '|')) {
    if (!(x->second = pool(p, 1))) return false;
    return read_operand(p, x->second, depth + 1);
  }
  return true;
}

bool p_operands(parser *p) {
  p->operand_count = p->pool_used = 0;
  while (p_ok(p) && !p_punct(p, ';')) {
    if (p->operand_count == sizeof p->ops_in / sizeof *p->ops_in)
      return p_fail(p, "too many operands");
    operand *x = p->ops_in + p->operand_count;
    *x = (operand){0};
    if (!read_operand(p, x, 0)) return false;
    p->operand_count++;
    if (!p_accept_punct(p, ',')) break;
  }
  return p_expect_punct(p, ';');
}

/* ---- binding ---- */

int32_t p_const(parser *p, uint64_t value, unsigned words) {
  const uint64_t h = (value + words) * UINT64_C(0x9e3779b97f4a7c15);
  const uint32_t size = sizeof p->const_hash / sizeof *p->const_hash;
  uint32_t at = (uint32_t)(h >> 40) % size;
  for (uint32_t tries = 0; tries < 64 && p->const_hash[at]; tries++, at = (at + 1) % size) {
    const uint32_t off = p->const_hash[at] >> 2;
    if ((p->const_hash[at] & 3) != words) continue;
    const uint32_t *c = p->consts.at + off;
    const uint64_t v = words == 2 ? (uint64_t)c[1] << 32 | c[0] : c[0];
    if (v == value) return (int32_t)(0x80000000u | off);
  }
  const uint32_t off = p->consts.count;
  for (unsigned l = 0; l < QP_SIM_LANES; l++) {
    if (!P_PUSH(p, consts, (uint32_t)value)) return 0;
    if (words == 2 && !P_PUSH(p, consts, (uint32_t)(value >> 32))) return 0;
  }
  if (!p->const_hash[at]) p->const_hash[at] = off << 2 | words;
  return (int32_t)(0x80000000u | off);
}

static bool refer(parser *p, qp_sim_op *o, unsigned field, uint32_t vreg, bool def) {
  (void)o;
  return P_PUSH(
      p, refs, ((reference){.op = UINT32_MAX, .vreg = vreg, .field = (uint16_t)field, .def = def}));
}

/* A value that is known only when the kernel runs: an op in front brings it into a register. */
static uint32_t hidden(parser *p, qp_sim_op o, unsigned words) {
  const uint32_t vreg = p_new_vreg(p, words), op = p->ops.count;
  o.line = p->line_op;
  o.guard = QP_SIM_TRUE;
  o.kind = QP_SIM_INT_ALU;
  o.type = words == 2 ? QP_SIM_U64 : QP_SIM_U32;
  if (!P_PUSH(p, ops, o)) return 0;
  /* before the references of the op being built, which have no op yet */
  const reference r = {.op = op, .vreg = vreg, .field = 0, .def = true};
  if (!P_PUSH(p, refs, r)) return 0;
  reference *refs = p->refs.at;
  memmove(refs + p->pending + 1, refs + p->pending,
          (p->refs.count - 1 - p->pending) * sizeof *refs);
  refs[p->pending++] = r;
  return vreg;
}

static uint32_t hidden_local(parser *p, uint32_t offset, unsigned words) {
  if (!P_PUSH(p, frame_ops, p->ops.count)) return 0;
  return hidden(p, (qp_sim_op){.run = qp_sim_do_mov_local, .imm = offset}, words);
}

static bool use_value(parser *p, qp_sim_op *o, unsigned field, uint64_t value, unsigned words) {
  const int32_t c = p_const(p, value, words);
  if (field < REF_EXT)
    /* cppcheck-suppress arrayIndexOutOfBoundsCond ; a number below REF_EXT is of r */
    o->r[field] = c;
  else
    p->ext.at[o->ext + field - REF_EXT] = c;
  return p_ok(p);
}

static bool use_symbol(parser *p, qp_sim_op *o, unsigned field, const operand *x, unsigned words) {
  const uint64_t add = (uint64_t)x->value;
  switch (x->sym.kind) {
  case SYM_SHARED:
  case SYM_PARAM: return use_value(p, o, field, x->sym.offset + add, words);
  case SYM_GLOBAL:
    if (words == 1) return p_fail(p, "a global address has 64 bits");
    return use_value(p, o, field, p->globals.at[x->sym.index].address + add, words);
  case SYM_SHARED_DYNAMIC: {
    const qp_sim_op h = {.run = qp_sim_do_sreg, .sub = QP_SIM_DYNAMIC_START, .imm = x->value};
    return refer(p, o, field, hidden(p, h, words), false);
  }
  default:
    return refer(p, o, field, hidden_local(p, x->sym.offset + (uint32_t)x->value, words), false);
  }
}

/* Give an immediate in the type that the instruction wants. */
static uint64_t immediate(const operand *x, unsigned letter) {
  uint64_t bits;
  if (x->kind == O_INT) {
    bits = (uint64_t)x->value;
  } else if (letter == 'g' || (letter == 'd' && !x->tok.is_single)) {
    memcpy(&bits, &x->tok.real, sizeof bits);
  } else if (x->tok.is_single) {
    bits = x->tok.single;
  } else {
    bits = qp_float_bits((float)x->tok.real);
  }
  const unsigned width = letter_bits(letter);
  return width == 64 ? bits : bits & ((UINT64_C(1) << width) - 1);
}

static bool check_width(parser *p, const operand *x, unsigned letter) {
  const unsigned want = letter_bits(letter);
  const unsigned has = x->bits < 16 ? 16 : x->bits;
  if (has == want) return true;
  return p_fail(p, "register '%.*s' has %u bits where the instruction takes %u", (int)x->tok.length,
                x->tok.text, x->bits, want);
}

bool p_use(parser *p, qp_sim_op *o, unsigned field, const operand *x, unsigned letter) {
  const unsigned words = letter_bits(letter) == 64 ? 2 : 1;
  switch (x->kind) {
  case O_REG: return check_width(p, x, letter) && refer(p, o, field, x->index, false);
  case O_INT:
    if (letter == 'f' || letter == 'g')
      return p_fail(p, "an integer where a floating-point value is wanted");
    return use_value(p, o, field, immediate(x, letter), words);
  case O_FLOAT: return use_value(p, o, field, immediate(x, letter), words);
  case O_SREG:
    return refer(p, o, field,
                 hidden(p, (qp_sim_op){.run = qp_sim_do_sreg, .sub = (uint8_t)x->sreg}, words),
                 false);
  case O_SYMBOL: return use_symbol(p, o, field, x, words);
  case O_NAME: return p_fail(p, "'%.*s' is not declared", (int)x->tok.length, x->tok.text);
  default: return p_fail(p, "an operand is of the wrong kind: a register or value is wanted");
  }
}

bool p_def(parser *p, qp_sim_op *o, unsigned field, const operand *x, unsigned letter) {
  if (x->kind == O_SINK)
    return refer(p, o, field, p_new_vreg(p, letter_bits(letter) == 64 ? 2 : 1), true);
  if (x->kind == O_NAME)
    return p_fail(p, "'%.*s' is not declared", (int)x->tok.length, x->tok.text);
  if (x->kind != O_REG) return p_fail(p, "the destination must be a register");
  return check_width(p, x, letter) && refer(p, o, field, x->index, true);
}

bool p_use_pred(parser *p, int32_t *out, const operand *x) {
  if (x->kind == O_INT) {
    *out = x->value ? QP_SIM_TRUE : 0;
    if (x->negated) *out = ~*out;
    return true;
  }
  if (x->kind != O_PRED) return p_fail(p, "a predicate is wanted");
  *out = x->negated ? ~(int32_t)x->index : (int32_t)x->index;
  return true;
}

bool p_def_pred(parser *p, int32_t *out, const operand *x) {
  if (x->kind == O_SINK) {
    *out = (int32_t)p->preds++;
    return true;
  }
  if (x->kind != O_PRED || x->negated) return p_fail(p, "the destination must be a predicate");
  *out = (int32_t)x->index;
  return true;
}

/* Append to the op's list; the list must be the last one begun. */
bool p_ext(parser *p, qp_sim_op *o, const operand *x, unsigned letter, bool def) {
  const uint32_t i = p->ext.count - o->ext;
  if (!P_PUSH(p, ext, 0)) return false;
  return def ? p_def(p, o, REF_EXT + i, x, letter) : p_use(p, o, REF_EXT + i, x, letter);
}

/*
** Decode an address [base + offset] into r[field] and imm.  '*wide' says that the base has 64 bits,
** '*frame' that the offset is relative to the function's frame.
*/
bool p_address(parser *p, qp_sim_op *o, unsigned field, const operand *x, bool *wide, bool *frame) {
  if (x->kind != O_ADDRESS) return p_fail(p, "an address in brackets is wanted");
  const operand *b = x->base;
  o->imm = x->value;
  *frame = false;
  *wide = false;
  switch (b->kind) {
  case O_REG:
    *wide = b->bits == 64;
    if (b->bits < 32) return p_fail(p, "an address register has 32 or 64 bits, not %u", b->bits);
    return refer(p, o, field, b->index, false);
  case O_INT: *wide = true; return use_value(p, o, field, (uint64_t)b->value, 2);
  case O_SYMBOL:
    if (b->sym.kind == SYM_LOCAL) {
      *frame = true;
      o->imm += b->sym.offset;
      return use_value(p, o, field, 0, 1);
    }
    *wide = b->sym.kind == SYM_GLOBAL;
    return use_symbol(p, o, field, b, *wide ? 2 : 1);
  default: return p_fail(p, "'%.*s' is not an address", (int)b->tok.length, b->tok.text);
  }
}

uint32_t p_push(parser *p, qp_sim_op *o) {
  const uint32_t index = p->ops.count;
  o->line = p->line_op;
  o->guard = p->guard;
  for (uint32_t i = p->pending; i < p->refs.count; i++) p->refs.at[i].op = index;
  p->pending = p->refs.count;
  P_PUSH(p, ops, *o);
  return index;
}
