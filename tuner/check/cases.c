/* SPDX-License-Identifier: MIT */
/* What `qpal check` covers. */
#include "tuner/check/cases.h"

#include <stdlib.h>
#include <string.h>

#include "gen/kernel/kernel.h"
#include "tuner/check/routing.h"
#include "tuner/check/steady.h"

const unsigned qp_model_columns[] = {576,   640,   896,   960,   1024,  1152,  1536,  2048,  2304,
                                     2560,  3072,  3584,  3840,  4096,  4608,  4864,  5120,  5376,
                                     6144,  6912,  8192,  8960,  9216,  9728,  10240, 11008, 12288,
                                     13824, 14336, 15360, 17408, 17920, 18944, 21504, 25600, 27648,
                                     28672, 29568, 32768, 36864, 0};

/* Small shapes with odd edges: less than a row group, than a block, ragged units, several of
   each. */
static const unsigned shapes[][2] = {{48, 96},   {16, 32},  {80, 352}, {32, 1056},
                                     {112, 256}, {64, 640}, {176, 160}};
enum { SHAPES = sizeof shapes / sizeof *shapes };
static const unsigned batches[] = {1, 2, 3, 4, 5, 6, 7, 8, 16};
enum { BATCHES = sizeof batches / sizeof *batches };
enum { KINDS = 64, KIND_NAME = 96, ACTIVATIONS = 5 /* of gated linear units */ };

/* Families of one operation that the wishes let through: those that compete, then references. */
typedef struct family_list {
  const qp_family *family[QP_MAX_FAMILIES];
  size_t count, usual;
} family_list;

typedef struct maker {
  qp_families *families;
  family_list of[QP_OP_COUNT];
  const qp_case_wishes *w;
  qp_cases *out;
  bool failed;
  unsigned turn; /* rotates shapes and batches through the cases */
  bool met[QP_OP_COUNT]; /* operations that some list of cases is for */
} maker;

static void push(maker *m, const qp_problem *p, const qp_choice *choice) {
  const qp_case_wishes *w = m->w;
  m->met[p->op] = true;
  if (w->op >= 0 && ((qp_op)w->op != p->op) != w->without_op) return;
  if (w->type >= 0 && (qp_dtype)w->type != p->type) return;
  if (!qp_family_serves(choice->family, p)) return; /* an architecture without its instructions */
  qp_cases *c = m->out;
  if (c->count == c->capacity) {
    size_t capacity = c->capacity ? 2 * c->capacity : 256;
    qp_case *list = realloc(c->list, capacity * sizeof *list);
    if (!list) {
      m->failed = true;
      return;
    }
    c->list = list;
    c->capacity = capacity;
  }
  const bool turns = p->op == QP_OP_DEQUANT && p->rotation != 1;
  c->list[c->count++] = (qp_case){*p, *choice, w->unrotate && turns};
}

/* The family's defaults, where its kernels can do the problem. */
static void push_default(maker *m, const qp_problem *p, const qp_family *f) {
  qp_choice choice;
  if (!qp_family_serves(f, p)) return;
  qp_choice_default(f, &choice);
  push(m, p, &choice);
}

static void push_each(maker *m, const qp_problem *p) {
  const family_list *list = &m->of[p->op];
  for (size_t i = 0; i < list->count; i++) push_default(m, p, list->family[i]);
}

/* One of the families that compete, in turn, and every reference. */
static void push_in_turn(maker *m, const qp_problem *p, size_t turn) {
  const family_list *list = &m->of[p->op];
  if (list->usual) push_default(m, p, list->family[turn % list->usual]);
  for (size_t i = list->usual; i < list->count; i++) push_default(m, p, list->family[i]);
}

static qp_problem problem(const maker *m, qp_op op, qp_dtype type, unsigned batch) {
  return (qp_problem){.op = op,
                      .batch = m->w->batch && qp_op_multiplies(op) ? m->w->batch : batch,
                      .type = type,
                      .out_type = type,
                      .arch = m->w->arch,
                      .sm_count = m->w->sm_count};
}

/* One segment; the shape is the next in turn, or the one that was wished for. */
static void single(maker *m, qp_problem p, const qp_quantizer *q, const qp_family *f) {
  const unsigned *shape = shapes[m->turn % SHAPES];
  m->turn += !f->reference;
  p.segments = 1;
  p.segment[0].quantizer = q;
  p.segment[0].rows = m->w->rows ? m->w->rows : shape[0];
  p.columns = m->w->columns ? m->w->columns : shape[1];
  push_default(m, &p, f);
}

/* The batch of a quantizer in the family with this number, of the batches in turn. Beyond the
   first family, whose tensor cores take 8 rows for one, a third have 3 to 8 rows in turn and the
   others 1 or 2: the code grows with the rows, and what a quantizer adds to it does not. */
