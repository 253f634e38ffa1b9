/* SPDX-License-Identifier: MIT */
/* Kernels of candidates: their names, how the work is divided, their parameters. */
#include "gen/kernel/kernel.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen/compile/compile.h"

static qp_palette *palette;
static qp_families *families;
static qp_kernel kernel;
static qp_error error;

static void set_up(void) {
  error.text[0] = 0;
  cr_assert_eq(qp_palette_open(&palette, &error), QP_OK, "%s", error.text);
  cr_assert_eq(qp_families_open(&families, &error), QP_OK, "%s", error.text);
}

static void tear_down(void) {
  qp_kernel_free(&kernel);
  qp_families_close(families);
  qp_palette_close(palette);
}

TestSuite(kernel, .init = set_up, .fini = tear_down);

static const qp_quantizer *find(const char *name) {
  const qp_quantizer *q = NULL;
  cr_assert_eq(qp_palette_find(palette, name, &q, &error), QP_OK, "%s", error.text);
  return q;
}

/* "gemm_tensor" of "tcq-3 2048; int4-g128 512" on an H100. */
typedef struct shape {
  const char *family;
  struct {
    const char *quantizer;
    unsigned rows;
  } segment[QP_MAX_SEGMENTS];
  unsigned columns, batch, arch;
  const char *set[4]; /* "warps=8" */
} shape;

static qp_status make_cut(const shape *s, unsigned pieces, unsigned rotation) {
  const qp_family *family = qp_families_find(families, s->family);
  cr_assert_not_null(family);
  qp_problem p = {.op = family->op,
                  .columns = s->columns,
                  .batch = s->batch,
                  .out_type = QP_F32,
                  .pieces = pieces,
                  .rotation = rotation,
                  .arch = s->arch ? s->arch : 90};
  p.sm_count = qp_arch_sm_count(p.arch);
  for (; p.segments < QP_MAX_SEGMENTS && s->segment[p.segments].quantizer; p.segments++) {
    p.segment[p.segments].quantizer = find(s->segment[p.segments].quantizer);
    p.segment[p.segments].rows = s->segment[p.segments].rows;
  }
  qp_choice c;
  qp_choice_default(family, &c);
  for (unsigned i = 0; i < 4 && s->set[i]; i++)
    cr_assert_eq(qp_choice_set(&c, s->set[i], &error), QP_OK, "%s", error.text);
  qp_kernel_free(&kernel);
  return qp_kernel_make(families, &p, &c, &kernel, &error);
}

static qp_status make(const shape *s) { return make_cut(s, 0, 0); }

static void make_well(const shape *s) { cr_assert_eq(make(s), QP_OK, "%s", error.text); }

/* Fused segments, splits, slabs, ragged runs, clusters, more blocks than work, padded shapes. */
static const shape gemms[] = {
    {"gemm_tensor", {{"tcq-3", 4096}}, 4096, 1, 90, {0}},
    {"gemm_tensor", {{"tcq-3", 4096}, {"tcq-3", 1024}, {"tcq-3", 1024}}, 4096, 1, 90, {0}},
    {"gemm_tensor", {{"tcq-3", 2048}, {"int4-g128", 512}, {"tcq-3", 80}}, 2048, 8, 90, {0}},
    {"gemm_tensor", {{"tcq-1.75", 1024}, {"tcq-1.75", 48}}, 2048, 4, 80, {0}},
    {"gemm_tensor", {{"tcq-3", 1024}}, 14336, 16, 80, {"runs=4", "slabs=8"}},
    {"gemm_tensor", {{"tcq-3", 1024}}, 14336, 64, 86, {"copies=1"}},
    {"gemm_tensor", {{"aqlm-2x8", 512}, {"aqlm-2x8", 512}}, 1024, 1, 90, {"copies=1"}},
    {"gemm_tensor", {{"tcq-3", 16}}, 32, 1, 90, {0}},
    {"gemm_tensor", {{"tcq-3", 4096}}, 4096, 1, 90, {"blocks=2", "warps=8"}},
    {"gemm_cuda", {{"vq2-2", 2048}, {"tcq-2", 512}}, 5120, 1, 120, {"runs=2"}},
    {"gemm_cuda", {{"anyprec-3", 1040}}, 4128, 4, 90, {"slabs=4", "warps=24"}},
    {"gemm_cuda", {{"int4-g128", 272}}, 992, 2, 89, {"warps=32"}},
};
enum { GEMMS = sizeof gemms / sizeof *gemms };

