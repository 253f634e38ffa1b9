/* SPDX-License-Identifier: MIT */
/* What the partition of a launch makes warps go through, and shapes that make them go through
   all of it. */
#include "tuner/check/steady.h"

#include <stdio.h>
#include <string.h>

const char *qp_steady_help(unsigned bit) {
  static const char *const help[] = {
#define X(name, text) text,
      QP_STEADY(X)
#undef X
  };
  return bit < QP_STEADY_COUNT ? help[bit] : "?";
}

/* ---- Kinds ---- */

static const qp_quantizer *leaf(const qp_quantizer *q) {
  return q->kind == QP_SPLIT ? q->part[0].quantizer : q;
}

void qp_steady_kind(const qp_quantizer *q, char *to, size_t size) {
  static const char *const kinds[] = {"trellis", "vector", "scalar", "split"};
  const qp_quantizer *l = leaf(q);
  bool rows = false;
  for (unsigned b = 0; b < l->codebooks; b++) rows |= l->codebook[b].scope == QP_SCOPE_ROW;
  const bool computed = l->kind == QP_VECTOR && !l->codebooks && l->fields > 1; /* of several */
  const char *field = l->fields ? qp_field_row_of(l->field[0].type)->name : "";
  snprintf(to, size, "%s%s, %u a code%s%s%s%s%s%s%s", q->kind == QP_SPLIT ? "split " : "",
           kinds[l->kind], l->dim, computed ? ", computed" : "", l->planes ? ", planes" : "",
           rows ? ", codebooks of rows" : "", l->fields ? ", " : "", field,
           l->fields ? " fields" : "", l->sparse > 0 ? ", sparse" : "");
}

static bool same_kind(const qp_quantizer *a, const qp_quantizer *b) {
  char of_a[96], of_b[96];
  qp_steady_kind(a, of_a, sizeof of_a);
  qp_steady_kind(b, of_b, sizeof of_b);
  return !strcmp(of_a, of_b);
}

size_t qp_steady_first_of_kinds(const qp_quantizer **list, size_t count) {
  size_t kept = 0;
  for (size_t i = 0; i < count; i++) {
    size_t k = 0;
    while (k < kept && !same_kind(list[k], list[i])) k++;
    if (k == kept) list[kept++] = list[i];
  }
  return kept;
}

/* ---- What is met ---- */

static bool chained(const qp_quantizer *q) { return q->window > q->step; }

static unsigned segment_of(const qp_kernel *k, const qp_cluster *c, unsigned row_group) {
  unsigned s = c->segment, end = 0;
  for (;; s++) {
    end += (k->problem.segment[s].rows + QP_GROUP_ROWS - 1) / QP_GROUP_ROWS;
    if (row_group < end || s + 1 == c->segment + c->segments) return s;
  }
}

/* How many segments these row groups are of; gemm-glu's two take turns. */
static unsigned segments_of(const qp_kernel *k, const qp_cluster *c, unsigned first,
                            unsigned last) {
  if (k->problem.op == QP_OP_GEMM_GLU) return last > first ? 2 : 1;
  return segment_of(k, c, last) - segment_of(k, c, first) + 1;
}

/* Finds what a warp meets whose units are from .. from + n of a part. */
static unsigned warp_meets(const qp_kernel *k, const qp_part *p, unsigned from, unsigned n) {
  const qp_cluster *c = &k->cluster[p->cluster];
  const unsigned first = from / p->units, last = (from + n - 1) / p->units;
  const unsigned begins = from % p->units, stages = qp_choice_get(&k->choice, "stages");
  const unsigned segments = segments_of(k, c, first, last);
  unsigned met = 0;
  if (n >= 2 * stages + 1) met |= QP_STEADY_UNITS;
  if (begins && n > 1 && begins + 1 < p->units) met |= QP_STEADY_CARRY;
  if (begins && last > first && from + n > last * p->units + 1) met |= QP_STEADY_CARRY;
  if (last > first) met |= QP_STEADY_ROW_GROUP;
  if (segments > 1) met |= QP_STEADY_BORDER;
  if (segments > 2) met |= QP_STEADY_BORDERS;
  if (begins) met |= QP_STEADY_SHARED;
  if ((from + p->units - 1) / p->units * p->units + p->units <= from + n && c->parts == 1)
    met |= QP_STEADY_SOLE;
  return met;
}

