/* SPDX-License-Identifier: MIT */
/* Decodes instructions: plain ones by table; moves, comparisons, conversions, branches and calls by
   rule. */
#include "runtime/sim/parse.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- modifiers ---- */

bool p_part(parser *p, const char *name) {
  for (uint32_t i = 1; i < p->parts; i++)
    if (!p->used[i] && !strcmp(p->part[i], name)) return p->used[i] = true;
  return false;
}

bool p_part_type(parser *p, unsigned *type) {
  for (uint32_t i = 1; i < p->parts; i++)
    if (!p->used[i] && p_type(p->part[i], type)) return p->used[i] = true;
  return false;
}

bool p_all_used(parser *p) {
  for (uint32_t i = 1; i < p->parts; i++)
    if (!p->used[i])
      return p_fail(p, "'%s' with '.%s' is not known to the simulator", p->part[0], p->part[i]);
  return true;
}

qp_sim_op p_op(const parser *p, qp_sim_fn run, qp_sim_kind kind) {
  return (qp_sim_op){.run = run,
                     .kind = (uint8_t)kind,
                     .guard = p->guard,
                     .line = p->line_op,
                     .ext = p->ext.count};
}

static uint8_t float_modifiers(parser *p) {
  uint8_t mode = 0;
  if (p_part(p, "rz")) mode = QP_SIM_RZ;
  if (p_part(p, "rm")) mode = QP_SIM_RM;
  if (p_part(p, "rp")) mode = QP_SIM_RP;
  p_part(p, "rn");
  p_part(p, "approx");
  p_part(p, "full");
  p_part(p, "noftz");
  if (p_part(p, "ftz")) mode |= QP_SIM_FTZ;
  if (p_part(p, "sat")) mode |= QP_SIM_SAT;
  if (p_part(p, "relu")) mode |= QP_SIM_RELU;
  return mode;
}

static bool want(parser *p, uint32_t count) {
  if (p->operand_count == count) return true;
  return p_fail(p, "'%s' takes %u operands, not %u", p->part[0], count, p->operand_count);
}

/* ---- plain instructions ---- */

static const qp_sim_row *find_row(const parser *p, const char *name) {
  for (const qp_sim_row *const *table = p->rows; *table; table++)
    for (const qp_sim_row *r = *table; r->name; r++)
      if (!strcmp(r->name, name)) return r;
  return NULL;
}

static bool bind_row(parser *p, qp_sim_op *o, const char *letters) {
  for (unsigned i = 0; letters[i]; i++) {
    const operand *x = p->ops_in + i;
    bool good;
    if (letters[i] == 'i') {
      if (x->kind != O_INT) return p_fail(p, "operand %u must be a number", i + 1);
      o->imm = x->value;
      good = true;
    } else if (letters[i] == 'p') {
      good = i == 0 ? p_def_pred(p, &o->r[i], x) : p_use_pred(p, &o->r[i], x);
    } else {
      const unsigned letter = (unsigned)letters[i];
      good = i == 0 ? p_def(p, o, i, x, letter) : p_use(p, o, i, x, letter);
    }
    if (!good) return false;
  }
  return true;
}

static bool decode_row(parser *p) {
  const uint8_t mode = float_modifiers(p);
  char name[128];
  size_t n = (size_t)snprintf(name, sizeof name, "%s", p->part[0]);
  for (uint32_t i = 1; i < p->parts && n < sizeof name - 32; i++)
    if (!p->used[i]) n += (size_t)snprintf(name + n, sizeof name - n, ".%.30s", p->part[i]);
  const qp_sim_row *row = find_row(p, name);
  if (!row || (mode && !row->run_mode)) return false;
  if (!want(p, (uint32_t)strlen(row->operands))) return false;
  qp_sim_op o = p_op(p, mode ? row->run_mode : row->run, row->kind);
  o.mode = mode;
  o.sub = row->sub;
  if (!bind_row(p, &o, row->operands)) return false;
  p_push(p, &o);
  return p_ok(p);
}

