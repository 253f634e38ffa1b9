/* SPDX-License-Identifier: MIT */
/* The table of architectures: what is known, what runs where. */
#include <criterion/criterion.h>
#include <string.h>

#include "runtime/arch.h"
#include "runtime/device.h"

Test(arch, names_are_parsed_with_and_without_prefix) {
  unsigned arch = 0;
  qp_error err = {.text = ""};
  cr_assert_eq(qp_arch_parse("sm_90", &arch, &err), QP_OK);
  cr_assert_eq(arch, 90);
  cr_assert_eq(qp_arch_parse("120", &arch, &err), QP_OK);
  cr_assert_eq(arch, 120);
  static const char *const wrong[] = {"",    "sm_",      "sm_9", "sm_900",     "90a", " 90",
                                      "+90", "sm_sm_90", "h100", "4294967386", "090"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    cr_assert_eq(qp_arch_parse(wrong[i], &arch, &err), QP_E_ARG, "'%s'", wrong[i]);
    cr_assert_not_null(strstr(err.text, "sm_75, 80, 86"), "%s", err.text);
    cr_assert_not_null(strstr(err.text, " or 121"), "%s", err.text);
  }
  cr_assert_eq(arch, 120, "changed on failure");
}

Test(arch, shared_memory_is_what_a_block_can_opt_into) {
  static const unsigned expected[][2] = {{75, 65536},   {80, 166912},  {86, 101376},  {87, 166912},
                                         {89, 101376},  {90, 232448},  {100, 232448}, {103, 232448},
                                         {110, 232448}, {120, 101376}, {121, 101376}, {70, 0}};
  for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
    cr_expect_eq(qp_arch_smem_bytes(expected[i][0]), expected[i][1], "sm_%u", expected[i][0]);
}

Test(arch, rows_rise_and_are_whole) {
  unsigned before = 0;
  for (const qp_arch *a = qp_arch_table; a->number; a++) {
    cr_expect_gt(a->number, before);
    cr_expect(a->smem_bytes >= 65536 && a->smem_bytes % 1024 == 0);
    cr_expect(a->sm_count <= 1024 && *a->part); /* 0: not documented */
    cr_expect(a->nvrtc >= 1208);
    cr_expect_eq(qp_arch_find(a->number), a);
    before = a->number;
  }
}

Test(arch, multiprocessors_are_those_of_the_usual_part_and_of_nothing_else) {
  cr_expect_eq(qp_arch_sm_count(90), 132);
  cr_expect_eq(qp_arch_sm_count(121), 48);
  cr_expect_eq(qp_arch_sm_count(91), 0, "no row is no default");
  cr_expect_eq(qp_arch_sm_count(107), 0, "what is not documented is not guessed");
}

Test(arch, abilities_are_those_of_the_architecture) {
  cr_expect_not(qp_arch_has(75, QP_ARCH_ASYNC_COPY));
  cr_expect_not(qp_arch_has(75, QP_ARCH_MMA_K16));
  cr_expect(qp_arch_has(86, QP_ARCH_ASYNC_COPY));
  cr_expect_not(qp_arch_has(89, QP_ARCH_PDL));
  cr_expect(qp_arch_has(121, QP_ARCH_PDL));
  cr_expect_not(qp_arch_has(90, QP_ARCH_WIDE_LOAD));
  cr_expect(qp_arch_has(100, QP_ARCH_WIDE_LOAD));
}

Test(arch, a_cubin_runs_on_its_own_and_on_later_desktop_parts_of_its_major_version) {
  static const struct {
    unsigned made_for, capability;
    bool runs;
  } cases[] = {{80, 80, true},    {80, 86, true},   {80, 89, true},    {86, 89, true},
               {86, 80, false},   {86, 87, false},  {80, 87, false},   {87, 89, false},
               {87, 87, true},    {87, 88, false},  {80, 88, false},   {89, 90, false},
               {100, 103, true},  {103, 107, true}, {107, 103, false}, {100, 110, false},
               {110, 120, false}, {120, 121, true}, {121, 120, false}, {90, 91, false},
               {75, 80, false}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    cr_expect_eq(qp_arch_runs_cubin(cases[i].made_for, cases[i].capability), cases[i].runs,
                 "sm_%u on %u", cases[i].made_for, cases[i].capability);
}

Test(arch, a_gpu_without_a_row_gets_the_nearest_lower_one_and_is_told_so) {
  qp_device_info info = {.name = "Next GPU", .capability = 132};
  char text[512];
  cr_assert_eq(qp_arch_nearest(132)->number, 121);
  cr_assert_eq(qp_arch_nearest(82)->number, 80);
  cr_assert_eq(qp_arch_nearest(90)->number, 90);
  cr_assert_null(qp_arch_nearest(61));
  info.arch = 121;
  qp_device_remark(&info, text, sizeof text);
  cr_expect(strstr(text, "Next GPU") && strstr(text, "sm_132") && strstr(text, "PTX for sm_121"),
            "%s", text);
  info.capability = 121;
  cr_expect_str_eq(qp_device_remark(&info, text, sizeof text), "");
}
