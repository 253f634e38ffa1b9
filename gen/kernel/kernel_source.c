/* SPDX-License-Identifier: MIT */
/* Kernel -> CUDA source: the text of a template's holes. */
#include <stdlib.h>
#include <string.h>

#include "gen/base/text.h"
#include "gen/kernel/expand.h"
#include "gen/kernel/kernel.h"
#include "gen/kernel/rotation.h"

static const char *yes(bool b) { return b ? "true" : "false"; }

void qp_kernel_header(qp_text *t, const qp_kernel *k) {
  const qp_problem *p = &k->problem;
  qp_text_add(t, "// %s\n// made from %s (%s)\n", k->name, k->choice.family->template_file,
              k->choice.family->file);
  for (unsigned s = 0; s < p->segments; s++) {
    const qp_quantizer *q = p->segment[s].quantizer;
    qp_text_add(t, "// segment %u: %u x %u, %s, %s:%d, hash %s\n", s + 1, p->segment[s].rows,
                p->columns, q->name, q->file, q->line_first, q->hash);
  }
  qp_text_add(t, "// launch: %u blocks of %u threads, %u bytes of dynamic shared memory\n", k->grid,
              k->block, k->smem_bytes);
}

static bool ragged(const qp_kernel *k, unsigned runs) {
  for (unsigned i = 0; i < k->parts; i++)
    if (k->part[i].count % runs) return true;
  return false;
}

static void add_constants(qp_text *t, const qp_kernel *k) {
  const qp_problem *p = &k->problem;
  const qp_choice *c = &k->choice;
  struct {
    const char *name;
    unsigned value;
  } numbers[] = {{"THREADS", k->block},
                 {"WARPS", k->block / 32},
                 {"K", p->columns},
                 {"BATCH", p->batch},
                 {"STREAMS", k->streams},
                 {"SEGMENTS", p->segments},
                 {"PART_COUNT", k->parts},
                 {"RUNS", k->runs},
                 {"STAGES", qp_choice_get(c, "stages")},
                 {"BLOCKS_A_SM", qp_choice_get(c, "blocks")},
                 {"X_ROWS", k->x_rows},
                 {"X_STRIDE", k->x_stride_bytes},
                 {"SCRATCH_OFFSET", k->scratch_offset}};
  unsigned n = p->op == QP_OP_GEMM ? sizeof numbers / sizeof *numbers : 7;
  for (unsigned i = 0; i < n; i++)
    qp_text_add(t, "constexpr unsigned %s = %u;\n", numbers[i].name, numbers[i].value);
  qp_text_add(t, "constexpr bool BF16 = %s;\n", yes(p->type == QP_BF16));
  if (p->op != QP_OP_GEMM) return;
  qp_text_add(t, "constexpr bool OUT_F32 = %s;\n", yes(p->out_type == QP_F32));
  qp_text_add(t, "constexpr bool ATOMIC = %s;\n", yes(k->adds_to_zero));
  qp_text_add(t, "constexpr bool STAGED = %s;\n", yes(qp_choice_get(c, "staged")));
  qp_text_add(t, "constexpr bool PDL = %s;\n", yes(k->pdl));
  qp_text_add(t, "constexpr bool ROTATE = %s;\n", yes(p->rotate_fused));
  qp_text_add(t, "constexpr bool RAGGED = %s;\n", yes(ragged(k, k->runs)));
  qp_text_add(t, "constexpr bool X_BY_WARP = %s;\n", yes(k->x_rows >= 4));
}