static unsigned batch_in_turn(const qp_quantizer *q, size_t number, qp_dtype type, size_t family) {
  if (!family) return batches[(number + type) % BATCHES];
  const bool many = number % 3 == 0 && q->kind != QP_SPLIT;
  return many ? 3 + (unsigned)(number / 3 + type) % 6 : 1 + (unsigned)number % 2;
}

/* Is the quantizer with this number the first of its kind? */
static bool is_first_of_kind(const maker *m, size_t number) {
  char kind[KIND_NAME], before[KIND_NAME];
  qp_steady_kind(m->w->quantizer[number], kind, sizeof kind);
  for (size_t i = 0; i < number; i++) {
    qp_steady_kind(m->w->quantizer[i], before, sizeof before);
    if (!strcmp(kind, before)) return false;
  }
  return true;
}

/* Is the quantizer with this number alone in this family? Of a whole palette a reference has one
   quantizer of each kind: dequant and the families that compete have them all. */
static bool stands_alone(const maker *m, size_t number, const family_list *list, size_t f) {
  const qp_singles singles = m->w->singles;
  if (list->family[f]->reference)
    return m->w->coverage != QP_COVER_SOME || m->w->quantizers <= KINDS ||
           is_first_of_kind(m, number);
  if (singles == QP_SINGLES_NONE) return false;
  return singles == QP_SINGLES_EACH || number % list->usual == f || is_first_of_kind(m, number);
}

/* Each family at every batch, or at one that differs from family to family. */
static void each_gemm(maker *m, const qp_quantizer *q, size_t number, qp_dtype type) {
  const family_list *list = &m->of[QP_OP_GEMM];
  const bool every = m->w->coverage == QP_COVER_ALL;
  for (size_t b = 0; b < (every && !m->w->batch ? BATCHES : 1); b++)
    for (size_t f = 0; f < list->count; f++) {
      const unsigned batch = every ? batches[b] : batch_in_turn(q, number, type, f);
      if (!stands_alone(m, number, list, f)) continue;
      single(m, problem(m, QP_OP_GEMM, type, batch), q, list->family[f]);
    }
}

static void each_quantizer(maker *m) {
  const family_list *list = &m->of[QP_OP_DEQUANT];
  const size_t dequants = m->w->singles == QP_SINGLES_NONE ? 0 : list->count;
  for (size_t i = 0; i < m->w->quantizers; i++)
    for (qp_dtype type = QP_F16; type <= QP_BF16; type++) {
      each_gemm(m, m->w->quantizer[i], i, type);
      for (size_t f = 0; f < dequants; f++)
        single(m, problem(m, QP_OP_DEQUANT, type, 1), m->w->quantizer[i], list->family[f]);
      if (m->w->coverage != QP_COVER_ALL) break;
    }
}

/* Three different quantizers in one launch; outputs in fp32 for every second of them. Few rows of
** X, unless all is covered: how the work is divided does not hang on them. */
static void mixtures(maker *m) {
  size_t n = m->w->quantizers, step = m->w->coverage == QP_COVER_ALL ? 3 : 17;
  if (n < 3) return;
  for (size_t i = 0; i < n; i += step, m->turn++) {
    const unsigned batch = batches[m->turn % (m->w->coverage == QP_COVER_ALL ? BATCHES : 4)];
    qp_problem p = problem(m, QP_OP_GEMM, i / step % 2 ? QP_BF16 : QP_F16, batch);
    static const unsigned rows[] = {96, 16, 48};
    p.segments = 3;
    for (unsigned s = 0; s < 3; s++) {
      p.segment[s].quantizer = m->w->quantizer[(i + s * (n / 3)) % n];
      p.segment[s].rows = m->w->rows ? m->w->rows : rows[s];
    }
    p.columns = m->w->columns ? m->w->columns : shapes[m->turn % SHAPES][1];
    if (i / step % 2) p.out_type = QP_F32;
    push_in_turn(m, &p, i);
    p.batch = 1;
    p.op = QP_OP_DEQUANT;
    push_each(m, &p);
  }
}

/* Equal quantizers fused: their row groups are one range of work. */
static void fused(maker *m) {
  for (size_t i = 0; i < m->w->quantizers; i += m->w->coverage == QP_COVER_ALL ? 5 : 37) {
    qp_problem p = problem(m, QP_OP_GEMM, QP_F16, 1 + (unsigned)(i % 3));
    p.segments = 3;
    for (unsigned s = 0; s < 3; s++) {
      p.segment[s].quantizer = m->w->quantizer[i];
      p.segment[s].rows = m->w->rows ? m->w->rows : 48 + 64 * (s == 0);
    }
    p.columns = m->w->columns ? m->w->columns : 576;
    push_each(m, &p);
  }
}

static bool can_encode(const maker *m, const qp_problem *p) {
  const family_list *list = &m->of[QP_OP_ENCODE];
  for (size_t i = 0; i < list->count; i++)
    if (qp_family_serves(list->family[i], p)) return true;
  return false;
}

