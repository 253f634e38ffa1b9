/* SPDX-License-Identifier: MIT */
/* What `qpal check` covers: every family that a file of lua/families describes. */
#include "tuner/check/cases.h"

#include <criterion/criterion.h>
#include <string.h>

#include "tuner/check/pins.h"
#include "tuner/check/steady.h"

static qp_palette *palette;
static qp_families *families;
static qp_error error;
enum { LISTED = 9 };
static const qp_quantizer *list[LISTED];
static qp_cases cases;

static void set_up(void) {
  static const char *const names[LISTED] = {"tcq-3",     "tcq-2.25", "vq2-3", "nuq-4", "int4-g128",
                                            "anyprec-3", "ccq-2",    "e8p-3", "bcq-2"};
  cr_assert_eq(qp_palette_open(&palette, &error), QP_OK, "%s", error.text);
  cr_assert_eq(qp_families_open(&families, &error), QP_OK, "%s", error.text);
  for (size_t i = 0; i < LISTED; i++)
    cr_assert_eq(qp_palette_find(palette, names[i], &list[i], &error), QP_OK, "%s", error.text);
  cases = (qp_cases){0};
}

static void tear_down(void) {
  qp_cases_free(&cases);
  qp_families_close(families);
  qp_palette_close(palette);
}

TestSuite(cases, .init = set_up, .fini = tear_down);

static qp_case_wishes wishes(qp_coverage coverage) {
  return (qp_case_wishes){.coverage = coverage,
                          .quantizer = list,
                          .quantizers = LISTED,
                          .arch = 90,
                          .sm_count = 2,
                          .type = -1};
}

static void make(const qp_case_wishes *w) {
  cr_assert_eq(qp_cases_make(families, w, &cases, &error), QP_OK, "%s", error.text);
}

static size_t count_of(const char *family, const qp_quantizer *q) {
  size_t n = 0;
  for (size_t i = 0; i < cases.count; i++) {
    const qp_case *c = &cases.list[i];
    n += !strcmp(c->choice.family->name, family) && (!q || c->problem.segment[0].quantizer == q);
  }
  return n;
}

Test(cases, hold_every_family_however_few_are_asked_for) {
  for (int coverage = QP_COVER_FEW; coverage <= QP_COVER_ALL; coverage++) {
    const qp_case_wishes w = wishes((qp_coverage)coverage);
    make(&w);
    for (size_t i = 0; i < qp_families_count(families); i++) {
      const qp_family *f = qp_families_get(families, i);
      cr_expect_gt(count_of(f->name, NULL), 0, "coverage %d has no %s", coverage, f->name);
    }
    qp_cases_free(&cases);
  }
}

Test(cases, of_one_operation_and_of_all_but_it_are_together_all) {
  qp_case_wishes w = wishes(QP_COVER_SOME);
  make(&w);
  const size_t all = cases.count;
  qp_cases_free(&cases);
  w.ops = 1u << QP_OP_GEMM;
  make(&w);
  const size_t gemms = cases.count;
  cr_expect(gemms > 0 && gemms < all, "%zu of %zu", gemms, all);
  qp_cases_free(&cases);
  w.ops ^= (1u << QP_OP_COUNT) - 1;
  make(&w);
  cr_expect_eq(gemms + cases.count, all, "%zu + %zu of %zu", gemms, cases.count, all);
  for (size_t i = 0; i < cases.count; i++) cr_expect_neq(cases.list[i].problem.op, QP_OP_GEMM);
}

Test(cases, hold_every_quantizer_in_every_gemm_references_too) {
  const qp_case_wishes w = wishes(QP_COVER_FEW);
  const qp_family *gemm[QP_MAX_FAMILIES];
  const size_t n = qp_families_of(families, QP_OP_GEMM, NULL, true, gemm);
  cr_assert_geq(n, 3);
  make(&w);
  for (size_t f = 0; f < n; f++)
    for (size_t q = 0; q < 6; q++)
      cr_expect_geq(count_of(gemm[f]->name, list[q]), 1, "%s of %s", gemm[f]->name, list[q]->name);
}

