/* SPDX-License-Identifier: MIT */
/* Faults of the generator: one number of a launch's partition is changed, its source written anew,
** and a case of the default check has to fail. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/check/check_kit.h"
#include "tuner/check/cases.h"

TestSuite(generator_breaks, .init = kit_open, .fini = kit_close);

/* The first case of a family for these quantizers: a pair in its steady state. */
static qp_kernel first_case(const char *list, const char *family) {
  const qp_quantizer **q;
  qp_cases cases = {0};
  qp_case_wishes w = {
      .coverage = QP_COVER_SOME, .family = family, .arch = 90, .sm_count = 4, .type = -1};
  cr_assert_eq(qp_session_quantizers(&session, list, &q, &w.quantizers, &err), QP_OK);
  w.quantizer = q;
  cr_assert_eq(qp_cases_make(session.families, &w, &cases, &err), QP_OK, "%s", err.text);
  qp_kernel k;
  cr_assert_eq(
      qp_kernel_make(session.families, &cases.list[0].problem, &cases.list[0].choice, &k, &err),
      QP_OK, "%s", err.text);
  qp_cases_free(&cases);
  free(q);
  return k;
}

static void longer_share(qp_kernel *k) { k->part[0].share++; }
static void fewer_extra(qp_kernel *k) { k->part[1].extra--; }
static void slot_of_another(qp_kernel *k) { k->part[1].slot = k->part[0].slot; }
static void slab_one_column_block_late(qp_kernel *k) { k->part[1].column += 64; }
static void slab_one_superblock_early(qp_kernel *k) { k->part[1].first--; }
static void circle_too_short(qp_kernel *k) { k->part[0].total--; }
static void row_group_too_long(qp_kernel *k) { k->part[k->parts - 1].total++; }
static void stream_of_another(qp_kernel *k) { k->part[k->parts - 1].stream--; }
static void contributions_of_one_part(qp_kernel *k) { k->cluster[0].parts--; }
static void rows_of_x_overlap(qp_kernel *k) { k->x_stride_bytes -= 128; }
static void tables_under_x(qp_kernel *k) { k->x_offset[0] -= 128; }

typedef struct generator_break {
  const char *what;
  void (*apply)(qp_kernel *k);
} generator_break;

Test(generator_breaks, are_seen_by_the_first_case_of_the_default_check) {
  static const generator_break breaks[] = {
      {"a warp's share one unit too long", longer_share},
      {"one warp with a unit too few", fewer_extra},
      {"two parts in one slot of the workspace", slot_of_another},
      {"a slab that begins a block too late in X", slab_one_column_block_late},
      {"a slab that begins a superblock too early", slab_one_superblock_early},
      {"a row group one superblock short", circle_too_short},
      {"a row group with fields one superblock too long", row_group_too_long},
      {"another segment's stream", stream_of_another},
      {"a part that nobody waits for", contributions_of_one_part},
      {"rows of X that overlap", rows_of_x_overlap},
      {"X over the end of the tables", tables_under_x},
  };
  for (size_t i = 0; i < sizeof breaks / sizeof *breaks; i++) {
    qp_kernel k = first_case("fine-3,int4-g128", "gemm_tensor");
    breaks[i].apply(&k);
    free(k.source);
    k.source = NULL;
    cr_assert_eq(qp_kernel_source(&k, &err), QP_OK, "%s", err.text);
    const qp_verdict v = kit_verdict(&k, 1);
    cr_expect_not(v.pass, "%s passes", breaks[i].what);
    qp_kernel_free(&k);
  }
}

Test(generator_breaks, written_anew_without_a_break_passes) {
  qp_kernel k = first_case("fine-3,int4-g128", "gemm_tensor");
  free(k.source);
  k.source = NULL;
  cr_assert_eq(qp_kernel_source(&k, &err), QP_OK, "%s", err.text);
  const qp_verdict v = kit_verdict(&k, 1);
  cr_expect(v.pass, "%s", v.why);
  qp_kernel_free(&k);
}
