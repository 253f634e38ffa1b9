/* SPDX-License-Identifier: MIT */
/* What the default list of `qpal check` makes warps go through, computed from the partition of
** each launch. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/kernel/kernel.h"
#include "tuner/base/session.h"
#include "tuner/check/cases.h"
#include "tuner/check/pins.h"
#include "tuner/check/steady.h"

static qp_session session;
static qp_error err;
static qp_cases cases;
static const qp_quantizer **quantizer;
static size_t quantizers;

static void set_up(void) {
  cr_assert_eq(qp_session_open(&session, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_session_quantizers(&session, NULL, &quantizer, &quantizers, &err), QP_OK);
  /* as check does */
  cr_assert_eq(qp_pins_sort(quantizer, quantizers, &err), QP_OK, "%s", err.text);
}

static void tear_down(void) {
  free(quantizer);
  qp_session_close(&session);
}

TestSuite(steady, .init = set_up, .fini = tear_down);

/* What `qpal check` checks without options on a device of so many multiprocessors. */
static void list_default(unsigned sm_count) {
  const qp_case_wishes w = {.coverage = QP_COVER_SOME,
                            .quantizer = quantizer,
                            .quantizers = quantizers,
                            .arch = 90,
                            .sm_count = sm_count,
                            .type = -1};
  cr_assert_eq(qp_cases_make(session.families, &w, &cases, &err), QP_OK, "%s", err.text);
}

/* All that the cases of a family meet for quantizers of one kind ("": of any). */
static unsigned met_by(const qp_family *f, const char *kind) {
  unsigned met = 0;
  for (size_t i = 0; i < cases.count; i++) {
    const qp_case *c = &cases.list[i];
    qp_kernel k;
    if (c->choice.family != f) continue;
    if (c->problem.sm_count != 1 && *kind) continue; /* each kind's own are small launches */
    if (qp_kernel_make(session.families, &c->problem, &c->choice, &k, &err)) continue;
    for (unsigned s = 0; s < c->problem.segments; s++) {
      char name[96];
      qp_steady_kind(c->problem.segment[s].quantizer, name, sizeof name);
      if (!*kind || !strcmp(name, kind)) met |= qp_steady_met(&k, c->problem.segment[s].quantizer);
    }
    if (qp_op_rotates(f->op)) met |= qp_steady_met(&k, NULL);
    qp_kernel_free(&k);
  }
  return met;
}

static void expect_met(const qp_family *f, const char *kind, unsigned wanted) {
  const unsigned met = met_by(f, kind);
  for (unsigned bit = 0; bit < QP_STEADY_COUNT; bit++)
    cr_expect(!(wanted >> bit & 1) || met >> bit & 1,
              "%s, %s: no launch of the default check where %s", f->name,
              *kind ? kind : "any quantizer", qp_steady_help(bit));
}

/* Kinds whose codebook belongs to a tensor have a cluster for each segment. */
static unsigned wanted_of(const qp_family *f, const qp_quantizer *q) {
  const unsigned gemm = QP_STEADY_UNITS | QP_STEADY_CARRY | QP_STEADY_ROW_GROUP |
                        QP_STEADY_CLUSTERS | QP_STEADY_SLABS | QP_STEADY_RAGGED | QP_STEADY_SHARED;
  if (f->op == QP_OP_DEQUANT)
    return QP_STEADY_UNITS | QP_STEADY_CARRY | QP_STEADY_ROW_GROUP | QP_STEADY_RAGGED;
  return qp_kernel_mergeable(q) ? gemm | QP_STEADY_BORDER : gemm;
}

static void expect_steady(const qp_family *f) {
  for (size_t i = 0; i < quantizers && !qp_op_rotates(f->op); i++) {
    char kind[96], before[96];
    bool known = false;
    qp_steady_kind(quantizer[i], kind, sizeof kind);
    for (size_t j = 0; j < i && !known; j++) {
      qp_steady_kind(quantizer[j], before, sizeof before);
      known = !strcmp(kind, before);
    }
    if (!known) expect_met(f, kind, wanted_of(f, quantizer[i]));
  }
  if (f->op == QP_OP_GEMM) expect_met(f, "", QP_STEADY_BORDERS | QP_STEADY_SOLE | QP_STEADY_BLOCKS);
  if (qp_op_rotates(f->op)) expect_met(f, "", QP_STEADY_ROWS);
}

static bool has_parts(const qp_family *f) {
  return qp_op_rotates(f->op) || f->op == QP_OP_DEQUANT || !strcmp(f->name, "gemm_tensor") ||
         !strcmp(f->name, "gemm_cuda");
}

static void expect_default_list(unsigned sm_count) {
  list_default(sm_count);
  for (size_t i = 0; i < qp_families_count(session.families); i++)
    if (has_parts(qp_families_get(session.families, i)))
      expect_steady(qp_families_get(session.families, i));
  qp_cases_free(&cases);
}

/* The place of a quantizer's kind among the kinds that were kept; 'kept' where there is none. */
static size_t place_of_kind(const qp_quantizer *const *first, size_t kept, const qp_quantizer *q) {
  char of_kept[96], of_q[96];
  qp_steady_kind(q, of_q, sizeof of_q);
  for (size_t k = 0; k < kept; k++) {
    qp_steady_kind(first[k], of_kept, sizeof of_kept);
    if (!strcmp(of_kept, of_q)) return k;
  }
  return kept;
}

