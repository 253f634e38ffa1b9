/* SPDX-License-Identifier: MIT */
/* Executes ld, st, atom and red. */
#include "runtime/sim/round.h"

/* sub2 */
enum { WIDE_DATA = 1, WIDE_ADDRESS = 4 };

static inline uint64_t address_of(const qp_sim_op *o, const uint32_t *base, unsigned lane) {
  if (o->sub2 & WIDE_ADDRESS) return ((const qp_sim_u64 *)base)[lane] + (uint64_t)o->imm;
  return base[lane] + (uint32_t)o->imm;
}

unsigned qp_sim_type_bytes(unsigned type) {
  switch (type) {
  case QP_SIM_U8:
  case QP_SIM_S8:
  case QP_SIM_B8: return 1;
  case QP_SIM_U16:
  case QP_SIM_S16:
  case QP_SIM_B16:
  case QP_SIM_F16:
  case QP_SIM_BF16: return 2;
  case QP_SIM_U64:
  case QP_SIM_S64:
  case QP_SIM_B64:
  case QP_SIM_F64: return 8;
  default: return 4;
  }
}

/* Load an element of memory as the value of a register: sign- or zero-extended. */
static uint64_t load_element(const uint8_t *p, unsigned type) {
  uint16_t h;
  uint32_t u;
  uint64_t v;
  switch (type) {
  case QP_SIM_U8:
  case QP_SIM_B8: return *p;
  case QP_SIM_S8: return (uint64_t)(int64_t)(int8_t)*p;
  case QP_SIM_S16: memcpy(&h, p, 2); return (uint64_t)(int64_t)(int16_t)h;
  case QP_SIM_U16:
  case QP_SIM_B16:
  case QP_SIM_F16:
  case QP_SIM_BF16: memcpy(&h, p, 2); return h;
  case QP_SIM_S32: memcpy(&u, p, 4); return (uint64_t)(int64_t)(int32_t)u;
  case QP_SIM_U64:
  case QP_SIM_S64:
  case QP_SIM_B64:
  case QP_SIM_F64: memcpy(&v, p, 8); return v;
  default: memcpy(&u, p, 4); return u;
  }
}

static void count_banks(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask, const uint32_t *base,
                        unsigned bytes) {
  if (!w->block->launch->switches.bank_conflicts) return;
  uint32_t addresses[QP_SIM_LANES], lanes = 0;
  QP_SIM_LOOP(mask, l) {
    uint64_t a = address_of(o, base, l);
    unsigned space = o->space;
    if (space == QP_SIM_GENERIC) space = qp_sim_resolve(&a);
    addresses[l] = (uint32_t)a;
    if (space == QP_SIM_SHARED) lanes |= 1u << l;
  }
  if (lanes) qp_sim_count_banks(w, lanes, addresses, bytes);
}

static bool read_lanes(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask, const uint32_t *base,
                       unsigned bytes, const uint8_t **at) {
  uint64_t address[QP_SIM_LANES];
  QP_SIM_LOOP(mask, l) address[l] = address_of(o, base, l);
  return qp_sim_read_lanes(w, o, mask, address, bytes, at);
}

/* Load n elements of any type. */
static void ld_any(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  const unsigned size = qp_sim_type_bytes(o->type), n = o->n;
  const int32_t *list = qp_sim_ext(w, o);
  const uint32_t *base = qp_sim_reg(w, o->r[1]);
  const bool half_register = size <= 2 && !(o->sub & 1);
  const uint8_t *at[QP_SIM_LANES];
  count_banks(w, o, mask, base, size * n);
  if (!read_lanes(w, o, mask, base, size * n, at)) return;
  QP_SIM_LOOP(mask, l) {
    for (unsigned i = 0; i < n; i++) {
      uint32_t *d = qp_sim_reg(w, list[i]);
      const uint64_t v = load_element(at[l] + size * i, o->type);
      if (o->sub2 & WIDE_DATA)
        ((qp_sim_u64 *)d)[l] = v;
      else
        d[l] = half_register ? (uint16_t)v : (uint32_t)v;
    }
  }
}

