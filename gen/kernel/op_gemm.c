/* SPDX-License-Identifier: MIT */
/*
** The rows of gemm and experts divide the grid into parts, each of which is a cluster of equal
** linears (or stacks of them) times a range of columns.
*/
#include <stdlib.h>

#include "runtime/arch.h"
#include "gen/kernel/expand.h"
#include "gen/kernel/kernel.h"
#include "gen/kernel/kernel_op.h"
#include "gen/kernel/rotation.h"

static bool ragged(const qp_kernel *k) {
  for (unsigned i = 0; i < k->parts; i++)
    if (k->part[i].count % k->runs) return true;
  return false;
}

#define SHARED(X)                                                                                  \
  X(UNSIGNED, THREADS, k->block, "threads a block")                                                \
  X(UNSIGNED, WARPS, k->block / 32, "warps a block")                                               \
  X(UNSIGNED, K, p->columns, "columns of W and X")                                                 \
  X(UNSIGNED, BATCH, k->x_batch, "rows of X and Y; experts: most assignments of a tile")           \
  X(UNSIGNED, STREAMS, k->streams, "streams of weights")                                           \
  X(UNSIGNED, SEGMENTS, p->segments, "linears")                                                    \
  X(UNSIGNED, PART_COUNT, k->parts, "rows of PARTS")                                               \
  X(UNSIGNED, RUNS, k->runs, "superblocks a unit of work")                                         \
  X(UNSIGNED, STAGES, qp_choice_get(c, "stages"), "units in flight a warp")                        \
  X(UNSIGNED, BLOCKS_A_SM, qp_choice_get(c, "blocks"), "blocks a multiprocessor")                  \
  X(UNSIGNED, X_ROWS, k->x_rows, "rows of X in shared memory, padding included")                   \
  X(UNSIGNED, X_STRIDE, k->x_stride_bytes, "bytes from row to row of it")                          \
  X(UNSIGNED, SCRATCH_OFFSET, k->scratch_offset,                                                   \
    "bytes to the fused rotation's scratch, then to sums that wait for other warps")               \
  X(UNSIGNED, SUMS_STRIDE, QP_SUMS_STRIDE, "floats from batch row to batch row of such sums")      \
  X(FLAG, BF16, p->type == QP_BF16, "X and biases are bf16, else fp16")                            \
  X(FLAG, OUT_F32, p->out_type == QP_F32, "Y and residuals are fp32, else X's type")               \
  X(FLAG, PDL, k->pdl, "programmatic dependent launch")                                            \
  X(FLAG, RAGGED, ragged(k), "some last unit has fewer superblocks")                               \
  X(FLAG, GLU, p->op == QP_OP_GEMM_GLU, "Y is of pairs of row groups, up's and gate's in turn")    \
  X(FLAG, X_BY_WARP, k->x_rows >= 4, "a warp stages a row of X, else the block does")

#define CONSTANTS(X)                                                                               \
  SHARED(X)                                                                                        \
  X(FLAG, ATOMIC, k->adds_to_zero, "sums are added to Y, which is zero")                           \
  X(FLAG, OWNED, qp_choice_get(c, "owned"), "blocks have whole row groups and add in themselves")  \
  X(FLAG, STAGED, qp_choice_get(c, "staged"), "further units are fetched behind the tables")       \
  X(FLAG, ROTATE, p->rotate_fused, "the kernel rotates X")

#define EXPERT_CONSTANTS(X)                                                                        \
  SHARED(X)                                                                                        \
  X(FLAG, GATED, qp_op_has_unit(p->op), "Y is of two stacks, up's and gate's")                     \
  X(UNSIGNED, GATED_SUMS, k->gated_sums, "floats of the workspace to sums that wait (GATED)")      \
  X(UNSIGNED, GATED_COUNTERS, k->gated_counters, "to counters of pairs of row groups (GATED)")