/* A trellis with two sequences in flight, which a simulated block has done in half the time. */
static void push_two_sequences(maker *m, const qp_problem *p) {
  const family_list *list = &m->of[p->op];
  for (size_t i = 0; i < list->count; i++) {
    qp_choice choice;
    if (!qp_family_serves(list->family[i], p)) continue;
    qp_choice_default(list->family[i], &choice);
    qp_choice_put(&choice, "sequences", 2);
    push(m, p, &choice);
  }
}

/* Encoders: codes of every quantizer that has no fields, and trellises of each kind. Every thread
   meets every code: of a whole palette, unless all is covered, no large codebook, and trellises
   with few sequences at a time. */
static void encoders(maker *m) {
  enum { LARGE_BITS = 12 };
  const bool all = m->w->coverage == QP_COVER_ALL, few = !all && m->w->quantizers > KINDS;
  unsigned met[2] = {0}; /* quantizers by codes, and by trellis: some of each are taken */
  for (size_t i = 0; i < m->w->quantizers; i++) {
    const qp_quantizer *q = m->w->quantizer[i];
    qp_problem p = problem(m, QP_OP_ENCODE, QP_F16, 1);
    p.segments = 1;
    p.segment[0].quantizer = q;
    const bool trellis = q->kind == QP_TRELLIS;
    if (!can_encode(m, &p) || (few && !trellis && q->window > LARGE_BITS)) continue;
    if (met[trellis]++ % (trellis ? (all ? 3 : 13) : (all ? 1 : 4))) continue;
    p.segment[0].rows = m->w->rows ? m->w->rows : 48;
    p.columns = m->w->columns ? m->w->columns : 64;
    if (few && trellis)
      push_two_sequences(m, &p);
    else
      push_each(m, &p);
  }
}

/* Rows of a rotation: M of the shape that was wished for, as far as it is checked. */
static unsigned rows_wished(const maker *m, unsigned otherwise) {
  const unsigned rows = m->w->rows;
  return !rows ? otherwise : rows < QP_MAX_BATCH ? rows : QP_MAX_BATCH;
}

/* An operation without weights at one K, the i-th: rotations, their inverses. */
static void of_rows(maker *m, qp_op op, unsigned k, unsigned i, qp_dtype type) {
  const bool all = m->w->coverage == QP_COVER_ALL;
  qp_problem p = problem(m, op, type, rows_wished(m, all ? 2 : 1));
  p.columns = k;
  if (!all && i % 2) p.sm_count = 1, p.batch = 3; /* a block takes rows in turn */
  push_each(m, &p);
  p.inverse = true;
  if (qp_op_has_inverse(op) && (all || i % 3 == 0)) push_each(m, &p);
}

static bool has_prologue(qp_op op) { return qp_op_rotates(op) && op != QP_OP_ROTATE; }

/* Operations that read rows alone, at the K of models. */
static void rotations(maker *m) {
  const bool all = m->w->coverage == QP_COVER_ALL;
  const unsigned wished[] = {m->w->columns, 0}, *list = *wished ? wished : qp_model_columns;
  for (unsigned i = 0; list[i]; i++) {
    const unsigned k = list[i];
    if (!*wished && !all && k > 3072 && k != 11008 && k != 14336) continue;
    if (!*wished && m->w->coverage == QP_COVER_FEW && k != 576 && k != 1024) continue;
    for (qp_dtype type = QP_F16; type <= (all ? QP_BF16 : QP_F16); type++)
      for (unsigned op = 0; op < QP_OP_COUNT; op++)
        if (qp_op_rotates((qp_op)op) && !has_prologue((qp_op)op)) of_rows(m, (qp_op)op, k, i, type);
  }
}

/*
** Rotations with a prologue.  What comes with a launch turns with the seed, which rises from case
** to case, and a kernel does not hang on its number of rows: of each K as many cases as there are
** turns compile once.
*/
static void prologues(maker *m, qp_op op, qp_dtype type) {
  static const unsigned columns[] = {1536, 576, 1024, 14336}; /* a base, two, none, a large one */
  enum { TURNS = 2 * ACTIVATIONS };
  const bool all = m->w->coverage == QP_COVER_ALL;
  const unsigned wished[] = {m->w->columns, 0};
  const unsigned *k = *wished ? wished : all ? qp_model_columns : columns;
  const unsigned n = m->w->coverage == QP_COVER_FEW ? 1 : 4;
  for (unsigned i = 0; *wished || all ? k[i] != 0 : i < n; i++) {
    for (unsigned turn = 0; turn < (k[i] > 2048 ? 1 : TURNS); turn++) {
      qp_problem p = problem(m, op, type, rows_wished(m, 1 + turn % 3));
      p.columns = k[i];
      if (turn == TURNS - 1) p.sm_count = 1, p.batch = 3; /* a block takes rows in turn */
      if (turn == TURNS - 2 && k[i] < 1024 && !m->w->rows) p.batch = QP_MAX_BATCH;
      push_each(m, &p);
    }
  }
}