/* Which warp takes each unit, by dealing them out: the first 'extra' warps take one more. */
static void expect_units_dealt_out(const qp_part *p) {
  const unsigned warps = p->blocks * (kernel.block / 32);
  cr_expect_eq((size_t)warps * p->share + p->extra, (size_t)p->units * p->row_groups);
  cr_expect_lt(p->extra, warps);
}

Test(kernel, every_superblock_of_every_stream_is_in_one_part) {
  for (unsigned g = 0; g < GEMMS; g++) {
    make_well(&gemms[g]);
    for (unsigned s = 0; s < kernel.streams; s++) {
      const qp_kernel_stream *stream = &kernel.stream[s];
      unsigned *times = calloc(stream->stream.superblocks, sizeof *times);
      cr_assert_not_null(times);
      for (unsigned i = 0; i < kernel.parts; i++) {
        const qp_part *p = &kernel.part[i];
        const qp_cluster *c = &kernel.cluster[p->cluster];
        for (unsigned n = 0; n < c->segments; n++) {
          if (p->stream + n * p->stream_step != s) continue;
          cr_expect_eq(stream->segment, c->segment + n);
          cr_expect_eq(p->lowered, stream->lowered);
          cr_expect_eq(p->total, stream->stream.superblocks);
          for (unsigned sb = p->first; sb < p->first + p->count; sb++) times[sb]++;
        }
      }
      for (unsigned sb = 0; sb < stream->stream.superblocks; sb++)
        cr_expect_eq(times[sb], 1, "gemm %u, stream %u, superblock %u: %u times", g, s, sb,
                     times[sb]);
      free(times);
    }
  }
}

Test(kernel, parts_read_the_columns_of_x_that_their_superblocks_have) {
  for (unsigned g = 0; g < GEMMS; g++) {
    make_well(&gemms[g]);
    for (unsigned c = 0; c < kernel.clusters; c++) { /* side by side, 0 to K, without a gap */
      unsigned at = 0;
      for (unsigned i = 0; i < kernel.cluster[c].parts; i++) {
        const qp_part *p = &kernel.part[kernel.cluster[c].part + i];
        const unsigned width = 64 * kernel.stream[p->stream].stream.period.blocks;
        cr_expect_eq(p->cluster, c);
        cr_expect_eq(p->column, at);
        cr_expect_eq(p->column, kernel.stream[p->stream].column + p->first * width);
        cr_expect_leq(p->columns, p->count * width);
        cr_expect_gt(p->columns + width, p->count * width, "padded by less than a superblock");
        at += p->columns;
      }
      cr_expect_eq(at, kernel.problem.columns, "gemm %u, cluster %u ends at %u", g, c, at);
    }
  }
}

Test(kernel, pieces_of_k_have_streams_of_their_own_in_the_order_of_their_columns) {
  const shape split = {"gemm_tensor", {{"tcq-1.75", 512}}, 4096, 1, 90, {0}};
  cr_assert_eq(make_cut(&split, 8, 0), QP_OK, "%s", error.text);
  cr_assert_eq(kernel.streams, 16);
  for (unsigned i = 0, at = 0; i < kernel.streams; at += kernel.stream[i++].stream.columns) {
    cr_expect_eq(kernel.stream[i].column, at, "stream %u", i);
    cr_expect_eq(kernel.stream[i].stream.rows, 512);
    if (i % 2 == 0) cr_expect_eq(at, i / 2 * 512, "a piece begins with its first part");
  }
}

Test(kernel, a_unit_that_is_not_asked_for_is_two_superblocks_of_one_block) {
  shape s = gemms[0];
  s.set[0] = "runs=0";
  make_well(&s);
  cr_expect_eq(kernel.stream[0].stream.period.blocks, 1);
  cr_expect_eq(kernel.runs, 2);
}

