/* SPDX-License-Identifier: MIT */
/* Verdicts on kernels that `qpal check` does not meet in the palette. */
#include "tests/check/check_kit.h"

#include <stdio.h>

TestSuite(verify, .init = kit_open, .fini = kit_close);

/* A quantizer of a file beside this one. */
static void expect_right(const char *file, const char *name, const char *family, unsigned unfold) {
  char path[512];
  snprintf(path, sizeof path, "%s/tests/check/%s:%s", QP_SOURCE_DIR, file, name);
  const qp_family *f = qp_families_find(session.families, family);
  qp_problem p = {.op = f->op, .segments = 1, .columns = 96, .batch = 2, .arch = 90, .sm_count = 2};
  p.segment[0].quantizer = kit_quantizer(path);
  p.segment[0].rows = 80;
  qp_choice c;
  qp_kernel k;
  qp_choice_default(f, &c);
  qp_choice_put(&c, "unfold", unfold);
  cr_assert_eq(qp_kernel_make(session.families, &p, &c, &k, &err), QP_OK, "%s", err.text);
  const qp_verdict v = kit_verdict(&k, 7);
  cr_expect(v.pass, "%s, %s, unfold=%u: %s", name, family, unfold, v.why);
  qp_kernel_free(&k);
}

/* Both forms of tables, since each reaches the codebooks of rows in its own way. */
Test(verify, decodes_that_look_up_codebooks_of_rows_are_right) {
  static const char *const names[] = {"two-rows",        "three-of-three", "row-and-all",
                                      "all-and-row",     "row-and-sign",   "row-and-unfolded",
                                      "planes-and-sign", "planes-of-five"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    expect_right("row_codebooks.lua", names[i], i % 2 ? "gemm_cuda" : "gemm_tensor", 1);
  expect_right("row_codebooks.lua", "two-rows", "dequant", 0);
  expect_right("row_codebooks.lua", "row-and-unfolded", "gemm_tensor", 0);
}

Test(verify, weights_as_large_as_fp16_do_not_overflow_what_is_checked) {
  expect_right("large.lua", "pass-16", "gemm_naive", 0);
  expect_right("large.lua", "pass-16", "dequant", 0);
}

Test(verify, as_many_copies_of_a_large_table_are_made_as_fit) {
  expect_right("large.lua", "pairs-7", "gemm_tensor", 1);
  expect_right("large.lua", "pairs-7", "dequant", 1);
}