static void all_prologues(maker *m) {
  for (unsigned op = 0; op < QP_OP_COUNT; op++)
    for (qp_dtype type = QP_F16; type <= QP_BF16 && has_prologue((qp_op)op); type++)
      prologues(m, (qp_op)op, type);
}

/* The rotation inside the gemm. */
static void fused_rotations(maker *m) {
  static const unsigned columns[] = {64, 576, 1152, 96, 1536, 4864, 4096};
  unsigned n = m->w->coverage == QP_COVER_ALL ? 7 : 3;
  for (unsigned i = 0; i < n && m->w->quantizers; i++) {
    qp_problem p = problem(m, QP_OP_GEMM, i % 2 ? QP_BF16 : QP_F16, 1 + i % 3);
    p.segments = 1;
    p.segment[0].quantizer = m->w->quantizer[i * 5 % m->w->quantizers];
    p.segment[0].rows = m->w->rows ? m->w->rows : 48;
    p.columns = m->w->columns ? m->w->columns : columns[i];
    p.rotate_fused = true;
    push_in_turn(m, &p, i);
  }
}

/* Each value of each tunable, the others at their defaults. */
static void tunables(maker *m, const qp_family *f, const qp_quantizer *q) {
  for (unsigned t = 0; t < f->tunables; t++)
    for (unsigned v = 1; v < f->tunable[t].values; v++) {
      qp_problem p = problem(m, f->op, QP_F16, 1 + (t + v) % 2);
      qp_choice choice;
      qp_choice_default(f, &choice);
      choice.value[t] = f->tunable[t].value[v];
      if (!strcmp(f->tunable[t].name, "atomic")) p.out_type = QP_F32;
      p.segments = 1;
      p.segment[0].quantizer = q;
      p.segment[0].rows = m->w->rows ? m->w->rows : 112;
      p.columns = m->w->columns ? m->w->columns : 1056;
      push(m, &p, &choice);
    }
}

/* Of the default gemm; where all is covered, of every gemm and dequant. */
static void all_tunables(maker *m) {
  const family_list *gemm = &m->of[QP_OP_GEMM], *dequant = &m->of[QP_OP_DEQUANT];
  const bool all = m->w->coverage == QP_COVER_ALL;
  size_t n = m->w->quantizers;
  unsigned take = all ? 4 : 1;
  for (unsigned i = 0; i < take && i < n; i++) {
    const qp_quantizer *q = m->w->quantizer[(3 + i * n / take) % n];
    for (size_t f = 0; f < gemm->count && (all || !f); f++) tunables(m, gemm->family[f], q);
    for (size_t f = 0; f < dequant->count && all; f++) tunables(m, dequant->family[f], q);
  }
}

/* More batch rows than one tile of the tensor cores has, for families whose constraint lets
   them. */
static void large_batches(maker *m) {
  static const unsigned large[] = {12, 24, 32, 64};
  const family_list *list = &m->of[QP_OP_GEMM];
  if (m->w->batch) return;
  for (unsigned i = 0; i < 4 && m->w->quantizers; i++)
    for (size_t f = 0; f < list->usual; f++) {
      const qp_problem p = problem(m, QP_OP_GEMM, i % 2 ? QP_BF16 : QP_F16, large[i]);
      qp_choice choice;
      qp_error why;
      qp_choice_default(list->family[f], &choice);
      if (!qp_choice_check(m->families, &choice, &p, &why))
        single(m, p, m->w->quantizer[i * 7 % m->w->quantizers], list->family[f]);
    }
}

/* ---- The steady state: every kind of quantizer in every family, in pairs of two kinds ---- */

/* The first quantizer of each kind. */
static unsigned first_of_kinds(const maker *m, const qp_quantizer **first) {
  char names[KINDS][KIND_NAME];
  unsigned n = 0;
  for (size_t i = 0; i < m->w->quantizers && n < KINDS; i++) {
    unsigned known = 0;
    qp_steady_kind(m->w->quantizer[i], names[n], KIND_NAME);
    while (strcmp(names[known], names[n]) != 0) known++;
    if (known == n) first[n++] = m->w->quantizer[i];
  }
  return n;
}

static void set(qp_choice *c, const char *tunable) {
  qp_error none = {0};
  qp_choice_set(c, tunable, &none); /* where the family has it */
}

/* Where no shape is found (a wish, a limit of the architecture) there is no such case. */
static void push_steady(maker *m, qp_problem p, const qp_choice *c) {
  qp_error why = {0};
  if (m->w->columns || m->w->rows) return;
  if (!qp_steady_shape(m->families, &p, c, &why)) push(m, &p, c);
}

