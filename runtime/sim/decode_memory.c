/* SPDX-License-Identifier: MIT */
/* Loads, stores, atomics. */
#include "runtime/sim/parse.h"
#include "runtime/arch.h"

/* Modifiers that advise caches, and those that order accesses, which become bits of the mode. */
static void drop_hints(parser *p, uint8_t *mode, bool *hint_operand) {
  static const char *const hints[] = {
      "ca",
      "cg",
      "cs",
      "lu",
      "cv",
      "wb",
      "wt",
      "cluster",
      "gpu",
      "sys",
      "weak",
      "L1::evict_normal",
      "L1::evict_unchanged",
      "L1::evict_first",
      "L1::evict_last",
      "L1::no_allocate",
      "L2::64B",
      "L2::128B",
      "L2::256B",
      "L2::evict_first",
      "L2::evict_last",
      "L2::evict_normal",
      "unified",
      "mmio",
  };
  static const struct {
    const char *name;
    unsigned mode;
  } orders[] = {{"volatile", QP_SIM_STRONG},
                {"relaxed", QP_SIM_STRONG},
                {"acquire", QP_SIM_STRONG | QP_SIM_ACQUIRE},
                {"release", QP_SIM_STRONG | QP_SIM_RELEASE},
                {"acq_rel", QP_SIM_STRONG | QP_SIM_ACQUIRE | QP_SIM_RELEASE},
                {"nc", QP_SIM_NC},
                {"cta", QP_SIM_CTA}};
  for (size_t i = 0; i < sizeof hints / sizeof *hints; i++) p_part(p, hints[i]);
  for (size_t i = 0; i < sizeof orders / sizeof *orders; i++)
    if (p_part(p, orders[i].name)) *mode |= (uint8_t)orders[i].mode;
  *hint_operand = p_part(p, "L2::cache_hint");
}

static unsigned vector_part(parser *p) {
  return p_part(p, "v2") ? 2 : p_part(p, "v4") ? 4 : p_part(p, "v8") ? 8 : 1;
}

static void space_of(parser *p, qp_sim_op *o, bool *is_param) {
  *is_param = false;
  if (p_part(p, "global") || p_part(p, "const")) {
    o->space = QP_SIM_GLOBAL;
  } else if (p_part(p, "shared") || p_part(p, "shared::cta") || p_part(p, "shared::cluster")) {
    o->space = QP_SIM_SHARED;
  } else if (p_part(p, "local")) {
    o->space = QP_SIM_LOCAL;
  } else if (p_part(p, "param") || p_part(p, "param::entry") || p_part(p, "param::func")) {
    o->space = QP_SIM_PARAM;
    *is_param = true;
  } else {
    o->space = QP_SIM_GENERIC;
  }
}

static unsigned kind_of(unsigned space, bool load) {
  switch (space) {
  case QP_SIM_SHARED: return load ? QP_SIM_LD_SHARED : QP_SIM_ST_SHARED;
  case QP_SIM_LOCAL: return load ? QP_SIM_LD_LOCAL : QP_SIM_ST_LOCAL;
  case QP_SIM_PARAM: return QP_SIM_LD_CONST;
  default: return load ? QP_SIM_LD_GLOBAL : QP_SIM_ST_GLOBAL;
  }
}

/* The register a loaded or stored element sits in may be wider than the element. */
static bool data_letter(parser *p, const operand *x, unsigned type, unsigned *letter) {
  const operand *e = x->kind == O_VECTOR ? x->items : x;
  *letter = p_type_letter(type);
  if (e->kind != O_REG) return true;
  const unsigned has = e->bits < 16 ? 16 : e->bits;
  if (has < p_type_bits(type))
    return p_fail(p, "register '%.*s' has %u bits for an element of %u", (int)e->tok.length,
                  e->tok.text, e->bits, p_type_bits(type));
  *letter = has == 64 ? 'd' : has == 32 ? 'w' : 'h';
  return true;
}

static bool data_list(parser *p, qp_sim_op *o, const operand *x, unsigned letter, bool def) {
  if (x->kind != O_VECTOR) {
    if (o->n != 1) return p_fail(p, "a vector of %u elements is expected", o->n);
    return p_ext(p, o, x, letter, def);
  }
  if (x->count != o->n)
    return p_fail(p, "a vector of %u elements is expected, not %u", o->n, x->count);
  for (uint32_t i = 0; i < x->count; i++)
    if (!p_ext(p, o, x->items + i, letter, def)) return false;
  return true;
}

/* Decode a .param address: of the kernel, or of a variable in the frame. */
static bool param_address(parser *p, qp_sim_op *o, bool load, bool frame, const operand *x) {
  if (frame) {
    o->space = QP_SIM_LOCAL;
    o->kind = (uint8_t)kind_of(QP_SIM_LOCAL, load);
    return true;
  }
  if (!load) return p_fail(p, "kernel parameters cannot be written");
  if (x->base->kind != O_SYMBOL) return true; /* by register: checked when it runs */
  const qp_sim_function *f = p->functions.at + p->function;
  const uint64_t at = x->base->sym.offset + (uint64_t)x->value;
  const uint64_t bytes = (uint64_t)qp_sim_type_bytes(o->type) * o->n;
  if (at + bytes > f->param_bytes)
    return p_fail(p, "reads %llu bytes at offset %llu of %u bytes of parameters",
                  (unsigned long long)bytes, (unsigned long long)at, f->param_bytes);
  o->imm = (int64_t)at;
  o->run = qp_sim_do_ld_param;
  return true;
}

