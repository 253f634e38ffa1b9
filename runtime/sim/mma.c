/* SPDX-License-Identifier: MIT */
/*
** mma.sync, ldmatrix, stmatrix.  Element e of the pair of 16-bit values in a register sits in its
** bits 16e..16e+15.  With g = lane / 4 and t = lane % 4 the fragments of m16n8 are (PTX ISA,
** "Matrix Fragments for mma.m16n8k16"):
**   A register i: row g + 8 (i & 1), columns 2t + 8 (i >> 1), + 1
**   B register i: rows 2t + 8 i, + 1, column g
**   C register i: row g + 8 (i >> 1), column 2t + (i & 1)
**
** fp32 accumulation: products are exact in fp32 terms (11 x 11 bits); they are added to C one after
** another in the order of k, each sum rounded to nearest in fp32.  GPUs sum groups of products with
** truncation; results agree within the usual error of fp32 accumulation, not bit by bit.
*/
#include "runtime/sim/round.h"

/* sub: the kind of multiplication */
enum { F32_F16, F32_BF16, F16_F16, F32_TF32, S32_INT };

typedef struct shape {
  const char *name;
  uint8_t kind, k; /* k: depth */
  uint8_t a, b, c; /* registers of a lane */
  uint8_t a_signed, b_signed;
} shape;

static const shape shapes[] = {
    {"m16n8k16.f32.f16.f16.f32", F32_F16, 16, 4, 2, 4, 0, 0},
    {"m16n8k16.f32.bf16.bf16.f32", F32_BF16, 16, 4, 2, 4, 0, 0},
    {"m16n8k16.f16.f16.f16.f16", F16_F16, 16, 4, 2, 2, 0, 0},
    {"m16n8k8.f32.f16.f16.f32", F32_F16, 8, 2, 1, 4, 0, 0},
    {"m16n8k8.f32.bf16.bf16.f32", F32_BF16, 8, 2, 1, 4, 0, 0},
    {"m16n8k8.f16.f16.f16.f16", F16_F16, 8, 2, 1, 2, 0, 0},
    {"m16n8k8.f32.tf32.tf32.f32", F32_TF32, 8, 4, 2, 4, 0, 0},
    {"m16n8k4.f32.tf32.tf32.f32", F32_TF32, 4, 2, 1, 4, 0, 0},
    {"m16n8k32.s32.s8.s8.s32", S32_INT, 32, 4, 2, 4, 1, 1},
    {"m16n8k32.s32.u8.s8.s32", S32_INT, 32, 4, 2, 4, 0, 1},
    {"m16n8k32.s32.s8.u8.s32", S32_INT, 32, 4, 2, 4, 1, 0},
    {"m16n8k32.s32.u8.u8.s32", S32_INT, 32, 4, 2, 4, 0, 0},
    {"m16n8k16.s32.s8.s8.s32", S32_INT, 16, 2, 1, 4, 1, 1},
    {"m16n8k16.s32.u8.s8.s32", S32_INT, 16, 2, 1, 4, 0, 1},
    {"m16n8k16.s32.s8.u8.s32", S32_INT, 16, 2, 1, 4, 1, 0},
    {"m16n8k16.s32.u8.u8.s32", S32_INT, 16, 2, 1, 4, 0, 0},
};

bool qp_sim_mma_shape(const char *name, unsigned *index, unsigned *a, unsigned *b, unsigned *c) {
  for (unsigned i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    if (strcmp(shapes[i].name, name) != 0) continue;
    *index = i;
    *a = shapes[i].a;
    *b = shapes[i].b;
    *c = shapes[i].c;
    return true;
  }
  return false;
}

/* Fragments that are laid out as matrices, A row by row and B column by column. */
typedef struct tile {
  float a[16][32], b[8][32];
  int32_t ai[16][32], bi[8][32];
} tile;

static float half_value(uint32_t word, unsigned e, bool bf16) {
  const uint16_t h = (uint16_t)(word >> (16 * e));
  return bf16 ? qp_bf16_to_float(h) : qp_half_to_float(h);
}