/* Segments of a, then of b: a warp goes from segment to segment of each. */
static void add_segments(qp_problem *p, const qp_quantizer *a, const qp_quantizer *b) {
  static const unsigned rows[] = {16, 32, 0, 48, 0};
  const bool alone = !qp_kernel_mergeable(a), both = !b || qp_kernel_mergeable(b);
  for (unsigned i = 0; i < 5; i++) {
    const bool last = rows[i] == 0;
    if (!last && !(i < 3 ? !alone : both)) continue; /* its cluster is a segment */
    if (i > 2 && !b) break;
    p->segment[p->segments].quantizer = i < 3 ? a : b;
    p->segment[p->segments++].rows = rows[i];
  }
}

/* Type and batch hang on the quantizer, so that a part of the palette is checked as the whole
   is. */
static void steady_pair(maker *m, const qp_family *f, const qp_quantizer *a,
                        const qp_quantizer *b) {
  const unsigned turn = a->step + a->dim;
  qp_problem p = problem(m, f->op, turn % 3 == 1 ? QP_BF16 : QP_F16, 1 + turn % 3);
  qp_choice c;
  qp_choice_default(f, &c);
  p.sm_count = 1;
  add_segments(&p, a, b);
  if (f->op == QP_OP_GEMM) {
    set(&c, "warps=8");
    set(&c, "runs=2");
    set(&c, "slabs=2");
  }
  push_steady(m, p, &c);
}

/* Blocks that share a part, and a warp that has a row group to itself; then sums by atomic adds. */
static void steady_sums(maker *m, const qp_family *f, const qp_quantizer *a,
                        const qp_quantizer *b) {
  qp_problem p = problem(m, f->op, QP_F16, 2);
  qp_choice c;
  qp_choice_default(f, &c);
  set(&c, "warps=8");
  add_segments(&p, a, NULL);
  p.sm_count = 3;
  push_steady(m, p, &c);
  p = problem(m, f->op, QP_BF16, 3);
  p.out_type = QP_F32;
  p.sm_count = 1;
  add_segments(&p, a, b);
  set(&c, "slabs=2");
  set(&c, "atomic=1");
  push_steady(m, p, &c);
}

/* Blocks that have whole row groups, not all as many, and warps that share them. */
static void steady_owned(maker *m, const qp_family *f, const qp_quantizer *q) {
  qp_problem p = problem(m, f->op, QP_F16, 3);
  qp_choice c;
  qp_choice_default(f, &c);
  set(&c, "warps=8");
  set(&c, "owned=1");
  add_segments(&p, q, NULL);
  p.sm_count = 3;
  push_steady(m, p, &c);
}

/* On a GPU: all its multiprocessors, each of whose warps goes around its ring. */
enum {
  GPU_MULTIPROCESSORS = 17
}; /* at least; the simulator poses with fewer unless told otherwise */
static void steady_device(maker *m, const qp_family *f, const qp_quantizer *q) {
  qp_problem p = problem(m, f->op, QP_F16, 1);
  qp_choice c;
  if (m->w->sm_count < GPU_MULTIPROCESSORS) return;
  qp_choice_default(f, &c);
  set(&c, "warps=8");
  add_segments(&p, q, NULL);
  push_steady(m, p, &c);
}

static const qp_quantizer *first_chained(const qp_quantizer *const *list, unsigned n, bool split) {
  for (unsigned i = 0; i < n; i++)
    if (split ? list[i]->kind == QP_SPLIT : list[i]->window > list[i]->step) return list[i];
  return n ? list[0] : NULL;
}

static void steady_state(maker *m) {
  const qp_quantizer *first[KINDS];
  const unsigned kinds = first_of_kinds(m, first);
  const family_list *gemm = &m->of[QP_OP_GEMM], *dequant = &m->of[QP_OP_DEQUANT];
  for (size_t i = 0; i < gemm->usual + dequant->usual; i++) {
    const qp_family *f = i < gemm->usual ? gemm->family[i] : dequant->family[i - gemm->usual];
    for (unsigned k = 0; k < kinds; k += 2)
      steady_pair(m, f, first[k], kinds > 1 ? first[(k + 1) % kinds] : NULL);
    if (f->op != QP_OP_GEMM || !kinds || m->w->coverage == QP_COVER_FEW) continue;
    steady_sums(m, f, first_chained(first, kinds, false), first_chained(first, kinds, true));
    steady_owned(m, f, first_chained(first, kinds, false));
    steady_device(m, f, first_chained(first, kinds, false));
  }
}

/* ---- Gated linear units behind a gemm ---- */