/* ---- mov ---- */

static bool decode_mov(parser *p, unsigned variant) {
  (void)variant;
  unsigned type;
  if (!p_part_type(p, &type)) return false;
  if (!p_all_used(p) || !want(p, 2)) return false;
  const operand *d = p->ops_in, *a = p->ops_in + 1;
  const bool pack = a->kind == O_VECTOR, unpack = d->kind == O_VECTOR;
  if (pack || unpack) {
    const operand *v = pack ? a : d;
    const unsigned bits = p_type_bits(type), part = bits / v->count;
    if (bits % v->count || part < 16)
      return p_fail(p, "%u parts do not make up %u bits", v->count, bits);
    qp_sim_op o = p_op(p, pack ? qp_sim_do_pack : qp_sim_do_unpack, QP_SIM_INT_ALU);
    o.type = bits == 64 ? QP_SIM_B64 : QP_SIM_B32;
    o.n = (uint8_t)v->count;
    const unsigned whole = bits == 64 ? 'd' : 'w', letter = part == 16 ? 'h' : 'w';
    if (!(pack ? p_def(p, &o, 0, d, whole) : p_use(p, &o, 0, a, whole))) return false;
    for (uint32_t i = 0; i < v->count; i++)
      if (!p_ext(p, &o, v->items + i, letter, unpack)) return false;
    p_push(p, &o);
    return p_ok(p);
  }
  if (type == QP_SIM_PRED && a->kind == O_INT) {
    qp_sim_op o = p_op(p, qp_sim_do_mov_pred_const, QP_SIM_INT_ALU);
    o.imm = a->value;
    if (!p_def_pred(p, &o.r[0], d)) return false;
    p_push(p, &o);
    return p_ok(p);
  }
  if (a->kind == O_SREG) {
    qp_sim_op o = p_op(p, qp_sim_do_sreg, QP_SIM_INT_ALU);
    o.sub = (uint8_t)a->sreg;
    o.type = p_type_bits(type) == 64 ? QP_SIM_U64 : QP_SIM_U32;
    if (!p_def(p, &o, 0, d, p_type_letter(type))) return false;
    p_push(p, &o);
    return p_ok(p);
  }
  const char *name = type == QP_SIM_PRED       ? "mov.pred"
                     : type == QP_SIM_F32      ? "mov.f32"
                     : type == QP_SIM_F64      ? "mov.f64"
                     : p_type_bits(type) == 64 ? "mov.b64"
                     : p_type_bits(type) == 32 ? "mov.b32"
                                               : "mov.b16";
  const qp_sim_row *row = find_row(p, name);
  qp_sim_op o = p_op(p, row->run, QP_SIM_MOVE);
  if (!bind_row(p, &o, row->operands)) return false;
  p_push(p, &o);
  return p_ok(p);
}

/* ---- setp, set ---- */

static bool comparison(parser *p, uint8_t *out) {
  static const struct {
    const char *name;
    uint8_t how;
  } table[] = {{"eq", QP_SIM_EQ},   {"ne", QP_SIM_NE},   {"lt", QP_SIM_LT},   {"le", QP_SIM_LE},
               {"gt", QP_SIM_GT},   {"ge", QP_SIM_GE},   {"lo", QP_SIM_LT},   {"ls", QP_SIM_LE},
               {"hi", QP_SIM_GT},   {"hs", QP_SIM_GE},   {"equ", QP_SIM_EQU}, {"neu", QP_SIM_NEU},
               {"ltu", QP_SIM_LTU}, {"leu", QP_SIM_LEU}, {"gtu", QP_SIM_GTU}, {"geu", QP_SIM_GEU},
               {"num", QP_SIM_NUM}, {"nan", QP_SIM_NAN}};
  for (size_t i = 0; i < sizeof table / sizeof *table; i++)
    if (p_part(p, table[i].name)) {
      *out = table[i].how;
      return true;
    }
  return p_fail(p, "a comparison (eq, ne, lt, ...) is expected");
}

