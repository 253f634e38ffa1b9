/* SPDX-License-Identifier: MIT */
/* Divides a launch's work:  segments -> clusters -> parts -> blocks and warps. */
#include <string.h>

#include "runtime/arch.h"
#include "gen/kernel/kernel.h"
#include "gen/kernel/rotation.h"
#include "runtime/routing.h"

enum {
  FEW_WORDS = 4, /* words of a lane in a superblock that count as few */
  FEW_OF_EXPERTS = 6,
  USUAL_WARPS = 16,
  SEVERAL = 4 /* units of a warp */
};

static unsigned align_up(unsigned n, unsigned to) { return (n + to - 1) / to * to; }

bool qp_kernel_mergeable(const qp_quantizer *q) {
  if (q->kind == QP_SPLIT) {
    for (unsigned i = 0; i < q->parts; i++)
      if (!qp_kernel_mergeable(q->part[i].quantizer)) return false;
    return true;
  }
  for (unsigned i = 0; i < q->codebooks; i++)
    if (q->codebook[i].scope == QP_SCOPE_TENSOR) return false;
  return true;
}

static unsigned find_lowered(qp_kernel *k, const qp_quantizer *q) {
  unsigned i = 0;
  while (i < k->lowereds && k->lowered[i].quantizer != q) i++;
  if (i == k->lowereds) k->lowered[k->lowereds++].quantizer = q; /* lowered later */
  return i;
}

/* Add the streams of each piece of K, and in each those of the parts of a split. */
static qp_status add_streams(qp_kernel *k, unsigned segment, qp_error *err) {
  const qp_problem *p = &k->problem;
  const qp_quantizer *q = p->segment[segment].quantizer;
  for (unsigned i = 0; i < qp_layout_ranges(q, p->pieces); i++) {
    const qp_range r = qp_layout_range(q, p->columns, p->pieces, i);
    if (!r.columns) continue;
    if (k->streams == QP_MAX_STREAMS)
      return qp_fail(err, QP_E_LIMIT, "more than %d streams of weights in one launch",
                     QP_MAX_STREAMS);
    qp_kernel_stream *s = &k->stream[k->streams];
    qp_status status = qp_layout_stream(r.quantizer, qp_problem_stream_rows(p, segment), r.columns,
                                        &s->stream, err);
    if (status) return status;
    s->segment = segment;
    s->column = r.column;
    s->lowered = find_lowered(k, r.quantizer);
    k->streams++;
  }
  return QP_OK;
}

/* Say how much of the room that is left X wants in shared memory: that of all its columns, but no
   more than a third of what it, tables and a stack's sums that wait have together, these counted
   with it; two thirds where batches are large and tables matter less. A stack's sums that lie over
   X need as much as those that wait behind it. */
static unsigned x_wish(const qp_kernel *k, unsigned room, unsigned waiting) {
  const unsigned want = k->x_rows * (align_up(k->problem.columns, 320) * 2 + 64);
  const unsigned all = room + waiting, share = k->x_rows > 8 ? all / 3 * 2 : all / 3;
  const unsigned least = room / 4;
  unsigned most = share > waiting ? share - waiting : 0;
  if (most < least) most = least;
  if (want < most) most = want;
  return most < waiting ? waiting : most;
}