Test(kernel, a_unit_of_few_words_is_four_superblocks_where_warps_have_several) {
  const struct {
    shape s;
    unsigned runs;
  } cases[] = {{{"gemm_tensor", {{"tcq-2", 28672}}, 4096, 1, 90, {0}}, 4},
               {{"gemm_tensor", {{"tcq-2", 4096}}, 4096, 1, 90, {0}}, 2},  /* few units a warp */
               {{"gemm_tensor", {{"tcq-2", 28672}}, 4224, 1, 90, {0}}, 2}, /* 66 superblocks */
               {{"gemm_tensor", {{"tcq-3", 28672}}, 4096, 1, 90, {0}}, 2}, /* 6 words */
               {{"gemm_tensor", {{"tcq-2", 28672}, {"tcq-3", 4096}}, 4096, 1, 90, {0}}, 2},
               {{"gemm_cuda", {{"tcq-2", 28672}}, 4096, 1, 90, {0}}, 2}}; /* it offers no 4 */
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    make_well(&cases[i].s);
    cr_expect_eq(kernel.runs, cases[i].runs, "%zu: %u", i, kernel.runs);
  }
}

Test(kernel, units_are_dealt_out_evenly_to_all_warps) {
  for (unsigned g = 0; g < GEMMS; g++) {
    make_well(&gemms[g]);
    const unsigned runs = kernel.runs, asked = qp_choice_get(&kernel.choice, "runs");
    cr_assert_geq(runs, 1);
    if (asked) cr_expect_eq(runs, asked);
    for (unsigned i = 0; i < kernel.parts; i++) {
      const qp_part *p = &kernel.part[i];
      cr_expect_eq(p->units, (p->count + runs - 1) / runs);
      cr_expect_eq(p->row_groups, kernel.cluster[p->cluster].row_groups);
      expect_units_dealt_out(p);
    }
  }
}

Test(kernel, blocks_are_the_grid_s_side_by_side) {
  for (unsigned g = 0; g < GEMMS; g++) {
    make_well(&gemms[g]);
    unsigned at = 0;
    for (unsigned i = 0; i < kernel.parts; i++) {
      cr_expect_eq(kernel.part[i].block, at);
      cr_expect_geq(kernel.part[i].blocks, 1);
      at += kernel.part[i].blocks;
    }
    const unsigned all = kernel.problem.sm_count * qp_choice_get(&kernel.choice, "blocks");
    cr_expect_eq(kernel.grid, at);
    cr_expect_eq(at, all > kernel.parts ? all : kernel.parts);
  }
}

/* The work that kernel_partition.c gives a part, from its description. */
static double work_of(const qp_part *p) {
  const qp_period *period = &kernel.stream[p->stream].stream.period;
  return (double)p->count * p->row_groups * (period->words_read + 8 * period->blocks);
}

/* No division of the blocks has a shorter longest part: to be below it, each part needs more than
** work / longest blocks, and together those are more than there are. */
Test(kernel, no_division_of_blocks_is_faster) {
  for (unsigned g = 0; g < GEMMS; g++) {
    make_well(&gemms[g]);
    double longest = 0;
    unsigned needed = 0;
    for (unsigned i = 0; i < kernel.parts; i++) {
      const double mine = work_of(&kernel.part[i]) / kernel.part[i].blocks;
      if (mine > longest) longest = mine;
    }
    for (unsigned i = 0; i < kernel.parts; i++)
      needed += (unsigned)(work_of(&kernel.part[i]) / longest * (1 + 1e-9)) + 1;
    cr_expect_gt(needed, kernel.grid, "gemm %u: %u blocks of %u would do better", g, needed,
                 kernel.grid);
  }
}

/* A warp's slot for a row group that it met: the numbers that templates/gemm.cuh.in computes. */
static void mark_slots(const qp_part *p, uint8_t *used, size_t slots) {
  const unsigned warps = p->blocks * (kernel.block / 32);
  unsigned unit = 0;
  for (unsigned w = 0; w < warps; w++) {
    const unsigned mine = p->share + (w < p->extra ? 1 : 0), end = unit + mine;
    for (unsigned rg = unit / p->units; mine && rg <= (end - 1) / p->units; rg++) {
      const size_t slot = (size_t)p->slot + w + rg;
      cr_assert_lt(slot, slots);
      cr_expect(!used[slot], "slot %zu is used twice", slot);
      used[slot] = 1;
    }
    unit = end;
  }
  cr_expect_eq(unit, p->units * p->row_groups);
}

