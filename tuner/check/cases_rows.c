/* SPDX-License-Identifier: MIT */
/* What `qpal check` covers of operations that read rows and no weights. */
#include "tuner/check/cases_make.h"

/* The K of the supported models' linears (Llama 2/3, Qwen 2.5/3, Mistral, Gemma 2/3, Phi-3,
   SmolLM2), ending with 0: every Hadamard order that rotations meet. */
static const unsigned model_columns[] = {
    576,   640,   896,   960,   1024,  1152,  1536,  2048,  2304,  2560,  3072,
    3584,  3840,  4096,  4608,  4864,  5120,  5376,  6144,  6912,  8192,  8960,
    9216,  9728,  10240, 11008, 12288, 13824, 14336, 15360, 17408, 17920, 18944,
    21504, 25600, 27648, 28672, 29568, 32768, 36864, 0};

/* Rows of a rotation: M of the shape that was wished for, as far as it is checked. */
static unsigned rows_wished(const qp_case_maker *m, unsigned otherwise) {
  const unsigned rows = m->w->rows;
  return !rows ? otherwise : rows < QP_MAX_BATCH ? rows : QP_MAX_BATCH;
}

/* Add an operation without weights at one K, the i-th: rotations and their inverses. */
static void of_rows(qp_case_maker *m, qp_op op, unsigned k, unsigned i, qp_dtype type) {
  const bool all = m->w->coverage == QP_COVER_ALL;
  qp_problem p = qp_cases_problem(m, op, type, rows_wished(m, all ? 2 : 1));
  p.columns = k;
  if (!all && i % 2) p.sm_count = 1, p.batch = 3; /* a block takes rows in turn */
  qp_cases_push_each(m, &p);
  p.inverse = true;
  if (qp_op_has_inverse(op) && (all || i % 3 == 0)) qp_cases_push_each(m, &p);
}

static bool has_prologue(qp_op op) { return qp_op_rotates(op) && op != QP_OP_ROTATE; }

/* Operations that read rows alone, at the K of models. */
static void plain_rotations(qp_case_maker *m) {
  const bool all = m->w->coverage == QP_COVER_ALL;
  const unsigned wished[] = {m->w->columns, 0}, *list = *wished ? wished : model_columns;
  for (unsigned i = 0; list[i]; i++) {
    const unsigned k = list[i];
    if (!*wished && !all && k > 3072 && k != 11008 && k != 14336) continue;
    if (!*wished && m->w->coverage == QP_COVER_FEW && k != 576 && k != 1024) continue;
    for (qp_dtype type = QP_F16; type <= (all ? QP_BF16 : QP_F16); type++)
      for (unsigned op = 0; op < QP_OP_COUNT; op++)
        if (qp_op_rotates((qp_op)op) && !has_prologue((qp_op)op)) of_rows(m, (qp_op)op, k, i, type);
  }
}

/* Let a block take three rows in turn: by more rows, which the same kernel takes, where the
   multiprocessors are few. */
static void take_in_turn(qp_problem *p) {
  enum { FEW = 8 };
  if (p->sm_count > FEW) p->sm_count = 1;
  p->batch = 2 * p->sm_count + 1;
}

/*
** Rotations with a prologue.  What comes with a launch turns with the seed, which rises from case
** to case, and a kernel does not hang on its number of rows: of each K as many cases as there are
** turns compile once.
*/
static void prologues(qp_case_maker *m, qp_op op, qp_dtype type) {
  static const unsigned columns[] = {1536, 576, 1024, 14336}; /* a base, two, none, a large one */
  enum { TURNS = 2 * QP_CASE_ACTIVATIONS };
  const bool all = m->w->coverage == QP_COVER_ALL;
  const unsigned wished[] = {m->w->columns, 0};
  const unsigned *k = *wished ? wished : all ? model_columns : columns;
  const unsigned n = m->w->coverage == QP_COVER_FEW ? 1 : 4;
  for (unsigned i = 0; *wished || all ? k[i] != 0 : i < n; i++) {
    for (unsigned turn = 0; turn < (k[i] > 2048 ? 1 : TURNS); turn++) {
      qp_problem p = qp_cases_problem(m, op, type, rows_wished(m, 1 + turn % 3));
      p.columns = k[i];
      if (turn == TURNS - 1) take_in_turn(&p);
      if (turn == TURNS - 2 && k[i] < 1024 && !m->w->rows) p.batch = QP_MAX_BATCH;
      qp_cases_push_each(m, &p);
    }
  }
}

