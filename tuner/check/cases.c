/* SPDX-License-Identifier: MIT */
/* Lists what `qpal check` covers. */
#include "tuner/check/cases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/field_table.h"
#include "gen/encode/nested.h"
#include "gen/encode/shapes.h"
#include "gen/encode/sum_table.h"
#include "gen/encode/trellis.h"
#include "gen/kernel/kernel.h"
#include "tuner/check/cases_make.h"
#include "tuner/check/steady.h"

/* Small shapes with odd edges: less than a row group, than a block, ragged units, several of
   each. */
static const unsigned shapes[][2] = {{48, 96},   {16, 32},  {80, 352}, {32, 1056},
                                     {112, 256}, {64, 640}, {176, 160}};
enum { SHAPES = sizeof shapes / sizeof *shapes };
static const unsigned batches[] = {1, 2, 3, 4, 5, 6, 7, 8, 16};
enum { BATCHES = sizeof batches / sizeof *batches, KIND_NAME = 96 };

/* One segment; the shape is the one of this turn, or the one that was wished for. */
static void single(qp_case_maker *m, qp_problem p, const qp_quantizer *q, const qp_family *f,
                   unsigned turn) {
  const unsigned *shape = shapes[turn % SHAPES];
  p.segments = 1;
  p.segment[0].quantizer = q;
  p.segment[0].rows = m->w->rows ? m->w->rows : shape[0];
  p.columns = m->w->columns ? m->w->columns : shape[1];
  qp_cases_push_default(m, &p, f);
}

/* The same, the shapes of families that compete in turn. */
static void single_in_turn(qp_case_maker *m, qp_problem p, const qp_quantizer *q,
                           const qp_family *f) {
  single(m, p, q, f, m->turn);
  m->turn += !f->reference;
}

/* Choose the batch of a quantizer in the family with this number, by turns.  Beyond the first
   family, whose tensor cores take 8 rows for one, a third have 3 to 8 rows in turn and the others 1
   or 2: the code grows with the rows, and what a quantizer adds to it does not. */
static unsigned batch_in_turn(const qp_quantizer *q, size_t number, qp_dtype type, size_t family) {
  if (!family) return batches[(number + type) % BATCHES];
  const bool many = number % 3 == 0 && q->kind != QP_SPLIT;
  return many ? 3 + (unsigned)(number / 3 + type) % 6 : 1 + (unsigned)number % 2;
}

/* Is the quantizer with this number the first of its kind? */
static bool is_first_of_kind(const qp_case_maker *m, size_t number) {
  char kind[KIND_NAME], before[KIND_NAME];
  qp_steady_kind(m->w->quantizer[number], kind, sizeof kind);
  for (size_t i = 0; i < number; i++) {
    qp_steady_kind(m->w->quantizer[i], before, sizeof before);
    if (!strcmp(kind, before)) return false;
  }
  return true;
}

/* Are those in turn one of each kind in all families?  Not where pairs of kinds are left out: they
   are checked elsewhere, and show each kind in all families. */
static bool is_in_all(const qp_case_maker *m, size_t number) {
  const bool elsewhere = m->w->singles == QP_SINGLES_TURN && m->w->no_pairs;
  return !elsewhere && is_first_of_kind(m, number);
}

/* Is it the turn of the quantizer with this number to be alone in dequant (0), or in the family of
   gemm that stands f-th among those that compete (f + 1)?  One decode function serves them all. */
static bool has_its_turn(const qp_case_maker *m, size_t number, size_t turn) {
  const qp_singles singles = m->w->singles;
  if (singles != QP_SINGLES_TURN) return singles == QP_SINGLES_EACH;
  return number % (1 + m->of[QP_OP_GEMM].usual) == turn || is_in_all(m, number);
}

/* Is the quantizer with this number alone in this family? Of a whole palette a reference has one
   quantizer of each kind: dequant and the families that compete have them all. */