/* One gemm-glu of two linears of q; rows 0: as many as the steady state takes. */
static void pair(maker *m, const qp_family *f, qp_problem p, const qp_quantizer *q, unsigned rows) {
  qp_choice c;
  if (!qp_kernel_mergeable(q)) return;
  qp_choice_default(f, &c);
  p.segments = 2;
  for (unsigned s = 0; s < 2; s++) {
    p.segment[s].quantizer = q;
    p.segment[s].rows = m->w->rows ? m->w->rows : rows;
  }
  p.columns = m->w->columns ? m->w->columns : p.columns;
  if (rows) push(m, &p, &c);
  if (rows) return;
  set(&c, "warps=8");
  set(&c, "runs=2");
  set(&c, "slabs=2");
  push_steady(m, p, &c);
}

/*
** Up and gate.  Warps in the steady state, slabs, the parts of a split, several blocks; of the
** default family then as many launches of one kernel as there are activations, which turn with the
** seed, that rises from case to case, and whose last row group is half a one.
*/
static void pairs_by(maker *m, const qp_family *f, bool first, const qp_quantizer *plain,
                     const qp_quantizer *split) {
  qp_problem p = problem(m, f->op, QP_F16, 1);
  p.sm_count = 3;
  pair(m, f, p, split, 0);
  if (!first || m->w->coverage == QP_COVER_FEW) return;
  p = problem(m, f->op, QP_F16, 3);
  p.out_type = QP_F32;
  p.columns = 576;
  for (unsigned i = 0; i < ACTIVATIONS; i++) pair(m, f, p, plain, 80);
  p = problem(m, f->op, QP_BF16, 2);
  p.sm_count = 1;
  pair(m, f, p, plain, 0);
  p = problem(m, f->op, QP_F16, 12);
  p.columns = 96;
  p.rotate_fused = true;
  pair(m, f, p, plain, 48);
}

static void all_pairs(maker *m) {
  const family_list *list = &m->of[QP_OP_GEMM_GLU];
  const bool all = m->w->coverage == QP_COVER_ALL;
  const qp_quantizer *first[KINDS];
  const unsigned kinds = first_of_kinds(m, first);
  if (!kinds) return;
  for (size_t f = 0; f < list->count; f++) {
    pairs_by(m, list->family[f], !f, first_chained(first, kinds, false),
             first_chained(first, kinds, true));
    for (unsigned i = 0; i < kinds && all; i++)
      pair(m, list->family[f], problem(m, QP_OP_GEMM_GLU, QP_BF16, 1), first[i], 0);
  }
}

/* Rows by their numbers: of every kind of quantizer, or of all. Shape and type hang on the
   quantizer, as in the steady state. */
static void gather(maker *m, const qp_quantizer *q, qp_dtype type) {
  static const unsigned columns[] = {576, 96, 1152, 640, 352, 1056, 2048};
  const family_list *list = &m->of[QP_OP_GATHER];
  const unsigned turn = q->step + q->dim;
  qp_problem p = problem(m, QP_OP_GATHER, type, 11);
  if (turn % 2) p.sm_count = 3; /* a block takes ids in turn */
  p.segments = 1;
  p.segment[0].quantizer = q;
  p.segment[0].rows = m->w->rows ? m->w->rows : turn % 3 ? 80 : 48;
  p.columns = m->w->columns ? m->w->columns : columns[turn % (sizeof columns / sizeof *columns)];
  for (size_t f = 0; f < list->count; f++) push_default(m, &p, list->family[f]);
}