static qp_status lower_all(qp_kernel *k, unsigned room, unsigned waiting, qp_error *err) {
  const qp_choice *c = &k->choice;
  unsigned copies = qp_choice_get(c, "copies"), spare = x_wish(k, room, waiting);
  qp_lower_options opt = {
      .bf16 = k->problem.type == QP_BF16,
      .form = qp_choice_get(c, "unfold") ? QP_TABLE_UNFOLDED : QP_TABLE_PLAIN,
      .copies = copies,
      .table_bytes_max = room > spare + 128 ? room - spare - 128 : 0,
      .unfold_bits_max = 12,
      .shift_by_multiply = qp_choice_get(c, "mulshift") != 0,
  };
  unsigned n = k->lowereds;
  k->lowereds = 0; /* what is complete, for qp_kernel_free */
  for (unsigned i = 0; i < n; i++) {
    const qp_quantizer *q = k->lowered[i].quantizer;
    qp_status status = qp_lower(q, &opt, &k->lowered[i], err);
    if (status == QP_E_LIMIT && opt.form == QP_TABLE_UNFOLDED) {
      opt.form = QP_TABLE_PLAIN; /* an unfolded table that has no room: the codebook itself */
      status = qp_lower(q, &opt, &k->lowered[i], err);
      opt.form = QP_TABLE_UNFOLDED;
    }
    if (status) return status;
    k->lowereds = i + 1;
    k->x_offset[i] = align_up(k->lowered[i].table_bytes, 128);
  }
  return QP_OK;
}

/* Divide one stream's superblocks into slabs whose X fits, and add a part for each. */
static qp_status add_slabs(qp_kernel *k, const qp_cluster *c, unsigned stream, unsigned room,
                           unsigned row_groups, qp_error *err) {
  const qp_kernel_stream *s = &k->stream[stream];
  unsigned runs = k->runs, slabs = qp_choice_get(&k->choice, "slabs");
  unsigned width = s->stream.period.blocks * QP_BLOCK_COLUMNS, offset = k->x_offset[s->lowered];
  unsigned pad = k->x_rows > 1 ? 64 : 0, all = s->stream.superblocks;
  unsigned units = (all + runs - 1) / runs;
  unsigned row_bytes = room > offset ? (room - offset) / k->x_rows : 0;
  unsigned fits = row_bytes > pad ? (row_bytes - pad) / (2 * width * runs) : 0;
  if (fits == 0)
    return qp_fail(err, QP_E_LIMIT,
                   "%s: tables of %u bytes leave no room for %u rows of X in %u bytes of shared "
                   "memory; try fewer copies",
                   s->stream.quantizer->name, offset, k->x_rows, room);
  unsigned least = (units + fits - 1) / fits;
  if (slabs < least) slabs = least;
  if (slabs > units) slabs = units;
  for (unsigned i = 0; i < slabs; i++) {
    if (k->parts == QP_MAX_KERNEL_PARTS)
      return qp_fail(err, QP_E_LIMIT, "more than %d parts in one launch", QP_MAX_KERNEL_PARTS);
    unsigned from = units * i / slabs, to = units * (i + 1) / slabs;
    unsigned end = to * runs < all ? to * runs : all;
    unsigned column = s->column + from * runs * width;
    unsigned columns = s->column + s->stream.columns - column;
    if (columns > (end - from * runs) * width) columns = (end - from * runs) * width;
    k->part[k->parts++] = (qp_part){
        .lowered = s->lowered,
        .cluster = (unsigned)(c - k->cluster),
        .stream = stream,
        .column = column,
        .columns = columns,
        .first = from * runs,
        .count = end - from * runs,
        .total = all,
        .units = to - from,
        .row_groups = row_groups,
        .sparse = s->stream.sparse,
    };
    unsigned stride = (end - from * runs) * width * 2 + pad;
    if (stride > k->x_stride_bytes) k->x_stride_bytes = stride;
  }
  return QP_OK;
}

/* Do blocks have whole row groups, whose sums their warps add in shared memory? */
static bool is_owned(const qp_kernel *k) { return qp_choice_get(&k->choice, "owned") != 0; }

/* Sums that wait for other warps of the block: of each warp those of a row group. */
static unsigned waiting_bytes(const qp_kernel *k) {
  return (k->block / 32) * k->x_batch * QP_SUMS_STRIDE * 4;
}
/* Where blocks have whole row groups those of two, one behind the other; of stacks those of one,
   the other's lie over X. */
static unsigned waiting_behind_x(const qp_kernel *k) {
  if (qp_op_multiplies_stacks(k->problem.op)) return waiting_bytes(k);
  return is_owned(k) ? 2 * waiting_bytes(k) : 0;
}
static unsigned waiting_over_x(const qp_kernel *k) {
  return qp_op_multiplies_stacks(k->problem.op) ? waiting_bytes(k) : 0;
}