static bool stands_alone(const qp_case_maker *m, size_t number, const qp_case_families *list,
                         size_t f) {
  if (list->family[f]->reference)
    return m->w->coverage != QP_COVER_SOME || m->w->quantizers <= QP_CASE_KINDS ||
           is_in_all(m, number);
  return has_its_turn(m, number, f + 1);
}

/* Each family at every batch, or at one that differs from family to family. */
static void each_gemm(qp_case_maker *m, const qp_quantizer *q, size_t number, qp_dtype type) {
  const qp_case_families *list = &m->of[QP_OP_GEMM];
  const bool every = m->w->coverage == QP_COVER_ALL;
  for (size_t b = 0; b < (every && !m->w->batch ? BATCHES : 1); b++)
    for (size_t f = 0; f < list->count; f++) {
      const unsigned batch = every ? batches[b] : batch_in_turn(q, number, type, f);
      if (!stands_alone(m, number, list, f)) continue;
      single_in_turn(m, qp_cases_problem(m, QP_OP_GEMM, type, batch), q, list->family[f]);
    }
}

/* Do two quantizers differ in how x is taken alone?  Kernels of the weights are the same then. */
static bool decode_alike(const qp_quantizer *a, const qp_quantizer *b) {
  if (a->kind == QP_SPLIT || a->kind != b->kind || a->step != b->step || a->dim != b->dim ||
      a->planes != b->planes || a->fields != b->fields || a->codebooks || b->codebooks ||
      a->group != b->group || a->sparse != b->sparse || a->decode->count != b->decode->count)
    return false;
  for (unsigned f = 0; f < a->fields; f++)
    if (a->field[f].type != b->field[f].type || a->field[f].size != b->field[f].size ||
        a->field[f].tensor != b->field[f].tensor)
      return false;
  return !memcmp(a->decode->node, b->decode->node, a->decode->count * sizeof *a->decode->node);
}

/* Of a whole palette one of those that decode alike stands for the others. */
static bool is_stood_for(const qp_case_maker *m, size_t number) {
  const qp_quantizer *q = m->w->quantizer[number];
  if (m->w->coverage != QP_COVER_SOME || m->w->quantizers <= QP_CASE_KINDS) return false;
  for (size_t i = 0; i < number; i++)
    if (decode_alike(m->w->quantizer[i], q)) return true;
  return false;
}

static void each_quantizer(qp_case_maker *m) {
  const qp_case_families *list = &m->of[QP_OP_DEQUANT];
  for (size_t i = 0; i < m->w->quantizers; i++) {
    if (is_stood_for(m, i)) continue;
    for (qp_dtype type = QP_F16; type <= QP_BF16; type++) {
      each_gemm(m, m->w->quantizer[i], i, type);
      for (size_t f = 0; f < list->count && has_its_turn(m, i, 0); f++)
        single_in_turn(m, qp_cases_problem(m, QP_OP_DEQUANT, type, 1), m->w->quantizer[i],
                       list->family[f]);
      if (m->w->coverage != QP_COVER_ALL) break;
    }
  }
}

/* Add three different quantizers in one launch: one, and two that stand at two thirds and one third
   of the way to it; outputs in fp32 for every second of them.  X has few rows, unless all is
   covered: how the work is divided does not hang on them. */
static void mixtures(qp_case_maker *m) {
  static const unsigned rows[] = {96, 16, 48};
  const bool all = m->w->coverage == QP_COVER_ALL;
  const size_t step = all ? 3 : 17;
  unsigned turn = 0;
  for (size_t i = 2; i < m->w->quantizers; i += step, turn++) {
    const size_t of[] = {i, i / 3, 2 * i / 3};
    qp_problem p = qp_cases_problem(m, QP_OP_GEMM, turn % 2 ? QP_BF16 : QP_F16,
                                    batches[turn % (all ? BATCHES : 4)]);
    p.segments = 3;
    for (unsigned s = 0; s < 3; s++) {
      p.segment[s].quantizer = m->w->quantizer[of[s]];
      p.segment[s].rows = m->w->rows ? m->w->rows : rows[s];
    }
    p.columns = m->w->columns ? m->w->columns : shapes[turn % SHAPES][1];
    if (turn % 2) p.out_type = QP_F32;
    qp_cases_push_in_turn(m, &p, turn);
    p.batch = 1;
    p.op = QP_OP_DEQUANT;
    qp_cases_push_each(m, &p);
  }
}