static void read_half(const qp_sim_warp *w, const shape *s, const int32_t *r, tile *t) {
  const bool bf16 = s->kind == F32_BF16;
  for (unsigned i = 0; i < s->a; i++) {
    const uint32_t *a = qp_sim_reg(w, r[i]);
    for (unsigned l = 0; l < QP_SIM_LANES; l++) {
      /* cppcheck-suppress uninitvar ; it is written */
      float *row = t->a[l / 4 + 8 * (i & 1)] + 2 * (l % 4) + 8 * (i >> 1);
      row[0] = half_value(a[l], 0, bf16);
      row[1] = half_value(a[l], 1, bf16);
    }
  }
  for (unsigned i = 0; i < s->b; i++) {
    const uint32_t *b = qp_sim_reg(w, r[s->a + i]);
    for (unsigned l = 0; l < QP_SIM_LANES; l++) {
      float *column = t->b[l / 4] + 2 * (l % 4) + 8 * i;
      column[0] = half_value(b[l], 0, bf16);
      column[1] = half_value(b[l], 1, bf16);
    }
  }
}

/* tf32: the low 13 bits of a register are not looked at; one value a register. */
static void read_tf32(const qp_sim_warp *w, const shape *s, const int32_t *r, tile *t) {
  for (unsigned i = 0; i < s->a; i++) {
    const uint32_t *a = qp_sim_reg(w, r[i]);
    for (unsigned l = 0; l < QP_SIM_LANES; l++)
      t->a[l / 4 + 8 * (i & 1)][l % 4 + 4 * (i >> 1)] = qp_float_of_bits(a[l] & ~0x1fffu);
  }
  for (unsigned i = 0; i < s->b; i++) {
    const uint32_t *b = qp_sim_reg(w, r[s->a + i]);
    for (unsigned l = 0; l < QP_SIM_LANES; l++)
      t->b[l / 4][l % 4 + 4 * i] = qp_float_of_bits(b[l] & ~0x1fffu);
  }
}

static int32_t byte_value(uint32_t word, unsigned i, bool is_signed) {
  const uint32_t v = word >> (8 * i) & 0xff;
  return is_signed ? (int8_t)v : (int32_t)v;
}

/* Read bytes as 16-bit values are read, with four of them in a register in place of two. */
static void read_bytes(const qp_sim_warp *w, const shape *s, const int32_t *r, tile *t) {
  for (unsigned i = 0; i < s->a; i++) {
    const uint32_t *a = qp_sim_reg(w, r[i]);
    for (unsigned l = 0; l < QP_SIM_LANES; l++)
      for (unsigned e = 0; e < 4; e++)
        t->ai[l / 4 + 8 * (i & 1)][4 * (l % 4) + 16 * (i >> 1) + e] =
            byte_value(a[l], e, s->a_signed);
  }
  for (unsigned i = 0; i < s->b; i++) {
    const uint32_t *b = qp_sim_reg(w, r[s->a + i]);
    for (unsigned l = 0; l < QP_SIM_LANES; l++)
      for (unsigned e = 0; e < 4; e++)
        t->bi[l / 4][4 * (l % 4) + 16 * i + e] = byte_value(b[l], e, s->b_signed);
  }
}

static float dot(const tile *t, unsigned row, unsigned column, unsigned depth, float sum) {
  for (unsigned k = 0; k < depth; k++) sum += t->a[row][k] * t->b[column][k];
  return sum;
}

static uint32_t dot_int(const tile *t, unsigned row, unsigned column, unsigned depth,
                        uint32_t sum) {
  for (unsigned k = 0; k < depth; k++) sum += (uint32_t)(t->ai[row][k] * t->bi[column][k]);
  return sum;
}

/* ext: D, A, B, C */
static void mma_take(qp_sim_warp *w, const qp_sim_op *o, uint32_t lanes, uint32_t all) {
  (void)lanes;
  (void)all;
  const shape *s = shapes + o->sub;
  const int32_t *d = qp_sim_ext(w, o), *a = d + s->c, *c = a + s->a + s->b;
  tile t = {0};
  if (s->kind == S32_INT)
    read_bytes(w, s, a, &t);
  else if (s->kind == F32_TF32)
    read_tf32(w, s, a, &t);
  else
    read_half(w, s, a, &t);
  for (unsigned i = 0; i < s->c; i++) {
    uint32_t *out = qp_sim_reg(w, d[i]);
    const uint32_t *in = qp_sim_reg(w, c[i]);
    for (unsigned l = 0; l < QP_SIM_LANES; l++) {
      const unsigned g = l / 4, column = 2 * (l % 4);
      if (s->kind == F16_F16) { /* two columns a register */
        const float low = dot(&t, g + 8 * i, column, s->k, half_value(in[l], 0, false));
        const float high = dot(&t, g + 8 * i, column + 1, s->k, half_value(in[l], 1, false));
        out[l] = (uint32_t)qp_float_to_half(high) << 16 | qp_float_to_half(low);
      } else if (s->kind == S32_INT) {
        out[l] = dot_int(&t, g + 8 * (i >> 1), column + (i & 1), s->k, in[l]);
      } else {
        const float sum =
            dot(&t, g + 8 * (i >> 1), column + (i & 1), s->k, qp_float_of_bits(in[l]));
        out[l] = qp_float_bits(sum);
      }
    }
  }
}
const qp_sim_collective qp_sim_mma_collective = {NULL, mma_take, false, true, false};

