/* SPDX-License-Identifier: MIT */
/* Selection, comparison of integers, predicates, moves, addresses, special registers. */
#include "runtime/sim/handler.h"
#include "runtime/sim/rows.h"

/* ---- selection and comparison ---- */

HANDLER(selp_32) {
  REG32(d, 0);
  REG32(a, 1);
  REG32(b, 2);
  const uint32_t p = qp_sim_pred(w, o->r[3]);
  QP_SIM_EACH(mask, d[l] = p >> l & 1 ? a[l] : b[l]);
}
HANDLER(selp_64) {
  REG64(d, 0);
  REG64(a, 1);
  REG64(b, 2);
  const uint32_t p = qp_sim_pred(w, o->r[3]);
  QP_SIM_EACH(mask, d[l] = p >> l & 1 ? a[l] : b[l]);
}
DO32_3(slct_32, (int32_t)c[l] >= 0 ? a[l] : b[l])
HANDLER(slct_64) {
  REG64(d, 0);
  REG64(a, 1);
  REG64(b, 2);
  REG32(c, 3);
  QP_SIM_LOOP(mask, l) d[l] = (int32_t)c[l] >= 0 ? a[l] : b[l];
}
HANDLER(slct_32_f) {
  REG32(d, 0);
  REG32(a, 1);
  REG32(b, 2);
  const qp_sim_f32 *c = (const qp_sim_f32 *)qp_sim_reg(w, o->r[3]);
  QP_SIM_LOOP(mask, l) d[l] = c[l] >= 0 ? a[l] : b[l];
}
HANDLER(and_pred) {
  qp_sim_set_pred(w, o->r[0], mask, qp_sim_pred(w, o->r[1]) & qp_sim_pred(w, o->r[2]));
}
HANDLER(or_pred) {
  qp_sim_set_pred(w, o->r[0], mask, qp_sim_pred(w, o->r[1]) | qp_sim_pred(w, o->r[2]));
}
HANDLER(xor_pred) {
  qp_sim_set_pred(w, o->r[0], mask, qp_sim_pred(w, o->r[1]) ^ qp_sim_pred(w, o->r[2]));
}
HANDLER(not_pred) { qp_sim_set_pred(w, o->r[0], mask, ~qp_sim_pred(w, o->r[1])); }
HANDLER(mov_pred) { qp_sim_set_pred(w, o->r[0], mask, qp_sim_pred(w, o->r[1])); }
DO32_1(mov_32, a[l])
DO64_1(mov_64, a[l])

void qp_sim_do_mov_pred_const(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  qp_sim_set_pred(w, o->r[0], mask, o->imm ? UINT32_MAX : 0);
}

void qp_sim_do_mov_local(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  if (o->type == QP_SIM_U64) {
    REG64(d, 0);
    QP_SIM_EACH(mask, d[l] = (uint64_t)o->imm);
  } else {
    REG32(d, 0);
    QP_SIM_EACH(mask, d[l] = (uint32_t)o->imm);
  }
}

/* Parts are in the ext list; type is that of the whole, type2 that of a part. */
void qp_sim_do_pack(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  const int32_t *parts = qp_sim_ext(w, o);
  const unsigned bits = (o->type == QP_SIM_B64 ? 64u : 32u) / o->n;
  for (unsigned i = 0; i < o->n; i++) {
    REG32(d, 0);
    const uint32_t *a = qp_sim_reg(w, parts[i]);
    const uint64_t field = (bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1);
    QP_SIM_LOOP(mask, l) {
      const uint64_t part = (a[l] & field) << (bits * i);
      if (o->type == QP_SIM_B64) {
        qp_sim_u64 *d64 = (qp_sim_u64 *)d;
        w->wide[l] = i ? w->wide[l] | part : part;
        if (i + 1u == o->n) d64[l] = w->wide[l];
      } else {
        w->wide[l] = i ? w->wide[l] | part : part;
        if (i + 1u == o->n) d[l] = (uint32_t)w->wide[l];
      }
    }
  }
}

void qp_sim_do_unpack(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  const int32_t *parts = qp_sim_ext(w, o);
  const bool wide = o->type == QP_SIM_B64;
  const unsigned bits = (wide ? 64u : 32u) / o->n;
  const uint64_t field = (UINT64_C(1) << bits) - 1;
  REG32(a, 0);
  const qp_sim_u64 *a64 = (const qp_sim_u64 *)a;
  QP_SIM_LOOP(mask, l) w->wide[l] = wide ? a64[l] : a[l];
  for (unsigned i = 0; i < o->n; i++) {
    uint32_t *d = qp_sim_reg(w, parts[i]);
    QP_SIM_EACH(mask, d[l] = (uint32_t)(w->wide[l] >> (bits * i) & field));
  }
}