/* Equal quantizers fused: their row groups are one range of work. */
static void fused(qp_case_maker *m) {
  for (size_t i = 0; i < m->w->quantizers; i += m->w->coverage == QP_COVER_ALL ? 5 : 37) {
    qp_problem p = qp_cases_problem(m, QP_OP_GEMM, QP_F16, 1 + (unsigned)(i % 3));
    p.segments = 3;
    for (unsigned s = 0; s < 3; s++) {
      p.segment[s].quantizer = m->w->quantizer[i];
      p.segment[s].rows = m->w->rows ? m->w->rows : 48 + 64 * (s == 0);
    }
    p.columns = m->w->columns ? m->w->columns : 576;
    qp_cases_push_each(m, &p);
  }
}

static bool is_served(const qp_case_maker *m, const qp_problem *p) {
  const qp_case_families *list = &m->of[p->op];
  for (size_t i = 0; i < list->count; i++)
    if (qp_family_serves(list->family[i], p)) return true;
  return false;
}

/* A trellis with four sequences in flight, which a simulated block has done soon, and the sums of a
   few steps kept, so that others are made again. */
static void push_few_sequences(qp_case_maker *m, const qp_problem *p) {
  const qp_case_families *list = &m->of[p->op];
  for (size_t i = 0; i < list->count; i++) {
    qp_choice choice;
    if (!qp_family_serves(list->family[i], p)) continue;
    qp_choice_default(list->family[i], &choice);
    qp_choice_put(&choice, "pairs", 2);
    qp_choice_put(&choice, "keep", 16);
    qp_cases_push(m, p, &choice);
  }
}

enum { NAMED = 16 /* so many quantizers at most are meant by their names */ };

/* What encoders do: codes alone, in stages, by codebooks of rows, paths of a trellis, group fields
   with their codes. */
enum { ENCODES_CODES, ENCODES_STAGES, ENCODES_ROWS, ENCODES_TRELLIS, ENCODES_FIELDS, ENCODES };

static unsigned encodes(const qp_quantizer *q) {
  if (q->kind == QP_TRELLIS) return ENCODES_TRELLIS;
  if (q->fields) return ENCODES_FIELDS;
  for (unsigned c = 0; c < q->codebooks; c++)
    if (q->codebook[c].scope == QP_SCOPE_ROW) return ENCODES_ROWS;
  return q->window > QP_TRELLIS_WINDOW ? ENCODES_STAGES : ENCODES_CODES;
}

/* Say which kind of search group fields get, as a bit of 'met'. */
static unsigned field_search_of(const qp_quantizer *q, unsigned columns) {
  qp_field_table t;
  if (qp_is_sums(q)) return q->dim > 1 ? 1u << 29 : 1u << 30; /* of others no such number is met */
  if (qp_has_shapes(q)) return 1u << 31;
  if (qp_field_table_make(q, columns, false, &t, NULL)) return 0;
  return 1u << (t.grid + 2 * (t.few || t.nested) + 4 * t.flips + 8 * t.shifts + 16 * t.slices);
}

/* Columns of two groups of fields, or of one of several sizes, and a part of one. */
static unsigned columns_of_fields(const qp_quantizer *q) {
  const unsigned group = qp_nested_group(q), unit = qp_nested_unit(q, 2 * group);
  return (unit > 2 * group ? unit + (group > 32 ? group : 0) : 2 * group) / 32 * 32 + 32;
}