/*
** Give each part one block, then every further block to the part with most work a block: that makes
** the longest part as short as can be.  Work of a superblock: its words and 8 more a block of 64
** columns for decoding (fitted to measured times of 2, 3 and 4 bits on an H100).
*/
static void assign_blocks(qp_kernel *k, unsigned blocks) {
  const bool owned = is_owned(k);
  double work[QP_MAX_KERNEL_PARTS];
  for (unsigned i = 0; i < k->parts; i++) {
    const qp_part *p = &k->part[i];
    const qp_period *period = &k->stream[p->stream].stream.period;
    work[i] = (double)p->count * p->row_groups * (period->words_read + 8 * period->blocks);
    k->part[i].blocks = 1;
  }
  for (unsigned left = blocks > k->parts ? blocks - k->parts : 0; left; left--) {
    unsigned most = k->parts;
    for (unsigned i = 0; i < k->parts; i++) {
      if (owned && k->part[i].blocks >= k->part[i].row_groups) continue;
      if (most == k->parts || work[i] * k->part[most].blocks > work[most] * k->part[i].blocks)
        most = i;
    }
    if (most == k->parts) break; /* every row group has a block of its own */
    k->part[most].blocks++;
  }
  unsigned at = 0;
  for (unsigned i = 0; i < k->parts; i++) {
    k->part[i].block = at;
    at += k->part[i].blocks;
  }
  k->grid = at;
}

/* Row groups over blocks: the kernel divides those of a block over its warps. */
static void assign_row_groups(qp_kernel *k) {
  for (unsigned i = 0; i < k->parts; i++) {
    k->part[i].share = k->part[i].row_groups / k->part[i].blocks;
    k->part[i].extra = k->part[i].row_groups % k->part[i].blocks;
  }
  k->counters = 0;
}

static void assign_warps(qp_kernel *k) {
  unsigned warps = k->block / 32, slot = 0;
  for (unsigned i = 0; i < k->parts; i++) {
    qp_part *p = &k->part[i];
    unsigned all = p->blocks * warps, units = p->units * p->row_groups;
    p->share = units / all;
    p->extra = units % all;
    p->slot = slot;
    slot += all + p->row_groups;
  }
  k->workspace_bytes = (size_t)slot * 32 * k->problem.batch * sizeof(float);
}

qp_status qp_partition_streams(qp_kernel *k, qp_error *err) {
  const qp_problem *p = &k->problem;
  for (unsigned s = 0; s < p->segments; s++) {
    const qp_quantizer *q = p->segment[s].quantizer;
    qp_cluster *last = k->clusters ? &k->cluster[k->clusters - 1] : NULL;
    if (last && p->segment[s - 1].quantizer == q && qp_kernel_mergeable(q))
      last->segments++;
    else
      k->cluster[k->clusters++] = (qp_cluster){.segment = s, .segments = 1};
    k->cluster[k->clusters - 1].row_groups += (p->segment[s].rows + 31) / 32;
    qp_status status = add_streams(k, s, err);
    if (status) return status;
  }
  return QP_OK;
}

/* Has the family this value of runs to give? */
static bool offers_runs(const qp_family *f, unsigned runs) {
  for (unsigned t = 0; t < f->tunables; t++)
    for (unsigned v = 0; v < f->tunable[t].values; v++)
      if (!strcmp(f->tunable[t].name, "runs") && f->tunable[t].value[v] == runs) return true;
  return false;
}