Test(kernel, no_two_warps_write_the_same_slot_of_the_workspace) {
  for (unsigned g = 0; g < GEMMS; g++) {
    make_well(&gemms[g]);
    const size_t slots = kernel.workspace_bytes / (32 * kernel.problem.batch * sizeof(float));
    uint8_t *used = calloc(slots, 1);
    cr_assert_not_null(used);
    for (unsigned i = 0; i < kernel.parts; i++) mark_slots(&kernel.part[i], used, slots);
    free(used);
  }
}

Test(kernel, every_row_group_has_its_own_counter) {
  for (unsigned g = 0; g < GEMMS; g++) {
    make_well(&gemms[g]);
    unsigned at = 0, segment = 0;
    for (unsigned c = 0; c < kernel.clusters; c++) {
      unsigned row_groups = 0;
      cr_expect_eq(kernel.cluster[c].segment, segment);
      for (unsigned n = 0; n < kernel.cluster[c].segments; n++)
        row_groups += (kernel.problem.segment[segment++].rows + 31) / 32;
      cr_expect_eq(kernel.cluster[c].row_groups, row_groups);
      cr_expect_eq(kernel.cluster[c].counter, at);
      at += row_groups;
    }
    cr_expect_eq(segment, kernel.problem.segments);
    cr_expect_eq(kernel.counters, at);
  }
}

Test(kernel, atomic_sums_need_neither_workspace_nor_counters) {
  shape s = gemms[0];
  s.set[0] = "atomic=1";
  make_well(&s);
  cr_expect(kernel.adds_to_zero);
  cr_expect_eq(kernel.workspace_bytes, 0);
  cr_expect_eq(kernel.counters, 0);
}

Test(kernel, tables_x_and_scratch_fit_beside_each_other) {
  for (unsigned g = 0; g < GEMMS; g++) {
    make_well(&gemms[g]);
    const unsigned resident = qp_choice_get(&kernel.choice, "blocks");
    cr_expect_leq(kernel.smem_bytes * resident, qp_arch_smem_bytes(kernel.problem.arch));
    for (unsigned i = 0; i < kernel.parts; i++) {
      const qp_part *p = &kernel.part[i];
      const unsigned width = 64 * kernel.stream[p->stream].stream.period.blocks;
      const unsigned x = kernel.x_offset[p->lowered];
      cr_expect_leq(kernel.lowered[p->lowered].table_bytes, x);
      cr_expect_leq(p->count * width * 2, kernel.x_stride_bytes);
      cr_expect_leq(x + kernel.x_rows * kernel.x_stride_bytes, kernel.scratch_offset);
    }
    cr_expect_leq(kernel.scratch_offset, kernel.smem_bytes);
    cr_expect_geq(kernel.x_rows, kernel.problem.batch);
  }
}

Test(kernel, segments_of_one_quantizer_are_one_cluster) {
  make_well(&gemms[1]);
  cr_expect_eq(kernel.clusters, 1);
  cr_expect_eq(kernel.lowereds, 1);
  make_well(&gemms[2]); /* the third segment has the first's quantizer, but is no neighbour */
  cr_expect_eq(kernel.clusters, 3);
  cr_expect_eq(kernel.lowereds, 2);
  make_well(&gemms[3]); /* a split's two parts */
  cr_expect_eq(kernel.clusters, 1);
  cr_expect_eq(kernel.streams, 4);
  make_well(&gemms[6]); /* codebooks of a linear's own */
  cr_expect_eq(kernel.clusters, 2);
}