/* Launches of one quantizer in a family, of a whole linear and without a rotation. */
static size_t count_alone(const char *family, const qp_quantizer *q) {
  size_t n = 0;
  for (size_t i = 0; i < cases.count; i++) {
    const qp_case *c = &cases.list[i];
    n += !strcmp(c->choice.family->name, family) && c->problem.segments == 1 &&
         c->problem.segment[0].quantizer == q && qp_problem_pieces(&c->problem) == 1 &&
         !c->problem.rotate_fused;
  }
  return n;
}

Test(cases, leave_out_a_quantizer_alone_where_that_is_wished_but_no_kind_in_its_steady_state) {
  qp_case_wishes w = wishes(QP_COVER_FEW);
  const qp_quantizer *two[] = {list[0], NULL}; /* tcq-3, and another of its kind */
  cr_assert_eq(qp_palette_find(palette, "tcq-4", &two[1], &error), QP_OK, "%s", error.text);
  w.quantizer = two;
  w.quantizers = 2;
  w.singles = QP_SINGLES_TURN;
  make(&w);
  cr_expect_eq(count_alone("gemm_tensor", two[0]) + count_alone("gemm_cuda", two[0]), 2);
  cr_expect_eq(count_alone("dequant", two[0]), 1);
  cr_expect_eq(count_alone("gemm_tensor", two[1]) + count_alone("gemm_cuda", two[1]) +
                   count_alone("dequant", two[1]),
               1);
  qp_cases_free(&cases);
  w.singles = QP_SINGLES_NONE;
  make(&w);
  cr_expect_eq(count_alone("gemm_tensor", two[0]) + count_alone("gemm_cuda", two[0]), 0);
  cr_expect_eq(count_alone("dequant", two[0]), 0);
  cr_expect_gt(count_of("gemm_tensor", two[0]), 0, "the steady state stays");
  cr_expect_gt(count_alone("gemm_naive", two[0]), 0, "so does the reference");
}

Test(cases, of_a_rotation_and_a_shape_hold_its_rows_and_columns) {
  for (unsigned op = QP_OP_ROTATE; op < QP_OP_COUNT; op++) {
    qp_case_wishes w = wishes(QP_COVER_SOME);
    if (!qp_op_rotates((qp_op)op)) continue;
    w.ops = 1u << op, w.rows = 16, w.columns = 192; /* no model's K */
    make(&w);
    cr_expect_gt(cases.count, 0, "%s", qp_op_name((qp_op)op));
    for (size_t i = 0; i < cases.count; i++) {
      const qp_problem *p = &cases.list[i].problem;
      cr_expect_eq(p->columns, 192);
      cr_expect(p->batch == 16 || p->batch == 2 * p->sm_count + 1, "%u", p->batch);
    }
    qp_cases_free(&cases);
  }
}

Test(cases, by_turns_hold_a_quantizer_of_a_kind_once_in_dequant_or_in_a_family_of_gemm) {
  qp_case_wishes w = wishes(QP_COVER_FEW);
  const qp_quantizer *turns[4];
  static const char *const names[] = {"tcq-3", "tcq-4", "tcq-2", "tcq-3.5"};
  for (size_t i = 0; i < 4; i++)
    cr_assert_eq(qp_palette_find(palette, names[i], &turns[i], &error), QP_OK, "%s", error.text);
  w.quantizer = turns;
  w.quantizers = 4;
  w.singles = QP_SINGLES_TURN;
  for (unsigned op = 0; op < 3; op++) { /* all, gemms, dequants: the turns are the same */
    w.ops = op == 0 ? 0 : op == 1 ? 1u << QP_OP_GEMM : 1u << QP_OP_DEQUANT;
    make(&w);
    cr_expect_eq(count_alone("gemm_tensor", turns[1]), op != 2);
    cr_expect_eq(count_alone("gemm_cuda", turns[2]), op != 2);
    cr_expect_eq(count_alone("dequant", turns[3]), op != 1);
    cr_expect_eq(count_alone("dequant", turns[1]) + count_alone("dequant", turns[2]) +
                     count_alone("gemm_tensor", turns[2]) + count_alone("gemm_tensor", turns[3]) +
                     count_alone("gemm_cuda", turns[1]) + count_alone("gemm_cuda", turns[3]),
                 0);
    cr_expect_eq(count_alone("gemm_tensor", turns[0]), op != 2, "the first of a kind is in all");
    cr_expect_eq(count_alone("gemm_cuda", turns[0]), op != 2);
    cr_expect_eq(count_alone("dequant", turns[0]), op != 1);
    qp_cases_free(&cases);
  }
  w.no_pairs = true; /* which show each kind in all families */
  w.ops = 0;
  make(&w);
  cr_expect_eq(count_alone("dequant", turns[0]), 1);
  cr_expect_eq(count_alone("gemm_tensor", turns[0]) + count_alone("gemm_cuda", turns[0]), 0);
  cr_expect_eq(count_alone("gemm_tensor", turns[1]), 1);
}