#define PART(X)                                                                                    \
  X(UNSIGNED, quantizer, p->lowered, "which of L0, L1, ... decodes it")                            \
  X(UNSIGNED, cluster, p->cluster, "of CLUSTERS")                                                  \
  X(UNSIGNED, block, p->block, "first of the grid")                                                \
  X(UNSIGNED, blocks, p->blocks, "how many")                                                       \
  X(UNSIGNED, column, p->column, "first of X")                                                     \
  X(UNSIGNED, columns, p->columns, "count without padding")                                        \
  X(UNSIGNED, first, p->first, "superblock of a row group that is this part's first")              \
  X(UNSIGNED, count, p->count, "superblocks of a row group that are this part's")                  \
  X(UNSIGNED, total, p->total, "superblocks of a row group")                                       \
  X(UNSIGNED, units, p->units, "units of a row group")                                             \
  X(UNSIGNED, row_groups, p->row_groups, "of the cluster")                                         \
  X(UNSIGNED, share, p->share, "units a warp; OWNED: row groups a block")                          \
  X(UNSIGNED, extra, p->extra, "first warps (OWNED: blocks) that have one more")                   \
  X(UNSIGNED, slot, p->slot, "of the workspace: slot + warp + row group")                          \
  X(UNSIGNED, sparse, p->sparse, "entries of a row of the stream")                                 \
  X(UNSIGNED, stream, p->stream, "of the cluster's first segment")                                 \
  X(UNSIGNED, stream_step, p->stream_step, "from segment to segment")

#define CLUSTER(X)                                                                                 \
  X(UNSIGNED, segment, c->segment, "first of args.segment")                                        \
  X(UNSIGNED, segments, c->segments, "how many")                                                   \
  X(UNSIGNED, part, c->part, "first of PARTS")                                                     \
  X(UNSIGNED, parts, c->parts, "how many")                                                         \
  X(UNSIGNED, counter, c->counter, "of its first row group, or pair of them (GLU)")

#define ROWS(X)                                                                                    \
  X(UNSIGNED, rows, rows, "M of a segment")                                                        \
  X(UNSIGNED, row_group, row_group, "its first row group in the cluster")

static const qp_named constant[] = {CONSTANTS(QP_NAMED)};
static const qp_named expert_constant[] = {EXPERT_CONSTANTS(QP_NAMED)};
static const qp_named part_member[] = {PART(QP_NAMED)};
static const qp_named cluster_member[] = {CLUSTER(QP_NAMED)};
static const qp_named rows_member[] = {ROWS(QP_NAMED)};
#define COUNT(list) (sizeof(list) / sizeof *(list))
static const qp_struct structs[] = {{"Part", part_member, COUNT(part_member)},
                                    {"Cluster", cluster_member, COUNT(cluster_member)},
                                    {"Rows", rows_member, COUNT(rows_member)},
                                    {0}};

static void values(const qp_kernel *k, unsigned *v) {
  const qp_problem *p = &k->problem;
  const qp_choice *c = &k->choice;
  CONSTANTS(QP_VALUE)
}
static void expert_values(const qp_kernel *k, unsigned *v) {
  const qp_problem *p = &k->problem;
  const qp_choice *c = &k->choice;
  EXPERT_CONSTANTS(QP_VALUE)
}
static void part_values(const qp_part *p, unsigned *v) { PART(QP_VALUE) }
static void cluster_values(const qp_cluster *c, unsigned *v) { CLUSTER(QP_VALUE) }
static void rows_values(unsigned rows, unsigned row_group, unsigned *v) { ROWS(QP_VALUE) }

#define TUNABLES                                                                                   \
  {"warps", 0, 32, QP_NEEDED, false, "warps a block; 0: C chooses 8 or 16"},                       \
      {"blocks", 1, 32, QP_NEEDED, false, "blocks a multiprocessor"},                              \
      {"runs", 0, 16, 0, false, "superblocks a unit of work; 0: C chooses 1, 2 or 4"},             \
      {"stages", 1, 16, 1, false, "units in flight a warp"},                                       \
      {"unfold", 0, 1, 0, false, "1: tables hold what follows the narrowest cut"},                 \
      {"copies", 0, 32, 1, true, "copies of each table entry; 0: as many as fit"},                 \
      {"pdl", 0, 1, 0, false, "1: programmatic dependent launch"},                                 \
      {"mulshift", 0, 1, 0, false, "1: left shifts by multiplication"},                            \
      {"slabs", 0, 64, 0, false, "slabs of K; 0: as few as X's room asks"}