Test(kernel, a_name_is_the_configuration) {
  char expected[QP_KERNEL_NAME];
  make_well(&gemms[3]);
  const char *hash = kernel.problem.segment[0].quantizer->hash;
  snprintf(expected, sizeof expected,
           "gemm_tensor__m1024tcq_1o75h%.8s_m48tcq_1o75h%.8s_k2048_n4_f16_yf32_sm80_c108__", hash,
           hash);
  cr_expect_eq(strncmp(kernel.name, expected, strlen(expected)), 0, "%s\nnot %s", kernel.name,
               expected);
  const char *at = kernel.name + strlen(expected);
  for (unsigned i = 0; i < kernel.choice.family->tunables; i++) {
    const char *tag = kernel.choice.family->tunable[i].tag;
    cr_assert_eq(strncmp(at, tag, strlen(tag)), 0, "%s at %s", kernel.name, at);
    at += strlen(tag);
    cr_assert(*at >= '0' && *at <= '9', "%s at %s", kernel.name, at);
    char *end;
    const unsigned long value = strtoul(at, &end, 10);
    if (kernel.choice.value[i]) cr_expect_eq(value, kernel.choice.value[i]); /* 0: chosen */
    at = end;
  }
  cr_expect_eq(*at, 0);
}

Test(kernel, names_of_other_operations_have_their_own_parts) {
  const shape rotate = {"rotate", {{0}}, 4096, 0, 90, {"pdl=1"}};
  make_well(&rotate);
  cr_expect_str_eq(kernel.name, "rotate__k4096_f16_sm90_c132__w16p1");
  cr_expect(kernel.pdl);
  cr_assert_eq(make_cut(&rotate, 0, 512), QP_OK, "%s", error.text);
  cr_expect_str_eq(kernel.name, "rotate__k4096_b512_f16_sm90_c132__w16p1");
  const shape dequant = {"dequant", {{"e8p-2", 64}}, 512, 0, 86, {0}};
  char expected[QP_KERNEL_NAME];
  make_well(&dequant);
  snprintf(expected, sizeof expected, "dequant__m64e8p_2h%.8s_k512_f16_sm86_c82__",
           kernel.problem.segment[0].quantizer->hash);
  cr_expect_eq(strncmp(kernel.name, expected, strlen(expected)), 0, "%s", kernel.name);
  const shape gather = {"gather", {{"nuq-4", 48}}, 96, 0, 90, {"pdl=1"}};
  make_well(&gather);
  snprintf(expected, sizeof expected, "gather__m48nuq_4h%.8s_k96_f16_sm90_c132__w8b1p1",
           kernel.problem.segment[0].quantizer->hash);
  cr_expect_str_eq(kernel.name, expected);
}

Test(kernel, a_name_is_a_symbol_of_cuda_and_in_its_source) {
  for (unsigned g = 0; g < GEMMS; g++) {
    make_well(&gemms[g]);
    cr_expect_eq(strspn(kernel.name, "abcdefghijklmnopqrstuvwxyz0123456789_"), strlen(kernel.name));
    cr_expect(strstr(kernel.source, kernel.name));
    cr_expect_null(strstr(kernel.source, "@{"), "an open hole");
  }
}

Test(kernel, the_same_candidate_is_the_same_text) {
  make_well(&gemms[2]);
  char *before = strdup(kernel.source);
  cr_assert_not_null(before);
  make_well(&gemms[2]);
  cr_expect_str_eq(kernel.source, before);
  free(before);
}

Test(kernel, what_cannot_be_is_refused_and_nothing_is_made) {
  shape s = gemms[0];
  s.arch = 80, s.set[0] = "pdl=1";
  cr_expect_eq(make(&s), QP_E_LIMIT);
  cr_expect_null(kernel.source);
  s = gemms[0], s.columns = 4095;
  cr_expect_eq(make(&s), QP_E_ARG);
  cr_expect(strstr(error.text, "K is 4095"), "%s", error.text);
  cr_expect_eq(make_cut(&gemms[0], 3, 0), QP_E_ARG);
  cr_expect(strstr(error.text, "3 pieces of K = 4096"), "%s", error.text);
  const shape cut = {"rotate", {{0}}, 4096, 0, 90, {0}};
  cr_expect_eq(make_cut(&cut, 0, 96), QP_E_ARG);
  cr_expect(strstr(error.text, "blocks of 96 columns"), "%s", error.text);
  const shape tensor = {"rotate_tensor", {{0}}, 4096, 0, 90, {0}};
  cr_expect_eq(make_cut(&tensor, 0, 512), QP_E_LIMIT);
  const shape wide = {"rotate", {{0}}, 1u << 18, 0, 90, {0}};
  cr_expect_eq(make(&wide), QP_E_LIMIT);
  cr_expect(strstr(error.text, "shared memory"), "%s", error.text);
  const qp_problem problem = {.op = QP_OP_ROTATE};
  qp_choice c;
  qp_choice_default(qp_families_find(families, "dequant"), &c);
  cr_expect_eq(qp_kernel_make(families, &problem, &c, &kernel, &error), QP_E_ARG);
  cr_expect_str_eq(error.text, "family dequant does dequant, not rotate");
}

