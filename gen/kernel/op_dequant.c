/* SPDX-License-Identifier: MIT */
/* The row of dequant:  packed weights -> W^,  with a part of the grid for each stream. */
#include "gen/kernel/kernel.h"
#include "gen/kernel/kernel_op.h"

#define CONSTANTS(X)                                                                               \
  X(UNSIGNED, THREADS, k->block, "threads a block")                                                \
  X(UNSIGNED, WARPS, k->block / 32, "warps a block")                                               \
  X(UNSIGNED, K, k->problem.columns, "columns of W")                                               \
  X(UNSIGNED, BATCH, k->problem.batch, "not used")                                                 \
  X(UNSIGNED, STREAMS, k->streams, "streams of weights")                                           \
  X(UNSIGNED, SEGMENTS, k->problem.segments, "linears")                                            \
  X(UNSIGNED, PART_COUNT, k->parts, "rows of PARTS")                                               \
  X(UNSIGNED, STAGES, qp_choice_get(&k->choice, "stages"), "superblocks in flight a warp")         \
  X(FLAG, BF16, k->problem.type == QP_BF16, "W^ is bf16, else fp16")

/* Of part p, which decodes stream s. */
#define PART(X)                                                                                    \
  X(UNSIGNED, quantizer, p->lowered, "which of L0, L1, ... decodes it")                            \
  X(UNSIGNED, segment, s->segment, "of args.segment")                                              \
  X(UNSIGNED, stream, p->stream, "of args.stream")                                                 \
  X(UNSIGNED, block, p->block, "first of the grid")                                                \
  X(UNSIGNED, blocks, p->blocks, "how many")                                                       \
  X(UNSIGNED, rows, s->stream.rows, "M")                                                           \
  X(UNSIGNED, column, p->column, "first of W")                                                     \
  X(UNSIGNED, columns, p->columns, "count without padding")                                        \
  X(UNSIGNED, sparse, s->stream.sparse, "entries of a row")                                        \
  X(UNSIGNED, superblocks, p->total, "of a row group")                                             \
  X(UNSIGNED, units, p->total * p->row_groups, "superblocks of all row groups")

static const qp_named constant[] = {CONSTANTS(QP_NAMED)};
static const qp_named member[] = {PART(QP_NAMED)};
enum { MEMBERS = sizeof member / sizeof *member };
static const qp_struct structs[] = {{"Part", member, MEMBERS}, {0}};

static void values(const qp_kernel *k, unsigned *v) { CONSTANTS(QP_VALUE) }
static void part_values(const qp_part *p, const qp_kernel_stream *s, unsigned *v) { PART(QP_VALUE) }

static const qp_tunable_use tunable[] = {
    {"warps", 1, 32, QP_NEEDED, false, "warps a block"},
    {"blocks", 1, 32, QP_NEEDED, false, "blocks a multiprocessor"},
    {"stages", 1, 16, 1, false, "superblocks in flight a warp"},
    {"unfold", 0, 1, 0, false, "1: tables hold what follows the narrowest cut"},
    {"copies", 0, 32, 1, true, "copies of each table entry; 0: as many as fit"},
    {"mulshift", 0, 1, 0, false, "1: left shifts by multiplication"},
};

static qp_status add_parts(qp_text *t, const qp_kernel *k, qp_error *err) {
  (void)err;
  qp_text_struct(t, structs);
  qp_text_add(t, "static __constant__ constexpr Part PARTS[] = {\n");
  for (unsigned i = 0; i < k->parts; i++) {
    unsigned v[MEMBERS];
    part_values(&k->part[i], &k->stream[k->part[i].stream], v);
    qp_text_row(t, v, MEMBERS);
  }
  qp_text_add(t, "};\n");
  return QP_OK;
}

static qp_status add_dispatch(qp_text *t, const qp_kernel *k, qp_error *err) {
  (void)err;
  qp_text_dispatch(t, k->lowereds, "dequant_part", "PARTS[i], smem");
  return QP_OK;
}

const qp_kernel_op qp_op_dequant = {
    .op = QP_OP_DEQUANT,
    .form = "",
    .help = "parts of the grid decode streams with tables in shared memory",
    QP_OP_LIST(tunable, tunable),
    QP_OP_LIST(constant, constant),
    .values = values,
    .structs = structs,
    .check = qp_kernel_op_takes_all,
    .size = qp_partition_dequant,
    .hole = {QP_HOLES_OF_ALL, [QP_HOLE_stream] = qp_hole_text_stream,
             [QP_HOLE_quantizers] = qp_hole_text_quantizers, [QP_HOLE_parts] = add_parts,
             [QP_HOLE_dispatch] = add_dispatch},
};
