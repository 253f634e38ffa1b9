/* SPDX-License-Identifier: MIT */
/*
** The row of gemm's form "rows":  no division of the work, warps take rows of Y in turn; no
** lowering, quantizers decode as their specs say.  What is left is what a reader needs to see, and
** nothing that could be wrong in the same way as in gemm's parts.
*/
#include <stdlib.h>

#include "gen/kernel/kernel.h"
#include "gen/kernel/kernel_op.h"

#define CONSTANTS(X)                                                                               \
  X(UNSIGNED, THREADS, k->block, "threads a block")                                                \
  X(UNSIGNED, WARPS, k->block / 32, "warps a block")                                               \
  X(UNSIGNED, K, p->columns, "columns of W and X")                                                 \
  X(UNSIGNED, BATCH, p->batch, "rows of X and Y")                                                  \
  X(UNSIGNED, STREAMS, k->streams, "streams of weights")                                           \
  X(UNSIGNED, SEGMENTS, p->segments, "linears")                                                    \
  X(FLAG, BF16, p->type == QP_BF16, "X and biases are bf16, else fp16")                            \
  X(FLAG, OUT_F32, p->out_type == QP_F32, "Y and residuals are fp32, else X's type")

#define PIECE(X)                                                                                   \
  X(UNSIGNED, quantizer, s->lowered, "which of P0, P1, ... decodes it")                            \
  X(UNSIGNED, segment, s->segment, "of args.segment")                                              \
  X(UNSIGNED, column, s->column, "first of X and W")                                               \
  X(UNSIGNED, columns, s->stream.columns, "count without padding")                                 \
  X(UNSIGNED, superblocks, s->stream.superblocks, "of a row group")                                \
  X(UNSIGNED, groups, s->stream.groups, "column groups of the fields")

static const qp_named constant[] = {CONSTANTS(QP_NAMED)};
static const qp_named piece_member[] = {PIECE(QP_NAMED)};
enum { PIECE_MEMBERS = sizeof piece_member / sizeof *piece_member };
static const qp_struct structs[] = {{"Piece", piece_member, PIECE_MEMBERS}, {0}};

static void values(const qp_kernel *k, unsigned *v) {
  const qp_problem *p = &k->problem;
  CONSTANTS(QP_VALUE)
}
static void piece_values(const qp_kernel_stream *s, unsigned *v) { PIECE(QP_VALUE) }

static const qp_tunable_use tunable[] = {
    {"warps", 1, 32, QP_NEEDED, false, "warps a block"},
    {"blocks", 1, 32, QP_NEEDED, false, "blocks a multiprocessor"},
};

static qp_status check(const qp_problem *p, const char *family, qp_error *err) {
  if (!p->rotate_fused) return QP_OK;
  return qp_fail(err, QP_E_LIMIT, "%s does not rotate x; use the rotate operation first", family);
}

static qp_status size(qp_kernel *k, qp_error *err) {
  const qp_status status = qp_partition_streams(k, err);
  k->grid = k->problem.sm_count * qp_choice_get(&k->choice, "blocks");
  k->plain = k->lowereds;
  k->lowereds = 0; /* none is lowered */
  return status;
}

/* ---- Holes ---- */

/* A quantizer's decode function, then the struct that adds its layout. */
static qp_status add_quantizer(qp_text *t, const qp_quantizer *q, unsigned i, qp_error *err) {
  qp_period period;
  const qp_status status = qp_layout_period(q, &period, err);
  if (status) return status;
  const char name[] = {'Q', (char)('0' + i / 10), (char)('0' + i % 10), 0};
  char *decode = qp_plain_cuda(q, name);
  if (!decode) return qp_fail(err, QP_E_NOMEM, "%s: no memory for the decode's text", q->name);
  qp_text_add(t, "%s", decode);
  free(decode);
  qp_text_add(t,
              "struct P%u : %s {\n"
              "  static constexpr unsigned BLOCKS = %u, WORDS = %u, PLANES = %u, GROUP = %u;\n"
              "  static __device__ constexpr unsigned field_bits(unsigned f) {\n    return ",
              i, name, period.blocks, period.words, q->planes ? q->planes_read : 0,
              q->group ? q->group : 1);
  for (unsigned f = 0; f < q->fields; f++)
    qp_text_add(t, "f == %u ? %u : ", f, qp_field_bits(q->field[f].type));
  qp_text_add(t, "0;\n  }\n};\n");
  return QP_OK;
}

static qp_status add_quantizers(qp_text *t, const qp_kernel *k, qp_error *err) {
  qp_status status = QP_OK;
  for (unsigned i = 0; i < k->plain && !status; i++)
    status = add_quantizer(t, k->lowered[i].quantizer, i, err);
  return status;
}

static qp_status add_pieces(qp_text *t, const qp_kernel *k, qp_error *err) {
  unsigned v[QP_NAMED_MAX];
  (void)err;
  qp_text_add(t, "// A stream of weights: a column range of a segment.\n");
  qp_text_struct(t, structs);
  qp_text_add(t, "static __constant__ constexpr Piece PIECES[] = {\n");
  for (unsigned i = 0; i < k->streams; i++) {
    piece_values(&k->stream[i], v);
    qp_text_row(t, v, PIECE_MEMBERS);
  }
  qp_text_add(t, "};\nstatic __constant__ constexpr unsigned SEGMENT_ROWS[] = {");
  for (unsigned s = 0; s < k->problem.segments; s++)
    qp_text_add(t, "%s%u", s ? ", " : "", k->problem.segment[s].rows);
  qp_text_add(t, "};\n");
  return QP_OK;
}

static qp_status add_dispatch(qp_text *t, const qp_kernel *k, qp_error *err) {
  (void)err;
  for (unsigned i = 0; i < k->plain; i++)
    qp_text_add(t, "      if (PIECES[i].quantizer == %u) add_piece<P%u>(args, i, row, sum);\n", i,
                i);
  return QP_OK;
}

const qp_kernel_op qp_op_gemm_rows = {
    .op = QP_OP_GEMM,
    .form = "rows",
    .help = "warps take rows of Y in turn and decode as the spec says, without tables",
    .tunable = tunable,
    .tunables = sizeof tunable / sizeof *tunable,
    .constant = constant,
    .constants = sizeof constant / sizeof *constant,
    .values = values,
    .structs = structs,
    .check = check,
    .size = size,
    .hole = {QP_HOLES_OF_ALL, [QP_HOLE_stream] = qp_hole_text_stream,
             [QP_HOLE_quantizers] = add_quantizers, [QP_HOLE_parts] = add_pieces,
             [QP_HOLE_dispatch] = add_dispatch},
};