/* ---- Parameters ---- */

static uint64_t word(const unsigned char *params, size_t i) {
  uint64_t v;
  memcpy(&v, params + 8 * i, sizeof v);
  return v;
}

/* Addresses that say what they are: 0x1000 + 0x100 s + f, ... */
static qp_arguments addresses(void) {
  qp_arguments a = {.x = 1, .y = 2, .signs = 3, .workspace = 4, .counters = 5, .zero = 6};
  a.zero_words = 7, a.rows = 8;
  for (unsigned s = 0; s < QP_MAX_STREAMS; s++) {
    a.stream[s].codes = 0x1000 + 0x100 * s;
    for (unsigned f = 0; f < QP_MAX_ARRAYS; f++) a.stream[s].field[f] = 0x1010 + 0x100 * s + f;
    for (unsigned b = 0; b < QP_MAX_CODEBOOKS; b++)
      a.stream[s].codebook[b] = 0x1020 + 0x100 * s + b;
  }
  for (unsigned s = 0; s < QP_MAX_SEGMENTS; s++) {
    a.segment[s].scale = 0x8000 + 0x100 * s;
    a.segment[s].bias = 0x8001 + 0x100 * s;
    a.segment[s].residual = 0x8002 + 0x100 * s;
    a.segment[s].y = 0x8003 + 0x100 * s;
    a.stride[s] = (qp_stride_arguments){.y = 0x9000 + s, .residual = 0xa000 + s};
  }
  a.x_stride = 9, a.y_stride = 10;
  return a;
}

/* The 32-bit powers of two, from 64-bit word 'at' on. */
static size_t expect_pow2(const unsigned char *params, size_t at) {
  for (unsigned i = 0; i < 16; i++) {
    uint32_t v;
    memcpy(&v, params + 8 * at + 4 * i, sizeof v);
    cr_expect_eq(v, 1u << i);
  }
  return at + 8;
}

static size_t expect_streams(const unsigned char *params, size_t at) {
  for (unsigned s = 0; s < kernel.streams; s++) {
    cr_expect_eq(word(params, at++), 0x1000 + 0x100 * s);
    for (unsigned f = 0; f < 4; f++) cr_expect_eq(word(params, at++), 0x1010 + 0x100 * s + f);
    for (unsigned b = 0; b < 4; b++) cr_expect_eq(word(params, at++), 0x1020 + 0x100 * s + b);
  }
  return at;
}

Test(kernel, parameters_of_a_gemm_lie_as_its_template_declares_them) {
  unsigned char params[QP_PARAMS_MAX];
  const qp_arguments a = addresses();
  make_well(&gemms[3]); /* 2 segments, 4 streams */
  const size_t bytes = qp_kernel_params(&kernel, &a, params);
  static const uint64_t first[] = {1, 3, 4, 5, 6, 7};
  size_t at = 0;
  for (; at < 6; at++) cr_expect_eq(word(params, at), first[at]);
  at = expect_streams(params, expect_pow2(params, at));
  for (unsigned s = 0; s < 2; s++)
    for (unsigned f = 0; f < 4; f++) cr_expect_eq(word(params, at++), 0x8000 + 0x100 * s + f);
  cr_expect_eq(word(params, at++), 9);
  for (unsigned s = 0; s < 2; s++)
    cr_expect_eq(word(params, at++), (0x9000 + s) | (uint64_t)(0xa000 + s) << 32);
  cr_expect_eq(bytes, 8 * at);
}