void qp_cases_rotations(qp_case_maker *m) {
  plain_rotations(m);
  for (unsigned op = 0; op < QP_OP_COUNT; op++)
    for (qp_dtype type = QP_F16; type <= QP_BF16 && has_prologue((qp_op)op); type++)
      prologues(m, (qp_op)op, type);
}

/* Lists what stands between a decoder's linears, by sizes of heads and of rows of embeddings.  What
   comes with a launch turns with the seed, as with prologues. */
void qp_cases_decoders(qp_case_maker *m) {
  static const unsigned columns[] = {32, 128, 96, 64, 256};
  const unsigned n = m->w->coverage == QP_COVER_FEW ? 1 : m->w->coverage == QP_COVER_ALL ? 5 : 3;
  for (qp_op op = QP_OP_ATTEND; op <= QP_OP_PICK; op++)
    for (unsigned i = 0; i < n; i++) {
      qp_problem p = qp_cases_problem(m, op, i % 2 ? QP_BF16 : QP_F16, 3 + i % 2);
      if (m->w->columns && columns[i] != m->w->columns) continue;
      p.columns = columns[i];
      if (i % 2) p.sm_count = 1; /* a block takes sequences in turn */
      for (unsigned turn = 0; turn < 2; turn++) qp_cases_push_each(m, &p);
    }
}

/* An operation without weights at three numbers of columns: in turn in fp16 with rows[0] rows, and
   in bf16 with rows[1] on one multiprocessor, where each warp or thread takes work in turn.  What
   comes with a launch turns with the seed, so each is launched with several. */
static void push_columns(qp_case_maker *m, qp_op op, const unsigned columns[3],
                         const unsigned rows[2]) {
  enum { TURNS = 4 };
  const unsigned n = m->w->coverage == QP_COVER_FEW ? 1 : m->w->coverage == QP_COVER_ALL ? 3 : 2;
  for (unsigned i = 0; i < n; i++) {
    qp_problem p = qp_cases_problem(m, op, i % 2 ? QP_BF16 : QP_F16, rows[i % 2]);
    p.columns = m->w->columns ? m->w->columns : columns[i];
    if (i % 2) p.sm_count = 1;
    for (unsigned turn = 0; turn < TURNS; turn++) qp_cases_push_each(m, &p);
    if (m->w->columns) break;
  }
}

/* Sums over a token's experts.  Whether there is a residual, and of what type X is, turns with the
   seed; the kernel does not hang on top_k. */
void qp_cases_combines(qp_case_maker *m) {
  push_columns(m, QP_OP_COMBINE, (const unsigned[]){96, 2880, 2048}, (const unsigned[]){17, 3});
}

/* Linears in 16 bits: one K has fewer chunks than a warp, one more than a block, X' of one takes
   much of shared memory.  How many outputs there are, and the prologue, turn with the seed. */
void qp_cases_plains(qp_case_maker *m) {
  push_columns(m, QP_OP_PLAIN, (const unsigned[]){96, 2080, 8192}, (const unsigned[]){3, 1});
}

/* Operations without weights that no list above is for: a new one is checked before it has any. */
void qp_cases_others(qp_case_maker *m) {
  for (unsigned op = 0; op < QP_OP_COUNT; op++)
    if (!m->met[op] && !qp_op_has_segments((qp_op)op))
      for (unsigned k = 576; k <= 1024; k += 448) of_rows(m, (qp_op)op, k, 0, QP_F16);
}
