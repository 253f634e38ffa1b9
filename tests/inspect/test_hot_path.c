/* SPDX-License-Identifier: MIT */
/* The common way around a hot loop, of listings as nvdisasm prints them. */
#include <criterion/criterion.h>
#include <string.h>

#include "gen/inspect/hot_path.h"
#include "gen/inspect/sass.h"
#include "runtime/arch.h"

/*
** As our gemms become: a loop that decodes (2 loads, 2 tensor instructions), fetches 6 words and a
** field where weights are left, and where a row group ends goes through a longer block with a loop
** of its own and a first word.
*/
static const char listing[] =
    "\t.section\t.text.k,\"ax\",@progbits\n"
    ".text.k:\n"
    "        /*0000*/                   S2R R0, SR_TID.X ;\n"
    ".L_x_0:\n"
    "        /*0010*/                   SHF.R.W.U32 R1, R2, 0x1c, R3 ;\n"
    "        /*0020*/                   IMAD R1, R1, R1, R1 ;\n"
    "        /*0030*/                   IMAD.WIDE.U32 R4, R1, 0x4, R6 ;\n"
    "        /*0040*/                   LDS.128 R8, [R5] ;\n"
    "        /*0050*/                   LDS R12, [R1] ;\n"
    "        /*0060*/                   HMMA.16816.F32 R8, R8, R12, R8 ;\n"
    "        /*0070*/                   HMMA.16816.F32 R8, R8, R12, R8 ;\n"
    "        /*0080*/               @P0 BRA `(.L_x_1) ;\n"
    "        /*0090*/                   LDG.E.NA.128 R2, desc[UR8][R4.64] ;\n"
    "        /*00a0*/                   LDG.E.NA.64 R6, desc[UR8][R4.64] ;\n"
    "        /*00b0*/                   LDG.E R20, desc[UR8][R4.64] ;\n"
    "        /*00b0*/               @P1 BRA `(.L_x_1) ;\n"
    "        /*00c0*/                   LDG.E.NA R7, desc[UR8][R4.64] ;\n"
    ".L_x_1:\n"
    "        /*00d0*/              @!P2 BRA `(.L_x_3) ;\n"
    ".L_x_2:\n"
    "        /*00e0*/                   FADD R1, R2, R3 ;\n"
    "        /*00f0*/              @!P3 BRA `(.L_x_2) ;\n"
    "        /*0100*/                   STG.E [R4], R1 ;\n"
    "        /*0110*/                   LDG.E R9, [R4] ;\n"
    ".L_x_3:\n"
    "        /*0114*/              @!P2 BRA `(.L_x_4) ;\n"
    "        /*0118*/                   IADD3 R1, R2, R3, RZ ;\n"
    ".L_x_4:\n"
    "        /*0120*/                   HFMA2 R1, R2, R3, R4 ;\n"
    "        /*0130*/              @!P4 BRA `(.L_x_0) ;\n"
    "        /*0140*/                   EXIT ;\n";

static qp_status find_in(const char *text, const char *kernel, unsigned words, unsigned products,
                         qp_hot_path *out, qp_error *err) {
  qp_listing *l = qp_listing_new();
  cr_assert_not_null(l);
  cr_assert(qp_sass_read(l, text, kernel));
  const qp_status status = qp_hot_path_find(l, words, products, out, err);
  qp_listing_free(l);
  return status;
}

static qp_status find(const char *kernel, unsigned words, unsigned products, qp_hot_path *out,
                      qp_error *err) {
  return find_in(listing, kernel, words, products, out, err);
}