/* n words */
static void ld_words(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  const unsigned n = o->n;
  const int32_t *list = qp_sim_ext(w, o);
  const uint32_t *base = qp_sim_reg(w, o->r[1]);
  const uint8_t *at[QP_SIM_LANES];
  count_banks(w, o, mask, base, 4 * n);
  if (!read_lanes(w, o, mask, base, 4 * n, at)) return;
  for (unsigned i = 0; i < n; i++) {
    uint32_t *d = qp_sim_reg(w, list[i]);
    QP_SIM_LOOP(mask, l) memcpy(d + l, at[l] + 4 * i, 4);
  }
}

/* Copy an element; a call for so few bytes would cost more than they do. */
static inline void store_element(uint8_t *p, const void *value, unsigned size) {
  switch (size) {
  case 1: memcpy(p, value, 1); break;
  case 2: memcpy(p, value, 2); break;
  case 4: memcpy(p, value, 4); break;
  default: memcpy(p, value, 8);
  }
}

static void st_any(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  const unsigned size = qp_sim_type_bytes(o->type), n = o->n;
  const int32_t *list = qp_sim_ext(w, o);
  const uint32_t *base = qp_sim_reg(w, o->r[1]);
  uint64_t address[QP_SIM_LANES];
  uint8_t *at[QP_SIM_LANES];
  count_banks(w, o, mask, base, size * n);
  QP_SIM_LOOP(mask, l) address[l] = address_of(o, base, l);
  if (!qp_sim_write_lanes(w, o, mask, address, size * n, at)) return;
  for (unsigned i = 0; i < n; i++) {
    const uint32_t *a = qp_sim_reg(w, list[i]);
    const size_t step = o->sub2 & WIDE_DATA ? 2 : 1; /* words of a register */
    QP_SIM_LOOP(mask, l) store_element(at[l] + size * i, a + step * l, size);
  }
}

qp_sim_fn qp_sim_ld_fn(const qp_sim_op *o) {
  return qp_sim_type_bytes(o->type) == 4 && !(o->sub2 & WIDE_DATA) ? ld_words : ld_any;
}
qp_sim_fn qp_sim_st_fn(const qp_sim_op *o) {
  (void)o;
  return st_any;
}

/* imm: offset in the parameter space, checked when decoded; all lanes get the same */
void qp_sim_do_ld_param(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  const unsigned size = qp_sim_type_bytes(o->type);
  const int32_t *list = qp_sim_ext(w, o);
  const bool half_register = size <= 2 && !(o->sub & 1);
  for (unsigned i = 0; i < o->n; i++) {
    uint64_t v = load_element(w->block->launch->params + o->imm + size * i, o->type);
    if (half_register) v = (uint16_t)v;
    uint32_t *d = qp_sim_reg(w, list[i]);
    qp_sim_u64 *d64 = (qp_sim_u64 *)d;
    if (o->sub2 & WIDE_DATA)
      QP_SIM_EACH(mask, d64[l] = v);
    else
      QP_SIM_EACH(mask, d[l] = (uint32_t)v);
  }
}

/* ---- atomics ---- */

static uint16_t add_half(uint16_t x, uint16_t y, bool bf16) {
  if (bf16) return qp_double_to_bf16((double)qp_bf16_to_float(x) + (double)qp_bf16_to_float(y));
  return qp_double_to_half((double)qp_half_to_float(x) + (double)qp_half_to_float(y));
}

static uint64_t min_max(uint64_t old, uint64_t v, unsigned type, bool max) {
  bool less;
  switch (type) {
  case QP_SIM_S32: less = (int32_t)v < (int32_t)old; break;
  case QP_SIM_S64: less = (int64_t)v < (int64_t)old; break;
  case QP_SIM_F32: less = qp_float_of_bits((uint32_t)v) < qp_float_of_bits((uint32_t)old); break;
  default: less = v < old; break;
  }
  return less != max ? v : old;
}

/* In global memory fp32 is added without subnormal numbers, in shared memory with them. */
static uint32_t add_float(uint32_t old, uint32_t v, bool global) {
  const uint32_t number[] = {old, v};
  float x[2];
  for (unsigned i = 0; i < 2; i++)
    x[i] = qp_float_of_bits(global && !(number[i] & 0x7f800000u) ? number[i] & 0x80000000u
                                                                 : number[i]);
  const uint32_t sum = qp_float_bits(x[0] + x[1]);
  return global && !(sum & 0x7f800000u) ? sum & 0x80000000u : sum;
}

