/* SPDX-License-Identifier: MIT */
/* The rows that find codes of vectors: of those in stages, and of vectors with error feedback. */
#include <stdint.h>
#include <stdlib.h>

#include "gen/encode/trellis.h"
#include "gen/kernel/kernel.h"
#include "gen/kernel/kernel_op.h"
#include "gen/kernel/op_encode.h"

enum {
  WARP = QP_ENCODE_WARP,
  ROWS = QP_ENCODE_ROWS,
  FEW = 4,           /* columns of them that are coded together, where */
  OF_A_LANE = 16,    /* weights of a lane's there are whole vectors; */
  MOST_WEIGHTS = 160 /* else so many are looked for at once, for registers */
};

/* ---- Stages ---- */

static qp_status check_stages(const qp_problem *p, const char *family, qp_error *err) {
  const qp_quantizer *q = p->segment[0].quantizer;
  if (q->window <= QP_TRELLIS_WINDOW)
    return qp_encode_other_kind(p, family, "codes that are searched in stages", err);
  return qp_encode_check_vectors(p, family, err);
}

#define STAGES_CONSTANTS(X)                                                                        \
  X(UNSIGNED, THREADS, k->block, "threads a block")                                                \
  X(UNSIGNED, DIM, q->dim, "weights a code")                                                       \
  X(UNSIGNED, EACH, qp_choice_get(&k->choice, "each"), "targets a warp")

static const qp_named stages_constant[] = {STAGES_CONSTANTS(QP_NAMED)};

static void stages_values(const qp_kernel *k, unsigned *v) {
  const qp_quantizer *q = qp_encode_quantizer(k);
  STAGES_CONSTANTS(QP_VALUE)
}

static const qp_tunable_use stages_tunable[] = {
    {"warps", 1, 16, QP_NEEDED, false, "warps a block"},
    {"each", 1, 8, QP_NEEDED, false, "targets a warp"},
};

static qp_status size_stages(qp_kernel *k, qp_error *err) {
  (void)err;
  k->grid = 4 * k->problem.sm_count;
  return QP_OK;
}

const qp_kernel_op qp_op_encode_stages = {
    .op = QP_OP_ENCODE,
    .form = "stages",
    .help = "a beam through the stages of a code, whose words come through shared memory in pieces",
    QP_OP_LIST(tunable, stages_tunable),
    QP_OP_LIST(constant, stages_constant),
    .values = stages_values,
    .check = check_stages,
    .size = size_stages,
    .hole = {QP_HOLES_OF_ALL},
};

/* ---- With error feedback ---- */

static qp_status check_fed(const qp_problem *p, const char *family, qp_error *err) {
  const qp_quantizer *q = p->segment[0].quantizer;
  if (q->dim <= 2) return qp_encode_other_kind(p, family, "vectors of more than two weights", err);
  return qp_encode_check_vectors(p, family, err);
}

static qp_stream stream_of(const qp_kernel *k) { /* the check has seen that there is a layout */
  qp_stream s = {0};
  const qp_quantizer *q = qp_encode_quantizer(k);
  qp_layout_stream(q, k->problem.segment[0].rows, k->problem.columns, &s, NULL);
  return s;
}

static unsigned steps_of(const qp_kernel *k) {
  const qp_stream s = stream_of(k);
  return s.superblocks * s.period.steps;
}

/* Columns whose codes are found for targets of the same errors: as qp_coder_grain says. */
static unsigned grain_of(const qp_kernel *k) {
  const unsigned dim = qp_encode_quantizer(k)->dim;
  return OF_A_LANE % dim ? stream_of(k).period.blocks * QP_BLOCK_COLUMNS : FEW;
}

/* Vectors of these that are looked for at once. */
static unsigned vectors_of(const qp_kernel *k) {
  const unsigned dim = qp_encode_quantizer(k)->dim;
  unsigned n = ROWS;
  if (OF_A_LANE % dim == 0) return ROWS * FEW / dim;
  while (n * dim > MOST_WEIGHTS) n /= 2;
  return n;
}

#define FED_CONSTANTS(X)                                                                           \
  X(UNSIGNED, THREADS, k->block, "threads a block")                                                \
  X(UNSIGNED, K, k->problem.columns, "columns of the targets")                                     \
  X(UNSIGNED, DIM, q->dim, "weights a code")                                                       \
  X(UNSIGNED, GRAIN, grain_of(k), "columns that are coded for the same errors")                    \
  X(UNSIGNED, VECTORS, vectors_of(k), "codes that are looked for together")                        \
  X(UNSIGNED, STEPS, steps_of(k), "codes of a lane")                                               \
  X(FLAG, APART, q->sparse > 0, "some weights of a row come to their targets")

static const qp_named fed_constant[] = {FED_CONSTANTS(QP_NAMED)};

static void fed_values(const qp_kernel *k, unsigned *v) {
  const qp_quantizer *q = qp_encode_quantizer(k);
  FED_CONSTANTS(QP_VALUE)
}

static const qp_tunable_use fed_tunable[] = {QP_ENCODE_FED_WARPS};

/* Count bytes as the template's struct Shared has them. */
static qp_status size_fed(qp_kernel *k, qp_error *err) {
  enum { WIDE = 8, PIECE = 1024, PIECE_OF_WIDE = 512 };
  const unsigned dim = qp_encode_quantizer(k)->dim, vectors = vectors_of(k);
  const unsigned warps = k->block / WARP;
  if (vectors % warps)
    return qp_fail(err, QP_E_LIMIT, "%s: %u vectors at a time are not shared by %u warps",
                   qp_encode_quantizer(k)->name, vectors, warps);
  const unsigned piece = dim > WIDE ? PIECE_OF_WIDE : PIECE;
  k->grid = qp_encode_fed_grid(k, ROWS);
  k->smem_bytes = 4 * (piece * (1 + dim) + vectors * (dim + 1));
  return QP_OK;
}

/* The decode, and where each of its codebooks begins behind each other. */
static qp_status add_books(qp_text *t, const qp_kernel *k, qp_error *err) {
  const qp_quantizer *q = qp_encode_quantizer(k);
  const qp_status status = qp_encode_add_decode(t, k, err);
  if (status) return status;
  qp_text_add(t, "static __constant__ unsigned BOOK_AT[] = {");
  size_t at = 0;
  for (unsigned b = 0; b < QP_MAX_CODEBOOKS; b++) {
    qp_text_add(t, "%s%zu", b ? ", " : "", at);
    if (b < q->codebooks) at += (size_t)q->codebook[b].entries * q->codebook[b].dim;
  }
  qp_text_add(t, "};\n");
  return QP_OK;
}

const qp_kernel_op qp_op_encode_fed_vectors = {
    .op = QP_OP_ENCODE_FED,
    .form = "vectors",
    .help = "the nearest codewords of vectors, or codes in stages, four columns at a time or as "
            "many as have whole vectors, errors fed forward",
    QP_OP_LIST(tunable, fed_tunable),
    QP_OP_LIST(constant, fed_constant),
    .values = fed_values,
    .check = check_fed,
    .size = size_fed,
    .hole = {QP_HOLES_OF_ALL, [QP_HOLE_quantizers] = add_books},
};