static const qp_tunable_use expert_tunable[] = {TUNABLES};
static const qp_tunable_use tunable[] = {
    TUNABLES,
    {"atomic", 0, 1, 0, false, "1: sums are added to Y, which is zero before the launch"},
    {"owned", 0, 1, 0, false, "1: blocks have whole row groups and add in themselves"},
    {"staged", 0, 1, 0, false, "1: further units are fetched behind the tables"},
};

enum { SMALL_SMEM = 128 << 10 };

/* Sums of more than 4 rows of x and what decode holds need more than the 128 registers that 16
   warps leave to each thread. */
static void choose_warps(qp_kernel *k, unsigned rows_of_x) {
  if (k->block) return;
  qp_choice_put(&k->choice, "warps", rows_of_x > 4 ? 8 : 16);
  k->block = 32 * qp_choice_get(&k->choice, "warps");
}

static qp_status size(qp_kernel *k, qp_error *err) {
  choose_warps(k, k->problem.batch);
  return qp_partition_gemm(k, err);
}

static qp_status size_pairs(qp_kernel *k, qp_error *err) {
  if (!qp_choice_get(&k->choice, "owned") && !k->adds_to_zero) return size(k, err);
  return qp_fail(err, QP_E_LIMIT, "%s: sums of a pair of row groups meet in the workspace alone; "
                                  "'owned' and 'atomic' must be 0",
                 k->choice.family->name);
}

static qp_status takes_pairs(const qp_problem *p, const char *family, qp_error *err) {
  if (qp_kernel_mergeable(p->segment[0].quantizer)) return QP_OK;
  return qp_fail(err, QP_E_LIMIT,
                 "%s: up and gate are decoded by one table, and %s has a codebook of its own for "
                 "each linear",
                 family, p->segment[0].quantizer->name);
}

/* On tensor cores 16, but 8 where sums that wait for other warps (of a row group behind X, of one
   over it) would take what tables and X need: where shared memory is small, and in tiles of more
   than 8. */
static void choose_expert_warps(qp_kernel *k) {
  if (k->block || k->choice.family->x_tile == 1) return;
  const bool small = qp_arch_smem_bytes(k->problem.arch) < SMALL_SMEM;
  qp_choice_put(&k->choice, "warps", small || k->problem.tile > 8 ? 8 : 16);
  k->block = 32 * qp_choice_get(&k->choice, "warps");
}

static qp_status size_experts(qp_kernel *k, qp_error *err) {
  choose_expert_warps(k);
  choose_warps(k, k->problem.tile);
  return qp_partition_experts(k, err);
}

/* ---- Holes ---- */

static qp_status add_parts(qp_text *t, const qp_kernel *k, qp_error *err) {
  unsigned v[QP_NAMED_MAX];
  (void)err;
  for (const qp_struct *s = structs; s->name; s++) qp_text_struct(t, s);
  qp_text_add(t, "static __constant__ constexpr Part PARTS[] = {\n");
  for (unsigned i = 0; i < k->parts; i++) {
    part_values(&k->part[i], v);
    qp_text_row(t, v, COUNT(part_member));
  }
  qp_text_add(t, "};\nstatic __constant__ constexpr Cluster CLUSTERS[] = {\n");
  for (unsigned i = 0; i < k->clusters; i++) {
    cluster_values(&k->cluster[i], v);
    qp_text_row(t, v, COUNT(cluster_member));
  }
  qp_text_add(t, "};\nstatic __constant__ constexpr Rows SEGMENT_ROWS[] = {\n");
  for (unsigned i = 0, s = 0; i < k->clusters; i++)
    for (unsigned j = 0, at = 0; j < k->cluster[i].segments; j++, s++) {
      rows_values(k->problem.segment[s].rows, at, v);
      qp_text_row(t, v, COUNT(rows_member));
      at += (k->problem.segment[s].rows + 31) / 32;
    }
  qp_text_add(t, "};\n");
  return QP_OK;
}