/*
** ldmatrix: lane 8 i + r gives the address of row r (16 bytes) of matrix i; lane l receives from
** each matrix row l / 4, elements 2 (l % 4) and the next; transposed: elements of column l / 4.
** r[1]: address; ext: registers; n: matrices; sub 1: transposed; sub2 4: 64-bit address
*/
static uint64_t row_address(const qp_sim_warp *w, const qp_sim_op *o, unsigned lane) {
  const uint32_t *base = qp_sim_reg(w, o->r[1]);
  uint64_t a = o->sub2 & 4 ? ((const qp_sim_u64 *)base)[lane] + (uint64_t)o->imm
                           : base[lane] + (uint32_t)o->imm;
  if (o->space == QP_SIM_GENERIC) qp_sim_resolve(&a);
  return a;
}

static void count_rows(qp_sim_warp *w, const qp_sim_op *o) {
  if (!w->block->launch->switches.bank_conflicts) return;
  uint32_t addresses[QP_SIM_LANES];
  for (unsigned l = 0; l < 8u * o->n; l++) addresses[l] = (uint32_t)row_address(w, o, l);
  const uint32_t lanes = o->n == 4 ? UINT32_MAX : (1u << (8 * o->n)) - 1;
  qp_sim_count_banks(w, lanes, addresses, 16);
}

static void ldmatrix_take(qp_sim_warp *w, const qp_sim_op *o, uint32_t lanes, uint32_t all) {
  (void)lanes;
  (void)all;
  const int32_t *list = qp_sim_ext(w, o);
  uint16_t m[4][8][8] = {0};
  count_rows(w, o);
  for (unsigned l = 0; l < 8u * o->n; l++) {
    const uint8_t *p = qp_sim_read(w, o, l, QP_SIM_SHARED, row_address(w, o, l), 16);
    if (!p) return;
    memcpy(m[l / 8][l % 8], p, 16);
  }
  for (unsigned i = 0; i < o->n; i++) {
    uint32_t *d = qp_sim_reg(w, list[i]);
    for (unsigned l = 0; l < QP_SIM_LANES; l++) {
      const unsigned g = l / 4, t = 2 * (l % 4);
      const uint32_t low = o->sub ? m[i][t][g] : m[i][g][t];
      const uint32_t high = o->sub ? m[i][t + 1][g] : m[i][g][t + 1];
      d[l] = high << 16 | low;
    }
  }
}
const qp_sim_collective qp_sim_ldmatrix_collective = {NULL, ldmatrix_take, false, true, false};

static void stmatrix_take(qp_sim_warp *w, const qp_sim_op *o, uint32_t lanes, uint32_t all) {
  (void)lanes;
  (void)all;
  const int32_t *list = qp_sim_ext(w, o);
  uint16_t m[4][8][8] = {0};
  count_rows(w, o);
  for (unsigned i = 0; i < o->n; i++) {
    const uint32_t *a = qp_sim_reg(w, list[i]);
    for (unsigned l = 0; l < QP_SIM_LANES; l++) {
      const unsigned g = l / 4, t = 2 * (l % 4);
      uint16_t *low = o->sub ? &m[i][t][g] : &m[i][g][t];
      uint16_t *high = o->sub ? &m[i][t + 1][g] : &m[i][g][t + 1];
      *low = (uint16_t)a[l];
      *high = (uint16_t)(a[l] >> 16);
    }
  }
  for (unsigned l = 0; l < 8u * o->n; l++) {
    uint8_t *p = qp_sim_write(w, o, l, QP_SIM_SHARED, row_address(w, o, l), 16);
    if (!p) return;
    memcpy(p, m[l / 8][l % 8], 16);
  }
}
const qp_sim_collective qp_sim_stmatrix_collective = {NULL, stmatrix_take, false, true, false};