/*
** Superblocks a unit: one where some are longer than a block; else two; but four where all are of
** few words (2 bits a weight; of experts, whose units end with more to do, 3), of which two decode
** too little beside the end of a unit's own turn.
** Four only where row groups divide into such units and warps have several of them, so that they
** still come out even.
*/
static unsigned choose_runs(const qp_kernel *k) {
  const unsigned asked = qp_choice_get(&k->choice, "runs"), many = 4;
  uint64_t superblocks = 0;
  if (asked) return asked;
  const unsigned few = qp_op_multiplies_stacks(k->problem.op) ? FEW_OF_EXPERTS : FEW_WORDS;
  bool few_words = offers_runs(k->choice.family, many);
  for (unsigned i = 0; i < k->streams; i++) {
    const qp_stream *s = &k->stream[i].stream;
    if (s->period.blocks > 1) return 1;
    if (s->period.words > few || s->superblocks % many) few_words = false;
    superblocks += (uint64_t)s->row_groups * s->superblocks;
  }
  const unsigned warps = qp_choice_get(&k->choice, "warps");
  const uint64_t all_warps = (uint64_t)(warps ? warps : USUAL_WARPS) *
                             qp_choice_get(&k->choice, "blocks") * k->problem.sm_count;
  return few_words && superblocks >= SEVERAL * many * all_warps ? many : 2;
}

/* Rows of X in shared memory: a family that reads tiles of them gets whole tiles from one tile on;
   below it a lane whose row is not there reads another. */
static unsigned choose_x_rows(const qp_kernel *k) {
  const unsigned batch = k->x_batch, tile = k->choice.family->x_tile;
  return batch < tile ? batch : align_up(batch, tile);
}

/* Add the parts of each cluster: its column ranges, each in slabs. */
static qp_status add_parts(qp_kernel *k, unsigned room, qp_error *err) {
  qp_status status = QP_OK;
  for (unsigned i = 0, stream = 0; i < k->clusters && !status; i++) {
    qp_cluster *c = &k->cluster[i];
    unsigned ranges = 0;
    c->part = k->parts;
    c->counter = k->counters;
    k->counters += k->problem.op == QP_OP_GEMM_GLU ? c->row_groups / 2 : c->row_groups;
    while (stream + ranges < k->streams && k->stream[stream + ranges].segment == c->segment)
      ranges++;
    for (unsigned h = 0; h < ranges && !status; h++)
      status = add_slabs(k, c, stream + h, room, c->row_groups, err);
    c->parts = k->parts - c->part;
    if (!status && c->parts > 1 && is_owned(k))
      return qp_fail(err, QP_E_LIMIT,
                     "blocks have whole row groups only where one part has all columns; here there "
                     "are %u (of a split quantizer, or slabs of K)",
                     c->parts);
    for (unsigned q = c->part; q < k->parts; q++) k->part[q].stream_step = ranges;
    stream += ranges * c->segments;
  }
  return status;
}

/* Place tables, then X and what lies over it, then the scratch of a fused rotation or sums. */
static qp_status place_shared(qp_kernel *k, unsigned room, unsigned scratch, qp_error *err) {
  unsigned top = 0, x = k->x_rows * k->x_stride_bytes;
  for (unsigned i = 0; i < k->lowereds; i++)
    if (k->x_offset[i] > top) top = k->x_offset[i];
  if (x < waiting_over_x(k)) x = waiting_over_x(k);
  k->scratch_offset = align_up(top + x, 128);
  k->smem_bytes = k->scratch_offset + scratch;
  if (k->smem_bytes <= room + align_up(scratch, 128)) return QP_OK;
  return qp_fail(err, QP_E_LIMIT, "%u bytes of shared memory are needed, there are %u",
                 k->smem_bytes, room + scratch);
}