Test(kernel, rows_lie_close_where_no_strides_are_given) {
  unsigned char params[QP_PARAMS_MAX], close[QP_PARAMS_MAX];
  qp_arguments a = addresses();
  make_well(&gemms[3]);
  a.x_stride = kernel.problem.columns;
  for (unsigned s = 0; s < 2; s++)
    a.stride[s].y = a.stride[s].residual = kernel.problem.segment[s].rows;
  const size_t bytes = qp_kernel_params(&kernel, &a, params);
  a.x_stride = a.y_stride = 0;
  memset(a.stride, 0, sizeof a.stride);
  cr_assert_eq(qp_kernel_params(&kernel, &a, close), bytes);
  cr_expect_arr_eq(params, close, bytes);
}

Test(kernel, parameters_of_a_dequant_lie_as_its_template_declares_them) {
  unsigned char params[QP_PARAMS_MAX];
  const qp_arguments a = addresses();
  const shape s = {"dequant", {{"tcq-3", 64}, {"int4-g128", 32}}, 512, 0, 90, {0}};
  make_well(&s);
  const size_t bytes = qp_kernel_params(&kernel, &a, params);
  size_t at = expect_streams(params, expect_pow2(params, 0));
  for (unsigned i = 0; i < 2; i++) {
    cr_expect_eq(word(params, at++), 0x8000 + 0x100 * i);
    cr_expect_eq(word(params, at++), 0x8003 + 0x100 * i);
  }
  cr_expect_eq(bytes, 8 * at);
}

Test(kernel, parameters_of_a_rotation_are_its_buffers_rows_and_strides) {
  unsigned char params[QP_PARAMS_MAX];
  const qp_arguments a = addresses();
  const shape s = {"rotate", {{0}}, 896, 0, 80, {0}};
  make_well(&s);
  static const uint64_t expected[] = {1, 2, 3, 8, 9, 10};
  cr_expect_eq(qp_kernel_params(&kernel, &a, params), sizeof expected);
  cr_expect_arr_eq(params, expected, sizeof expected);
}

Test(kernel, parameters_of_a_gather_are_ids_rows_signs_their_number_and_one_linear) {
  unsigned char params[QP_PARAMS_MAX];
  const qp_arguments a = addresses();
  const shape s = {"gather", {{"tcq-1.75", 64}}, 512, 0, 90, {0}};
  static const uint64_t first[] = {1, 2, 3, 8};
  make_well(&s);
  const size_t bytes = qp_kernel_params(&kernel, &a, params);
  size_t at = 0;
  for (; at < 4; at++) cr_expect_eq(word(params, at), first[at]);
  cr_expect_eq(kernel.streams, 2);
  at = expect_streams(params, at);
  cr_expect_eq(word(params, at++), 0x8000);
  cr_expect_eq(bytes, 8 * at);
}

Test(kernel, a_gather_of_two_linears_is_refused) {
  qp_problem p = {.op = QP_OP_GATHER, .segments = 2, .columns = 96, .arch = 90, .sm_count = 4};
  qp_choice c;
  for (unsigned s = 0; s < 2; s++) {
    p.segment[s].rows = 32;
    cr_assert_eq(qp_palette_find(palette, "nuq-4", &p.segment[s].quantizer, &error), QP_OK);
  }
  qp_choice_default(qp_families_find(families, "gather"), &c);
  cr_expect_eq(qp_kernel_make(families, &p, &c, &kernel, &error), QP_E_LIMIT);
  cr_expect_str_eq(error.text, "gather reads one matrix, not 2");
}

/* All multiprocessors have work, but where the sums of a few steps of one pair are too many. */
Test(kernel, encoding_needs_no_more_than_a_gigabyte_however_long_the_rows) {
  static const struct {
    const char *quantizer;
    unsigned columns, grid, pairs;
  } kinds[] = {{"tcq-3", 4096, 128, 4},
               {"tcq-3", 14336, 132, 4},
               {"tcq-5", 28672, 132, 8},
               {"tcq-1.5", 1 << 18, 1, 1},
               {"wide-2", 4096, 44, 1},
               {"wide-2", 14336, 23, 1}};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    const shape s = {"encode_trellis", {{kinds[i].quantizer, 4096}}, kinds[i].columns, 1, 90, {0}};
    make_well(&s);
    cr_expect_leq(kernel.workspace_bytes, (size_t)1 << 30, "%s", kinds[i].quantizer);
    cr_expect_gt(kernel.workspace_bytes, (size_t)kernel.grid << 16, "%s", kinds[i].quantizer);
    cr_expect_geq(kernel.grid, kinds[i].grid, "%s: %u", kinds[i].quantizer, kernel.grid);
    cr_expect_eq(qp_choice_get(&kernel.choice, "pairs"), kinds[i].pairs, "%s: %u pairs",
                 kinds[i].quantizer, qp_choice_get(&kernel.choice, "pairs"));
  }
}

