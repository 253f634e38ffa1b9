/* SPDX-License-Identifier: MIT */
/* gen/kernel/rotation.c: how rotations are divided, and what they cost a warp. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "gen/kernel/kernel.h"
#include "gen/kernel/rotation.h"
#include "runtime/device.h"
#include "runtime/sim/sim.h"
#include "tuner/base/session.h"
#include "tuner/check/verify.h"

/* Of the turns of verify_prologue.c: gate and up in one buffer, silu, a limit, Y for itself; a norm
   of X, a residual, h in its place. */
enum { SEED_OF_GLU = 5, SEED = 4, ROWS = 2 };

static qp_error error;

Test(rotation, the_topmost_factor_is_a_base_order_or_sylvester_s) {
  qp_rotation_top top;
  cr_assert(qp_rotation_top_of(14336, 512, &top));
  cr_expect_eq(top.order, 28);
  cr_expect_eq(top.rest, 512);
  cr_expect_eq(top.rows * top.steps * top.group, 28, "four tiles of 7 rows");
  cr_expect_eq(top.steps, 4);
  cr_assert(qp_rotation_top_of(4096, 512, &top));
  cr_expect_eq(top.order, 32);
  cr_expect_eq(top.rest, 128);
  cr_expect_eq(top.below.log2_tail, 7);
  cr_expect_not(qp_rotation_top_of(96, 512, &top), "8 columns below 12");
  cr_expect_not(qp_rotation_top_of(16, 512, &top), "less than 32");
}

/* PTX instructions of a warp for a row of K values by a family's defaults, moves left out: of two
   rows, each of which 'blocks' blocks share. */
static double instructions(const char *family, unsigned columns, unsigned blocks) {
  qp_session s = {0};
  qp_verdict v;
  qp_sim_counters counted;
  qp_compiled c = {0};
  qp_choice choice;
  qp_kernel k;
  qp_device *dev;
  char name[32];
  double sum = 0;
  cr_assert_eq(qp_session_open(&s, &error), QP_OK, "%s", error.text);
  const qp_family *f = NULL;
  for (size_t i = 0; i < qp_families_count(s.families); i++)
    if (!strcmp(qp_families_get(s.families, i)->name, family)) f = qp_families_get(s.families, i);
  cr_assert_not_null(f);
  const qp_problem p = {.op = f->op,
                        .columns = columns,
                        .batch = ROWS,
                        .type = QP_F16,
                        .arch = 90,
                        .sm_count = ROWS * blocks};
  qp_choice_default(f, &choice);
  cr_assert_eq(qp_kernel_make(s.families, &p, &choice, &k, &error), QP_OK, "%s", error.text);
  const qp_compile_job job = {.name = k.name, .source = k.source, .arch = 90, .want_ptx = true};
  qp_compiler *compiler;
  const qp_compiler_options one = {.workers = 1};
  cr_assert_eq(qp_compiler_open(&one, &compiler, &error), QP_OK, "%s", error.text);
  cr_assert_eq(qp_compiler_run(compiler, &job, &c, &error), QP_OK, "%s", error.text);
  qp_compiler_close(compiler);
  snprintf(name, sizeof name, "sim:sm_90:%u", ROWS * blocks);
  cr_assert_eq(qp_device_open(name, &dev, &error), QP_OK, "%s", error.text);
  qp_reference *reference = qp_reference_new();
  cr_assert_eq(qp_sim_counters_reset(dev, &error), QP_OK);
  const uint64_t seed = f->op == QP_OP_ROTATE_GLU ? SEED_OF_GLU : SEED;
  cr_assert_eq(qp_verify(dev, &k, &c, reference, seed, 1, &v, &error), QP_OK, "%s", error.text);
  cr_assert(v.pass, "%s", v.why);
  cr_assert_eq(qp_sim_counters_get(dev, &counted, &error), QP_OK);
  for (unsigned i = 0; i < QP_SIM_KIND_COUNT; i++)
    if (i != QP_SIM_MOVE) sum += (double)counted.thread_instructions[i];
  sum /= ROWS * blocks * k.block;
  qp_reference_free(reference);
  qp_device_close(dev);
  qp_compiled_free(&c);
  qp_kernel_free(&k);
  qp_session_close(&s);
  return sum;
}

Test(rotation, a_row_of_14336_takes_at_most_1200_instructions_a_warp) {
  const double before = instructions("rotate", 14336, 1);
  const double shared = instructions("rotate_tensor", 14336, 4);
  const double in_place = instructions("rotate_tensor", 14336, 1); /* one block's */
  const double glu = instructions("rotate_glu_tensor", 14336, 4);
  const double glu_in_place = instructions("rotate_glu_tensor", 14336, 1);
  const double norm = instructions("rotate_norm_tensor", 4096, 1);
  cr_log_info("in memory %.0f, on tensor cores %.0f, in its place %.0f, with a gated linear unit "
              "%.0f, in its place %.0f; norm of 4096 %.0f, in memory %.0f",
              before, shared, in_place, glu, glu_in_place, norm,
              instructions("rotate_norm", 4096, 1));
  cr_expect_leq(shared, 500);
  cr_expect_leq(in_place, 1200);
  cr_expect_leq(glu, 1200);
  cr_expect_leq(glu_in_place, 2000);
}