static bool is_float(unsigned type) {
  return type == QP_SIM_F16 || type == QP_SIM_BF16 || type == QP_SIM_F32 || type == QP_SIM_F64 ||
         type == QP_SIM_F16X2 || type == QP_SIM_BF16X2;
}

static bool decode_compare(parser *p, unsigned set) {
  qp_sim_op o = p_op(p, NULL, QP_SIM_INT_ALU);
  unsigned to = QP_SIM_PRED, type;
  if (!comparison(p, &o.sub)) return false;
  if (p_part(p, "and")) o.sub2 = QP_SIM_COMBINE_AND;
  if (p_part(p, "or")) o.sub2 = QP_SIM_COMBINE_OR;
  if (p_part(p, "xor")) o.sub2 = QP_SIM_COMBINE_XOR;
  if (p_part(p, "ftz")) o.mode = QP_SIM_FTZ;
  if (set && !p_part_type(p, &to)) return false;
  if (!p_part_type(p, &type)) return false;
  if (!p_all_used(p) || !want(p, o.sub2 ? 4 : 3)) return false;
  o.run = is_float(type) ? qp_sim_setp_float_fn(type, set) : qp_sim_setp_int_fn(type, set);
  if (!o.run) return p_fail(p, "no comparison of this type");
  o.type = (uint8_t)to;
  o.type2 = (uint8_t)type;
  if (is_float(type))
    o.kind = type == QP_SIM_F32 || type == QP_SIM_F64 ? QP_SIM_FLOAT : QP_SIM_HALF;
  const operand *d = p->ops_in;
  if (set) {
    if (!p_def(p, &o, 0, d, p_type_letter(to))) return false;
  } else {
    if (!p_def_pred(p, &o.r[0], d)) return false;
    if (d->second && !p_def_pred(p, &o.r[4], d->second)) return false;
  }
  const unsigned letter = p_type_letter(type);
  if (!p_use(p, &o, 1, d + 1, letter) || !p_use(p, &o, 2, d + 2, letter)) return false;
  if (o.sub2 && !p_use_pred(p, &o.r[3], d + 3)) return false;
  p_push(p, &o);
  return p_ok(p);
}

/* ---- cvt ---- */

static bool pair_type(unsigned t) {
  return t == QP_SIM_F16X2 || t == QP_SIM_BF16X2 || t == QP_SIM_E4M3X2 || t == QP_SIM_E5M2X2;
}

/* Choose the letter of a register at least as wide as the type. */
static unsigned wide_letter(const operand *x, unsigned type) {
  const unsigned letter = p_type_letter(type);
  if (x->kind != O_REG || letter == 'f' || letter == 'g') return letter;
  return x->bits == 64 ? 'd' : x->bits == 32 ? 'w' : 'h';
}

static bool rounding(parser *p, qp_sim_op *o) {
  static const char *const integral[] = {"rni", "rzi", "rmi", "rpi"};
  static const char *const plain[] = {"rn", "rz", "rm", "rp"};
  for (uint8_t i = 0; i < 4; i++) {
    if (p_part(p, integral[i])) {
      o->mode |= i;
      o->sub = 1;
      return true;
    }
    if (p_part(p, plain[i])) {
      o->mode |= i;
      return true;
    }
  }
  return false;
}

static bool decode_cvt_pair(parser *p, qp_sim_op *o) {
  o->run = qp_sim_cvt_pair_fn(o);
  const bool two = o->type2 == QP_SIM_F32;
  if (!o->run) return p_fail(p, "the simulator has no such conversion");
  if (!want(p, two ? 3 : 2)) return false;
  const unsigned from = p_type_letter(o->type2);
  if (!p_def(p, o, 0, p->ops_in, p_type_letter(o->type)) || !p_use(p, o, 1, p->ops_in + 1, from))
    return false;
  if (two && !p_use(p, o, 2, p->ops_in + 2, from)) return false;
  p_push(p, o);
  return p_ok(p);
}