/* Few where a codebook is large. */
static unsigned columns_to_encode(const qp_quantizer *q) {
  enum { LARGE_BITS = 12 };
  if (q->fields) return columns_of_fields(q);
  return q->kind == QP_VECTOR && q->window > LARGE_BITS ? 32 : 64;
}

/* Add encoders: some of each kind, and of those with group fields one for each search.  Every
   thread meets every code: of a whole palette, unless all is covered, no large codebook, and
   trellises with few sequences at a time; codes in stages where few are named.  The last group of
   fields of a row is not whole. */
static void encoders(qp_case_maker *m) {
  enum { LARGE_BITS = 12, LARGE_BITS_OF_FIELDS = 10 };
  static const unsigned each_of[ENCODES] = {4, 1, 5, 13, 1}, each_of_all[ENCODES] = {1, 1, 1, 3, 1};
  const bool all = m->w->coverage == QP_COVER_ALL, few = !all && m->w->quantizers > QP_CASE_KINDS;
  unsigned met[ENCODES] = {0}, searches = 0;                 /* some of each are taken */
  if (m->w->ops && !(m->w->ops >> QP_OP_ENCODE & 1)) return; /* to tell, searches are made */
  for (size_t i = 0; i < m->w->quantizers; i++) {
    const qp_quantizer *q = m->w->quantizer[i];
    qp_problem p = qp_cases_problem(m, QP_OP_ENCODE, QP_F16, 1);
    p.segments = 1;
    p.segment[0].quantizer = q;
    const bool trellis = q->kind == QP_TRELLIS;
    const bool sums = !trellis && qp_is_sums(q); /* which look at few of their codes */
    const unsigned kind = encodes(q), large = q->fields ? LARGE_BITS_OF_FIELDS : LARGE_BITS;
    p.segment[0].rows = m->w->rows ? m->w->rows : 48;
    p.columns = m->w->columns ? m->w->columns : columns_to_encode(q);
    if (few && !trellis && !sums && q->window > large) continue;
    if (kind == ENCODES_STAGES && !all && m->w->quantizers > NAMED) continue;
    if (!is_served(m, &p)) continue;
    if (met[kind]++ % (all ? each_of_all : each_of)[kind]) continue;
    const unsigned search = kind == ENCODES_FIELDS ? field_search_of(q, p.columns) : 0;
    if (!all && searches & search) continue;
    searches |= search;
    if (trellis) push_few_sequences(m, &p);
    if (!few || !trellis) qp_cases_push_each(m, &p);
  }
}

/* Tell apart what is fed forward, and choose columns for it: trellises, codes alone, in rows or as
   vectors in several, fields that add up, of vectors, of scalars in one size, in several, of rows,
   whose sums of errors are a group's where rows are long. */
enum {
  FED_TRELLIS,
  FED_CODES,
  FED_VECTORS,
  FED_SUMS,
  FED_SHAPES,
  FED_FIELDS,
  FED_SIZES,
  FED_ROWS,
  FED_KINDS
};
static unsigned fed_kind(const qp_quantizer *q, unsigned *columns) {
  enum { USUAL = 96, LONG = 544, FEW = 32, LARGE_BITS = 12 };
  const bool fields = q->kind != QP_TRELLIS && q->fields;
  const unsigned group = fields ? qp_nested_group(q) : USUAL;
  const bool sizes = fields && qp_nested_unit(q, group) > group;
  const bool rows = fields && qp_nested_unit(q, LONG) >= LONG;
  *columns = rows ? LONG : sizes ? columns_of_fields(q) : USUAL;
  if (fields && qp_is_sums(q)) return FED_SUMS;
  if (fields && q->dim > 2) return FED_SHAPES;
  if (fields) return rows ? FED_ROWS : sizes ? FED_SIZES : FED_FIELDS;
  if (q->kind == QP_TRELLIS) return FED_TRELLIS;
  if (q->dim <= 2 || encodes(q) == ENCODES_ROWS) return FED_CODES;
  if (q->window > LARGE_BITS) *columns = FEW;
  return FED_VECTORS;
}