Test(steady, of_the_palette_the_first_quantizer_of_each_kind_is_kept) {
  const qp_quantizer **all = malloc(quantizers * sizeof *all);
  cr_assert(all);
  memcpy(all, quantizer, quantizers * sizeof *all);
  const size_t kept = qp_steady_first_of_kinds(quantizer, quantizers);
  cr_assert(kept > 5 && kept < quantizers / 2, "%zu of %zu", kept, quantizers);
  size_t met = 0; /* kinds come in the order in which the palette has them */
  for (size_t i = 0; i < quantizers; i++) {
    const size_t at = place_of_kind(quantizer, kept, all[i]);
    cr_assert_leq(at, met, "%s: its kind comes later, or is not there", all[i]->name);
    if (at == met) cr_expect_eq(quantizer[met++], all[i], "%s is the first", all[i]->name);
  }
  cr_expect_eq(met, kept, "each kind once");
  free(all);
}

Test(steady, the_default_check_in_the_simulator_meets_it_for_every_family_and_kind) {
  expect_default_list(4);
}

Test(steady, the_default_check_on_a_gpu_meets_it_for_every_family_and_kind) {
  expect_default_list(132);
}

/* Every multiprocessor busy, and every warp of each around its ring more than twice. */
Test(steady, a_launch_of_the_default_check_fills_a_whole_gpu) {
  list_default(132);
  for (size_t i = 0; i < qp_families_count(session.families); i++) {
    const qp_family *f = qp_families_get(session.families, i);
    unsigned found = 0;
    for (size_t j = 0; j < cases.count && f->op == QP_OP_GEMM; j++) {
      const qp_case *c = &cases.list[j];
      qp_kernel k;
      if (c->choice.family != f || c->problem.sm_count != 132) continue;
      if (qp_kernel_make(session.families, &c->problem, &c->choice, &k, &err)) continue;
      const unsigned met = qp_steady_met(&k, c->problem.segment[0].quantizer);
      found += k.grid >= 132 && met & QP_STEADY_UNITS && met & QP_STEADY_BLOCKS;
      qp_kernel_free(&k);
    }
    cr_expect(found || f->op != QP_OP_GEMM || f->reference, "%s", f->name);
  }
  qp_cases_free(&cases);
}

/* Of the cases whose blocks have whole row groups, apart from those of each tunable's value. */
Test(steady, blocks_with_row_groups_of_their_own_meet_it_in_every_gemm_family) {
  const unsigned wanted = QP_STEADY_UNITS | QP_STEADY_CARRY | QP_STEADY_ROW_GROUP |
                          QP_STEADY_SHARED | QP_STEADY_BLOCKS | QP_STEADY_BORDER;
  list_default(4);
  for (size_t i = 0; i < qp_families_count(session.families); i++) {
    const qp_family *f = qp_families_get(session.families, i);
    unsigned met = 0;
    if (f->op != QP_OP_GEMM || f->reference) continue;
    for (size_t j = 0; j < cases.count; j++) {
      const qp_case *c = &cases.list[j];
      qp_kernel k;
      if (c->choice.family != f || !qp_choice_get(&c->choice, "owned")) continue;
      cr_assert_eq(qp_kernel_make(session.families, &c->problem, &c->choice, &k, &err), QP_OK, "%s",
                   err.text);
      cr_expect(!k.counters && !k.workspace_bytes, "%s", k.name);
      const unsigned own = qp_steady_met(&k, c->problem.segment[0].quantizer);
      if (k.part[0].extra) met |= own; /* blocks with unequal numbers of row groups */
      qp_kernel_free(&k);
    }
    for (unsigned bit = 0; bit < QP_STEADY_COUNT; bit++)
      cr_expect(!(wanted >> bit & 1) || met >> bit & 1, "%s: none where %s", f->name,
                qp_steady_help(bit));
  }
  qp_cases_free(&cases);
}

static qp_kernel one(unsigned rows, unsigned columns, unsigned sm_count) {
  const qp_family *f = qp_families_find(session.families, "gemm_tensor");
  qp_problem p = {
      .op = f->op, .segments = 1, .columns = columns, .batch = 1, .arch = 90, .sm_count = sm_count};
  p.segment[0].quantizer = quantizer[0];
  for (size_t i = 0; i < quantizers; i++)
    if (!strcmp(quantizer[i]->name, "tcq-3")) p.segment[0].quantizer = quantizer[i];
  p.segment[0].rows = rows;
  qp_choice c;
  qp_kernel k;
  qp_choice_default(f, &c);
  cr_assert_eq(qp_kernel_make(session.families, &p, &c, &k, &err), QP_OK, "%s", err.text);
  return k;
}

/* 16 warps: 64 units of two blocks are 4 each, one short; of 65 the first warp has 5. */
Test(steady, is_read_from_the_partition) {
  qp_kernel k = one(512, 512, 1);
  const unsigned four = qp_steady_met(&k, k.problem.segment[0].quantizer);
  cr_assert_eq(k.part[0].share, 4);
  cr_expect_not(four & (QP_STEADY_UNITS | QP_STEADY_ROW_GROUP | QP_STEADY_SHARED));
  cr_expect(four & QP_STEADY_SOLE);
  qp_kernel_free(&k);
  k = one(512, 528 + 112, 1); /* 10 superblocks, 5 units a row group */
  const unsigned five = qp_steady_met(&k, k.problem.segment[0].quantizer);
  cr_expect(five & QP_STEADY_UNITS && !(five & (QP_STEADY_ROW_GROUP | QP_STEADY_CARRY)));
  qp_kernel_free(&k);
  k = one(544, 416, 1); /* 17 row groups of 4 units over 16 warps */
  const unsigned met = qp_steady_met(&k, k.problem.segment[0].quantizer);
  cr_expect(met & QP_STEADY_ROW_GROUP && met & QP_STEADY_CARRY && met & QP_STEADY_RAGGED);
  qp_kernel_free(&k);
}
