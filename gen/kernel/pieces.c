/* SPDX-License-Identifier: MIT */
/* Writes the texts of templates that decode code by code:  streams, quantizers -> PIECES, P0, P1,
   ... */
#include "gen/kernel/pieces.h"

#include <stdlib.h>

#define PIECE(X)                                                                                   \
  X(UNSIGNED, quantizer, s->lowered, "which of P0, P1, ... decodes it")                            \
  X(UNSIGNED, segment, s->segment, "of args.segment")                                              \
  X(UNSIGNED, column, s->column, "first of X and W")                                               \
  X(UNSIGNED, columns, s->stream.columns, "count without padding")                                 \
  X(UNSIGNED, sparse, s->stream.sparse, "entries of a row")                                        \
  X(UNSIGNED, superblocks, s->stream.superblocks, "of a row group")

static const qp_named piece_member[] = {PIECE(QP_NAMED)};
enum { PIECE_MEMBERS = sizeof piece_member / sizeof *piece_member };
const qp_struct qp_pieces_structs[] = {{"Piece", piece_member, PIECE_MEMBERS}, {0}};

static void piece_values(const qp_kernel_stream *s, unsigned *v){PIECE(QP_VALUE)}

qp_status qp_pieces_size(qp_kernel *k, qp_error *err) {
  const qp_status status = qp_partition_streams(k, err);
  k->plain = k->lowereds;
  k->lowereds = 0; /* none is lowered */
  return status;
}

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
              "  static constexpr unsigned BLOCKS = %u, WORDS = %u, PLANES = %u;\n",
              i, name, period.blocks, period.words, q->planes ? q->planes_read : 0);
  qp_text_fields(t, q, period.blocks);
  qp_text_add(t, "};\n");
  return QP_OK;
}

qp_status qp_pieces_quantizers(qp_text *t, const qp_kernel *k, qp_error *err) {
  qp_status status = QP_OK;
  for (unsigned i = 0; i < k->plain && !status; i++)
    status = add_quantizer(t, k->lowered[i].quantizer, i, err);
  return status;
}

qp_status qp_pieces_parts(qp_text *t, const qp_kernel *k, qp_error *err) {
  unsigned v[QP_NAMED_MAX];
  (void)err;
  qp_text_add(t, "// A stream of weights: a column range of a segment.\n");
  qp_text_struct(t, qp_pieces_structs);
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

void qp_pieces_dispatch(qp_text *t, const qp_kernel *k, const char *function, const char *more) {
  for (unsigned i = 0; i < k->plain; i++)
    qp_text_add(t, "      if (PIECES[i].quantizer == %u) %s<P%u>(args, i, row, %s);\n", i, function,
                i, more);
}