Test(hot_path, the_common_way_decodes_and_fetches_but_ends_no_row_group) {
  qp_hot_path p = {0};
  qp_error err = {.text = ""};
  cr_assert_eq(find("k", 6, 2, &p, &err), QP_OK, "%s", err.text);
  cr_assert_eq(p.instructions, 16, "%u", p.instructions);
  cr_assert_eq(p.words, 6);
  cr_assert_eq(p.lds_passes, 5); /* 4 of 16 bytes a lane, 1 of 4 */
  static const unsigned count[QP_UNIT_COUNT] = {
      [QP_UNIT_alu] = 1, [QP_UNIT_imad] = 1, [QP_UNIT_imad_wide] = 1, [QP_UNIT_half] = 1,
      [QP_UNIT_lds] = 2, [QP_UNIT_ldg] = 3,  [QP_UNIT_mma] = 2,       [QP_UNIT_branch] = 5};
  for (unsigned u = 0; u < QP_UNIT_COUNT; u++)
    cr_expect_eq(p.count[u], count[u], "unit %u: %u", u, p.count[u]);
}

/* As kernels of experts become on CUDA cores: around the loop that decodes goes one over pieces of
   work, which fetches the first words of each and leaves the inner one out where there are none. */
static const char pieces[] =
    "\t.section\t.text.k,\"ax\",@progbits\n"
    ".text.k:\n"
    "        /*0000*/                   S2R R0, SR_TID.X ;\n"
    ".L_x_0:\n"
    "        /*0010*/                   LDG.E.NA.128 R2, desc[UR8][R4.64] ;\n"
    "        /*0020*/              @!P0 BRA `(.L_x_2) ;\n"
    ".L_x_1:\n"
    "        /*0030*/                   FFMA R1, R1, R1, R1 ;\n"
    "        /*0040*/                   FFMA R1, R1, R1, R1 ;\n"
    "        /*0050*/                   FFMA R1, R1, R1, R1 ;\n"
    "        /*0060*/                   LDG.E.NA.128 R2, desc[UR8][R4.64] ;\n"
    "        /*0070*/               @P1 BRA `(.L_x_1) ;\n"
    ".L_x_2:\n"
    "        /*0080*/               @P2 BRA `(.L_x_0) ;\n"
    "        /*0090*/                   EXIT ;\n";

Test(hot_path, is_of_the_inner_loop_where_one_around_it_fetches_as_much) {
  qp_hot_path p = {0};
  qp_error err = {.text = ""};
  cr_assert_eq(find_in(pieces, "k", 4, 0, &p, &err), QP_OK, "%s", err.text);
  cr_expect_eq(p.instructions, 5, "%u", p.instructions);
}

Test(hot_path, a_way_that_has_to_fetch_more_takes_what_is_rare_elsewhere) {
  qp_hot_path p = {0};
  qp_error err = {.text = ""};
  cr_assert_eq(find("k", 7, 2, &p, &err), QP_OK, "%s", err.text);
  cr_assert_eq(p.instructions, 17);
  cr_assert_eq(find("k", 0, 2, &p, &err), QP_OK, "%s", err.text);
  cr_assert_eq(p.instructions, 12);
}

Test(hot_path, a_loop_that_does_too_little_is_refused_and_nothing_is_changed) {
  qp_hot_path p = {.instructions = 77};
  qp_error err = {.text = ""};
  cr_assert_eq(find("k", 8, 2, &p, &err), QP_E_ARG);
  cr_assert_not_null(strstr(err.text, "8 words"));
  cr_assert_eq(find("k", 6, 3, &p, &err), QP_E_ARG);
  cr_assert_eq(p.instructions, 77);
}

Test(hot_path, every_architecture_has_rates_and_those_of_hopper_are_measured) {
  cr_assert(qp_rates_of(90)->measured);
  cr_assert_float_eq(qp_rates_of(90)->cycles[QP_UNIT_alu], 2, 0);
  cr_assert_float_eq(qp_rates_of(90)->cycles[QP_UNIT_imad_wide], 4, 0);
  for (const qp_arch *a = qp_arch_table; a->number; a++) {
    const qp_rates *r = qp_rates_of(a->number);
    cr_expect_eq(r->arch, a->number);
    cr_expect(r->clock_ghz > 0.5 && r->read_gbs > 50);
    for (unsigned u = 0; u < QP_UNIT_branch; u++) cr_expect(r->cycles[u] > 0, "sm_%u", r->arch);
  }
}