/* Say what so many warps meet that divide units from 'from' on evenly. */
static unsigned warps_meet(const qp_kernel *k, const qp_part *p, unsigned from, unsigned units,
                           unsigned warps) {
  unsigned met = 0;
  for (unsigned w = 0; w < warps; w++) {
    const unsigned n = units / warps + (w < units % warps);
    if (n) met |= warp_meets(k, p, from, n);
    from += n;
  }
  return met;
}

/* Each block divides the units of its own row groups. */
static unsigned blocks_meet(const qp_kernel *k, const qp_part *p) {
  unsigned met = 0, from = 0;
  for (unsigned b = 0; b < p->blocks; b++) {
    const unsigned units = (p->share + (b < p->extra)) * p->units;
    met |= warps_meet(k, p, from, units, k->block / 32);
    from += units;
  }
  return met;
}

static bool is_owned(const qp_kernel *k) { return qp_choice_get(&k->choice, "owned") != 0; }

static unsigned gemm_part_meets(const qp_kernel *k, const qp_part *p) {
  const unsigned all = p->blocks * (k->block / 32);
  unsigned met =
      is_owned(k) ? blocks_meet(k, p) : warps_meet(k, p, 0, p->units * p->row_groups, all);
  if (p->first) met |= QP_STEADY_SLABS;
  if (p->count % k->runs) met |= QP_STEADY_RAGGED;
  if (p->blocks > 1 && met & QP_STEADY_UNITS) met |= QP_STEADY_BLOCKS;
  if (!chained(k->stream[p->stream].stream.quantizer)) met |= QP_STEADY_CARRY; /* it has none */
  return met;
}

static unsigned dequant_part_meets(const qp_kernel *k, const qp_part *p) {
  const unsigned warps = p->blocks * (k->block / 32), units = p->total * p->row_groups;
  const unsigned width = k->stream[p->stream].stream.period.blocks * QP_BLOCK_COLUMNS;
  unsigned met = 0;
  if (units > 2 * warps) met |= QP_STEADY_UNITS;
  if (p->total > 1) met |= QP_STEADY_CARRY;
  if (units > warps && p->row_groups > 1 && warps % p->total) met |= QP_STEADY_ROW_GROUP;
  if (p->columns < p->total * width) met |= QP_STEADY_RAGGED;
  return met;
}

unsigned qp_steady_met(const qp_kernel *k, const qp_quantizer *q) {
  unsigned met = 0, steady = 0;
  if (qp_op_rotates(k->problem.op)) return k->problem.batch > k->grid ? QP_STEADY_ROWS : 0;
  for (unsigned i = 0; i < k->parts; i++) {
    const qp_part *p = &k->part[i];
    const bool gemm = qp_op_multiplies(k->problem.op);
    const unsigned part = gemm ? gemm_part_meets(k, p) : dequant_part_meets(k, p);
    if (part & QP_STEADY_UNITS) steady |= 1u << p->cluster;
    if (k->problem.segment[k->stream[p->stream].segment].quantizer == q) met |= part;
  }
  if (met & QP_STEADY_UNITS && steady & (steady - 1)) met |= QP_STEADY_CLUSTERS;
  return met;
}

/* ---- Shapes ---- */

/* Odd numbers of superblocks: of 64 columns; of the halves of a split; of 320 columns too. */
static const unsigned columns[] = {416, 928, 1312, 2656};
/* From the third round on there are more rows than are wanted: a border between two warps moves. */
enum { COLUMNS = sizeof columns / sizeof *columns, ROUNDS = 6 };

/* Row groups of a cluster with which the first warp of each of its parts has 2 stages + 1 units. */
static unsigned row_groups_for(const qp_kernel *k, const qp_cluster *c) {
  const unsigned stages = qp_choice_get(&k->choice, "stages");
  unsigned most = 0;
  for (unsigned i = c->part; i < c->part + c->parts; i++) {
    const qp_part *p = &k->part[i];
    const unsigned dividers = is_owned(k) ? 1 : p->blocks;
    const unsigned units = dividers * (k->block / 32) * 2 * stages + 1;
    unsigned groups = (units + p->units - 1) / p->units;
    if (is_owned(k)) groups = (groups - 1) * p->blocks + 1; /* the first block has one more */
    if (groups > most) most = groups;
  }
  return most;
}