static qp_status add_quantizer(qp_text *t, const qp_kernel *k, unsigned i, qp_error *err) {
  const qp_lowered *l = &k->lowered[i];
  const qp_quantizer *q = l->quantizer;
  char name[8] = {'Q', (char)('0' + i / 10), (char)('0' + i % 10), 0};
  char *decode = qp_lowered_cuda(l, name);
  if (!decode) return qp_fail(err, QP_E_NOMEM, "%s: no memory for the decode's text", q->name);
  qp_text_add(t, "%s", decode);
  free(decode);
  qp_period period;
  qp_status st = qp_layout_period(q, &period, err);
  if (st) return st;
  unsigned row_codebook = 0, row_entries = 0;
  for (unsigned b = 0; b < q->codebooks; b++)
    if (q->codebook[b].scope == QP_SCOPE_ROW)
      row_codebook = b, row_entries = q->codebook[b].entries;
  qp_text_add(t,
              "struct L%u : %s {\n"
              "  static constexpr unsigned BLOCKS = %u, WORDS = %u, WORDS_READ = %u, PLANES = %u;\n"
              "  static constexpr unsigned GROUP = %u, ROW_CODEBOOK = %u, ROW_ENTRIES = %u;\n"
              "  static constexpr unsigned X_OFFSET = %u;\n"
              "  static __device__ constexpr unsigned field_bits(unsigned f) {\n"
              "    return ",
              i, name, period.blocks, period.words, period.words_read,
              q->planes ? q->planes_read : 0, q->group ? q->group : 64, row_codebook, row_entries,
              k->x_offset[i]);
  for (unsigned f = 0; f < q->fields; f++) {
    unsigned bits = q->field[f].type == QP_FIELD_F16 ? 16 : q->field[f].type == QP_FIELD_U8 ? 8 : 4;
    qp_text_add(t, "f == %u ? %u : ", f, bits);
  }
  qp_text_add(t, "0;\n  }\n};\n");
  return QP_OK;
}

static void add_gemm_parts(qp_text *t, const qp_kernel *k) {
  qp_text_add(t,
              "// quantizer, cluster, block, blocks, column, columns, first, count, total, units, "
              "row_groups,\n// share, extra, slot, stream, stream_step, groups\n"
              "static __constant__ constexpr Part PARTS[] = {\n");
  for (unsigned i = 0; i < k->parts; i++) {
    const qp_part *p = &k->part[i];
    qp_text_add(t, "  {%u, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u},\n",
                p->lowered, p->cluster, p->block, p->blocks, p->column, p->columns, p->first,
                p->count, p->total, p->units, p->row_groups, p->share, p->extra, p->slot, p->stream,
                p->stream_step, p->groups);
  }
  qp_text_add(t, "};\n// segment, segments, part, parts, counter\n"
                 "static __constant__ constexpr Cluster CLUSTERS[] = {\n");
  for (unsigned i = 0; i < k->clusters; i++) {
    const qp_cluster *c = &k->cluster[i];
    qp_text_add(t, "  {%u, %u, %u, %u, %u},\n", c->segment, c->segments, c->part, c->parts,
                c->counter);
  }
  qp_text_add(t, "};\nstatic __constant__ constexpr Rows SEGMENT_ROWS[] = {\n");
  for (unsigned i = 0, s = 0; i < k->clusters; i++)
    for (unsigned j = 0, at = 0; j < k->cluster[i].segments; j++, s++) {
      qp_text_add(t, "  {%u, %u},\n", k->problem.segment[s].rows, at);
      at += (k->problem.segment[s].rows + 31) / 32;
    }
  qp_text_add(t, "};\n");
}

static void add_dequant_parts(qp_text *t, const qp_kernel *k) {
  qp_text_add(t,
              "// quantizer, segment, stream, block, blocks, rows, column, columns, superblocks, "
              "groups, units\nstatic __constant__ constexpr Part PARTS[] = {\n");
  for (unsigned i = 0; i < k->parts; i++) {
    const qp_part *p = &k->part[i];
    const qp_kernel_stream *s = &k->stream[p->stream];
    qp_text_add(t, "  {%u, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u},\n", p->lowered, s->segment,
                p->stream, p->block, p->blocks, s->stream.rows, p->column, p->columns, p->total,
                p->groups, p->total * p->row_groups);
  }
  qp_text_add(t, "};\n");
}