static bool decode_cvt_pack(parser *p, qp_sim_op *o) {
  o->run = qp_sim_cvt_pack_fn(o);
  if (!o->run) return p_fail(p, "the simulator has no such conversion");
  if (!want(p, 3)) return false;
  if (!p_def(p, o, 0, p->ops_in, 'w') || !p_use(p, o, 1, p->ops_in + 1, 'w') ||
      !p_use(p, o, 2, p->ops_in + 2, 'w'))
    return false;
  p_push(p, o);
  return p_ok(p);
}

static bool decode_cvt(parser *p, unsigned variant) {
  (void)variant;
  const bool packs = p_part(p, "pack");
  qp_sim_op o = p_op(p, NULL, QP_SIM_CONVERT);
  const bool rounded = rounding(p, &o), away = p_part(p, "rna");
  if (p_part(p, "ftz")) o.mode |= QP_SIM_FTZ;
  if (p_part(p, "sat")) o.mode |= QP_SIM_SAT;
  if (p_part(p, "relu")) o.mode |= QP_SIM_RELU;
  p_part(p, "satfinite");
  unsigned to, from;
  if (!p_part_type(p, &to) || !p_part_type(p, &from)) return false;
  if (!p_all_used(p)) return false;
  o.type = (uint8_t)to;
  o.type2 = (uint8_t)from;
  if (packs) return decode_cvt_pack(p, &o);
  if (pair_type(to)) return decode_cvt_pair(p, &o);
  if (!want(p, 2)) return false;
  const operand *d = p->ops_in, *a = d + 1;
  const unsigned to_letter = wide_letter(d, to), from_letter = wide_letter(a, from);
  if (to_letter == 'd' || to_letter == 'g') o.sub2 |= 1;
  if (from_letter == 'd' || from_letter == 'g') o.sub2 |= 2;
  if (to == QP_SIM_TF32 && rounded && !away) o.n |= 1;
  if ((to == QP_SIM_F16 || to == QP_SIM_BF16 || p_type_bits(to) <= 16) && to_letter != 'h')
    o.n |= 2;
  /* an integer from a float always rounds to an integral value: .rni is not a float's .rn */
  if (!is_float(to) && to != QP_SIM_TF32) o.sub = 0;
  o.run = qp_sim_cvt_fn(&o);
  if (!o.run) return p_fail(p, "the simulator has no such conversion");
  if (!p_def(p, &o, 0, d, to_letter) || !p_use(p, &o, 1, a, from_letter)) return false;
  p_push(p, &o);
  return p_ok(p);
}

/* ---- addresses ---- */

static bool space_part(parser *p, uint8_t *space) {
  if (p_part(p, "global") || p_part(p, "const"))
    *space = QP_SIM_GLOBAL;
  else if (p_part(p, "shared") || p_part(p, "shared::cta") || p_part(p, "shared::cluster"))
    *space = QP_SIM_SHARED;
  else if (p_part(p, "local"))
    *space = QP_SIM_LOCAL;
  else if (p_part(p, "param") || p_part(p, "param::entry"))
    *space = QP_SIM_PARAM;
  else
    return false;
  return true;
}

static bool decode_cvta(parser *p, unsigned variant) {
  (void)variant;
  qp_sim_op o = p_op(p, qp_sim_do_cvta, QP_SIM_INT_ALU);
  o.sub = p_part(p, "to");
  unsigned type;
  if (!space_part(p, &o.space) || !p_part_type(p, &type)) return false;
  if (!p_all_used(p) || !want(p, 2)) return false;
  if (!p_def(p, &o, 0, p->ops_in, 'd') || !p_use(p, &o, 1, p->ops_in + 1, 'd')) return false;
  p_push(p, &o);
  return p_ok(p);
}

static bool decode_isspacep(parser *p, unsigned variant) {
  (void)variant;
  qp_sim_op o = p_op(p, qp_sim_do_isspacep, QP_SIM_INT_ALU);
  if (!space_part(p, &o.space) || !p_all_used(p) || !want(p, 2)) return false;
  if (!p_def_pred(p, &o.r[0], p->ops_in) || !p_use(p, &o, 1, p->ops_in + 1, 'd')) return false;
  p_push(p, &o);
  return p_ok(p);
}