#define EIGHT_BITS(n)                                                                              \
  1u << (n), 2u << (n), 4u << (n), 8u << (n), 16u << (n), 32u << (n), 64u << (n), 128u << (n)
static const uint32_t lane_bit[QP_SIM_LANES] = {EIGHT_BITS(0), EIGHT_BITS(8), EIGHT_BITS(16),
                                                EIGHT_BITS(24)};

#define COMPARE(x, y)                                                                              \
  switch (o->sub) {                                                                                \
  case QP_SIM_EQ: TEST(x == y)                                                                     \
  case QP_SIM_NE: TEST(x != y)                                                                     \
  case QP_SIM_LT: TEST(x < y)                                                                      \
  case QP_SIM_LE: TEST(x <= y)                                                                     \
  case QP_SIM_GT: TEST(x > y)                                                                      \
  default: TEST(x >= y)                                                                            \
  }
/* All lanes are compared, which compilers do several at a time. */
#define TEST(expr)                                                                                 \
  for (unsigned l = 0; l < QP_SIM_LANES; l++) bits |= (expr) ? lane_bit[l] : 0;                    \
  break;
#define COMPARE_TYPE(name, STORE, T)                                                               \
  static uint32_t compare_##name(const qp_sim_warp *w, const qp_sim_op *o, uint32_t mask,          \
                                 int32_t ra, int32_t rb) {                                         \
    const STORE *a = (const STORE *)qp_sim_reg(w, ra), *b = (const STORE *)qp_sim_reg(w, rb);      \
    uint32_t bits = 0;                                                                             \
    COMPARE((T)a[l], (T)b[l])                                                                      \
    return bits & mask;                                                                            \
  }
COMPARE_TYPE(u16, uint32_t, uint16_t)
COMPARE_TYPE(s16, uint32_t, int16_t)
COMPARE_TYPE(u32, uint32_t, uint32_t)
COMPARE_TYPE(s32, qp_sim_s32, int32_t)
COMPARE_TYPE(u64, qp_sim_u64, uint64_t)
COMPARE_TYPE(s64, qp_sim_s64, int64_t)

uint32_t qp_sim_combine(const qp_sim_warp *w, const qp_sim_op *o, int32_t pred, uint32_t bits) {
  switch (o->sub2) {
  case QP_SIM_COMBINE_AND: return bits & qp_sim_pred(w, pred);
  case QP_SIM_COMBINE_OR: return bits | qp_sim_pred(w, pred);
  case QP_SIM_COMBINE_XOR: return bits ^ qp_sim_pred(w, pred);
  default: return bits;
  }
}

/* r: p, a, b, combine, q (0: none) */
void qp_sim_setp_result(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask, uint32_t bits) {
  const uint32_t p = qp_sim_combine(w, o, o->r[3], bits);
  const uint32_t q = qp_sim_combine(w, o, o->r[3], ~bits);
  qp_sim_set_pred(w, o->r[0], mask, p);
  if (o->r[4]) qp_sim_set_pred(w, o->r[4], mask, q);
}

/* type: that of the result, u32, s32 or f32 (1.0) */
void qp_sim_set_result(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask, uint32_t bits) {
  const uint32_t p = qp_sim_combine(w, o, o->r[3], bits);
  const uint32_t yes = o->type == QP_SIM_F32 ? 0x3f800000 : UINT32_MAX;
  REG32(d, 0);
  QP_SIM_EACH(mask, d[l] = p >> l & 1 ? yes : 0);
}