static uint64_t add_typed(uint64_t old, uint64_t v, unsigned type, bool global) {
  double x, y;
  switch (type) {
  case QP_SIM_F32: return add_float((uint32_t)old, (uint32_t)v, global);
  case QP_SIM_F64:
    memcpy(&x, &old, 8);
    memcpy(&y, &v, 8);
    x += y;
    memcpy(&old, &x, 8);
    return old;
  case QP_SIM_F16: return add_half((uint16_t)old, (uint16_t)v, false);
  case QP_SIM_BF16: return add_half((uint16_t)old, (uint16_t)v, true);
  case QP_SIM_F16X2:
  case QP_SIM_BF16X2: {
    const bool bf16 = type == QP_SIM_BF16X2;
    const uint64_t low = add_half((uint16_t)old, (uint16_t)v, bf16);
    return (uint64_t)add_half((uint16_t)(old >> 16), (uint16_t)(v >> 16), bf16) << 16 | low;
  }
  default: return old + v;
  }
}

static uint64_t atomic_result(const qp_sim_op *o, uint64_t old, uint64_t v, uint64_t compare) {
  switch (o->sub) {
  case QP_SIM_ADD: return add_typed(old, v, o->type, o->space == QP_SIM_GLOBAL);
  case QP_SIM_MIN: return min_max(old, v, o->type, false);
  case QP_SIM_MAX: return min_max(old, v, o->type, true);
  case QP_SIM_INC: return old >= v ? 0 : old + 1;
  case QP_SIM_DEC: return old == 0 || old > v ? v : old - 1;
  case QP_SIM_AND: return old & v;
  case QP_SIM_OR: return old | v;
  case QP_SIM_XOR: return old ^ v;
  case QP_SIM_CAS: return old == compare ? v : old;
  default: return v; /* exch */
  }
}

/*
** ext: destinations (atom) then sources, n each, then for cas the compared value.  mode bit 0:
** there are destinations.  A vector is one access but each element its own atomic.
*/
void qp_sim_do_atom(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  const unsigned size = qp_sim_type_bytes(o->type), n = o->n;
  const bool wide = o->sub2 & WIDE_DATA, returns = o->mode & 1;
  const int32_t *dest = qp_sim_ext(w, o), *source = dest + (returns ? n : 0);
  const uint32_t *base = qp_sim_reg(w, o->r[1]);
  QP_SIM_LOOP(mask, l) {
    uint8_t *p = qp_sim_update(w, o, l, o->space, address_of(o, base, l), size * n);
    if (!p) return;
    uint64_t old[8];
    for (unsigned i = 0; i < n; i++) {
      const uint32_t *a = qp_sim_reg(w, source[i]);
      const uint64_t field = size == 8 ? UINT64_MAX : (UINT64_C(1) << (8 * size)) - 1;
      const uint64_t v = (wide ? ((const qp_sim_u64 *)a)[l] : a[l]) & field;
      uint64_t compare = 0;
      if (o->sub == QP_SIM_CAS) { /* sources: compared value, new value */
        const uint32_t *b = qp_sim_reg(w, source[1]);
        compare = v;
        old[i] = 0;
        memcpy(&old[i], p, size);
        const uint64_t swap = (wide ? ((const qp_sim_u64 *)b)[l] : b[l]) & field;
        const uint64_t r = atomic_result(o, old[i], swap, compare);
        memcpy(p, &r, size);
      } else {
        old[i] = 0;
        memcpy(&old[i], p + size * i, size);
        const uint64_t r = atomic_result(o, old[i], v, compare);
        memcpy(p + size * i, &r, size);
      }
    }
    for (unsigned i = 0; returns && i < n; i++) {
      uint32_t *d = qp_sim_reg(w, dest[i]);
      if (wide)
        ((qp_sim_u64 *)d)[l] = old[i];
      else
        d[l] = (uint32_t)old[i];
    }
  }
  w->block->progress++;
}