Test(cases, hold_no_steady_pairs_where_that_is_wished_and_nothing_else_less) {
  qp_case_wishes w = wishes(QP_COVER_SOME);
  make(&w);
  const size_t all = cases.count;
  size_t pairs = 0; /* two quantizers, several segments of each, on one multiprocessor */
  for (size_t i = 0; i < cases.count; i++) {
    const qp_problem *p = &cases.list[i].problem;
    pairs += p->segments > 3 && p->sm_count == 1 && p->out_type != QP_F32;
  }
  cr_assert_gt(pairs, 0);
  qp_cases_free(&cases);
  w.no_pairs = true;
  make(&w);
  cr_expect_eq(cases.count, all - pairs);
  for (size_t i = 0; i < cases.count; i++) {
    const qp_problem *p = &cases.list[i].problem;
    cr_expect(p->segments <= 3 || p->sm_count != 1 || p->out_type == QP_F32);
  }
}

static size_t count_alone_in_references(void) {
  size_t n = 0;
  for (size_t i = 0; i < cases.count; i++) {
    const qp_case *c = &cases.list[i];
    n += c->choice.family->reference && c->problem.segments == 1 && !c->problem.rotate_fused;
  }
  return n;
}

/* A palette with more quantizers than there are kinds: gemm_naive has one of each, by turns none
   where pairs are left out. */
Test(cases, of_a_palette_hold_one_quantizer_of_each_kind_in_a_reference) {
  const qp_quantizer *many[66];
  for (size_t i = 0; i < 66; i++) many[i] = list[i % 6];
  qp_case_wishes w = wishes(QP_COVER_SOME);
  w.quantizer = many;
  w.quantizers = 66;
  make(&w);
  for (size_t q = 0; q < 6; q++) cr_expect_geq(count_of("gemm_naive", list[q]), 1);
  cr_expect_eq(count_alone_in_references(), 6);
  qp_cases_free(&cases);
  w.singles = QP_SINGLES_TURN;
  make(&w);
  cr_expect_eq(count_alone_in_references(), 6);
  qp_cases_free(&cases);
  w.no_pairs = true;
  make(&w);
  cr_expect_eq(count_alone_in_references(), 0);
}

Test(cases, of_all_try_every_batch_to_8_in_every_gemm) {
  const qp_case_wishes w = wishes(QP_COVER_ALL);
  make(&w);
  for (unsigned batch = 1; batch <= 8; batch++)
    for (qp_dtype type = QP_F16; type <= QP_BF16; type++) {
      size_t n = 0;
      for (size_t i = 0; i < cases.count; i++) {
        const qp_case *c = &cases.list[i];
        n += c->choice.family->reference && c->problem.batch == batch && c->problem.type == type;
      }
      cr_expect_geq(n, 6, "batch %u", batch);
    }
}

Test(cases, are_only_those_that_a_family_can_do) {
  const qp_case_wishes w = wishes(QP_COVER_ALL);
  make(&w);
  for (size_t i = 0; i < cases.count; i++)
    cr_expect(qp_family_serves(cases.list[i].choice.family, &cases.list[i].problem));
}