static bool decode_access(parser *p, unsigned load) {
  qp_sim_op o = p_op(p, NULL, QP_SIM_LD_GLOBAL);
  bool hint, is_param, wide, frame;
  drop_hints(p, &o.mode, &hint);
  space_of(p, &o, &is_param);
  o.n = (uint8_t)vector_part(p);
  unsigned type, letter;
  if (!p_part_type(p, &type) || !p_all_used(p)) return false;
  if (p->operand_count != (hint ? 3u : 2u))
    return p_fail(p, "%u operands are expected", hint ? 3 : 2);
  o.type = (uint8_t)type;
  o.kind = (uint8_t)kind_of(o.space, load);
  if (p_type_bits(type) / 8 * o.n > 16 && !qp_arch_has(p->arch, QP_ARCH_WIDE_LOAD))
    return p_fail(p, "an access of more than 16 bytes");
  const operand *data = p->ops_in + (load ? 0 : 1), *address = p->ops_in + (load ? 1 : 0);
  if (!data_letter(p, data, type, &letter)) return false;
  if (letter == 'd' || letter == 'g') o.sub2 |= 1;
  if (letter == 'w' && p_type_bits(type) <= 16) o.sub |= 1;
  if (!p_address(p, &o, 1, address, &wide, &frame)) return false;
  if (wide) o.sub2 |= 4;
  o.run = load ? qp_sim_ld_fn(&o) : qp_sim_st_fn(&o);
  if (is_param && !param_address(p, &o, load, frame, address)) return false;
  if (!data_list(p, &o, data, letter, load)) return false;
  const uint32_t op = p_push(p, &o);
  return frame ? P_PUSH(p, frame_ops, op) : p_ok(p);
}

static bool atomic_name(parser *p, uint8_t *sub) {
  static const struct {
    const char *name;
    uint8_t sub;
  } table[] = {{"add", QP_SIM_ADD},   {"min", QP_SIM_MIN}, {"max", QP_SIM_MAX}, {"inc", QP_SIM_INC},
               {"dec", QP_SIM_DEC},   {"and", QP_SIM_AND}, {"or", QP_SIM_OR},   {"xor", QP_SIM_XOR},
               {"exch", QP_SIM_EXCH}, {"cas", QP_SIM_CAS}};
  for (size_t i = 0; i < sizeof table / sizeof *table; i++)
    if (p_part(p, table[i].name)) {
      *sub = table[i].sub;
      return true;
    }
  return false;
}

/* Which types an atomic takes: bits for any, whole numbers or floats for some. */
static bool atomic_type(unsigned sub, unsigned type) {
  const bool half =
      type == QP_SIM_F16 || type == QP_SIM_BF16 || type == QP_SIM_F16X2 || type == QP_SIM_BF16X2;
  if (half || type == QP_SIM_F32 || type == QP_SIM_F64) return sub == QP_SIM_ADD;
  return p_type_bits(type) >= 32 || (p_type_bits(type) == 16 && sub == QP_SIM_CAS);
}

static bool decode_atomic(parser *p, unsigned returns) {
  qp_sim_op o = p_op(p, qp_sim_do_atom, QP_SIM_ATOMIC);
  bool hint, is_param, wide, frame;
  drop_hints(p, &o.mode, &hint);
  p_part(p, "noftz");
  space_of(p, &o, &is_param);
  o.n = (uint8_t)vector_part(p);
  unsigned type;
  if (!atomic_name(p, &o.sub) || !p_part_type(p, &type) || !p_all_used(p)) return false;
  if (!atomic_type(o.sub, type)) return p_fail(p, "this atomic does not take this type");
  o.type = (uint8_t)type;
  const bool cas = o.sub == QP_SIM_CAS;
  const uint32_t count = 2u + returns + cas + hint;
  if (p->operand_count != count) return p_fail(p, "%u operands are expected", count);
  const operand *x = p->ops_in;
  const unsigned letter = p_type_letter(type);
  if (letter == 'd' || letter == 'g') o.sub2 |= 1;
  if (returns) o.mode |= 1;
  if (returns && !data_list(p, &o, x++, letter, true)) return false;
  const operand *address = x++;
  if (!data_list(p, &o, x++, letter, false)) return false;
  if (cas && !p_ext(p, &o, x, letter, false)) return false;
  if (!p_address(p, &o, 1, address, &wide, &frame)) return false;
  if (wide) o.sub2 |= 4;
  const uint32_t op = p_push(p, &o);
  return frame ? P_PUSH(p, frame_ops, op) : p_ok(p);
}

const decoder p_decoders_memory[] = {{.name = "ld", .decode = decode_access, .variant = true},
                                     {.name = "ldu", .decode = decode_access, .variant = true},
                                     {.name = "st", .decode = decode_access, .variant = false},
                                     {.name = "atom", .decode = decode_atomic, .variant = true},
                                     {.name = "red", .decode = decode_atomic, .variant = false},
                                     {.name = NULL}};