/* Add encoders that feed errors forward, of which a block takes what all lanes of 32 rows do: those
   named; of many the first of each kind, and only where the operation is asked for, or where all is
   covered some. */
static void fed_encoders(qp_case_maker *m) {
  enum { APART = 5 };
  const bool all = m->w->coverage == QP_COVER_ALL, few = !all && m->w->quantizers > NAMED;
  unsigned met[FED_KINDS] = {0};
  if (m->w->ops && !(m->w->ops >> QP_OP_ENCODE_FED & 1)) return;
  for (size_t i = 0; i < m->w->quantizers && !(few && !m->w->ops); i++) {
    qp_problem p = qp_cases_problem(m, QP_OP_ENCODE_FED, QP_F16, 1);
    const qp_quantizer *q = p.segment[0].quantizer = m->w->quantizer[i];
    p.segments = 1;
    p.segment[0].rows = m->w->rows ? m->w->rows : 16;
    const unsigned kind = fed_kind(q, &p.columns);
    if (m->w->columns) p.columns = m->w->columns;
    if (!is_served(m, &p)) continue;
    const unsigned nth = met[kind]++;
    if (!(few && nth) && nth % (all ? APART : 1) == 0) qp_cases_push_each(m, &p);
  }
}

/* Add the rotation inside the gemm. */
static void fused_rotations(qp_case_maker *m) {
  static const unsigned columns[] = {64, 576, 1152, 96, 1536, 4864, 4096};
  unsigned n = m->w->coverage == QP_COVER_ALL ? 7 : 3;
  for (unsigned i = 0; i < n && m->w->quantizers; i++) {
    qp_problem p = qp_cases_problem(m, QP_OP_GEMM, i % 2 ? QP_BF16 : QP_F16, 1 + i % 3);
    p.segments = 1;
    p.segment[0].quantizer = m->w->quantizer[i * 5 % m->w->quantizers];
    p.segment[0].rows = m->w->rows ? m->w->rows : 48;
    p.columns = m->w->columns ? m->w->columns : columns[i];
    p.rotate_fused = true;
    qp_cases_push_in_turn(m, &p, i);
  }
}

/* Add each value of each tunable, the others at their defaults. */
static void tunables(qp_case_maker *m, const qp_family *f, const qp_quantizer *q) {
  for (unsigned t = 0; t < f->tunables; t++)
    for (unsigned v = 1; v < f->tunable[t].values; v++) {
      qp_problem p = qp_cases_problem(m, f->op, QP_F16, 1 + (t + v) % 2);
      qp_choice choice;
      qp_choice_default(f, &choice);
      choice.value[t] = f->tunable[t].value[v];
      if (!strcmp(f->tunable[t].name, "atomic")) p.out_type = QP_F32;
      p.segments = 1;
      p.segment[0].quantizer = q;
      p.segment[0].rows = m->w->rows ? m->w->rows : 112;
      p.columns = m->w->columns ? m->w->columns : 1056;
      qp_cases_push(m, &p, &choice);
    }
}

/* Tries the tunables of the default gemm, and where all is covered those of every gemm and dequant.
   */
static void all_tunables(qp_case_maker *m) {
  const qp_case_families *gemm = &m->of[QP_OP_GEMM], *dequant = &m->of[QP_OP_DEQUANT];
  const bool all = m->w->coverage == QP_COVER_ALL;
  const size_t n = m->w->quantizers;
  for (size_t i = 0; i < (all ? 4 : 1) && i < n; i++) {
    const qp_quantizer *q = m->w->quantizer[(3 + 31 * i) % n];
    for (size_t f = 0; f < gemm->count && (all || !f); f++) tunables(m, gemm->family[f], q);
    for (size_t f = 0; f < dequant->count && all; f++) tunables(m, dequant->family[f], q);
  }
}

/* More batch rows than one tile of the tensor cores has, for families whose constraint lets
   them. */