Test(cases, of_a_path_leave_the_other_gemms_out) {
  qp_case_wishes w = wishes(QP_COVER_SOME);
  w.path = "cuda";
  make(&w);
  cr_expect_gt(count_of("gemm_cuda", NULL), 0);
  cr_expect_gt(count_of("dequant", NULL), 0, "which has no path");
  cr_expect_eq(count_of("gemm_tensor", NULL) + count_of("gemm_naive", NULL), 0);
}

Test(cases, of_a_family_are_its_own) {
  qp_case_wishes w = wishes(QP_COVER_SOME);
  w.family = "gemm_naive";
  make(&w);
  cr_expect_gt(cases.count, 6);
  cr_expect_eq(count_of("gemm_naive", NULL), cases.count);
}

static bool is_same(const qp_case *a, const qp_case *b) {
  const qp_problem *p = &a->problem, *q = &b->problem;
  bool same = a->choice.family == b->choice.family && p->op == q->op && p->type == q->type &&
              p->out_type == q->out_type && p->batch == q->batch && p->columns == q->columns &&
              p->sm_count == q->sm_count && p->segments == q->segments && p->pieces == q->pieces &&
              p->rotation == q->rotation && p->inverse == q->inverse;
  for (unsigned s = 0; same && s < p->segments; s++)
    same = p->segment[s].quantizer == q->segment[s].quantizer &&
           p->segment[s].rows == q->segment[s].rows;
  for (unsigned t = 0; same && t < a->choice.family->tunables; t++)
    same = a->choice.value[t] == b->choice.value[t];
  return same;
}

/* The first case that the longer list has not, in the order of the shorter one. */
static const qp_case *missing(const qp_cases *shorter, const qp_cases *longer) {
  size_t j = 0;
  for (size_t i = 0; i < shorter->count; i++, j++) {
    while (j < longer->count && !is_same(&shorter->list[i], &longer->list[j])) j++;
    if (j == longer->count) return &shorter->list[i];
  }
  return NULL;
}

/* Without the quantizers of the kind that came last, where kinds are odd in number: that kind has
   no partner of its own yet. */
static size_t of_paired_kinds(const qp_quantizer **all, size_t count) {
  const qp_quantizer *first[512];
  char last[96], kind[96];
  size_t kept = 0;
  memcpy(first, all, count * sizeof *all);
  const size_t kinds = qp_steady_first_of_kinds(first, count);
  if (kinds % 2 == 0) return count;
  qp_steady_kind(first[kinds - 1], last, sizeof last);
  for (size_t i = 0; i < count; i++) {
    qp_steady_kind(all[i], kind, sizeof kind);
    if (strcmp(kind, last) != 0) all[kept++] = all[i];
  }
  return kept;
}

/* Of the palette without one kind, and that kind behind it: a kind has a partner in the steady
   state, and of the others none may get another. */
Test(cases, stay_when_a_quantizer_is_appended) {
  const qp_quantizer *all[512], *last = NULL;
  size_t n = 0;
  cr_assert_eq(qp_palette_load(palette, &error), QP_OK, "%s", error.text);
  for (size_t i = 0; i < qp_palette_count(palette); i++) {
    const qp_quantizer *q = qp_palette_get(palette, i);
    if (!strcmp(q->name, "ternary-1.6"))
      last = q;
    else if (n < 511)
      all[n++] = q;
  }
  cr_assert_not_null(last);
  cr_assert_eq(qp_pins_sort(all, n, &error), QP_OK, "%s", error.text);
  n = of_paired_kinds(all, n);
  all[n] = last;
  for (int coverage = QP_COVER_FEW; coverage <= QP_COVER_SOME; coverage++) {
    qp_case_wishes w = wishes((qp_coverage)coverage);
    w.quantizer = all;
    w.quantizers = n;
    make(&w);
    qp_cases before = cases;
    cases = (qp_cases){0};
    w.quantizers = n + 1;
    make(&w);
    cr_expect_gt(cases.count, before.count);
    const qp_case *gone = missing(&before, &cases);
    cr_expect_null(gone, "coverage %d: %s of %s", coverage, gone ? gone->choice.family->name : "",
                   gone ? gone->problem.segment[0].quantizer->name : "");
    qp_cases_free(&cases);
    qp_cases_free(&before);
  }
}