/* Lower the quantizers, make parts of what fits shared memory, and give them blocks. */
static qp_status partition_parts(qp_kernel *k, qp_error *err) {
  const qp_problem *p = &k->problem;
  qp_status status = qp_partition_streams(k, err);
  if (status) return status;
  k->x_rows = choose_x_rows(k);
  k->runs = choose_runs(k);
  qp_choice_put(&k->choice, "runs", k->runs);
  const unsigned resident = qp_choice_get(&k->choice, "blocks");
  unsigned room = qp_arch_smem_bytes(p->arch) / resident - (resident > 1 ? 1024 : 0);
  const unsigned rotation = p->rotate_fused ? qp_rotation_smem_bytes(p->columns) : 0;
  const unsigned waiting = waiting_behind_x(k), scratch = rotation > waiting ? rotation : waiting;
  if (waiting >= room)
    return qp_fail(err, QP_E_LIMIT,
                   "sums of %u batch rows that wait for other warps need %u bytes of shared "
                   "memory, there are %u",
                   k->x_batch, waiting, room);
  if (rotation >= room)
    return qp_fail(err, QP_E_LIMIT,
                   "a fused rotation of K = %u needs %u bytes of shared memory, "
                   "there are %u",
                   p->columns, rotation, room);
  room -= align_up(scratch, 128);
  status = lower_all(k, room, waiting_over_x(k), err);
  if (!status) status = add_parts(k, room, err);
  if (!status) status = place_shared(k, room, scratch, err);
  if (!status) assign_blocks(k, p->sm_count * resident);
  return status;
}

qp_status qp_partition_gemm(qp_kernel *k, qp_error *err) {
  k->x_batch = k->problem.batch;
  const qp_status status = partition_parts(k, err);
  if (status) return status;
  if (is_owned(k)) return assign_row_groups(k), QP_OK;
  assign_warps(k);
  if (k->adds_to_zero) k->workspace_bytes = 0, k->counters = 0;
  return QP_OK;
}

/* Add for up and gate, one behind the other, room for both sums of each assignment, and a counter
   for each row group of both in each tile. */
static void add_gated(qp_kernel *k, unsigned tiles) {
  const unsigned rows = k->problem.segment[0].rows;
  k->gated_sums = (unsigned)(k->workspace_bytes / sizeof(float));
  k->gated_counters = k->counters;
  k->workspace_bytes += 2 * sizeof(float) * rows * qp_problem_assignments(&k->problem);
  k->counters += tiles * (rows / 32);
}

/* Give each row group of each tile a counter, and slots for sums of row groups that blocks share:
   each part has two in a block, for that in which it begins and that in which it ends. */
qp_status qp_partition_experts(qp_kernel *k, qp_error *err) {
  const qp_problem *p = &k->problem;
  const unsigned tiles = qp_routing_tiles(qp_problem_assignments(p), p->experts, p->tile);
  unsigned slots = 0;
  k->x_batch = p->tile;
  const qp_status status = partition_parts(k, err);
  if (status) return status;
  for (unsigned i = 0; i < k->clusters; i++) k->cluster[i].counter *= tiles;
  k->counters *= tiles;
  for (unsigned i = 0; i < k->parts; i++) {
    qp_part *part = &k->part[i];
    part->slot = slots;
    slots += k->cluster[part->cluster].parts == 1 ? 2 * part->blocks
                                                  : part->blocks + tiles * part->row_groups;
  }
  k->workspace_bytes = (size_t)slots * 32 * p->tile * sizeof(float);
  if (p->op == QP_OP_EXPERTS_GLU) add_gated(k, tiles);
  return QP_OK;
}

qp_status qp_partition_dequant(qp_kernel *k, qp_error *err) {
  qp_status status = qp_partition_streams(k, err);
  if (!status) status = lower_all(k, qp_arch_smem_bytes(k->problem.arch), 0, err);
  if (status) return status;
  for (unsigned i = 0; i < k->streams; i++) {
    const qp_stream *s = &k->stream[i].stream;
    k->part[k->parts++] = (qp_part){
        .lowered = k->stream[i].lowered,
        .stream = i,
        .column = k->stream[i].column,
        .columns = s->columns,
        .count = s->superblocks,
        .total = s->superblocks,
        .row_groups = s->row_groups,
    };
    unsigned tables = k->lowered[k->stream[i].lowered].table_bytes;
    if (tables > k->smem_bytes) k->smem_bytes = tables;
  }
  assign_blocks(k, k->problem.sm_count * qp_choice_get(&k->choice, "blocks"));
  return QP_OK;
}