/* A dequant's warps take superblocks of a segment's parts in turn. */
static unsigned row_groups_for_dequant(const qp_kernel *k, unsigned segment) {
  unsigned most = 2;
  for (unsigned i = 0; i < k->parts; i++) {
    const qp_part *p = &k->part[i];
    if (k->stream[p->stream].segment != segment) continue;
    const unsigned groups = (2 * p->blocks * (k->block / 32) + p->total) / p->total;
    if (groups > most) most = groups;
  }
  return most;
}

/* A segment that is open takes the row groups that are wanting and some more, half a one less. */
static void give_rows(const qp_kernel *k, const bool *open, unsigned more, qp_problem *p) {
  for (unsigned i = 0; i < k->clusters; i++) {
    const qp_cluster *c = &k->cluster[i];
    const unsigned last = c->segment + c->segments - 1;
    const bool gemm = qp_op_multiplies(p->op);
    const unsigned wanted = gemm ? row_groups_for(k, c) : row_groups_for_dequant(k, last);
    unsigned given = 0;
    if (p->op == QP_OP_GEMM_GLU) {
      if (open[last])
        p->segment[0].rows = p->segment[1].rows = QP_GROUP_ROWS * ((wanted + 1) / 2) - 16;
      continue;
    }
    for (unsigned s = c->segment; s < last && gemm; s++)
      given += (p->segment[s].rows + QP_GROUP_ROWS - 1) / QP_GROUP_ROWS;
    if (open[last])
      p->segment[last].rows = QP_GROUP_ROWS * (more + (wanted > given ? wanted - given : 1)) - 16;
  }
}

/* Say what is asked of a launch for one of its quantizers. */
static unsigned asked_of(const qp_problem *p, const qp_quantizer *q) {
  const unsigned all = QP_STEADY_UNITS | QP_STEADY_CARRY | QP_STEADY_ROW_GROUP | QP_STEADY_RAGGED;
  unsigned segments = 0;
  if (p->op != QP_OP_GEMM) return qp_op_multiplies(p->op) ? all | QP_STEADY_SHARED : all;
  for (unsigned s = 0; s < p->segments; s++) segments += p->segment[s].quantizer == q;
  const bool borders = segments > 1 && qp_kernel_mergeable(q);
  return all | QP_STEADY_SHARED | (borders ? QP_STEADY_BORDER : 0);
}

static bool all_met(const qp_kernel *k) {
  for (unsigned s = 0; s < k->problem.segments; s++) {
    const qp_quantizer *q = k->problem.segment[s].quantizer;
    const unsigned asked = asked_of(&k->problem, q);
    if ((qp_steady_met(k, q) & asked) != asked) return false;
  }
  return true;
}

qp_status qp_steady_shape(qp_families *families, qp_problem *p, const qp_choice *choice,
                          qp_error *err) {
  bool open[QP_MAX_SEGMENTS] = {0};
  for (unsigned s = 0; s < p->segments; s++) open[s] = !p->segment[s].rows;
  for (unsigned i = 0; i < COLUMNS; i++) {
    qp_problem tried = *p;
    tried.columns = columns[i];
    for (unsigned s = 0; s < p->segments; s++)
      if (open[s]) tried.segment[s].rows = 16;
    for (unsigned round = 0; round < ROUNDS; round++) { /* rows may move blocks from part to part */
      qp_kernel k;
      const qp_status status = qp_kernel_make(families, &tried, choice, &k, err);
      if (status) return status;
      const bool done = all_met(&k);
      if (!done) give_rows(&k, open, round > 1 ? round - 1 : 0, &tried);
      qp_kernel_free(&k);
      if (!done) continue;
      *p = tried;
      return QP_OK;
    }
  }
  return qp_fail(err, QP_E_LIMIT, "%s: no shape was found whose warps reach their steady state",
                 choice->family->name);
}