static void gathers(maker *m) {
  const qp_quantizer *first[KINDS];
  const unsigned kinds = first_of_kinds(m, first);
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
static void pieces_of(maker *m, const qp_quantizer *q, unsigned columns, unsigned pieces) {
  qp_problem p = problem(m, QP_OP_GEMM, QP_F16, 2);
  p.segments = 1;
  p.segment[0].quantizer = q;
  p.segment[0].rows = m->w->rows ? m->w->rows : 80;
  p.columns = columns;
  p.pieces = pieces;
  const family_list *gemm = &m->of[QP_OP_GEMM];
  for (size_t f = 0; f < gemm->usual; f++) push_default(m, &p, gemm->family[f]);
  p.op = QP_OP_DEQUANT;
  push_each(m, &p);
}

static void pieces(maker *m) {
  const qp_quantizer *first[KINDS];
  const unsigned kinds = first_of_kinds(m, first);
  if (!kinds) return;
  pieces_of(m, first_chained(first, kinds, false), 576, 2);
  if (m->w->coverage == QP_COVER_FEW) return;
  const qp_quantizer *split = first_chained(first, kinds, true);
  if (split->kind == QP_SPLIT) pieces_of(m, split, 1056, 3);
}

/* Blocks of one base order and of none, forwards and back, with what stands before them. */
static void blocks(maker *m) {
  static const unsigned of[][2] = {{576, 288}, {1024, 128}};
  for (unsigned i = 0; i < 2; i++)
    for (unsigned op = 0; op < QP_OP_COUNT; op++) {
      qp_problem p = problem(m, (qp_op)op, i ? QP_BF16 : QP_F16, 2);
      p.columns = of[i][0];
      p.rotation = of[i][1];
      if (!qp_op_rotates(p.op) || (i && m->w->coverage == QP_COVER_FEW)) continue;
      push_each(m, &p);
      p.inverse = qp_op_has_inverse(p.op);
      if (p.inverse && i) push_each(m, &p);
    }
  for (qp_op op = QP_OP_GEMM; op <= QP_OP_GATHER && m->w->quantizers; op++) {
    qp_problem p = problem(m, op, QP_F16, 2);
    p.segments = 1;
    p.segment[0].quantizer = m->w->quantizer[0];
    p.segment[0].rows = m->w->rows ? m->w->rows : 48;
    p.columns = 384;
    p.rotation = 96;
    p.rotate_fused = op == QP_OP_GEMM;
    if (op == QP_OP_GATHER || p.rotate_fused) push_in_turn(m, &p, 0);
  }
}

/*
** A router's choice, and stacks of experts: up and gate of two quantizers, or one alone.  Where
** tokens go turns with the seed, which rises from case to case: of each kernel there are as many
** cases as turns, and they compile once.  A block meets several tiles, and shares row groups with
** the next one.
*/
enum { ROUTING_TURNS = QP_ROUTING_COUNT };

typedef struct routed {
  unsigned batch, top_k, experts, tile;
} routed;

static void push_turns(maker *m, qp_problem p, const routed *r, const qp_choice *c) {
  p.batch = m->w->batch ? m->w->batch : r->batch;
  p.top_k = r->top_k;
  p.experts = r->experts;
  p.tile = r->tile < p.batch ? r->tile : p.batch;
  const unsigned turns = m->w->coverage == QP_COVER_FEW ? 1 : ROUTING_TURNS;
  for (unsigned turn = 0; turn < turns; turn++) push(m, &p, c);
}

static void routes(maker *m) {
  static const routed of[] = {{64, 16, 512, 8}, {8, 1, 1, 8}, {5, 3, 40, 2}, {1, 8, 128, 1}};
  const family_list *list = &m->of[QP_OP_ROUTE];
  const unsigned n = m->w->coverage == QP_COVER_FEW ? 1 : 4;
  for (size_t f = 0; f < list->count; f++)
    for (unsigned i = 0; i < n; i++) {
      qp_choice c;
      qp_choice_default(list->family[f], &c);
      push_turns(m, problem(m, QP_OP_ROUTE, QP_F16, 1), &of[i], &c);
    }
}

/* Warps have several row groups of a tile, share others, and blocks share some, too. Types and
   routing hang on the quantizer and the path. */
static void expert_pair(maker *m, const qp_quantizer *a, const qp_quantizer *b,
                        const qp_family *f) {
  static const routed of[] = {{20, 2, 3, 16}, {1, 3, 8, 1}, {4, 1, 1, 2}, {3, 2, 5, 8}};
  const unsigned turn = a->step + a->dim + f->rank;
  qp_problem p = problem(m, QP_OP_EXPERTS, turn % 3 == 1 ? QP_BF16 : QP_F16, 1);
  qp_choice c;
  qp_choice_default(f, &c);
  set(&c, "warps=8");
  p.out_type = turn % 2 ? QP_F32 : p.type;
  p.sm_count = 5;
  p.segments = b ? 2 : 1;
  p.segment[0].quantizer = a;
  p.segment[1].quantizer = b;
  p.segment[0].rows = m->w->rows ? m->w->rows : 416;
  p.segment[1].rows = m->w->rows ? m->w->rows : 32;
  p.columns = m->w->columns ? m->w->columns : a->kind == QP_SPLIT ? 640 : 320;
  push_turns(m, p, &of[a->kind == QP_SPLIT ? 0 : f->rank > 1 ? 1 : 2 + turn % 2], &c);
}

/* As many tokens, experts and choices as there can be: of each expert a few rows. */
static void most_experts(maker *m, const qp_quantizer *q, const qp_family *f) {
  static const routed most = {QP_MAX_BATCH, QP_MAX_TOP_K, QP_MAX_EXPERTS, 8};
  qp_problem p = problem(m, QP_OP_EXPERTS, QP_F16, 1);
  qp_choice c;
  if (m->w->rows || m->w->columns || m->w->batch) return;
  qp_choice_default(f, &c);
  p.sm_count = 3;
  p.segments = 1;
  p.segment[0].quantizer = q;
  p.segment[0].rows = 32;
  p.columns = 64;
  push_turns(m, p, &most, &c);
}

/* Pairs of kinds of quantizers, or by default a trellis and what follows it, a split alone, and the
   first two on another path. */
static void experts(maker *m) {
  const qp_quantizer *first[KINDS];
  const unsigned kinds = first_of_kinds(m, first);
  const family_list *list = &m->of[QP_OP_EXPERTS];
  const bool all = m->w->coverage == QP_COVER_ALL, few = m->w->coverage == QP_COVER_FEW;
  for (unsigned k = 0; k < kinds; k++)
    for (size_t f = 0; f < list->count; f++) {
      const qp_family *family = list->family[f];
      const bool alone = first[k]->kind == QP_SPLIT || kinds == 1;
      const bool chosen = family->rank > 1 ? !k
                          : first[k]->kind == QP_SPLIT
                              ? first[k] == first_chained(first, kinds, true) && !few
                              : first[k] == first_chained(first, kinds, false);
      const qp_quantizer *next = alone ? NULL : first[(k + 1) % kinds];
      if (all || chosen) expert_pair(m, first[k], next, family);
    }
  if (!few && kinds && list->count) most_experts(m, first[0], list->family[0]);
}

/* What stands between a decoder's linears: sizes of heads, and of rows of embeddings. What comes
   with a launch turns with the seed, as with prologues. */
static void decoders(maker *m) {
  static const unsigned columns[] = {32, 128, 96, 64, 256};
  const unsigned n = m->w->coverage == QP_COVER_FEW ? 1 : m->w->coverage == QP_COVER_ALL ? 5 : 3;
  for (qp_op op = QP_OP_ATTEND; op <= QP_OP_PICK; op++)
    for (unsigned i = 0; i < n; i++) {
      qp_problem p = problem(m, op, i % 2 ? QP_BF16 : QP_F16, 3 + i % 2);
      if (m->w->columns && columns[i] != m->w->columns) continue;
      p.columns = columns[i];
      if (i % 2) p.sm_count = 1; /* a block takes sequences in turn */
      for (unsigned turn = 0; turn < 2; turn++) push_each(m, &p);
    }
}

/* Sums over a token's experts. Whether there is a residual, and of what type X is, turns with the
   seed, the kernel does not hang on top_k. */
static void combines(maker *m) {
  static const unsigned columns[] = {96, 2880, 2048};
  enum { TURNS = 4 };
  const unsigned n = m->w->coverage == QP_COVER_FEW ? 1 : m->w->coverage == QP_COVER_ALL ? 3 : 2;
  for (unsigned i = 0; i < n; i++) {
    qp_problem p = problem(m, QP_OP_COMBINE, i % 2 ? QP_BF16 : QP_F16, i % 2 ? 3 : 17);
    p.columns = m->w->columns ? m->w->columns : columns[i];
    if (i % 2) p.sm_count = 1; /* a thread takes chunks in turn */
    for (unsigned turn = 0; turn < TURNS; turn++) push_each(m, &p);
    if (m->w->columns) break;
  }
}

/* Operations without weights that no list above is for: a new one is checked before it has any. */
static void others(maker *m) {
  for (unsigned op = 0; op < QP_OP_COUNT; op++)
    if (!m->met[op] && !qp_op_has_segments((qp_op)op))
      for (unsigned k = 576; k <= 1024; k += 448) of_rows(m, (qp_op)op, k, 0, QP_F16);
}

static void list_families(maker *m, qp_op op) {
  const qp_family *all[QP_MAX_FAMILIES];
  const size_t n = qp_families_of(m->families, op, NULL, true, all);
  const char *path = m->w->path, *name = m->w->family;
  family_list *list = &m->of[op];
  for (size_t i = 0; i < n; i++) {
    if (path && *all[i]->path && strcmp(path, all[i]->path) != 0) continue;
    if (name && strcmp(name, all[i]->name) != 0) continue;
    list->family[list->count++] = all[i];
    if (!all[i]->reference) list->usual = list->count;
  }
}

qp_status qp_cases_make(qp_families *families, const qp_case_wishes *wishes, qp_cases *out,
                        qp_error *err) {
  maker m = {.families = families, .w = wishes, .out = out};
  for (unsigned op = 0; op < QP_OP_COUNT; op++) list_families(&m, (qp_op)op);
  steady_state(&m);
  each_quantizer(&m);
  const bool of_rotations =
      wishes->op >= 0 && !wishes->without_op && qp_op_rotates((qp_op)wishes->op);
  if ((!wishes->rows || of_rotations) && !wishes->batch) rotations(&m), all_prologues(&m);
  all_pairs(&m);
  if (!wishes->batch) encoders(&m);
  if (!wishes->batch) gathers(&m);
  if (!wishes->rows && !wishes->batch) decoders(&m);
  if (!wishes->rows && !wishes->columns) routes(&m);
  experts(&m);
  if (!wishes->columns && !wishes->batch) pieces(&m), blocks(&m);
  if (!wishes->rows && !wishes->batch) combines(&m);
  if (!wishes->rows && !wishes->columns && !wishes->batch) others(&m);
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