static void large_batches(qp_case_maker *m) {
  static const unsigned large[] = {12, 24, 32, 64};
  const qp_case_families *list = &m->of[QP_OP_GEMM];
  if (m->w->batch) return;
  for (unsigned i = 0; i < 4 && m->w->quantizers; i++)
    for (size_t f = 0; f < list->usual; f++) {
      const qp_problem p = qp_cases_problem(m, QP_OP_GEMM, i % 2 ? QP_BF16 : QP_F16, large[i]);
      qp_choice choice;
      qp_error why;
      qp_choice_default(list->family[f], &choice);
      if (!qp_choice_check(m->families, &choice, &p, &why))
        single(m, p, m->w->quantizer[i * 7 % m->w->quantizers], list->family[f], i);
    }
}

/* Add rows that are fetched by their numbers, with a quantizer of every kind or with all.  Shape
   and type hang on the quantizer, as in the steady state. */
static void gather(qp_case_maker *m, const qp_quantizer *q, qp_dtype type) {
  static const unsigned columns[] = {576, 96, 1152, 640, 352, 1056, 2048};
  const qp_case_families *list = &m->of[QP_OP_GATHER];
  const unsigned turn = q->step + q->dim;
  qp_problem p = qp_cases_problem(m, QP_OP_GATHER, type, 11);
  if (turn % 2) p.sm_count = 3; /* a block takes ids in turn */
  p.segments = 1;
  p.segment[0].quantizer = q;
  p.segment[0].rows = m->w->rows ? m->w->rows : turn % 3 ? 80 : 48;
  p.columns = m->w->columns ? m->w->columns : columns[turn % (sizeof columns / sizeof *columns)];
  for (size_t f = 0; f < list->count; f++) qp_cases_push_default(m, &p, list->family[f]);
}

static void gathers(qp_case_maker *m) {
  const qp_quantizer *first[QP_CASE_KINDS];
  const unsigned kinds = qp_cases_first_of_kinds(m, first);
  const bool all = m->w->coverage == QP_COVER_ALL;
  for (unsigned i = 0; i < kinds && !all; i++) {
    if (m->w->coverage == QP_COVER_FEW && i) break;
    gather(m, first[i], (first[i]->step + first[i]->dim) % 3 == 1 ? QP_BF16 : QP_F16);
  }
  for (size_t i = 0; i < m->w->quantizers && all; i++)
    for (qp_dtype type = QP_F16; type <= QP_BF16; type++) gather(m, m->w->quantizer[i], type);
}

/* ---- What ranks share: pieces of K with streams of their own, H in diagonal blocks ---- */

/* A trellis, whose streams bite their tails, and a split, whose pieces have its parts each. */
static void pieces_of(qp_case_maker *m, const qp_quantizer *q, unsigned columns, unsigned pieces) {
  qp_problem p = qp_cases_problem(m, QP_OP_GEMM, QP_F16, 2);
  p.segments = 1;
  p.segment[0].quantizer = q;
  p.segment[0].rows = m->w->rows ? m->w->rows : 80;
  p.columns = columns;
  p.pieces = pieces;
  const qp_case_families *gemm = &m->of[QP_OP_GEMM];
  for (size_t f = 0; f < gemm->usual; f++) qp_cases_push_default(m, &p, gemm->family[f]);
  p.op = QP_OP_DEQUANT;
  qp_cases_push_each(m, &p);
  if (q->kind == QP_SPLIT || m->w->rows) return;
  p.op = QP_OP_EXPERTS; /* of three experts the first, which two of three tokens may go to */
  p.segment[0].rows = 96;
  p.experts = p.tile = 1;
  p.slices = 3;
  p.top_k = 2;
  qp_cases_push_in_turn(m, &p, 0);
}

static void pieces(qp_case_maker *m) {
  const qp_quantizer *first[QP_CASE_KINDS];
  const unsigned kinds = qp_cases_first_of_kinds(m, first);
  if (!kinds) return;
  pieces_of(m, qp_cases_first_chained(first, kinds, false), 576, 2);
  if (m->w->coverage == QP_COVER_FEW) return;
  const qp_quantizer *split = qp_cases_first_chained(first, kinds, true);
  if (split->kind == QP_SPLIT) pieces_of(m, split, 1056, 3);
}

