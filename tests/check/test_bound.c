/* SPDX-License-Identifier: MIT */
/* What bounds a gemm: passes of tables, and the whole count where there is a disassembler. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "tuner/base/session.h"
#include "tuner/check/bound.h"

static double passes(unsigned entries, unsigned words, unsigned copies) {
  return qp_bound_passes(&(qp_table){
      .entries = entries, .words = words, .copies = copies, .stride = 4 * words * copies});
}

Test(bound, a_table_with_a_copy_a_bank_has_no_conflicts_at_any_width) {
  cr_assert_float_eq(passes(1024, 1, 32), 1, 0);
  cr_assert_float_eq(passes(512, 2, 16), 2, 0);
  cr_assert_float_eq(passes(256, 4, 8), 4, 0);
}

Test(bound, fewer_copies_cost_passes_and_a_table_of_one_entry_is_a_broadcast) {
  const double eight = passes(4096, 1, 8), one = passes(4096, 1, 1);
  cr_assert_float_eq(passes(1, 1, 1), 1, 0);
  /* 8 groups of 4 lanes, each on 4 banks: the fullest of 32 banks has about 3 of them */
  cr_assert(eight > 2.5 && eight < 3.2, "%g", eight);
  cr_assert(one > 3.2 && one < 3.8, "%g", one); /* 32 lanes on 32 banks */
}

static qp_session session;
static qp_error err;

/* The same instructions, whatever the shape: counts are of the loop. */
Test(bound, a_kernel_s_loop_is_found_and_the_slowest_of_its_times_binds) {
  const qp_compiler_options options = {.workers = 1};
  const qp_quantizer **q;
  qp_compiler *compiler;
  qp_choice choice;
  qp_kernel k;
  qp_compiled c;
  qp_bound b;
  size_t n;
  cr_assert_eq(qp_session_open(&session, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_compiler_open(&options, &compiler, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_session_quantizers(&session, "tcq-3", &q, &n, &err), QP_OK, "%s", err.text);
  const qp_problem p = {.op = QP_OP_GEMM,
                        .segments = 1,
                        .segment[0] = {q[0], 28672},
                        .columns = 4096,
                        .batch = 1,
                        .arch = 90,
                        .sm_count = 132};
  qp_choice_default(qp_families_serving(session.families, &p, "tensor"), &choice);
  cr_assert_eq(qp_kernel_make(session.families, &p, &choice, &k, &err), QP_OK, "%s", err.text);
  const qp_compile_job job = {.name = k.name, .source = k.source, .arch = 90, .want_cubin = true};
  cr_assert_eq(qp_compiler_run(compiler, &job, &c, &err), QP_OK, "%s", err.text);
  const qp_status status = qp_bound_count(&k, &c, &b, &err);
  qp_compiled_free(&c);
  qp_kernel_free(&k);
  qp_compiler_close(compiler);
  free(q);
  qp_session_close(&session);
  if (status == QP_E_MISSING) cr_skip_test("no nvdisasm on this machine");
  cr_assert_eq(status, QP_OK, "%s", err.text);
  double sum = 0, most = fmax(b.memory_us, b.issue_us);
  for (unsigned i = 0; i < QP_PIPE_COUNT; i++) {
    sum += b.pipe[i];
    most = fmax(most, b.pipe_us[i]);
  }
  cr_assert_float_eq(sum, b.instructions, 1e-9);
  cr_assert_float_eq(most, b.us, 1e-12);
  cr_assert_float_eq(b.pipe[QP_PIPE_mma], 0.25, 1e-12); /* 16 x 16 weights, 32 lanes */
  cr_assert(b.pipe[QP_PIPE_lds] > 1 && b.pipe[QP_PIPE_lds] < 1.1);
  cr_assert(b.instructions > 4 && b.instructions < 8, "%g", b.instructions);
}