static void add_dispatch(qp_text *t, const qp_kernel *k) {
  bool gemm = k->problem.op == QP_OP_GEMM;
  for (unsigned i = 0; i < k->lowereds; i++) {
    qp_text_add(t, "  ");
    if (i) qp_text_add(t, "else ");
    if (i + 1 < k->lowereds) qp_text_add(t, "if (PARTS[i].quantizer == %u) ", i);
    if (gemm)
      qp_text_add(t, "gemm_part<L%u>(args, PARTS[i], CLUSTERS[PARTS[i].cluster], smem);\n", i);
    else
      qp_text_add(t, "dequant_part<L%u>(args, PARTS[i], smem);\n", i);
  }
}

/* The fused rotation's text: its template with its own constants, or nothing. */
static qp_status add_rotation(qp_text *t, const qp_kernel *k, qp_error *err) {
  if (!k->problem.rotate_fused) {
    qp_text_add(t, "__device__ __forceinline__ void rotate_x(const Args &, const Part &, unsigned, "
                   "void *, unsigned char *) {}\n");
    return QP_OK;
  }
  qp_hadamard h;
  qp_hadamard_factor(k->problem.columns, &h);
  char *constants = NULL, *text = NULL;
  qp_status st = qp_rotation_constants(&h, k->block, false, &constants);
  if (st) return qp_fail(err, st, "no memory for the rotation's constants");
  qp_hole holes[] = {{"rotation_constants", constants}};
  st = qp_expand("templates/rotate_x.cuh.in", holes, 1, &text, err);
  if (!st) qp_text_add(t, "%s", text);
  free(text);
  free(constants);
  return st;
}

static qp_status rotate_source(qp_kernel *k, qp_error *err) {
  qp_hadamard h;
  qp_hadamard_factor(k->problem.columns, &h);
  char *rotation = NULL;
  qp_status st = qp_rotation_constants(&h, k->block, k->problem.inverse, &rotation);
  if (st) return qp_fail(err, st, "no memory for the rotation's constants");
  qp_text constants = {0}, header = {0};
  qp_kernel_header(&header, k);
  qp_text_add(&constants,
              "constexpr unsigned K = %u;\nconstexpr bool BF16 = %s;\nconstexpr bool PDL = %s;\n"
              "constexpr bool INVERSE = %s;\n%s",
              k->problem.columns, yes(k->problem.type == QP_BF16), yes(k->pdl),
              yes(k->problem.inverse), rotation);
  free(rotation);
  qp_hole holes[] = {{"header", header.s}, {"constants", constants.s}, {"name", k->name}};
  if (header.failed || constants.failed)
    st = qp_fail(err, QP_E_NOMEM, "no memory for the source");
  else
    st = qp_expand(k->choice.family->template_file, holes, 3, &k->source, err);
  qp_text_free(&header);
  qp_text_free(&constants);
  return st;
}

qp_status qp_kernel_source(qp_kernel *k, qp_error *err) {
  if (k->problem.op == QP_OP_ROTATE) return rotate_source(k, err);
  enum { HEADER, CONSTANTS, QUANTIZERS, PARTS, ROTATION, DISPATCH, N };
  static const char *const names[N] = {"header", "constants", "quantizers",
                                       "parts",  "rotation",  "dispatch"};
  qp_text t[N] = {0};
  qp_hole holes[N + 1] = {{"name", k->name}};
  qp_status st = QP_OK;
  qp_kernel_header(&t[HEADER], k);
  add_constants(&t[CONSTANTS], k);
  for (unsigned i = 0; i < k->lowereds && !st; i++) st = add_quantizer(&t[QUANTIZERS], k, i, err);
  if (k->problem.op == QP_OP_GEMM)
    add_gemm_parts(&t[PARTS], k);
  else
    add_dequant_parts(&t[PARTS], k);
  if (!st) st = add_rotation(&t[ROTATION], k, err);
  add_dispatch(&t[DISPATCH], k);
  for (unsigned i = 0; i < N; i++) {
    if (!st && t[i].failed) st = qp_fail(err, QP_E_NOMEM, "no memory for the source");
    holes[i + 1] = (qp_hole){names[i], t[i].s};
  }
  if (!st) st = qp_expand(k->choice.family->template_file, holes, N + 1, &k->source, err);
  for (unsigned i = 0; i < N; i++) qp_text_free(&t[i]);
  return st;
}