/* The operations that rotate within their own kernel: a gemm that rotates X, and a gather. */
static void rotating_inside(qp_case_maker *m, unsigned columns, unsigned rotation) {
  static const qp_op ops[] = {QP_OP_GEMM, QP_OP_GATHER};
  for (unsigned i = 0; i < 2 && m->w->quantizers; i++) {
    qp_problem p = qp_cases_problem(m, ops[i], QP_F16, 2);
    p.segments = 1;
    p.segment[0].quantizer = m->w->quantizer[0];
    p.segment[0].rows = m->w->rows ? m->w->rows : 48;
    p.columns = columns;
    p.rotation = rotation;
    p.rotate_fused = ops[i] == QP_OP_GEMM;
    qp_cases_push_in_turn(m, &p, 0);
  }
}

/* Blocks of one base order and of none, forwards and back, with what stands before them. */
static void blocks(qp_case_maker *m) {
  static const unsigned of[][2] = {{576, 288}, {1024, 128}};
  for (unsigned i = 0; i < 2; i++)
    for (unsigned op = 0; op < QP_OP_COUNT; op++) {
      qp_problem p = qp_cases_problem(m, (qp_op)op, i ? QP_BF16 : QP_F16, 2);
      p.columns = of[i][0];
      p.rotation = of[i][1];
      if (!qp_op_rotates(p.op) || (i && m->w->coverage == QP_COVER_FEW)) continue;
      qp_cases_push_each(m, &p);
      p.inverse = qp_op_has_inverse(p.op);
      if (p.inverse && i) qp_cases_push_each(m, &p);
    }
  rotating_inside(m, 384, 96);
}

/* Add columns in an order of their own, and with scales, with H in blocks, whole, or none. */
static void sides(qp_case_maker *m) {
  static const unsigned side[] = {QP_SIDE_ORDER | QP_SIDE_SCALE, QP_SIDE_SCALE, QP_SIDE_ORDER};
  static const unsigned of[][2] = {{576, 0}, {384, 128}, {96, 1}};
  const unsigned n = m->w->coverage == QP_COVER_FEW ? 1 : 3;
  for (unsigned i = 0; i < n; i++)
    for (unsigned op = 0; op < QP_OP_COUNT; op++) {
      qp_problem p = qp_cases_problem(m, (qp_op)op, i % 2 ? QP_BF16 : QP_F16, 2);
      p.columns = of[i][0];
      p.rotation = of[i][1] | side[i];
      if (!qp_op_rotates(p.op)) continue;
      qp_cases_push_each(m, &p);
      p.inverse = qp_op_has_inverse(p.op);
      if (p.inverse && !i) qp_cases_push_each(m, &p);
    }
  rotating_inside(m, 96, 1 | side[0]);
}

static void list_families(qp_case_maker *m, qp_op op) {
  const qp_family *all[QP_MAX_FAMILIES];
  const size_t n = qp_families_of(m->families, op, NULL, true, all);
  const char *path = m->w->path, *name = m->w->family;
  qp_case_families *list = &m->of[op];
  for (size_t i = 0; i < n; i++) {
    if (path && *all[i]->path && strcmp(path, all[i]->path) != 0) continue;
    if (name && strcmp(name, all[i]->name) != 0) continue;
    list->family[list->count++] = all[i];
    if (!all[i]->reference) list->usual = list->count;
  }
}

/* ---- None ---- */

/* Parts of a split, each of which may have a kernel, by name. */
static qp_status fail_split(const qp_quantizer *q, const char *op, qp_error *err) {
  char parts[1024] = "";
  size_t used = 0;
  for (unsigned p = 0; p < q->parts && used < sizeof parts; p++)
    used += (size_t)snprintf(parts + used, sizeof parts - used, "%s%s", p ? " " : "",
                             q->part[p].quantizer->name);
  return qp_fail(err, QP_E_ARG,
                 "no kernel fits these options: %s is a split, whose parts are encoded one by one; "
                 "check --op %s of those: %s",
                 q->name, op, parts);
}