#define SETP(name)                                                                                 \
  HANDLER(setp_##name) {                                                                           \
    qp_sim_setp_result(w, o, mask, compare_##name(w, o, mask, o->r[1], o->r[2]));                  \
  }                                                                                                \
  HANDLER(set_##name) {                                                                            \
    qp_sim_set_result(w, o, mask, compare_##name(w, o, mask, o->r[1], o->r[2]));                   \
  }
SETP(u16)
SETP(s16)
SETP(u32)
SETP(s32)
SETP(u64)
SETP(s64)

qp_sim_fn qp_sim_setp_int_fn(unsigned type, bool set) {
  switch (type) {
  case QP_SIM_U16:
  case QP_SIM_B16: return set ? set_u16 : setp_u16;
  case QP_SIM_S16: return set ? set_s16 : setp_s16;
  case QP_SIM_U32:
  case QP_SIM_B32: return set ? set_u32 : setp_u32;
  case QP_SIM_S32: return set ? set_s32 : setp_s32;
  case QP_SIM_U64:
  case QP_SIM_B64: return set ? set_u64 : setp_u64;
  case QP_SIM_S64: return set ? set_s64 : setp_s64;
  default: return NULL;
  }
}

/* ---- addresses ---- */

void qp_sim_do_cvta(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  const uint64_t base = o->space == QP_SIM_SHARED  ? QP_SIM_SHARED_BASE
                        : o->space == QP_SIM_LOCAL ? QP_SIM_LOCAL_BASE
                        : o->space == QP_SIM_PARAM ? QP_SIM_PARAM_BASE
                                                   : 0;
  const uint64_t add = o->sub ? 0 - base : base;
  REG64(d, 0);
  REG64(a, 1);
  QP_SIM_EACH(mask, d[l] = a[l] + add);
}

void qp_sim_do_isspacep(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  REG64(a, 1);
  uint32_t bits = 0;
  QP_SIM_LOOP(mask, l) {
    uint64_t address = a[l];
    bits |= (uint32_t)(qp_sim_resolve(&address) == o->space) << l;
  }
  qp_sim_set_pred(w, o->r[0], mask, bits);
}

/* ---- special registers ---- */

static uint64_t sreg_value(const qp_sim_warp *w, unsigned which, unsigned lane) {
  const qp_sim_block *b = w->block;
  const qp_sim_launch *launch = b->launch;
  const uint32_t bit = 1u << lane;
  switch (which) {
  case QP_SIM_TID_X: return w->index * QP_SIM_LANES + lane;
  case QP_SIM_NTID_X: return b->threads;
  case QP_SIM_CTAID_X: return b->index;
  case QP_SIM_NCTAID_X: return launch->grid;
  case QP_SIM_ONE: return 1;
  case QP_SIM_LANEID: return lane;
  case QP_SIM_WARPID: return w->index;
  case QP_SIM_NWARPID: return 64;
  case QP_SIM_SMID: return b->sm;
  case QP_SIM_NSMID: return launch->sm_count;
  case QP_SIM_GRIDID: return launch->id;
  case QP_SIM_LANEMASK_EQ: return bit;
  case QP_SIM_LANEMASK_LE: return bit | (bit - 1);
  case QP_SIM_LANEMASK_LT: return bit - 1;
  case QP_SIM_LANEMASK_GE: return ~(bit - 1);
  case QP_SIM_LANEMASK_GT: return ~(bit | (bit - 1));
  case QP_SIM_CLOCK:
  case QP_SIM_CLOCK64:
  case QP_SIM_GLOBALTIMER:
  case QP_SIM_GLOBALTIMER_LO: return w->ticks;
  case QP_SIM_CLOCK_HI:
  case QP_SIM_GLOBALTIMER_HI: return w->ticks >> 32;
  case QP_SIM_DYNAMIC_SMEM: return launch->dynamic_bytes;
  case QP_SIM_TOTAL_SMEM: return launch->shared_bytes - QP_SIM_SHARED_START;
  case QP_SIM_DYNAMIC_START: return launch->dynamic_start;
  default: return 0;
  }
}

/* imm: added to it (an offset from the start of dynamic shared memory) */
void qp_sim_do_sreg(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  const uint64_t add = (uint64_t)o->imm;
  if (o->type == QP_SIM_U64) {
    REG64(d, 0);
    QP_SIM_LOOP(mask, l) d[l] = sreg_value(w, o->sub, l) + add;
  } else {
    REG32(d, 0);
    QP_SIM_LOOP(mask, l) d[l] = (uint32_t)(sreg_value(w, o->sub, l) + add);
  }
}

#define SELP16(t) ROW("selp." t, "hhhp", selp_32), ROW("mov." t, "hh", mov_32)
#define SELP32(t)                                                                                  \
  ROW("selp." t, "wwwp", selp_32), ROW("mov." t, "ww", mov_32),                                    \
      ROW("slct." t ".s32", "wwww", slct_32), ROW("slct." t ".f32", "wwwf", slct_32_f)
#define SELP64(t)                                                                                  \
  ROW("selp." t, "dddp", selp_64), ROW("mov." t, "dd", mov_64),                                    \
      ROW("slct." t ".s32", "dddw", slct_64)

const qp_sim_row qp_sim_rows_move[] = {
    SELP16("b16"),
    SELP16("u16"),
    SELP16("s16"),
    SELP32("b32"),
    SELP32("u32"),
    SELP32("s32"),
    ROW("selp.f32", "fffp", selp_32),
    ROW("mov.f32", "ff", mov_32),
    ROW("slct.f32.s32", "fffw", slct_32),
    ROW("slct.f32.f32", "ffff", slct_32_f),
    SELP64("b64"),
    SELP64("u64"),
    SELP64("s64"),
    ROW("selp.f64", "gggp", selp_64),
    ROW("mov.f64", "gg", mov_64),
    ROW("and.pred", "ppp", and_pred),
    ROW("or.pred", "ppp", or_pred),
    ROW("xor.pred", "ppp", xor_pred),
    ROW("not.pred", "pp", not_pred),
    ROW("mov.pred", "pp", mov_pred),
    {0},
};