static qp_status add_dispatch(qp_text *t, const qp_kernel *k, qp_error *err) {
  (void)err;
  qp_text_dispatch(t, k->lowereds, "gemm_part", "PARTS[i], CLUSTERS[PARTS[i].cluster], smem");
  return QP_OK;
}

/* The fused rotation's text: its template with its own constants, or a function that does
   nothing. */
static qp_status add_rotation(qp_text *t, const qp_kernel *k, qp_error *err) {
  if (!k->problem.rotate_fused) {
    qp_text_add(t, "__device__ __forceinline__ void rotate_x(const Args &, const Part &, unsigned, "
                   "void *, unsigned char *) {}\n");
    return QP_OK;
  }
  qp_hadamard h;
  qp_hadamard_factor_blocks(k->problem.columns, qp_side_block(k->problem.rotation), &h);
  char *constants = NULL, *text = NULL;
  qp_status status =
      qp_rotation_constants(&h, k->problem.rotation, k->block, false, &constants);
  if (status) return qp_fail(err, status, "no memory for the rotation's constants");
  qp_hole holes[] = {{"rotation_constants", constants}};
  status = qp_expand("templates/rotate_x.cuh.in", holes, 1, &text, err);
  if (!status) qp_text_add(t, "%s", text);
  free(text);
  free(constants);
  return status;
}

#define ROW(op_, check_, size_, help_)                                                             \
  {                                                                                                \
    .op = op_, .form = "", .help = help_, QP_OP_LIST(tunable, tunable),                            \
    QP_OP_LIST(constant, constant), .values = values, .structs = structs, .check = check_,         \
    .size = size_,                                                                                 \
    .hole = {QP_HOLES_OF_ALL, [QP_HOLE_stream] = qp_hole_text_stream,                              \
             [QP_HOLE_quantizers] = qp_hole_text_quantizers, [QP_HOLE_parts] = add_parts,          \
             [QP_HOLE_rotation] = add_rotation, [QP_HOLE_dispatch] = add_dispatch},                \
  }
const qp_kernel_op qp_op_gemm =
    ROW(QP_OP_GEMM, qp_kernel_op_takes_all, size,
        "parts of the grid share X in shared memory and decode with tables there");
const qp_kernel_op qp_op_gemm_glu =
    ROW(QP_OP_GEMM_GLU, takes_pairs, size_pairs,
        "gemm of up and gate, and the gated linear unit of both");

#define EXPERTS_ROW(op_, help_)                                                                    \
  {                                                                                                \
    .op = op_, .form = "", .help = help_, QP_OP_LIST(tunable, expert_tunable),                     \
    QP_OP_LIST(constant, expert_constant), .values = expert_values, .structs = structs,            \
    .check = qp_kernel_op_takes_all, .size = size_experts,                                         \
    .hole = {QP_HOLES_OF_ALL, [QP_HOLE_stream] = qp_hole_text_stream,                              \
             [QP_HOLE_quantizers] = qp_hole_text_quantizers, [QP_HOLE_parts] = add_parts,          \
             [QP_HOLE_dispatch] = add_dispatch},                                                   \
  }
const qp_kernel_op qp_op_experts =
    EXPERTS_ROW(QP_OP_EXPERTS,
                "parts of the grid divide the tiles of a routing, X of one tile in shared memory");
const qp_kernel_op qp_op_experts_glu =
    EXPERTS_ROW(QP_OP_EXPERTS_GLU,
                "experts of up's and gate's stacks, and the gated linear unit of both");