Test(kernel, the_most_streams_and_segments_have_room_for_their_parameters) {
  unsigned char params[QP_PARAMS_MAX];
  static const char four[] = "local p = { { 'nuq-2', 1/4 }, { 'nuq-3', 1/4 } }\n"
                             "p[3], p[4] = p[1], p[2]\n"
                             "return split { name = 'four', parts = p }\n";
  char path[64];
  snprintf(path, sizeof path, "/tmp/qpal-four-%ld.lua", (long)getpid());
  FILE *f = fopen(path, "w");
  cr_assert(f && fputs(four, f) >= 0 && !fclose(f));
  const qp_arguments a = addresses();
  shape s = {"gemm_tensor", {{0}}, 1024, 1, 90, {"copies=1"}};
  for (unsigned i = 0; i < QP_MAX_SEGMENTS; i++)
    s.segment[i].quantizer = path, s.segment[i].rows = 64;
  make_well(&s);
  unlink(path);
  cr_expect_eq(kernel.streams, QP_MAX_STREAMS);
  cr_expect_leq(qp_kernel_params(&kernel, &a, params), QP_PARAMS_MAX);
}

static void make_experts(const char *quantizer, unsigned arch, unsigned tile, unsigned columns) {
  const qp_family *family = qp_families_find(families, "experts_tensor");
  const qp_problem p = {.op = QP_OP_EXPERTS,
                        .segments = 1,
                        .segment[0] = {find(quantizer), 768},
                        .columns = columns,
                        .batch = 16,
                        .experts = 128,
                        .top_k = 8,
                        .tile = tile,
                        .arch = arch,
                        .sm_count = qp_arch_sm_count(arch)};
  qp_choice choice;
  qp_choice_default(family, &choice);
  cr_assert_eq(qp_kernel_make(families, &p, &choice, &kernel, &error), QP_OK, "%s", error.text);
}

static unsigned warps_of_experts(unsigned arch, unsigned tile) {
  make_experts("nuq-4", arch, tile, 2048);
  const unsigned warps = kernel.block / 32;
  cr_expect_eq(qp_choice_get(&kernel.choice, "warps"), warps);
  qp_kernel_free(&kernel);
  return warps;
}

static unsigned copies_of_experts(const char *quantizer, unsigned arch, unsigned tile) {
  make_experts(quantizer, arch, tile, 4096);
  const unsigned copies = kernel.lowered[0].table[0].copies;
  cr_expect_leq(kernel.smem_bytes, qp_arch_smem_bytes(arch));
  qp_kernel_free(&kernel);
  return copies;
}

/* Sums that wait take 18 KiB of 16 warps and tiles of 8, and as much of X's room. */
Test(kernel, experts_have_fewer_warps_where_sums_that_wait_would_crowd_out_x) {
  cr_expect_eq(warps_of_experts(90, 8), 16);
  cr_expect_eq(warps_of_experts(80, 1), 16);
  cr_expect_eq(warps_of_experts(90, 16), 8);
  cr_expect_eq(warps_of_experts(86, 8), 8);
  cr_expect_eq(warps_of_experts(120, 8), 8);
}

/* With 8 copies of its 4 KiB the index of tcq's hash needs a shift. */
Test(kernel, tables_of_experts_have_the_copies_that_a_dense_gemm_has) {
  cr_expect_eq(copies_of_experts("tcq-3", 86, 8), 16);
  cr_expect_eq(copies_of_experts("tcq-3", 120, 8), 16);
  cr_expect_eq(copies_of_experts("tcq-3", 80, 8), 16);
  cr_expect_eq(copies_of_experts("tcq-3", 90, 8), 32);
  cr_expect_eq(copies_of_experts("tcq-3", 90, 16), 16);
  cr_expect_eq(copies_of_experts("tcq-3", 86, 16), 8);
}