/* ---- control ---- */

static bool branch_to(parser *p, uint32_t op, uint32_t ext, const token *t) {
  return P_PUSH(
      p, patches,
      ((patch){.op = op, .ext = ext, .name = t->text, .length = t->length, .line = t->line}));
}

static bool decode_bra(parser *p, unsigned variant) {
  (void)variant;
  p_part(p, "uni");
  if (!p_all_used(p)) return false;
  if (p->tok.kind != T_IDENT) return p_fail(p, "a label is expected");
  const token label = p->tok;
  p_next(p);
  if (!p_expect_punct(p, ';')) return false;
  qp_sim_op o = p_op(p, qp_sim_do_bra, QP_SIM_CONTROL);
  o.flow = QP_SIM_FLOW_JUMP;
  return branch_to(p, p_push(p, &o), UINT32_MAX, &label);
}

/* brx.idx index, targets: the list is read again where it was declared */
static bool decode_brx(parser *p, unsigned variant) {
  (void)variant;
  p_part(p, "idx");
  p_part(p, "uni");
  if (!p_all_used(p) || !p_operands(p) || !want(p, 2)) return false;
  const operand *list = p->ops_in + 1;
  if (list->kind != O_NAME || list->sym.kind != SYM_TARGETS)
    return p_fail(p, "a list declared by .branchtargets is expected");
  qp_sim_op o = p_op(p, qp_sim_do_brx, QP_SIM_CONTROL);
  o.flow = QP_SIM_FLOW_TABLE;
  if (!p_use(p, &o, 0, p->ops_in, 'w')) return false;
  const uint32_t op = p->ops.count;
  const token tok = p->tok;
  const char *cursor = p->cursor;
  const uint32_t line = p->line;
  p->cursor = list->sym.text;
  for (p_next(p); p->tok.kind == T_IDENT; p_next(p)) {
    if (!branch_to(p, op, p->ext.count, &p->tok) || !P_PUSH(p, ext, 0)) return false;
    o.imm++;
    p_next(p);
    if (!p_punct(p, ',')) break;
  }
  p->tok = tok;
  p->cursor = cursor;
  p->line = line;
  p_push(p, &o);
  return p_ok(p);
}

/*
** "(a, b)": names of .param variables in the frame; their offsets go to the ext list.  They are
** as large as the parameters of 'f'; NULL: of the last one 'bytes' is wanted.
*/
static bool call_list(parser *p, const qp_sim_function *f, uint32_t *count, uint32_t *bytes) {
  *count = 0;
  while (p_ok(p) && !p_accept_punct(p, ')')) {
    uint32_t index;
    const symbol *s = p->tok.kind == T_IDENT ? p_find(p, p->tok.text, p->tok.length, &index) : NULL;
    if (!s || s->kind != SYM_LOCAL) return p_fail(p, "a .param variable is expected");
    *bytes = s->bytes;
    if (f && *count < f->param_count && *bytes != f->params[*count].bytes)
      return p_fail(p, "'%s' takes %u bytes, not %u", f->name, f->params[*count].bytes, *bytes);
    if (!P_PUSH(p, frame_exts, p->ops.count) || !P_PUSH(p, frame_exts, p->ext.count)) return false;
    if (!P_PUSH(p, ext, (int32_t)s->offset)) return false;
    ++*count;
    p_next(p);
    p_accept_punct(p, ',');
  }
  return p_ok(p);
}