qp_status qp_cases_fail_none(qp_families *families, const qp_case_wishes *w, qp_error *err) {
  const uint32_t encoding = 1u << QP_OP_ENCODE | 1u << QP_OP_ENCODE_FED;
  const bool encodes = w->ops && !(w->ops & ~encoding) && w->quantizers;
  const qp_op op = w->ops >> QP_OP_ENCODE_FED & 1 ? QP_OP_ENCODE_FED : QP_OP_ENCODE;
  const qp_case_maker m = {.families = families, .w = w};
  qp_problem p = qp_cases_problem(&m, op, QP_F16, 1);
  qp_choice choice;
  qp_kernel kernel;
  qp_error why = {{0}};
  if (!encodes) return qp_fail(err, QP_E_ARG, "no kernel fits these options");
  const qp_quantizer *q = p.segment[0].quantizer = w->quantizer[0];
  if (q->kind == QP_SPLIT) return fail_split(q, qp_op_name(op), err);
  p.segments = 1;
  p.segment[0].rows = w->rows ? w->rows : 48;
  p.columns = w->columns ? w->columns : columns_to_encode(q);
  const qp_family *f =
      w->family ? qp_families_find(families, w->family) : qp_families_serving(families, &p, NULL);
  if (!f || f->op != op) return qp_fail(err, QP_E_ARG, "no kernel fits these options");
  qp_choice_default(f, &choice);
  if (!qp_kernel_make(families, &p, &choice, &kernel, &why)) {
    qp_kernel_free(&kernel);
    return qp_fail(err, QP_E_ARG, "no kernel fits these options");
  }
  return qp_fail(err, QP_E_ARG,
                 "no kernel fits these options: %s (--op %s); `qpal quantize` finds its codes on "
                 "the CPU, with --device, too",
                 why.text, qp_op_name(op));
}

qp_status qp_cases_make(qp_families *families, const qp_case_wishes *wishes, qp_cases *out,
                        qp_error *err) {
  qp_case_maker m = {.families = families, .w = wishes, .out = out};
  for (unsigned op = 0; op < QP_OP_COUNT; op++) list_families(&m, (qp_op)op);
  qp_cases_steady(&m);
  each_quantizer(&m);
  bool of_rotations = wishes->ops != 0;
  for (unsigned op = 0; op < QP_OP_COUNT; op++)
    of_rotations &= !(wishes->ops >> op & 1) || qp_op_rotates((qp_op)op);
  if ((!wishes->rows || of_rotations) && !wishes->batch) qp_cases_rotations(&m);
  qp_cases_pairs(&m);
  if (!wishes->batch) encoders(&m);
  if (!wishes->batch) fed_encoders(&m);
  if (!wishes->batch) gathers(&m);
  if (!wishes->rows && !wishes->batch) qp_cases_decoders(&m);
  if (!wishes->rows && !wishes->columns) qp_cases_routes(&m);
  qp_cases_experts(&m);
  if (!wishes->columns && !wishes->batch) pieces(&m), blocks(&m), sides(&m);
  if (!wishes->rows && !wishes->batch) qp_cases_combines(&m), qp_cases_plains(&m);
  if (!wishes->rows && !wishes->columns && !wishes->batch) qp_cases_others(&m);
  if (wishes->coverage != QP_COVER_FEW) {
    mixtures(&m);
    fused(&m);
    large_batches(&m);
    fused_rotations(&m);
    all_tunables(&m);
  }
  return m.failed ? qp_fail(err, QP_E_NOMEM, "no memory for the list of checks") : QP_OK;
}

void qp_cases_free(qp_cases *c) {
  free(c->list);
  *c = (qp_cases){0};
}