static bool decode_call(parser *p, unsigned variant) {
  (void)variant;
  p_part(p, "uni");
  if (!p_all_used(p)) return false;
  qp_sim_op o = p_op(p, qp_sim_do_call, QP_SIM_CONTROL);
  uint32_t results = 0, args = 0, bytes = 0, given = 0;
  if (p_accept_punct(p, '(') &&
      (!call_list(p, NULL, &results, &given) || !p_expect_punct(p, ',')))
    return false;
  uint32_t index;
  if (p->tok.kind != T_IDENT) return p_fail(p, "a function is expected");
  const token name = p->tok;
  for (index = 0; index < p->functions.count; index++) {
    const char *f = p->functions.at[index].name;
    if (strlen(f) == name.length && !memcmp(f, name.text, name.length)) break;
  }
  if (index == p->functions.count || p->functions.at[index].entry)
    return p_fail(p, "'%.*s' is no function (calls by address are not simulated)", (int)name.length,
                  name.text);
  p_next(p);
  const qp_sim_function *f = p->functions.at + index;
  if (p_accept_punct(p, ',') && (!p_expect_punct(p, '(') || !call_list(p, f, &args, &bytes)))
    return false;
  if (!p_expect_punct(p, ';')) return false;
  if (args != f->param_count || results != (f->result.bytes != 0))
    return p_fail(p, "'%s' takes %u arguments and gives %u results", f->name, f->param_count,
                  f->result.bytes != 0);
  if (results && given != f->result.bytes)
    return p_fail(p, "'%s' gives %u bytes, not %u", f->name, f->result.bytes, given);
  if (results) { /* They go to the end of the list. */
    int32_t *list = p->ext.at + o.ext;
    const int32_t result = list[0];
    memmove(list, list + 1, args * sizeof *list);
    list[args] = result;
  }
  o.target = index;
  p_push(p, &o);
  return P_PUSH(p, callees, index);
}

static bool decode_end(parser *p, qp_sim_fn run, qp_sim_flow flow) {
  p_part(p, "uni");
  if (!p_all_used(p) || !p_expect_punct(p, ';')) return false;
  qp_sim_op o = p_op(p, run, QP_SIM_CONTROL);
  o.flow = (uint8_t)flow;
  p_push(p, &o);
  return p_ok(p);
}

static bool decode_ret(parser *p, unsigned variant) {
  (void)variant;
  return decode_end(p, qp_sim_do_ret, QP_SIM_FLOW_LEAVE);
}

static bool decode_exit(parser *p, unsigned variant) {
  (void)variant;
  return decode_end(p, qp_sim_do_exit, QP_SIM_FLOW_LEAVE);
}

static bool decode_trap(parser *p, unsigned variant) {
  (void)variant;
  return decode_end(p, qp_sim_do_trap, QP_SIM_FLOW_NEXT);
}

const decoder p_decoders_control[] = {
    {.name = "bra", .decode = decode_bra, .reads_operands = true},
    {.name = "brx", .decode = decode_brx, .reads_operands = true},
    {.name = "call", .decode = decode_call, .reads_operands = true},
    {.name = "ret", .decode = decode_ret, .reads_operands = true},
    {.name = "exit", .decode = decode_exit, .reads_operands = true},
    {.name = "trap", .decode = decode_trap, .reads_operands = true},
    {.name = "brkpt", .decode = decode_trap, .reads_operands = true},
    {.name = NULL}};

const decoder p_decoders_move[] = {{.name = "mov", .decode = decode_mov},
                                   {.name = "setp", .decode = decode_compare, .variant = false},
                                   {.name = "cvt", .decode = decode_cvt},
                                   {.name = "set", .decode = decode_compare, .variant = true},
                                   {.name = "cvta", .decode = decode_cvta},
                                   {.name = "isspacep", .decode = decode_isspacep},
                                   {.name = NULL}};

static const decoder *find_decoder(const parser *p) {
  for (const decoder *const *table = p->decoders; *table; table++)
    for (const decoder *d = *table; d->name; d++)
      if (!strcmp(d->name, p->part[0])) return d;
  return NULL;
}

bool p_decode(parser *p) {
  const decoder *d = find_decoder(p);
  if (!p_allowed(p)) return false;
  if (!(d && d->reads_operands) && !p_operands(p)) return false;
  return d ? d->decode(p, d->variant) : decode_row(p);
}
